// Graph to launches: regions, a kernel for each, and the buffers between them.
import { createHash } from "node:crypto";
import { Bug } from "../diagnostic.ts";
import type { Graph, Node, Store, Value } from "../graph/node.ts";
import { storeOf, topological, valuesOf } from "../graph/walk.ts";
import type { LaunchShape, Layout, PlanKernel, Variant } from "../plan/plan.ts";
import type { Assign, Sequence, VirtualArg, VirtualBuffer, VirtualLaunch } from "../plan/sequence.ts";
import type { Region } from "../transform/region.ts";
import { forwardNodes, fuse } from "../transform/regions.ts";
import { bytesOf, type DType } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { count, dims, dtypeOf } from "../types/type.ts";
import { accessOf } from "./access.ts";
import * as algorithms from "./algorithms.ts";
import { spread } from "./asks.ts";
import { attention, attentionJoin, type KeyPieces, keyPieces } from "./attention.ts";
import { attentionKeys, attentionQueries } from "./attention-backward.ts";
import { attentionForward, attentionHeads, goesByHeads, goesTransposed } from "./attention-host.ts";
import { rowsLayout } from "./build.ts";
import * as contract from "./contract.ts";
import { cutoff, cutoffEnd, cutoffPieces, cutoffRound, cutoffRounds } from "./cutoff.ts";
import { Draft, type Given, type Home, type Memory } from "./draft.ts";
import { type Expanded, expand } from "./expand.ts";
import { ceil, footprint, item } from "./expr.ts";
import type { Kernel } from "./ir.ts";
import * as largest from "./largest.ts";
import type { StorePanels } from "./layout.ts";
import { bytesMoved, partsRead } from "./moved.ts";
import { finished } from "./passes.ts";
import { print } from "./print.ts";
import * as routing from "./route.ts";
import { rows } from "./rows.ts";
import { type Choices, type Contraction, contractionKey, fitting, hostChoices, type Schedule } from "./schedule.ts";
import { type SortPass, sortedShape, sortPass, sortPasses } from "./sort.ts";
import { isReadInSteps, placeOf, type Step, type Steps, stepsIn, stepsOf, under, writePiece } from "./steps.ts";
import { verify } from "./verify.ts";

export interface Emitted {
  readonly text: string;
  readonly scratch: number;
  readonly tasks: number;
  readonly launch?: LaunchShape;
}
export interface LowerOptions {
  /** The text of a kernel on the target. */
  readonly emit: (k: Kernel) => Emitted;
  /** Which are the optimizer's tells of the phases of a train entry; those that are prepared lie as suits the target. */
  readonly stores?: readonly Store[];
  /** Told of each different kernel. */
  readonly seen?: (k: Kernel) => void;
  /** Schedules that were measured, by `contractionKey`. */
  readonly schedules?: ReadonlyMap<string, Schedule>;
  /** What the target chooses otherwise; the host's if not given. */
  readonly choices?: Choices;
  /** Stores that lie in panels: `panelsOf` all graphs that share them. */
  readonly panels?: StorePanels;
  /** Kernels that the target has beside its own, for contractions with a schedule for them. */
  readonly variants?: Variants;
  /** How a kernel uses a buffer that it reads; as tasks that run one after the other do, if not given. */
  readonly access?: typeof accessOf;
}

export interface Variants {
  readonly choice: (c: Contraction) => Schedule | null;
  readonly emit: (k: Kernel) => Variant | null;
}

/** The launches that compute a graph, each after what it reads, over buffers that have no place in memory yet. */
export function lower(graph: Graph, options: LowerOptions): Sequence {
  const { choices = hostChoices } = options;
  const expanded = expand(graph, choices, options.panels);
  const regions = fuse(expanded.graph, choices);
  const lowering = new Lowering(expanded, options, stepsIn(expanded.graph, regions));
  for (const region of regions) lowering.region(region);
  lowering.endChain();
  return lowering.sequence();
}

type Phase = VirtualLaunch["phase"];
/** What one kernel makes, or one part of a kernel. `nodes`: those that it computes. */
interface Part {
  readonly region: Region;
  readonly kind: string;
  readonly f: (d: Draft) => void;
  readonly nodes: readonly Node[];
  readonly phase: Phase;
}
interface Written {
  readonly d: Draft;
  readonly kernel: Kernel;
}
type Write = (kind: string, f: (d: Draft) => void) => void;

/** The kernels of ops that are not made element by element; a `route`, and a `top_k` of many, take several. */
type Build = (d: Draft, node: Node, region: Region) => void;
const builders: Readonly<Partial<Record<string, Readonly<Record<string, Build>>>>> = {
  dot: { dot: contract.dot },
  ragged_dot: { ragged_dot: contract.raggedDot },
  ragged_outer: { ragged_outer: contract.raggedOuter },
  ragged_sum: { ragged_sum: contract.raggedSum },
  scan: { scan: algorithms.scan },
  top_k: { top_k: largest.topK },
  cutoff: { cutoff },
  scatter: { put: (d, _, { nodes }) => algorithms.scatterSet(d, nodes) },
  attention: { attention: (d, node) => attention(d, node) },
  attention_backward: { attention_queries: attentionQueries, attention_keys: attentionKeys },
};

class Lowering implements Memory {
  private readonly graph: Graph;
  private readonly options: LowerOptions;
  private readonly panels: Expanded["panels"];
  private readonly buffers = new Map<Value, VirtualBuffer>();
  private readonly stores = new Map<string, VirtualBuffer>();
  private readonly sums = new Map<Value, VirtualBuffer>();
  private readonly uses = new Map<Value, number>();
  /** Whose rows lie one after another: results, and what is copied as a whole. */
  private readonly plain: Set<Value>;
  private readonly prepared: ReadonlySet<string>;
  private readonly steps: Steps;
  readonly inSteps: boolean;
  private readonly phases: ReadonlyMap<Node, Phase>;
  private readonly kernels = new Map<string, PlanKernel & { origins: string[] }>();
  /** By the kernel as it prints: layers have the same ones. */
  private readonly emitted = new Map<string, Emitted>();
  private readonly launches: VirtualLaunch[] = [];
  /** Parts that wait to be one kernel. */
  private readonly chain: Part[] = [];
  /** Bytes of shared memory that its parts take. */
  private chained = 0;
  /** Of the kernel that is written. */
  private scheduled: PlanKernel["schedule"];
  private contraction: Contraction | null = null;
  /** Where a variant is written. */
  private forced: Schedule | null = null;

  constructor({ graph, panels }: Expanded, options: LowerOptions, steps: Steps) {
    this.graph = graph;
    this.options = options;
    this.steps = steps;
    this.panels = panels;
    this.prepared = new Set((options.stores ?? []).filter((s) => s.role === "prepared").map((s) => s.name));
    const isOwn = (r: Graph["results"][number]): boolean => r.role === "store" && this.prepared.has(r.name);
    this.plain = new Set(graph.results.filter((r) => !isOwn(r)).map((r) => r.value));
    const nodes = topological(valuesOf(graph));
    this.inSteps = isReadInSteps(nodes);
    for (const node of nodes) {
      for (const a of node.args) this.uses.set(a, (this.uses.get(a) ?? 0) + 1);
      if (node.op.name === "scatter") for (const v of [...node.args, ...node.results]) this.plain.add(v);
    }
    this.phases = phasesOf(graph, options.stores ?? []);
  }
  bufferOf(v: Value): VirtualBuffer | null {
    if (v.node.op.name !== "param") return this.buffers.get(v) ?? null;
    const { store } = v.node.attrs as { readonly store: string };
    const known = this.stores.get(store) ?? this.virtual(store, v, store);
    this.stores.set(store, known);
    return known;
  }
  sumsOf(v: Value): VirtualBuffer {
    const known = this.sums.get(v) ?? virtual(`sums.${v.node.id}`, "f32", partsOf(v, this.choices.sums), null);
    this.sums.set(v, known);
    return known;
  }
  homes(v: Value): readonly Home[] {
    return (this.steps.made.get(v) ?? []).map((step) => this.home(step, v));
  }
  private home(step: Step, v: Value): Home {
    return { buffer: this.made(step.concat), at: placeOf(step, v) };
  }
  shared(v: Value): boolean {
    return (this.uses.get(v) ?? 0) > 1;
  }
  get choices(): Choices {
    return this.options.choices ?? hostChoices;
  }
  schedule(c: Contraction): Schedule {
    this.contraction = c;
    if (this.forced) return this.forced;
    const shape = contractionKey(c);
    const chosen = this.options.schedules?.get(shape) ?? this.choices.contraction(c);
    const choice = fitting(chosen, this.choices.form?.(c) ?? null);
    this.scheduled = { shape, choice: { ...choice } };
    return choice;
  }
  private virtual(name: string, v: Value, store: string | null): VirtualBuffer {
    const width = this.panels(v);
    const layout: Layout = width === null ? this.rows(v, store) : { kind: "panels", width };
    return virtual(name, dtypeOf(v.type), dims(v.type), store, layout);
  }
  /** Temporaries, and prepared stores, may have longer rows. */
  private rows(v: Value, store: string | null): Layout {
    const plain = rowsLayout(dims(v.type));
    const isPlain = store === null ? this.plain.has(v) : !this.prepared.has(store);
    if (isPlain || !this.choices.pitch || v.type.shape.length < 2) return plain;
    return { kind: "rows", pitch: this.choices.pitch(plain.pitch, bytesOf[dtypeOf(v.type)]) };
  }
  /** The buffer of what a kernel makes. */
  private made(v: Value): VirtualBuffer {
    const name = `${nameOf(v.node)}.${v.node.id}${v.node.results.length > 1 ? `.${v.index}` : ""}`;
    const known = this.buffers.get(v) ?? this.virtual(name, v, null);
    this.buffers.set(v, known);
    return known;
  }
  region(region: Region): void {
    for (const v of region.outputs) if (!this.steps.only.has(v)) this.made(v);
    if (region.outputs.every((v) => product(dims(v.type)) === 0)) return;
    const write: Write = (kind, f) => this.launch(region, kind, f);
    const [node] = region.nodes;
    if (region.kind === "rows" || !node) return write(nameOf(item(region.outputs, 0).node), (d) => rows(d, region));
    if (node.op.name === "concat") return this.pieces(region, item(node.results, 0));
    if (node.op.name === "route") return this.route(node, write);
    if (node.op.name === "top_k" && largest.sorts(node, this.choices)) return this.sort(node, write);
    const length = node.op.name === "top_k" ? largest.largestLength(node, this.choices) : null;
    if (length !== null) return this.largest(node, region, length);
    const pieces = node.op.name === "cutoff" ? cutoffPieces(node, this.choices) : 1;
    if (pieces > 1) return this.cutoff(node, pieces, write);
    if (node.op.name === "attention" && goesTransposed(node, this.choices))
      return write("attention_transposed", (d) => attentionForward(d, node));
    const cut = node.op.name === "attention" ? keyPieces(node, this.choices) : null;
    if (cut) return this.attentionInPieces(node, region, cut);
    if (node.op.name === "attention_backward" && goesByHeads(node, this.choices))
      return write("attention_heads", (d) => attentionHeads(d, node));
    const kernels = builders[node.op.name];
    if (!kernels) throw new Bug(`no kernel is known for ${node.op.name}`);
    for (const [kind, build] of Object.entries(kernels)) write(kind, (d) => build(d, node, region));
    for (const v of region.kind === "tile" ? contract.rowSums(region) : [])
      this.launch({ ...region, outputs: [v] }, "sum", (d) => contract.addSums(d, v), [v.node]);
  }
  /** Those that their makers have not written. */
  private pieces(region: Region, concat: Value): void {
    for (const step of stepsOf(concat)) {
      if (product(dims(step.piece.type)) === 0 || this.steps.made.has(under(step.piece))) continue;
      const nodes = this.inside({ ...region, outputs: this.bufferOf(step.piece) ? [] : [step.piece] });
      this.launch(region, "piece", (d) => writePiece(d, step, this.home(step, step.piece)), nodes);
    }
  }
  private route(node: Node, write: Write): void {
    const [index] = node.args;
    const { groups } = node.attrs as { readonly groups: number };
    const choices = index ? item(dims(index.type), 0) : 0;
    const digits = routing.digitsOf(choices, groups);
    const order = (p: number): VirtualBuffer => virtual(`order.${node.id}.${p}`, "i32", [choices], null);
    const places = digits.length > 1 || node.results.some((v, i) => i !== 1 && this.isRead(v));
    const [only] = digits;
    if (digits.length === 1 && only?.chunks === 1)
      return write("route", (d) => routing.routeWhole(d, { ...only, node, before: null, after: null }, places));
    let before: VirtualBuffer | null = null;
    for (const [p, digit] of digits.entries()) {
      const pass: routing.RoutePass = { ...digit, node, before, after: p + 1 < digits.length ? order(p) : null };
      const [counts, starts] = ["counts", "places"].map((name) =>
        virtual(`${name}.${node.id}.${p}`, "i32", [digit.chunks, digit.keys], null),
      ) as [VirtualBuffer, VirtualBuffer];
      write("route_count", (d) => routing.routeCount(d, pass, counts));
      write("route_scan", (d) => routing.routeScan(d, pass, counts, places ? starts : null));
      if (places) write("route_place", (d) => routing.routePlace(d, pass, starts));
      before = pass.after;
    }
    if (digits.length > 1) write("route_offsets", (d) => routing.routeOffsets(d, node));
  }
  private isRead(v: Value): boolean {
    return this.uses.has(v) || this.graph.results.some((r) => r.value === v);
  }
  private attentionInPieces(node: Node, region: Region, cut: Pick<KeyPieces, "count" | "length">): void {
    const shape = dims(item(node.results, 0).type);
    const of = (name: string, ...more: readonly number[]): VirtualBuffer =>
      virtual(`${name}.${node.id}`, "f32", [cut.count, product(shape.slice(0, -1)), ...more], null);
    const pieces = { ...cut, out: of("out", item(shape, 4)), top: of("top"), total: of("total") };
    this.launch(region, "attention_pieces", (d) => attention(d, node, pieces));
    this.launch(region, "attention_join", (d) => attentionJoin(d, node, pieces), []);
  }
  /** The largest of many are sorted. */
  private sort(node: Node, write: Write): void {
    let before: VirtualBuffer | null = null;
    for (let number = 0; number < sortPasses; number++) {
      const last = number + 1 === sortPasses;
      const after = last ? null : virtual(`order.${node.id}.${number}`, "i32", sortedShape(node), null);
      const pass: SortPass = { number, before, after };
      write("sort", (d) => sortPass(d, node, pass));
      before = after;
    }
  }
  /** By pieces of a row. */
  private largest(node: Node, region: Region, length: number): void {
    const x = item(node.args, 0);
    const pieces = Math.ceil(item(dims(x.type), x.type.shape.length - 1) / length);
    const of = (name: string, dtype: DType): VirtualBuffer =>
      virtual(`${name}.${node.id}`, dtype, [count(item(node.results, 0).type), pieces], null);
    const made = { length, values: of("tops", dtypeOf(x.type)), index: of("places", "i32") };
    this.launch(region, "largest_pieces", (d) => largest.largestOfPiece(d, node, made));
    this.launch(region, "largest", (d) => largest.largestOfPieces(d, node, made), []);
  }
  /** By pieces of a row, in rounds. */
  private cutoff(node: Node, pieces: number, write: Write): void {
    const rounds = cutoffRounds(node, pieces, (name, dtype, shape) =>
      virtual(`${name}.${node.id}`, dtype, shape, null),
    );
    for (const round of rounds) write("cutoff_round", (d) => cutoffRound(d, node, round));
    write("cutoff_end", (d) => cutoffEnd(d, node, item(rounds, rounds.length - 1)));
  }
  private launch(region: Region, kind: string, f: (d: Draft) => void, nodes = this.inside(region)): void {
    [this.scheduled, this.contraction] = [undefined, null];
    const part: Part = { region, kind, f, nodes, phase: this.phases.get(item(region.outputs, 0).node) ?? "forward" };
    const own = this.written([part]);
    if (this.isLink(part, own)) return this.link(part, this.emittedOf(own.kernel).launch?.shared ?? 0);
    const { scheduled } = this;
    this.endChain();
    this.add([part], own, scheduled, () => this.variant(part, own.d));
  }
  private link(part: Part, shared: number): void {
    const { parts = 0, shared: room = 0 } = this.choices.chain ?? {};
    const isFull = this.chain.length === parts || this.chained + shared > room;
    if (isFull || this.chain.some((p) => p.phase !== part.phase)) this.endChain();
    this.chain.push(part);
    this.chained += shared;
  }
  /** Whether it is one task of points and folds, which can follow others in one kernel. */
  private isLink({ nodes }: Part, { d, kernel }: Written): boolean {
    if (!this.choices.chain || d.given.some((g) => g.base !== null || g.access === "part")) return false;
    return !nodes.some((n) => n.op.lower === "tile") && this.emittedOf(kernel).tasks === 1;
  }
  /** Writes the kernel of the parts that wait to be one. */
  endChain(): void {
    const parts = this.chain.splice(0);
    this.chained = 0;
    if (parts.length > 0) this.add(parts, this.written(parts), undefined, () => null);
  }
  private add(
    parts: readonly Part[],
    { d, kernel }: Written,
    schedule: PlanKernel["schedule"],
    variantOf: () => Variant | null,
  ): void {
    const [outputs, nodes] = [parts.flatMap((p) => p.region.outputs), [...new Set(parts.flatMap((p) => p.nodes))]];
    const written = this.partsWritten(outputs);
    const { made, tasks } = this.kernel(kernel, nodes, schedule, variantOf);
    if (tasks === 0) return;
    const args = d.given.map((g) => argument(kernel, g, this.options.access ?? accessOf));
    const read = parts.flatMap((p) => [...partsRead(p.region.outputs, p.nodes, (v) => this.bufferOf(v))]);
    this.launches.push({
      kernel: made,
      args,
      tasks,
      flops: nodes.reduce((sum, n) => sum + n.op.flops(n), 0),
      bytes: bytesMoved(args, new Map([...read, ...written])),
      phase: item(parts, 0).phase,
    });
  }
  /** What part of each buffer that is written in steps is written to make the outputs. */
  private partsWritten(outputs: readonly Value[]): [VirtualBuffer, number][] {
    const steps = outputs.flatMap((v) => this.steps.made.get(v) ?? []);
    return steps.map(({ concat, piece }) => [this.made(concat), count(piece.type) / count(concat.type)]);
  }
  private written(parts: readonly Part[]): Written {
    const names = new Set(parts.flatMap((p) => p.nodes.map(nameOf)));
    const computed = ({ region }: Part): ReadonlySet<Value> => new Set([...region.outputs, ...region.again]);
    const d = new Draft([...names].join(" "), this, computed(item(parts, 0)));
    for (const [i, part] of parts.entries()) {
      if (i > 0) d.next(computed(part));
      part.f(d);
    }
    const kind = [...new Set(parts.map((p) => p.kind))].join("_");
    const plain = spread(finished(d.k.kernel("kernel")));
    const kernel = { ...plain, name: `${kind}_${createHash("sha256").update(print(plain)).digest("hex").slice(0, 8)}` };
    return { d, kernel };
  }
  private emittedOf(kernel: Kernel): Emitted {
    const printed = print(kernel);
    const known = this.emitted.get(printed);
    if (known) return known;
    verify(kernel);
    const emitted = this.options.emit(kernel);
    this.emitted.set(printed, emitted);
    return emitted;
  }
  /** The same kernel, cut as a variant wants it; it must take the same arguments. */
  private variant(part: Part, { given }: Draft): Variant | null {
    const choice = this.contraction && this.options.variants?.choice(this.contraction);
    if (!choice) return null;
    this.forced = choice;
    const { d, kernel } = this.written([part]);
    this.forced = null;
    const same =
      d.given.length === given.length &&
      d.given.every((g, i) => given[i] !== undefined && g.buffer === given[i].buffer && g.shift === given[i].shift);
    if (!same) return null;
    verify(kernel);
    return this.options.variants?.emit(kernel) ?? null;
  }
  /** The kernel with this text; what it serves is added to what the same text serves elsewhere. */
  private kernel(
    kernel: Kernel,
    nodes: readonly Node[],
    schedule: PlanKernel["schedule"],
    variantOf: () => Variant | null,
  ): { readonly made: PlanKernel; readonly tasks: number } {
    const { text, tasks, ...needs } = this.emittedOf(kernel);
    const known = this.kernels.get(text);
    if (!known) this.options.seen?.(kernel);
    const variant = known ? null : variantOf();
    const made = known ?? {
      name: kernel.name,
      text,
      origins: [],
      ...needs,
      schedule,
      ...(variant ? { variant } : {}),
    };
    this.kernels.set(text, made);
    for (const o of nodes.map(originOf)) if (o && !made.origins.includes(o)) made.origins.push(o);
    return { made, tasks };
  }
  /** The nodes that a region computes. */
  private inside(region: Region): Node[] {
    const seen = new Set<Node>();
    const visit = (node: Node): void => {
      if (seen.has(node)) return;
      for (const a of node.args) if (!this.bufferOf(a) || region.again.has(a)) visit(a.node);
      seen.add(node);
    };
    for (const v of region.outputs) visit(v.node);
    return [...seen];
  }
  sequence(): Sequence {
    const assigns: Assign[] = [];
    const results: Sequence["results"][number][] = [];
    for (const { role, name, value } of this.graph.results) {
      const buffer = this.bufferOf(value);
      if (!buffer) continue;
      if (role === "store") assigns.push({ store: name, from: buffer });
      else results.push({ role, name, buffer });
    }
    return { entry: this.graph.name, launches: this.launches, assigns, results };
  }
}
/** Of what is added up, for each `columns` one of each row. */
function partsOf(v: Value, columns = 1): number[] {
  const shape = dims(item(v.node.args, 0).type);
  return [...shape.slice(0, -2), item(shape, shape.length - 1) / columns, item(shape, shape.length - 2)];
}
function argument(kernel: Kernel, g: Given, access: typeof accessOf): VirtualArg {
  if (g.base) return { buffer: g.buffer, access: "update", base: g.base };
  if (g.shift === 0) return { buffer: g.buffer, access: g.access === "read" ? access(kernel, g.param) : g.access };
  return { buffer: g.buffer, access: g.access, shift: g.shift * bytesOf[g.buffer.dtype] };
}
function virtual(
  name: string,
  dtype: DType,
  shape: readonly number[],
  store: string | null,
  layout: Layout = rowsLayout(shape),
): VirtualBuffer {
  return { name, dtype, shape, layout, bytes: ceil(footprint({ shape, layout }) * bytesOf[dtype], 64), store };
}
const nameOf = (node: Node): string => ((node.attrs as { readonly fn?: string }).fn ?? node.op.name).replace(/\W/g, "");

/** `file:line` of what a node comes from. */
function originOf(node: Node): string | null {
  if (!node.where) return null;
  const { source, start } = node.where;
  return `${source.name}:${source.text.slice(0, start).split("\n").length}`;
}
/** Forward: what a result that is reported needs. Update: what needs the optimizer's state. Backward: the rest, where anything is learned. */
function phasesOf(graph: Graph, stores: readonly Store[]): Map<Node, Phase> {
  const forward = forwardNodes(graph);
  const nodes = topological(valuesOf(graph));
  const of = (...roles: readonly Store["role"][]): Set<string | null> =>
    new Set(stores.filter((s) => roles.includes(s.role)).map((s) => s.name));
  const [optimizer, learned] = [of("optimizer"), of("optimizer", "gradient")];
  const rest = forward.size > 0 || nodes.some((n) => learned.has(storeOf(n))) ? "backward" : "forward";
  const phases = new Map<Node, Phase>();
  for (const node of nodes) {
    const steps = optimizer.has(storeOf(node)) || node.args.some((a) => phases.get(a.node) === "update");
    phases.set(node, forward.has(node) ? "forward" : steps ? "update" : rest);
  }
  return phases;
}
