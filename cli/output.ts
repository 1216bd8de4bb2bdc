// How commands print: results on stdout, everything else on stderr; with --json, only JSON lines on stdout.
import { createColors } from "picocolors";
import type { Diagnostic } from "../compiler/diagnostic.ts";
import { Bug, Problem } from "../compiler/diagnostic.ts";
import { pluralize } from "../compiler/pluralize.ts";
import { ProgramError } from "../compiler/program-error.ts";
import { plain, render, sanitize } from "../compiler/render.ts";
import { showBytes } from "../compiler/show-bytes.ts";
import type { CacheStats } from "../runtime/cache/folder.ts";
import { abortRunning, exitOnSignals } from "./signals.ts";

export { table } from "../runtime/measure/table.ts";
export { showBytes };

type Colors = ReturnType<typeof createColors>;

const wantsColor = (stream: NodeJS.WriteStream): boolean => {
  const none = (process.env["NO_COLOR"] ?? "") !== "";
  const forced = !["", "0", "false"].includes(process.env["FORCE_COLOR"] ?? "");
  // isTTY is undefined for a pipe, for which picocolors would guess
  const terminal = (stream as { readonly isTTY?: boolean }).isTTY ?? false;
  return !none && (forced || (terminal && stream.hasColors()));
};
export const colorsOf = (stream: NodeJS.WriteStream): Colors => createColors(wantsColor(stream));

export const print = (text: string): void => void process.stdout.write(`${text}\n`);
export const note = (text: string): void => void process.stderr.write(`${text}\n`);
export const warn = (text: string): void => note(`${colorsOf(process.stderr).yellow("warning:")} ${sanitize(text)}`);
/** Returns a callback that announces a compilation before its first kernel, and every five seconds prints how much of it is done. */
export function compileProgress(): (done: number, of: number) => void {
  const later = progressPrinter("compiling", (n) => pluralize(n, "kernel"), 5);
  return (done, of) => {
    if (done > 0) return later(done, of);
    exitOnSignals();
    note(`compiling ${pluralize(of, "kernel")}`);
  };
}
/** Returns a callback that prints how much of long work is done: at once if there is much, and then every `every` seconds. */
export function progressPrinter(
  doing: string,
  show: (n: number) => string,
  every = 1,
): (done: number, of: number) => void {
  let last = performance.now();
  return (done, of) => {
    if (done === of || (performance.now() - last < every * 1000 && !(done === 0 && of > 1 << 19))) return;
    last = performance.now();
    note(`${doing}: ${Math.floor((100 * done) / of)}% of ${show(of)}`);
  };
}
/**
 * Handles errors of stdout and stderr. A reader that ends early (`moec ... | head`) is not an error, a full disk is; a training is stopped and saved. What failed before stays a failure.
 * Errors of stderr (a terminal that was closed) are ignored.
 */
export function handleOutputErrors(): void {
  process.stderr.on("error", () => {});
  let failed = false;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    const full = new Problem(`stdout: ${error.message}`, "make room where the output goes, or send it elsewhere");
    if (!failed && error.code !== "EPIPE") note(formatError(full));
    failed = true;
    if (error.code !== "EPIPE") process.exitCode = 1;
    if (!abortRunning()) process.exit();
  });
}
/** Prints a JSON object on one line of stdout. NaN and infinity, which JSON lacks, become strings. */
export const printJson = (record: object): void =>
  print(JSON.stringify(record, (_, x: unknown) => (typeof x === "number" && !Number.isFinite(x) ? String(x) : x)));

export const renderDiagnostics = (diagnostics: readonly Diagnostic[], stream: NodeJS.WriteStream): string =>
  render(diagnostics, { color: wantsColor(stream), width: stream.isTTY ? stream.columns : 120 });

/** Prints generated text. On a terminal, control characters are replaced, since a model may generate any. */
export const write = (text: string): void =>
  void process.stdout.write(process.stdout.isTTY ? text.replace(/[^\P{Cc}\n\t]/gu, "\ufffd") : text);

/** On a terminal, says how fast text was generated. */
export function noteRate(tokens: number, seconds: number): void {
  const rate = tokens / seconds;
  const text = `${pluralize(tokens, "token")}, ${rate < 100 ? rate.toFixed(1) : showCount(rate)} tokens/s`;
  if (process.stderr.isTTY) note(colorsOf(process.stderr).dim(text));
}
/** Reports an error that ends a command: on stderr, or with --json as lines on stdout. Its stack is shown only if MOEC_DEBUG is set; that of a ProgramError never. */
export function reportError(error: unknown, json: boolean): void {
  if (json) for (const record of errorRecords(error)) printJson(record);
  else note(formatError(error));
  if (process.env["MOEC_DEBUG"] && error instanceof Error && !(error instanceof ProgramError)) note(error.stack ?? "");
}
/** Runs a script; an error that ends it is reported. */
export async function runMain(main: () => Promise<void>): Promise<void> {
  handleOutputErrors();
  try {
    await main();
  } catch (error) {
    reportError(error, false);
    process.exitCode = 1;
  }
}
/** An error as JSON: an object for each error of a program, one for anything else. */
function errorRecords(error: unknown): object[] {
  if (error instanceof ProgramError) return error.diagnostics.map(plain);
  return [{ message: messageOf(error), ...(error instanceof Problem ? { help: error.help } : {}) }];
}
function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return error instanceof Problem || error instanceof Bug
    ? message
    : `${message} (a defect of moec: MOEC_DEBUG=1 shows where)`;
}
/** The message for an error, with advice. */
export function formatError(error: unknown, stream: NodeJS.WriteStream = process.stderr): string {
  const colors = colorsOf(stream);
  if (error instanceof ProgramError) return renderDiagnostics(error.diagnostics, stream).trimEnd();
  const help =
    error instanceof Problem
      ? sanitize(error.help)
          .split("\n")
          .map((line) => `\n  ${colors.cyan("help:")} ${line}`)
          .join("")
      : "";
  return `${colors.red("error:")} ${sanitize(messageOf(error))}${help}`;
}

/** `123`, `12.3k`, `3.4M`. */
export function showCount(n: number): string {
  const unit = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(1, Math.abs(n))) / 3)));
  return unit === 0 ? String(Math.round(n)) : `${(n / 1000 ** unit).toFixed(1)}${["", "k", "M", "G", "T"][unit] ?? ""}`;
}
export const showCache = ({ folder, files, bytes, limit }: CacheStats): string =>
  `${folder}: ${pluralize(files, "file")}, ${showBytes(bytes)} of at most ${showBytes(limit)}`;
/** `12.3k tokens`; bytes as all bytes are shown. */
export const showTokens = (n: number, unit: string): string =>
  unit === "byte" ? showBytes(n) : pluralize(showCount(n), unit);
const pad = (n: number): string => String(n).padStart(2, "0");
export function showTime(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  return s < 3600
    ? `${Math.floor(s / 60)}:${pad(s % 60)}`
    : `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}`;
}
/** A path in a command to copy: quoted where a shell would take it apart. */
export const shellWord = (path: string): string =>
  /[\s"'$`\\!*?[\](){}<>|&;#~]/.test(path) ? `'${path.replaceAll("'", "'\\''")}'` : path;
