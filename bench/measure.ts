// Measures a case on the host, alternating with samples of its ceiling, and computes its share of the ceiling.
import { type Ceiling, fmaCeiling, memoryCeiling } from "../runtime/host/ceiling.ts";
import { kernelTable, kernelTimes } from "../runtime/measure/kernel-times.ts";
import type { Case, Pass } from "./cases.ts";
import { type PeerTimes, peerTimes } from "./peers.ts";
import { type Arithmetic, Subject } from "./subject.ts";

/** A result, one line of `--json`. Rates and ceiling are in `unit`. */
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
export interface MeasureOptions extends Pick<Arithmetic, "precision"> {
  readonly threads: number;
  /** Take the best of at least so many runs, and go on until `seconds` have passed. */
  readonly times: number;
  readonly seconds: number;
  /** A Python interpreter with PyTorch to compare with; null: none. */
  readonly python: string | null;
  /** Bytes that are moved to find memory's rate. Default: more than the caches hold. */
  readonly moved?: number;
  /** Called with a table of each case's kernels. */
  readonly kernels?: (table: string) => void;
}

/** `busySeconds`: the seconds it would take on cores of its own; the busier the machine was, the less it is than `seconds`. */
export interface Measured {
  readonly figure: Figure;
  readonly busySeconds: number;
}

export async function measure(c: Case, options: MeasureOptions): Promise<Measured[]> {
  const own = await measureOwn(c, options);
  const times = options.python === null ? {} : await peerTimes(options.python, c, options.threads, options.precision);
  return own.map(({ figure, busySeconds }) => ({
    figure: { ...figure, peers: ratesOf(times, c, figure.pass) },
    busySeconds,
  }));
}
export const ratesOf = (times: Readonly<Record<string, PeerTimes>>, { work }: Case, pass: Pass): Peer[] =>
  Object.entries(times).flatMap(([name, { [pass]: seconds }]) =>
    seconds === undefined ? [] : [{ name, rate: rateOf(work[pass], seconds) }],
  );
export const rateOf = (work: number | undefined, seconds: number): number => ((work ?? Number.NaN) / seconds) * 1e-9;

async function measureOwn(c: Case, options: MeasureOptions): Promise<Measured[]> {
  const { threads, precision, moved } = options;
  const subject = await Subject.open(c, { target: "host", threads, precision });
  await subject.sample();
  const compute = await fmaCeiling(threads, subject.best.forward);
  const memory = await memoryCeiling(threads, c.mix ?? { reads: 1, writes: 1, updates: 0 }, moved);
  const ceiling = c.mix ? memory : compute;
  try {
    const start = performance.now();
    for (let i = 0; i < options.times || performance.now() - start < options.seconds * 1000; i++) {
      await ceiling.sample();
      for (let run = 0; run < (c.mix ? ceiling.runs : 1); run++) await subject.sample();
    }
    await compute.sample();
    await memory.sample();
    const limits = { threads, gflops: compute.best, gbytes: memory.best };
    options.kernels?.(kernelTable(kernelTimes(subject.plan, subject.entry, subject, limits), limits, "operands"));
    return passesOf(c).map((pass) => ({
      figure: figureOf(c, pass, subject.best[pass], ceiling),
      busySeconds: subject.busySeconds(pass, threads),
    }));
  } finally {
    for (const open of [compute, memory, subject]) open.close();
  }
}
const passesOf = ({ work }: Case): Pass[] => (["forward", "step"] as const).filter((pass) => work[pass] !== undefined);
function figureOf({ name, shape, work }: Case, pass: Pass, seconds: number, { unit, best: ceiling }: Ceiling): Figure {
  const rate = rateOf(work[pass], seconds);
  return { name, shape, pass, seconds, rate, unit, ceiling, share: rate / ceiling, peers: [] };
}
