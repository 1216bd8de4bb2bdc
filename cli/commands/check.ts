import { Command } from "commander";
import { type Diagnostic, Problem } from "../../compiler/diagnostic.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import { checkFile, checkText } from "../../runtime/check.ts";
import { examples, json as jsonOption } from "../flags.ts";
import { print, renderDiagnostics, reportError } from "../output.ts";
import { readStdin } from "../stdin.ts";

export const checkCommand = (): Command =>
  new Command("check")
    .description("Report every error of every file.")
    .argument("<files...>", ".moe files; - is stdin")
    .addOption(jsonOption())
    .addHelpText(
      "after",
      examples("moec check examples/gpt-moe.moe", "moec check --json models/*.moe", "moec check - < model.moe"),
    )
    .action(check);

/** The errors of a file; what keeps it from being read is returned, so that the other files are still checked. */
async function checked(file: string): Promise<readonly Diagnostic[] | Problem> {
  try {
    return file === "-" ? checkText("stdin", new TextDecoder().decode(await readStdin())) : checkFile(file);
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
}
const keyOf = ({ code, message, labels: [{ span }] }: Diagnostic): string =>
  `${span.source.name}:${span.start} ${code} ${message}`;
/** An error in a file that several import is reported once. */
function unknown(found: readonly Diagnostic[] | Problem, known: Set<string>): readonly Diagnostic[] | Problem {
  if (found instanceof Problem) return found;
  const fresh = found.filter((d) => !known.has(keyOf(d)));
  for (const d of fresh) known.add(keyOf(d));
  return fresh;
}
async function check(files: string[], { json = false }: { json?: boolean }): Promise<void> {
  let errors = 0;
  const known = new Set<string>();
  for (const file of files) {
    const found = unknown(await checked(file), known);
    errors += found instanceof Problem ? 1 : found.length;
    if (errors > 0) process.exitCode = 1; // here: a reader that leaves ends the command
    if (found instanceof Problem) reportError(found, json);
    else if (json) reportError(new ProgramError(found), json);
    else if (found.length > 0) print(renderDiagnostics(found, process.stdout));
  }
  if (!json) print(`${pluralize(files.length, "file")}, ${errors === 0 ? "no errors" : pluralize(errors, "error")}`);
}
