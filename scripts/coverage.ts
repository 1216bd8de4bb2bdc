// Runs tests, and prints how many lines of each source none of them ran. Processes that tests start count too: they run bundles (test/command.ts),
// whose source maps lead back to the sources.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { env, execPath, exit } from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { eachMapping, type SourceMapInput, TraceMap } from "@jridgewell/trace-mapping";
import { print, table } from "../cli/output.ts";
import { parseCommandLine } from "./command-line.ts";

const usage = `npm run coverage -- [--lines PATH] [NAME...]
  NAME     the files of test/ whose name holds it; without any, all
  --lines  prints the lines that no test ran, of the sources whose path begins so`;
const root = join(import.meta.dirname, "..");
const sources = /^(?:grammar|compiler|runtime|cli)\/.*\.ts$/;
/** What stands in these folders is moec, or a bundle of it. */
const own = ["grammar", "compiler", "runtime", "cli", "dist", "build"].map(
  (name) => `${pathToFileURL(join(root, name)).href}/`,
);

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}
/** What node writes at the end of a process: counts by script, and maps with the lengths of the scripts' lines. */
interface Counts {
  readonly result: readonly { readonly url: string; readonly functions: readonly { readonly ranges: Range[] }[] }[];
  readonly "source-map-cache"?: Readonly<Record<string, Mapped>>;
}
interface Mapped {
  readonly data: SourceMapInput | null;
  readonly lineLengths: readonly number[];
}
interface Script {
  readonly map: SourceMapInput;
  /** Where its lines begin. */
  readonly starts: readonly number[];
  /** For each character whether it ran in any process. */
  readonly ran: Uint8Array;
}
function scriptOf({ data, lineLengths }: Mapped): Script | null {
  const starts = [0];
  for (const n of lineLengths) starts.push((starts.at(-1) ?? 0) + n + 1);
  return data === null ? null : { map: data, starts, ran: new Uint8Array(starts.at(-1) ?? 0) };
}
function readScripts(folder: string): Map<string, Script> {
  const scripts = new Map<string, Script>();
  for (const file of readdirSync(folder)) {
    const { result, "source-map-cache": maps = {} } = JSON.parse(readFileSync(join(folder, file), "utf8")) as Counts;
    for (const { url, functions } of result) {
      const map = own.some((start) => url.startsWith(start)) ? maps[url] : undefined;
      const script = scripts.get(url) ?? (map && scriptOf(map));
      if (!script) continue;
      scripts.set(url, script);
      const ran = ranIn(
        functions.flatMap((f) => f.ranges),
        script.ran.length,
      );
      for (let i = 0; i < ran.length; i++) if (ran[i] === 1) script.ran[i] = 1;
    }
  }
  return scripts;
}
/** Whether each character ran in one process: inner ranges have the last word. */
function ranIn(ranges: readonly Range[], length: number): Uint8Array {
  const ran = new Uint8Array(length);
  const size = (r: Range): number => r.endOffset - r.startOffset;
  for (const r of ranges.toSorted((a, b) => size(b) - size(a)))
    ran.fill(r.count > 0 ? 1 : 0, r.startOffset, r.endOffset);
  return ran;
}
/** For each source whether each of its lines ran, in any of the scripts made of it. */
function linesOf(scripts: ReadonlyMap<string, Script>): Map<string, Map<number, boolean>> {
  const lines = new Map<string, Map<number, boolean>>();
  for (const [url, { map, starts, ran }] of scripts)
    eachMapping(new TraceMap(map), ({ source, originalLine: line, generatedLine, generatedColumn }) => {
      if (source === null) return;
      const name = relative(root, fileURLToPath(new URL(source, url)));
      if (!sources.test(name)) return;
      const known = lines.get(name) ?? new Map<number, boolean>();
      const isRun = ran[(starts[generatedLine - 1] ?? 0) + generatedColumn] === 1;
      lines.set(name, known.set(line, isRun || known.get(line) === true));
    });
  return lines;
}

const { values, positionals } = parseCommandLine(usage, { lines: { type: "string" } }, Number.POSITIVE_INFINITY);
const folder = join(root, "coverage");
rmSync(folder, { recursive: true, force: true });
const { status } = spawnSync(execPath, ["--import", "tsx", join(root, "test", "run.ts"), ...positionals], {
  cwd: root,
  env: { ...env, NODE_V8_COVERAGE: folder },
  stdio: "inherit",
});
if (status !== 0) exit(1);
const files = [...linesOf(readScripts(folder))].map(([name, lines]) => {
  const text = readFileSync(join(root, name), "utf8").split("\n");
  const holdsCode = (line: number): boolean => /[^\s()[\]{};,]/.test(text[line - 1] ?? "");
  const missed = [...lines].filter(([line, ran]) => !ran && holdsCode(line)).map(([line]) => line);
  return { name, text, count: lines.size, missed: missed.toSorted((a, b) => a - b) };
});
for (const { name, text, missed } of files)
  if (values.lines !== undefined && name.startsWith(values.lines))
    for (const line of missed) print(`${name}:${line} ${text[line - 1]?.trim()}`);
const total = files.reduce((n, f) => n + f.count, 0);
const missed = files.reduce((n, f) => n + f.missed.length, 0);
const rows = files.filter((f) => f.missed.length > 0).toSorted((a, b) => b.missed.length - a.missed.length);
print(table([["file", "not run", "lines"], ...rows.map((f) => [f.name, String(f.missed.length), String(f.count)])]));
print(`${missed} of ${total} lines were not run: ${((100 * missed) / total).toFixed(2)} %`);
