import { Command } from "commander";
import type { TuningAxis } from "../../compiler/kernel/candidates.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { type Tuned, type TuneOptions, tune } from "../../runtime/measure/tune.ts";
import { addMeasureFlags, addWeights, examples, type MeasureFlags, type WeightsFlag } from "../flags.ts";
import { note, print, printJson, table } from "../output.ts";

export const tuneCommand = (): Command =>
  addWeights(addMeasureFlags(new Command("tune"), "runs of each candidate, the best of which counts"))
    .description(
      "Search for the fastest tilings of a program's matrix products on this machine; later compilations use them. Results keep their bits.",
    )
    .addHelpText(
      "after",
      examples(
        "moec tune examples/gpt-moe.moe --batch 16 --length 128",
        "moec tune model.moe --entry Ffn --set N=512 --grad",
        "moec tune model.moe --precision bf16",
        "moec tune examples/gpt-moe.moe --entry forward --batch 1 --length 512 --weights int8",
      ),
    )
    .action(run);

const axisTexts: Readonly<Record<TuningAxis, string>> = {
  bk: "depth of a piece",
  bm: "rows of a block",
  bn: "columns of a block",
  mc: "rows of a task",
  stream: "stores around the caches",
};
const round: NonNullable<TuneOptions["round"]> = (axis, done, of) => note(`${axisTexts[axis]}: ${done} of ${of}`);
async function run(program: string, { json, grad: gradients, ...options }: MeasureFlags & WeightsFlag): Promise<void> {
  const tuned = await tune({ program, gradients, ...options, round });
  if (json) asJson(tuned);
  else print(summary(tuned));
}
function asJson({ shapes, secondsBefore, secondsAfter, ...rest }: Tuned): void {
  for (const s of shapes)
    printJson({
      shape: s.shape,
      before: s.before,
      after: s.after,
      seconds_before: s.secondsBefore,
      seconds_after: s.secondsAfter,
    });
  printJson({ ...rest, shapes: shapes.length, seconds_before: secondsBefore, seconds_after: secondsAfter });
}
const ms = (seconds: number): string => `${(seconds * 1e3).toFixed(2)} ms`;
const gain = (before: number, after: number): string => `${(100 * (1 - after / before)).toFixed(1)} %`;
const formatSchedule = (s: object): string =>
  Object.entries(s)
    .map(([key, value]) => `${key} ${value}`)
    .join(", ");
function summary({ entry, shapes, contractions, measured, secondsBefore, secondsAfter }: Tuned): string {
  const rows = shapes.map((s) => [
    s.shape,
    ms(s.secondsBefore),
    ms(s.secondsAfter),
    gain(s.secondsBefore, s.secondsAfter),
    formatSchedule(s.after),
  ]);
  const head = ["matrix product", "before", "after", "gain", "cut"];
  return [
    ...(rows.length > 0 ? [table([head, ...rows])] : []),
    `${pluralize(measured, "way")} of cutting ${pluralize(contractions, "product")} measured, ${shapes.length} better and kept`,
    `${entry}: ${ms(secondsBefore)} before, ${ms(secondsAfter)} after`,
  ].join("\n");
}
