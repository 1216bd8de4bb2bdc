import { cpus, totalmem } from "node:os";
import { Command } from "commander";
import { Problem } from "../../compiler/diagnostic.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { tokenFolder } from "../../runtime/cache/tokens.ts";
import { cudaDriver } from "../../runtime/cuda/driver.ts";
import { nvdisasm } from "../../runtime/cuda/sass.ts";
import { requireWorking } from "../../runtime/host/compile.ts";
import { toolchain } from "../../runtime/host/toolchain.ts";
import { cores, freeMemory } from "../../runtime/machine.ts";
import { native } from "../../runtime/native.ts";
import { nvrtc } from "../../runtime/nvrtc.ts";
import { mpi } from "../../runtime/workers/mpi.ts";
import { nccl } from "../../runtime/workers/nccl.ts";
import { examples, json } from "../flags.ts";
import { colorsOf, print, printJson, showBytes, showCache } from "../output.ts";

/** One thing that moec needs on the machine. `brings`: what it is for. `remedy`: how to get it; null if it was found. */
export interface Finding {
  readonly part: string;
  readonly found: string;
  readonly brings: string;
  readonly remedy: string | null;
}

export const doctorCommand = (): Command =>
  new Command("doctor")
    .description("Show what moec finds on this machine, and what each missing part is needed for.")
    .addOption(json())
    .addHelpText("after", examples("moec doctor", "CXX=clang++ moec doctor"))
    .action(doctor);

async function doctor(options: { json?: boolean }): Promise<void> {
  const findings = await Promise.all([
    compiler(),
    addon(),
    processor(),
    memory(),
    cache(),
    gpus(),
    codeForGpus(),
    collectives(),
    workers(),
    machineCode(),
  ]);
  if (options.json) {
    for (const { part, found, brings, remedy } of findings)
      printJson({ part, found, help: remedy === null ? null : `${brings}: ${remedy}` });
  } else print(shown(findings));
}
/** The findings as text. What the same lack hides is told its remedy once. */
export const shown = (findings: readonly Finding[]): string =>
  findings
    .map((finding, i) => {
      const earlier = findings.slice(0, i).find(({ remedy }) => remedy !== null && remedy === finding.remedy);
      return shownFinding(finding, earlier === undefined ? finding.remedy : `as for the ${earlier.part}`);
    })
    .join("\n");
function shownFinding({ part, found, brings }: Finding, remedy: string | null): string {
  const colors = colorsOf(process.stdout);
  const mark = remedy === null ? colors.green("ok     ") : colors.yellow("missing");
  const lines = [`${mark}  ${part.padEnd(9)}  ${found}`, ...(remedy === null ? [] : [`${brings}: ${remedy}`])];
  return lines.join("\n").replaceAll("\n", "\n           ");
}

/** Looks for one thing. `look` describes what it finds or throws a Problem. */
async function finding(part: string, brings: string, look: () => string | Promise<string>): Promise<Finding> {
  try {
    return { part, found: await look(), brings, remedy: null };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return { part, found: error.message, brings, remedy: error.help };
  }
}
const compiler = (): Promise<Finding> =>
  finding("compiler", "It compiles kernels for `--target host`", async () => {
    const tools = await toolchain();
    await requireWorking(tools);
    const { command, version, flags, features } = tools;
    const sets = features.length > 0 ? `; ${features.join(" ")}` : "";
    return `${command.join(" ")} ${version}, takes ${flags.filter((flag) => flag.startsWith("-m")).join(" ") || "no -march=native"}${sets}`;
  });
const addon = (): Promise<Finding> =>
  finding("addon", "It runs compiled programs", () => (native(), "built and loaded"));
const processor = (): Promise<Finding> =>
  finding("cores", "", () => {
    const model = cpus()[0]?.model.trim() ?? "";
    return `${cores()} usable of ${cpus().length}: ${["", "unknown"].includes(model) ? process.arch : model}`;
  });
const memory = (): Promise<Finding> =>
  finding("memory", "", () => `${showBytes(freeMemory())} free of ${showBytes(totalmem())}`);
const gpus = (): Promise<Finding> =>
  finding("GPUs", "A driver runs programs with `--target cuda`", () => {
    const { path, version, devices } = cudaDriver();
    const shown = devices.map(
      (d, i) =>
        `\n${i}: ${d.name}, sm_${d.major}${d.minor}, ${d.multiprocessors} multiprocessors, ${showBytes(d.bytes)}`,
    );
    return `driver ${path} of CUDA ${version}${shown.join("")}`;
  });
const codeForGpus = (): Promise<Finding> =>
  finding("NVRTC", "It compiles kernels for `--target cuda`", async () => {
    const { path, version, architectures } = await nvrtc(process.env, driverVersion());
    return `${path} ${version}, for sm_${Math.min(...architectures)} to sm_${Math.max(...architectures)}`;
  });
/** The driver's CUDA version; undefined without a driver. */
function driverVersion(): string | undefined {
  try {
    return cudaDriver().version;
  } catch {
    return undefined;
  }
}
const collectives = (): Promise<Finding> =>
  finding("NCCL", "It carries data between GPUs (`mpirun -n 4 moec train --target cuda`); one needs none", () => {
    const { path, version } = nccl();
    return `${path} ${version}`;
  });
const workers = (): Promise<Finding> =>
  finding("MPI", "It carries data between workers (`mpirun -n 4 moec train`); one needs none", () => {
    const { path, version } = mpi();
    return `${path} ${version}`;
  });
const machineCode = (): Promise<Finding> =>
  finding("nvdisasm", "It prints machine code for `moec compile --emit sass`", () => nvdisasm());
const cache = (): Promise<Finding> =>
  finding("cache", "It keeps compiled kernels and encoded texts", () =>
    [new KernelCache(), tokenFolder()].map((part) => showCache(part.stats())).join("; "),
  );
