// Estimates from machine code, without a GPU, the speed of bf16 kernels of a mixture, a dense layer and (sm_80) attention: each is compiled by NVRTC
// for one architecture and analysed by sass-lens, whose figures are modelled. LENS names its sass_report.ts, NVDISASM the disassembler.
// For sm_90a these are the wgmma variants, with a model of their producers; for them whole tasks are modelled too (task-model.ts).
//   LENS=../shared/tools/sass-lens/sass_report.ts node --import tsx bench/sass.ts [sm_80|sm_90a] [T,d,n,E,K]
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env, execPath } from "node:process";
import { loadFile } from "../compiler/check/index.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { item } from "../compiler/item.ts";
import { silentObserver } from "../compiler/pass.ts";
import { type BuildRequest, toGraphs, toPlan } from "../compiler/pipeline.ts";
import type { LaunchShape, Plan, PlanKernel } from "../compiler/plan/plan.ts";
import { backends } from "../compiler/targets.ts";
import { compileKernels } from "../runtime/cuda/code.ts";
import { nvdisasm } from "../runtime/cuda/sass.ts";
import { compileVariants, variantsFor } from "../runtime/cuda/variants.ts";
import { nvrtc } from "../runtime/nvrtc.ts";
import { type PipelineShape, simulateTask, type TaskEstimate } from "./task-model.ts";

const [architecture = "sm_80", shape = "24576,1536,256,128,8"] = process.argv.slice(2);
const lens = env["LENS"];
if (!lens) throw new Problem("LENS does not say where sass-lens is", "LENS=.../sass_report.ts");
Object.assign(env, { NVDISASM: nvdisasm(), LENS_INNER: "1", LENS_OFFSETS: "0" });

interface Lens {
  readonly registers: number;
  readonly mix: Readonly<Record<string, number>>;
  readonly busy: { readonly tensor: number };
  readonly tflops: number;
  readonly bars: readonly string[];
  readonly task?: TaskEstimate | undefined;
}
/** A kernel, or a kernel's wgmma variant; `replaces`: the kernel. */
interface Subject {
  readonly of: PlanKernel;
  readonly launch?: LaunchShape;
  readonly text: string;
  readonly cubin: Buffer;
}
const heads =
  architecture === "sm_90a"
    ? "instructions per wgmma | cycles of a task | busy in it"
    : "HMMA per LDSM.x4 | instructions per HMMA | barriers";
type Choose = (k: PlanKernel) => readonly PlanKernel[];
const products: Choose = (k) =>
  /\b(mma|mma_pipeline|mma_pipeline_of_codes)</.test(k.text) && k.schedule?.shape.endsWith("bf16") ? [k] : [];
/** Attention as two subjects: a block of keys of which the mask hides some, and one that is all visible, so its comparisons are left out. */
const attentions: Choose = (k) => {
  if (!k.name.startsWith("attention")) return [];
  const shape = `${k.name.replace(/_[0-9a-f]+$/, "")} 32768 x 1024 x 128, a block seen`;
  const whole = k.text.replace("if (or_(", "if (false && or_(");
  return [
    { ...k, schedule: { shape: `${shape} in part`, choice: {} } },
    { ...k, schedule: { shape: `${shape} whole`, choice: {} }, text: whole },
  ];
};
/** Prints a table of a program's chosen kernels. */
async function report(
  file: string,
  request: Omit<BuildRequest, "precision">,
  title: string,
  choose: Choose = products,
): Promise<void> {
  const path = new URL(file, import.meta.url).pathname;
  const plan = toPlan(
    toGraphs(loadFile(path), { ...request, precision: "bf16" }, silentObserver()),
    silentObserver(),
    undefined,
    undefined,
    backends.cuda,
  );
  console.log(`${title}\n| kernel | registers | ${heads} | tensor busy | TFLOP/s | misses |`);
  const subjects = architecture === "sm_90a" ? await variantsOf(plan) : await kernelsOf(plan, choose);
  for (const s of subjects) console.log(row(s, await read(s)));
}
const tools = async () => ({ architecture, compiler: await nvrtc(), cache: null, jobs: 2 });
async function kernelsOf(plan: Plan, choose: Choose): Promise<Subject[]> {
  const kernels = plan.kernels.flatMap(choose);
  const code = await compileKernels({ ...plan, kernels }, await tools());
  return kernels.map((k, i) => ({ ...k, of: k, cubin: code[i]?.cubin ?? Buffer.alloc(0) }));
}
async function variantsOf(plan: Plan): Promise<Subject[]> {
  const kernels = variantsFor(plan, architecture);
  const code = await compileVariants({ ...plan, kernels }, await tools());
  return kernels.map((k, i) => ({
    ...k,
    of: item(plan.kernels, k.replaces),
    cubin: code[i]?.cubin ?? Buffer.alloc(0),
  }));
}
async function read(subject: Subject): Promise<Lens> {
  const folder = mkdtempSync(join(tmpdir(), "moec-lens-"));
  try {
    const file = join(folder, "kernel.cubin");
    writeFileSync(file, subject.cubin);
    const size = sizes(subject.of);
    const pipeline = pipelineOf(subject);
    const args = ["--dyn", String(subject.launch?.shared ?? 0), "--mnk", size.join(), "--json"];
    const device = architecture === "sm_80" ? ["--device", "a100"] : [];
    const out = execFileSync(
      execPath,
      ["--import", "tsx", lens ?? "", file, ...args, ...(pipeline?.args ?? []), ...device],
      {
        encoding: "utf8",
        env,
      },
    );
    const [found] = JSON.parse(out.trimEnd().split("\n").at(-1) ?? "") as [Lens];
    return {
      ...found,
      task: pipeline && (await simulateTask(lens ?? "", file, Math.ceil(item(size, 2) / 64), pipeline.fed)),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
/** The tile, stages and warps of a warp-specialised kernel, parsed from its text; undefined for other kernels. */
function pipelineOf({
  text,
  launch,
}: Subject): { readonly fed: PipelineShape; readonly args: readonly string[] } | undefined {
  const [rounds = 0, groups = 0, parts = 1] =
    /MbarrierPipeline<([\d, ]+)>/.exec(text)?.[1]?.split(",").map(Number) ?? [];
  if (rounds === 0) return undefined;
  const stages = rounds * parts;
  const columns = [...text.matchAll(/ WgmmaAcc<128, (\d+)/g)].reduce((sum, found) => sum + Number(found[1]), 0);
  const fed = { warps: groups * 4, blocks: 3 - groups, tmaBytes: ((launch?.shared ?? 0) - 1024) / stages, stages };
  const options = { tile: `128,${columns}`, tma: fed.tmaBytes, stages, "loop-warps": fed.warps };
  return { fed, args: Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]) };
}
/** Rows, columns and depth of a kernel's product; a weight gradient counts the rows of all groups, which divide the depth among them. */
function sizes({ schedule }: PlanKernel): readonly number[] {
  const [m = 1, n = 1, k = 1] =
    /(\d+) x (\d+) x (\d+)/
      .exec(schedule?.shape ?? "")
      ?.slice(1)
      .map(Number) ?? [];
  const many = (of: string): number => Number(new RegExp(`(\\d+) ${of}`).exec(schedule?.shape ?? "")?.[1] ?? 1);
  const groups = many("groups");
  return schedule?.shape.startsWith("ragged_outer") ? [m * groups, n, k / groups] : [m, n * many("operands"), k];
}
function row({ of }: Subject, { registers, mix, busy, tflops, bars, task }: Lens): string {
  const n = (name: string): number => mix[name] ?? 0;
  const each = (n("instructions") / (n("HMMA") || n("HGMMA"))).toFixed(2);
  const work = n("HMMA") > 0 ? [n("HMMA per LDSM.4").toFixed(1), each, String(n("barriers"))] : [each];
  if (task) work.push(task.cycles.toFixed(0), `${Math.round(100 * task.busy.tensor)}%`);
  const cells = [
    of.schedule?.shape ?? "",
    String(registers),
    ...work,
    `${Math.round(100 * busy.tensor)}%`,
    tflops.toFixed(0),
    bars.join("; ") || "none",
  ];
  return `| ${cells.join(" | ")} |`;
}
const [T = 1, D = 1, H = 1, E = 1, K = 1] = shape.split(",").map(Number);
const forward = { method: "forward", name: "forward", sizes: {}, gradients: true };
await report(
  "../examples/one-layer.moe",
  { declaration: "Layer", sizes: { N: T, D, H, E, K }, entries: [forward] },
  `mixture (${shape})`,
);
const product = { method: "dense", name: "dense", sizes: {}, gradients: true };
await report(
  "layers.moe",
  { declaration: "dense", sizes: { M: 8192, D: 8192, N: 8192 }, entries: [product] },
  "dense 8192^3, its gradients",
);
const sequences = {
  method: "attention",
  name: "attention",
  sizes: { B: 2, Heads: 16, T: 1024, A: 64 },
  gradients: true,
};
if (architecture !== "sm_90a")
  await report(
    "layers.moe",
    { declaration: "attention", sizes: {}, entries: [sequences] },
    "attention (2, 16, 1024, 64), causal, its gradients",
    attentions,
  );
