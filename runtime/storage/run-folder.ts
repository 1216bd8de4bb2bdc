// Reads and writes the folder of a training run: config.json and log.jsonl (checkpoint.ts has the checkpoints).
import { appendFileSync, existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import * as v from "valibot";
import { compilerVersion } from "../../compiler/assets.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { readText } from "../../compiler/read-file.ts";
import { allWeights, precisions } from "../../compiler/types/dtype.ts";
import { isRun, withKept } from "./checkpoint-folder.ts";
import { makeFolder, readLines, writeAtomic } from "./files.ts";
import { baseFormat, requireKnownFormat } from "./format.ts";
import { integer, positive, requireJson, showIssue, whole } from "./json.ts";

const value = v.union([v.number(), v.boolean()]);
const dataFiles = v.object({ files: v.array(v.string()), bytes: v.number(), hash: v.string() });
const tokens = v.pipe(v.array(whole), v.minLength(1), v.readonly());
const schema = v.object({
  format: v.literal(baseFormat),
  compiler: v.string(),
  model: v.string(),
  sizes: v.record(v.string(), value),
  steps: positive,
  seed: integer,
  precision: v.picklist(precisions),
  /** Whether f32 was multiplied on tensor cores. */
  tf32: v.optional(v.literal(true)),
  /** How matrices that were not trained were kept. */
  weights: v.optional(v.picklist(allWeights)),
  /** The path of the initial parameters, if they were not drawn from the seed. */
  params: v.optional(v.string()),
  /** Whether arrays of layers that those lack began as copies of a layer. */
  upcycle: v.optional(v.literal(true)),
  /** The folder of the run from whose checkpoint this one went on. */
  from: v.optional(v.string()),
  /** Batches in a step. Default: 1. */
  accumulate: v.optional(positive),
  /** Whether the backward computes layers again. */
  recompute: v.optional(v.literal(true)),
  /** Whether the checkpoint with the lowest held-out loss is kept. */
  keepBest: v.optional(v.literal(true)),
  /** Whether rows are crops of the training text in random order. */
  shuffle: v.optional(v.literal(true)),
  /** Whether the data is token numbers instead of text. */
  ids: v.optional(v.literal(true)),
  /** SHA-256 of the tokenizer's files, which are in the same folder. */
  tokenizer: v.optional(v.string()),
  /** The tokens that a text without a prompt begins with; given only if the codec would encode an empty text otherwise. */
  opening: v.optional(tokens),
  /** The tokens that a decoder behind an encoder begins with; default: what ends a text. */
  start: v.optional(tokens),
  /** The tokens that begin what an encoder reads; default: the tokenizer's. */
  begin: v.optional(tokens),
  data: dataFiles,
  /** The held-out text, if it is not the end of the data. */
  heldOut: v.optional(dataFiles),
});
/** What defines a run: the model's name, the sizes that were set (with B and T), and its other options. */
export type RunConfig = Readonly<Omit<v.InferOutput<typeof schema>, "format" | "compiler">>;

export function writeConfig(run: string, config: RunConfig): void {
  writeAtomic(
    join(run, "config.json"),
    `${JSON.stringify({ format: baseFormat, compiler: compilerVersion, ...config }, null, 2)}\n`,
  );
}
export function readConfig(run: string): RunConfig {
  const path = join(run, "config.json");
  if (!existsSync(path))
    throw new Problem(
      existsSync(run) ? `${run} holds no training run: there is no config.json` : `there is no folder ${run}`,
      runHelp(run),
    );
  const remedy = "restore the file, or train again";
  const json = requireJson(path, readText(path), remedy);
  requireKnownFormat(path, json);
  const parsed = v.safeParse(schema, json);
  if (!parsed.success) throw new Problem(`${path}: ${showIssue(parsed.issues[0])}`, remedy);
  const { format: _, compiler: __, ...config } = parsed.output;
  return config;
}

/** What to give in place of a path that is no run's folder: the run that it is a part of, or those that it holds. */
export function runHelp(path: string): string {
  const above = [join(path, ".."), join(path, "..", "..")].find(isRunWithConfig);
  if (above !== undefined) return `give the folder of the run: ${above}`;
  const inside = statSync(path, { throwIfNoEntry: false })?.isDirectory() ? readdirSync(path).toSorted() : [];
  const runs = inside.map((name) => join(path, name)).filter(isRunWithConfig);
  if (runs.length > 0) return `give a run: ${runs.slice(0, 8).join(", ")}`;
  if (path.endsWith(".moe")) return `give the folder of a run: \`moec train ${path} --data TEXT\` writes one`;
  return "give the folder that `moec train` wrote, such as runs/NAME";
}
const isRunWithConfig = (path: string): boolean => existsSync(join(path, "config.json")) && isRun(path);

/** Throws Problem unless a resumed run has the saved run's options; only the number of steps may change. */
export function requireSame(run: string, saved: RunConfig, given: RunConfig): void {
  const [before, now] = [namedOptions(saved), namedOptions(given)];
  for (const name of new Set([...Object.keys(before), ...Object.keys(now)]))
    if (before[name] !== now[name])
      throw new Problem(
        `${run} cannot go on: ${name} was ${shown(before[name])} and is now ${shown(now[name])}`,
        `give what it was trained with; or go on in a new folder, where all may differ: --from ${run} in place of --resume`,
      );
}
/** All options except the number of steps, by the names with which a user gives them. */
export function namedOptions(c: RunConfig): Record<string, number | boolean | string> {
  const { Steps: _, B = 1, T = 1, ...sizes } = c.sizes;
  return {
    "the model": c.model,
    "--batch": B,
    "--length": T,
    ...Object.fromEntries(Object.entries(sizes).map(([name, size]) => [`--set ${name}`, size])),
    "--seed": c.seed,
    "--precision": c.precision,
    ...(c.tf32 ? { "--tf32": "given" } : {}),
    "--weights": c.weights ?? "float",
    ...(c.shuffle ? { "--shuffle": "given" } : {}),
    ...(c.ids ? { "--ids": "given" } : {}),
    ...(c.tokenizer === undefined ? {} : { "--tokenizer": `of SHA-256 ${c.tokenizer}` }),
    ...(c.begin === undefined ? {} : { "--source-language": showTokens(c.begin) }),
    ...(c.start === undefined ? {} : { "--target-language": `behind ${showTokens(c.start)}` }),
    "--accumulate": c.accumulate ?? 1,
    "--data": showData(c.data),
    ...(c.heldOut === undefined ? {} : { "--held-out": showData(c.heldOut) }),
  };
}
const showTokens = (list: readonly number[]): string => `${pluralize(list.length, "token")} ${list.join(" ")}`;
const showData = ({ bytes, hash }: RunConfig["data"]): string => `${pluralize(bytes, "byte")}, SHA-256 ${hash}`;
const shown = (x: number | boolean | string | undefined): string => (x === undefined ? "not given" : String(x));

/** log.jsonl: the first record describes the run, each later one a step. */
export class RunLog {
  readonly #path: string;
  constructor(run: string) {
    makeFolder(run);
    this.#path = join(run, "log.jsonl");
  }
  /** Writes the first record, keeping those of steps. */
  begin(record: object): void {
    this.#write([JSON.stringify(record)], (line) => stepOf(line) > 0);
  }
  append(record: object): void {
    try {
      withFileErrors(this.#path, "write", () => appendFileSync(this.#path, `${JSON.stringify(record)}\n`));
    } catch (error) {
      throw withKept(dirname(this.#path), error);
    }
  }
  /** Drops the records after `step`, and a last line that was cut off, so that the log is that of an uninterrupted run. */
  rewind(step: number): void {
    if (existsSync(this.#path)) this.#write([], (line) => stepOf(line) <= step);
  }
  /** Rewrites the log: the lines `first`, then those that are kept. Line by line, because a long log is more than a string can hold. */
  #write(first: readonly string[], keeps: (line: string) => boolean): void {
    const path = this.#path;
    function* lines(): Generator<Uint8Array> {
      for (const line of first) yield Buffer.from(`${line}\n`);
      if (existsSync(path)) for (const line of readLines(path)) if (keeps(line)) yield Buffer.from(`${line}\n`);
    }
    writeAtomic(path, lines());
  }
}
function stepOf(line: string): number {
  try {
    return (JSON.parse(line) as { step?: number }).step ?? 0;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** The default of --out: runs/NAME, with the first suffix that has no checkpoint; for `resume`, the last that has one. */
export function defaultRunFolder(program: string, resume: boolean): string {
  const own = basename(resolve(program), ".moe"); // `.` becomes the name of its folder
  const name = (i: number): string => join("runs", own + (i === 1 ? "" : `-${i}`));
  let i = 1;
  while (isRun(name(i))) i++;
  return name(resume ? Math.max(1, i - 1) : i);
}
