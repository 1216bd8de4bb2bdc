// Fusion: decides where kernels begin and end. Each region becomes one kernel (an algorithm: several); its outputs are written to memory, and
// everything else that it needs is computed where it is read. Nodes are visited from the results to the leaves; which kernels read a value, and at
// which index, decides.
import type { Graph, Node, Value } from "../graph/node.ts";
import { forwardNodes, nodesOf, readersOf, valuesOf } from "../graph/walk.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { topologicalOrder } from "../topological-order.ts";
import { bytesOf } from "../types/dtype.ts";
import { count, dims, dtypeOf, type Type } from "../types/type.ts";
import { type AccessPattern, argPattern, isPrefix } from "./access-pattern.ts";
import { type LaneChain, laneChains, laneOutputs } from "./lanes.ts";
import { type FusionCandidate, type MergeOptions, merge } from "./merge.ts";
import { operandsInMemory } from "./operands.ts";
import {
  contractions,
  isAnchor,
  isFree,
  isRowFold,
  isRowReduction,
  type Region,
  rowMoves,
  scalarsOfStep,
} from "./region.ts";

/** For each root (a value that a kernel computes), at which patterns that kernel reads some value. */
type Accesses = Map<Value, AccessPattern[]>;

export interface FuseOptions extends MergeOptions {
  /**
   * Whether a reduction over each of `rows` rows, with `elements` elements read and written in all, should run inside the kernel that reads it, as
   * a task for each row; else it is a kernel of its own.
   */
  readonly foldsInside: (rows: number, elements: number) => boolean;
}
/** The regions of a graph, in topological order. */
export function fuse(graph: Graph, options: FuseOptions): Region[] {
  const nodes = nodesOf(graph);
  const fusion = new Fusion(nodes, graph, options);
  for (const node of nodes.toReversed()) fusion.visit(node);
  return merge(fusion.candidates(nodes), new Set(valuesOf(graph)), options);
}
/** In operations per element: the cost of loading one from memory, and what a buffer must save to be worth it. */
const loadCost = 4;
const minSaving = 20;
/** A value that costs more operations per element than this is never recomputed. */
const maxRecomputeCost = 400;
/** How many values may be recomputed one from another: without a limit, the last step of a long loop would recompute all steps before it. */
const maxRecomputeChain = 3;
/** A value that is more than a load, and that one element needs at more different places than this, is stored and read. */
const maxAccessPaths = 8;

/**
 * Whether it makes less of what a collective brought, which need not be kept for its readers if it is stored: a sum of an all_to_all's terms, or what is looked
 * up in a table that is larger.
 */
function releasesMoved({ op, args, results }: Node): boolean {
  const [x, y] = [args[0], results[0]];
  if (op.name === "reduce") return x?.node.op.name === "all_to_all";
  return op.name === "gather" && x !== undefined && y !== undefined && isMoved(x) && count(y.type) < count(x.type);
}
/** Whether an all_gather brought it, or what it is a view of. */
const isMoved = ({ node: { op, args } }: Value): boolean =>
  op.name === "all_gather" || (op.lower === "view" && args[0] !== undefined && isMoved(args[0]));

/** Visits every node once, in reverse topological order, and decides which values are stored. */
class Fusion {
  readonly #options: FuseOptions;
  readonly #stored: Set<Value>;
  /** Values that are stored for readers in the forward only: kernels of the backward and of the update recompute them. */
  readonly #recomputed = new Set<Value>();
  /** For each value, how long a chain of recomputed values the backward's kernels build on top of it (see `maxRecomputeChain`). */
  readonly #chainAbove = new Map<Value, number>();
  readonly #forward: ReadonlySet<Node>;
  readonly #readers: ReadonlyMap<Value, readonly Node[]>;
  readonly #ofStep: ReadonlySet<Node>;
  readonly #lanes: ReadonlyMap<Node, LaneChain>;
  readonly #accesses = new Map<Value, Accesses>();
  /** For each value, by root: the different chains of views and gathers by which the kernel reads it for one of its elements, each computed anew. */
  readonly #accessPaths = new Map<Value, Map<Value, ReadonlySet<string>>>();
  /** For each root, over how many leading axes its kernel must iterate because of a reduction inside. */
  readonly #depths = new Map<Value, number>();
  readonly #costs = new Map<Node, number>();

  constructor(nodes: readonly Node[], graph: Graph, options: FuseOptions) {
    this.#options = options;
    this.#stored = new Set(valuesOf(graph));
    this.#forward = forwardNodes(graph);
    this.#readers = readersOf(nodes);
    this.#ofStep = scalarsOfStep(nodes);
    this.#lanes = laneChains(graph, this.#forward);
    for (const v of laneOutputs(graph, this.#lanes)) this.#stored.add(v);
    for (const node of nodes) this.#costs.set(node, this.#costOf(node));
    for (const node of nodes.filter(({ op }) => op.name === "after"))
      for (const v of [...node.results, ...node.args.slice(1)]) this.#stored.add(v);
    for (const node of nodes.filter(releasesMoved)) for (const v of node.results) this.#stored.add(v);
    for (const node of nodes.filter((n) => isAnchor(n) && !this.#lanes.has(n)))
      for (const v of node.results) this.#stored.add(v);
    for (const v of operandsInMemory(nodes, this.#lanes)) this.#stored.add(v);
  }
  /** Operations to compute one element from what is in memory, if reductions over rows are already there. */
  #costOf(node: Node): number {
    const [x, y] = [node.args[0], node.results[0]];
    if (isAnchor(node) || node.op.name === "param" || isRowReduction(node) || this.#lanes.has(node)) return loadCost;
    if (!y || count(y.type) === 0) return 0;
    const own = node.op.flops(node) / count(y.type);
    const many = node.op.name === "reduce" && x ? count(x.type) / count(y.type) : 1;
    return own + node.args.reduce((sum, a) => sum + many * this.#argCost(a, y), 0);
  }
  /** What an element of argument `a` costs per element of the result `y`: less if one element of `a` serves many. */
  #argCost(a: Value, y: Value): number {
    const full = this.#cost(a.node);
    const cost = this.#isWorthStoring(full, this.#readers.get(a)?.length ?? 0) ? loadCost : full;
    return count(a.type) * 8 < count(y.type) ? Math.min(cost, 1) : cost;
  }
  /** Whether a buffer saves more than it costs, given the cost of an element and the number of readers. */
  #isWorthStoring(cost: number, readers: number): boolean {
    return (readers - 1) * (cost - loadCost) > minSaving;
  }
  visit(node: Node): void {
    if (node.op.name === "param" || this.#lanes.has(node)) return;
    if (isAnchor(node) && node.op.name !== "reduce") return;
    for (const v of node.results) {
      if (!this.#stored.has(v) && this.#shouldStore(v)) this.#stored.add(v);
      if (this.#stored.has(v) && (this.#chainAbove.get(v) ?? 0) < maxRecomputeChain && this.#isCheapToRecompute(v))
        this.#recomputed.add(v);
      this.#extendChain(v);
      for (const [root, patterns] of this.#rootsOf(v)) {
        if (isRowReduction(node)) this.#depths.set(root, depthIn(v, root));
        for (const p of patterns) node.args.forEach((a, i) => this.#addRead(root, a, argPattern(node, i, p)));
        node.args.forEach((a, i) =>
          this.#addPaths(root, v, a, changesIndex(node, i) ? `${node.op.name}${node.id}.${i}` : null),
        );
      }
    }
  }
  /** Updates `chainAbove` for the arguments: what v reads is recomputed with it, unless it is in memory. */
  #extendChain(v: Value): void {
    const own = this.#chainAbove.get(v) ?? 0;
    const here = this.#recomputed.has(v) ? own + 1 : this.#stored.has(v) ? 0 : own;
    for (const a of v.node.args) this.#chainAbove.set(a, Math.max(here, this.#chainAbove.get(a) ?? 0));
  }
  #cost(node: Node): number {
    return this.#costs.get(node) ?? 0;
  }
  #accessesOf(v: Value): Accesses {
    return this.#accesses.get(v) ?? new Map<Value, AccessPattern[]>();
  }
  /** The kernels that compute a value, and at which of their elements: itself if it is stored, and those that inline or recompute it. */
  #rootsOf(v: Value): Accesses {
    const accesses = this.#accessesOf(v);
    if (!this.#stored.has(v)) return accesses;
    const own: Accesses = new Map([[v, [v.type.shape.map((_, i) => i)]]]);
    if (this.#recomputed.has(v))
      for (const [root, patterns] of accesses) if (this.#isBackward(root)) own.set(root, patterns);
    return own;
  }
  /** Whether a kernel is part of the backward or the update. */
  #isBackward(root: Value): boolean {
    return !this.#forward.has(root.node);
  }
  /** Notes that the kernel of `root` reads v at `pattern`. */
  #addRead(root: Value, v: Value, pattern: AccessPattern): void {
    const accesses = this.#accessesOf(v);
    const known = accesses.get(root) ?? [];
    if (!known.some((p) => p.every((a, i) => a === pattern[i]))) accesses.set(root, [...known, pattern]);
    this.#accesses.set(v, accesses);
  }
  /** Notes the places at which the kernel of `root` needs `to`, given those of `from`; `by` names the view or gather between them. */
  #addPaths(root: Value, from: Value, to: Value, by: string | null): void {
    const here = root === from ? atRoot : (this.#accessPaths.get(from)?.get(root) ?? atRoot);
    const roots = this.#accessPaths.get(to) ?? new Map<Value, ReadonlySet<string>>();
    const moved = [...here].map((place) => (by === null ? place : `${by} ${place}`));
    const all = new Set([...(roots.get(root) ?? []), ...moved]);
    this.#accessPaths.set(to, roots.set(root, new Set([...all].slice(0, maxAccessPaths + 1))));
  }
  /** Whether some kernel would need a value at too many places. (Where a graph joins shifted copies of itself, each step doubles the places.) */
  #hasTooManyPaths(v: Value, roots: Iterable<Value>): boolean {
    if (this.#cost(v.node) <= loadCost) return false;
    return [...roots].some((root) => (this.#accessPaths.get(v)?.get(root)?.size ?? 0) > maxAccessPaths);
  }
  /** Whether the kernel of `root` reads v for elements or rows other than its own, which it would have to compute if merged with the maker of v. */
  #isRemote(v: Value, root: Value): boolean {
    const isRow = isRowReduction(v.node);
    if (!isRow && this.#cost(v.node) <= loadCost) return false;
    const [shape, depth] = [dims(v.type), this.#depths.get(root) ?? Infinity];
    const elsewhere = (p: AccessPattern): boolean => p.some((a, i) => a !== i && i < depth && shape[i] !== 1);
    if (this.#accesses.get(v)?.get(root)?.some(elsewhere)) return true;
    return [...(this.#accessPaths.get(v)?.get(root) ?? [])].some((place) =>
      /gather|slice|concat|dispatch|combine/.test(place),
    );
  }
  /** Whether the backward should recompute a value of the forward: it is cheap, and made from what is kept for the backward anyway. */
  #isCheapToRecompute(v: Value): boolean {
    const { node } = v;
    const accesses = this.#accessesOf(v);
    if (!this.#forward.has(node) || isAnchor(node) || isRowFold(node) || this.#cost(node) > 2 * minSaving) return false;
    if (this.#ofStep.has(node) || releasesMoved(node)) return false;
    const late = [...accesses].filter(([root]) => this.#isBackward(root));
    if (late.length === 0 || this.#isBackwardOperand(v) || this.#readOften(v, late)) return false;
    if (
      this.#hasTooManyPaths(
        v,
        late.map(([root]) => root),
      )
    )
      return false;
    return [...this.#reads(node, false)].every(
      (s) =>
        s.node.op.name === "param" ||
        8 * count(s.type) <= count(v.type) ||
        this.#isBackwardOperand(s) ||
        this.#hasBackwardReader(s, 0),
    );
  }
  /** Whether a root would compute it several times for each of its elements, and it is more than a load. */
  #readOften(v: Value, accesses: readonly [root: Value, patterns: AccessPattern[]][]): boolean {
    const often = ([root, patterns]: (typeof accesses)[number]): boolean =>
      count(root.type) >= 4 * count(v.type) && !patterns.every((p) => isPrefix(p, dims(v.type)));
    return this.#cost(v.node) > loadCost && accesses.some(often);
  }
  /** Whether the backward reads it, directly or through a few views. */
  #hasBackwardReader(v: Value, depth: number): boolean {
    return (this.#readers.get(v) ?? []).some(
      (n) =>
        !this.#forward.has(n) ||
        (depth < 3 && n.op.lower === "view" && n.results.some((r) => this.#hasBackwardReader(r, depth + 1))),
    );
  }
  /** Whether it is an operand of a contraction in the backward, possibly under views, row moves or free casts. */
  #isBackwardOperand(v: Value): boolean {
    return (this.#readers.get(v) ?? []).some((n) =>
      isAnchor(n) && n.op.name !== "reduce"
        ? !this.#forward.has(n)
        : (n.op.lower === "view" || rowMoves.has(n.op.name) || isFree(n)) &&
          n.args[0] === v &&
          n.results.some((r) => this.#isBackwardOperand(r)),
    );
  }
  /** Whether a value that need not be in memory should be stored there. */
  #shouldStore(v: Value): boolean {
    const accesses = this.#accessesOf(v);
    const { node } = v;
    if (isRowReduction(node)) return !this.#foldsInside(v, accesses);
    if (node.op.lower === "leaf" || node.op.lower === "view") return false;
    if (this.#isRoundedProduct(v)) return true;
    // constants of a schedule would be constants of all kernels of the optimizer, to compile again for another number of steps
    if (this.#ofStep.has(node)) return [...accesses.keys()].some((root) => !this.#ofStep.has(root.node));
    const cost = this.#cost(node);
    if (cost > maxRecomputeCost || this.#hasTooManyPaths(v, accesses.keys())) return true;
    const many = [...accesses].filter(([root]) => count(root.type) >= 4 * count(v.type));
    const byRow = many.every(([, patterns]) => patterns.every((p) => isPrefix(p, dims(v.type))));
    if (many.length === accesses.size && byRow) return this.#isCostlyScalar(v, accesses.size);
    return this.#isWorthStoring(cost, accesses.size) || (cost >= 10 && !byRow);
  }
  /** A product rounded to fewer bytes, scaled or not (as one by codes), of which nothing else is read: its kernel stores it so, not in f32. */
  #isRoundedProduct({ node, type }: Value): boolean {
    const [wide] = node.args;
    return node.op.name === "cast" && wide !== undefined && isNarrower(type, wide.type) && this.#isProductAlone(wide);
  }
  #isProductAlone(v: Value): boolean {
    const { op, args } = v.node;
    if (this.#readers.get(v)?.length !== 1) return false;
    return contractions.has(op.name) || (op.lower === "point" && args.some((a) => this.#isProductAlone(a)));
  }
  /** A number that several kernels read (a clip factor), and would compute again for each of their rows, at the cost of many loads. */
  #isCostlyScalar(v: Value, readers: number): boolean {
    return count(v.type) === 1 && readers > 1 && this.#isWorthStoring(this.#cost(v.node), 2);
  }
  /** Whether the reduction v can be computed inside the one kernel that reads it, once for each of that kernel's rows. */
  #foldsInside(v: Value, accesses: Accesses): boolean {
    const [only, ...more] = accesses;
    if (!only || more.length > 0) return false;
    const [root, patterns] = only;
    const [rank, own] = [v.type.shape.length, depthIn(v, root)];
    if (rank === 0 && this.#depths.has(root)) return false; // equal scalar reductions are one kernel, which is compiled once
    const rows = count(v.type);
    const wide = (v.node.args[0] ? count(v.node.args[0].type) : 0) + count(root.type);
    const depth = this.#depths.get(root) ?? own;
    return (
      patterns.every((p) => isPrefix(p, dims(v.type))) &&
      depth === own &&
      rank <= root.type.shape.length &&
      this.#options.foldsInside(rows, wide)
    );
  }
  /** A candidate for each node that has a stored result, for `merge`. */
  candidates(nodes: readonly Node[]): FusionCandidate[] {
    const made = [...this.#nodeCandidates(nodes), ...this.#laneCandidates()];
    const makers = new Map(made.flatMap((c) => c.outputs.map((v) => [v, c] as const)));
    return this.#lanes.size === 0
      ? made
      : topologicalOrder(made, (c) => [...c.reads].flatMap((v) => makers.get(v) ?? []));
  }
  #laneCandidates(): FusionCandidate[] {
    return [...new Set(this.#lanes.values())].flatMap((chain): FusionCandidate[] => {
      const outputs = chain.nodes.flatMap((n) => n.results.filter((v) => this.#stored.has(v)));
      if (outputs.length === 0) return [];
      const computed = [chain, ...chain.recomputes].flatMap((c) => c.nodes);
      const recomputed = new Set(computed.flatMap((n) => n.results));
      const reads = new Set<Value>();
      for (const a of computed.flatMap((n) => n.args).filter((v) => !recomputed.has(v)))
        for (const v of this.#inMemory(a, false) ? [a] : this.#reads(a.node, false))
          if (!recomputed.has(v)) reads.add(v);
      return [
        {
          kind: "lanes",
          nodes: outputs.map((v) => v.node),
          outputs,
          depth: null,
          rows: chain.rows,
          isBackward: chain.isBackward,
          recomputed,
          reads,
          pointwiseReads: new Set(),
          remoteReads: reads,
          summed: null,
        },
      ];
    });
  }
  #nodeCandidates(nodes: readonly Node[]): FusionCandidate[] {
    return nodes
      .filter((n) => !this.#lanes.has(n))
      .flatMap((node): FusionCandidate[] => {
        const outputs = node.results.filter((v) => this.#stored.has(v));
        const [first] = outputs;
        if (first === undefined || node.op.name === "param") return [];
        const isBackward = this.#isBackward(first);
        const reads = this.#reads(node, isBackward);
        const exact = [...reads].filter((v) =>
          this.#accesses
            .get(v)
            ?.get(first)
            ?.every((p) => isPrefix(p, []) && p.length === first.type.shape.length),
        );
        const recomputed = isBackward ? this.#recomputed : new Set<Value>();
        const added = this.#summedReads(node, isBackward);
        return [
          {
            kind: regionKind(node),
            nodes: [node],
            outputs,
            depth: this.#depths.get(first) ?? null,
            rows: 0,
            isBackward,
            recomputed,
            reads,
            pointwiseReads: added ?? new Set(exact),
            remoteReads: new Set([...reads].filter((v) => this.#isRemote(v, first))),
            summed: added && (node.args[0] ?? null),
          },
        ];
      });
  }
  /** What a kernel (`isBackward` or not) reads from memory to compute a node. */
  #reads(node: Node, isBackward: boolean): Set<Value> {
    const found = new Set<Value>();
    const seen = new Set<Node>();
    const visit = (n: Node): void => {
      seen.add(n);
      for (const a of n.args) {
        if (this.#inMemory(a, isBackward)) found.add(a);
        else if (!seen.has(a.node)) visit(a.node);
      }
    };
    visit(node);
    return found;
  }
  #inMemory(v: Value, isBackward: boolean): boolean {
    return (this.#stored.has(v) && !(isBackward && this.#recomputed.has(v))) || v.node.op.name === "param";
  }
  /** For a sum over the last axis, with no reduction inside: what is read only at the element being added. null for any other node. */
  #summedReads(node: Node, isBackward: boolean): Set<Value> | null {
    const [x] = node.args;
    const { fn, axes } = node.attrs as OpAttrs["reduce"];
    if (node.op.name !== "reduce" || !x || fn !== "sum" || axes.join() !== String(x.type.shape.length - 1)) return null;
    const own = x.type.shape.map((_, i) => i);
    const read = new Map<Value, boolean>();
    const seen = new Set<string>();
    let inside = 0;
    const visit = (v: Value, p: AccessPattern): void => {
      const key = `${v.node.id}.${v.index} ${p.join()}`;
      if (seen.has(key)) return;
      seen.add(key);
      if (this.#inMemory(v, isBackward)) return void read.set(v, (read.get(v) ?? true) && p.join() === own.join());
      if (v.node.op.name === "reduce") inside++;
      v.node.args.forEach((a, i) => visit(a, argPattern(v.node, i, p)));
    };
    visit(x, own);
    return inside > 0 ? null : new Set([...read.keys()].filter((v) => read.get(v)));
  }
}
/** Over how many leading axes of the root's a reduction varies: a last axis of a single element (one group of all columns) is none of them. */
function depthIn(v: Value, root: Value): number {
  const [shape, whole] = [dims(v.type), dims(root.type)];
  let depth = shape.length;
  while (depth > 0 && shape[depth - 1] === 1 && (whole[depth - 1] ?? 1) !== 1) depth--;
  return depth;
}
const isNarrower = (a: Type, b: Type): boolean => bytesOf[dtypeOf(a)] < bytesOf[dtypeOf(b)];
const atRoot: ReadonlySet<string> = new Set([""]);
/** Whether a node reads the argument at another place than that of its result. */
const changesIndex = ({ op }: Node, arg: number): boolean =>
  op.lower === "view" || (arg === 0 && rowMoves.has(op.name));
function regionKind(node: Node): Region["kind"] {
  if (contractions.has(node.op.name)) return "tile";
  if (node.op.lower === "collective") return "collective";
  return isAnchor(node) && node.op.name !== "reduce" ? "algorithm" : "rows";
}
