// Prepares an entry for measuring (`moec profile`, `moec tune`): compiles it, runs `init`, and makes up inputs.
import type { Loaded } from "../../compiler/check/index.ts";
import { Bug, Problem } from "../../compiler/diagnostic.ts";
import { isRuntimeInput } from "../../compiler/graph/node.ts";
import type { Schedule } from "../../compiler/kernel/schedule.ts";
import type { Entry, Plan } from "../../compiler/plan/plan.ts";
import { product } from "../../compiler/types/numbers.ts";
import { type CommonOptions, type Compiled, type CompileRequest, compileProgram } from "../compile.ts";
import { inputOfStore, type Outcome, type StoreInfo, type Tensor } from "../executable/executable.ts";
import { cores } from "../machine.ts";
import type { StepTimes } from "../native.ts";
import { afterErrors, findEntry, hasMethod, readProgram } from "../program.ts";
import { fromNumbers } from "../tensor.ts";
import { defaultRows, namedSizes, type SizeOptions, takesText, textSizes, trainingRequest } from "../text-entry.ts";
import { inSeconds, type Watch } from "./debug.ts";
import { lcg } from "./lcg.ts";

/** `batch` and `length`: of an entry that takes `tokens: i32[B, T]`; of a `train` that takes text, `defaultRows` by default. */
export interface EntryOptions extends SizeOptions {
  /** `Declaration`, `Declaration.method` or a function. Default: `train` of the file's only model, or else its `forward`. */
  readonly entry?: string | undefined;
  /** For an entry other than `train`: whether to compute gradients of its losses and results too. */
  readonly gradients?: boolean | undefined;
}
/** The part of a compile request that the options determine. */
export function entryRequest(
  program: Loaded,
  options: EntryOptions,
): Pick<CompileRequest, "declaration" | "sizes" | "entries"> {
  const { entry, batch, length, gradients = false } = options;
  const found = afterErrors(program, () => {
    const trains = entry === "train" || (entry === undefined && hasMethod(program, undefined, "train"));
    return trains ? findEntry(program, undefined, "train") : findEntry(program, entry);
  });
  const { declaration, method } = found;
  if (method === "train" && ((batch ?? length) !== undefined || takesText(found))) {
    const { others, ...given } = textSizes(found, options);
    const rows = defaultRows(found);
    return trainingRequest(found, { ...others, B: given.B ?? rows.B, T: given.T ?? rows.T }, ["train"]);
  }
  return { declaration, sizes: namedSizes(found, options), entries: [{ method, name: method, sizes: {}, gradients }] };
}

/** Default: on the host, in f32. */
export interface MeasureOptions extends EntryOptions, CommonOptions {
  /** A .moe file. */
  readonly program: string;
  /** Called after each compiler pass. */
  readonly after?: Watch["after"];
  /** Schedules to use instead of those measured on this machine. */
  readonly schedules?: ReadonlyMap<string, Schedule>;
}
export interface MeasuredEntry {
  readonly plan: Plan;
  readonly entry: Entry;
  readonly threads: number;
  readonly report: Compiled["report"];
  /** Runs the entry; stores keep their values from run to run. Times are in seconds. */
  run(): Promise<{ readonly outcome: Outcome; readonly times: StepTimes }>;
  parameters(): Tensor[];
  close(): void;
}
export async function openMeasuredEntry({
  program,
  after,
  schedules,
  ...options
}: MeasureOptions): Promise<MeasuredEntry> {
  const { threads = cores(), target = "host", precision = "f32", tf32, weights } = options;
  if (target === "reference" || precision === "f64")
    throw new Problem(
      "kernels are timed; the interpreter, which alone computes in f64, has none",
      "time the host or a cuda target, in f32 or bf16",
    );
  const last: { times?: StepTimes } = {};
  const profile: Watch["profile"] = (_, times) => void (last.times = times);
  const { executable, report, plan } = await compileProgram({
    ...entryRequest(readProgram(program), options),
    path: program,
    target,
    precision,
    tf32,
    weights,
    threads,
    onCompile: options.onCompile,
    watch: after ? { after, profile } : { profile },
    ...(schedules ? { schedules } : {}),
  });
  const entry = plan?.entries.find((e) => e.name !== "init");
  if (!plan || !entry) throw new Bug(`${program} has no entry to run`);
  await executable.run("init", new Map(), { seed: 0, call: 0, step: 0 });
  const inputs = syntheticInputs(entry, executable.stores);
  let step = 0;
  const run: MeasuredEntry["run"] = async () => {
    const outcome = await executable.run(entry.name, inputs, { seed: 0, call: step, step: step++ });
    if (!last.times) throw new Bug(`${entry.name} was not timed`);
    return { outcome, times: inSeconds(last.times) };
  };
  const parameters = (): Tensor[] =>
    executable.stores.filter((s) => s.role === "parameter").map((s) => executable.read(s.name));
  return { plan, entry, threads, report, run, parameters, close: () => executable.close() };
}

/** Made-up inputs: floats from -1 to 1; integers in the range of printable characters, except `at`, which counts positions, and `since`: one document. */
function syntheticInputs(entry: Entry, stores: readonly StoreInfo[]): Map<string, Tensor> {
  const random = lcg(1);
  const wanted = entry.inputs.filter((store) => !isRuntimeInput(store));
  return new Map(
    wanted.map((name) => {
      const store = stores.find((s) => s.name === name);
      if (!store) throw new Bug(`${entry.name} reads ${name}, which is no store`);
      const input = inputOfStore(entry.name, name);
      const last = store.shape.at(-1) ?? 1;
      const draw = (i: number): number => {
        if (store.dtype === "bool") return Number(random() < 0.5);
        if (store.dtype !== "i32") return 2 * random() - 1;
        if (input === "since") return 0;
        return input === "at" ? i % last : 32 + Math.floor(95 * random());
      };
      return [
        input,
        fromNumbers(
          store.dtype,
          store.shape,
          Float64Array.from({ length: product(store.shape) }, (_, i) => draw(i)),
        ),
      ];
    }),
  );
}
