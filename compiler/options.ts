// The flags that decide what is compiled, one typed row each. Commands of cli/ pick those that they take.
import { Problem } from "./diagnostic.ts";
import { targetFlagText } from "./flag-text.ts";
import { allWeightsOptions, type Precision, precisions, type WeightsOption } from "./types/dtype.ts";

/** Where a flag may occur several times, `before` is what was parsed so far. `parse` throws a Problem that names the value, not the flag. */
export interface Flag<T> {
  readonly flags: string;
  readonly doc: string;
  parse(this: void, text: string, before?: T): T;
}
export type Target = "host" | "reference" | "cuda";
export type Settings = Readonly<Record<string, number | boolean>>;

const targets: readonly Target[] = ["host", "cuda", "reference"];
export const target: Flag<Target> = {
  flags: "--target <target>",
  doc: "where the program runs: host (this CPU), cuda (an NVIDIA GPU) or reference (the interpreter); default: host",
  parse: oneOf(...targets),
};
export const precision: Flag<Precision> = {
  flags: "--precision <precision>",
  doc: "the dtype that float stands for: f32; bf16 (storage and products; sums and master weights stay f32); or f64 (the interpreter only, f32 becomes f64 too); default: f32",
  parse: oneOf(...precisions),
};
/** A switch without a value. */
export const tf32: Flag<boolean> = {
  flags: "--tf32",
  doc: "cuda only: multiply f32 on tensor cores, with operands rounded to 11 of 24 bits; sums stay f32. Default: exact f32 products",
  parse: () => true,
};
export const weights: Flag<WeightsOption> = {
  flags: "--weights <format>",
  doc: "int8: keep matrices that are multiplied, and embeddings, in 8 bits, with a scale for each column (or row), but for those that are trained; products and sums stay in floats. A quarter of the memory of f32; results are rounded. fp4: matrices in 4 bits, with a scale for each 32 elements of a column, and what cannot be (embeddings) as int8. An eighth of the memory of f32; results are rounded more. float: as the program has them, the default, but that codes of a checkpoint that is generated or evaluated stay codes",
  parse: oneOf(...allWeightsOptions),
};
const maxThreads = 1024;
/** A switch without a value. */
export const recompute: Flag<boolean> = {
  flags: "--recompute",
  doc: "training: keep only what passes between the layers of an array (blocks: Block(D)[L]); the backward computes each layer again. Less memory, more time; the same results, to rounding",
  parse: () => true,
};
export const threads: Flag<number> = {
  flags: "--threads <n>",
  doc: "number of threads; results do not depend on it (default: all cores)",
  parse: integerIn(1, maxThreads),
};
export const maxWorkers = 4096;
export const tensorParallel: Flag<number> = {
  flags: "--tensor-parallel <n>",
  doc: "several workers: each n consecutive ones share the matrices outside experts, and have the same rows; n divides the number of workers. Default: 1",
  parse: integerIn(1, maxWorkers),
};
export const contextParallel: Flag<number> = {
  flags: "--context-parallel <n>",
  doc: "training by several workers: each n consecutive ones (or groups of --tensor-parallel) share the tokens of the same sequences, whose length n divides; n divides their number. Less memory for long sequences; the same results, to rounding. Default: 1",
  parse: integerIn(1, maxWorkers),
};
export const expertParallel: Flag<number> = {
  flags: "--expert-parallel <n>",
  doc: "several workers: shard the experts over at most n consecutive workers (groups of --tensor-parallel); n divides their number. Default: over all",
  parse: integerIn(1, maxWorkers),
};
export const room: Flag<number> = {
  flags: "--room <shares>",
  doc: "several workers: rows that one worker's experts have memory for, as a multiple of an equal share of its group's rows; a step that needs more fails. Default: all rows",
  parse: numberIn(1),
};
/** A switch without a value. */
export const shardOptimizer: Flag<boolean> = {
  flags: "--shard-optimizer",
  doc: "several workers: each keeps a part of the optimizer's state, and of sums of gradients, of the parameters that all have (ZeRO, stages 1 and 2). Less memory; the same results, to rounding",
  parse: () => true,
};
export const shardParameters: Flag<boolean> = {
  flags: "--shard-parameters",
  doc: "several workers: each keeps a part of the matrices outside experts, too, which are gathered where they are read (ZeRO, stage 3; FSDP); implies --shard-optimizer. Least memory, more is sent; the same results, to rounding",
  parse: () => true,
};
export const shadow: Flag<number> = {
  flags: "--shadow <n>",
  doc: "several workers: of each array of experts, the n with the most rows of a step are computed where the rows are: their parameters are sent in place of their rows, and their gradients back. The same results, to rounding. Default: none",
  parse: integerIn(1, maxWorkers),
};
export const set: Flag<Settings> = {
  flags: "--set <name=value>",
  doc: "set a size or value of the header, or a size of the entry; repeatable",
  parse: setting,
};
/** The flags that `compile`, `run`, `train`, `generate` and `profile` have in common. */
export const commonFlags = { target, precision, tf32, threads, set };

/** A target of `compile` alone: it generates code for an architecture, `cuda:sm_90a`, and needs no GPU. */
type CudaTarget = `cuda:${string}`;
export type CompileTarget = Exclude<Target, "cuda"> | CudaTarget;
export const compileTarget: Flag<CompileTarget> = {
  flags: target.flags,
  doc: "host (this CPU), reference (the interpreter) or cuda:ARCHITECTURE (needs NVRTC, no GPU); default: host",
  parse(text) {
    const [, architecture] = /^cuda:(sm_\d+[af]?)$/.exec(text) ?? [];
    if (Number.parseInt(architecture?.slice(3) ?? "", 10) >= 80) return `cuda:${architecture}`;
    return text.startsWith("cuda")
      ? refuse("cuda:ARCHITECTURE from sm_80 on, cuda:sm_90a say")
      : oneOf("host", "reference")(text);
  },
};

/** Throws a Problem if the target does not exist, or has not the precision, tf32 or number of threads asked for. */
export function requireTarget(options: {
  readonly target?: Target | CompileTarget | undefined;
  readonly precision?: Precision | undefined;
  readonly tf32?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly weights?: WeightsOption | undefined;
}): void {
  const [name = "host"] = options.target?.split(":") ?? [];
  if (!targets.some((t) => t === name))
    throw new Problem(`there is no target ${name}`, `the targets are ${targets.join(", ")}`);
  const { precision: float = "f32", threads: many = 1, weights: kept } = options;
  if (!precisions.includes(float))
    throw new Problem(`there is no precision ${float}`, `the precisions are ${precisions.join(", ")}`);
  if (kept !== undefined && !allWeightsOptions.includes(kept))
    throw new Problem(`there are no weights ${kept}`, `give ${allWeightsOptions.join(", ")}, or leave weights out`);
  if (!(Number.isInteger(many) && many >= 1 && many <= maxThreads))
    throw new Problem(`${many} threads cannot compute`, `give a whole number from 1 to ${maxThreads}`);
  if (options.tf32 && name !== "cuda")
    throw new Problem("tf32 is of CUDA targets", `give one: ${targetFlagText("cuda")}, or leave tf32 out`);
  if (float === "f64" && options.target !== "reference")
    throw new Problem(
      `the ${name} target computes in f32`,
      `give ${targetFlagText("reference")}, or another precision: f32 or bf16`,
    );
}
export function oneOf<T extends string>(...names: readonly T[]): (text: string) => T {
  return (text) => names.find((name) => name === text) ?? refuse(`one of ${names.join(", ")}`);
}
/** Parses a whole number in a range. */
export function integerIn(least: number, most = 2 ** 31 - 1): (text: string) => number {
  return (text) => {
    const n = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
    return n >= least && n <= most ? n : refuse(`a whole number from ${least} to ${most}`);
  };
}
/** Parses a number in a range. */
export function numberIn(least: number, most = Number.MAX_VALUE): (text: string) => number {
  const wanted = most === Number.MAX_VALUE ? `of at least ${least}` : `from ${least} to ${most}`;
  return (text) => {
    const n = text.trim() === "" ? Number.NaN : Number(text);
    return n >= least && n <= most ? n : refuse(`a number ${wanted}`);
  };
}
function setting(text: string, before: Settings = {}): Settings {
  const [, name, value = ""] = /^([A-Za-z_]\w*)=(\S+)$/.exec(text) ?? [];
  const known = value === "true" || value === "false" ? value === "true" : Number(value);
  if (name === undefined || Number.isNaN(known)) return refuse("NAME=VALUE, where VALUE is a number, true or false");
  return { ...before, [name]: known };
}
export function refuse(wanted: string): never {
  throw new Problem(`It must be ${wanted}.`, `give ${wanted}`);
}
