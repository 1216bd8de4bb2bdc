// The folders of a run's checkpoints, and their files, of which state.json has sizes and hashes.
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { makeFolder, sha256OfFile, syncFolder, withOpen, writeFlushed } from "./files.ts";
import { whole } from "./json.ts";

export const stepName = (step: number): string => `step-${String(step).padStart(6, "0")}`;
export const checkpointsOf = (run: string): string => join(run, "checkpoints");
/** Where `--keep-best` keeps a run's best checkpoint: a folder that is like a run's itself, so that all that reads a run reads it. */
export const bestOf = (run: string): string => join(run, "best");
/** Whether a checkpoint is one of this run's own. */
export const isOf = (run: string, { path }: { readonly path: string }): boolean => dirname(path) === checkpointsOf(run);

/** The steps of a run's checkpoints, newest first. */
export function checkpointSteps(run: string): number[] {
  const folder = checkpointsOf(run);
  if (!existsSync(folder)) return [];
  return withFileErrors(folder, "read", () => readdirSync(folder))
    .flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? [])
    .map(Number)
    .toSorted((a, b) => b - a);
}
/** Whether a folder is that of a run which has a checkpoint. */
export const isRun = (path: string): boolean => checkpointSteps(path).length > 0;

/** `write` gets a folder to make, which then takes its place among the checkpoints, of which the `kept` last ones stay. Returns its path. */
export function placeCheckpoint(run: string, step: number, kept: number, write: (folder: string) => void): string {
  const folder = checkpointsOf(run);
  const path = join(folder, stepName(step));
  const temporary = join(folder, `.${stepName(step)}.tmp`);
  rmSync(temporary, { recursive: true, force: true });
  try {
    write(temporary);
    withFileErrors(path, "write", () => {
      rmSync(path, { recursive: true, force: true });
      renameSync(temporary, path);
    });
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true }); // frees the space when the disk was full
    throw error;
  }
  syncFolder(folder);
  for (const other of checkpointSteps(run)
    .filter((s) => s !== step)
    .slice(kept - 1))
    rmSync(join(folder, stepName(other)), { recursive: true, force: true });
  return path;
}
function linkInto(folder: string, from: string): void {
  withFileErrors(folder, "make", () => mkdirSync(folder));
  for (const name of readdirSync(from)) linkFile(join(from, name), join(folder, name));
  syncFolder(folder);
}
/** Files of checkpoints are never written to, so two folders may share one; where the disk has no hard links it is copied. */
export function linkFile(source: string, path: string): void {
  withFileErrors(path, "write", () => {
    try {
      linkSync(source, path);
    } catch {
      copyFileSync(source, path);
      withOpen(path, "r+", fsyncSync);
    }
  });
}
/** Puts one of a run's checkpoints in `bestOf(run)`, atomically, in place of the one there. Returns that folder. */
export function keepBest(run: string, step: number): string {
  const best = bestOf(run);
  const from = join(checkpointsOf(run), stepName(step));
  makeFolder(checkpointsOf(best));
  try {
    placeCheckpoint(best, step, 1, (folder) => linkInto(folder, from));
    return best;
  } catch (error) {
    throw withKept(run, error);
  }
}
/** The error of training, with the checkpoint that it can go on from, if there is one. */
export function withKept(run: string, error: unknown): unknown {
  const [kept] = checkpointSteps(run);
  if (!(error instanceof Problem) || kept === undefined) return error;
  return new Problem(error.message, `${error.help}; --resume goes on from ${stepName(kept)}`, { cause: error });
}

export const fileSchema = v.object({ bytes: whole, sha256: v.string() });
type FileState = v.InferOutput<typeof fileSchema>;
export function writeHashed(path: string, chunks: Iterable<Uint8Array>): FileState {
  const hash = createHash("sha256");
  let bytes = 0;
  function* hashed(): Generator<Uint8Array> {
    for (const chunk of chunks) {
      hash.update(chunk);
      bytes += chunk.byteLength;
      yield chunk;
    }
  }
  writeFlushed(path, hashed());
  return { bytes, sha256: hash.digest("hex") };
}
export const remedy = "the file is damaged: restore it from a copy, or train again";
export const damaged = (path: string, what: string): Problem => new Problem(`${path} ${what}`, remedy);

/** Throws Problem if an open file is not what state.json says of it. */
export function checkFile(path: string, file: number, expected: FileState): void {
  const bytes = fstatSync(file).size;
  if (bytes !== expected.bytes)
    throw damaged(path, `has ${pluralize(bytes, "byte")}, and state.json says ${expected.bytes}`);
  const hash = withFileErrors(path, "read", () => sha256OfFile(file));
  if (hash !== expected.sha256) throw damaged(path, "does not have the content that state.json states");
}
