// Lets the event loop run within a long chain of work. What only waits for promises starves it: signals, timers and sockets then wait for the whole chain.

/** For how many milliseconds the event loop (signals, timers, readers of what is made) may be held up. */
export const blockingLimit = 5;
/** When the event loop last ran, as far as is known here. */
let ran = performance.now();

/** Lets signals, timers and sockets have their turn, if they have waited for `blockingLimit`. To be awaited between two pieces of work. */
export const letEventsRun = (): Promise<void> => (performance.now() - ran < blockingLimit ? noWait : turn());
const noWait = Promise.resolve();
async function turn(): Promise<void> {
  await new Promise((done) => setImmediate(done));
  ran = performance.now();
}
