// Reads a run's config.json and log.jsonl for the report.
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { Problem } from "../../compiler/diagnostic.ts";
import { readLines } from "../storage/files.ts";
import { isJsonObject, parseJson, positive, showIssue } from "../storage/json.ts";
import { type RunConfig, readConfig } from "../storage/run-folder.ts";

const number = v.union([
  v.number(),
  v.pipe(v.picklist(["NaN", "Infinity", "-Infinity"]), v.transform(Number)),
  v.pipe(
    v.null(),
    v.transform(() => Number.NaN),
  ),
  v.pipe(v.boolean(), v.transform(Number)),
]);
type Nested = number | readonly Nested[];
const nested: v.GenericSchema<unknown, Nested> = v.union([number, v.lazy(() => v.array(nested))]);
const about = v.object({
  bigram: v.optional(v.number()),
  bytes: v.optional(v.number()),
  measure: v.optional(v.object({ losses: v.array(v.string()), unit: v.optional(v.string()) })),
  parameters: v.optional(v.number()),
  trained: v.optional(v.number()),
  plan: v.optional(v.record(v.string(), v.number())),
});
const step = v.object({
  step: positive,
  loss: number,
  losses: v.record(v.string(), number),
  metrics: v.optional(v.record(v.string(), nested)),
  held_out: v.optional(number),
  tokens_per_second: v.optional(v.number()),
  seconds: v.optional(v.number()),
});
export type LoggedRun = v.InferOutput<typeof about>;
export type LoggedStep = v.InferOutput<typeof step>;
export interface RunRecord {
  readonly folder: string;
  readonly config: RunConfig;
  readonly about: LoggedRun;
  /** In order, at least one. */
  readonly steps: readonly LoggedStep[];
}

/** Throws Problem if the folder holds no run, or if a line is not one that `moec train` writes; a last line that was cut off is ignored. */
export function readRunLog(folder: string): RunRecord {
  const config = readConfig(folder);
  const path = join(folder, "log.jsonl");
  if (!existsSync(path))
    throw new Problem(
      `${folder} holds no steps: there is no log.jsonl`,
      "give the folder of a training: what `moec import` wrote is trained by `moec train FOLDER/model.moe --params FOLDER`",
    );
  let first: LoggedRun = {};
  const steps: LoggedStep[] = [];
  let number = 0;
  let cut: Problem | null = null;
  for (const line of readLines(path)) {
    if (cut) throw cut;
    number += 1;
    if (line === "") continue;
    const record = parseJson(line);
    const isAbout = isJsonObject(record) && !("step" in record);
    const result = v.safeParse<typeof about | typeof step>(isAbout ? about : step, record);
    if (!result.success) {
      const what = isJsonObject(record) ? `: ${showIssue(result.issues[0])}` : " is not a JSON object";
      cut = new Problem(`${path}, line ${number}${what}`, "take the line out, or train again");
      if (record !== undefined) throw cut;
    } else if ("step" in result.output) steps.push(result.output);
    else first = result.output;
  }
  if (steps.length === 0)
    throw new Problem(`${path} has no step yet`, "wait for the first step of the run, or train again");
  return { folder, config, about: first, steps };
}
/** The numbers of a nested array, in row-major order. */
export const flat = (x: Nested): number[] => (typeof x === "number" ? [x] : x.flatMap(flat));
