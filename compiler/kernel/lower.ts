// Lowers a graph to launches: cuts it into regions, writes their kernels, and makes the virtual buffers between them.
import { createHash } from "node:crypto";
import { Bug } from "../diagnostic.ts";
import type { Graph, Node, Store, Value } from "../graph/node.ts";
import { nodesOf, storeOf } from "../graph/walk.ts";
import type { LaunchShape, Layout, PlanKernel, Variant } from "../plan/plan.ts";
import type { Assign, Sequence, VirtualArg, VirtualBuffer, VirtualLaunch } from "../plan/sequence.ts";
import { type Region, under } from "../transform/region.ts";
import { forwardNodes, fuse } from "../transform/regions.ts";
import { bytesOf } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { count, dims, dtypeOf } from "../types/type.ts";
import { accessOf } from "./access.ts";
import { asks } from "./asks.ts";
import { rowsLayout } from "./build.ts";
import { Draft, type Given, type Home, type Memory, virtual } from "./draft.ts";
import { type Expanded, expand } from "./expand.ts";
import { item } from "./expr.ts";
import type { Kernel } from "./ir.ts";
import { launchesOf } from "./launches.ts";
import type { StorePanels } from "./layout.ts";
import { bytesMoved, partsRead } from "./moved.ts";
import { finished } from "./passes.ts";
import { print, showBuffer } from "./print.ts";
import { nameOf } from "./read.ts";
import { type Choices, type Contraction, contractionKey, fitting, hostChoices, type Schedule } from "./schedule.ts";
import { isReadInSteps, placeOf, type Step, type Steps, stepsIn, stepsOf, writePiece } from "./steps.ts";
import { togetherLaunch } from "./together.ts";
import { verify } from "./verify.ts";

export interface Emitted {
  readonly text: string;
  readonly scratch: number;
  readonly tasks: number;
  readonly launch?: LaunchShape;
}
export interface LowerOptions {
  /** Emits the text of a kernel for the target. */
  readonly emit: (k: Kernel) => Emitted;
  /**
   * The stores of the program. Roles decide the phases of a train entry (optimizer state belongs to the update), and prepared stores may have padded
   * rows.
   */
  readonly stores?: readonly Store[];
  /** Called with each distinct kernel. */
  readonly seen?: (k: Kernel) => void;
  /** Schedules found by `moec tune`, by `contractionKey`. */
  readonly schedules?: ReadonlyMap<string, Schedule>;
  /** The target's choices; the host's if not given. */
  readonly choices?: Choices;
  /** The stores that lie in panels, from `panelsOf` over all graphs that share them. */
  readonly panels?: StorePanels;
  /** Second versions of kernels (for sm_90a), for contractions that `choice` gives a schedule. */
  readonly variants?: Variants;
  /** How a kernel uses a buffer that it reads; the default assumes that tasks run their statements in order, as on the host. */
  readonly access?: typeof accessOf;
}

export interface Variants {
  readonly choice: (c: Contraction) => Schedule | null;
  readonly emit: (k: Kernel) => Variant | null;
}

/** The launches that compute a graph, in an order in which each comes after what it reads. Buffers have no place in memory yet. */
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
/** What becomes a kernel, or a part of one. `nodes`: those that it computes. */
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
class Lowering implements Memory {
  private readonly graph: Graph;
  private readonly options: LowerOptions;
  private readonly panels: Expanded["panels"];
  private readonly buffers = new Map<Value, VirtualBuffer>();
  private readonly stores = new Map<string, VirtualBuffer>();
  private readonly sums = new Map<Value, VirtualBuffer>();
  private readonly uses = new Map<Value, number>();
  /** Values whose rows have no padding: results, and what is copied as a whole or moved between workers. */
  private readonly plain: Set<Value>;
  private readonly prepared: ReadonlySet<string>;
  private readonly steps: Steps;
  readonly inSteps: boolean;
  private readonly phases: ReadonlyMap<Node, Phase>;
  private readonly kernels = new Map<string, PlanKernel & { origins: string[] }>();
  /** By the printed kernel: equal layers have equal kernels, which are emitted once. */
  private readonly emitted = new Map<string, Emitted>();
  private readonly launches: VirtualLaunch[] = [];
  /** Parts that are waiting to become one kernel (CUDA, `Choices.chain`). */
  private readonly chain: Part[] = [];
  /** The bytes of shared memory that the parts of `chain` take. */
  private chained = 0;
  /** The schedule and the contraction of the kernel being written, if it is one. */
  private scheduled: PlanKernel["schedule"];
  private contraction: Contraction | null = null;
  /** The schedule to use instead, while a variant is being written. */
  private forced: Schedule | null = null;

  constructor({ graph, panels }: Expanded, options: LowerOptions, steps: Steps) {
    this.graph = graph;
    this.options = options;
    this.steps = steps;
    this.panels = panels;
    this.prepared = new Set((options.stores ?? []).filter((s) => s.role === "prepared").map((s) => s.name));
    const isOwn = (r: Graph["results"][number]): boolean => r.role === "store" && this.prepared.has(r.name);
    this.plain = new Set(graph.results.filter((r) => !isOwn(r)).map((r) => r.value));
    const nodes = nodesOf(graph);
    this.inSteps = isReadInSteps(nodes);
    for (const node of nodes) {
      for (const a of node.args) this.uses.set(a, (this.uses.get(a) ?? 0) + 1);
      const isMoved = node.op.name === "scatter" || node.op.lower === "together";
      if (isMoved) for (const v of [...node.args, ...node.args.map(under), ...node.results]) this.plain.add(v);
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
  /** The layout of a value in rows. Temporaries and prepared stores may have padded rows. */
  private rows(v: Value, store: string | null): Layout {
    const plain = rowsLayout(dims(v.type));
    const isPlain = store === null ? this.plain.has(v) : !this.prepared.has(store);
    if (isPlain || !this.choices.pitch || v.type.shape.length < 2) return plain;
    return { kind: "rows", pitch: this.choices.pitch(plain.pitch, bytesOf[dtypeOf(v.type)]) };
  }
  /** The buffer of a value that a kernel makes. */
  private made(v: Value): VirtualBuffer {
    const name = `${nameOf(v.node)}.${v.node.id}${v.node.results.length > 1 ? `.${v.index}` : ""}`;
    const known = this.buffers.get(v) ?? this.virtual(name, v, null);
    this.buffers.set(v, known);
    return known;
  }
  region(region: Region): void {
    for (const v of region.outputs) if (!this.steps.only.has(v)) this.made(v);
    if (region.outputs.every((v) => product(dims(v.type)) === 0)) return;
    const [node] = region.nodes;
    if (node && region.kind === "together") return this.together(node);
    if (node?.op.name === "concat" && region.kind !== "rows") return this.pieces(region, item(node.results, 0));
    for (const { kind, write, outputs, nodes } of launchesOf(region, this.choices, (v) => this.isRead(v)))
      this.launch(outputs ? { ...region, outputs } : region, kind, write, nodes);
  }
  /** Adds a collective of all workers, which has no kernel. */
  private together(node: Node): void {
    const read = node.args.map((v) => this.bufferOf(v) ?? this.bufferOf(under(v))).filter((buffer) => buffer !== null);
    if (read.length < node.args.length) throw new Bug(`an operand of ${node.op.name} is not in memory`);
    const phase = this.phases.get(node) ?? "forward";
    this.endChain();
    this.launches.push(togetherLaunch(node, read, this.made(item(node.results, 0)), phase));
  }
  /** Copies, or computes, the pieces of a concat that no other kernel writes in place. */
  private pieces(region: Region, concat: Value): void {
    for (const step of stepsOf(concat)) {
      if (product(dims(step.piece.type)) === 0 || this.steps.made.has(under(step.piece))) continue;
      const nodes = this.inside({ ...region, outputs: this.bufferOf(step.piece) ? [] : [step.piece] });
      this.launch(region, "piece", (d) => writePiece(d, step, this.home(step, step.piece)), nodes);
    }
  }
  private isRead(v: Value): boolean {
    return this.uses.has(v) || this.graph.results.some((r) => r.value === v);
  }
  private launch(region: Region, kind: string, f: (d: Draft) => void, given?: readonly Node[]): void {
    const nodes = given ?? this.inside(region);
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
  /** Whether a kernel has a single task of elementwise work and reductions, so that it can be a part of a chain. */
  private isLink({ nodes }: Part, { d, kernel }: Written): boolean {
    if (!this.choices.chain || d.given.some((g) => g.base !== null || g.access === "part")) return false;
    return !nodes.some((n) => n.op.lower === "tile") && this.emittedOf(kernel).tasks === 1;
  }
  /** Writes the kernel of the waiting parts. */
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
  /** The fraction that is written of each concat buffer that gets the outputs as pieces. */
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
    const plain = asks(finished(d.k.kernel("kernel")));
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
  /** The kernel's second version, with the schedule that `variants` chooses; null if there is none, or if its arguments would differ. */
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
  /** The kernel with this text: equal ones are shared, and the program lines that they serve are collected. */
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
      params: kernel.params.map(showBuffer),
      origins: [],
      ...needs,
      schedule,
      ...(variant ? { variant } : {}),
    };
    this.kernels.set(text, made);
    for (const o of nodes.map(originOf)) if (o && !made.origins.includes(o)) made.origins.push(o);
    return { made, tasks };
  }
  /** The nodes that a region's kernel computes, each after its operands. */
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
/** The shape of a value's partial sums: one for each group of `columns` columns, for each row. */
function partsOf(v: Value, columns = 1): number[] {
  const shape = dims(item(v.node.args, 0).type);
  return [...shape.slice(0, -2), item(shape, shape.length - 1) / columns, item(shape, shape.length - 2)];
}
function argument(kernel: Kernel, g: Given, access: typeof accessOf): VirtualArg {
  if (g.base) return { buffer: g.buffer, access: "update", base: g.base };
  if (g.shift === 0) return { buffer: g.buffer, access: g.access === "read" ? access(kernel, g.param) : g.access };
  return { buffer: g.buffer, access: g.access, shift: g.shift * bytesOf[g.buffer.dtype] };
}
/** The `file:line` of the program that a node comes from. */
function originOf(node: Node): string | null {
  if (!node.where) return null;
  const { source, start } = node.where;
  return `${source.name}:${source.text.slice(0, start).split("\n").length}`;
}
/**
 * The phase of each node. forward: what reported results need. update: what needs the optimizer's state. backward: all else; forward instead if
 * nothing is reported and the graph touches no gradients or optimizer state.
 */
function phasesOf(graph: Graph, stores: readonly Store[]): Map<Node, Phase> {
  const forward = forwardNodes(graph);
  const nodes = nodesOf(graph);
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
