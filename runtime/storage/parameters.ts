// Reads what `--params` names: parameters and states from a safetensors file, a run's folder, or a folder that transformers wrote.
import { Problem } from "../../compiler/diagnostic.ts";
import type { Sizes } from "../../compiler/pipeline.ts";
import type { Executable, StoreInfo, Tensor } from "../executable.ts";
import { isTransformersFolder, openTransformers, transformersTensors } from "../import/weights.ts";
import { checkpointSteps, newestCheckpoint } from "./checkpoint.ts";
import { NamedTensors, namesHelp, splitStacked, writeStored } from "./names.ts";
import { readConfig } from "./run-folder.ts";
import { openSafetensors } from "./safetensors.ts";
import type { StoredTensor, StoredTensors } from "./stored-tensor.ts";

export interface LoadedParameters {
  readonly path: string;
  readonly tensors: StoredTensors;
}
interface Matched {
  readonly found: readonly [StoreInfo, StoredTensor][];
  readonly missing: readonly StoreInfo[];
}
const isRun = (path: string): boolean => checkpointSteps(path).length > 0;

/** Of a run, those of its newest intact checkpoint; each damaged newer one is reported to `warn`. */
export function readParameters(path: string, warn: (line: string) => void): LoadedParameters {
  if (isRun(path)) return { path, tensors: newestCheckpoint(path, warn)?.model ?? new Map() };
  if (isTransformersFolder(path)) return { path, tensors: transformersTensors(openTransformers(path)) };
  const tensors = openSafetensors(path);
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
  return isTransformersFolder(path) ? openTransformers(path).header : {};
}

/** Writes the given tensors into the stores. Returns the parameters that were not given, with their present values. */
export function loadParameters(executable: Executable, given: LoadedParameters): Map<string, Tensor> {
  const { found, missing } = matchParameters(executable, given);
  for (const [store, value] of found) writeStored(executable, store, value);
  return new Map(missing.flatMap(({ name }) => splitStacked(name, executable.read(name))));
}
/** Which stores the given tensors are for, and their values; and the parameters that were not given. A tensor that no store takes is a Problem. */
export function matchParameters(executable: Executable, { path, tensors }: LoadedParameters): Matched {
  const stores = executable.stores.filter((s) => s.role === "parameter" || s.role === "state");
  const named = new NamedTensors(withoutPrefixes(tensors, stores, path), path);
  const found: [StoreInfo, StoredTensor][] = [];
  const missing: StoreInfo[] = [];
  for (const store of stores) {
    const value = named.take(store);
    if (value) found.push([store, value]);
    else if (store.role === "parameter") missing.push(store);
  }
  const [unread] = named.unread();
  if (unread !== undefined)
    throw new Problem(
      `${path}: nothing is named \`${unread}\``,
      namesHelp(
        "parameters and states",
        unread,
        stores.map((s) => s.name),
      ),
    );
  return { found, missing };
}
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
