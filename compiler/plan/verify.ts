// Checks a finished plan by replaying it on shadow memory, which records for each byte whose data it holds.
import { Bug } from "../diagnostic.ts";
import { bytesOf } from "../types/dtype.ts";
import { sameDescriptor } from "./alias.ts";
import { hostGrain } from "./place.ts";
import { buffersOf, type Entry, isBeside, type Plan, type PlanBuffer } from "./plan.ts";
import {
  canAlias,
  isKernel,
  isRead,
  meet,
  memoryKey,
  type Sequence,
  type VirtualArg,
  type VirtualBuffer,
  type VirtualLaunch,
} from "./sequence.ts";

/** Whose data bytes hold: a buffer's, or (by name) what a store held before the entry. */
type Data = VirtualBuffer | string;

/**
 * Throws a Bug that names the buffers if an entry would read bytes that something else has overwritten, or leave a store or result with other data.
 */
export function verifyPlan(plan: Plan, sequences: readonly Sequence[], { alignment } = hostGrain): void {
  for (const buffer of plan.buffers) {
    const fits = buffer.offset % bytesOf[buffer.dtype] === 0 && buffer.offset + buffer.bytes <= plan.bytes.arena;
    if (!fits) throw new Bug(`buffer ${buffer.name} at ${buffer.offset} does not fit the arena`);
    if (buffer.of === undefined && buffer.offset % alignment !== 0)
      throw new Bug(`buffer ${buffer.name} begins at ${buffer.offset}`);
  }
  for (const [i, sequence] of sequences.entries()) {
    const entry = plan.entries[i];
    if (entry === undefined) throw new Bug(`sequence ${sequence.entry} has no entry`);
    new Replay(plan, sequence, entry).run();
  }
}

interface Use {
  readonly buffer: PlanBuffer;
  readonly writes: boolean;
  /** Absent: a copy. */
  readonly arg?: VirtualArg;
}

class Replay {
  readonly #memory = new Shadow();
  /** For buffers written in parts: the parts that are not written yet, and which buffers have been begun. */
  readonly #parts = new Map<Data, readonly VirtualArg[]>();
  readonly #begun = new Set<Data>();
  /** Steps beside that are not awaited yet. */
  #inFlight: readonly { readonly step: number; readonly name: string; readonly uses: readonly Use[] }[] = [];
  readonly #plan: Plan;
  readonly #sequence: Sequence;
  readonly #entry: Entry;
  constructor(plan: Plan, sequence: Sequence, entry: Entry) {
    this.#plan = plan;
    this.#sequence = sequence;
    this.#entry = entry;
    for (const { args } of sequence.launches) for (const arg of args) this.#expectPart(arg);
    for (const store of plan.stores) {
      const buffer = this.#buffer(store.buffer);
      if (this.#memory.holders(buffer).length > 0) throw new Bug(`store ${store.name} overlaps another`);
      this.#memory.write(buffer, store.name);
    }
  }

  run(): void {
    const launches = this.#sequence.launches.values();
    for (const [number, step] of this.#entry.steps.entries()) {
      if (step.kind === "wait") this.#wait(step.step);
      else if (step.kind === "copy") this.#copy(this.#buffer(step.from), this.#buffer(step.to));
      else this.#launch(launches.next().value, buffersOf(step), isBeside(step) ? number : null);
    }
    for (const { name } of this.#inFlight) throw new Bug(`${this.#entry.name} ends before ${name} is awaited`);
    if (launches.next().done !== true) throw new Bug(`${this.#entry.name} lacks a launch`);
    for (const [i, { buffer }] of this.#sequence.results.entries()) {
      this.#expect(this.#buffer(this.#entry.results[i]?.buffer), memoryKey(buffer), "as a result");
    }
    const assigned = new Map(this.#sequence.assigns.map((a) => [a.store, memoryKey(a.from)]));
    for (const { name, buffer } of this.#plan.stores) {
      this.#expect(this.#buffer(buffer), assigned.get(name) ?? name, `as store ${name} at the end`);
    }
  }
  #expectPart(arg: VirtualArg): void {
    if (arg.access === "part") this.#parts.set(memoryKey(arg.buffer), [...this.#missing(arg), arg]);
  }
  /** The parts of an argument's buffer that are not written yet. */
  #missing({ buffer }: VirtualArg): readonly VirtualArg[] {
    return this.#parts.get(memoryKey(buffer)) ?? [];
  }
  /** `number`: the step's, if it is beside. */
  #launch(launch: VirtualLaunch | undefined, args: readonly number[], number: number | null): void {
    if (launch?.args.length !== args.length) throw new Bug(`${this.#entry.name} has a launch that was not asked for`);
    const at = launch.args.map((arg, i) => ({ arg, buffer: wholeBuffer(this.#buffer(args[i]), arg) }));
    const uses = at.map(({ arg, buffer }) => ({ buffer, arg, writes: !isRead(arg) }));
    if (number === null) this.#requireMayRun(launch, uses);
    else this.#inFlight = [...this.#inFlight, { step: number, name: launch.kernel.name, uses }];
    for (const { arg, buffer } of at) {
      if (arg.access === "part" && this.#begun.has(memoryKey(arg.buffer)))
        this.#expect(buffer, memoryKey(arg.buffer), "in part");
      if (isRead(arg) && this.#missing(arg).some((part) => meet(part, arg)))
        throw new Bug(`${arg.buffer.name} is read by ${launch.kernel.name} before all of its parts are written`);
      if (isRead(arg)) this.#expect(buffer, memoryKey(arg.buffer), `by ${launch.kernel.name}`);
      if (arg.base !== undefined) this.#expect(buffer, memoryKey(arg.base), `by ${launch.kernel.name} as a base`);
    }
    for (const write of at) {
      if (isRead(write.arg)) continue;
      for (const other of at)
        if (other !== write && overlap(write.buffer, other.buffer))
          requireAliasable(write.arg, other.arg, write.buffer.offset === other.buffer.offset);
      this.#memory.write(write.buffer, memoryKey(write.arg.buffer));
      if (write.arg.access !== "part") continue;
      const key = memoryKey(write.arg.buffer);
      this.#begun.add(key);
      this.#parts.set(
        key,
        this.#missing(write.arg).filter((part) => part !== write.arg),
      );
    }
  }
  /** Of the first queue, while others are in flight: no collective, since workers must make all of them in one order, and no kernel that meets them. */
  #requireMayRun({ kernel }: VirtualLaunch, uses: readonly Use[]): void {
    const [flying] = isKernel(kernel) ? [] : this.#inFlight;
    if (flying) throw new Bug(`${kernel.name} is made before ${flying.name} is awaited`);
    this.#requireLanded(kernel.name, uses);
  }
  /** What the first queue does must not meet what is in flight: a buffer that either of both writes. */
  #requireLanded(name: string, uses: readonly Use[]): void {
    for (const own of uses)
      for (const flying of this.#inFlight)
        for (const other of flying.uses)
          if ((own.writes || other.writes) && overlap(own.buffer, other.buffer) && !areApart(own, other))
            throw new Bug(
              `${name} uses ${own.buffer.name} before ${flying.name}, which uses ${other.buffer.name}, is awaited`,
            );
  }
  #wait(step: number): void {
    if (!this.#inFlight.some((flying) => flying.step === step))
      throw new Bug(`${this.#entry.name} waits for step ${step}, which is not in flight`);
    this.#inFlight = this.#inFlight.filter((flying) => flying.step > step);
  }
  #copy(from: PlanBuffer, to: PlanBuffer): void {
    if (from.bytes === 0) return;
    this.#requireLanded("a copy", [
      { buffer: from, writes: false },
      { buffer: to, writes: true },
    ]);
    const [data] = this.#memory.holders(from);
    if (from.bytes !== to.bytes || overlap(from, to)) throw new Bug(`${from.name} cannot be copied to ${to.name}`);
    if (data === undefined || data === null)
      throw new Bug(`${from.name} is copied in ${this.#entry.name} before it is written`);
    this.#expect(from, data, "by a copy");
    this.#memory.write(to, data);
  }
  #expect(buffer: PlanBuffer, data: Data, use: string): void {
    const found = this.#memory.holders(buffer);
    if (buffer.bytes === 0 || (found.length === 1 && found[0] === data)) return;
    throw new Bug(
      `${nameOf(data)} is read ${use} in ${this.#entry.name}, where ${found.map(nameOf).join(", ") || "nothing"} was written`,
    );
  }
  #buffer(index: number | undefined): PlanBuffer {
    const buffer = this.#plan.buffers[index ?? -1];
    if (buffer === undefined) throw new Bug(`${this.#entry.name} names a buffer that the plan lacks`);
    return buffer;
  }
}
/** The whole buffer of an argument that begins `byteOffset` bytes into it. */
function wholeBuffer(buffer: PlanBuffer, { byteOffset = 0, buffer: { dtype, shape, layout } }: VirtualArg): PlanBuffer {
  return byteOffset === 0
    ? buffer
    : { ...buffer, dtype, shape, layout, offset: buffer.offset - byteOffset, bytes: buffer.bytes + byteOffset };
}
const nameOf = (data: Data | null): string => (data === null ? "nothing" : typeof data === "string" ? data : data.name);
/** Whether they use different rows of one buffer. */
const areApart = ({ arg: a }: Use, { arg: b }: Use): boolean =>
  a !== undefined && b !== undefined && memoryKey(a.buffer) === memoryKey(b.buffer) && !meet(a, b);
const overlap = (a: PlanBuffer, b: PlanBuffer): boolean =>
  a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
/** One launch may overwrite what it reads only element by element, and may write several parts of one buffer; anything else is a Bug. */
function requireAliasable(write: VirtualArg, other: VirtualArg, aligned: boolean): void {
  if (write.access === "part" && other.access === "part" && write.buffer === other.buffer) return;
  const fine =
    write.access === "write" && canAlias(other, write.buffer) && aligned && sameDescriptor(write.buffer, other.buffer);
  if (!fine) throw new Bug(`${write.buffer.name} is written over ${other.buffer.name}, which the same launch uses`);
}

interface Segment {
  readonly offset: number;
  readonly end: number;
  readonly data: Data;
}
/** A map from bytes to data: disjoint segments in order of offset. */
class Shadow {
  readonly #segments: Segment[] = [];

  write({ offset, bytes }: PlanBuffer, data: Data): void {
    const end = offset + bytes;
    if (bytes === 0) return;
    const overlapping = this.#overlapping(offset, end);
    const left = overlapping.filter((s) => s.offset < offset).map((s) => ({ ...s, end: offset }));
    const right = overlapping.filter((s) => end < s.end).map((s) => ({ ...s, offset: end }));
    this.#segments.splice(this.#after(offset), overlapping.length, ...left, { offset, end, data }, ...right);
  }
  /** Whose data the bytes of a buffer hold; null among them if some were never written. */
  holders({ offset, bytes }: PlanBuffer): readonly (Data | null)[] {
    const overlapping = this.#overlapping(offset, offset + bytes);
    const covered = overlapping.reduce((n, s) => n + Math.min(s.end, offset + bytes) - Math.max(s.offset, offset), 0);
    const data = new Set<Data | null>(overlapping.map((s) => s.data));
    if (overlapping.length > 0 && covered < bytes) data.add(null);
    return [...data];
  }
  #overlapping(offset: number, end: number): readonly Segment[] {
    const from = this.#after(offset);
    let to = from;
    while ((this.#segments[to]?.offset ?? end) < end) to++;
    return this.#segments.slice(from, to);
  }
  /** The index of the first segment that ends after an offset. */
  #after(offset: number): number {
    let [low, high] = [0, this.#segments.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#segments[middle]?.end ?? 0) > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
