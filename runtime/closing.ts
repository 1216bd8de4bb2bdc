// Closes what was opened for work that fails.

/** What comes of the work; if it fails, what was opened is closed. */
export async function closedOnFailure<T>(opened: { close(): void }, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    opened.close();
    throw error;
  }
}
