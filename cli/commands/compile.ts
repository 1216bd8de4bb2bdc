import { join } from "node:path";
import { Command } from "commander";
import type { Loaded } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import {
  type CompileTarget,
  compileTarget,
  integerIn,
  maxWorkers,
  oneOf,
  recompute,
  requireTarget,
  type Settings,
} from "../../compiler/options.ts";
import { type CompileRequest, compileProgram, type TrainingSharing } from "../../runtime/compile.ts";
import { type CudaForm, type CudaKernel, type CudaReport, compileCuda } from "../../runtime/cuda/compile.ts";
import { type Form, forms, printedProgram } from "../../runtime/forms.ts";
import { entryRequest } from "../../runtime/measure/measured-entry.ts";
import { showLines } from "../../runtime/measure/show-lines.ts";
import { readProgram } from "../../runtime/program.ts";
import { writeAtomic } from "../../runtime/storage/files.ts";
import { requireDivisibleBatch, requireSharing } from "../../runtime/workers/train-distributed.ts";
import {
  addEntry,
  addShared,
  addTrainingSharing,
  addWeights,
  type EntryFlags,
  examples,
  flag,
  json,
  option,
  out,
  type SharedFlags,
  type WeightsFlag,
} from "../flags.ts";
import { note, print, printJson, showBytes, showCount, table } from "../output.ts";

export const compileCommand = (): Command =>
  addTrainingSharing(
    addWeights(addShared(addEntry(new Command("compile")), option(compileTarget)))
      .description("Compile a program without running it; show its memory and FLOPs, or one of its forms.")
      .argument("<file>", "a .moe file")
      .addOption(
        flag(
          "--emit <form>",
          `print a form: ${forms.join(", ")}; for cuda targets ${cudaForms.join(", ")} instead of cpp`,
          oneOf(...forms, ...cudaForms),
        ),
      )
      .addOption(
        option({
          flags: "--print-after <pass>",
          doc: "print the result of a pass to stderr; repeatable",
          parse: (name, before: readonly string[] = []) => [...before, name],
        }),
      )
      .addOption(out("folder", "write the form's files there"))
      .addOption(
        flag(
          "--workers <n>",
          "compile what each of n processes runs (mpirun -n N moec train, or generate)",
          integerIn(1, maxWorkers),
        ),
      )
      .addOption(option(recompute)),
  )
    .option("--timings", "show the seconds that each stage takes")
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "moec compile examples/gpt-moe.moe --batch 16 --length 128",
        "moec compile examples/gpt-moe.moe --emit cpp -o generated",
        "moec compile model.moe --entry Ffn --set N=128 --emit graph",
        "moec compile examples/gpt-moe.moe --workers 4 --expert-parallel 2 --emit plan",
        "moec compile model.moe --print-after simplify --print-after routed",
        "moec compile examples/gpt-moe.moe --target cuda:sm_90a --emit cu -o generated",
      ),
    )
    .action(compile);

type AnyForm = Form | CudaForm;
const cudaForms = ["cu", "ptx", "cubin", "sass"] as const;
interface Options extends Omit<SharedFlags, "target">, EntryFlags, TrainingSharing, WeightsFlag {
  target?: CompileTarget;
  set?: Settings;
  emit?: AnyForm;
  printAfter?: readonly string[];
  workers?: number;
  recompute?: boolean;
  out?: string;
  timings?: boolean;
  json?: boolean;
}
async function compile(path: string, options: Options): Promise<void> {
  requireTarget(options);
  requireForm(options);
  const program = readProgram(path);
  const { files, ...report } = await compiled(program, path, options);
  if (options.out !== undefined) write(files, options.out);
  else if (!options.json) for (const text of Object.values(files)) print(text.toString().trimEnd());
  if (options.json)
    printJson(options.emit && options.out === undefined ? { ...report, [options.emit]: files } : report);
  else if (!options.emit || options.timings) (options.emit ? note : print)(summary(report, options.timings ?? false));
}
type ReportWithoutFiles = Omit<CudaReport, "files">;
async function compiled(program: Loaded, path: string, options: Options): Promise<CudaReport> {
  const { target = "host", emit: form, workers = 1 } = options;
  const emit = form ?? null;
  const request = requestOf(program, path, options);
  if (target !== "host" && target !== "reference")
    return compileCuda({ ...request, architecture: target.slice("cuda:".length), emit: emit === "cpp" ? null : emit });
  if (emit !== null && !isCuda(emit)) return printedProgram({ ...request, target }, emit);
  // A worker's program runs only together with the other workers', so it is printed and not loaded.
  if (workers > 1) return { ...(await printedProgram({ ...request, target }, "plan")), files: {} };
  const { executable, report } = await compileProgram({ ...request, target });
  executable.close();
  return { ...report, files: {} };
}
function requestOf(program: Loaded, path: string, options: Options): Omit<CompileRequest, "target"> {
  const { workers = 1, printAfter, precision = "f32", tf32, threads, recompute, weights } = options;
  const entry = entryRequest(program, options);
  const [batch] = Object.values(entry.entries[0]?.sizes ?? {});
  const { tensorParallel, contextParallel, expertParallel, room, shardOptimizer, shardParameters, shadow } = options;
  const sharing = { tensorParallel, contextParallel, expertParallel, room, shardOptimizer, shardParameters, shadow };
  requireSharing(sharing, { size: workers });
  if (typeof batch === "number") requireDivisibleBatch(batch, { size: workers }, sharing);
  const several = workers > 1 ? { workers, ...sharing } : {};
  return {
    ...entry,
    path,
    precision,
    tf32,
    threads,
    recompute,
    weights,
    ...several,
    ...(printAfter === undefined ? {} : { printAfter }),
  };
}
const isCuda = (form: AnyForm | null): form is (typeof cudaForms)[number] => cudaForms.some((c) => c === form);
/** Throws a Problem if the target cannot emit the form asked for. */
function requireForm({ emit, target = "host", out: to }: Options): void {
  const cuda = target.startsWith("cuda:");
  if (isCuda(emit ?? null) && !cuda)
    throw new Problem(`the ${target} target has no ${emit ?? ""}`, "add --target cuda:sm_90a, or another architecture");
  if (cuda && emit === "cpp") throw new Problem(`the ${target} target has no cpp`, "use --emit cu");
  if (target === "reference" && emit && emit !== "ast" && emit !== "graph")
    throw new Problem(`the reference target has no ${emit}`, "leave --target out: it interprets the graph");
  if (emit === undefined && to !== undefined)
    throw new Problem("-o takes a form's files, and no form is asked for", "add --emit cpp, or another form");
  if (emit === "cubin" && to === undefined) throw new Problem("a cubin is no text", "name a folder for it: -o FOLDER");
}

function write(files: CudaReport["files"], folder: string): void {
  for (const [name, content] of Object.entries(files)) {
    writeAtomic(join(folder, name), content);
    note(`wrote ${join(folder, name)}`);
  }
}
function summary(
  { parameters, prepared, gradients, optimizer, activations, flops, sent, kernels, timings }: ReportWithoutFiles,
  timed: boolean,
): string {
  const rows = [
    ["parameters", showBytes(parameters)],
    ...(prepared > 0 ? [["prepared", showBytes(prepared)]] : []),
    ["gradients", showBytes(gradients)],
    ["optimizer", showBytes(optimizer)],
    ["activations", showBytes(activations)],
    ["FLOPs", showCount(flops)],
    ...Object.entries(sent).map(([collective, bytes]) => [`sent: ${collective}`, showBytes(bytes)]),
    ["kernels", String(kernels.length)],
    ...(timed ? Object.entries(timings).map(([stage, seconds]) => [stage, `${seconds.toFixed(3)} s`]) : []),
  ];
  const used = kernels.flatMap((k) => ("registers" in k ? [k] : []));
  return used.length === 0 ? table(rows) : `${table(rows)}\n\n${useOf(used)}`;
}
/** A table of the registers, shared memory and so on that each kernel uses. */
const useOf = (kernels: readonly CudaKernel[]): string =>
  table([
    ["kernel", "threads", "registers", "shared", "spills", "occupancy", "lines"],
    ...kernels.map(({ name, threads, registers, shared, spills, occupancy, lines }) => [
      name,
      ...[threads, registers, shared, spills].map(String),
      occupancy === null ? "?" : `${Math.round(100 * occupancy)} %`,
      showLines(lines),
    ]),
  ]);
