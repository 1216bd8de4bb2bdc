// Measures the machine's ceilings (FLOP/s, memory and cache bandwidth) in the same run, and by the same executor, as what is compared with them.
import { hostHeader } from "../../compiler/emit/unit.ts";
import { placedBytes } from "../../compiler/plan/place.ts";
import type { Plan, PlanBuffer } from "../../compiler/plan/plan.ts";
import { sum } from "../../compiler/types/numbers.ts";
import type { PlanExecutable } from "../executable/plan-executable.ts";
import { freeMemory, lastLevelCache } from "../machine.ts";
import type { Limits } from "../measure/kernel-times.ts";
import type { StepTimes } from "../native.ts";
import { numbers, zeros } from "../tensor.ts";
import { hostExecutable } from "./executable.ts";

/**
 * A ceiling: the best rate seen so far. Samples are taken between the measurements that it is compared with, so that both see the machine in the same
 * state.
 */
export interface Ceiling {
  readonly unit: "GFLOP/s" | "GB/s";
  readonly best: number;
  /** Runs in a sample: what depends on memory, whose rate varies within seconds, has a fair chance only with as many between two samples. */
  readonly runs: number;
  sample(): Promise<void>;
  close(): void;
}
/** The numbers of memory streams that are only read, only written, and updated in place. */
export interface Mix {
  readonly reads: number;
  readonly writes: number;
  readonly updates: number;
}

const rounds = 20_000;
/**
 * A kernel of 16 independent accumulators (12 if there are only 16 vector registers), enough to hide the latency of an FMA. It writes lanes *
 * accumulators to its result.
 */
const fma = `
#if LANES == 16 || defined(__aarch64__)
#define ACCUMULATORS 16
#else
#define ACCUMULATORS 12
#endif
extern "C" void fma(void* const* args, ix begin, ix end, f32*) {
  const vf x = splat(0.9999f), y = splat(1e-5f);
  vf a[ACCUMULATORS];
  UNROLL for (int i = 0; i < ACCUMULATORS; i++) a[i] = splat((f32)i);
  for (ix t = begin; t < end; t++)
    NO_UNROLL for (ix k = 0; k < ${rounds}; k++) {
      UNROLL for (int i = 0; i < ACCUMULATORS; i++) a[i] = fma_(a[i], x, y);
      asm volatile("" ::: "memory");
    }
  vf s = splat(0.0f);
  UNROLL for (int i = 0; i < ACCUMULATORS; i++) s += a[i];
  ((volatile f32*)args[0])[1] = s[0];
  ((volatile f32*)args[0])[0] = LANES * ACCUMULATORS;
}`;

const lines = (n: number, from: number, f: (p: string) => string): string =>
  Array.from({ length: n }, (_, i) => f(`(f32*)args[${from + i}] + i`)).join(" ");
/** A task is 1 MiB of each stream. Streams that are only written use non-temporal stores. */
function mixed({ reads, writes, updates }: Mix): string {
  return `extern "C" void mixed(void* const* args, ix begin, ix end, f32*) {
  for (ix t = begin; t < end; t++)
    for (ix i = t << 18; i < (t + 1) << 18; i += LANES) {
      vf s = splat(1.0f);
      ${lines(reads, 0, (p) => `s += ld(vf{}, ${p});`)}
      ${lines(writes, reads, (p) => `st_nontemporal(vf{}, ${p}, s);`)}
      ${lines(updates, reads + writes, (p) => `st(vf{}, ${p}, ld(vf{}, ${p}) + s);`)}
      asm volatile("" :: IN_VECTOR_REGISTER(s));
    }
  fence();
}`;
}
/** A task is 256 KiB. */
const reread = (pieces: number): string => `extern "C" void reread(void* const* args, ix begin, ix end, f32*) {
  for (ix t = begin; t < end; t++) {
    const f32* const p = (f32*)args[0] + (t % ${pieces} << 16);
    for (ix i = 0; i < 1 << 16; i += 4 * LANES) {
      const vf s = ld(vf{}, p + i) + ld(vf{}, p + i + LANES) + (ld(vf{}, p + i + 2 * LANES) + ld(vf{}, p + i + 3 * LANES));
      asm volatile("" :: IN_VECTOR_REGISTER(s));
    }
  }
}`;

/** Seconds of the longest run of FMAs. */
const longestRun = 0.05;
/**
 * Peak GFLOP/s of f32 fused multiply-adds. A run takes about as many seconds as what is compared with it, up to `longestRun`: the clock of a virtual
 * machine may be a quarter higher for one millisecond than for ten.
 */
export async function fmaCeiling(threads: number, seconds: number): Promise<Ceiling> {
  const tasks = threads * 16;
  const open = (times: number): Promise<Meter> => Meter.open(plan("fma", fma, tasks * times, [16]), threads);
  const short = await open(1);
  const [sums = 0] = await short.result();
  const times = Math.max(1, Math.round((Math.min(seconds, longestRun) * 1e9) / (await short.nanoseconds())));
  short.close();
  return new Best("GFLOP/s", await open(times), tasks * times * rounds * 2 * sums, 5);
}
/**
 * Bytes that repeated runs read from memory and not from the last-level cache: as in STREAM (McCalpin 1995) four times as many as that has, 256 MiB or
 * more, but at most a quarter of the free memory.
 */
export const largerThanCaches = (): number => Math.max(2 ** 28, Math.min(4 * lastLevelCache(), freeMemory() / 4));
/** GB/s of a mix of streams, of so many bytes in all. */
export async function memoryCeiling(threads: number, mix: Mix, bytes = largerThanCaches()): Promise<Ceiling> {
  const streams = mix.reads + mix.writes + mix.updates;
  const megabytes = Math.ceil(bytes / 2 ** 20 / streams);
  const floats = Array.from({ length: streams }, () => megabytes << 18);
  const meter = await Meter.open(plan("mixed", mixed(mix), megabytes, floats), threads);
  return new Best("GB/s", meter, (streams + mix.updates) * megabytes * 2 ** 20, 5);
}
/** GB/s of reading the same memory again and again: the bandwidth of the cache that it fits in, or of memory. */
export async function readCeiling(threads: number, bytes: number): Promise<Ceiling> {
  const pieces = Math.max(1, Math.ceil(bytes / 2 ** 18));
  const tasks = pieces * (bytes > lastLevelCache() ? 1 : 16);
  const meter = await Meter.open(plan("reread", reread(pieces), tasks, [pieces << 16]), threads);
  return new Best("GB/s", meter, tasks * 2 ** 18, 5);
}

/** What a model's larger kernels take. */
const secondsOfKernels = 0.005;
/** Measures FLOP/s, and memory bandwidth with one stream read and one written, of `bytes` together. */
export async function measureLimits(threads: number, bytes?: number): Promise<Limits> {
  const compute = await fmaCeiling(threads, secondsOfKernels);
  const memory = await memoryCeiling(threads, { reads: 1, writes: 1, updates: 0 }, bytes);
  try {
    await compute.sample();
    await memory.sample();
    return { threads, gflops: compute.best, gbytes: memory.best };
  } finally {
    compute.close();
    memory.close();
  }
}

class Best implements Ceiling {
  readonly unit: "GFLOP/s" | "GB/s";
  readonly runs: number;
  readonly #meter: Meter;
  readonly #work: number;
  #best = 0;
  constructor(unit: "GFLOP/s" | "GB/s", meter: Meter, work: number, runs: number) {
    this.runs = runs;
    this.unit = unit;
    this.#meter = meter;
    this.#work = work;
  }
  get best(): number {
    return this.#best;
  }
  async sample(): Promise<void> {
    for (let i = 0; i < this.runs; i++)
      this.#best = Math.max(this.#best, this.#work / (await this.#meter.nanoseconds()));
  }
  close(): void {
    this.#meter.close();
  }
}
const at = { seed: 0, call: 0, step: 0 };
/** Runs a plan's only entry and gives its time as measured by the addon. */
class Meter {
  readonly #executable: PlanExecutable;
  readonly #times: { last: number };
  private constructor(executable: PlanExecutable, times: { last: number }) {
    this.#executable = executable;
    this.#times = times;
  }
  /** Writes every page first: untouched pages all map to one page of zeros, which is read from the cache. */
  static async open(plan: Plan, threads: number): Promise<Meter> {
    const times = { last: Number.NaN };
    const profile = (_: unknown, { wall }: StepTimes): void => void (times.last = sum(wall));
    const executable = await hostExecutable(plan, { threads, profile });
    for (const { name, shape } of executable.stores) executable.write(name, zeros("f32", shape));
    return new Meter(executable, times);
  }
  async nanoseconds(): Promise<number> {
    await this.#executable.run("run", new Map(), at);
    return this.#times.last;
  }
  async result(): Promise<Float64Array> {
    await this.nanoseconds();
    return numbers(this.#executable.read("b0"));
  }
  close(): void {
    this.#executable.close();
  }
}

/**
 * A plan of one kernel whose buffers have these numbers of floats. They are placed as those of real programs: when all begin at the same offset in a
 * page, a copy loses 15%.
 */
function plan(name: string, text: string, tasks: number, floats: readonly number[]): Plan {
  let arena = 0;
  const buffers = floats.map((n, i): PlanBuffer => {
    const offset = arena;
    arena += placedBytes(n * 4);
    return { name: `b${i}`, dtype: "f32", shape: [n], layout: { kind: "rows", pitch: n }, offset, bytes: n * 4 };
  });
  const launch = { kernel: 0, args: [...buffers.keys()], tasks, flops: 0, bytes: 0, phase: "forward" } as const;
  return {
    target: "host",
    buffers,
    kernels: [{ name, text, origins: [], scratch: 0 }],
    stores: buffers.map(({ name }, buffer) => ({ name, role: "state", saved: false, stack: 0, buffer })),
    entries: [{ name: "run", inputs: [], results: [], steps: [{ kind: "launch", launch }] }],
    header: hostHeader(),
    bytes: { parameters: 0, prepared: 0, gradients: 0, optimizer: 0, states: 0, activations: 0, arena },
  };
}
