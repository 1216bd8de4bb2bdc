import { basename } from "node:path";
import { Command } from "commander";
import { target, tf32 } from "../../compiler/options.ts";
import { kernelTable } from "../../runtime/measure/kernel-times.ts";
import { type Profile, profile } from "../../runtime/measure/profile.ts";
import { writeUserFile } from "../../runtime/storage/files.ts";
import {
  addMeasureFlags,
  addWeights,
  examples,
  type MeasureFlags,
  option,
  out,
  type SharedFlags,
  type WeightsFlag,
} from "../flags.ts";
import { compileProgress, note, print, printJson } from "../output.ts";

export const profileCommand = (): Command =>
  addWeights(addMeasureFlags(new Command("profile"), "runs in the trace, after one that is not"))
    .description(
      "Run an entry on random inputs; show each kernel's time and rate, and write a trace of passes and kernels.",
    )
    .addOption(out("file", "the trace file, for Perfetto or chrome://tracing; default: NAME.trace.json"))
    .addOption(option(target))
    .addOption(option(tf32))
    .addHelpText(
      "after",
      examples(
        "moec profile examples/gpt-moe.moe --batch 16 --length 128",
        "moec profile model.moe --entry Ffn --set N=512 --grad --threads 1",
        "moec profile model.moe --target cuda --precision bf16",
      ),
    )
    .action(run);

interface Options extends MeasureFlags, SharedFlags, WeightsFlag {
  readonly out?: string;
}
async function run(program: string, { out: to, json, grad: gradients, ...options }: Options): Promise<void> {
  const file = to ?? `${basename(program, ".moe")}.trace.json`;
  const measured = await profile({ program, gradients, ...options, onCompile: compileProgress() });
  writeUserFile(file, `${JSON.stringify(measured.trace)}\n`);
  if (json) return asJson(measured, file);
  const { entry, seconds, kernels, limits } = measured;
  print(`${entry}: ${seconds.map((s) => `${(s * 1e3).toFixed(2)} ms`).join(", ")}; the quickest:`);
  print(kernelTable(kernels, limits, "lines"));
  note(`wrote ${file}: open it at ui.perfetto.dev or chrome://tracing`);
}
/** One line for the measurement, then one for each launch of the fastest run. */
function asJson({ entry, seconds, limits, kernels }: Profile, trace: string): void {
  printJson({ entry, seconds, ...limits, trace });
  for (const { busySeconds, ...kernel } of kernels) printJson({ ...kernel, at_work: busySeconds });
}
