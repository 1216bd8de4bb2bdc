// Counts the bytes of a plan for reports, and refuses plans that do not fit in memory.
import { Problem } from "../diagnostic.ts";
import { recomputeFlagText } from "../flag-text.ts";
import type { Store } from "../graph/node.ts";
import { showBytes } from "../show-bytes.ts";
import { prepareEntry } from "../transform/prepare.ts";
import { sum } from "../types/numbers.ts";
import { byteSize, dims, dtypeOf, type Type } from "../types/type.ts";
import { type Bytes, buffersOf, type Entry, type Phase, type Plan, type PlanBuffer } from "./plan.ts";
import { buffersOfArg, type Sequence, type VirtualBuffer } from "./sequence.ts";

/** The bytes of all buffers as laid out, padding included. `entries[i]` is the plan of `sequences[i]`; temporaries begin at `storeBytes`. */
export function countBytes(
  sequences: readonly Sequence[],
  entries: readonly Entry[],
  buffers: readonly PlanBuffer[],
  stores: readonly Store[],
  storeBytes: number,
): Bytes {
  const end = Math.max(storeBytes, ...buffers.map((b) => b.offset + b.bytes));
  const bytesOfRole = (role: Store["role"]): number =>
    sum(stores.map((s, i) => (s.role === role ? (buffers[i]?.bytes ?? 0) : 0)));
  const most = (of: (sequence: Sequence, i: number) => number): number => Math.max(0, ...sequences.map(of));
  const differentiated = sequences.some(hasBackward);
  return {
    parameters: bytesOfRole("parameter"),
    prepared: bytesOfRole("prepared"),
    optimizer: bytesOfRole("optimizer"),
    states: bytesOfRole("state"),
    gradients: most(gradientBytes) + bytesOfRole("gradient"),
    activations: differentiated
      ? most((s) => (hasBackward(s) ? peakCrossing(s, "forward", "backward") : 0))
      : most((_, i) => (isAsked(entries[i]) ? temporaryBytes(entries[i], buffers, storeBytes) : 0)),
    arena: Math.ceil(end / page) * page,
  };
}
const page = 4096;
/** Whether it is an entry that was asked for, not one that gives parameters their first values. */
const isAsked = (entry: Entry | undefined): boolean => entry?.name !== "init" && entry?.name !== prepareEntry;
/** Whether it has both a forward and a backward phase; `init`, for instance, has no forward. */
const hasBackward = ({ launches }: Sequence): boolean =>
  (["forward", "backward"] as const).every((phase) => launches.some((l) => l.phase === phase));

/** Temporaries first written in phase `from` and still read in phase `to`. */
function crossing(sequence: Sequence, from: Phase, to: Phase): readonly VirtualBuffer[] {
  const writer = new Map<VirtualBuffer, Phase>();
  const crossed = new Set<VirtualBuffer>();
  for (const { args, phase } of sequence.launches) {
    for (const { buffer, access, base } of args) {
      if (access !== "read" && access !== "pointwise") writer.set(buffer, writer.get(buffer) ?? phase);
      for (const read of base === undefined ? [buffer] : [base]) {
        if (phase === to && writer.get(read) === from) crossed.add(read);
      }
    }
  }
  return [...crossed];
}
/** The largest total size, at any one launch, of the buffers that are written in phase `from` and read in `to`. */
function peakCrossing(sequence: Sequence, from: Phase, to: Phase): number {
  const changes = Array.from({ length: sequence.launches.length + 1 }, () => 0);
  const change = (at: number, bytes: number): void => void (changes[at] = (changes[at] ?? 0) + bytes);
  const used = uses(sequence);
  for (const buffer of crossing(sequence, from, to)) {
    const { first, last } = used.get(buffer) ?? { first: 0, last: 0 };
    change(first, buffer.bytes);
    change(last + 1, -buffer.bytes);
  }
  let [now, most] = [0, 0];
  for (const bytes of changes) {
    now += bytes;
    most = Math.max(most, now);
  }
  return most;
}
/** The first and the last launch that uses each buffer. */
function uses({ launches }: Sequence): ReadonlyMap<VirtualBuffer, { readonly first: number; readonly last: number }> {
  const used = new Map<VirtualBuffer, { first: number; last: number }>();
  for (const [i, { args }] of launches.entries())
    for (const buffer of args.flatMap(buffersOfArg)) used.set(buffer, { first: used.get(buffer)?.first ?? i, last: i });
  return used;
}
function gradientBytes(sequence: Sequence): number {
  const results = sequence.results.filter((r) => r.role === "gradient").map((r) => r.buffer);
  return peakCrossing(sequence, "backward", "update") + sum([...new Set(results)].map((b) => b.bytes));
}
function temporaryBytes(entry: Entry | undefined, buffers: readonly PlanBuffer[], storeBytes: number): number {
  const used = entry?.steps.flatMap(buffersOf) ?? [];
  return Math.max(0, ...used.map((i) => (buffers[i]?.offset ?? 0) + (buffers[i]?.bytes ?? 0) - storeBytes));
}

/** How many bytes are free, to be divided equally among `sharing` processes (1 if not given). */
export interface FreeMemory {
  readonly bytes: number;
  readonly sharing?: number;
}
const freePerProcess = ({ bytes, sharing = 1 }: FreeMemory): number => bytes / sharing;
const showFree = (free: FreeMemory): string =>
  `${showBytes(freePerProcess(free))} are free${(free.sharing ?? 1) > 1 ? ` for each of ${free.sharing} workers` : ""}`;
/**
 * Throws if the plan needs more bytes than are free, before anything is allocated; the message names the largest buffers and what to lower.
 * `first`: advice that is put before that.
 */
export function requireMemory(plan: Plan, free: FreeMemory, first = ""): void {
  if (plan.bytes.arena > freePerProcess(free)) throw planTooLarge(plan, showFree(free), first);
}
/** Throws if the arena is too large for its size to be an exact integer. */
export function requireCountable(plan: Plan): void {
  if (!Number.isSafeInteger(plan.bytes.arena)) throw planTooLarge(plan, "no machine has them", "");
}
/** Throws if the parameters alone, or these with inputs and states, need more bytes than are free, before any plan is made; see `requireMemory`. */
export function requireStores(stores: readonly Store[], free: FreeMemory, first = ""): void {
  const require = (what: string, ...roles: readonly Store["role"][]): void => {
    const held = stores
      .filter(({ role }) => roles.includes(role))
      .map(({ role, name, type }) => ({ ...dtypeAndShape(type), role, name, bytes: byteSize(type) }));
    const bytes = sum(held.map((b) => b.bytes));
    if (bytes <= freePerProcess(free)) return;
    const inputs = sum(held.map((b) => (b.role === "input" ? b.bytes : 0)));
    throw tooLarge(what, bytes, showFree(free), held, inputs < bytes / 2 ? first + shrinkAdvice : inputsAdvice);
  };
  require("the parameters alone need", "parameter");
  require("parameters, states and inputs need", "parameter", "state", "input");
}
const dtypeAndShape = (type: Type): Pick<LargeBuffer, "dtype" | "shape"> => ({
  dtype: dtypeOf(type),
  shape: dims(type),
});
const shrinkAdvice =
  "lower the model's sizes (layers, experts, widths): most of it is parameters and what goes with them";
function planTooLarge({ bytes, buffers }: Plan, why: string, first: string): Problem {
  const whole = buffers.filter((b) => b.of === undefined);
  return tooLarge("the plan needs", bytes.arena, why, whole, first + adviceFor(bytes));
}
function adviceFor({ activations, arena, ...kept }: Bytes): string {
  if (activations > arena / 2)
    return `lower the batch or the length, or train with ${recomputeFlagText}: most of it is activations`;
  return sum(Object.values(kept)) > arena / 2 ? shrinkAdvice : inputsAdvice;
}
const inputsAdvice = "lower the sizes of its inputs: most of it is inputs and results";
type LargeBuffer = Pick<PlanBuffer, "name" | "dtype" | "shape" | "bytes">;
function tooLarge(what: string, bytes: number, why: string, buffers: readonly LargeBuffer[], help: string): Problem {
  const largest = buffers.toSorted((a, b) => b.bytes - a.bytes).slice(0, 5);
  const lines = largest.map((b) => `  ${b.name}: ${b.dtype}[${b.shape.join(", ")}], ${showBytes(b.bytes)}`);
  return new Problem(`${what} ${showBytes(bytes)} and ${why}; the largest buffers are\n${lines.join("\n")}`, help);
}
