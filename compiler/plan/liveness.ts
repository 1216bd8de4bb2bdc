// Live ranges of the buffers of a sequence, as positions: launch i is i, before the entry is -1, after it is `launches.length`.
import { Bug } from "../diagnostic.ts";
import type { Sequence, VirtualArg, VirtualBuffer } from "./sequence.ts";

/** From the launch that first writes the buffer to the last one that reads it, both inclusive. */
export interface LiveRange {
  readonly buffer: VirtualBuffer;
  readonly first: number;
  last: number;
}
/** What identifies a buffer's memory: the buffer object, or the name of its store, as all buffers of a store are the same memory. */
export const memoryKey = (buffer: VirtualBuffer): VirtualBuffer | string => buffer.store ?? buffer;
export const isRead = (arg: VirtualArg): boolean => arg.access === "read" || arg.access === "pointwise";

/** The live range of each buffer or store. */
export class LiveRanges {
  readonly #lives = new Map<VirtualBuffer | string, LiveRange>();

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
    if (!this.#lives.has(key)) this.#lives.set(key, { buffer, first: at, last: at });
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
