import { join } from "node:path";
import { Command } from "commander";
import type { Loaded } from "../../compiler/check/index.ts";
import { oneOf, requireTarget, whole } from "../../compiler/options.ts";
import { type CompileReport, type CompileRequest, compileProgram, type Form, forms } from "../../runtime/compile.ts";
import { writeAtomic } from "../../runtime/files.ts";
import { findEntry, hasMethod, readProgram } from "../../runtime/program.ts";
import { trainingRequest } from "../../runtime/train.ts";
import { addShared, examples, flag, json, type Shared, text } from "../flags.ts";
import { note, print, printJson, showBytes, showCount, table } from "../output.ts";

export const compileCommand = (): Command =>
  addShared(new Command("compile"))
    .description("Compile a program; show its bytes and FLOPs, or any of its forms, before anything runs.")
    .argument("<file>", "a .moe file")
    .addOption(
      flag(
        "--entry <entry>",
        "Declaration, Declaration.method or a function (default: `train` of the file's only model)",
        text,
      ),
    )
    .addOption(flag("--emit <form>", `print a form: ${forms.join(", ")}`, oneOf(...forms)))
    .addOption(flag("-o, --output <folder>", "write the form's files there", text))
    .addOption(flag("--batch <n>", "rows of a training batch; default: 16", whole(1)))
    .addOption(flag("--length <n>", "tokens of a row; default: 128", whole(1)))
    .option("--timings", "show the seconds of each stage")
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "moec compile examples/gpt-moe.moe --batch 16 --length 128",
        "moec compile examples/gpt-moe.moe --emit cpp -o generated",
        "moec compile model.moe --entry Ffn --set N=128 --emit graph",
      ),
    )
    .action(compile);

interface Options extends Shared {
  entry?: string;
  emit?: Form;
  output?: string;
  batch?: number;
  length?: number;
  timings?: boolean;
  json?: boolean;
}
async function compile(path: string, options: Options): Promise<void> {
  requireTarget(options);
  const { executable, report } = await compileProgram(requestOf(readProgram(path), path, options));
  executable.close();
  const { forms: texts, ...rest } = report;
  const files = options.emit ? (texts?.[options.emit] ?? {}) : {};
  if (options.output !== undefined) write(files, options.output);
  else if (!options.json) for (const text of Object.values(files)) print(text.trimEnd());
  if (options.json) printJson(options.emit && options.output === undefined ? { ...rest, [options.emit]: files } : rest);
  else if (!options.emit || options.timings) (options.emit ? note : print)(summary(report, options.timings ?? false));
}
function requestOf(program: Loaded, path: string, options: Options): CompileRequest {
  const shared = {
    path,
    target: options.target ?? "host",
    precision: options.precision ?? "f32",
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    ...(options.emit === undefined ? {} : { emit: [options.emit] }),
  };
  if (options.entry === undefined && hasMethod(program, undefined, "train")) {
    const sizes = { ...options.set, B: options.batch ?? 16, T: options.length ?? 128 };
    return { ...shared, ...trainingRequest(findEntry(program, undefined, "train"), sizes, ["train"]) };
  }
  const { declaration, method } = findEntry(program, options.entry);
  return { ...shared, declaration, sizes: options.set ?? {}, entries: [{ method, name: method, sizes: {} }] };
}

function write(files: Readonly<Record<string, string>>, folder: string): void {
  for (const [name, content] of Object.entries(files)) {
    writeAtomic(join(folder, name), content);
    note(`wrote ${join(folder, name)}`);
  }
}
function summary(
  { parameters, gradients, optimizer, activations, flops, kernels, timings }: CompileReport,
  timed: boolean,
): string {
  const rows = [
    ["parameters", showBytes(parameters)],
    ["gradients", showBytes(gradients)],
    ["optimizer", showBytes(optimizer)],
    ["activations", showBytes(activations)],
    ["FLOPs", showCount(flops)],
    ["kernels", String(kernels.length)],
    ...(timed ? Object.entries(timings).map(([stage, seconds]) => [stage, `${seconds.toFixed(3)} s`]) : []),
  ];
  return table(rows);
}
