import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { basename } from "node:path";
import { setTimeout } from "node:timers/promises";

const signals = new Set(["SIGHUP", "SIGINT", "SIGTERM"] as const);
/** As a shell tells of a process that a signal has ended. */
const end = (signal: NodeJS.Signals): void => process.exit(128 + constants.signals[signal]);

/** Under `nohup` a closed terminal ends nothing, though Node, as it starts, undoes what `nohup` has done. */
export function heedNohup(): void {
  if (!underNohup()) return;
  signals.delete("SIGHUP");
  process.on("SIGHUP", () => {});
}
/** What is left to see of it: its name as a shell's last command, or GNU's standard input that can only be written to, in a terminal's place. */
function underNohup(): boolean {
  if (basename(process.env["_"] ?? "") === "nohup") return true;
  try {
    return /^flags:\s*\d*1$/m.test(readFileSync("/proc/self/fdinfo/0", "latin1"));
  } catch {
    return false; // not Linux
  }
}
/**
 * From now on Ctrl-C and the like end the process in order: compilers that it runs and what it holds go with it. While it only computes,
 * which this would make it deaf in, nothing needs that.
 */
export function endInOrder(): void {
  for (const signal of signals) if (!process.listeners(signal).includes(end)) process.on(signal, end);
}
/** Aborts at the first Ctrl-C, SIGTERM or hangup, so that what runs can end in order; at the second the process ends at once. */
export async function interruptible(): Promise<AbortSignal> {
  await setTimeout(1); // a signal that came while nothing else could run is heard
  const controller = new AbortController();
  for (const signal of signals) {
    process.off(signal, end);
    process.on(signal, () => (controller.signal.aborted ? end(signal) : controller.abort()));
  }
  running = controller;
  return controller.signal;
}
let running: AbortController | null = null;
/** Aborts what `interruptible` was asked for; false where nothing was. */
export function stop(): boolean {
  running?.abort();
  return running !== null;
}
