// One run writes a folder. The lock names its process, so that one that was killed holds nothing.
import { constants, copyFileSync, linkSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { Problem } from "../compiler/diagnostic.ts";
import { isCode, onFile } from "../compiler/on-file.ts";
import { makeFolder } from "./files.ts";

/**
 * Takes a folder (made if needed) for this process and gives what releases it, as the process' end does too. What was made and holds nothing
 * then goes. Another live holder is a Problem.
 */
export function lockFolder(folder: string): () => void {
  const path = join(folder, "lock");
  const made = makeFolder(folder);
  const own = `${JSON.stringify({ host: hostname(), pid: process.pid, started: startOf(process.pid) })}\n`;
  take(folder, path, own);
  const release = (): void => {
    process.off("exit", release);
    if (readHolder(path) === own) rmSync(path, { force: true });
    for (const empty of made.toReversed()) removeEmpty(empty);
  };
  process.prependListener("exit", release); // before anything ends other workers, and with them this process
  return release;
}
/** Makes `path` this process' lock, also where a dead holder's is. */
function take(folder: string, path: string, own: string): void {
  for (let tries = 0; !create(path, own); tries++) {
    const held = readHolder(path);
    if (tries === 100 || (held !== null && isAlive(held))) throw inUse(folder, path, held ?? "");
    if (held !== null && replace(folder, path, held, own)) return; // if it is null, it has gone since
  }
}
/** Only who has the turn replaces a dead holder's lock, so it stays what it was found to be. The turn is a lock as well: its holder may die. */
function replace(folder: string, path: string, dead: string, own: string): boolean {
  const turn = `${path}.next`;
  take(folder, turn, own);
  const same = readHolder(path) === dead;
  if (same) onFile(path, "write", () => renameSync(turn, path));
  else rmSync(turn, { force: true });
  return same;
}
function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // it holds something, or is gone
  }
}

/** False if it is there already. Nobody sees a part of its text, which would be taken for one that was cut off. */
function create(path: string, text: string): boolean {
  const whole = `${path}.${process.pid}`;
  return onFile(path, "write", () => {
    writeFileSync(whole, text);
    try {
      put(whole, path);
      return true;
    } catch (error) {
      if (isCode(error, "EEXIST")) return false;
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
    if (isCode(error, "EEXIST")) throw error;
    copyFileSync(whole, path, constants.COPYFILE_EXCL); // not every file system has links
  }
}
/** Null where there is none. */
function readHolder(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return isCode(error, "ENOENT") ? null : "";
  }
}
/** A holder on another machine counts as alive. What cannot be read was cut off while it was written. */
function isAlive(held: string): boolean {
  const [, host, pid, started] = /"host":"([^"]*)","pid":(\d+),"started":"([^"]*)"/.exec(held) ?? [];
  if (pid === undefined) return false;
  return host !== hostname() || (startOf(Number(pid)) === started && started !== "");
}
/** When a process started, in the kernel's ticks, so that a number used again is not taken for it; "" if there is none. */
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
