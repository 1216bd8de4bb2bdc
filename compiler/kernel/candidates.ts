// The schedules that `moec tune` measures: variations of the default schedule of a contraction that may be faster.
import { roundUp } from "./expr.ts";
import { type Contraction, hasWholeVectors, type Schedule } from "./schedule.ts";

/** Parses a key made by `contractionKey`; null if it is not one. */
export function parseContractionKey(key: string): Contraction | null {
  const parts =
    /^(dot|ragged_dot|ragged_outer) (\d+) x (\d+) x (\d+)(?:, (\d+) groups)?(?:, (\d+) operands)?(?:, (\d+) pairs)?(, bf16)?(?:, (f32|bf16) by codes)?(, fp4)?(, outer)?$/.exec(
      key,
    );
  if (!parts) return null;
  const [op, m, n, k, groups, operands, pairs, short, codes, fp4, outer] = parts.slice(1) as [
    Contraction["op"],
    ...(string | undefined)[],
  ];
  const sizes = {
    m: Number(m),
    n: Number(n),
    k: Number(k),
    groups: Number(groups ?? 1),
    operands: Number(operands ?? 1),
    pairs: Number(pairs ?? 1),
  };
  return {
    op,
    ...sizes,
    isBf16: short !== undefined,
    ...(codes === "f32" || codes === "bf16" ? { codes } : {}),
    ...(fp4 === undefined ? {} : { fp4: true as const }),
    isLeftTransposed: outer !== undefined || op === "ragged_outer",
  };
}

/**
 * The parameters of a schedule that are varied one after the other, each starting from the best schedule so far: depth of a block, rows, columns,
 * rows of a task (for a ragged_dot, tasks per group), non-temporal stores.
 */
export const tuningAxes = ["bk", "bm", "bn", "mc", "stream"] as const;
export type TuningAxis = (typeof tuningAxes)[number];

/** `given` with other values on one axis, without those that cut this contraction in the same way. `panel`: bn must be a multiple of it. */
export function candidatesOn(c: Contraction, given: Schedule, axis: TuningAxis, panel: number): Schedule[] {
  const changes: Readonly<Record<TuningAxis, readonly Partial<Schedule>[]>> = {
    bk: [128, 256, 512, 1024].map((bk) => ({ bk })),
    bm: [24, 48, 96, 192, 258].map((bm) => ({ bm })),
    bn: [32, 64, 96, 128, 256].filter((bn) => bn % panel === 0).map((bn) => ({ bn })),
    mc: [1, 2, 4, 8, 16, 32].map((tasks) =>
      c.op === "ragged_dot" ? { parts: tasks } : { mc: Math.ceil(c.m / tasks) },
    ),
    stream: hasWholeVectors(c.n) ? [{ stream: !given.stream }] : [],
  };
  const seen = new Set([keyOf(clampSchedule(c, given))]);
  return changes[axis].flatMap((change) => {
    const next = clampSchedule(c, { ...given, ...change });
    if (seen.has(keyOf(next)) || isTooLarge(c, next)) return [];
    seen.add(keyOf(next));
    return [next];
  });
}
const keyOf = (s: Schedule): string => JSON.stringify([s.bm, s.bn, s.bk, s.mc, s.parts ?? 1, s.stream]);
/** Limits a schedule to the size of the contraction; the rows of a task are a multiple of its blocks of rows. */
function clampSchedule(c: Contraction, s: Schedule): Schedule {
  const bm = Math.min(s.bm, roundUp(Math.max(c.m, 1), 6));
  const deep = c.op === "ragged_outer" ? s.bk : Math.min(s.bk, Math.max(128, roundUp(c.k, 128)));
  const mc = c.op === "dot" ? Math.min(roundUp(s.mc, bm), roundUp(Math.max(c.m, 1), bm)) : s.mc;
  return { ...s, bm, bn: Math.min(s.bn, roundUp(Math.max(c.n, 1), 16)), bk: deep, mc };
}
/** Whether the accumulator, which a weight gradient has in L2, or the block of the right operand that is reused exceeds a core's private caches (limits in floats). */
const isTooLarge = ({ isLeftTransposed }: Contraction, { bm, bn, bk }: Schedule): boolean =>
  bm * bn > (isLeftTransposed ? 96 : 24) * 1024 || bn * bk > 128 * 1024;
