// The JSON files and the weight files of a folder that transformers' `save_pretrained` wrote.
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { readText } from "../../compiler/read-file.ts";
import { requireJsonObject } from "../storage/json.ts";
import { openWithCodes } from "../storage/safetensors.ts";
import { floatTag, type Json } from "./family.ts";
import { noSafetensors, requireAllFiles } from "./other-checkpoints.ts";

/** Python writes infinities and NaN bare, which JSON has not; newer versions of transformers write an object, which is what they become. */
const withTaggedFloats = (text: string): string =>
  text.replaceAll(/"(?:[^"\\]|\\.)*"|-?\b(?:Infinity|NaN)\b/g, (part) =>
    part.startsWith('"') ? part : `{"${floatTag}":"${part}"}`,
  );
export const readJson = (path: string): Json =>
  requireJsonObject(path, withTaggedFloats(readText(path)), "restore the file");

/** The files of a folder's weights. */
export function weightFiles(folder: string): string[] {
  const whole = join(folder, "model.safetensors");
  if (existsSync(whole)) return [whole];
  const index = `${whole}.index.json`;
  if (!existsSync(index)) throw noSafetensors(folder);
  const { weight_map: map } = readJson(index);
  const files = v.safeParse(v.record(v.string(), v.pipe(v.string(), v.regex(/^(?!\.+$)[\w.-]+$/))), map);
  if (!files.success) throw new Problem(`${index} has no weight_map from names to files`, "restore the file");
  const all = [...new Set(Object.values(files.output))].map((file) => join(folder, file));
  requireAllFiles(index, all);
  return all;
}
/** The names of all weights; undefined where there are no files of weights. */
export function namesOfWeights(folder: string): string[] | undefined {
  const [whole, index] = ["model.safetensors", "model.safetensors.index.json"].map((name) => join(folder, name));
  if (![whole, index].some((path) => path !== undefined && existsSync(path))) return undefined;
  return weightFiles(folder).flatMap((file) => [...openWithCodes(file).keys()]);
}
/** Whether one of the files has a weight of that name; reads none. */
export const hasWeight = (folder: string, name: string): boolean =>
  weightFiles(folder).some((file) => openWithCodes(file).has(name));
