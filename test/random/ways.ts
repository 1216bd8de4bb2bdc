// Ways in which the host may run a program, the same for the same seed: its instruction set, its threads, its schedules.
import { env } from "node:process";
import { contractionOf } from "../../compiler/kernel/candidates.ts";
import type { Choices, Contraction, Schedule } from "../../compiler/kernel/schedule.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { has } from "../host/machine.ts";
import { Draw } from "./growing.ts";
import { drawnSchedule, drawnSchedules } from "./products.ts";

export const isas = ["native", "avx2", "portable"] as const;
export type Isa = (typeof isas)[number];
/** Those that this machine runs. */
export const runnable: readonly Isa[] = has("avx2") && has("fma") ? isas : isas.filter((isa) => isa !== "avx2");
export const precisions = ["f32", "bf16"] as const;

export interface Way {
  readonly precision: (typeof precisions)[number];
  readonly isa: Isa;
  /** The first one's results are compared with what is right, the others' bits with them. */
  readonly threads: readonly number[];
  /** Of schedules that some of the runs are cut by; null: all are cut as the target would. */
  readonly schedules: string | null;
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
  };
  return { ...drawn, ...given };
}
/** Kernels are made for the instruction set while `run` lasts. */
export async function under<T>(isa: Isa, run: () => Promise<T>): Promise<T> {
  const before = env["MOEC_ISA"];
  env["MOEC_ISA"] = isa;
  try {
    return await run();
  } finally {
    if (before === undefined) delete env["MOEC_ISA"];
    else env["MOEC_ISA"] = before;
  }
}
/** The target's own choices first, then those that are drawn. */
export const choicesOf = (own: Choices, { schedules }: Pick<Way, "schedules">): Choices[] =>
  schedules === null ? [own] : [own, drawnSchedules(own, schedules)];
/** One for each contraction of a plan, in place of measured ones. */
export function schedulesFor({ kernels }: Plan, seed: string): Map<string, Schedule> {
  const draw = new Draw(seed);
  const shapes = new Set(kernels.flatMap((k) => k.schedule?.shape ?? []));
  return new Map([...shapes].map((shape) => [shape, drawnSchedule(draw, contractionOf(shape) as Contraction)]));
}
