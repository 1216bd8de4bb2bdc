// One process of `npm run bench -- workers`, started alone or by mpirun: trains examples/gpt-moe.moe for some steps. Worker 0 prints the result.
import { argv } from "node:process";
import { Bug } from "../compiler/diagnostic.ts";
import type { Step } from "../compiler/plan/plan.ts";
import { sum } from "../compiler/types/numbers.ts";
import { commonRequest, parseFile } from "../runtime/compile.ts";
import type { StepTimes } from "../runtime/native.ts";
import { readDataset, trainingBatch } from "../runtime/training/data.ts";
import { compileOnWorkers } from "../runtime/workers/compile-on-workers.ts";
import { type Workers, workers } from "../runtime/workers/workers.ts";

/** `set`: sizes of the model. A batch has B rows of T bytes of the file `data`. The first `warm` steps are not timed. */
export interface Job {
  readonly program: string;
  readonly set: Readonly<Record<string, number>>;
  readonly B: number;
  readonly T: number;
  readonly data: string;
  readonly threads: number;
  readonly precision: "f32" | "bf16";
  readonly warm: number;
  readonly steps: number;
}
/** The times of a step, in seconds: of all workers the mean. */
interface StepSeconds {
  readonly seconds: number;
  /** How long collectives move and add up, and how long a worker waits in them for others. */
  readonly moving: number;
  readonly waiting: number;
}
/** The times are those of the median step of all that are timed. */
export interface Ran extends StepSeconds {
  /** Losses of all steps, the first ones too. */
  readonly losses: readonly number[];
  /** Collectives of a step, and the bytes that a worker sends in them if experts get equal shares. */
  readonly collectives: number;
  readonly sent: number;
}

async function run(job: Job, world: Workers): Promise<Ran> {
  const last: { times?: StepTimes } = {};
  const { executable, plan, report } = await opened(job, world, (times) => void (last.times = times));
  const steps = plan.entries.find((e) => e.name === "train")?.steps ?? [];
  const text = await readDataset([job.data]);
  const [losses, timed]: [number[], StepSeconds[]] = [[], []];
  await executable.run("init", new Map(), { seed: 0, call: 0, step: 0 });
  for (let step = 0; step < job.warm + job.steps; step++) {
    const { tokens, targets } = trainingBatch(text, job.B, job.T, step);
    const start = performance.now();
    const inputs = new Map(Object.entries({ tokens, targets }));
    const outcome = await executable.run("train", inputs, { seed: 0, call: step, step });
    const took = (performance.now() - start) / 1000;
    losses.push(sum(outcome.losses.values()));
    if (step >= job.warm) timed.push(stepSeconds(took, steps, last.times, world));
  }
  executable.close();
  const collectives = steps.filter((s) => s.kind === "collective").length;
  return { ...medianOf(timed), losses, collectives, sent: sum(Object.values(report.sent)) };
}
async function opened(job: Job, world: Workers, seen: (times: StepTimes) => void) {
  const { program: path, set: sizes, B, T, threads, precision } = job;
  const entries = [{ method: "train", name: "train", sizes: { B, T } }];
  const watch = { profile: (_: unknown, times: StepTimes): void => seen(times) };
  const { executable, plan, report } = await compileOnWorkers(parseFile(path), {
    declaration: "GptMoE",
    sizes,
    entries,
    watch,
    ...commonRequest({ precision, threads }, world),
  });
  if (!plan) throw new Bug(`${path} has no plan`);
  return { executable, plan, report };
}
const waits = new Set<Step["kind"] | undefined>(["collective", "wait"]);
/** Who comes last to a collective is in it as long as it takes; the others are in it for as much longer as they wait. */
function stepSeconds(took: number, steps: readonly Step[], times: StepTimes | undefined, world: Workers): StepSeconds {
  if (!times) throw new Bug("a step was not timed");
  const own = times.wall.filter((_, i) => waits.has(steps[i]?.kind)).map((nanoseconds) => nanoseconds * 1e-9);
  const all = world
    .gatherBytes("times", new Uint8Array(Float64Array.of(took, ...own).buffer))
    .map((bytes) => [...new Float64Array(bytes.slice().buffer)]);
  const mean = (of: (times: readonly number[]) => number): number => sum(all.map(of)) / all.length;
  const moving = sum(own.map((_, i) => Math.min(...all.map((times) => times[i + 1] ?? 0))));
  return { seconds: mean(([step = 0]) => step), moving, waiting: mean((times) => sum(times.slice(1))) - moving };
}
function medianOf(all: readonly StepSeconds[]): StepSeconds {
  const median = all.toSorted((a, b) => a.seconds - b.seconds)[Math.floor(all.length / 2)];
  if (!median) throw new RangeError("no step was timed");
  return median;
}

const world = workers();
const ran = await run(JSON.parse(argv[2] ?? "") as Job, world);
if (world.rank === 0) console.log(JSON.stringify(ran));
