import { Command } from "commander";
import { type Diagnostic, Problem } from "../../compiler/diagnostic.ts";
import { plain } from "../../compiler/render.ts";
import { checkFile } from "../../runtime/compile.ts";
import { examples, json } from "../flags.ts";
import { draw, explain, note, print, printJson } from "../output.ts";

export const checkCommand = (): Command =>
  new Command("check")
    .description("Report every error of every file.")
    .argument("<files...>", ".moe files")
    .addOption(json())
    .addHelpText("after", examples("moec check examples/gpt-moe.moe", "moec check --json models/*.moe"))
    .action(check);

/** The errors of a file; null if it cannot be read, which is reported so that the other files are still checked. */
function checked(file: string): readonly Diagnostic[] | null {
  try {
    return checkFile(file);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    note(explain(error));
    return null;
  }
}
function check(files: string[], options: { json?: boolean }): void {
  let errors = 0;
  for (const file of files) {
    const diagnostics = checked(file);
    errors += diagnostics?.length ?? 1;
    if (diagnostics === null) continue;
    if (options.json) for (const d of diagnostics) printJson(plain(d));
    else if (diagnostics.length > 0) print(draw(diagnostics, process.stdout));
  }
  if (!options.json) print(`${count(files.length, "file")}, ${errors === 0 ? "no errors" : count(errors, "error")}`);
  if (errors > 0) process.exitCode = 1;
}
const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
