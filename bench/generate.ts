// Measures how fast a model generates text, compared with the time to read its active parameters once for each step.
import { fileURLToPath } from "node:url";
import { Bug } from "../compiler/diagnostic.ts";
import { runtimeInputs } from "../compiler/graph/node.ts";
import type { Weights } from "../compiler/types/dtype.ts";
import { bytesOf } from "../compiler/types/dtype.ts";
import { product } from "../compiler/types/numbers.ts";
import { compileProgram } from "../runtime/compile.ts";
import type { Executable, StoreInfo } from "../runtime/executable/executable.ts";
import { generateBatch } from "../runtime/generation/batch.ts";
import { generateEntries } from "../runtime/generation/generate-entries.ts";
import { type Ceiling, largerThanCaches, readCeiling } from "../runtime/host/ceiling.ts";
import { kernelTable, kernelTimes } from "../runtime/measure/kernel-times.ts";
import type { StepTimes } from "../runtime/native.ts";
import { readProgram } from "../runtime/program.ts";
import type { Arithmetic } from "./subject.ts";

/** A configuration of examples/gpt-moe.moe that generates `batch` sequences at a time. */
export interface GenerateCase {
  readonly name: string;
  readonly set: Readonly<Record<string, number>> & { readonly E: number; readonly K: number };
  readonly batch: number;
}
const demo = { V: 256, D: 128, H: 256, L: 4, Heads: 4, E: 8, K: 2, Context: 256 };
const large = { V: 256, D: 512, H: 1024, L: 12, Heads: 8, E: 16, K: 2, Context: 256 };
export const generateCases: readonly GenerateCase[] = [
  { name: "demo", set: demo, batch: 1 },
  { name: "demo", set: demo, batch: 16 },
  { name: "12 layers", set: large, batch: 1 },
  { name: "12 layers", set: large, batch: 16 },
];

export interface GenerateFigure {
  readonly name: string;
  readonly batch: number;
  readonly tokensPerSecond: number;
  /** Seconds of a step, which generates one token for each sequence. */
  readonly seconds: number;
  /** Bytes of the parameters that a step reads, and of all parameters. */
  readonly active: number;
  readonly parameters: number;
  /** GB/s of repeatedly reading memory as large as all parameters (from a cache, if it fits there). */
  readonly ceiling: number;
  /** The time to read the active parameters at the ceiling's rate, as a share of a step's time. */
  readonly share: number;
  /** The same of memory's rate, in GB/s, which is another where all parameters fit a cache. */
  readonly memory: Pick<GenerateFigure, "ceiling" | "share">;
}
export interface GenerateOptions extends Pick<Arithmetic, "precision"> {
  readonly weights?: Weights | undefined;
  readonly threads: number;
  /** Take the best of so many samples, each of `Ceiling.runs` runs of so many tokens for each sequence. */
  readonly times: number;
  readonly tokens: number;
  /** Bytes that are read to find memory's rate. Default: more than the caches hold. */
  readonly moved?: number;
  /** Called with a table of a step's kernels. */
  readonly kernels?: (table: string) => void;
}

const program = fileURLToPath(new URL("../examples/gpt-moe.moe", import.meta.url));
const at = { seed: 0, call: 0, step: 0 };

export async function measureGenerate(
  { name, set, batch }: GenerateCase,
  options: GenerateOptions,
): Promise<GenerateFigure> {
  const { threads, times, tokens, moved = largerThanCaches() } = options;
  const { executable } = await open(set, batch, options);
  const { active, parameters } = bytesRead(executable.stores, set, batch);
  const ceiling = await readCeiling(threads, parameters);
  const memory = await readCeiling(threads, moved);
  const of = ({ best }: Ceiling, seconds: number) => ({ ceiling: best, share: active / seconds / (best * 1e9) });
  try {
    let seconds = Infinity;
    for (let i = 0; i < times; i++) {
      await ceiling.sample();
      await memory.sample();
      for (let run = 0; run < ceiling.runs; run++)
        seconds = Math.min(seconds, await secondsOfStep(executable, batch, tokens));
    }
    if (options.kernels) options.kernels(await kernelsOf(set, batch, options, ceiling.best));
    const figure = { name, batch, tokensPerSecond: batch / seconds, seconds, active, parameters };
    return { ...figure, ...of(ceiling, seconds), memory: of(memory, seconds) };
  } finally {
    for (const open of [executable, ceiling, memory]) open.close();
  }
}
async function open(
  set: GenerateCase["set"],
  rows: number,
  { threads, precision, weights }: GenerateOptions,
  profile?: (e: unknown, t: StepTimes) => void,
) {
  const loaded = readProgram(program);
  const entries = generateEntries(loaded, "GptMoE", { rows }).filter((e) => e.name === "generate:1");
  const made = await compileProgram({
    path: program,
    declaration: "GptMoE",
    sizes: set,
    precision,
    weights,
    target: "host",
    threads,
    entries,
    ...(profile ? { watch: { profile } } : {}),
  });
  await made.executable.run("init", new Map(), at);
  return made;
}
/** Of codes of 4 bits with their scales, as these are a ninth of what is read. */
const bytesOfCode: Readonly<Record<Weights, number>> = { int8: 1, fp4: 0.5625 };
/**
 * `parameters`: bytes of all parameters. `active`: of those that a step reads, with the expected share of experts that `batch` rows choose, if each
 * chooses K of E at random. (Launches count the most experts that can be chosen: the same for one row, more for several.)
 */
export function bytesRead(
  stores: readonly Pick<StoreInfo, "name" | "role" | "dtype" | "shape" | "quantised">[],
  { E, K }: Pick<GenerateCase["set"], "E" | "K">,
  batch: number,
) {
  const chosen = 1 - (1 - K / E) ** batch;
  const sizes = stores
    .filter((s) => s.role === "parameter" && s.name !== runtimeInputs.key)
    .map((s) => ({
      bytes: product(s.shape) * (s.quantised ? bytesOfCode[s.quantised.code] : bytesOf[s.dtype]),
      part: s.name.includes("experts.*") ? chosen : 1,
    }));
  return {
    active: sizes.reduce((sum, s) => sum + s.bytes * s.part, 0),
    parameters: sizes.reduce((sum, s) => sum + s.bytes, 0),
  };
}
/** The mean seconds of a step in one run, after its first step. Texts are sampled at temperature 0.8, the default of users. */
async function secondsOfStep(executable: Executable, batch: number, tokens: number): Promise<number> {
  const requests = Array.from({ length: batch }, (_, i) => ({ prompt: [i], tokens: tokens + 1, temperature: 0.8 }));
  let [written, start] = [0, 0];
  for await (const _ of generateBatch(executable, requests, { rows: batch, seed: 0, step: 0 }))
    if (++written === batch) start = performance.now();
  return (performance.now() - start) / 1000 / tokens;
}
async function kernelsOf(
  set: GenerateCase["set"],
  batch: number,
  options: GenerateOptions,
  gbytes: number,
): Promise<string> {
  const best: { times?: StepTimes } = {};
  const { executable, plan } = await open(set, batch, options, (_, { wall, busy }) => {
    const seconds = { wall: wall.map((t) => t * 1e-9), busy: busy.map((t) => t * 1e-9) };
    best.times = best.times?.wall.length === wall.length ? least(best.times, seconds) : seconds;
  });
  try {
    await secondsOfStep(executable, batch, 32);
    const entry = plan?.entries.find((e) => e.name === "generate:1");
    if (!plan || !entry || !best.times) throw new Bug("nothing was timed");
    const limits = { threads: options.threads, gflops: Infinity, gbytes };
    return kernelTable(kernelTimes(plan, entry, best.times, limits), limits, "operands");
  } finally {
    executable.close();
  }
}
const least = (a: StepTimes, b: StepTimes): StepTimes => ({ wall: less(a.wall, b.wall), busy: less(a.busy, b.busy) });
const less = (x: Float64Array, y: Float64Array): Float64Array => x.map((t, i) => Math.min(t, y[i] ?? t));
