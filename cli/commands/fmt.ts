import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { Bug, Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import { format } from "../../compiler/syntax/format.ts";
import { readBytes, writeUserFile } from "../../runtime/storage/files.ts";
import { examples, json as jsonOption } from "../flags.ts";
import { note, print, printJson, reportError } from "../output.ts";
import { readStdin } from "../stdin.ts";

export const fmtCommand = (): Command =>
  new Command("fmt")
    .description("Format programs in the one style: indentation, spaces and blank lines, and nothing else.")
    .argument("<paths...>", ".moe files, folders that hold some, or - alone: stdin is formatted to stdout")
    .option("--check", "change nothing; name the files that would change, and exit with 1 if there are any")
    .addOption(jsonOption())
    .addHelpText("after", examples("moec fmt model.moe", "moec fmt --check models", "moec fmt - < model.moe"))
    .action(fmt);

interface Options {
  readonly check?: boolean;
  readonly json?: boolean;
}
async function fmt(paths: readonly string[], options: Options, command: Command): Promise<void> {
  if (!paths.includes("-")) return formatFiles(paths, options);
  if (paths.length > 1) command.error("error: `-`, which formats stdin to stdout, is given alone", { exitCode: 2 });
  const before = decode("stdin", await readStdin());
  const text = format("stdin", before);
  const changed = text !== before;
  if (options.json) printJson({ file: "-", changed, text });
  else if (!options.check) process.stdout.write(text);
  else if (changed) print("-");
  if (options.check && changed) process.exitCode = 1;
}

/** Errors of one file leave the others to be formatted. */
function formatFiles(paths: readonly string[], { check = false, json = false }: Options): void {
  const count = { files: 0, changed: 0, failed: 0 };
  const attempt = (action: () => void): void => {
    try {
      action();
    } catch (error) {
      if (!(error instanceof Problem || error instanceof ProgramError || error instanceof Bug)) throw error;
      count.failed++;
      reportError(error, json);
    }
  };
  const formatOne = (file: string): void => {
    count.files++;
    const changed = formatFile(file, check);
    if (changed) count.changed++;
    if (json) printJson({ file, changed });
    else if (changed) print(file);
  };
  for (const path of paths) attempt(() => filesIn(path).forEach((file) => attempt(() => formatOne(file))));
  if (!json) note(summary(count, check));
  if (count.failed > 0 || (check && count.changed > 0)) process.exitCode = 1;
}
function summary({ files, changed, failed }: Record<"files" | "changed" | "failed", number>, check: boolean): string {
  const errors = failed === 0 ? "" : `, ${pluralize(failed, "error")}`;
  return `${pluralize(files, "file")}, ${changed} ${check ? "would change" : "changed"}${errors}`;
}
/** Whether the file changes. */
function formatFile(file: string, check: boolean): boolean {
  const before = decode(file, readBytes(file));
  const text = format(file, before);
  if (text !== before && !check) writeUserFile(file, text);
  return text !== before;
}
/** Other bytes than UTF-8 would be lost. */
function decode(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Problem(`${name} is not UTF-8`, "save it as UTF-8");
  }
}

/** A file itself, or all .moe files of a folder and of those in it. Hidden folders and node_modules are left out, and links to folders not followed. */
function filesIn(path: string): string[] {
  const found = withFileErrors(path, "read", () => statSync(path));
  if (found.isFile()) return [path];
  if (!found.isDirectory()) throw new Problem(`${path} is no file`, "to format what a pipe gives, write `moec fmt -`");
  const files = programsIn(path);
  if (files.length === 0) throw new Problem(`no .moe file is in ${path}`, "name a folder that holds programs");
  return files;
}
function programsIn(folder: string): string[] {
  const entries = withFileErrors(folder, "read", () => readdirSync(folder, { withFileTypes: true }));
  return entries
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (!entry.isDirectory()) return entry.name.endsWith(".moe") ? [path] : [];
      return entry.name.startsWith(".") || entry.name === "node_modules" ? [] : programsIn(path);
    });
}
