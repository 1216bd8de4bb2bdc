import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { basename } from "node:path";
import { setTimeout } from "node:timers/promises";

const signals = new Set(["SIGHUP", "SIGINT", "SIGTERM"] as const);
/** Ends the process with the exit code by which shells report a signal. */
const exitFor = (signal: NodeJS.Signals): void => process.exit(128 + constants.signals[signal]);

/** Makes `nohup` effective: Node resets its ignoring of SIGHUP at startup, so the signal is ignored here again. */
export function respectNohup(): void {
  if (!underNohup()) return;
  signals.delete("SIGHUP");
  process.on("SIGHUP", () => {});
}
/** Whether the process was started by `nohup`: `$_` names it, or standard input can only be written to, which GNU's nohup does to a terminal. */
function underNohup(): boolean {
  if (basename(process.env["_"] ?? "") === "nohup") return true;
  try {
    return /^flags:\s*\d*1$/m.test(readFileSync("/proc/self/fdinfo/0", "latin1"));
  } catch {
    return false; // not Linux
  }
}
/**
 * From now on, signals run the exit handlers (which kill compilers and release locks) before the process ends. Not installed earlier, because while
 * JavaScript only computes, a handler would never run, and the signal would do nothing.
 */
export function exitOnSignals(): void {
  for (const signal of signals) if (!process.listeners(signal).includes(exitFor)) process.on(signal, exitFor);
}
/**
 * Returns the controller's signal, which is aborted at the first Ctrl-C, SIGTERM or hangup, so that the work can stop in order; the second ends the
 * process at once. Called after all compiling, during which signals end it at once.
 */
export async function abortOnSignals(controller = new AbortController()): Promise<AbortSignal> {
  await setTimeout(1); // lets signals be handled that came while JavaScript was busy
  for (const signal of signals) {
    process.off(signal, exitFor);
    process.on(signal, () => (controller.signal.aborted ? exitFor(signal) : controller.abort()));
  }
  running = controller;
  return controller.signal;
}
/** Does work that the first Ctrl-C stops, by the signal that it is given; the second ends the process. Afterwards Ctrl-C ends the process again. */
export async function interruptible(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  const stop = (): void => (controller.signal.aborted ? exitFor("SIGINT") : controller.abort());
  process.off("SIGINT", exitFor);
  process.on("SIGINT", stop);
  try {
    await work(controller.signal);
  } finally {
    process.off("SIGINT", stop);
    process.on("SIGINT", exitFor);
  }
}
let running: AbortController | null = null;
/** Aborts the signal that `abortOnSignals` returned; false if it was not called. */
export function abortRunning(): boolean {
  running?.abort();
  return running !== null;
}
