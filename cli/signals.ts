import { constants } from "node:os";
import { setTimeout } from "node:timers/promises";

const signals = ["SIGHUP", "SIGINT", "SIGTERM"] as const;
/** As a shell tells of a process that a signal has ended. */
const end = (signal: NodeJS.Signals): void => process.exit(128 + constants.signals[signal]);

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
