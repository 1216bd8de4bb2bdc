// What machine code says of the bf16 matmuls of a mixture and of a dense layer, without a GPU: each is compiled by NVRTC for one architecture
// and read by sass-lens, whose figures are modelled. LENS names its sass_report.ts, NVDISASM the disassembler.
//   LENS=../shared/tools/sass-lens/sass_report.ts node --import tsx bench/sass.ts [sm_80] [T,d,n,E,K]
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env, execPath } from "node:process";
import { loadFile } from "../compiler/check/index.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { silent } from "../compiler/pass.ts";
import { type BuildRequest, toGraphs, toPlan } from "../compiler/pipeline.ts";
import type { PlanKernel } from "../compiler/plan/plan.ts";
import { backends } from "../compiler/targets.ts";
import { compileKernels } from "../runtime/cuda/code.ts";
import { nvdisasm } from "../runtime/cuda/sass.ts";
import { nvrtc } from "../runtime/nvrtc.ts";

const [architecture = "sm_80", shape = "24576,1536,256,128,8"] = process.argv.slice(2);
const lens = env["LENS"];
if (!lens) throw new Problem("LENS does not say where sass-lens is", "LENS=.../sass_report.ts");

interface Lens {
  readonly registers: number;
  readonly mix: Readonly<Record<string, number>>;
  readonly busy: { readonly tensor: number };
  readonly tflops: number;
  readonly bars: readonly string[];
}
/** The kernels of a program that multiply bf16, with what they use. */
async function report(file: string, request: Omit<BuildRequest, "precision">, title: string): Promise<void> {
  const path = new URL(file, import.meta.url).pathname;
  const plan = toPlan(
    toGraphs(loadFile(path), { ...request, precision: "bf16" }, silent()),
    silent(),
    undefined,
    undefined,
    backends.cuda,
  );
  const kernels = plan.kernels.filter((k) => /\b(mma|contract)</.test(k.text) && k.schedule?.shape.endsWith("bf16"));
  const code = await compileKernels({ ...plan, kernels }, architecture, await nvrtc(), null, 2);
  console.log(
    `${title}\n| kernel | registers | HMMA per LDSM.x4 | instructions per HMMA | barriers | tensor busy | TFLOP/s | misses |`,
  );
  kernels.forEach((k, i) => console.log(row(k, read(k, code[i]?.cubin ?? Buffer.alloc(0)))));
}
function read(kernel: PlanKernel, cubin: Buffer): Lens {
  const folder = mkdtempSync(join(tmpdir(), "moec-lens-"));
  try {
    const file = join(folder, "kernel.cubin");
    writeFileSync(file, cubin);
    const args = ["--dyn", String(kernel.launch?.shared ?? 0), "--mnk", sizes(kernel).join(), "--json"];
    const device = architecture === "sm_80" ? ["--device", "a100"] : [];
    const out = execFileSync(execPath, ["--import", "tsx", lens ?? "", file, ...args, ...device], {
      encoding: "utf8",
      env: { ...env, NVDISASM: nvdisasm(), LENS_INNER: "1", LENS_OFFSETS: "0" },
    });
    return (JSON.parse(out.trimEnd().split("\n").at(-1) ?? "") as Lens[])[0] as Lens;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
/** Rows, columns and depth; a weight gradient's rows are what it sums over, cut into its groups. */
function sizes({ schedule }: PlanKernel): readonly number[] {
  const [m = 1, n = 1, k = 1] =
    /(\d+) x (\d+) x (\d+)/
      .exec(schedule?.shape ?? "")
      ?.slice(1)
      .map(Number) ?? [];
  const operands = Number(/(\d+) operands/.exec(schedule?.shape ?? "")?.[1] ?? 1);
  return schedule?.shape.startsWith("ragged_outer") ? [k, n, m] : [m, n * operands, k];
}
function row({ schedule }: PlanKernel, { registers, mix, busy, tflops, bars }: Lens): string {
  const cells = [
    schedule?.shape ?? "",
    String(registers),
    (mix["HMMA per LDSM.4"] ?? 0).toFixed(1),
    ((mix["instructions"] ?? 0) / (mix["HMMA"] ?? 1)).toFixed(2),
    String(mix["barriers"] ?? 0),
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
