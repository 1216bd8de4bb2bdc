// Runs a case between samples of its ceiling, and says what share of it is reached.

import type { Case, Pass } from "./cases.ts";
import { type Ceiling, fmaCeiling, memoryCeiling } from "./ceiling.ts";
import { kernelTable } from "./kernels.ts";
import { type PeerTimes, peerTimes } from "./peers.ts";
import { Subject } from "./subject.ts";

/** One line of `--json`: rates and ceiling in `unit`. */
export interface Figure {
  readonly name: string;
  readonly shape: readonly number[];
  readonly pass: Pass;
  readonly seconds: number;
  readonly rate: number;
  readonly unit: Ceiling["unit"];
  readonly ceiling: number;
  /** rate / ceiling. */
  readonly share: number;
  readonly peers: readonly Peer[];
}
export interface Peer {
  readonly name: string;
  readonly rate: number;
}
export interface MeasureOptions {
  readonly threads: number;
  /** Best of so many; more while less than `seconds` have passed. */
  readonly times: number;
  readonly seconds: number;
  /** An interpreter with PyTorch, to measure beside it. */
  readonly python: string | null;
  /** Given a table of the kernels of each case. */
  readonly kernels?: (table: string) => void;
}

export async function measure(c: Case, options: MeasureOptions): Promise<Figure[]> {
  const own = await measureOwn(c, options);
  const peers = options.python === null ? {} : await peerTimes(options.python, c, options.threads);
  return own.map((figure) => ({ ...figure, peers: ratesOf(peers, figure.pass, c.work[figure.pass] ?? Number.NaN) }));
}
const ratesOf = (peers: Readonly<Record<string, PeerTimes>>, pass: Pass, work: number): Peer[] =>
  Object.entries(peers).flatMap(([name, { [pass]: seconds }]) =>
    seconds === undefined ? [] : [{ name, rate: (work / seconds) * 1e-9 }],
  );
async function measureOwn(c: Case, options: MeasureOptions): Promise<Figure[]> {
  const { threads } = options;
  const compute = await fmaCeiling(threads);
  const memory = await memoryCeiling(threads, c.mix ?? { reads: 1, writes: 1, updates: 0 });
  const subject = await Subject.open(c, threads);
  try {
    const start = performance.now();
    for (let i = 0; i < options.times || performance.now() - start < options.seconds * 1000; i++) {
      await (c.mix ? memory : compute).sample();
      await subject.sample();
    }
    await compute.sample();
    await memory.sample();
    options.kernels?.(kernelTable(subject, { threads, gflops: compute.best, gbytes: memory.best }));
    return figures(c, subject, c.mix ? memory : compute);
  } finally {
    for (const open of [compute, memory, subject]) open.close();
  }
}
function figures(c: Case, subject: Subject, { unit, best: ceiling }: Ceiling): Figure[] {
  return Object.entries(c.work).map(([key, work]) => {
    const pass = key as Pass;
    const seconds = subject.best[pass];
    const rate = (work / seconds) * 1e-9;
    return { name: c.name, shape: c.shape, pass, seconds, rate, unit, ceiling, share: rate / ceiling, peers: [] };
  });
}
