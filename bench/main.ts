// npm run bench -- NAME [--json] [--threads N] [--kernels]
import { note, print, printJson, runMain, showBytes, table } from "../cli/output.ts";
import { allWeights } from "../compiler/types/dtype.ts";
import { cores } from "../runtime/machine.ts";
import { parseCommandLine, usageError } from "../scripts/command-line.ts";
import { cudaCases, groups } from "./cases.ts";
import { benchCuda } from "./cuda.ts";
import { type GenerateFigure, type GenerateOptions, generateCases, measureGenerate } from "./generate.ts";
import { type Measured, measure } from "./measure.ts";
import { findPython } from "./peers.ts";
import { measureWorkers, type WorkersFigure, workersCases } from "./workers.ts";

const usage = `npm run bench -- NAME [--json] [--threads N] [--kernels] [--only I] [--precision P] [--tf32]
  NAME         ${Object.keys(groups).join(", ")}, generate, workers (needs mpirun), cuda (needs a GPU) or list
  --json       one JSON object a line
  --threads    default: the cores that this process may use; workers have one each
  --kernels    the time of each launch, on stderr; not of workers
  --only       the case of that number alone
  --weights    int8 or fp4; of generate
  --precision  f32 or bf16; default: f32, on a GPU without --tf32 bf16. Cases that count bytes are of f32
  --tf32       on a GPU in f32: products by tensor cores`;

async function main(): Promise<void> {
  const { values, positionals } = parseCommandLine(
    usage,
    {
      json: { type: "boolean", default: false },
      kernels: { type: "boolean", default: false },
      threads: { type: "string", default: String(cores()) },
      only: { type: "string" },
      precision: { type: "string" },
      weights: { type: "string" },
      tf32: { type: "boolean", default: false },
    },
    1,
  );
  const [name] = positionals;
  if (name === undefined) return usageError("no benchmark is named", usage);
  if (name === "list") return list();
  const precision = values.precision ?? (name === "cuda" && !values.tf32 ? "bf16" : "f32");
  if (precision !== "f32" && precision !== "bf16") return usageError(`there is no precision ${precision}`, usage);
  if (name === "cuda") return benchCuda({ precision, tf32: values.tf32 }, values);
  const cases = groups[name]?.filter(({ mix }) => precision === "f32" || !mix);
  const threads = Number(values.threads);
  if (!(Number.isInteger(threads) && threads > 0)) return usageError(`${values.threads} threads cannot compute`, usage);
  if (values.tf32) return usageError("--tf32 is of cuda", usage);
  const known = name === "generate" ? generateCases : name === "workers" ? workersCases : cases;
  if (!known) return usageError(`there is no benchmark ${name}`, usage);
  if (values.only !== undefined && !known[Number(values.only)])
    return usageError(`${name} has no case ${values.only}: \`npm run bench -- list\` shows all`, usage);
  const wanted = (i: number): boolean => values.only === undefined || i === Number(values.only);
  if (name === "workers") return workers(precision, wanted, values.json);
  const weights = allWeights.find((w) => w === values.weights);
  if (values.weights !== undefined && (!weights || cases))
    return usageError(`--weights is ${allWeights.join(" or ")}, and of generate`, usage);
  if (!cases) return generate({ threads, precision, weights }, wanted, values);
  const python = findPython();
  const all: Measured[] = [];
  for (const c of cases.filter((_, i) => wanted(i))) {
    const kernels = values.kernels
      ? { kernels: (text: string) => note(`${c.name} ${c.shape.join(" x ")}: ${text}\n`) }
      : {};
    for (const measured of await measure(c, { threads, precision, times: 5, seconds: 2, python, ...kernels })) {
      if (values.json) printJson({ precision, ...measured.figure });
      else all.push(measured);
    }
  }
  if (!values.json) print(table([head, ...all.map(row)]));
}
async function generate(
  how: Pick<GenerateOptions, "threads" | "precision" | "weights">,
  wanted: (i: number) => boolean,
  { json, kernels }: { readonly json: boolean; readonly kernels: boolean },
): Promise<void> {
  const rows: string[][] = [];
  for (const writer of generateCases.filter((_, i) => wanted(i))) {
    const shown = kernels ? { kernels: (text: string) => note(`${writer.name}, ${writer.batch}: ${text}\n`) } : {};
    const written = await measureGenerate(writer, { ...how, times: 5, tokens: 64, ...shown });
    if (json) printJson({ precision: how.precision, ...written });
    else rows.push(rowOf(written));
  }
  const shares = ["ceiling", "share", "memory", "share"];
  if (!json) print(table([["model", "batch", "tokens/s", "ms a step", "active", "of", ...shares], ...rows]));
}
async function workers(precision: "f32" | "bf16", wanted: (i: number) => boolean, json: boolean): Promise<void> {
  const rows: string[][] = [];
  for (const c of workersCases.filter((_, i) => wanted(i))) {
    const measured = await measureWorkers(c, { precision, times: 2, warm: 10, steps: 15 });
    if (json) printJson({ precision, ...measured });
    else rows.push(workersRow(measured));
  }
  const head = [
    "model",
    "workers",
    "tokens/s",
    "threads",
    "tokens/s",
    "share",
    "collectives",
    "sent",
    "moving: ms",
    "waiting",
  ];
  if (!json) print(table([head, ...rows]));
}
function workersRow(t: WorkersFigure): string[] {
  const rates = [t.tokensPerSecond.toFixed(0), String(t.threads), t.alone.toFixed(0), percent(t.share)];
  const moved = [String(t.collectives), showBytes(t.sent), ms(t.moving), ms(t.waiting)];
  return [t.name, String(t.workers), ...rates, ...moved];
}
function rowOf(w: GenerateFigure): string[] {
  const rates = [w.tokensPerSecond.toFixed(0), ms(w.seconds), showBytes(w.active), showBytes(w.parameters)];
  const shares = [w, w.memory].flatMap(({ ceiling, share }) => [`${ceiling.toFixed(1)} GB/s`, percent(share)]);
  return [w.name, String(w.batch), ...rates, ...shares];
}
function list(): void {
  for (const [name, cases] of Object.entries({ ...groups, cuda: cudaCases }))
    print(table(cases.map((c, i) => [i === 0 ? name : "", String(i), c.name, c.shape.join(" x ")])));
  print(table(generateCases.map((w, i) => [i === 0 ? "generate" : "", String(i), w.name, `batch ${w.batch}`])));
  print(table(workersCases.map((c, i) => [i === 0 ? "workers" : "", String(i), c.name, `${c.workers} of one thread`])));
}
const head = ["name", "shape", "pass", "ms", "rate", "ceiling", "share", "at work: ms", "share", "peers"];
function row({ figure: f, busySeconds }: Measured): string[] {
  const peers = f.peers.map((p) => `${p.name} ${p.rate.toFixed(1)}`).join(", ");
  const rates = [`${f.rate.toFixed(1)} ${f.unit}`, f.ceiling.toFixed(1), percent(f.share)];
  const own = [ms(busySeconds), percent((f.share * f.seconds) / busySeconds)];
  return [f.name, f.shape.join(" x "), f.pass, ms(f.seconds), ...rates, ...own, peers];
}
const ms = (seconds: number): string => (seconds * 1000).toFixed(3);
const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;

await runMain(main);
