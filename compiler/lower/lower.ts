// Lowers a graph to launches: cuts it into regions, writes their kernels, and makes the virtual buffers between them.
import { createHash } from "node:crypto";
import { Bug, locationText } from "../diagnostic.ts";
import type { Graph, Node, Store, Value } from "../graph/node.ts";
import { nodesOf, useCounts, valuesOf } from "../graph/walk.ts";
import { item } from "../item.ts";
import { accessOf } from "../kernel/access.ts";
import { contiguousLayout } from "../kernel/builder.ts";
import { byGroup } from "../kernel/by-group.ts";
import type { Kernel } from "../kernel/ir.ts";
import { mergeSums } from "../kernel/merge-sums.ts";
import { mergeMoments } from "../kernel/moments.ts";
import { finishKernel } from "../kernel/passes.ts";
import { addPrefetches } from "../kernel/prefetch.ts";
import { print, showBuffer } from "../kernel/print.ts";
import { cutAtRowEnds } from "../kernel/row-ends.ts";
import {
  alignBlocks,
  type Choices,
  type Contraction,
  contractionKey,
  hostChoices,
  type Schedule,
} from "../kernel/schedule.ts";
import { verify } from "../kernel/verify.ts";
import { getOrMake } from "../memoize.ts";
import type { LaunchShape, Layout, Phase, PlanKernel, Variant } from "../plan/plan.ts";
import type { Assign, Sequence, VirtualArg, VirtualBuffer, VirtualLaunch } from "../plan/sequence.ts";
import { fuse } from "../regions/fuse.ts";
import { type Region, reshapeBase } from "../regions/region.ts";
import { bytesOf } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { count, dims, dtypeOf } from "../types/type.ts";
import { bytesMoved, fractionsRead } from "./bytes-moved.ts";
import { Chain, type KernelPart } from "./chain.ts";
import { collectiveLaunch } from "./collective.ts";
import {
  type ConcatPiece,
  concatIndex,
  concatPiecesOf,
  findInPlacePieces,
  type InPlacePieces,
  slicedValues,
  writePiece,
} from "./concat-pieces.ts";
import { type ConcatSlot, Draft, type LoweringContext, type ParamBinding, virtualBuffer } from "./draft.ts";
import { launchesOf } from "./launches.ts";
import type { StorePanels } from "./layout.ts";
import { type Legalized, legalize } from "./legalize.ts";
import { lateNodes, phasesOf } from "./phases.ts";
import { nameOf } from "./reader.ts";

export interface Emitted {
  readonly text: string;
  readonly scratch: number;
  readonly tasks: number;
  readonly launch?: LaunchShape;
}
/** Whether a store's form is the plan's alone, so that its rows may be padded. */
const isOfPlan = ({ role, quantised }: Store): boolean => role === "prepared" || quantised !== undefined;
export interface LowerOptions {
  /** Emits the text of a kernel for the target. */
  readonly emit: (k: Kernel) => Emitted;
  /**
   * The stores of the program. Roles decide the phases of a train entry (optimizer state belongs to the update), and prepared stores and codes may
   * have padded rows.
   */
  readonly stores?: readonly Store[];
  /** Called with each distinct kernel. */
  readonly onKernel?: ((k: Kernel) => void) | undefined;
  /** Schedules found by `moec tune`, by `contractionKey`. */
  readonly schedules?: ReadonlyMap<string, Schedule> | undefined;
  /** The target's choices; the host's if not given. */
  readonly choices?: Choices;
  /** The stores that lie in panels, from `choosePanels` over all graphs that share them. */
  readonly panels?: StorePanels;
  /** Second versions of kernels (for sm_90a), for contractions that `choice` gives a schedule. */
  readonly variants?: Variants | undefined;
  /** How a kernel uses a buffer that it reads; the default assumes that tasks run their statements in order, as on the host. */
  readonly access?: typeof accessOf;
}

interface Variants {
  readonly choice: (c: Contraction) => Schedule | null;
  readonly emit: (k: Kernel) => Variant | null;
}

/** The launches that compute a graph, in an order in which each comes after what it reads. Buffers have no place in memory yet. */
export function lower(graph: Graph, options: LowerOptions): Sequence {
  const { choices = hostChoices } = options;
  const legalized = legalize(graph, choices, options.panels);
  const regions = fuse(legalized.graph, choices.regions);
  const lowering = new Lowering(legalized, options, findInPlacePieces(legalized.graph, regions));
  for (const region of regions) lowering.lowerRegion(region);
  lowering.endChain();
  return lowering.sequence();
}

interface DraftedKernel {
  readonly d: Draft;
  readonly kernel: Kernel;
  /** Its name and its text. */
  readonly printed: string;
}
class Lowering implements LoweringContext {
  readonly #graph: Graph;
  readonly #options: LowerOptions;
  readonly #panels: Legalized["panels"];
  readonly #buffers = new Map<Value, VirtualBuffer>();
  readonly #stores = new Map<string, VirtualBuffer>();
  readonly #partialSums = new Map<Value, VirtualBuffer>();
  readonly #useCounts: ReadonlyMap<Value, number>;
  readonly #results: ReadonlySet<Value>;
  /** Values whose rows have no padding: results, and what is copied as a whole or moved between workers. */
  readonly #unpadded: Set<Value>;
  readonly #padded: ReadonlySet<string>;
  readonly #inPlace: InPlacePieces;
  readonly #sliced: ReadonlySet<Value>;
  readonly #phases: ReadonlyMap<Node, Phase>;
  readonly #late: ReadonlySet<Node>;
  readonly #kernels = new Map<string, PlanKernel & { origins: string[] }>();
  /** By the printed kernel: equal layers have equal kernels, which are emitted once. */
  readonly #emitted = new Map<string, Emitted>();
  readonly #launches: VirtualLaunch[] = [];
  readonly #chain: Chain;

  constructor({ graph, panels }: Legalized, options: LowerOptions, inPlace: InPlacePieces) {
    this.#graph = graph;
    this.#options = options;
    this.#inPlace = inPlace;
    this.#panels = panels;
    this.#padded = new Set((options.stores ?? []).filter(isOfPlan).map((s) => s.name));
    const isOwn = (r: Graph["results"][number]): boolean => r.role === "store" && this.#padded.has(r.name);
    this.#unpadded = new Set(graph.results.filter((r) => !isOwn(r)).map((r) => r.value));
    const nodes = nodesOf(graph);
    this.#results = new Set(valuesOf(graph));
    this.#sliced = slicedValues(nodes);
    this.#useCounts = useCounts([], nodes);
    for (const { op, args, results } of nodes)
      if (op.name === "scatter" || op.lower === "collective")
        for (const v of [...args, ...args.map(reshapeBase), ...results]) this.#unpadded.add(v);
    this.#phases = phasesOf(graph, options.stores ?? []);
    this.#late = this.choices.movesOnly ? lateNodes(graph, this.#phases) : new Set();
    this.#chain = new Chain(this.choices.chain);
  }
  bufferOf(v: Value): VirtualBuffer | null {
    if (v.node.op.name !== "param") return this.#buffers.get(v) ?? null;
    const { store } = v.node.attrs as { readonly store: string };
    return getOrMake(this.#stores, store, () => this.#newBuffer(store, v, store));
  }
  partialSumsOf(v: Value): VirtualBuffer {
    return getOrMake(this.#partialSums, v, () =>
      virtualBuffer(`sums.${v.node.id}`, "f32", partialSumShape(v, this.choices.regions.sums), null),
    );
  }
  concatSlots(v: Value): readonly ConcatSlot[] {
    return (this.#inPlace.pieces.get(v) ?? []).map((step) => this.#concatSlot(step, v));
  }
  #concatSlot(step: ConcatPiece, v: Value): ConcatSlot {
    return { buffer: this.#outputBuffer(step.concat), at: concatIndex(step, v) };
  }
  isReadInSlices(v: Value): boolean {
    return this.#sliced.has(v);
  }
  hasManyUses(v: Value): boolean {
    return (this.#useCounts.get(v) ?? 0) > 1;
  }
  get choices(): Choices {
    return this.#options.choices ?? hostChoices;
  }
  schedule(c: Contraction): Schedule {
    const chosen = this.#options.schedules?.get(contractionKey(c)) ?? this.choices.contraction(c);
    return alignBlocks(chosen, this.choices.form(c), c, this.choices.panel);
  }
  #newBuffer(name: string, v: Value, store: string | null): VirtualBuffer {
    const width = this.#panels(v);
    const layout: Layout = width === null ? this.#rowLayout(v, store) : { kind: "panels", width };
    return virtualBuffer(name, dtypeOf(v.type), dims(v.type), store, layout);
  }
  /** The layout of a value in rows. Temporaries, prepared stores and codes may have padded rows. */
  #rowLayout(v: Value, store: string | null): Layout {
    const contiguous = contiguousLayout(dims(v.type));
    const isUnpadded = store === null ? this.#unpadded.has(v) : !this.#padded.has(store);
    if (isUnpadded || !this.choices.pitch || v.type.shape.length < 2) return contiguous;
    return { kind: "rows", pitch: this.choices.pitch(contiguous.pitch, bytesOf[dtypeOf(v.type)]) };
  }
  /** The buffer of a value that a kernel makes. */
  #outputBuffer(v: Value): VirtualBuffer {
    const name = `${nameOf(v.node)}.${v.node.id}${v.node.results.length > 1 ? `.${v.index}` : ""}`;
    return getOrMake(this.#buffers, v, () => this.#newBuffer(name, v, null));
  }
  lowerRegion(region: Region): void {
    for (const v of region.outputs) if (!this.#inPlace.unbuffered.has(v)) this.#outputBuffer(v);
    if (region.outputs.every((v) => product(dims(v.type)) === 0)) return;
    const [node] = region.nodes;
    if (node && region.kind === "collective") return this.#lowerCollective(node);
    if (node?.op.name === "concat" && region.kind === "algorithm")
      return this.#lowerConcat(region, item(node.results, 0));
    for (const { kind, write, outputs, nodes } of launchesOf(region, this.choices, (v) => this.#isRead(v)))
      this.#lowerLaunch(outputs ? { ...region, outputs } : region, kind, write, nodes);
  }
  /** Adds a collective, which has no kernel. */
  #lowerCollective(node: Node): void {
    const read = node.args
      .map((v) => this.bufferOf(v) ?? this.bufferOf(reshapeBase(v)))
      .filter((buffer) => buffer !== null);
    if (read.length < node.args.length) throw new Bug(`an operand of ${node.op.name} is not in memory`);
    const phase = this.#phases.get(node) ?? "forward";
    this.endChain();
    this.#launches.push(collectiveLaunch(node, read, this.#outputBuffer(item(node.results, 0)), phase));
  }
  /** Copies, or computes, the pieces of a concat that no other kernel writes in place. */
  #lowerConcat(region: Region, concat: Value): void {
    for (const step of concatPiecesOf(concat)) {
      if (product(dims(step.piece.type)) === 0 || this.#inPlace.pieces.has(reshapeBase(step.piece))) continue;
      const nodes = this.#computedNodes({ ...region, outputs: this.bufferOf(step.piece) ? [] : [step.piece] });
      this.#lowerLaunch(region, "piece", (d) => writePiece(d, step, this.#concatSlot(step, step.piece)), nodes);
    }
  }
  #isRead(v: Value): boolean {
    return this.#useCounts.has(v) || this.#results.has(v);
  }
  #lowerLaunch(region: Region, kind: string, write: (d: Draft) => void, given?: readonly Node[]): void {
    const nodes = given ?? this.#computedNodes(region);
    const phase = this.#phases.get(item(region.outputs, 0).node) ?? "forward";
    const part: KernelPart = { region, kind, write, nodes, phase, isLate: nodes.some((n) => this.#late.has(n)) };
    const own = this.#draftKernel([part]);
    if (this.#isChainable(part, own)) return this.#addToChain(part, own);
    if (this.#chain.isReadBy(own.d.bindings)) this.endChain();
    this.#addLaunch([part], own);
  }
  #addToChain(part: KernelPart, own: DraftedKernel): void {
    const shared = this.#emittedOf(own).launch?.shared ?? 0;
    if (!this.#chain.takes(part, own.d.bindings, shared)) this.endChain();
    this.#chain.add(part, own.d.bindings, shared);
  }
  /** Whether a kernel has a single task of elementwise work and reductions, so that it can be a part of a chain. */
  #isChainable({ nodes }: KernelPart, drafted: DraftedKernel): boolean {
    if (!this.choices.chain || drafted.d.bindings.some((g) => g.base !== null || g.access === "part")) return false;
    return !nodes.some((n) => n.op.lower === "tile") && this.#emittedOf(drafted).tasks === 1;
  }
  /** Writes the kernel of the waiting parts. */
  endChain(): void {
    const parts = this.#chain.end();
    if (parts.length > 0) this.#addLaunch(parts, this.#draftKernel(parts));
  }
  #addLaunch(parts: readonly KernelPart[], drafted: DraftedKernel): void {
    const { d, kernel } = drafted;
    const [outputs, nodes] = [parts.flatMap((p) => p.region.outputs), [...new Set(parts.flatMap((p) => p.nodes))]];
    const written = this.#fractionsWritten(outputs);
    const { made, tasks } = this.#internKernel(parts, drafted, nodes);
    if (tasks === 0) return;
    const args = d.bindings.map((g) => virtualArgOf(kernel, g, this.#options.access ?? accessOf));
    const read = parts.flatMap((p) => [...fractionsRead(p.region.outputs, p.nodes, (v) => this.bufferOf(v))]);
    this.#launches.push({
      kernel: made,
      args,
      tasks,
      flops: nodes.reduce((sum, n) => sum + n.op.flops(n), 0),
      bytes: bytesMoved(args, new Map([...read, ...written])),
      phase: item(parts, 0).phase,
      ...groupsOf(kernel, d.bindings),
    });
  }
  /** The fraction that is written of each concat buffer that gets the outputs as pieces. */
  #fractionsWritten(outputs: readonly Value[]): [VirtualBuffer, number][] {
    const steps = outputs.flatMap((v) => this.#inPlace.pieces.get(v) ?? []);
    return steps.map(({ concat, piece }) => [this.#outputBuffer(concat), count(piece.type) / count(concat.type)]);
  }
  #draftKernel(parts: readonly KernelPart[], schedule: Schedule | null = null): DraftedKernel {
    const names = new Set(parts.flatMap((p) => p.nodes.map(nameOf)));
    const d = new Draft([...names].join(" "), this, item(parts, 0).region, schedule);
    for (const [i, part] of parts.entries()) {
      if (i > 0) d.nextPart(part.region);
      part.write(d);
    }
    const kind = [...new Set(parts.map((p) => p.kind))].join("_");
    const { cutsRows, mergesSums } = this.choices.rows;
    const finished = finishKernel(d.k.kernel("kernel"));
    const cut = cutsRows === null ? finished : cutAtRowEnds(finished, cutsRows);
    const unnamed = addPrefetches(mergesSums ? mergeSums(mergeMoments(cut)) : cut);
    const printed = print(unnamed);
    const name = `${kind}_${createHash("sha256").update(printed).digest("hex").slice(0, 8)}`;
    return { d, kernel: { ...unnamed, name }, printed: `${name} ${printed}` };
  }
  #emittedOf({ kernel, printed }: DraftedKernel): Emitted {
    return getOrMake(this.#emitted, printed, () => {
      verify(kernel);
      return this.#options.emit(kernel);
    });
  }
  /** The kernel's second version, with the schedule that `variants` chooses; null if there is none, or if its arguments would differ. */
  #variant(parts: readonly KernelPart[], { bindings, scheduled }: Draft): Variant | null {
    const schedule = scheduled && this.#options.variants?.choice(scheduled.contraction);
    if (!schedule) return null;
    const { d, kernel } = this.#draftKernel(parts, schedule);
    const same =
      d.bindings.length === bindings.length &&
      d.bindings.every(
        (g, i) => bindings[i] !== undefined && g.buffer === bindings[i].buffer && g.offset === bindings[i].offset,
      );
    if (!same) return null;
    verify(kernel);
    return this.#options.variants?.emit(kernel) ?? null;
  }
  /** The kernel with this text: equal ones are shared, and the program lines that they serve are collected. */
  #internKernel(
    parts: readonly KernelPart[],
    drafted: DraftedKernel,
    nodes: readonly Node[],
  ): { readonly made: PlanKernel; readonly tasks: number } {
    const { d, kernel } = drafted;
    const { text, tasks, ...needs } = this.#emittedOf(drafted);
    const known = this.#kernels.get(text);
    if (!known) this.#options.onKernel?.(kernel);
    const variant = known ? null : this.#variant(parts, d);
    const made = known ?? {
      name: kernel.name,
      text,
      params: kernel.params.map(showBuffer),
      origins: [],
      ...needs,
      schedule: scheduleOf(d),
      ...(variant ? { variant } : {}),
    };
    this.#kernels.set(text, made);
    for (const o of nodes.flatMap((n) => (n.span ? [locationText(n.span)] : [])))
      if (!made.origins.includes(o)) made.origins.push(o);
    return { made, tasks };
  }
  /** The nodes that a region's kernel computes, each after its operands. */
  #computedNodes(region: Region): Node[] {
    const seen = new Set<Node>();
    const visit = (node: Node): void => {
      if (seen.has(node)) return;
      for (const a of node.args) if (!this.bufferOf(a) || region.recomputed.has(a)) visit(a.node);
      seen.add(node);
    };
    for (const v of region.outputs) visit(v.node);
    return [...seen];
  }
  sequence(): Sequence {
    const assigns: Assign[] = [];
    const results: Sequence["results"][number][] = [];
    for (const { role, name, value } of this.#graph.results) {
      const buffer = this.bufferOf(value);
      if (!buffer) continue;
      if (role === "store") assigns.push({ store: name, from: buffer });
      else results.push({ role, name, buffer });
    }
    return { entry: this.#graph.name, launches: this.#launches, assigns, results };
  }
}
const scheduleOf = ({ scheduled }: Draft): PlanKernel["schedule"] =>
  scheduled ? { shape: contractionKey(scheduled.contraction), choice: { ...scheduled.schedule } } : undefined;
function groupsOf(kernel: Kernel, bindings: readonly ParamBinding[]): Pick<VirtualLaunch, "byGroup"> {
  const found = byGroup(kernel);
  const offsets = bindings.find(({ param, offset }) => param === found?.offsets && offset === 0)?.buffer;
  if (!found || !offsets) return {};
  const rows = bindings.map(({ param, offset }) => (offset === 0 ? (found.rows.get(param) ?? null) : null));
  return { byGroup: { groups: found.groups, offsets, rows } };
}
/** The shape of a value's partial sums: one for each group of `columns` columns, for each row. */
function partialSumShape(v: Value, columns: number): number[] {
  const shape = dims(item(v.node.args, 0).type);
  return [...shape.slice(0, -2), item(shape, shape.length - 1) / columns, item(shape, shape.length - 2)];
}
function virtualArgOf(kernel: Kernel, g: ParamBinding, access: typeof accessOf): VirtualArg {
  if (g.base) return { buffer: g.buffer, access: "update", base: g.base };
  if (g.offset === 0) return { buffer: g.buffer, access: g.access === "read" ? access(kernel, g.param) : g.access };
  return { buffer: g.buffer, access: g.access, byteOffset: g.offset * bytesOf[g.buffer.dtype] };
}
