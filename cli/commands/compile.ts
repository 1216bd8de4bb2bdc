import { join } from "node:path";
import { Command } from "commander";
import type { Loaded } from "../../compiler/check/index.ts";
import { oneOf, requireTarget, type Settings } from "../../compiler/options.ts";
import { type CompileReport, type CompileRequest, compileProgram, type Form, forms } from "../../runtime/compile.ts";
import { writeAtomic } from "../../runtime/files.ts";
import { readProgram } from "../../runtime/program.ts";
import { entryRequest } from "../../runtime/trial.ts";
import { addEntry, addShared, type EntryFlags, examples, flag, json, option, type Shared, text } from "../flags.ts";
import { note, print, printJson, showBytes, showCount, table } from "../output.ts";

export const compileCommand = (): Command =>
  addShared(addEntry(new Command("compile")))
    .description("Compile a program; show its bytes and FLOPs, or any of its forms, before anything runs.")
    .argument("<file>", "a .moe file")
    .addOption(flag("--emit <form>", `print a form: ${forms.join(", ")}`, oneOf(...forms)))
    .addOption(
      option({
        flags: "--print-after <pass>",
        doc: "print what a pass made, on stderr; may be given several times",
        parse: (name, before: readonly string[] = []) => [...before, name],
      }),
    )
    .addOption(flag("-o, --output <folder>", "write the form's files there", text))
    .option("--timings", "show the seconds of each stage")
    .addOption(json())
    .addHelpText(
      "after",
      examples(
        "moec compile examples/gpt-moe.moe --batch 16 --length 128",
        "moec compile examples/gpt-moe.moe --emit cpp -o generated",
        "moec compile model.moe --entry Ffn --set N=128 --emit graph",
        "moec compile model.moe --print-after simplify --print-after routed",
      ),
    )
    .action(compile);

interface Options extends Shared, EntryFlags {
  set?: Settings;
  emit?: Form;
  printAfter?: readonly string[];
  output?: string;
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
const requestOf = (program: Loaded, path: string, options: Options): CompileRequest => ({
  ...entryRequest(program, options),
  path,
  target: options.target ?? "host",
  precision: options.precision ?? "f32",
  ...(options.threads === undefined ? {} : { threads: options.threads }),
  ...(options.emit === undefined ? {} : { emit: [options.emit] }),
  ...(options.printAfter === undefined ? {} : { printAfter: options.printAfter }),
});

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
