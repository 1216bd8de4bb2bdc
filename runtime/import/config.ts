// Reads and checks the config.json that transformers' `save_pretrained` wrote: which family it is, and the values of our model's header.
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import type { Tensor } from "../executable/executable.ts";
import { checkpointSteps } from "../storage/checkpoint-folder.ts";
import { isJsonObject } from "../storage/json.ts";
import { fromNumbers } from "../tensor.ts";
import { families } from "./families/index.ts";
import {
  type Blocks,
  beginsWithOneOf,
  type ConfigValue,
  type Count,
  type Family,
  type Header,
  type Json,
  type Kind,
  type Kinds,
  lookup,
} from "./family.ts";
import { misspeltKeys } from "./misspelt.ts";
import { requireModel } from "./other-checkpoints.ts";
import { type Quantisation, quantisationOf } from "./quantisation.ts";
import { hasWeight, namesOfWeights, readJson } from "./weight-files.ts";
import { within } from "./within.ts";

export interface TransformersModel {
  readonly folder: string;
  /** Its config.json. */
  readonly path: string;
  readonly family: Family;
  readonly quantisation: Quantisation | null;
  /** Keys of config.json that nothing reads, each with the missing one that is nearly the same. */
  readonly misspelt: readonly (readonly [string, string])[];
  readonly header: Header;
  /** Whether the head shares the embedding's table there, and is a copy of it here. */
  readonly tied: boolean;
  /** The kind of each block, where the model is a list of them (`Family.blocks`). */
  readonly order?: readonly string[];
  /** What these kinds are. */
  readonly kinds?: Kinds;
  /** Whether a weight of theirs is not read. */
  readonly isIgnored: (name: string) => boolean;
  /** Vectors that config.json has (see `Family.lists`), by our names. */
  readonly lists: ReadonlyMap<string, Tensor>;
}
export const isTransformersFolder = (path: string): boolean =>
  withFileErrors(path, "read", () => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false);

/** Reads and checks config.json; reads no weights, at most their names. */
export function openTransformers(folder: string): TransformersModel {
  const path = join(folder, "config.json");
  requireModel(folder);
  const whole = readJson(path);
  const { family, config } = textModelOf(folder, path, whole);
  const quantisation = quantisationOf(path, quantisedIn([whole, whole["thinker_config"], config, besideIn(folder)]));
  const header = headerOf(path, family, config); // first: what is supported may be computed from its numbers
  requireRopeKinds(path, family, config);
  requireSupported(path, family, config);
  const ties = checked(path, "tie_word_embeddings", config["tie_word_embeddings"] ?? family.tied ?? false, "boolean");
  const { ownHead } = family;
  const shared = ownHead === undefined ? {} : { shared: !hasWeight(folder, ownHead) };
  const count: Count = (key, fallback) => Number(checked(path, key, lookup(config, key) ?? fallback, "layers"));
  const lists = new Map(listsOf(path, family, config, Number(header["L"])));
  const isLeftOut = beginsWithOneOf(family.ignoredPrefixes?.(count) ?? []);
  const isIgnored = (name: string): boolean => isLeftOut(name) || family.otherPart?.(name) !== undefined;
  const order = family.blocks ? { order: family.blocks.order(config), kinds: kindsOf(family.blocks, config) } : {};
  const tied = ties === true && ownHead === undefined;
  return {
    folder,
    path,
    family,
    quantisation,
    misspelt: misspeltKeys(family, config),
    header: { ...header, ...shared },
    tied,
    isIgnored,
    lists,
    ...order,
  };
}
const kindsOf = ({ kinds }: Blocks, config: Json): Kinds => (typeof kinds === "function" ? kinds(config) : kinds);
/** The tokens that a decoder behind an encoder begins with; undefined: nothing says, or there is no encoder. */
export function startOf({ path, family: { startKeys = [] } }: TransformersModel): readonly number[] | undefined {
  const start = startKeys.map((key) => lookup(readJson(path), key)).find((x) => x !== undefined);
  return typeof start === "number" && Number.isSafeInteger(start) && start >= 0 ? [start] : undefined;
}
/** The first that says how weights are quantised: Kimi K2.5 says it of the text model. */
const quantisedIn = (all: readonly unknown[]): Json =>
  all.find((one): one is Json => isJsonObject(one) && (one["quantization_config"] ?? null) !== null) ?? {};
/** What ModelOpt says of weights in a file of its own, which config.json need not repeat. */
export const besideConfig = "hf_quant_config.json";
function besideIn(folder: string): Json {
  const path = join(folder, besideConfig);
  if (!existsSync(path)) return {};
  const { quantization } = readJson(path);
  return isJsonObject(quantization) ? { quantization_config: { ...quantization, quant_method: "modelopt" } } : {};
}
/** Where a larger model's config.json may have that of its text model; the others in Nemotron 3 Omni and in DeepSeek-OCR as they are released. */
export const textKeys = ["text_config", "llm_config", "language_config"];
interface TextModel {
  readonly family: Family;
  readonly config: Json;
}
const familyOf = (config: Json): Family | undefined =>
  families.find(
    ({ type, otherTypes = [], isOf }) =>
      [type, ...otherTypes].some((name) => name === config["model_type"]) && (isOf?.(config) ?? true),
  );
function textModelOf(folder: string, path: string, whole: Json): TextModel {
  const { model_type: type, thinker_config: thinker } = whole;
  const around = isJsonObject(thinker) ? { ...whole, ...thinker } : whole; // Qwen3-Omni's text model is two levels down
  const text = textKeys.map((key) => around[key]).find(isJsonObject);
  const inner = text && (families.find((f) => type !== undefined && f.outerType === type) ?? familyOf(text));
  if (inner) {
    const tied = around["tie_word_embeddings"] ?? text["tie_word_embeddings"];
    return { family: within(inner, namesOfWeights(folder), folder), config: { ...text, tie_word_embeddings: tied } };
  }
  const own = familyOf(whole);
  if (own)
    return {
      family: isJsonObject(whole["vision_config"]) ? within(own, namesOfWeights(folder), folder) : own,
      config: whole,
    };
  if (checkpointSteps(folder).length > 0)
    throw new Problem(
      `${folder} is a run of moec, not a checkpoint of transformers`,
      "give the folder that transformers' save_pretrained wrote; a run needs no import",
    );
  const textType = text?.["model_type"];
  throw new Problem(
    type === undefined
      ? `${path} has no model_type: transformers did not write it`
      : `${path}: the model_type is ${shown(type)}${textType === undefined ? "" : `, of its text model ${shown(textType)}`}, which the standard library does not have`,
    `${likeIt(textType ?? type)}docs/from-pytorch.md lists all that it has; write another in the .moe language, and give it renamed weights by \`--params\``,
  );
}
const firstWord = (name: string): string => /^[a-z]*/.exec(name)?.[0] ?? "";
/** The families whose names begin with the same word. */
function likeIt(type: unknown): string {
  const all = [...new Set(families.map((f) => f.type))].toSorted();
  const like = typeof type === "string" ? all.filter((name) => firstWord(name) === firstWord(type)) : [];
  return like.length > 0 ? `it has ${like.join(", ")}; ` : "";
}
/** RoPE's settings are one object for all blocks, or for each known kind of blocks; where none of its keys were found, defaults would stand for what is said. */
function requireRopeKinds(path: string, { model, ropeKinds = [] }: Family, config: Json): void {
  for (const key of ["rope_parameters", "rope_scaling"]) {
    const rope = lookup(config, key);
    if (rope === undefined) continue;
    if (!isJsonObject(rope))
      throw new Problem(`${path}: ${key} is ${shown(rope)}`, "it must be an object: restore the file");
    const kind = Object.keys(rope).find((name) => isJsonObject(rope[name]) && !ropeKinds.includes(name));
    if (kind === undefined) continue;
    const known = ropeKinds.length === 0 ? "the same for all" : `those of ${ropeKinds.join(" and ")} alone`;
    throw new Problem(`${path}: ${key} has settings of its own for ${kind}, and ${model} has ${known}`, otherModel);
  }
}
const otherModel =
  "write a model of your own that has it, in the .moe language, and give it renamed weights by `--params` (docs/from-pytorch.md)";
function requireSupported(path: string, { supported, model }: Family, config: Json): void {
  for (const [key, wanted] of Object.entries(supported)) {
    const is = lookup(config, key);
    const only: unknown = typeof wanted === "function" ? wanted(config) : wanted;
    if (is !== undefined && JSON.stringify(is) !== JSON.stringify(only))
      throw new Problem(`${path}: ${key} is ${shown(is)}, and ${model} has only ${shown(only)}`, otherModel);
  }
}

const largest = 2 ** 31 - 1;
/** Names of weights are made for each layer, so their number must be one that a model can have. */
const kinds: Readonly<Record<Kind, { readonly text: string; readonly fits: (x: unknown) => boolean }>> = {
  layers: wholeIn(0, 10_000),
  size: wholeIn(1, largest),
  count: wholeIn(0, largest),
  number: { text: "a number of at least 0", fits: (x) => Number.isFinite(x) && Number(x) >= 0 },
  positive: { text: "a number above 0", fits: (x) => Number.isFinite(x) && Number(x) > 0 },
  boolean: { text: "true or false", fits: (x) => typeof x === "boolean" },
};
function wholeIn(least: number, most: number): (typeof kinds)[Kind] {
  const fits = (x: unknown): boolean => Number.isInteger(x) && Number(x) >= least && Number(x) <= most;
  return { text: `a whole number from ${least} to ${most}`, fits };
}
function kindOf(name: string, { fallback, kind }: ConfigValue): Kind {
  if (kind) return kind;
  if (typeof fallback === "boolean") return "boolean";
  return /^[A-Z]/.test(name) ? "size" : "number";
}
function checked(path: string, key: string, is: unknown, kind: Kind): number | boolean {
  const { text, fits } = kinds[kind];
  if ((typeof is === "number" || typeof is === "boolean") && fits(is)) return is;
  throw new Problem(`${path}: ${key} is ${shown(is)}`, `it must be ${text}: restore the file`);
}
function headerOf(path: string, { header }: Family, config: Json): Header {
  return Object.fromEntries(
    Object.entries(header).flatMap(([name, value]): [string, number | boolean][] => {
      const key = value.keys.find((one) => lookup(config, one) !== undefined);
      const named = key ?? value.keys[0] ?? name;
      const is = value.from
        ? computed(path, config, named, value)
        : key === undefined
          ? value.fallback
          : commonValue(lookup(config, key));
      return is === null ? [] : [[name, checked(path, named, is, kindOf(name, value))]];
    }),
  );
}
function computed(path: string, config: Json, key: string, { from, must = "" }: ConfigValue): number | boolean | null {
  const is = from?.(config);
  if (is !== undefined) return is;
  throw new Problem(`${path}: ${key} is ${shown(lookup(config, key))}`, `it must be ${must}: restore the file`);
}
function listsOf(path: string, { lists = {}, hasLists }: Family, config: Json, layers: number): [string, Tensor][] {
  if (hasLists?.(config) === false) return [];
  return Object.entries(lists).flatMap(([name, keys]) => {
    const key = keys.find((one) => lookup(config, one) !== undefined);
    if (key === undefined) return [];
    const list = v.safeParse(v.array(v.pipe(v.number(), v.finite())), lookup(config, key));
    if (!list.success)
      throw new Problem(
        `${path}: ${key} is ${shown(lookup(config, key))}`,
        "it must be a list of numbers: restore the file",
      );
    const t = fromNumbers("f32", [list.output.length], list.output);
    return Array.from({ length: layers }, (_, i): [string, Tensor] => [name.replace("*", String(i)), t]);
  });
}
/** A list with one value for each layer becomes that value, if all are equal. */
const commonValue = (x: unknown): unknown => (Array.isArray(x) && new Set<unknown>(x).size === 1 ? x[0] : x);
const longest = 200;
function shown(x: unknown): string {
  if (x === undefined) return "not given";
  const text = typeof x === "number" ? String(x) : JSON.stringify(x); // JSON has no infinity
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}
