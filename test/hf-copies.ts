// Copies of the checkpoints that transformers wrote (test/peers/hf), with another config.json.
import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../compiler/diagnostic.ts";
import type { Tensor } from "../runtime/executable/executable.ts";
import { openTransformers } from "../runtime/import/config.ts";
import { readParameters } from "../runtime/storage/parameters.ts";
import { readAll } from "../runtime/storage/stored-tensor.ts";
import { project } from "./project.ts";
import { temporaryFolder } from "./temporary-folder.ts";

export const hf = join(project, "test/peers/hf");
export const copy = (name: string, change: (config: Record<string, unknown>) => object): string => {
  const at = temporaryFolder();
  cpSync(join(hf, name), at, { recursive: true });
  const path = join(at, "config.json");
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>)));
  return at;
};
export const without = (config: Record<string, unknown>, key: string): object =>
  Object.fromEntries(Object.entries(config).filter(([k]) => k !== key));
/** The call throws a Problem whose texts have these words. */
export function refused(run: () => unknown, ...words: string[]): void {
  assert.throws(run, (e: unknown) => {
    assert.ok(e instanceof Problem, String(e));
    const said = `${e.message}\n${e.help}`;
    for (const word of words) assert.ok(said.includes(word), said);
    return true;
  });
}
/** With these keys set. */
export const other = (name: string, change: object): string => copy(name, (c) => ({ ...c, ...change }));
/** With these keys set it is refused, with these words. */
export const refuses = (name: string, change: object, ...words: string[]): void =>
  refused(() => openTransformers(other(name, change)), ...words);
export type Header = ReturnType<typeof openTransformers>["header"];
export const header = (name: string, change: object): Header => openTransformers(other(name, change)).header;
/** The kind of each block of such a copy. */
export const kindsOfFamily = (type: string, change: object): readonly string[] | undefined =>
  openTransformers(other(type, change)).order;
/** All parameters of a checkpoint, by our names. */
export const parametersOf = (path: string): ReadonlyMap<string, Tensor> =>
  readAll(readParameters(path, assert.fail).tensors);
