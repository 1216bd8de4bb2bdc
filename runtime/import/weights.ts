// Reads what transformers' `save_pretrained` wrote (config.json, and weights in one file or in several with an index), with weights renamed and
// transposed to ours.
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { product } from "../../compiler/types/numbers.ts";
import type { Tensor } from "../executable.ts";
import { checkpointSteps } from "../storage/checkpoint.ts";
import { readJsonObject } from "../storage/json.ts";
import { allInMemory, derived, type StoredTensor } from "../storage/stored-tensor.ts";
import { fromNumbers, transposed, transposedShape, zeros } from "../tensor.ts";
import { families } from "./families/index.ts";
import { type Family, type Json, lookup, type PackedTensor } from "./family.ts";
import { openWeights, type Quantisation, quantisationOf } from "./quantised.ts";

export interface TransformersModel {
  readonly folder: string;
  readonly family: Family;
  readonly quantisation: Quantisation | null;
  /** Values for the model's header. */
  readonly header: Readonly<Record<string, number | boolean>>;
  /** Whether the head shares the embedding's table. */
  readonly tied: boolean;
  /** Weights whose names begin with one of these are not read. */
  readonly ignoredPrefixes: readonly string[];
  /** Vectors that config.json has (see `Family.lists`), by our names. */
  readonly lists: ReadonlyMap<string, Tensor>;
}
export const isTransformersFolder = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

/** Reads and checks config.json; reads no weights. */
export function openTransformers(folder: string): TransformersModel {
  const path = join(folder, "config.json");
  if (!existsSync(path))
    throw new Problem(`${folder} has no config.json`, "give the folder that transformers' save_pretrained wrote");
  const config = readJson(path);
  const family = families.find((f) => f.type === config["model_type"]);
  if (!family && checkpointSteps(folder).length > 0)
    throw new Problem(
      `${folder} is a run of moec, not a checkpoint of transformers`,
      "give the folder that transformers' save_pretrained wrote; a run needs no import",
    );
  if (!family)
    throw new Problem(
      config["model_type"] === undefined
        ? `${path} has no model_type: transformers did not write it`
        : `${path}: the model_type is ${shown(config["model_type"])}, which the standard library does not have`,
      `the library has ${families.map((f) => f.type).join(", ")}; write another in the .moe language, and give it renamed weights by \`--params\` (docs/from-pytorch.md)`,
    );
  const quantisation = quantisationOf(path, config);
  for (const [key, wanted] of Object.entries(family.supported)) {
    const is = lookup(config, key);
    const only: unknown = typeof wanted === "function" ? wanted(config) : wanted;
    if (is !== undefined && shown(is) !== shown(only))
      throw new Problem(
        `${path}: ${key} is ${shown(is)}, and ${family.model} has only ${shown(only)}`,
        "write a model of your own that has it, in the .moe language, and give it renamed weights with `moec run --params`",
      );
  }
  const header = Object.entries(family.header).flatMap(([name, { keys, fallback }]): [string, number | boolean][] => {
    const is = commonValue(keys.map((key) => lookup(config, key)).find((x) => x !== undefined) ?? fallback);
    if (typeof is === "number" || typeof is === "boolean") return [[name, is]];
    if (is === null) return [];
    throw new Problem(`${path}: ${keys[0]} is ${shown(is)}`, "it must be a number, or true or false: restore the file");
  });
  const tied = config["tie_word_embeddings"] ?? family.tied;
  const lists = new Map(listsOf(path, family, config));
  const ignoredPrefixes = family.ignoredPrefixes?.(config) ?? [];
  return {
    folder,
    family,
    quantisation,
    header: Object.fromEntries(header),
    tied: tied === true,
    ignoredPrefixes,
    lists,
  };
}
function listsOf(path: string, { lists = {} }: Family, config: Json): [string, Tensor][] {
  return Object.entries(lists).flatMap(([name, keys]) => {
    const is = keys.map((key) => lookup(config, key)).find((x) => x !== undefined);
    if (is === undefined) return [];
    const list = v.safeParse(v.array(v.number()), is);
    if (!list.success)
      throw new Problem(`${path}: ${keys[0]} is ${shown(is)}`, "it must be a list of numbers: restore the file");
    const t = fromNumbers("f32", [list.output.length], list.output);
    return Array.from({ length: Number(config["num_hidden_layers"]) }, (_, i): [string, Tensor] => [
      name.replace("*", String(i)),
      t,
    ]);
  });
}
/** A list with one value for each layer becomes that value, if all are equal. */
const commonValue = (x: unknown): unknown => (Array.isArray(x) && new Set<unknown>(x).size === 1 ? x[0] : x);
const shown = (x: unknown): string => (x === undefined ? "not given" : JSON.stringify(x));
export const readJson = (path: string): Json => readJsonObject(path, "restore the file");

/** All weights by our names, in our orientation. A name that the family does not have is a Problem. */
export function transformersTensors(model: TransformersModel): Map<string, StoredTensor> {
  const tensors = new Map(allInMemory(model.lists));
  for (const [file, weights] of openWeights(weightFiles(model.folder), model.quantisation))
    for (const [name, t] of weights) for (const [ours, part] of oursOf(name, t, model, file)) tensors.set(ours, part);
  const table = tensors.get(embedding);
  if (model.tied && table && !tensors.has(head)) tensors.set(head, turned(table));
  return tensors;
}
export const [embedding, head] = ["embed.weight", "head.weight"] as const;
/** What one of their tensors is of ours; nothing if it is not read. */
export function oursOf(
  name: string,
  t: StoredTensor,
  model: TransformersModel,
  file: string,
): [name: string, t: StoredTensor][] {
  const ours = renamed(name, model, file);
  if (ours === null) return [];
  if (typeof ours === "string") return [[ours, orient(t)]];
  return "row" in ours ? [[ours.row, reshaped(t, [product(t.shape)])]] : unpack(t, ours, `${file}: \`${name}\``);
}
const turned = (t: StoredTensor): StoredTensor => derived(t, transposedShape(t.shape), transposed);
const reshaped = (t: StoredTensor, shape: readonly number[]): StoredTensor =>
  derived(t, shape, (x) => ({ ...x, shape }));
/** A depthwise convolution, [features, 1, width]. */
const isConvolution = ({ length, 1: one }: readonly number[]): boolean => length === 3 && one === 1;
function orient(t: StoredTensor): StoredTensor {
  const [features = 0, , width = 0] = t.shape;
  if (isConvolution(t.shape)) return turned(reshaped(t, [features, width]));
  return t.shape.length === 2 ? turned(t) : t;
}
/** Splits a tensor along its last axis: interleaved elements, or contiguous runs. */
function unpack(t: StoredTensor, into: readonly string[] | PackedTensor, which: string): [string, StoredTensor][] {
  const whole = "runs" in into && into.transposed ? turned(t) : t;
  const { names, width, places } = packing(into, whole.shape.at(-1) ?? 0, which);
  const shape = [...whole.shape.slice(0, -1), width];
  return names.map((name, i) => [name, derived(whole, shape, (x) => strided(x, width, places(i)))]);
}
interface Places {
  readonly first: number;
  readonly stride: number;
}
/** How the last axis is shared out: to which names, how many elements each, and where those of the i-th are. */
function packing(into: readonly string[] | PackedTensor, columns: number, which: string) {
  const names = "runs" in into ? into.runs : into;
  const width = columns / names.length;
  if (!Number.isInteger(width))
    throw new Problem(`${which} has ${columns} columns, for ${names.length} matrices`, "restore the file");
  const places = (i: number): Places =>
    "runs" in into ? { first: i * width, stride: 1 } : { first: i, stride: names.length };
  return { names, width, places };
}
/** `width` elements of each row, from `first` on, `stride` apart. */
function strided(t: Tensor, width: number, { first, stride }: Places): Tensor {
  const columns = t.shape.at(-1) ?? 0;
  if (width === columns) return t;
  const part = zeros(t.dtype, [...t.shape.slice(0, -1), width]);
  for (let to = 0, row = first; to < part.data.length; to += width, row += columns)
    for (let j = 0; j < width; j++) part.data[to + j] = t.data[row + j * stride] ?? 0;
  return part;
}

/** The inverse of `oursOf`: their tensor, of this dtype and shape, made of ours, which `take` gives; null if import does not read it. */
export function theirsOf(
  name: string,
  like: Like,
  {
    model,
    file,
    take,
  }: { readonly model: TransformersModel; readonly file: string; readonly take: (ours: string) => Tensor },
): Tensor | null {
  const { shape } = like;
  const ours = renamed(name, model, file);
  if (ours === null) return null;
  if (typeof ours !== "string") return "row" in ours ? { ...take(ours.row), shape } : pack(like, ours, take);
  const turns = isConvolution(shape) || shape.length === 2;
  return { ...(turns ? transposed(take(ours)) : take(ours)), shape };
}
type Like = Pick<StoredTensor, "dtype" | "shape">;
function pack({ dtype, shape }: Like, into: readonly string[] | PackedTensor, take: (ours: string) => Tensor): Tensor {
  const turns = "runs" in into && into.transposed;
  const whole = zeros(dtype, turns ? transposedShape(shape) : shape);
  const { names, places } = packing(into, whole.shape.at(-1) ?? 0, "the tensor");
  for (const [i, ours] of names.entries()) putStrided(take(ours), whole, places(i));
  return turns ? transposed(whole) : whole;
}
/** The inverse of `strided`. */
function putStrided(part: Tensor, whole: Tensor, { first, stride }: Places): void {
  const [width = 0, columns = 0] = [part.shape.at(-1), whole.shape.at(-1)];
  for (let from = 0, row = first; from < part.data.length; from += width, row += columns)
    for (let j = 0; j < width; j++) whole.data[row + j * stride] = part.data[from + j] ?? 0;
}

/** The files of a folder's weights. */
export function weightFiles(folder: string): string[] {
  const whole = join(folder, "model.safetensors");
  if (existsSync(whole)) return [whole];
  const index = `${whole}.index.json`;
  if (!existsSync(index))
    throw new Problem(
      `${folder} has neither model.safetensors nor model.safetensors.index.json`,
      "save the model as safetensors: model.save_pretrained(FOLDER)",
    );
  const { weight_map: map } = readJson(index);
  const files = v.safeParse(v.record(v.string(), v.pipe(v.string(), v.regex(/^[\w.-]+$/))), map);
  if (!files.success) throw new Problem(`${index} has no weight_map from names to files`, "restore the file");
  return [...new Set(Object.values(files.output))].map((file) => join(folder, file));
}

/**
 * What a weight's name becomes: its numbers are replaced by stars for the lookup (`model.layers.*.mlp.experts.*.up_proj.weight`), and filled into our
 * name in the same order.
 */
function renamed(name: string, { family, ignoredPrefixes }: TransformersModel, file: string): Family["names"][string] {
  if (ignoredPrefixes.some((prefix) => name.startsWith(prefix))) return null;
  const { names, model } = family;
  const numbers: string[] = [];
  const key = name.replaceAll(/(?<=\.)\d+(?=\.)/g, (n) => {
    numbers.push(n);
    return "*";
  });
  const ours = Object.hasOwn(names, key) ? names[key] : undefined;
  if (ours === undefined)
    throw new Problem(
      `${file}: \`${name}\` is nothing that ${model} has`,
      "the model is another one, or has more than its config.json says",
    );
  const filled = (pattern: string): string => {
    const left = [...numbers];
    return pattern.replaceAll("*", () => left.shift() ?? "");
  };
  if (ours === null) return null;
  if (typeof ours === "string") return filled(ours);
  if ("row" in ours) return { row: filled(ours.row) };
  return "runs" in ours ? { ...ours, runs: ours.runs.map(filled) } : ours.map(filled);
}
