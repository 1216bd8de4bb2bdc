// An entry ready to be measured: compiled, its stores as `init` makes them, its inputs made up.
import type { Loaded } from "../compiler/check/index.ts";
import { Bug, Problem } from "../compiler/diagnostic.ts";
import { isHidden } from "../compiler/graph/node.ts";
import type { Schedule } from "../compiler/kernel/schedule.ts";
import type { Entry, Plan } from "../compiler/plan/plan.ts";
import { type Compiled, type CompileRequest, compileProgram, type Running } from "./compile.ts";
import { inSeconds, type Watch } from "./debug.ts";
import { inputOfStore, type Outcome, type StoreInfo, type Tensor } from "./executable.ts";
import { cores } from "./host/machine.ts";
import type { StepTimes } from "./native.ts";
import { findEntry, hasMethod, readProgram } from "./program.ts";
import { count, fromNumbers } from "./tensor.ts";
import { isText, trainingRequest } from "./train.ts";

export interface EntryOptions {
  /** `Declaration`, `Declaration.method` or a function. Default: `train` of the file's only model, else what it computes. */
  readonly entry?: string | undefined;
  /** Of a `train` that takes text: 16 rows of 128 tokens. The sizes of other inputs are in `set`. */
  readonly batch?: number | undefined;
  readonly length?: number | undefined;
  readonly set?: Readonly<Record<string, number | boolean>> | undefined;
  /** Of another entry: also the gradients of its losses and results. */
  readonly gradients?: boolean | undefined;
}
/** What to compile for the entry that the options name. */
export function entryRequest(
  program: Loaded,
  options: EntryOptions,
): Pick<CompileRequest, "declaration" | "sizes" | "entries"> {
  const { entry, batch, length, set = {}, gradients = false } = options;
  const trains = entry === "train" || (entry === undefined && hasMethod(program, undefined, "train"));
  const found = trains ? findEntry(program, undefined, "train") : findEntry(program, entry);
  const rows = { ...(batch === undefined ? {} : { B: batch }), ...(length === undefined ? {} : { T: length }) };
  if (found.method === "train" && (isText(found) || Object.keys(rows).length > 0))
    return trainingRequest(found, { B: 16, T: 128, ...set, ...rows }, ["train"]);
  const { declaration, method } = found;
  return { declaration, sizes: set, entries: [{ method, name: method, sizes: {}, gradients }] };
}

/** On the host in f32, if not given. */
export interface TrialOptions extends EntryOptions, Running {
  /** A .moe file. */
  readonly program: string;
  /** Told of each pass. */
  readonly after?: Watch["after"];
  /** In place of those that were measured on this machine. */
  readonly schedules?: ReadonlyMap<string, Schedule>;
}
export interface Trial {
  readonly plan: Plan;
  readonly entry: Entry;
  readonly threads: number;
  readonly report: Compiled["report"];
  /** From the stores as the run before left them. Times in seconds. */
  run(): Promise<{ readonly outcome: Outcome; readonly times: StepTimes }>;
  parameters(): Tensor[];
  close(): void;
}
export async function openTrial({ program, after, schedules, ...options }: TrialOptions): Promise<Trial> {
  const { threads = cores(), target = "host", precision = "f32", tf32 } = options;
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
    threads,
    compiling: options.compiling,
    watch: after ? { after, profile } : { profile },
    ...(schedules ? { schedules } : {}),
  });
  const entry = plan?.entries.find((e) => e.name !== "init");
  if (!plan || !entry) throw new Bug(`${program} has no entry to run`);
  await executable.run("init", new Map(), { seed: 0, call: 0, step: 0 });
  const inputs = madeUp(entry, executable.stores);
  let step = 0;
  const run: Trial["run"] = async () => {
    const outcome = await executable.run(entry.name, inputs, { seed: 0, call: step, step: step++ });
    if (!last.times) throw new Bug(`${entry.name} was not timed`);
    return { outcome, times: inSeconds(last.times) };
  };
  const parameters = (): Tensor[] =>
    executable.stores.filter((s) => s.role === "parameter").map((s) => executable.read(s.name));
  return { plan, entry, threads, report, run, parameters, close: () => executable.close() };
}

/** Random numbers for what an entry reads: floats in -1 .. 1, whole numbers as bytes of text; `at` counts, as positions do. */
function madeUp(entry: Entry, stores: readonly StoreInfo[]): Map<string, Tensor> {
  const random = generator();
  const wanted = entry.inputs.filter((store) => !isHidden(store));
  return new Map(
    wanted.map((name) => {
      const store = stores.find((s) => s.name === name);
      if (!store) throw new Bug(`${entry.name} reads ${name}, which is no store`);
      const input = inputOfStore(entry.name, name);
      const last = store.shape.at(-1) ?? 1;
      const draw = (i: number): number => {
        if (store.dtype === "bool") return Number(random() < 0.5);
        if (store.dtype !== "i32") return 2 * random() - 1;
        return input === "at" ? i % last : 32 + Math.floor(95 * random());
      };
      return [
        input,
        fromNumbers(
          store.dtype,
          store.shape,
          Float64Array.from({ length: count(store.shape) }, (_, i) => draw(i)),
        ),
      ];
    }),
  );
}
/** Numbers from 0 to 1, the same each time. */
function generator(): () => number {
  let state = 1;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}
