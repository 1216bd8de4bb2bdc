// Live ranges of the buffers of a sequence, as positions: launch i is i, before the entry is -1, after it is `launches.length`.
import { Bug } from "../diagnostic.ts";
import { awaitedBefore } from "./in-flight.ts";
import { isRead, type Key, memoryKey, type Sequence, type VirtualArg, type VirtualBuffer } from "./sequence.ts";

/** From the launch that first writes the buffer to the last one that reads it, both inclusive. */
export interface LiveRange {
  readonly buffer: VirtualBuffer;
  readonly first: number;
  last: number;
  /** For each launch beside that uses the buffer: the last launch that may run meanwhile. */
  readonly held: Map<number, number>;
}
/** The last launch during which the buffer's memory is in use. */
export const heldUntil = ({ last, held }: LiveRange): number => Math.max(last, ...held.values());
/** Whether a launch other than the one at `at` is in flight then, and uses the buffer. */
export const isHeldAt = ({ held }: LiveRange, at: number): boolean =>
  [...held].some(([holder, until]) => holder !== at && until >= at);

/** The live range of each buffer or store. */
export class LiveRanges {
  readonly #lives = new Map<Key, LiveRange>();

  of(buffer: VirtualBuffer): LiveRange {
    const life = this.#lives.get(memoryKey(buffer));
    if (life === undefined) throw new Bug(`buffer ${buffer.name} is read before anything writes it`);
    return life;
  }
  all(): IterableIterator<LiveRange> {
    return this.#lives.values();
  }
  start(buffer: VirtualBuffer, at: number): void {
    const key = memoryKey(buffer);
    if (!this.#lives.has(key)) this.#lives.set(key, { buffer, first: at, last: at, held: new Map() });
  }
  /** Notes a use at `at`. A store holds data before the entry begins, and an empty buffer needs no writer; all else must have been written. */
  extend(buffer: VirtualBuffer, at: number): void {
    if (buffer.store !== null || buffer.bytes === 0) this.start(buffer, -1);
    const life = this.of(buffer);
    life.last = Math.max(life.last, at);
  }
}

/**
 * `early`: buffers that are filled before the first launch. A store that the sequence does not assign lives to the end; the old contents of an
 * assigned one die with their last reader.
 */
export function liveRangesOf(sequence: Sequence, early: readonly VirtualBuffer[]): LiveRanges {
  const lives = new LiveRanges();
  const end = sequence.launches.length;
  for (const buffer of early) lives.start(buffer, -1);
  for (const [at, { args }] of sequence.launches.entries()) {
    for (const arg of args) if (isRead(arg)) lives.extend(arg.buffer, at);
    for (const { base } of args) if (base !== undefined) lives.extend(base, at);
    for (const arg of args) if (!isRead(arg)) write(lives, arg, at);
  }
  for (const [at, awaited] of awaitedBefore(sequence))
    for (const { buffer } of sequence.launches[at]?.args ?? []) lives.of(buffer).held.set(at, awaited - 1);
  for (const { buffer } of sequence.results) lives.extend(buffer, end);
  for (const { from } of sequence.assigns) lives.extend(from, end);
  const assigned = new Set(sequence.assigns.map((a) => a.store));
  for (const life of lives.all()) {
    if (life.buffer.store !== null && !assigned.has(life.buffer.store)) life.last = end;
  }
  return lives;
}
function write(lives: LiveRanges, { buffer, access, base }: VirtualArg, at: number): void {
  if (buffer.store !== null) throw new Bug(`launch ${at} writes store ${buffer.store}: only an assignment may`);
  if (access === "update" && base === undefined)
    throw new Bug(`launch ${at} updates ${buffer.name}, which has no base`);
  lives.start(buffer, at);
  lives.extend(buffer, at);
}
