// Training by several workers: checks of their options, and how errors of one reach the others.
import type { Loaded } from "../../compiler/check/index.ts";
import { textsOf } from "../../compiler/check/texts.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import {
  contextParallelFlagText,
  describeValue,
  expertParallelFlagText,
  recomputeFlagText,
  roomFlagText,
  shadowFlagText,
  shardOptimizerFlagText,
  shardParametersFlagText,
  tensorParallelFlagText,
} from "../../compiler/flag-text.ts";
import type { BuildRequest, EntryRequest, Sizes } from "../../compiler/pipeline.ts";
import { fromTo } from "../../compiler/types/numbers.ts";
import type { TrainingSharing } from "../compile.ts";
import type { Tensor } from "../executable/executable.ts";
import type { Checkpoint } from "../storage/checkpoint.ts";
import { sha256 } from "../storage/files.ts";
import type { LoadedParameters } from "../storage/parameters.ts";
import { namedOptions, type RunConfig } from "../storage/run-folder.ts";
import type { StoredTensors } from "../storage/stored-tensor.ts";
import { sampledHash } from "./sharded-executable.ts";
import type { Workers } from "./workers.ts";

/** What comes from a pipe is refused, since all workers read what `flag` names. */
export function requireFiles(files: readonly string[], { size }: Workers, flag = "--data"): void {
  if (size > 1 && files.includes("/dev/stdin"))
    throw new Problem("what is piped in reaches worker 0 only", `give ${flag} a file that all workers can read`);
}
/** The batch must be a multiple of the number of workers, or of the groups that share matrices or tokens, which get equally many rows. */
export function requireDivisibleBatch(
  batch: number,
  { size }: Pick<Workers, "size">,
  { tensorParallel = 1, contextParallel = 1 }: TrainingSharing = {},
): void {
  const alike = tensorParallel * contextParallel;
  const groups = size / alike;
  const less = batch - (batch % groups);
  if (less !== batch)
    throw new Problem(
      `--batch ${batch} cannot be dealt to ${groups} ${alike > 1 ? `groups of ${alike} ` : ""}workers in equal parts`,
      `give --batch ${less > 0 ? `${less} or ` : ""}${less + groups}`,
    );
}
/** `tensorParallel` must divide the number of workers, `contextParallel` what is left, `expertParallel` that over which experts are spread; all options need several. */
export function requireSharing(sharing: TrainingSharing, { size }: Pick<Workers, "size">): void {
  const { tensorParallel, contextParallel, expertParallel, room, shadow } = sharing;
  const { shardOptimizer = false, shardParameters = false } = sharing;
  if (room !== undefined && !(room >= 1))
    throw new Problem(`room is ${describeValue(room)}`, "give how many equal shares of the rows fit: 1 or more");
  const given = [
    ...(room === undefined ? [] : ["room"]),
    ...(tensorParallel === undefined ? [] : ["sharing of matrices"]),
    ...(contextParallel === undefined ? [] : ["sharing of tokens"]),
    ...(expertParallel === undefined ? [] : ["the spread of experts"]),
    ...(shardOptimizer ? ["a sharded optimizer"] : []),
    ...(shardParameters ? ["a division of parameters"] : []),
    ...(shadow === undefined ? [] : ["a number of shadowed experts"]),
  ];
  if (given[0] !== undefined && size === 1)
    throw new Problem(
      `${given[0]} is of several workers, and there is one`,
      "leave it out, or start several with mpirun",
    );
  requireDivisor(size, tensorParallel, {
    wrong: (n) => `matrices cannot be shared by ${n} of ${size} workers: all groups of workers are as large`,
    help: (numbers) => `share them by ${numbers}`,
  });
  const groups = size / (tensorParallel ?? 1);
  const what = tensorParallel === undefined ? "workers" : `groups of ${tensorParallel} workers`;
  requireDivisor(groups, contextParallel, {
    wrong: (n) => `tokens cannot be shared by ${n} of ${groups} ${what}: all groups of workers are as large`,
    help: (numbers) => `share them by ${numbers}`,
  });
  const most = contextParallel === undefined || contextParallel === 1 ? groups : contextParallel;
  requireDivisor(most, expertParallel, {
    wrong: (n) => `experts cannot be spread over ${n} of ${most} ${what}: all groups of workers are as large`,
    help: (numbers) => `spread them over ${numbers}`,
  });
}
function requireDivisor(
  of: number,
  n: number | undefined,
  { wrong, help }: { readonly wrong: (n: number) => string; readonly help: (numbers: string) => string },
): void {
  const divisors = fromTo(1, of + 1).filter((d) => of % d === 0);
  if (n === undefined || divisors.includes(n)) return;
  throw new Problem(wrong(n), help(of === 1 ? "1" : `${divisors.slice(0, -1).join(", ")} or ${of}`));
}
/** Also throws, on all workers, if one was given another number than worker 0: their plans would differ. */
export function requireEqualSharing(options: TrainingSharing & Pick<BuildRequest, "recompute">, world: Workers): void {
  requireSharing(options, world);
  const { recompute = false, tensorParallel, contextParallel, expertParallel, room, shadow } = options;
  const { shardOptimizer = false, shardParameters = false } = options;
  world.requireEqual({
    [recomputeFlagText]: recompute,
    [tensorParallelFlagText]: tensorParallel ?? "none",
    [contextParallelFlagText]: contextParallel ?? "none",
    [expertParallelFlagText]: expertParallel ?? "none",
    [roomFlagText]: room ?? "none",
    [shardOptimizerFlagText]: shardOptimizer,
    [shardParametersFlagText]: shardParameters,
    [shadowFlagText]: shadow ?? "none",
  });
}
/** Throws on all workers if they were given, in TypeScript, another program, other sizes or other random numbers than worker 0. */
export function requireEqualPrograms(
  program: Loaded,
  { sizes = {}, precision = "f32", tf32 = false, weights, accumulate = 1, given = [], seed = 0 }: EqualOptions,
  world: Workers,
): void {
  if (world.size === 1) return;
  const same = { precision, tf32, weights, accumulate, given, seed };
  world.requireEqual({ program: hashOfProgram(program), ...sizesForErrors(sizes), ...same });
}
/** Sizes by the names by which errors call them. */
export const sizesForErrors = (sizes: Sizes): Sizes =>
  Object.fromEntries(Object.entries(sizes).map(([name, value]) => [`size ${name}`, value]));
interface EqualOptions {
  readonly sizes?: Sizes;
  readonly precision?: string;
  readonly tf32?: boolean | undefined;
  readonly weights?: string | undefined;
  readonly accumulate?: number;
  readonly given?: readonly string[];
  readonly seed?: number;
}
interface EntryOptions extends EqualOptions {
  readonly declaration: string;
  readonly target: string;
  readonly entries: readonly EntryRequest[];
  readonly params: LoadedParameters | null;
}
/** The same of an entry that is run once. Inputs are compared when it is. */
export function requireEqualEntries(program: Loaded, options: EntryOptions, world: Workers): void {
  if (world.size === 1) return;
  const { declaration, target, entries, params } = options;
  world.requireEqual({
    entry: JSON.stringify([declaration, entries]),
    target,
    "--params": params === null ? "none" : hashOfTensors(params.tensors),
  });
  requireEqualPrograms(program, options, world);
}
interface Opened {
  readonly program: Loaded;
  readonly config: RunConfig;
  readonly folder: string | null;
  readonly params: LoadedParameters | null;
  readonly saveEvery: number;
  readonly evaluateEvery: number;
  readonly patience: number | null;
}
/** Throws on all workers if they differ in the program, options or parameters. */
export function requireEqualRuns({ program, config, folder, params, ...every }: Opened, world: Workers): void {
  if (world.size === 1) return;
  world.requireEqual({
    program: hashOfProgram(program),
    ...namedOptions(config),
    "--steps": config.steps,
    "--save-every": every.saveEvery,
    "--evaluate-every": every.evaluateEvery,
    "--keep-best": config.keepBest ?? false,
    "--patience": every.patience ?? "none",
    "--out": folder,
    "--params": params === null ? "none" : `${params.path} (${hashOfTensors(params.tensors)})`,
    "--upcycle": params?.upcycle ?? false,
  });
}
/** The same of the checkpoint that they go on from. */
export function requireEqualCheckpoints(from: Checkpoint | null, world: Workers): void {
  world.requireEqual({ checkpoint: from === null ? "none" : identityOf(from) });
}
/** What tells a checkpoint from others. */
export const identityOf = ({ path, checksum }: Checkpoint): string => `${path} (${checksum.slice(0, 16)})`;
export const hashOfProgram = (program: Loaded): string =>
  `SHA-256 ${sha256(JSON.stringify(textsOf(program))).slice(0, 16)}`;
export const hashOfTensors = (tensors: StoredTensors): string => sampledHash(eachOf(tensors)).toString(16);
function* eachOf(tensors: StoredTensors): Generator<Tensor> {
  for (const t of tensors.values()) yield t.read();
}

/** Yields what `work` does. An error of this worker is reported to the others, and if the work ends for one worker it must end for all. */
export async function* reportingFailure<T>(world: Workers, work: AsyncGenerator<T, void>): AsyncGenerator<T, void> {
  let failed = false;
  try {
    yield* work;
  } catch (error) {
    failed = true;
    throw world.reportFailure(error);
  } finally {
    if (!failed) world.gatherNumbers("the end of the work", 0);
  }
}
