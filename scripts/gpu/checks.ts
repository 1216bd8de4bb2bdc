// The checks of `npm run gpu`, the most informative first. Each is a command of its own, so that a failure stops nothing else.
import { execPath } from "node:process";

export interface Check {
  /** Such as `bench/f32`: the part, which also names its log file, and the check's name in it. */
  readonly name: string;
  /** The time limit. */
  readonly seconds: number;
  /** Programs with their arguments: alternatives, tried in order until one succeeds. */
  readonly commands: readonly (readonly string[])[];
  readonly env?: Readonly<Record<string, string>>;
}
const ts = (file: string, ...args: readonly string[]): string[] => [execPath, "--import", "tsx", file, ...args];
export const moec = (...args: readonly string[]): string[] => [execPath, "dist/cli/main.js", ...args];

const losses = (name: string, ...flags: readonly string[]): Check => ({
  name: `losses/${name}`,
  seconds: 150,
  commands: [ts("scripts/gpu/losses.ts", ...flags)],
  env: { MOEC_DEBUG: "1" },
});
const sized = (...sizes: readonly string[]): string[] => sizes.flatMap((size) => ["--set", size]);
/** With a worker on each of two GPUs. Open MPI's mpirun runs as root only with its flag, which other launchers do not know. */
const onTwoGpus = (...flags: readonly string[]): Check => {
  const two = ["-n", "2", ...ts("scripts/gpu/losses.ts", ...flags)];
  return {
    name: "losses/two-gpus",
    seconds: 150,
    commands: [
      ["mpirun", "--allow-run-as-root", ...two],
      ["mpirun", ...two],
    ],
    env: { MOEC_DEBUG: "1", NCCL_DEBUG: "WARN" },
  };
};
/** Sizes that are large enough for the wgmma variants. */
const large = [...sized("L=2", "D=512", "H=512", "Heads=8"), "--batch", "8", "--length", "256"];

const bench = (name: string, seconds: number, flags: readonly string[], env: Check["env"] = {}): Check => ({
  name: `bench/${name}`,
  seconds,
  commands: [ts("bench/main.ts", "cuda", "--json", "--kernels", ...flags)],
  env: { MOEC_DEBUG: "1", ...env },
});
const alone = { MOEC_PYTHON: "false" };

/** Runs of NVIDIA's compute-sanitizer (out-of-bounds accesses, races, barriers). CUDA graphs are off, so that a finding names its kernel. */
function sanitized(tool: string, seconds: number): Check[] {
  const under = ["compute-sanitizer", "--tool", tool, "--print-limit", "20", "--error-exitcode", "9"];
  const tiny = [...sized("L=1", "D=32", "H=32", "Heads=2"), "--batch", "2", "--length", "24"];
  const train = moec(
    "train",
    "examples/gpt-moe.moe",
    "--data",
    "README.md",
    "--steps",
    "2",
    "--target",
    "cuda",
    ...tiny,
  );
  const env = { MOEC_CUDA_GRAPHS: "0", MOEC_DEBUG: "1" };
  return [
    {
      name: `sanitize/${tool}-contractions`,
      seconds,
      commands: [[...under, ...ts("test/cuda/gpu-worker.ts", "contractions")]],
      env,
    },
    {
      name: `sanitize/${tool}-train`,
      seconds,
      commands: [[...under, ...train, "--precision", "bf16", "--out", "{scratch}/run"]],
      env,
    },
  ];
}
/**
 * Profiles a benchmark's kernels by ncu: time, utilisation of tensor cores and memory, registers. Includes the trials of variants in the first runs.
 */
function profiled(name: string, number: number): Check {
  const metrics = [
    "gpu__time_duration.sum",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "launch__registers_per_thread",
    "launch__occupancy_limit_shared_mem",
  ];
  const ncu = ["ncu", "--clock-control", "none", "--kernel-name", "regex:dot|outer|attention", "--csv"];
  const once = ts("scripts/gpu/once.ts", String(number));
  return {
    name: `counters/${name}`,
    seconds: 120,
    commands: [
      [...ncu, "--page", "raw", "--metrics", metrics.join(","), ...once],
      // names of metrics may change; those of sections do not
      [...ncu, "--section", "SpeedOfLight", "--section", "ComputeWorkloadAnalysis", ...once],
    ],
  };
}

export const checks: readonly Check[] = [
  { name: "doctor/machine", seconds: 30, commands: [["nvidia-smi"]] },
  { name: "doctor/moec", seconds: 60, commands: [moec("doctor")] },
  { name: "tests/gpu", seconds: 540, commands: [ts("test/run.ts", "gpu")] },
  losses("f32"),
  losses("bf16", "--precision", "bf16"),
  losses("bf16-large", "--precision", "bf16", ...large),
  losses("tf32", "--tf32", ...large),
  onTwoGpus("--precision", "bf16", ...large),
  bench("bf16", 300, []),
  ...sanitized("memcheck", 120),
  ...sanitized("racecheck", 180),
  bench("bf16-mma", 200, [], { MOEC_WGMMA: "0", ...alone }),
  bench("tf32", 240, ["--tf32"]),
  bench("f32", 240, ["--precision", "f32"]),
  ...["dense", "narrow", "wide-512", "wide-2048", "small", "attention-64", "attention-128"].map(profiled),
  ...sanitized("synccheck", 120),
  ...sanitized("initcheck", 120),
];
