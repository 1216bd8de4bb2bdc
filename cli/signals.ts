/** Aborts at the first Ctrl-C or SIGTERM, so that what runs can end in order; at the second the process ends at once. */
export function interruptible(): AbortSignal {
  const controller = new AbortController();
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(code);
      controller.abort();
    });
  return controller.signal;
}
