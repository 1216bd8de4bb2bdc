// How long launches that are beside are in flight: from their place in the order until the first queue awaits them.
import { sum } from "../types/numbers.ts";
import { microsecondsOf } from "./plan.ts";
import {
  isExchange,
  isKernel,
  isRead,
  type Key,
  meet,
  memoryKey,
  type Sequence,
  type VirtualArg,
  type VirtualLaunch,
} from "./sequence.ts";

/** The most bytes that launches in flight read and write together, but for the newest of them, which may be larger: earlier ones are awaited. */
export const maxBytesInFlight = 64 * 1024 * 1024;
/** The bytes of all that a launch reads and writes; of an exchange none, as it is awaited soon. */
export const bytesHeld = (launch: VirtualLaunch): number =>
  isExchange(launch)
    ? 0
    : [...new Set(launch.args.map((a) => a.buffer))].reduce((sum, buffer) => sum + buffer.bytes, 0);

interface Flying {
  readonly at: number;
  readonly bytes: number;
  readonly args: readonly VirtualArg[];
}
/**
 * For each launch beside: the launch before which it is awaited (the number of launches: after all). That is the first of the first queue that reads what
 * it writes, or would overwrite what it reads; or a collective, since workers must make all of them in one order; or the next one, if too much is in flight.
 */
export function awaitedBefore({ launches, assigns }: Sequence): ReadonlyMap<number, number> {
  const stores = new Map(assigns.map(({ store, from }): [Key, Key] => [memoryKey(from), store]));
  const awaited = new Map<number, number>();
  let flying: Flying[] = [];
  const land = (count: number, before: number): void => {
    for (const { at } of flying.slice(0, count)) awaited.set(at, before);
    flying = flying.slice(count);
  };
  for (const [at, launch] of launches.entries()) {
    if (launch.beside) {
      flying.push(flyingOf(launch, at));
      land(tooMany(flying.map((f) => f.bytes)), at + 1);
    } else if (isKernel(launch.kernel)) {
      land(flying.findLastIndex((other) => launch.args.some((arg) => conflicts(arg, other, stores))) + 1, at);
    } else land(flying.length, at);
  }
  land(flying.length, launches.length);
  return awaited;
}
const flyingOf = (launch: VirtualLaunch, at: number): Flying => ({ at, bytes: bytesHeld(launch), args: launch.args });
/** How many of the oldest must be awaited, so that the others hold no more than they may. */
export function tooMany(bytes: readonly number[]): number {
  let all = bytes.reduce((a, b) => a + b, 0);
  let count = 0;
  for (; all > maxBytesInFlight && count < bytes.length - 1; count++) all -= bytes[count] ?? 0;
  return count;
}
function conflicts(arg: VirtualArg, flying: Flying, stores: ReadonlyMap<Key, Key>): boolean {
  const own = memoryKey(arg.buffer);
  const base = arg.base && memoryKey(arg.base);
  const overwritten: readonly (Key | undefined)[] = [base, stores.get(own), ...(isRead(arg) ? [] : [own])];
  return flying.args.some((other) => {
    const key = memoryKey(other.buffer);
    if (key === own && !meet(arg, other)) return false;
    return isRead(other) ? overwritten.includes(key) : key === own || key === base;
  });
}
/**
 * Launches that would be awaited before any other of the first queue begins are not beside, nor are exchanges that overlap with little: what takes less
 * than `leastOverlapped` microseconds is not worth the handing over of an exchange to another thread.
 */
export function besideIfUseful(sequence: Sequence, leastOverlapped = 50): Sequence {
  const awaited = awaitedBefore(sequence);
  const overlaps = (at: number): boolean => {
    const meanwhile = sequence.launches.slice(at + 1, awaited.get(at)).filter((other) => other.beside === undefined);
    if (!isExchange(sequence.launches[at])) return meanwhile.length > 0;
    return sum(meanwhile.map(microsecondsOf)) >= leastOverlapped;
  };
  const idle = new Set([...awaited.keys()].filter((at) => !overlaps(at)));
  if (idle.size === 0) return sequence;
  const launches = sequence.launches.map(({ beside, ...launch }, at) =>
    beside && !idle.has(at) ? { ...launch, beside } : launch,
  );
  return besideIfUseful({ ...sequence, launches }, leastOverlapped);
}
