// Legalization, a graph's last rewrite before kernels: it replaces what no kernel does directly, and cuts long reductions into pieces. Cuts depend
// on shapes only and pieces are added in order, so results are bit for bit the same with any schedule and number of threads.
import { Problem } from "../diagnostic.ts";
import { targetFlagText } from "../flag-text.ts";
import { GraphBuilder } from "../graph/builder.ts";
import type { Graph, Node, Value } from "../graph/node.ts";
import { rebuildGraph, storeOf } from "../graph/walk.ts";
import { item } from "../item.ts";
import type { Choices } from "../kernel/schedule.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { ops } from "../ops/list.ts";
import { isOfCodes, operandPairs } from "../ops/pairs.ts";
import { areLastAxes, reshapeBase } from "../regions/region.ts";
import { expandScatters } from "../transform/scatters/scatter.ts";
import { bytesOf, type Element } from "../types/dtype.ts";
import { fromTo, product } from "../types/numbers.ts";
import { count, dims, dtypeOf } from "../types/type.ts";
import { panelWidthsIn, type StorePanels, splitByLayout, type ValuePanels } from "./layout.ts";

export interface Legalized {
  readonly graph: Graph;
  /** The panel widths of values that stand for values of the given graph. */
  readonly panels: ValuePanels;
}
/** A graph that consists only of what kernels exist for. `stores`: those that lie in panels. Throws a Problem where something is f64. */
export function legalize(graph: Graph, choices: LegalizeChoices, stores: StorePanels = new Map()): Legalized {
  const g = new GraphBuilder(ops);
  const expanded = splitByLayout(g, expandScatters(g, graph), stores);
  const panels = panelWidthsIn(expanded, stores);
  const widths = new Map<Value, number>();
  const rebuilt = rebuildGraph(g, expanded, (node, args) => {
    const made = legalizeNode(g, node, args, panels, choices) ?? g.add(node.op, args, node.attrs).results;
    node.results.forEach((v, i) => {
      const width = panels(v);
      if (width !== null) widths.set(item(made, i), width);
    });
    return made;
  });
  return { graph: rebuilt, panels: (v) => widths.get(v) ?? null };
}
type LegalizeChoices = Pick<Choices, "splitK" | "pitch" | "movesOnly">;
type SplitK = Choices["splitK"];
function legalizeNode(
  g: GraphBuilder,
  node: Node,
  args: readonly Value[],
  panels: ValuePanels,
  { splitK, pitch, movesOnly }: LegalizeChoices,
): readonly Value[] | null {
  if (node.results.some((v) => v.type.dtype === "f64"))
    throw new Problem(
      "the host and CUDA targets compute in f32, and this program asks for f64",
      `use ${targetFlagText("reference")}`,
    );
  if (node.op.name === "dot") return splitContraction(g, args, splitK);
  if (node.op.name === "all_reduce")
    return movesOnly ? [lowerAllReduce(g, item(args, 0), node.attrs as OpAttrs["all_reduce"])] : null;
  if (node.op.lower === "collective" && pitch)
    return g.add(node.op, [contiguous(g, item(args, 0), pitch), ...args.slice(1)], node.attrs).results;
  if (node.op.name !== "reduce") return null;
  const { fn, axes } = node.attrs as OpAttrs["reduce"];
  const [x, width] = [item(args, 0), panels(item(node.args, 0))];
  const ordered = width === null ? null : inMemoryOrder(g, x, axes, width);
  return [ordered ? buildReduce(g, fn, ordered, [ordered.type.shape.length - 1]) : buildReduce(g, fn, x, axes)];
}
/** A value in panels with the reduced axes as one last axis, in the order of memory; null where the reduction does not cover whole matrices. */
function inMemoryOrder(g: GraphBuilder, x: Value, axes: readonly number[], width: number): Value | null {
  const shape = dims(x.type);
  const rank = shape.length;
  if (axes.length < 2 || !areLastAxes(axes, rank)) return null;
  const [outer, columns] = [shape.slice(0, -1), item(shape, rank - 1)];
  const panels = b.reshape(g, x, [...outer, columns / width, width]);
  const transposed = b.transpose(g, panels, [...fromTo(0, rank - 2), rank - 1, rank - 2, rank]);
  return b.reshape(g, transposed, [...shape.slice(0, rank - axes.length), product(axes.map((a) => item(shape, a)))]);
}

/**
 * A fold (a reduction over the last axes) of more than `longFold` elements is cut, or `longRow` where there are `manyRows` folds or more. A reduction
 * over other axes is cut above `manyRows` elements.
 */
const longFold = 1 << 14;
const longRow = 1 << 18;
const manyRows = 64;
type Fn = OpAttrs["reduce"]["fn"];

/** A reduction, perhaps in pieces. Of bf16 the pieces' results are f32, as accumulators in a kernel are, and only the end result is rounded. */
function buildReduce(g: GraphBuilder, fn: Fn, x: Value, axes: readonly number[]): Value {
  if (x.type.dtype !== "bf16") return splitReduce(g, fn, x, axes);
  const wide = b.cast(g, x, "f32");
  const sum = splitReduce(g, fn, wide, axes);
  const isCut = sum !== b.make1(g, "reduce", [wide], { fn, axes });
  return isCut ? b.cast(g, sum, "bf16") : b.make1(g, "reduce", [x], { fn, axes });
}
/** A large reduction is done axis by axis, and one over a long axis in two steps, each of about the square root of its length. */
function splitReduce(g: GraphBuilder, fn: Fn, x: Value, axes: readonly number[]): Value {
  const shape = dims(x.type);
  const total = product(axes.map((a) => item(shape, a)));
  const last = axes.at(-1) ?? 0;
  const fold = areLastAxes(axes, shape.length);
  const then = (inner: Value, rest: readonly number[]): Value => splitReduce(g, fn, inner, rest);
  const most = !fold ? manyRows : product(shape) >= manyRows * total ? longRow : longFold;
  if (total <= most) return b.make1(g, "reduce", [x], { fn, axes });
  if (axes.length > 1 && !(fold && item(shape, last) < manyRows)) return then(then(x, [last]), axes.slice(0, -1));
  const [first = 0] = axes;
  const piece = divisor(total);
  if (piece === 1) return b.make1(g, "reduce", [x], { fn, axes });
  const pieces = b.reshape(g, x, shape.toSpliced(first, axes.length, total / piece, piece));
  return then(then(pieces, [first + 1]), [first]);
}
/** A sum of products whose long depths are cut into pieces; null if none is cut. */
function splitContraction(g: GraphBuilder, args: readonly Value[], splitK: SplitK): Value[] | null {
  const products = operandPairs(args).map(([x, y]) => [contracted(g, x, y, splitK), b.dot(g, x, y)] as const);
  if (products.every(([made, whole]) => made === whole)) return null;
  const pieces = products.map(([made]) => made);
  return [b.addAll(g, pieces)];
}
function contracted(g: GraphBuilder, x: Value, y: Value, pieceOf: SplitK): Value {
  const lead = dims(x.type).slice(0, -2);
  const [m = 0, k = 0] = dims(x.type).slice(-2);
  const n = item(dims(y.type), lead.length + 1);
  const isBf16 = x.type.dtype === "bf16";
  const groups = product(lead);
  const piece = pieceOf({
    op: "dot",
    groups,
    m,
    n,
    k,
    operands: 1,
    pairs: 1,
    isBf16,
    isLeftTransposed: b.isTransposed(x),
    ...(isOfCodes(y) && { codes: castFrom(x) === "bf16" ? "bf16" : "f32" }),
  });
  if (piece >= k) return b.dot(g, x, y);
  if (!isBf16) return splitDepth(g, x, y, piece);
  return b.cast(g, splitDepth(g, b.cast(g, x, "f32"), b.cast(g, y, "f32"), piece), "bf16");
}
/** The dtype that a value has in memory, if it is a cast. */
const castFrom = ({ node, type }: Value): Element | undefined =>
  node.op.name === "cast" ? node.args[0]?.type.dtype : type.dtype;
/** A product with its depth cut: the sum of products of `piece` steps each, plus one of the remaining steps. */
function splitDepth(g: GraphBuilder, x: Value, y: Value, piece: number): Value {
  const [lead, m, k] = [dims(x.type).slice(0, -2), ...dims(x.type).slice(-2)] as [number[], number, number];
  const rank = lead.length;
  const [count, whole] = [Math.floor(k / piece), k - (k % piece)];
  // A left operand that is a transpose is sliced before the transpose, so that it still is one.
  const deep = b.isTransposed(x) ? b.swap(g, x) : null;
  const from = (start: number, size: number): [Value, Value] => [
    deep ? b.swap(g, b.slice(g, deep, rank, start, size)) : b.slice(g, x, rank + 1, start, size),
    b.slice(g, y, rank, start, size),
  ];
  const [left, right] = whole === k ? [x, y] : from(0, whole);
  const a = deep
    ? b.swap(g, b.reshape(g, b.swap(g, left), [...lead, count, piece, m]))
    : b.swap(g, b.reshape(g, left, [...lead, m, count, piece]), rank, rank + 1);
  const columns = item(dims(y.type), rank + 1);
  const sum = b.sum(g, b.dot(g, a, b.reshape(g, right, [...lead, count, piece, columns])), [rank]);
  return whole === k ? sum : b.add(g, sum, b.dot(g, ...from(whole, k - whole)));
}
/** The largest divisor of n up to its square root, or a little above it. */
function divisor(n: number): number {
  for (let d = Math.min(n, 2 ** Math.ceil(Math.log2(Math.sqrt(n)))); d > 1; d--) if (n % d === 0) return d;
  return 1;
}

/** Up to so many bytes of all workers, each worker adds up everything itself; as on the host (`small_reduce` of runtime/native/collective.cpp). */
const gatheredBytes = 1 << 14;
/**
 * An all_reduce as moves and a local reduction in the order of workers. Of few bytes each worker gets everything and adds it up. Of more, each gets
 * one part from all (all_to_all), adds that up, and the sums are gathered.
 */
function lowerAllReduce(g: GraphBuilder, x: Value, { fn, ...group }: OpAttrs["all_reduce"]): Value {
  const { workers } = group;
  const [{ op, args, attrs }, shape, n] = [x.node, dims(x.type), count(x.type)];
  // A transposed value is reduced in the order of memory.
  if (op.name === "transpose")
    return b.make1(g, "transpose", [lowerAllReduce(g, item(args, 0), { fn, ...group })], attrs as OpAttrs["transpose"]);
  const isFew = n * workers * bytesOf[dtypeOf(x.type)] <= gatheredBytes;
  const each = isFew ? n : Math.ceil(n / workers);
  const gathered = (v: Value): Value => b.make1(g, "all_gather", [v], group);
  if (isFew) return b.reshape(g, buildReduce(g, fn, gathered(b.reshape(g, x, [1, n])), [0]), shape);
  const rows = b.reshape(g, b.pad(g, b.reshape(g, x, [n]), 0, 0, workers * each - n), [workers, each]);
  const own = buildReduce(g, fn, b.make1(g, "all_to_all", [rows], group), [0]);
  return b.reshape(g, b.slice(g, gathered(own), 0, 0, n), shape);
}
/** Rows of prepared bf16 stores may be padded to a longer pitch; collectives need rows without gaps, so such a store is copied first. */
function contiguous(g: GraphBuilder, v: Value, pitch: NonNullable<Choices["pitch"]>): Value {
  const { node, type } = reshapeBase(v);
  const columns = dims(type).at(-1) ?? 1;
  const isLonger = storeOf(node) !== null && type.dtype === "bf16" && pitch(columns, bytesOf.bf16) > columns;
  return isLonger ? b.detach(g, v) : v;
}
