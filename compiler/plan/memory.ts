// Plans memory in one arena: stores at fixed offsets, then the temporaries of each entry. Entries run one at a time, so the temporaries of all
// begin at the same offset.
import { Bug } from "../diagnostic.ts";
import type { Store } from "../graph/node.ts";
import { getOrMake } from "../memoize.ts";
import { bytesOf } from "../types/dtype.ts";
import { dims, dtypeOf } from "../types/type.ts";
import { type AliasSet, type Copy, sameLayout, shareMemory } from "./alias.ts";
import { countBytes, requireCountable } from "./bytes.ts";
import { fuseCollectives } from "./fuse-collectives.ts";
import { awaitedBefore } from "./in-flight.ts";
import { heldUntil, liveRangesOf } from "./liveness.ts";
import { orderLaunches } from "./order.ts";
import { inPieces } from "./pieces.ts";
import { type Grain, hostGrain, place, placedBytes } from "./place.ts";
import type { Entry, Plan, PlanBuffer, PlanKernel, PlanStore, Step } from "./plan.ts";
import {
  buffersOfArg,
  isKernel,
  memoryKey,
  type Sequence,
  type VirtualBuffer,
  type VirtualLaunch,
} from "./sequence.ts";
import { verifyPlan } from "./verify.ts";

interface MemoryOptions {
  readonly target: string;
  /** Text put before every kernel. */
  readonly header: string;
  /** The host's if not given. */
  readonly grain?: Grain;
  /** See `inPieces`; tests lower it, so that small programs reach it. */
  readonly leastPiece?: number;
  /** See `besideIfUseful`; tests lower it likewise. */
  readonly leastOverlapped?: number;
}

/** Orders launches, gives every buffer its offset, lets buffers share memory where their live ranges allow it, and verifies the plan. */
export function planMemory(given: readonly Sequence[], stores: readonly Store[], options: MemoryOptions): Plan {
  const { target, header, grain = hostGrain, leastPiece, leastOverlapped } = options;
  const onHost = target !== "cuda";
  const cut = onHost ? given.map((sequence) => inPieces(sequence, leastPiece)) : given;
  const sequences = cut.map((sequence) => orderLaunches(fuseCollectives(sequence), !onHost, leastOverlapped));
  const memory = new ArenaPlanner(sequences, stores, grain);
  const entries = sequences.map((sequence) => memory.entry(sequence));
  const plan: Plan = {
    target,
    header,
    buffers: memory.buffers,
    kernels: memory.kernels.all(),
    stores: stores.map((store, buffer) => planStore(store, buffer)),
    entries,
    bytes: countBytes(sequences, entries, memory.buffers, stores, memory.storeBytes),
  };
  requireCountable(plan);
  verifyPlan(plan, sequences, grain);
  return plan;
}
const planStore = ({ name, role, saved, stack, frozen, shards, quantised }: Store, buffer: number): PlanStore => ({
  name,
  role,
  saved,
  stack,
  ...(frozen === undefined ? {} : { frozen }),
  ...(shards === undefined ? {} : { shards }),
  ...(quantised === undefined ? {} : { quantised }),
  buffer,
});

class ArenaPlanner {
  readonly buffers: PlanBuffer[] = [];
  readonly kernels = new KernelTable();
  readonly storeBytes: number;
  readonly #grain: Grain;
  readonly #stores: ReadonlyMap<string, VirtualBuffer>;
  readonly #inputs: ReadonlySet<string>;
  /** Buffers that begin some bytes into another, by "index byteOffset". */
  readonly #shifted = new Map<string, number>();

  constructor(sequences: readonly Sequence[], stores: readonly Store[], grain: Grain) {
    this.#grain = grain;
    this.#stores = storeBuffers(sequences, stores);
    this.#inputs = new Set(stores.filter((s) => s.role === "input").map((s) => s.name));
    let offset = 0;
    for (const buffer of this.#stores.values()) {
      this.buffers.push(planBuffer(buffer, offset));
      offset += placedBytes(buffer.bytes, grain);
    }
    this.storeBytes = offset;
  }

  /** Plans one entry and adds its temporaries to `buffers`. */
  entry(given: Sequence): Entry {
    const { sequence, early } = snapshots(given);
    const lives = liveRangesOf(
      sequence,
      early.map((copy) => copy.to),
    );
    const { sets, copies } = shareMemory(sequence, lives, this.#stores);
    const index = this.#place(sets);
    const find = (buffer: VirtualBuffer): number => {
      const at = index.get(memoryKey(buffer));
      if (at === undefined) throw new Bug(`buffer ${buffer.name} was given no memory`);
      return at;
    };
    const copy = ({ from, to }: Copy): Step => ({ kind: "copy", from: find(from), to: find(to) });
    const steps = early.map(copy);
    const waits = waitsOf(sequence);
    const numbers: number[] = [];
    for (const [at, before] of copies.entries()) {
      const awaited = numbers[waits.get(at) ?? -1];
      if (awaited !== undefined) steps.push({ kind: "wait", step: awaited });
      steps.push(...before.map(copy));
      numbers.push(steps.length);
      const launch = sequence.launches[at];
      if (launch !== undefined) steps.push(this.#launch(launch, find));
    }
    const results = sequence.results.map(({ role, name, buffer }) => ({ role, name, buffer: find(buffer) }));
    return { name: sequence.entry, inputs: this.#inputsOf(given), results, steps };
  }

  /** Adds the buffers of all groups to `buffers`; returns the index there of each buffer, or store name. */
  #place(groups: readonly AliasSet[]): ReadonlyMap<VirtualBuffer | string, number> {
    const temporary = groups.filter((group) => group.store === null).map((group) => ({ group, ...extent(group) }));
    const { offsets } = place(temporary, this.#grain);
    const base = new Map(temporary.map((block) => [block.group, this.storeBytes + (offsets.get(block) ?? 0)]));
    const index = new Map<VirtualBuffer | string, number>([...this.#stores.keys()].map((name, i) => [name, i]));
    for (const group of groups) {
      const home = group.store === null ? undefined : this.buffers[index.get(group.store) ?? -1];
      const offset = home?.offset ?? base.get(group) ?? 0;
      for (const { buffer } of group.members) {
        if (buffer.store !== null) continue;
        index.set(buffer, this.buffers.length);
        this.buffers.push(planBuffer(buffer, offset));
      }
    }
    return index;
  }
  #launch(launch: VirtualLaunch, find: (buffer: VirtualBuffer) => number): Step {
    const { kernel, tasks, first, beside, flops, bytes, phase } = launch;
    const args = launch.args.map((arg) => this.#bufferAt(find(arg.buffer), arg.byteOffset ?? 0));
    const work = { args, flops, bytes, phase };
    const how = beside ? { beside } : {};
    return isKernel(kernel)
      ? {
          kind: "launch",
          launch: { ...work, kernel: this.kernels.add(kernel), tasks, ...(first ? { first } : {}) },
          ...how,
        }
      : { kind: "collective", collective: { ...work, op: kernel }, ...how };
  }
  /** The index of the buffer that begins `byteOffset` bytes after that of `index`; made if it does not exist yet. */
  #bufferAt(index: number, byteOffset: number): number {
    const whole = this.buffers[index];
    if (byteOffset === 0 || whole === undefined) return index;
    const known = this.#shifted.get(`${index} ${byteOffset}`);
    if (known !== undefined) return known;
    const { name, dtype, offset, bytes } = whole;
    const pitch = Math.floor((bytes - byteOffset) / bytesOf[dtype]);
    const rest = { name: `${name} + ${byteOffset}`, dtype, shape: [pitch], layout: { kind: "rows", pitch } } as const;
    this.#shifted.set(`${index} ${byteOffset}`, this.buffers.length);
    this.buffers.push({ ...rest, offset: offset + byteOffset, bytes: bytes - byteOffset, of: index });
    return this.buffers.length - 1;
  }
  #inputsOf(sequence: Sequence): readonly string[] {
    const names = new Set([...buffersOf(sequence)].map((buffer) => buffer.store ?? ""));
    return [...this.#inputs].filter((name) => names.has(name));
  }
}
/** Before which launch the last of which launches beside is awaited. */
const waitsOf = (sequence: Sequence): ReadonlyMap<number, number> =>
  new Map([...awaitedBefore(sequence)].map(([at, before]) => [before, at]));
const planBuffer = ({ name, dtype, shape, layout, bytes }: VirtualBuffer, offset: number): PlanBuffer => ({
  name,
  dtype,
  shape,
  layout,
  offset,
  bytes,
});
const extent = ({ members }: AliasSet) => ({
  bytes: Math.max(...members.map((m) => m.buffer.bytes)),
  first: Math.min(...members.map((m) => m.first)),
  last: Math.max(...members.map((m) => heldUntil(m))),
});

/** All kernels of a plan, each once. Kernels are identified by name, which is a hash of the text. */
class KernelTable {
  readonly #byName = new Map<string, { index: number; kernel: PlanKernel }>();
  add(kernel: PlanKernel): number {
    const known = this.#byName.get(kernel.name);
    if (known !== undefined && known.kernel.text !== kernel.text) throw new Bug(`two kernels are named ${kernel.name}`);
    const index = known?.index ?? this.#byName.size;
    const origins = [...new Set([...(known?.kernel.origins ?? []), ...kernel.origins])];
    const scratch = Math.max(known?.kernel.scratch ?? 0, kernel.scratch);
    this.#byName.set(kernel.name, { index, kernel: { ...kernel, origins, scratch } });
    return index;
  }
  all(): readonly PlanKernel[] {
    return [...this.#byName.values()].map((entry) => entry.kernel);
  }
}

/**
 * If a result, or an assignment to another store, needs the old contents of a store that the entry assigns, they are copied before the first
 * launch, so that the store itself can be overwritten in place. Assignments of a store to itself are dropped.
 */
function snapshots(sequence: Sequence): { readonly sequence: Sequence; readonly early: readonly Copy[] } {
  const assigns = sequence.assigns.filter((a) => a.from.store !== a.store);
  const assigned = new Set(assigns.map((a) => a.store));
  if (assigned.size < assigns.length) throw new Bug(`${sequence.entry} assigns a store twice`);
  const copies = new Map<string, Copy>();
  const before = (from: VirtualBuffer): VirtualBuffer => {
    if (from.store === null || !assigned.has(from.store)) return from;
    const copy = (): Copy => ({ from, to: { ...from, name: `${from.name} before`, store: null } });
    return getOrMake(copies, from.store, copy).to;
  };
  const changed: Sequence = {
    ...sequence,
    assigns: assigns.map((a) => ({ ...a, from: before(a.from) })),
    results: sequence.results.map((r) => ({ ...r, buffer: before(r.buffer) })),
  };
  return { sequence: changed, early: [...copies.values()] };
}

/** The buffer of each store, in the layout that the sequences use (rows if none does). */
function storeBuffers(sequences: readonly Sequence[], stores: readonly Store[]): ReadonlyMap<string, VirtualBuffer> {
  const used = new Map<string, VirtualBuffer>();
  const known = new Set(stores.map((s) => s.name));
  for (const buffer of sequences.flatMap((s) => [...buffersOf(s)])) {
    if (buffer.store === null) continue;
    if (!known.has(buffer.store))
      throw new Bug(`buffer ${buffer.name} is of store ${buffer.store}, which is not declared`);
    const other = getOrMake(used, buffer.store, () => buffer);
    if (!sameLayout(other.layout, buffer.layout)) throw new Bug(`store ${buffer.store} has two layouts`);
  }
  for (const { store, from } of sequences.flatMap((s) => s.assigns)) {
    const declared = stores.find((s) => s.name === store);
    if (declared !== undefined && !used.has(store)) used.set(store, { ...from, name: store, store });
  }
  return new Map(stores.map((store) => [store.name, used.get(store.name) ?? contiguousBuffer(store)]));
}
function* buffersOf(sequence: Sequence): Generator<VirtualBuffer> {
  for (const { args } of sequence.launches) yield* args.flatMap(buffersOfArg);
  for (const { buffer } of sequence.results) yield buffer;
  for (const { from } of sequence.assigns) yield from;
}
function contiguousBuffer(store: Store): VirtualBuffer {
  const shape = dims(store.type);
  const dtype = dtypeOf(store.type);
  const bytes = shape.reduce((a, b) => a * b, bytesOf[dtype]);
  return {
    name: store.name,
    dtype,
    shape,
    layout: { kind: "rows", pitch: shape.at(-1) ?? 1 },
    bytes,
    store: store.name,
  };
}
