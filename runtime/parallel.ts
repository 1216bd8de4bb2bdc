// Asynchronous work on many items, a limited number at a time.

/**
 * Works on all items, at most `jobs` at a time. After a failure no further item is begun; the first error is thrown once those in progress have
 * ended.
 */
export async function inParallel<T>(
  items: readonly T[],
  jobs: number,
  work: (item: T, i: number) => Promise<void>,
): Promise<void> {
  const queue = items.entries();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (const [i, item] of queue) {
      if (failed) return;
      await work(item, i).catch((error: unknown) => {
        failed = true;
        throw error;
      });
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: jobs }, worker));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}
