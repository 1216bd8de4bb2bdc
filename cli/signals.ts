import { setTimeout } from "node:timers/promises";

const signals = [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const;

/** Until what this gives is called, Ctrl-C and SIGTERM end the process at once, but in order: what it holds is given back. */
export function ending(): () => Promise<void> {
  const ends = signals.map(([signal, code]) => [signal, () => process.exit(code)] as const);
  for (const [signal, end] of ends) process.on(signal, end);
  return async () => {
    await setTimeout(1); // a signal that came while nothing else could run is heard
    for (const [signal, end] of ends) process.off(signal, end);
  };
}
/** Aborts at the first Ctrl-C or SIGTERM, so that what runs can end in order; at the second the process ends at once. */
export function interruptible(): AbortSignal {
  const controller = new AbortController();
  for (const [signal, code] of signals)
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(code);
      controller.abort();
    });
  return controller.signal;
}
