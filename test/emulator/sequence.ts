// Sequences of launches of the CUDA target on the emulator, in a process of their own.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cudaHeader, cudaUnit, hopperHeader } from "../../compiler/emit/unit.ts";
import { type Graph, type NdArray, type Store, unstackedStore } from "../../compiler/graph/node.ts";
import { nodesOf, storeOf } from "../../compiler/graph/walk.ts";
import { item } from "../../compiler/item.ts";
import { lower } from "../../compiler/lower/lower.ts";
import type { PlanKernel, Variant } from "../../compiler/plan/plan.ts";
import { type Sequence, type VirtualBuffer, type VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { type Backend, backends } from "../../compiler/targets.ts";
import { bytesOf } from "../../compiler/types/dtype.ts";
import { nvrtcOptions } from "../../runtime/cuda/code.ts";
import { tensorMap } from "../../runtime/cuda/tensor-map.ts";
import { nvrtc } from "../../runtime/nvrtc.ts";
import { bytesFor, placeOf, read } from "../host/run.ts";
import { kernelOf } from "../sequences.ts";
import { build, buildRunner, cacheFolder, mapInPairs } from "./build.ts";

/** How kernels run: words of MOEC_EMULATOR, and the blocks that share the tasks. */
export interface EmulationMode {
  readonly words: string;
  readonly grid: number;
}
/** Each finds other bugs. */
export const emulationModes: readonly EmulationMode[] = [
  { words: "check", grid: 3 },
  { words: "check order=random lazy seed=1", grid: 2 },
  { words: "check order=random lazy seed=2", grid: 5 },
];
/** Codes have padded rows, as those of a program have. */
export const loweredForCuda = (graph: Graph, backend: Backend = backends.cuda): Sequence => {
  const { emit, choices, access, variants } = backend;
  return lower(graph, { emit, choices, access, stores: codesOf(graph), ...(variants ? { variants } : {}) });
};
const codesOf = (graph: Graph): Store[] =>
  nodesOf(graph).flatMap((node) => {
    const [name, { type }] = [storeOf(node), item(node.results, 0)];
    if (name === null || type.dtype !== "i8") return [];
    return [
      {
        ...unstackedStore(name, "parameter", type),
        quantised: { code: "int8", dtype: "f32", axes: [0], scales: `${name} scales` },
      },
    ];
  });
/** The same launches by the kernels for sm_90a, where there are. */
export const byVariants = (sequence: Sequence): Sequence => ({
  ...sequence,
  launches: sequence.launches.map((l) => {
    const kernel = kernelOf(l);
    return kernel.variant ? { ...l, kernel: { ...kernel, ...pick(kernel.variant) } } : l;
  }),
});
const pick = ({ name, text, launch }: Variant): Pick<PlanKernel, "name" | "text" | "launch"> => ({
  name,
  text,
  launch,
});
/** The variant that a kernel stands for, after `byVariants`. */
export const variantOf = ({ name, variant }: PlanKernel): Variant | null => (variant?.name === name ? variant : null);

/** Files of modules that hold these kernels, for checking. Kernels share a text: its header takes longest. Two compile at once. */
export async function modulesOf(
  kernels: readonly PlanKernel[],
  together = 100,
  header: string = cudaHeader(),
): Promise<string[]> {
  const texts: PlanKernel[][] = [];
  for (const list of [kernels.filter((k) => k.launch?.wide), kernels.filter((k) => !k.launch?.wide)])
    for (let i = 0; i < list.length; i += together) texts.push(list.slice(i, i + together));
  return mapInPairs(texts, (list) => moduleOf(list, header));
}
async function moduleOf(kernels: readonly PlanKernel[], header: string): Promise<string> {
  const { libnvrtc } = await build();
  const [first] = kernels;
  if (!first) throw new Error("no kernels");
  const headers = kernels.some(variantOf) ? [header, hopperHeader()] : [header];
  const text = cudaUnit(headers.join("\n"), { ...first, text: kernels.map((k) => k.text).join("\n") });
  process.env["MOEC_EMULATOR"] = "check";
  const compiler = await nvrtc({ MOEC_LIBNVRTC: libnvrtc });
  const key = createHash("sha256").update(compiler.version).update(text).digest("hex").slice(0, 24);
  const file = join(cacheFolder, `${key}.cubin`);
  if (existsSync(file)) return file;
  const { cubin } = await compiler.compile({ name: "kernels.cu", text, architecture: "sm_90a", options: nvrtcOptions });
  writeFileSync(file, cubin);
  return file;
}

/** `stores`: what each store holds. */
export interface Run {
  readonly name: string;
  readonly sequence: Sequence;
  readonly stores: ReadonlyMap<string, NdArray>;
  /** Byte that fills rows of no group, which points after a ragged_dot read for nothing. Not given: reading them is a finding. */
  readonly rest?: number;
}
/** The contents of the results and of the assigned stores, in that order, and what the emulator found. */
export interface Outcome {
  readonly results: readonly Float64Array[];
  readonly findings: string;
}
/** In one process; in the order of the runs. */
export async function runEmulated(
  runs: readonly Run[],
  modules: readonly string[],
  way: EmulationMode,
): Promise<Outcome[]> {
  const dir = mkdtempSync(join(tmpdir(), "moec-emulated-"));
  const plans = runs.map((run, i) => new PlanText(run, join(dir, String(i)), way.grid));
  const { stdout, status, signal } = spawnSync(await buildRunner(), {
    input: [...modules.map((file) => `module ${file}`), ...plans.flatMap((p) => p.lines)].join("\n"),
    encoding: "utf8",
    env: { ...process.env, MOEC_EMULATOR: way.words },
    maxBuffer: 2 ** 26,
    timeout: 240_000,
  });
  const [before = "", ...said] = stdout.split(/^sequence .*\n/m);
  if (status !== 0 || before !== "")
    throw new Error(`the emulator ends with ${status ?? signal}: ${stdout.slice(-2000)}`);
  const outcomes = plans.map((p, i) => ({
    results: said[i] === "" ? p.results() : [],
    findings: said[i] ?? "did not run",
  }));
  rmSync(dir, { recursive: true });
  return outcomes;
}
/** One run, as driver/sequence.cpp reads it; its files begin with `base`. */
class PlanText {
  readonly lines: string[] = [];
  readonly #numbers = new Map<VirtualBuffer, number>();
  readonly #wanted: readonly VirtualBuffer[];
  readonly #ragged: ReadonlySet<VirtualBuffer>;
  readonly #run: Run;
  readonly #base: string;

  constructor(run: Run, base: string, grid: number) {
    this.#run = run;
    this.#base = base;
    this.#wanted = [...run.sequence.results.map((r) => r.buffer), ...run.sequence.assigns.map((a) => a.from)];
    this.#ragged = new Set(
      run.sequence.launches
        .filter((l) => l.kernel.name.startsWith("ragged_dot"))
        .flatMap((l) => l.args.filter((a) => a.access !== "read").map((a) => a.buffer)),
    );
    this.lines.push(`sequence ${run.name}`);
    for (const launch of run.sequence.launches) this.#launch(launch, grid);
    this.#wanted.forEach((b, i) => this.lines.push(`dump ${this.#number(b)} ${base}-out${i}`));
  }
  results(): Float64Array[] {
    return this.#wanted.map((b, i) => read(readFileSync(`${this.#base}-out${i}`), b));
  }
  #number(b: VirtualBuffer): number {
    const known = this.#numbers.get(b);
    if (known !== undefined) return known;
    const n = this.#numbers.size;
    this.#numbers.set(b, n);
    const before = this.#before(b);
    const file = `${this.#base}-in${n}`;
    if (before) writeFileSync(file, before);
    this.lines.push(`buffer ${b.bytes} ${before ? file : "-"}`);
    return n;
  }
  /** What is in a buffer before anything runs: of a store its elements, so that a read of what pads it is a finding, or gives -1 (codes). */
  #before(b: VirtualBuffer): Buffer | null {
    const { stores, rest } = this.#run;
    const from = b.store === null ? undefined : stores.get(b.store);
    if (from) return bytesFor(b, from.data).subarray(0, (placeOf(b, from.data.length - 1) + 1) * bytesOf[b.dtype]);
    return rest !== undefined && this.#ragged.has(b) ? Buffer.alloc(b.bytes, rest) : null;
  }
  #launch(launch: VirtualLaunch, grid: number): void {
    const [{ args, tasks }, kernel] = [launch, kernelOf(launch)];
    const numbers = args.map((a) => this.#number(a.buffer));
    const places = args.map((a, i) => (a.byteOffset ? `${numbers[i]}+${a.byteOffset}` : numbers[i]));
    args.forEach((a, i) => {
      if (a.base) this.lines.push(`copy ${this.#number(a.base)} ${numbers[i]}`);
    });
    const { threads = 0, shared = 0, each = false } = kernel.launch ?? {};
    const blocks = each ? tasks : Math.min(grid, tasks);
    const maps = (variantOf(kernel)?.maps ?? []).map((box) => {
      const { buffer, byteOffset } = item(args, box.arg);
      const map = tensorMap(buffer, box, byteOffset);
      return ["map", places[box.arg], map.dims.length, ...map.dims, ...map.strides, ...map.box].join(" ");
    });
    if (tasks > 0) this.lines.push(`launch ${[kernel.name, blocks, threads, shared, ...places, ...maps].join(" ")}`);
  }
}
