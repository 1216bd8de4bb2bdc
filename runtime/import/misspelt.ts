// Keys of config.json that are one slip away from those that a family reads. Nothing reads them, and transformers says no word.
import { isJsonObject } from "../storage/json.ts";
import { type Family, type Json, lookup } from "./family.ts";

/** Such a key, and the one that is missing and may be meant: "num_expert" and "num_experts". Of nested ones the dotted paths. */
export function misspeltKeys(
  { header, supported, lists = {}, startKeys = [] }: Family,
  config: Json,
): [string, string][] {
  const keys = Object.values(header).flatMap((value) => value.keys);
  const read = new Set([...keys, ...Object.keys(supported), ...Object.values(lists).flat(), ...startKeys]);
  const missing = [...read].filter((key) => lookup(config, key) === undefined);
  return pathsOf(config)
    .filter((path) => !read.has(path))
    .flatMap((path) => missing.filter((key) => isSlip(path, key)).map((key): [string, string] => [path, key]));
}
/** The dotted paths of all that has a value. */
const pathsOf = (json: Json, within = ""): string[] =>
  Object.entries(json).flatMap(([key, x]) => {
    if (x === null) return [];
    return isJsonObject(x) ? pathsOf(x, `${within}${key}.`) : [within + key];
  });
/** Whether one letter is wrong, missing or too many, or two neighbours have changed places. */
function isSlip(a: string, b: string): boolean {
  let [start, end] = [0, 0];
  const shorter = Math.min(a.length, b.length);
  while (start < shorter && a[start] === b[start]) start++;
  while (end < shorter - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  const [x, y] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  return Math.max(x.length, y.length) === 1 || (x.length === 2 && y.length === 2 && x[0] === y[1] && x[1] === y[0]);
}
