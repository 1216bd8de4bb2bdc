// Ways in which the host may run a program, the same for the same seed: its instruction set, its threads, its schedules.
import { env } from "node:process";
import { fileURLToPath } from "node:url";
import { contractionOf } from "../../compiler/kernel/candidates.ts";
import type { Choices, Contraction, Schedule } from "../../compiler/kernel/schedule.ts";
import type { Limits } from "../../compiler/pipeline.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { allSplit, vectors } from "../host/forms.ts";
import { has } from "../host/machine.ts";
import { Draw } from "./growing.ts";
import { drawnSchedule, drawnSchedules } from "./products.ts";

/** `tiles`: AMX's, emulated. */
export const isas = ["native", "avx2", "portable", "tiles"] as const;
export type Isa = (typeof isas)[number];
const runs: Readonly<Record<Isa, boolean>> = {
  native: true,
  avx2: has("avx2") && has("fma"),
  portable: true,
  tiles: vectors,
};
/** Those that this machine runs. */
export const runnable: readonly Isa[] = isas.filter((isa) => runs[isa]);
export const precisions = ["f32", "bf16"] as const;

export interface Way {
  readonly precision: (typeof precisions)[number];
  readonly isa: Isa;
  /** The first one's results are compared with what is right, the others' bits with them. */
  readonly threads: readonly number[];
  /** Of schedules that some of the runs are cut by; null: all are cut as the target would. */
  readonly schedules: string | null;
  /** Where passes take a small program for a large one. */
  readonly limits?: Limits;
}
/** What every run had before there were ways. */
export const usual: Omit<Way, "precision"> = { isa: "native", threads: [2, 1, 3], schedules: null };

export function drawnWay(seed: string, given: Partial<Way> = {}): Way {
  const draw = new Draw(`${seed}, its way`);
  const drawn: Way = {
    precision: draw.of(precisions),
    isa: draw.of(runnable),
    threads: draw.order(4).map((i) => [1, 2, 3, 7][i] ?? 1),
    schedules: draw.chance(0.8) ? `${seed}, its schedules` : null,
    limits: draw.chance(0.5) ? { recompute: 0, upright: 0, heads: draw.of([20, 60, 200]) } : {},
  };
  return { ...drawn, ...given };
}
const emulated = fileURLToPath(new URL("../host/tiles-of-addon.hpp", import.meta.url));
/** What the environment says of kernels. */
const named = (isa: Isa): Readonly<Record<string, string>> =>
  isa === "tiles"
    ? { MOEC_ISA: "avx512", CXX: `${env["CXX"] ?? "g++"} -D__AMXBF16__=1 -include ${emulated}` }
    : { MOEC_ISA: isa };
/** Kernels are made for the instruction set while `run` lasts. */
export async function under<T>(isa: Isa, run: () => Promise<T>): Promise<T> {
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
/** Of few elements or heads as of many: what a target does only where a program is large. */
function shifted(own: Choices, seed: string, isa: Isa): Choices {
  const draw = new Draw(`${seed}, shifted`);
  if (draw.chance(0.3)) return own;
  const transposed = {
    queries: draw.of([16, 32, 64]),
    few: draw.of([0, 8, Infinity]),
    heads: draw.of([1, 3, Infinity]),
    kept: draw.of([100, 1 << 20]),
  };
  const kept = draw.of([0, 16, 1 << 16]);
  const inCaches = draw.of([0, 50, 1 << 22]);
  const square = { side: draw.of([16, 64]), least: draw.of([0, 0, 1 << 16]) };
  const shown = { ...own, transposed, kept, inCaches, square, gathers: draw.chance(0.5) };
  return isa === "tiles" && draw.chance(0.7) ? { ...shown, form: allSplit } : shown;
}
/** Those of all runs, by their results, first; then such as keep the bits. */
export function choicesOf(target: Choices, { schedules, isa }: Pick<Way, "schedules" | "isa">): Choices[] {
  if (schedules === null) return [target];
  const own = shifted(target, schedules, isa);
  return [own, drawnSchedules(own, schedules)];
}
/** One for each contraction of a plan, in place of measured ones. */
export function schedulesFor({ kernels }: Plan, seed: string): Map<string, Schedule> {
  const draw = new Draw(seed);
  const shapes = new Set(kernels.flatMap((k) => k.schedule?.shape ?? []));
  return new Map([...shapes].map((shape) => [shape, drawnSchedule(draw, contractionOf(shape) as Contraction)]));
}
