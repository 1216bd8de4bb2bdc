// The folder of a training run: model.moe, config.json, log.jsonl and checkpoints.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import * as v from "valibot";
import { Problem } from "../compiler/diagnostic.ts";
import { onFile } from "../compiler/on-file.ts";
import { precisions } from "../compiler/types/dtype.ts";
import { checkpointSteps, compilerVersion, formatVersion } from "./checkpoint.ts";
import { makeFolder, readLines, writeAtomic } from "./files.ts";

const value = v.union([v.number(), v.boolean()]);
const schema = v.object({
  format: v.literal(formatVersion),
  compiler: v.string(),
  model: v.string(),
  sizes: v.record(v.string(), value),
  steps: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  seed: v.pipe(v.number(), v.safeInteger()),
  precision: v.picklist(precisions),
  /** Products of f32 by tensor cores. */
  tf32: v.optional(v.literal(true)),
  /** What the parameters began from, where it was not the seed. */
  params: v.optional(v.string()),
  /** Batches that make a step; 1 where it is not given. */
  accumulate: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
  /** The data holds token numbers, not text. */
  ids: v.optional(v.literal(true)),
  /** SHA-256 of the tokenizer's files, which lie beside. */
  tokenizer: v.optional(v.string()),
  /** What a text without a prompt begins with, where it is not what an empty text is to the tokenizer, or a line end. */
  opening: v.optional(
    v.pipe(v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(0))), v.minLength(1), v.readonly()),
  ),
  data: v.object({ files: v.array(v.string()), bytes: v.number(), hash: v.string() }),
});
/** What a run is: the model's name, sizes set by hand with B and T, and the rest of its options. */
export type RunConfig = Readonly<Omit<v.InferOutput<typeof schema>, "format" | "compiler">>;

export function writeConfig(run: string, config: RunConfig): void {
  writeAtomic(
    join(run, "config.json"),
    `${JSON.stringify({ format: formatVersion, compiler: compilerVersion, ...config }, null, 2)}\n`,
  );
}
export function readConfig(run: string): RunConfig {
  const path = join(run, "config.json");
  if (!existsSync(path))
    throw new Problem(
      `${run} holds no training run: there is no config.json`,
      "give the folder that `moec train` wrote, such as runs/NAME",
    );
  const parsed = v.safeParse(
    schema,
    parseJson(
      path,
      onFile(path, "read", () => readFileSync(path, "utf8")),
    ),
  );
  if (!parsed.success) {
    const { message, path: keys } = parsed.issues[0];
    throw new Problem(
      `${path}: ${keys?.map((k) => String(k.key)).join(".") ?? "it"}: ${message}`,
      "restore the file, or train again",
    );
  }
  const { format: _, compiler: __, ...config } = parsed.output;
  return config;
}
function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem(`${path} is not JSON`, "restore the file, or train again");
  }
}

/** What a resumed run must have in common with the saved one; the number of steps may grow. */
export function requireSame(run: string, saved: RunConfig, given: RunConfig): void {
  const [before, now] = [namedOptions(saved), namedOptions(given)];
  for (const name of new Set([...Object.keys(before), ...Object.keys(now)]))
    if (before[name] !== now[name])
      throw new Problem(
        `${run} cannot go on: ${name} was ${shown(before[name])} and is now ${shown(now[name])}`,
        "give what it was trained with, or start another run with --out",
      );
}
/** All but the number of steps, by what a person gives them with. */
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
    ...(c.ids ? { "--ids": "given" } : {}),
    ...(c.tokenizer === undefined ? {} : { "--tokenizer": `of SHA-256 ${c.tokenizer}` }),
    "--accumulate": c.accumulate ?? 1,
    "--data": `${c.data.bytes} bytes, SHA-256 ${c.data.hash}`,
  };
}
const shown = (x: number | boolean | string | undefined): string => (x === undefined ? "not given" : String(x));

/** Records of log.jsonl: first what the run is, then one for each step. */
export class RunLog {
  readonly #path: string;
  constructor(run: string) {
    makeFolder(run);
    this.#path = join(run, "log.jsonl");
  }
  /** Puts the first record in its place. */
  begin(record: object): void {
    this.#write([JSON.stringify(record)], (line) => stepOf(line) > 0);
  }
  append(record: object): void {
    onFile(this.#path, "write", () => appendFileSync(this.#path, `${JSON.stringify(record)}\n`));
  }
  /** Drops what was logged after `step`, and a line that was cut off: the log becomes that of an unbroken run. */
  rewind(step: number): void {
    if (existsSync(this.#path)) this.#write([], (line) => stepOf(line) <= step);
  }
  /** `first`, then the lines that are kept. One after the other: all of a long run are more than a string holds. */
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

/** Where a program's run goes if --out does not say: runs/NAME, the first that holds no run; resuming, the last that does. */
export function defaultRunFolder(program: string, resume: boolean): string {
  const own = basename(resolve(program), ".moe"); // `.` is called as its folder is
  const name = (i: number): string => join("runs", own + (i === 1 ? "" : `-${i}`));
  let i = 1;
  while (checkpointSteps(name(i)).length > 0) i++;
  return name(resume ? Math.max(1, i - 1) : i);
}
