// The options of a training run: those that the caller gives, and, resuming, those that the run was begun with.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type EntrySignature, findModel, type Loaded, modelsOf } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { modelFlagText } from "../../compiler/flag-text.ts";
import type { WeightsOption } from "../../compiler/types/dtype.ts";
import type { EncodingOptions } from "../cache/tokens.ts";
import type { CommonOptions, TrainingSharing } from "../compile.ts";
import { hasHeader, headerDefault, headerSizes } from "../program.ts";
import { isRun } from "../storage/checkpoint-folder.ts";
import { sizesFromConfig } from "../storage/parameters.ts";
import { type RunConfig, readConfig, requireSame } from "../storage/run-folder.ts";
import { requireLayers } from "../storage/upcycle.ts";
import { atLeastOne, defaultRows, named, textAxes, textSizes } from "../text-entry.ts";
import type { Languages } from "../tokens.ts";
import type { Dataset } from "./data.ts";

/** Options that are left out come from the run's config.json when resuming, else they have the defaults given here. */
export interface TrainOptions extends CommonOptions, EncodingOptions, TrainingSharing, Languages {
  /** A .moe file. */
  readonly program: string;
  /** Which of the file's models. Default: resuming, the run's; else its only one. */
  readonly model?: string | undefined;
  /** Text files, which are concatenated. Tokens are bytes unless `ids` or `tokenizer` says otherwise. */
  readonly data: readonly string[];
  /** Text files that are evaluated on. Default: the end of the data, which is then not trained on. */
  readonly heldOut?: readonly string[] | undefined;
  /** The files hold token numbers, separated by blanks or commas. */
  readonly ids?: boolean | undefined;
  /** The files hold text for this tokenizer: a tokenizer.json, or a folder with one. */
  readonly tokenizer?: string | undefined;
  /** Steps in total, those before a resume included. Default: the model's `Steps`, or 400. */
  readonly steps?: number | undefined;
  /** Rows of a batch. Default: that of the header, if it names them, or 16. */
  readonly batch?: number | undefined;
  /** Tokens of a row. Default: that of the header, if it names them, or 128. */
  readonly length?: number | undefined;
  /** Rows are crops of the training text in random order, other ones each epoch; else each row goes on where it ended. Default: going on, as before; else false. */
  readonly shuffle?: boolean | undefined;
  /** Batches per step, which takes the mean of their gradients. Default: 1. */
  readonly accumulate?: number | undefined;
  /** Default: 0. */
  readonly seed?: number | undefined;
  /** Initial parameters: a safetensors file, or a folder that training or transformers wrote. Those that it lacks are initialised from the seed. */
  readonly params?: string | undefined;
  /** Arrays of layers that `params` lacks begin as copies of the layer that it has in their place (sparse upcycling). Default: false. */
  readonly upcycle?: boolean | undefined;
  /**
   * The folder of another run. This one goes on from its newest checkpoint, with the optimizer's state and the number of steps; data, batch and all else
   * may differ. Options that are left out are that run's.
   */
  readonly from?: string | undefined;
  /** The run's folder; null: nothing is written. Default: `defaultRunFolder`. */
  readonly out?: string | null | undefined;
  /** Steps from one checkpoint to the next. Default: 100. */
  readonly saveEvery?: number | undefined;
  /** Steps from one evaluation to the next. Default: 0, after the last step only. */
  readonly evaluateEvery?: number | undefined;
  /** Keep the checkpoint with the lowest held-out loss, in the folder `best` of the run's. Default: resuming, as before; else false. */
  readonly keepBest?: boolean | undefined;
  /** End after so many evaluations in a row without a better held-out loss. Default: never. */
  readonly patience?: number | undefined;
  readonly resume?: boolean | undefined;
  /** Keep only what passes between the layers of an array, and make each layer again in the backward. Default: resuming, as before; else false. */
  readonly recompute?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The name of the model to train: given, or, when resuming, the run's, or the file's only one. */
export function modelIn(program: Loaded, { model, resume }: TrainOptions, folder: string | null): string {
  const saved = resume ? savedIn(folder)?.model : undefined;
  const name = model ?? saved;
  if (
    folder !== null &&
    saved !== undefined &&
    name === saved &&
    !modelsOf(program).some((m) => m.ast.name.name === saved)
  )
    throw new Problem(
      `${folder} is a run of ${saved}, which ${program.main.name} does not declare`,
      `give the program that was trained, or the run's copy of it, ${join(folder, "model.moe")}`,
    );
  return findModel(program, name, modelFlagText).ast.name.name;
}
export const savedIn = (folder: string | null): RunConfig | null =>
  folder !== null && existsSync(join(folder, "config.json")) ? readConfig(folder) : null;
/** The run's options. Throws if the folder holds a run and `resume` is not set, or if they contradict those of the run that is resumed. */
export function configIn(
  options: TrainOptions,
  entry: EntrySignature,
  folder: string | null,
  text: Dataset,
): RunConfig {
  requireOneBeginning(options);
  const saved = options.resume ? savedIn(folder) : null;
  if (options.resume && saved === null)
    throw new Problem(
      `${folder ?? "nothing"} holds no run to resume`,
      "leave --resume out, or name the run's folder with --out",
    );
  if (folder === null || saved === null) {
    if (folder !== null && isRun(folder))
      throw new Problem(`${folder} already holds a run`, "go on with --resume, or choose another folder with --out");
    const config = configOf(options, entry, text, options.from === undefined ? null : beginning(options.from, entry));
    if (options.from !== undefined) requireTf32Target(options.from, config, options);
    return config;
  }
  const config = configOf(options, entry, text, saved);
  requireSame(folder, saved, config);
  requireTf32Target(folder, config, options);
  return config;
}
function requireTf32Target(run: string, { tf32 }: RunConfig, { target = "host" }: TrainOptions): void {
  if (tf32 && target !== "cuda")
    throw new Problem(
      `${run} cannot go on on the ${target} target: it was trained with --tf32`,
      "add --target cuda, or start another run with --out",
    );
}
function requireOneBeginning({ resume, params, from, upcycle }: TrainOptions): void {
  const given = Object.entries({ resume: resume || undefined, params, from }).flatMap(([name, value]) =>
    value === undefined ? [] : `--${name}`,
  );
  if (given.length > 1)
    throw new Problem(
      `a run begins from one thing, and ${given.join(" and ")} are given`,
      "--resume goes on with the run in --out, --from with another one in a new folder, --params takes parameters alone: leave the others out",
    );
  requireLayers({ upcycle, params });
}
/**
 * What a run that goes on from another takes from it: all but the data, the parameters that that one began with, whether it kept its best checkpoint, and
 * sizes that the model lacks.
 */
function beginning(from: string, entry: EntrySignature): RunConfig {
  const { params: _, upcycle: __, keepBest: ___, sizes, ...others } = readConfig(from);
  const known = Object.entries(sizes).filter(([name]) => name === "B" || name === "T" || hasHeader(entry, name));
  return { ...others, sizes: Object.fromEntries(known), from };
}
/** Sizes and values that the run of `params` or `from` was given by --set, and that hold here too because these options do not set them. */
export function inherited({ params, from, set = {} }: TrainOptions, entry: EntrySignature): RunConfig["sizes"] {
  const run = from ?? params;
  if (run === undefined || !isRun(run)) return {};
  const own = new Set(["Steps", ...textAxes(entry), ...Object.keys(set)]);
  const there = Object.entries(readConfig(run).sizes);
  return Object.fromEntries(there.filter(([name]) => hasHeader(entry, name) && !own.has(name)));
}
function configOf(
  options: TrainOptions,
  entry: EntrySignature,
  { files, bytes, hash, heldOutFiles, codec }: Dataset,
  saved: RunConfig | null,
): RunConfig {
  const steps = stepsOf(options, entry, saved);
  const accumulate = options.accumulate ?? saved?.accumulate;
  const params = options.params ?? saved?.params;
  const from = saved?.from;
  return {
    model: entry.declaration,
    sizes: { ...sizesOf(options, entry, saved), ...(hasHeader(entry, "Steps") ? { Steps: steps } : {}) },
    steps,
    seed: options.seed ?? saved?.seed ?? 0,
    precision: options.precision ?? saved?.precision ?? "f32",
    ...((options.tf32 ?? saved?.tf32) ? { tf32: true } : {}),
    ...withWeights(options.weights ?? saved?.weights),
    ...((options.keepBest ?? saved?.keepBest) ? { keepBest: true } : {}),
    ...((options.shuffle ?? saved?.shuffle) ? { shuffle: true } : {}),
    ...((options.recompute ?? saved?.recompute) ? { recompute: true } : {}),
    ...(params === undefined ? {} : { params }),
    ...((options.upcycle ?? saved?.upcycle) ? { upcycle: true } : {}),
    ...(from === undefined ? {} : { from }),
    ...(accumulate === undefined ? {} : { accumulate }),
    ...codec.config,
    data: { files: [...files], bytes, hash },
    ...(heldOutFiles === null ? {} : { heldOut: { ...heldOutFiles, files: [...heldOutFiles.files] } }),
  };
}
const withWeights = (weights: WeightsOption = "float"): Pick<RunConfig, "weights"> =>
  weights === "float" ? {} : { weights };
function stepsOf(options: TrainOptions, entry: EntrySignature, saved: RunConfig | null): number {
  const said = { ...textSizes(entry, options).others, ...named("--steps", options.steps, "Steps", options.set) };
  return atLeastOne("Steps", said["Steps"]) ?? saved?.steps ?? headerDefault(entry, "Steps") ?? 400;
}
/** B, T, and what else the header takes: as the options say, else the folder of `params`, else the run that this one goes on with. */
function sizesOf(options: TrainOptions, entry: EntrySignature, saved: RunConfig | null): RunConfig["sizes"] {
  const before = saved?.sizes ?? {};
  const [batch, length] = textAxes(entry);
  const { others, ...given } = textSizes(entry, options);
  const rows = defaultRows(entry);
  const loaded = options.params === undefined ? {} : headerSizes(entry, sizesFromConfig(options.params));
  const B = given.B ?? before["B"] ?? Number(loaded[batch] ?? rows.B);
  const T = given.T ?? before["T"] ?? Number(loaded[length] ?? rows.T);
  return { ...before, ...loaded, ...others, ...headerSizes(entry, { [batch]: B, [length]: T }), B, T };
}
