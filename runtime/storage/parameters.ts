// Parameters and states that are given by name: reads what `--params` names (a safetensors file, a run's folder, or a folder that transformers wrote),
// and finds the store of each.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { sizeFlagText, upcycleFlagText } from "../../compiler/flag-text.ts";
import type { Sizes } from "../../compiler/pipeline.ts";
import type { Executable, StoreInfo, Tensor } from "../executable/executable.ts";
import { isTransformersFolder, openTransformers, type TransformersModel } from "../import/config.ts";
import { otherCheckpoint } from "../import/other-checkpoints.ts";
import { isSpare, transformersTensors } from "../import/weights.ts";
import { newestCheckpoint, openModelFile } from "./checkpoint.ts";
import { isRun } from "./checkpoint-folder.ts";
import { NamedTensors, namesHelp, namesOf, splitStacked, writeStored } from "./names.ts";
import { readConfig, runHelp } from "./run-folder.ts";
import type { StoredTensor, StoredTensors } from "./stored-tensor.ts";
import {
  type CopiedArray,
  copiedArrays,
  copiedNames,
  offerToCopy,
  requireOnePurpose,
  type Sources,
  takeCopied,
  upcycleSources,
} from "./upcycle.ts";

export interface LoadedParameters {
  readonly path: string;
  readonly tensors: StoredTensors;
  /** Whether arrays of layers that these lack begin as copies of a layer. Absent: that cannot be asked for here. */
  readonly upcycle?: boolean;
  /** Whether a tensor that nothing is named after may be left out. */
  readonly isSpare?: (name: string, t: StoredTensor) => boolean;
  /** To be called when all is read. */
  readonly close?: () => void;
}
/** `value`: what is given for the store; null: nothing. */
interface Matched {
  readonly store: StoreInfo;
  readonly value: StoredTensor | null;
}

/** Of a run, those of its newest intact checkpoint; each damaged newer one is reported to `warn`. */
export function readParameters(path: string, warn: (line: string) => void): LoadedParameters {
  const checkpoint = newestCheckpoint(path, warn, "model");
  if (checkpoint) return { path, tensors: checkpoint.model, close: () => checkpoint.close() };
  if (isTransformersFolder(path)) {
    const foreign = openForeign(path);
    return { path, tensors: transformersTensors(foreign), isSpare: (name, t) => isSpare(name, t, foreign) };
  }
  const tensors = openModelFile(path);
  const [first] = [...tensors].find(([name]) => name.startsWith("model.layers.")) ?? [];
  if (first !== undefined)
    throw new Problem(
      `${path}: \`${first}\` is a name of transformers', whose config.json says what it is`,
      "give the folder that holds both",
    );
  return { path, tensors };
}
/** Values for the model's header from the config.json of a folder; none for a file. */
export function sizesFromConfig(path: string): Sizes {
  if (isRun(path)) return readConfig(path).sizes;
  return isTransformersFolder(path) ? openForeign(path).header : {};
}
function openForeign(folder: string): TransformersModel {
  if (existsSync(join(folder, "config.json"))) return openTransformers(folder);
  throw (
    otherCheckpoint(folder) ??
    new Problem(`${folder} is neither a run nor a folder of transformers': it has no config.json`, runHelp(folder))
  );
}

/** Writes the given tensors into the stores. Returns the parameters that were not given, with their present values. */
export function loadParameters(executable: Executable, given: LoadedParameters): Map<string, Tensor> {
  const matched = matchParameters(executable.stores, given);
  writeParameters(executable, matched);
  return new Map(missingParameters(matched).flatMap(({ name }) => splitStacked(name, executable.read(name))));
}
export function writeParameters(executable: Executable, matched: readonly Matched[]): void {
  for (const { store, value } of matched) if (value) writeStored(executable, store, value);
}
export const missingParameters = (matched: readonly Matched[]): StoreInfo[] =>
  matched.flatMap(({ store, value }) => (store.role === "parameter" && !value ? [store] : []));
/** All parameters and states, with what is given for each. A tensor that is for none of them is a Problem. */
export function matchParameters(all: readonly StoreInfo[], given: LoadedParameters): Matched[] {
  const { path } = given;
  const { stores, tensors, sources } = withSources(all, given);
  const copied = copiedNames(given.upcycle ? sources : new Map(), tensors);
  const misfitHelp = helpToUpcycle(sources, given) ?? sizesHelp;
  const own = new NamedTensors(new Map([...tensors].filter(([name]) => !copied.has(name))), path, misfitHelp);
  const layers = new NamedTensors(new Map([...tensors].filter(([name]) => copied.has(name))), path, copiesHelp);
  const matched = stores.map((store) => {
    const source = given.upcycle ? sources.get(store) : undefined;
    return { store, value: source ? takeCopied(store, source, layers) : own.take(store) };
  });
  const isNeeded = (name: string): boolean => {
    const t = tensors.get(name);
    return !t || !given.isSpare?.(name, t);
  };
  const [unread] = [...own.unread(), ...layers.unread()].filter(isNeeded);
  if (unread !== undefined)
    throw new Problem(
      `${path}: nothing is named \`${unread}\``,
      helpToUpcycle(sources, given) ?? unreadHelp(unread, stores.flatMap(namesOf)),
    );
  if (given.upcycle) requireOnePurpose(stores, sources, path);
  return matched;
}
const sizesHelp = `check the sizes: ${sizeFlagText("NAME")} changes those of the model`;
const copiesHelp = `a copy has the sizes of its layer: ${sizeFlagText("NAME")} changes those of the model`;
/** Arrays of layers that the given parameters lack, and whose layer they have: with `upcycle` copied, else drawn. */
export const upcycledArrays = (all: readonly StoreInfo[], given: LoadedParameters): CopiedArray[] =>
  copiedArrays(withSources(all, given).sources);
/** Asked to copy, and nothing to copy, is a Problem. */
function withSources(
  all: readonly StoreInfo[],
  given: LoadedParameters,
): { readonly stores: StoreInfo[]; readonly tensors: StoredTensors; readonly sources: Sources } {
  const stores = all.filter((s) => s.role === "parameter" || s.role === "state");
  const tensors = withoutPrefixes(given.tensors, stores, given.path);
  const sources = upcycleSources(stores, tensors);
  if (given.upcycle && sources.size === 0)
    throw new Problem(
      `${given.path} has no layer for ${upcycleFlagText} to copy: that of an array which it lacks is the nearest around it, \`feed.up.weight\` for \`feed.experts.3.up.weight\` or \`feed.moe.experts.3.up.weight\``,
      "name the layers around the array as there, or leave the option out",
    );
  return { stores, tensors, sources };
}
/** Null: there is nothing to copy, it is copied, or it cannot be asked for. */
function helpToUpcycle(sources: Sources, { upcycle }: LoadedParameters): string | null {
  const [first] = upcycle === false ? copiedArrays(sources) : [];
  return first ? offerToCopy(first) : null;
}
/** What to do about a tensor that is neither a parameter nor a state; optimizer state has its parameter's name in front. */
const unreadHelp = (name: string, names: readonly string[]): string =>
  names.some((parameter) => name.startsWith(`${parameter}.`))
    ? "it is optimizer state: give model.safetensors of a checkpoint, or its run (in TypeScript what `parameters()` or `fit` returned; what `state()` returned is for `restore`, and for `from` of `train`)"
    : namesHelp("parameters and states", name, names);
/** `moec run` writes names as `param.PATH` or `state.PATH`; that prefix is dropped, unless a member of the model is called `param` or `state`. */
function withoutPrefixes(tensors: StoredTensors, stores: readonly StoreInfo[], path: string): StoredTensors {
  const members = new Set(stores.map((s) => s.name.split(".")[0]));
  const bare = new Map<string, StoredTensor>();
  for (const [name, t] of tensors) {
    const [, prefix, rest = name] = /^(param|state)\.(.*)$/s.exec(name) ?? [];
    const own = members.has(prefix) ? name : rest;
    if (bare.has(own))
      throw new Problem(
        `${path} gives \`${own}\` twice: \`param.${own}\`, \`state.${own}\` and \`${own}\` mean the same`,
        "leave one of them out",
      );
    bare.set(own, t);
  }
  return bare;
}
