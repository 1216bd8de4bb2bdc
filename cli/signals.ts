/** Aborts at the first Ctrl-C, so that what runs can end in order; at the second the process ends at once. */
export function interruptible(): AbortSignal {
  const controller = new AbortController();
  process.on("SIGINT", () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  });
  return controller.signal;
}
