// node --import tsx scripts/gpu/losses.ts [--precision P] [--tf32] [--set N=V...] [--batch B] [--length T]: trains examples/gpt-moe.moe for five
// steps, twice on a GPU and once on the host, and compares losses. Exits with 1 if they differ. Under mpirun each process has a GPU, and all train
// one model together, on the host too.
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { note, print, runMain } from "../../cli/output.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { table } from "../../runtime/measure/table.ts";
import type { TrainOptions } from "../../runtime/training/train-options.ts";
import { launchInfo } from "../../runtime/workers/mpi.ts";
import { lossesOf } from "../losses-of.ts";

const file = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const rank = launchInfo()?.rank ?? 0;
type Options = Omit<TrainOptions, "program" | "data" | "out">;
const losses = (options: Options): Promise<number[]> =>
  lossesOf({ ...options, program: file("examples/gpt-moe.moe"), data: [file("README.md")] });
/** The host's losses; null, and a line on stderr, if there is no C++ compiler. */
async function host(options: Options): Promise<number[] | null> {
  try {
    return await losses(options);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    note(`no losses of the host: ${error.message}`);
    return null;
  }
}
/** The allowed relative difference of a loss: half a unit in the last place of the operands, and as much again for sums in another order. */
const tolerance = { exact: 1e-4, rounded: 2 ** -8 };

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      precision: { type: "string", default: "f32" },
      tf32: { type: "boolean", default: false },
      set: { type: "string", multiple: true, default: [] },
      batch: { type: "string", default: "4" },
      length: { type: "string", default: "64" },
    },
  });
  const precision = values.precision === "bf16" ? "bf16" : "f32";
  const set = Object.fromEntries(values.set.map((s) => s.split("=")).map(([name = "", n]) => [name, Number(n)]));
  const same = { precision, set, steps: 5, batch: Number(values.batch), length: Number(values.length) } as const;
  const gpu = { ...same, target: "cuda", tf32: values.tf32 } as const;
  const [first, second] = [await losses(gpu), await losses(gpu)];
  const expected = await host(same);
  const bound = precision === "bf16" || values.tf32 ? tolerance.rounded : tolerance.exact;
  const distance = (i: number): number => Math.abs((first[i] ?? Number.NaN) / (expected?.[i] ?? Number.NaN) - 1);
  const rows = first.map((x, i) => [
    i === first.length - 1 ? "held out" : String(i + 1),
    x.toFixed(6),
    second[i] === x ? "same bits" : String(second[i]),
    expected?.[i]?.toFixed(6) ?? "",
    expected ? distance(i).toExponential(1) : "",
  ]);
  if (rank === 0) print(table([["step", "GPU", "again", "host", "apart"], ...rows]));
  const wrong = expected ? first.filter((_, i) => !(distance(i) <= bound)).length : 0;
  const other = first.filter((x, i) => !Object.is(x, second[i])).length;
  if (rank === 0)
    print(`${wrong} losses are more than ${bound} from the host's; ${other} have other bits in a second run`);
  if (wrong + other > 0) process.exitCode = 1;
}
await runMain(main);
