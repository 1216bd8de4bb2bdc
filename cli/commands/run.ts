import { Command } from "commander";
import { integerIn, requireTarget } from "../../compiler/options.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { type RunOptions, runEntry } from "../../runtime/run.ts";
import { writeUserFile } from "../../runtime/storage/files.ts";
import { writeSafetensors } from "../../runtime/storage/safetensors.ts";
import { type CopiedArray, tellCopies } from "../../runtime/storage/upcycle.ts";
import { numbers, showShape, toNested } from "../../runtime/tensor.ts";
import type { Workers } from "../../runtime/workers/workers.ts";
import { addShared, addSharing, addWeights, examples, flag, inputPath, json, out, text } from "../flags.ts";
import { withWorkers } from "../multi-process.ts";
import { compileProgress, note, print, printJson, warn } from "../output.ts";

export const runCommand = (): Command =>
  addSharing(
    addWeights(addShared(new Command("run")))
      .description(
        "Run an entry once on given tensors. Under mpirun, several processes share its experts and the rows of its inputs.",
      )
      .argument("<file>", "a .moe file")
      .addOption(
        flag(
          "--entry <entry>",
          "Declaration, Declaration.method, a function, or a method of the file's only model (default: its `forward`; without a model, the only declaration)",
          text,
        ),
      )
      .addOption(
        flag(
          "--input <file>",
          "inputs by name, and cotangents as cotangent.I: safetensors or JSON; - is JSON on stdin",
          text,
        ),
      )
      .addOption(
        flag(
          "--params <file>",
          "parameters and states by name (an array of layers one by one or stacked): safetensors, or a folder that training or transformers wrote",
          text,
        ),
      )
      .option(
        "--upcycle",
        "arrays of layers that --params lacks, such as experts, begin as copies of the nearest layer around them that it has",
      )
      .option(
        "--grad",
        "add gradients of the losses and of the results times their cotangents (default cotangents: 0 if there are losses, else 1)",
      )
      .addOption(
        out(
          "file",
          "write the results to safetensors, or to JSON if the name ends in .json (default: print a summary)",
        ),
      )
      .addOption(
        flag("--seed <n>", "seed of random numbers and of missing parameters; default: 0", integerIn(-(2 ** 31))),
      ),
  )
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "moec run model.moe --entry Ffn --input x.safetensors --params w.safetensors -o y.safetensors",
        "moec run model.moe --entry Ffn --set N=4 --input x.json --grad --target reference",
      ),
    )
    .action(run);

interface Options extends Omit<RunOptions, "program" | "gradients"> {
  grad?: boolean;
  out?: string;
  json?: boolean;
}
const run = (file: string, options: Options): Promise<void> =>
  withWorkers(options.threads, (world) => runOnce(file, options, world));
async function runOnce(file: string, { out: to, grad, json, ...options }: Options, world: Workers): Promise<void> {
  requireTarget(options);
  const input = options.input === undefined ? undefined : inputPath(options.input);
  const tells = world.rank > 0 ? {} : { onCompile: compileProgress(), warn, onCopies };
  const results = await runEntry({ program: file, gradients: grad, ...options, input, ...tells }, world);
  if (world.rank > 0) return;
  if (to !== undefined) write(to, results);
  if (json) printJson(nested(results));
  else if (to === undefined) for (const [name, t] of results) print(summary(name, t));
  else note(`${pluralize(results.size, "tensor")} written to ${to}`);
}
const onCopies = (copies: readonly CopiedArray[]): void => {
  for (const copied of copies) note(tellCopies(copied));
};
const nested = (results: ReadonlyMap<string, Tensor>): object =>
  Object.fromEntries([...results].map(([name, t]) => [name, toNested(t)]));
function write(path: string, results: ReadonlyMap<string, Tensor>): void {
  if (path.endsWith(".json")) writeUserFile(path, `${JSON.stringify(nested(results))}\n`);
  else writeSafetensors(path, results);
}
function summary(name: string, t: Tensor): string {
  const first = numbers({ ...t, data: t.data.subarray(0, 6) }).map((x) => Number(x.toPrecision(5)));
  return `${name}: ${t.dtype}${showShape(t.shape)} ${first.join(" ")}${t.data.length > 6 ? " ..." : ""}`;
}
