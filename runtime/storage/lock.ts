// A lock file ensures that only one run writes a folder. It names its process, so that the lock of a killed process does not count.
import {
  constants,
  copyFileSync,
  linkSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { hasErrorCode, withFileErrors } from "../../compiler/file-errors.ts";
import { makeFolder } from "./files.ts";

/** As this process found it: a machine may get another name meanwhile. */
const host = hostname();

/**
 * Locks a folder (made if needed) for this process; returns a function that releases it, which the process's exit also calls. Folders that it made
 * and that are still empty are then removed. A lock that a live process holds is a Problem.
 */
export function lockFolder(folder: string): () => void {
  const path = join(folder, "lock");
  const made = makeFolder(folder);
  const own = ownHolder();
  const removeMade = (): void => made.toReversed().forEach(removeEmpty);
  try {
    take(folder, path, own);
  } catch (error) {
    removeMade();
    throw error;
  }
  removeAbandoned(folder);
  const release = (): void => {
    process.off("exit", release);
    if (readHolder(path) === own) rmSync(path, { force: true });
    removeMade();
  };
  process.prependListener("exit", release); // before the listener that ends the other workers, and with them this process
  return release;
}
const ownHolder = (): string => `${JSON.stringify({ host, pid: process.pid, started: startOf(process.pid) })}\n`;
/** Whether a folder that this process locked still has that lock: a user may have removed it. One that cannot be read may still be there. */
export function holdsFolder(folder: string): boolean {
  try {
    return readFileSync(join(folder, "lock"), "utf8") === ownHolder();
  } catch (error) {
    return !hasErrorCode(error, "ENOENT");
  }
}
/** Makes `path` this process's lock, replacing that of a dead process. */
function take(folder: string, path: string, own: string): void {
  for (let tries = 0; !create(path, own); tries++) {
    const held = readHolder(path);
    if (tries === 100 || (held !== null && isAlive(held))) throw inUse(folder, path, held ?? "");
    if (held !== null && replace(folder, path, held, own)) return; // null: perhaps the other lock was released meanwhile
  }
}
/**
 * Replaces a dead holder's lock; false if another process did so first. Only the holder of a second lock, the turn, may replace it, so it cannot
 * change in between. The turn is taken in the same way, because its holder may die too.
 */
function replace(folder: string, path: string, dead: string, own: string): boolean {
  const turn = `${path}.next`;
  take(folder, turn, own);
  const same = readHolder(path) === dead;
  if (same) withFileErrors(path, "write", () => renameSync(turn, path));
  else rmSync(turn, { force: true });
  return same;
}
/** Removes what processes of this machine left that were killed while they made a lock: see `create`. */
function removeAbandoned(folder: string): void {
  for (const name of readdirSync(folder).filter((one) => /^lock(\.next)*\.\d+$/.test(one))) {
    const held = readHolder(join(folder, name));
    if (held !== null && held !== "" && !isAlive(held)) rmSync(join(folder, name), { force: true });
  }
}
function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // it is not empty, or already gone
  }
}

/** Creates a lock file, atomically with its whole text, since part of it would look like the lock of a dead process. False if the file exists. */
function create(path: string, text: string): boolean {
  const whole = `${path}.${process.pid}`;
  return withFileErrors(path, "write", () => {
    try {
      writeFileSync(whole, text);
      put(whole, path);
      return true;
    } catch (error) {
      if (hasErrorCode(error, "EEXIST")) return false;
      throw error;
    } finally {
      rmSync(whole, { force: true });
    }
  });
}
function put(whole: string, path: string): void {
  try {
    linkSync(whole, path);
  } catch (error) {
    if (hasErrorCode(error, "EEXIST")) throw error;
    copyFileSync(whole, path, constants.COPYFILE_EXCL); // not every file system has hard links
  }
}
/** The text of a lock; null if there is none, or it cannot be read: then nothing says that its holder is dead. */
function readHolder(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}
/**
 * Whether a lock's holder runs. One on another machine counts as running; a text that cannot be parsed was cut off by a crash while it was written.
 */
function isAlive(held: string): boolean {
  const [, on, pid, started] = /"host":"([^"]*)","pid":(\d+),"started":"([^"]*)"/.exec(held) ?? [];
  if (pid === undefined) return false;
  return on !== host || (startOf(Number(pid)) === started && started !== "");
}
/** A process's start time, in the kernel's ticks, which tells it from a later process with the same id; "" if there is no such process. */
function startOf(pid: number): string {
  try {
    if (process.platform !== "linux") {
      process.kill(pid, 0);
      return "unknown";
    }
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")")).split(" ")[20] ?? "";
  } catch {
    return "";
  }
}
const inUse = (folder: string, path: string, held: string): Problem =>
  new Problem(
    `another run writes ${folder}${/"pid":(\d+)/.exec(held)?.[1] ? ` (process ${/"pid":(\d+)/.exec(held)?.[1]})` : ""}`,
    `choose another folder with --out, or stop that run; if there is none, remove ${path}`,
  );
