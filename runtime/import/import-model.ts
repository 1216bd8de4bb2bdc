// `moec import`: turns a model that transformers saved into a run's folder, which `generate` and `run` can open.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Elaboration, elaborate, load } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import type { Precision, WeightsOption } from "../../compiler/types/dtype.ts";
import { product } from "../../compiler/types/numbers.ts";
import { dims, dtypeOf } from "../../compiler/types/type.ts";
import type { Tensor } from "../executable/executable.ts";
import { writeCheckpoint } from "../storage/checkpoint.ts";
import { checkpointSteps } from "../storage/checkpoint-folder.ts";
import { writeAtomic } from "../storage/files.ts";
import { lockFolder } from "../storage/lock.ts";
import { NamedTensors } from "../storage/names.ts";
import { defaultRunFolder, writeConfig } from "../storage/run-folder.ts";
import type { StoredTensor, StoredTensors } from "../storage/stored-tensor.ts";
import { firstNonFinite } from "../tensor.ts";
import { openTokenizer } from "../tokenizer/codec.ts";
import { tokenizerName } from "../tokenizer/file.ts";
import { copyTokenizerFiles } from "../tokenizer/select-codec.ts";
import type { Codec } from "../tokens.ts";
import { keptAs } from "./as-codes.ts";
import { openTransformers, startOf, type TransformersModel } from "./config.ts";
import { aboutOtherTokenizer } from "./other-checkpoints.ts";
import { declaration, programOf } from "./program.ts";
import { namesOfWeights } from "./weight-files.ts";
import { isSpare, plainPlace, transformersTensors } from "./weights.ts";

export interface ImportOptions {
  /** The folder that save_pretrained wrote. */
  readonly folder: string;
  /** Default: runs/NAME. */
  readonly out?: string | undefined;
  /** The most positions of a sequence, which is also the length of `generate`'s caches. Default: what config.json says, up to 4096. */
  readonly context?: number | undefined;
  /** int8, fp4: what `generate` could keep as these codes is written so. float: nothing is. Default: what is MXFP4 stays so. */
  readonly weights?: WeightsOption | undefined;
  /** Called with the reason if the folder's tokenizer cannot be used, and with the first weights that are not finite. */
  readonly warn?: ((line: string) => void) | undefined;
}
interface Imported {
  readonly out: string;
  readonly model: string;
  readonly parameters: number;
  readonly context: number;
  /** In which it is generated and evaluated if nothing else is asked for: bf16 if most of the weights are, as in transformers. */
  readonly precision: Precision;
  /** Whether the run has a tokenizer; without one its texts are token numbers. */
  readonly tokenizer: boolean;
  /** The parts of a larger model, such as one that reads images, beside the text model: they are left out. */
  readonly leftOut: readonly string[];
}

/**
 * Writes model.moe, config.json, the folder's tokenizer if it has one, and a checkpoint of step 0. First checks that all weights are present and fit.
 */
export async function importModel(options: ImportOptions): Promise<Imported> {
  const { folder, out = defaultRunFolder(folder, false) } = options;
  const foreign = openTransformers(folder);
  for (const [key, meant] of foreign.misspelt)
    options.warn?.(`${foreign.path} has ${key}, which nothing reads, and has no ${meant}: is that meant?`);
  const context = contextOf(foreign, options.context);
  const text = programOf(foreign, context);
  const tensors = transformersTensors(foreign);
  requireBlocks(foreign, tensors);
  requireAll(text, tensors, foreign);
  foreign.family.requireNumbers?.(tensors, foreign);
  const { weights } = options;
  const kept = weights ? keptAs(weights, load({ name: "model.moe", text }), declaration, tensors) : tensors;
  const codec = await tokenizerOf(options);
  const precision = precisionOf(tensors);
  const release = lockFolder(out);
  try {
    if (checkpointSteps(out).length > 0)
      throw new Problem(`${out} already holds a run`, "choose another folder with --out");
    writeAtomic(join(out, "model.moe"), text);
    writeConfig(out, {
      ...nothing,
      ...codec?.config,
      ...withStart(startOf(foreign)),
      model: declaration,
      steps: 1,
      seed: 0,
      precision,
    });
    if (codec) copyTokenizerFiles(codec, out);
    const state = { ...untrained, tokenizer: codec?.name ?? "foreign" };
    const broken = new Set<string>();
    writeCheckpoint(out, state, { model: watched(kept, broken), training: new Map() });
    if (broken.size > 0) options.warn?.(aboutBroken(folder, [...broken]));
  } finally {
    release();
  }
  const parameters = [...tensors.values()].reduce((sum, t) => sum + product(t.shape), 0);
  return {
    out,
    model: foreign.family.model,
    parameters,
    context,
    precision,
    tokenizer: codec !== null,
    leftOut: leftOut(foreign),
  };
}
function leftOut({ folder, family }: TransformersModel): string[] {
  const { otherPart } = family;
  if (!otherPart) return [];
  const parts = (namesOfWeights(folder) ?? []).flatMap((name) => otherPart(name) ?? []);
  return [...new Set(parts)];
}
/** The same tensors, of which those that hold NaN or infinities are added to `broken` while they are written. */
const watched = (tensors: StoredTensors, broken: Set<string>): StoredTensors =>
  new Map(
    [...tensors].map(([name, t]) => {
      const parts = function* (): Generator<Tensor> {
        for (const one of t.parts()) {
          if (firstNonFinite(one) >= 0) broken.add(name);
          yield one;
        }
      };
      return [name, { ...t, parts }];
    }),
  );
const aboutBroken = (folder: string, [first = "", ...others]: readonly string[]): string =>
  `${folder} has NaN or infinities in \`${first}\`${others.length === 0 ? "" : ` and ${pluralize(others.length, "more tensor")}`}: what the model computes with them is not finite; get the checkpoint anew if it should not have them`;
/** The folder's tokenizer. One that cannot be read is a warning, and null: the model is still usable by token numbers. */
async function tokenizerOf({ folder, warn }: ImportOptions): Promise<Codec | null> {
  if (!existsSync(join(folder, tokenizerName))) {
    const other = aboutOtherTokenizer(folder);
    if (other !== undefined) warn?.(other);
    return null;
  }
  try {
    return await openTokenizer(folder);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    warn?.(`${error.message}; it is left out, and the model takes and writes token numbers (--ids)`);
    return null;
  }
}
function precisionOf(tensors: StoredTensors): Precision {
  let [bf16, all] = [0, 0];
  for (const { dtype, shape } of tensors.values()) {
    all += product(shape);
    if (dtype === "bf16") bf16 += product(shape);
  }
  return bf16 > all / 2 ? "bf16" : "f32";
}
const withStart = (start: readonly number[] | undefined): object => (start === undefined ? {} : { start });
const nothing = { sizes: {}, data: { files: [], bytes: 0, hash: "" } };
const untrained = {
  step: 0,
  sizes: {},
  random: { seed: 0, call: 0 },
  data: { hash: "", bytes: 0, position: 0 },
};

function contextOf({ header, folder, family }: TransformersModel, wanted: number | undefined): number {
  const most = Number(header["Context"]);
  if (wanted !== undefined && wanted > most && !family.unlimited)
    throw new Problem(`${folder} is of a model for ${most} positions`, `lower --context to at most ${most}`);
  return wanted ?? Math.min(most, 4096);
}

/** Throws Problem unless the weights are of as many blocks as config.json says; before a model of that many is made. */
function requireBlocks({ path, family, header, lists }: TransformersModel, tensors: StoredTensors): void {
  const names = [...tensors.keys()].filter((name) => !lists.has(name));
  const there = new Set(names.flatMap((name) => /^\w+(?:\.\d+)?(?=\.)/.exec(name)?.[0] ?? []));
  const place = family.places?.(header) ?? plainPlace;
  const blocks = Array.from({ length: there.size }, (_, i) => place(i)).filter((one) => there.has(one)).length;
  if (blocks !== header["L"])
    throw new Problem(
      `${path}: ${family.header["L"]?.keys[0]} is ${header["L"]}, and the weights are of ${pluralize(blocks, "block")}`,
      "restore the config.json that belongs to the weights, or the weights",
    );
}
/**
 * Throws Problem unless config.json describes a model, and the tensors are exactly its parameters and states, each in its shape; spare ones that it does
 * not have are taken away.
 */
function requireAll(text: string, tensors: Map<string, StoredTensor>, foreign: TransformersModel): void {
  const { folder, family } = foreign;
  const mayLack = (name: string): boolean => family.optional?.some((one) => one.test(name)) ?? false;
  const model = elaborated(text, foreign);
  const named = new NamedTensors(tensors, folder, "config.json is not that of these weights: restore both");
  for (const { name, type } of model.stores()) requireListLength(foreign, name, dims(type).at(-1));
  for (const { name, type, stack, role } of model.stores())
    if (role !== "input" && !named.take({ name, dtype: dtypeOf(type), shape: dims(type), stack }) && !mayLack(name))
      throw new Problem(`${folder} has nothing for \`${name}\``, "the weights are not all of what config.json says");
  for (const unread of named.unread()) {
    const t = tensors.get(unread);
    if (!t || !isSpare(unread, t, foreign))
      throw new Problem(`${folder}: the model has no \`${unread}\``, "config.json is not that of these weights");
    tensors.delete(unread);
  }
}
/** Throws Problem if this store is a list of config.json that has not so many numbers. */
function requireListLength(
  { path, family, lists }: TransformersModel,
  store: string,
  length: number | undefined,
): void {
  const given = lists.get(store.replace("*", "0"))?.shape[0]; // all blocks have the same
  const key = family.lists?.[store.replace(/\d+/, "*")]?.[0]?.split(".").at(-1);
  if (key === undefined || given === undefined || given === length) return;
  throw new Problem(
    `${path}: ${key} has ${pluralize(given, "number")}, and the model needs ${length}`,
    "restore the file: how many it needs is said by its other numbers, such as the width of a head",
  );
}
/** That the program cannot be is the fault of config.json, whose numbers it holds. */
function elaborated(text: string, { path, family, header }: TransformersModel): Elaboration {
  try {
    return elaborate(load({ name: "model.moe", text }), { sizes: {}, precision: "f32", entries: [forwardOf(header)] });
  } catch (error) {
    if (!(error instanceof ProgramError || error instanceof Problem)) throw error;
    throw new Problem(
      `${path} describes a model of ${family.model} that cannot be:\n${error.message}`,
      "restore the file: its numbers do not fit each other",
      { cause: error },
    );
  }
}
/** On one token, and of a model with an encoder a source of one. */
const forwardOf = (header: TransformersModel["header"]) => ({
  name: "forward",
  method: "forward",
  sizes: { B: 1, T: 1, ...("Source" in header ? { U: 1 } : {}) },
});
