// Generation by several workers: what they must have alike, and how they agree to stop.
import type { Loaded } from "../../compiler/check/index.ts";
import type { Sizes } from "../../compiler/pipeline.ts";
import type { CommonOptions, ParameterSharing } from "../compile.ts";
import { hashOfProgram, requireEqualSharing, sizesForErrors } from "./train-distributed.ts";
import { singleWorker, type Workers } from "./workers.ts";

/** How a model is opened. */
interface Opening extends Omit<CommonOptions, "set">, ParameterSharing {
  readonly set?: Sizes | undefined;
  readonly trained?: Sizes | undefined;
  readonly rows: number;
  readonly seed: number;
  readonly ids?: boolean | undefined;
  readonly sampling?: readonly string[] | undefined;
  readonly world?: Workers | undefined;
}
/** Throws on all workers if they differ in the model or in how it is opened. `parameters`: what tells its parameters from others. */
export function requireEqualModels(program: Loaded, parameters: string, options: Opening): void {
  const { world = singleWorker } = options;
  requireEqualSharing(options, world);
  if (world.size === 1) return;
  const { target = "host", precision = "f32", tf32 = false, weights, ids = false, rows: batch, seed } = options;
  const sizes = sizesForErrors({ ...options.trained, ...options.set });
  const same = { target, precision, tf32, weights, ids, batch, seed, sampling: options.sampling?.join(" ") };
  world.requireEqual({ program: hashOfProgram(program), model: parameters, ...sizes, ...same });
}
/** Throws on all workers if they are to generate other texts than worker 0. */
export function requireEqualTexts(texts: Readonly<Record<string, unknown>>, world: Workers): void {
  if (world.size === 1) return;
  const given = Object.entries(texts).filter(([, value]) => value !== undefined);
  world.requireEqual(Object.fromEntries(given.map(([name, value]) => [name, JSON.stringify(value)])));
}
type Agreement = (own: readonly boolean[]) => readonly boolean[];
/** Where one worker is stopped, or a row of the batch, all of them are; `stop` is then called on all. */
export function agreeing(world: Workers, stop: () => void = () => {}): Agreement | undefined {
  if (world.size === 1) return undefined;
  return (own) => {
    const any = world.anyOf("whether to stop", own);
    if (any[0]) stop();
    return any;
  };
}
