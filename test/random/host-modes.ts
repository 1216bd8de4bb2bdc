// Random ways to run a program on the host: instruction set, numbers of threads, schedules. The same seed gives the same way.
import { env } from "node:process";
import { fileURLToPath } from "node:url";
import { parseContractionKey } from "../../compiler/kernel/candidates.ts";
import { type Choices, type Contraction, type Schedule, termsOf } from "../../compiler/kernel/schedule.ts";
import type { Limits } from "../../compiler/pipeline.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { hasTileVectors } from "../host/forms.ts";
import { hasFeature } from "../host/machine.ts";
import { drawnSchedule, drawnSchedules } from "./products.ts";
import { Draw } from "./random-graph.ts";

/** `tiles` is AMX, emulated on AVX-512. */
export const isas = ["native", "avx2", "portable", "tiles"] as const;
export type Isa = (typeof isas)[number];
const runs: Readonly<Record<Isa, boolean>> = {
  native: true,
  avx2: hasFeature("avx2") && hasFeature("fma"),
  portable: true,
  tiles: hasTileVectors,
};
/** The instruction sets that this machine can run. */
export const runnable: readonly Isa[] = isas.filter((isa) => runs[isa]);
export const precisions = ["f32", "bf16"] as const;

export interface HostMode {
  readonly precision: (typeof precisions)[number];
  readonly isa: Isa;
  /** Results with the first number of threads are compared with the expected ones; the others must have the same bits. */
  readonly threads: readonly number[];
  /** The seed of random schedules for some of the runs; null: the target's own for all. */
  readonly schedules: string | null;
  /** Limits that make passes treat a small program like a large one. */
  readonly limits?: Limits;
}
/** The default way. */
export const defaultMode: Omit<HostMode, "precision"> = { isa: "native", threads: [2, 1, 3], schedules: null };

export function drawHostMode(seed: string, given: Partial<HostMode> = {}): HostMode {
  const draw = new Draw(`${seed}, its way`);
  const drawn: HostMode = {
    precision: draw.of(precisions),
    isa: draw.of(runnable),
    threads: draw.order(4).map((i) => [1, 2, 3, 7][i] ?? 1),
    schedules: draw.chance(0.8) ? `${seed}, its schedules` : null,
    limits: draw.chance(0.5)
      ? { routerLogits: 0, untranspose: 0, heads: draw.of([20, 60, 200]), sharedRows: -Infinity, leastTokens: 1 }
      : {},
  };
  return { ...drawn, ...given };
}
const emulated = fileURLToPath(new URL("../host/tiles-of-addon.hpp", import.meta.url));
/** The environment variables that select an instruction set. */
const named = (isa: Isa): Readonly<Record<string, string>> =>
  isa === "tiles"
    ? { MOEC_ISA: "avx512", CXX: `${env["CXX"] ?? "g++"} -D__AMXBF16__=1 -include ${emulated}` }
    : { MOEC_ISA: isa };
/** Runs `run` with kernels compiled for an instruction set. */
export async function withIsa<T>(isa: Isa, run: () => Promise<T>): Promise<T> {
  const words = named(isa);
  const before = Object.keys(words).map((name) => [name, env[name]] as const);
  Object.assign(env, words);
  try {
    return await run();
  } finally {
    for (const [name, word] of before) {
      if (word === undefined) Reflect.deleteProperty(env, name);
      else env[name] = word;
    }
  }
}
/** The target's choices with random thresholds, so that small programs are also treated like large ones. */
function withDrawnThresholds(own: Choices, seed: string, isa: Isa): Choices {
  const draw = new Draw(`${seed}, shifted`);
  if (draw.chance(0.3)) return own;
  const transposed = {
    queries: draw.of([16, 32, 64]),
    heads: draw.of([1, 3, Infinity]),
    maxGradients: draw.of([100, 1 << 20]),
  };
  const few = draw.of([0, 8, Infinity]);
  const kept = draw.of([0, 16, 1 << 16]);
  const inCaches = draw.of([0, 50, 1 << 22]);
  const square = { side: draw.of([16, 64]), least: draw.of([0, 0, 1 << 16]) };
  const shown: Choices = {
    ...own,
    attention: { ...own.attention, transposed, fewQueries: few },
    rows: { ...own.rows, maxCachedRow: kept, cacheElements: inCaches, transposeTile: square },
    regions: { ...own.regions, gathers: draw.chance(0.5) },
  };
  return isa === "tiles" && draw.chance(0.7) ? { ...shown, form: termsOf } : shown;
}
/** First the choices with which results are compared; then others that must keep the bits. */
export function choicesOf(target: Choices, { schedules, isa }: Pick<HostMode, "schedules" | "isa">): Choices[] {
  if (schedules === null) return [target];
  const own = withDrawnThresholds(target, schedules, isa);
  return [own, drawnSchedules(own, schedules)];
}
/** A random schedule for each contraction of a plan, in place of measured ones. */
export function schedulesFor({ kernels }: Plan, seed: string): Map<string, Schedule> {
  const draw = new Draw(seed);
  const shapes = new Set(kernels.flatMap((k) => k.schedule?.shape ?? []));
  return new Map([...shapes].map((shape) => [shape, drawnSchedule(draw, parseContractionKey(shape) as Contraction)]));
}
