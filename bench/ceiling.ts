// What this machine can do, measured in the same run and through the same executor as what is compared with it.
import type { Plan, PlanBuffer } from "../compiler/plan/plan.ts";
import { hostExecutable } from "../runtime/host/executable.ts";

/** FMAs of one task: 16 independent accumulators, so that latency does not show. */
const fma = `extern "C" void fma(void* const* args, ix begin, ix end, f32*) {
  vf a[16], x = splat(0.9999f), y = splat(1e-5f), s = splat(0.0f);
  for (int i = 0; i < 16; i++) a[i] = splat(i * 0.1f);
  for (ix t = begin; t < end; t++)
    for (ix k = 0; k < ${100_000}; k++) {
      _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++) a[i] = a[i] * x + y;
      asm volatile("" ::: "memory");
    }
  for (int i = 0; i < 16; i++) s += a[i];
  ((volatile f32*)args[0])[0] = s[0];
}`;
const fmaFlops = (tasks: number, lanes: number): number => tasks * 100_000 * 16 * 2 * lanes;

/** One task reads or writes 1 MiB of each stream; writes go around the caches. */
const mix = (reads: number, writes: number): string => `extern "C" void mix(void* const* args, ix begin, ix end, f32*) {
  for (ix t = begin; t < end; t++)
    for (ix i = t << 18; i < (t + 1) << 18; i += LANES) {
      vf s = splat(0.0f);
      ${Array.from({ length: reads }, (_, r) => `s += ld(vf{}, (const f32*)args[${r}] + i);`).join(" ")}
      ${writes === 0 ? `asm volatile("" :: "v"(s));` : Array.from({ length: writes }, (_, w) => `stream(vf{}, (f32*)args[${reads + w}] + i, s);`).join(" ")}
    }
}`;

const buffer = (name: string, floats: number, at: number): PlanBuffer => ({
  name,
  dtype: "f32",
  shape: [floats],
  layout: { kind: "rows", pitch: floats },
  offset: at,
  bytes: floats * 4,
});
function plan(name: string, text: string, header: string, tasks: number, floats: readonly number[]): Plan {
  let end = 0;
  const buffers = floats.map((n, i) => {
    const b = buffer(`b${i}`, n, end);
    end += n * 4;
    return b;
  });
  const launch = { kernel: 0, args: buffers.map((_, i) => i), tasks, flops: 0, bytes: 0 };
  return {
    target: "host",
    buffers,
    kernels: [{ name, text, origins: [], scratch: 0 }],
    stores: [],
    entries: [{ name: "run", inputs: [], results: [], steps: [{ kind: "launch", launch }] }],
    header,
    bytes: { parameters: 0, gradients: 0, optimizer: 0, states: 0, activations: 0, arena: end },
  };
}
/** Seconds of the best of `times` runs. */
async function best(p: Plan, threads: number, times: number): Promise<number> {
  const e = await hostExecutable(p, { threads });
  const at = { seed: 0, call: 0, step: 0 };
  await e.run("run", new Map(), at);
  let seconds = Infinity;
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    await e.run("run", new Map(), at);
    seconds = Math.min(seconds, (performance.now() - start) / 1000);
  }
  e.close();
  return seconds;
}
/** GFLOP/s of f32 fused multiply-adds on `threads` threads: best of 5. */
export async function fmaCeiling(header: string, lanes: number, threads: number): Promise<number> {
  const tasks = threads * 64;
  return (fmaFlops(tasks, lanes) / (await best(plan("fma", fma, header, tasks, [16]), threads, 5))) * 1e-9;
}
/** GB/s with `reads` streams read and `writes` streams written, 256 MiB in all at least. */
export async function bandwidth(header: string, threads: number, reads: number, writes: number): Promise<number> {
  const megabytes = Math.ceil(256 / (reads + writes));
  const floats = Array.from({ length: reads + writes }, () => megabytes << 18);
  const seconds = await best(plan("mix", mix(reads, writes), header, megabytes, floats), threads, 5);
  return ((megabytes * (reads + writes) * 2 ** 20) / seconds) * 1e-9;
}
