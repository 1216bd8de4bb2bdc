// Stores the schedules that `moec tune` measured, in the cache's folder: one file for each machine, compiler, number of threads and version of the
// device headers.
import * as fs from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { hostHeader } from "../../compiler/emit/unit.ts";
import { hasErrorCode } from "../../compiler/file-errors.ts";
import { parseContractionKey } from "../../compiler/kernel/candidates.ts";
import type { Schedule } from "../../compiler/kernel/schedule.ts";
import type { Toolchain } from "../host/toolchain.ts";
import { makeFolder, sha256, writeAtomic } from "../storage/files.ts";
import { parseJson, positive } from "../storage/json.ts";
import { cacheFolder, readOwn } from "./folder.ts";

const size = v.pipe(positive, v.maxValue(2 ** 31 - 1));
const schema = v.object({
  format: v.literal(1),
  schedules: v.record(
    v.pipe(
      v.string(),
      v.check((key) => parseContractionKey(key) !== null, "no contraction is called so"),
    ),
    v.object({
      bm: size,
      bn: size,
      bk: size,
      mc: size,
      stream: v.boolean(),
      across: v.exactOptional(v.boolean()),
      parts: v.exactOptional(size),
    }),
  ),
});
export type Schedules = ReadonlyMap<string, Schedule>;

/**
 * The file for this machine: its name is a hash of the compiler and instruction set, the CPU, the number of threads and the device headers, because
 * schedules measured with others do not apply. `root`: the cache's folder.
 */
export class ScheduleCache {
  readonly path: string;
  constructor(tools: Toolchain, threads: number, root: string = cacheFolder(), header: string = hostHeader()) {
    const measured = sha256([tools.identity, cpus()[0]?.model ?? process.arch, String(threads), header].join("\0"));
    this.path = join(folderIn(root), `${measured}.json`);
  }
  /** Schedules by `contractionKey`; empty if nothing was measured. A file that is damaged, or that other users can write, is a Problem. */
  read(): Schedules {
    const text = readOwn<string | null>(this.path, remedy, {
      read: (file) => fs.readFileSync(file, "utf8"),
      unopened: (error) => {
        if (hasErrorCode(error, "ENOENT") || hasErrorCode(error, "ENOTDIR")) return null;
        throw new Problem(`${this.path} cannot be read: ${String(error)}`, remedy);
      },
    });
    if (text === null) return new Map();
    const parsed = v.safeParse(schema, parseJson(text));
    if (!parsed.success) throw new Problem(`${this.path} does not hold measured schedules`, remedy);
    return new Map(Object.entries(parsed.output.schedules));
  }
  /** Adds schedules to those in the file. */
  add(schedules: Schedules): void {
    const all = Object.fromEntries([...this.read(), ...schedules]);
    makeFolder(join(this.path, ".."), 0o700);
    writeAtomic(this.path, `${JSON.stringify({ format: 1, schedules: all }, null, 1)}\n`);
    fs.chmodSync(this.path, 0o600);
  }
}
const remedy = "remove it (`moec cache --clear` does), and measure again with `moec tune`";
const folderIn = (root: string): string => join(root, "schedules");
/** Deletes all measured schedules, of every number of threads. */
export function clearSchedules(root: string = cacheFolder()): void {
  fs.rmSync(folderIn(root), { recursive: true, force: true });
}
