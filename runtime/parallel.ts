// Work on many things, so many at a time.

/** Ends when all is done. After one that fails none is begun, and those that are at work end before it is told of. */
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
