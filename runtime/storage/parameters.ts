// Reads what `--params` names: parameters and states from a safetensors file, a run's folder, or a folder that transformers wrote.
import { Problem } from "../../compiler/diagnostic.ts";
import type { Sizes } from "../../compiler/pipeline.ts";
import type { Executable, Tensor } from "../executable.ts";
import { isTransformersFolder, openTransformers, transformersTensors } from "../import/weights.ts";
import { checkpointSteps, newestCheckpoint } from "./checkpoint.ts";
import { NamedTensors, namesHelp, splitStacked } from "./names.ts";
import { readConfig } from "./run-folder.ts";
import { readSafetensors } from "./safetensors.ts";

export interface LoadedParameters {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, Tensor>;
}
const isRun = (path: string): boolean => checkpointSteps(path).length > 0;

/** Of a run, those of its newest intact checkpoint; each damaged newer one is reported to `warn`. */
export function readParameters(path: string, warn: (line: string) => void): LoadedParameters {
  if (isRun(path)) return { path, tensors: newestCheckpoint(path, warn)?.model ?? new Map() };
  if (isTransformersFolder(path)) return { path, tensors: transformersTensors(openTransformers(path)) };
  const tensors = readSafetensors(path);
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

/**
 * Writes the given tensors into the stores. Returns the parameters that were not given, with their present values; a tensor that no store takes is a
 * Problem.
 */
export function loadParameters(executable: Executable, { path, tensors }: LoadedParameters): Map<string, Tensor> {
  const stores = executable.stores.filter((s) => s.role === "parameter" || s.role === "state");
  // `moec run` writes names as `param.PATH` or `state.PATH`; that prefix is dropped, unless a member of the model is called `param` or `state`.
  const members = new Set(stores.map((s) => s.name.split(".")[0]));
  const bare = (name: string): string => {
    const [, prefix, rest = name] = /^(param|state)\.(.*)$/s.exec(name) ?? [];
    return members.has(prefix) ? name : rest;
  };
  const named = new NamedTensors(new Map([...tensors].map(([name, t]) => [bare(name), t])), path);
  const missing = new Map<string, Tensor>();
  for (const store of stores) {
    const t = named.take(store);
    if (t) executable.write(store.name, t);
    else if (store.role === "parameter")
      for (const [name, part] of splitStacked(store.name, executable.read(store.name))) missing.set(name, part);
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
  return missing;
}
