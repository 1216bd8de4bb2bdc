import { Command } from "commander";
import { type Diagnostic, Problem } from "../../compiler/diagnostic.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { plain } from "../../compiler/render.ts";
import { checkFile } from "../../runtime/compile.ts";
import { examples, json } from "../flags.ts";
import { formatError, note, print, printJson, renderDiagnostics } from "../output.ts";

export const checkCommand = (): Command =>
  new Command("check")
    .description("Report every error of every file.")
    .argument("<files...>", ".moe files")
    .addOption(json())
    .addHelpText("after", examples("moec check examples/gpt-moe.moe", "moec check --json models/*.moe"))
    .action(check);

/** The errors of a file; what keeps it from being read is returned, so that the other files are still checked. */
function checked(file: string): readonly Diagnostic[] | Problem {
  try {
    return checkFile(file);
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
}
function check(files: string[], options: { json?: boolean }): void {
  let errors = 0;
  for (const file of files) {
    const found = checked(file);
    errors += found instanceof Problem ? 1 : found.length;
    if (options.json) for (const record of records(file, found)) printJson(record);
    else if (found instanceof Problem) note(formatError(found));
    else if (found.length > 0) print(renderDiagnostics(found, process.stdout));
  }
  if (!options.json)
    print(`${pluralize(files.length, "file")}, ${errors === 0 ? "no errors" : pluralize(errors, "error")}`);
  if (errors > 0) process.exitCode = 1;
}
const records = (file: string, found: ReturnType<typeof checked>): object[] =>
  found instanceof Problem ? [{ message: found.message, file, help: found.help }] : found.map(plain);
