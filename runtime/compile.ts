// Compiles a program and loads it on its target: the only place where the compiler's plan meets a target.
import { type Loaded, loadFile } from "../compiler/check/index.ts";
import { requireValid } from "../compiler/check/valid.ts";
import { Bug, Problem } from "../compiler/diagnostic.ts";
import { precisionFlagText, shardParametersFlagText, weightsFlagText } from "../compiler/flag-text.ts";
import { fp4PerByte } from "../compiler/graph/codes.ts";
import type { Elaborated, Store } from "../compiler/graph/node.ts";
import type { Kernel } from "../compiler/kernel/ir.ts";
import { type Schedule, scheduledThreads } from "../compiler/kernel/schedule.ts";
import { requireTarget, type Target } from "../compiler/options.ts";
import type { Sharing } from "../compiler/partition/mesh.ts";
import { type Observer, timed } from "../compiler/pass.ts";
import { type BuildRequest, toGraphs, toPlan } from "../compiler/pipeline.ts";
import { requireStores } from "../compiler/plan/bytes.ts";
import type { Plan } from "../compiler/plan/plan.ts";
import { type Backend, backends, cudaBackend } from "../compiler/targets.ts";
import { howInFile } from "../compiler/transform/quantise.ts";
import { isFloat, type Precision, type WeightsOption } from "../compiler/types/dtype.ts";
import { dims, dtypeOf, type } from "../compiler/types/type.ts";
import { type CachedPlan, ownPlans, type PlanCache, type PlanPlace } from "./cache/plans.ts";
import { ScheduleCache, type Schedules } from "./cache/schedules.ts";
import { withoutStackOverflow } from "./check.ts";
import { cudaDriver } from "./cuda/driver.ts";
import { cudaExecutable } from "./cuda/executable.ts";
import { type Executable, type StoreInfo, storeInfo } from "./executable/executable.ts";
import { withPreparedCopies } from "./executable/prepared.ts";
import { withQuantisedStores } from "./executable/quantised.ts";
import { referenceExecutable } from "./executable/reference.ts";
import { type Figures, figuresOf, type InputFigures, inputFigures } from "./figures.ts";
import { hostBackend } from "./host/backend.ts";
import type { KernelBuild } from "./host/compile.ts";
import { hostExecutable, startBuild } from "./host/executable.ts";
import { toolchain } from "./host/toolchain.ts";
import { cores } from "./machine.ts";
import { Debugger, debugLevel, type Watch } from "./measure/debug.ts";
import { sha256 } from "./storage/files.ts";
import { shardedExecutable } from "./workers/sharded-executable.ts";
import { singleWorker, type Workers } from "./workers/workers.ts";

export type { EntryRequest, Sizes } from "../compiler/pipeline.ts";
export interface TargetRequest extends BuildRequest, Pick<CommonOptions, "tf32" | "threads" | "onCompile"> {
  readonly target: Target;
  /** CUDA only: the GPU's index in the driver's list. Default: the first. */
  readonly device?: number | undefined;
  /** Called with what is known of the program's inputs, before any kernel is compiled; may refuse it by throwing. */
  readonly onInputs?: (inputs: InputFigures) => void;
  /**
   * Called with the program's parameters, states and inputs before any pass runs; may refuse them by throwing. Not called for a plan from the cache, which
   * is loaded at once.
   */
  readonly onStores?: ((stores: readonly StoreInfo[]) => void) | undefined;
  /** Names of passes whose results are printed on stderr. */
  readonly printAfter?: readonly string[];
  readonly watch?: Watch;
  /** Schedules to use instead of those that `moec tune` measured on this machine. */
  readonly schedules?: ReadonlyMap<string, Schedule>;
  /** The group of workers that runs the program; if not given, this process alone. */
  readonly world?: Workers;
}
/** Options shared by everything that compiles and runs a program. */
export interface CommonOptions {
  /** Values for the sizes and other parameters of the model's header. */
  readonly set?: Readonly<Record<string, number | boolean>> | undefined;
  readonly target?: Target | undefined;
  readonly precision?: Precision | undefined;
  /** CUDA only: multiply f32 on tensor cores, with operands rounded to tf32. */
  readonly tf32?: boolean | undefined;
  /** Host only. Default: the number of cores that this process may use. */
  readonly threads?: number | undefined;
  /**
   * How matrices are kept that are not trained: `int8`, in 8 bits with a scale for each column; `fp4`, in 4 with a scale for each 32 of a column; `float`,
   * as the program has them. Default: `float`, but that codes of a checkpoint which is generated or evaluated stay codes.
   */
  readonly weights?: WeightsOption | undefined;
  /** Called with 0 before the first kernel is compiled, then with how many are, of how many; not called if the cache has all of them. */
  readonly onCompile?: ((done: number, of: number) => void) | undefined;
}
/** Several workers only: how they share what is trained. */
export type TrainingSharing = Omit<Sharing, "workers">;
/** The same of a program's parameters alone. */
export type ParameterSharing = Omit<
  TrainingSharing,
  "contextParallel" | "shardOptimizer" | "shardParameters" | "shadow"
>;
/** What options say of a request, with their defaults; it lacks the program's declaration, sizes and entries. */
export const commonRequest = (
  options: CommonOptions & TrainingSharing,
  world: Workers,
): Omit<WorkerRequest, "sizes" | "entries"> => ({
  target: options.target ?? "host",
  precision: options.precision ?? "f32",
  tf32: options.tf32,
  threads: options.threads ?? world.threads,
  weights: options.weights,
  onCompile: options.onCompile,
  tensorParallel: options.tensorParallel,
  contextParallel: options.contextParallel,
  expertParallel: options.expertParallel,
  room: options.room,
  shardOptimizer: options.shardOptimizer,
  shardParameters: options.shardParameters,
  shadow: options.shadow,
  world,
});
/** Besides the entries asked for, each program gets the entry `init`. */
export interface CompileRequest extends TargetRequest {
  /** A .moe file. */
  readonly path: string;
}
/** `timings` has seconds by stage, and `total`. A plan that came from the cache has no timings of its own stages. */
export interface CompileReport extends Figures {
  readonly timings: Readonly<Record<string, number>>;
}
/** A request of one of `world`, which all make it. */
export interface WorkerRequest extends TargetRequest {
  readonly world: Workers;
}
export interface Compiled {
  readonly executable: Executable;
  /** Null for the interpreter, which runs graphs. */
  readonly plan: Plan | null;
  readonly report: CompileReport;
}

/** Compiles and loads a file. Throws ProgramError with every error of the program, or Problem. */
export const compileProgram = (request: CompileRequest): Promise<Compiled> =>
  compileLoaded(parseFile(request.path), request);

export const parseFile =
  (path: string) =>
  (observer: Observer): Loaded =>
    timed("parse", observer, () => loadFile(path));

/** `plans`: the cache of finished plans; null: no cache. */
export async function compileLoaded(
  open: (observer: Observer) => Loaded,
  given: TargetRequest,
  plans: PlanCache | null = ownPlans(),
): Promise<Compiled> {
  const start = performance.now();
  const { request, observer } = await prepareRequest(given);
  const loaded = open(observer);
  const place = await placeOf(loaded, request, plans);
  const cached = place && timed("cache", observer, () => place.find());
  if (cached) request.onInputs?.(cached.figures);
  const backend = cached ? null : await backendOf(request);
  const build = backend?.name === "host" ? await startBuild(backend.header()) : null;
  try {
    const made =
      cached ??
      buildPlan(loaded, request, observer, backend && withEarlyCompile(backend, build), {
        onStores: storesCheck(request),
      });
    if (!cached && made.plan) place?.put({ plan: made.plan, figures: made.figures });
    const executable = await loadExecutable(made, request, observer, build);
    return { executable, plan: made.plan, report: reportOf(made.figures, observer, start) };
  } catch (error) {
    build?.cancel(); // stops compiling kernels that nobody will use
    throw error;
  }
}
export async function prepareRequest(
  given: TargetRequest,
): Promise<{ readonly request: TargetRequest; readonly observer: Debugger }> {
  requireTarget(given);
  const { size, rank } = requireKernelTarget(given);
  const schedules = given.schedules ?? (await tunedSchedules(given));
  const request = { ...given, schedules, ...(size > 1 ? { workers: size } : {}) };
  const { printAfter = [], watch = {} } = request;
  return { request, observer: new Debugger({ level: rank > 0 ? 0 : debugLevel(), printAfter, watch }) };
}
function requireKernelTarget({ target, world = singleWorker }: TargetRequest): Workers {
  if (world.size > 1 && target === "reference")
    throw new Problem(
      `${world.size} workers run on the targets host and cuda, not on the reference`,
      "leave the target out, or start one process",
    );
  return world;
}
export function reportOf(figures: Figures, { timings }: Debugger, start: number): CompileReport {
  timings.set("total", (performance.now() - start) / 1000);
  return { ...figures, timings: Object.fromEntries(timings) };
}
async function loadExecutable(
  made: CachedPlan | BuiltPlan,
  request: TargetRequest,
  observer: Debugger,
  build: KernelBuild | null,
): Promise<Executable> {
  observer.showPlan(made.plan);
  const before = performance.now();
  const executable = shardedExecutable(
    withPreparedCopies(withQuantisedStores(await executableOf(made, request, observer, build))),
    request.world ?? singleWorker,
  );
  const seconds = (performance.now() - before) / 1000;
  observer.timings.set("load", seconds);
  observer.onPass({ pass: "load", start: before / 1000, seconds });
  return executable;
}
/** The schedules that `moec tune` found for this machine; none without a C++ compiler. */
async function tunedSchedules({ target, threads = cores() }: TargetRequest): Promise<Schedules> {
  // a missing compiler is reported later, after the program's own errors
  const tools = target === "host" ? await toolchain().catch(() => null) : null;
  return tools ? new ScheduleCache(tools, threads).read() : new Map();
}
/** Where this program's plan is cached; null if it must be made anew: passes are being watched, or its key cannot be known (`PlanCache.place`). */
async function placeOf(loaded: Loaded, request: TargetRequest, plans: PlanCache | null): Promise<PlanPlace | null> {
  const {
    printAfter = [],
    watch,
    threads = cores(),
    onCompile: _,
    world: __,
    device: ___,
    onInputs: ____,
    onStores: _____,
    ...asked
  } = request;
  const seen = printAfter.length > 0 || watch?.after !== undefined || debugLevel() > 0;
  const { target } = asked;
  if (!plans || target === "reference" || seen) return null;
  // a missing compiler is reported later, after the program's own errors
  const tools = target === "host" ? await toolchain().catch(() => null) : null;
  if (target === "host" && !tools) return null;
  const { name, header } = target === "cuda" ? cudaBackend(asked.tf32) : backends[target];
  return plans.place(
    loaded,
    asked,
    sha256([name, header(), tools?.identity, tools && scheduledThreads(threads)].join("\0")),
  );
}

interface Analyzed {
  readonly program: Elaborated;
  readonly figures: Figures;
}
/** What the passes made; `plan` is null for the interpreter. */
type BuiltPlan = (Analyzed & { readonly plan: Plan }) | (Analyzed & { readonly plan: null });
export async function backendOf({ target, tf32, threads }: TargetRequest): Promise<Backend | null> {
  switch (target) {
    case "reference":
      return null;
    case "host":
      return hostBackend(threads);
    case "cuda":
      return cudaBackend(tf32);
  }
}
/** The same backend, which also hands each kernel it emits to `build`, so that compiling starts while later kernels are lowered. */
function withEarlyCompile(backend: Backend, build: KernelBuild | null): Backend {
  if (!build) return backend;
  const emit: Backend["emit"] = (kernel) => {
    const emitted = backend.emit(kernel);
    build.enqueue({ name: kernel.name, text: emitted.text });
    return emitted;
  };
  return { ...backend, emit };
}
const storesCheck = (request: TargetRequest): NonNullable<PlanCallbacks["onStores"]> => {
  const fitsMemory = memoryCheck(request);
  return (own, whole) => {
    fitsMemory(own);
    request.onStores?.(whole.map(storeInfo));
  };
};
/** Refuses stores that do not fit the target's memory, before the plan is made. */
const memoryCheck =
  (request: TargetRequest): ((stores: readonly Store[]) => void) =>
  (stores) => {
    const { target, device = 0, world = singleWorker } = request;
    const needed = stores.map((s) => atLeast(s, request));
    requireStores(needed, target === "cuda" ? { bytes: deviceMemory(device) } : world.memory(), narrower(request));
  };
/** What to try before smaller sizes. Codes are not divided, so none is advised where parameters are. */
function narrower(request: TargetRequest): string {
  const { weights, precision, restored, entries, workers = 1, shardParameters = false } = request;
  if (weights !== undefined || shardParameters) return "";
  const trains = entries.some((e) => e.method === "train" && e.name !== "evaluate");
  const divided =
    trains && workers > 1 ? `give ${shardParametersFlagText}, which divides what is not in experts, or ` : "";
  const f32 = precision === "f32";
  if (restored)
    return `${divided}give ${f32 ? `${precisionFlagText("bf16")}, which halves them, or ` : ""}${weightsFlagText("int8")}, which ${f32 ? "leaves a quarter" : "halves them"}, or `;
  return trains
    ? `${divided}if most of them are not trained, as under adapters, give ${weightsFlagText("int8")}${f32 ? ` or ${precisionFlagText("bf16")}` : ""}, or `
    : "";
}
/** Which matrices become codes is known once the passes have run: here all do that are to. */
function atLeast(s: Store, { weights, kept }: TargetRequest): Store {
  const sizes = dims(s.type);
  const code = weights ?? (kept && howInFile(s, kept)?.code) ?? "float";
  if (code === "float" || s.role !== "parameter" || sizes.length < 2 || !isFloat(dtypeOf(s.type))) return s;
  const bytes =
    code === "fp4" ? sizes.map((n, axis) => (axis === sizes.length - 2 ? Math.ceil(n / fp4PerByte) : n)) : sizes;
  return { ...s, type: type("i8", bytes) };
}
/** The GPU's memory in bytes; no limit if no GPU is found, which is an error later, when the plan is loaded. */
function deviceMemory(device: number): number {
  try {
    return cudaDriver().devices[device]?.bytes ?? Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
/** Callbacks that see what is made, and may refuse it by throwing. */
interface PlanCallbacks {
  /** As of `toGraphs`. */
  readonly onStores?: (own: readonly Store[], whole: readonly Store[]) => void;
  /** Called with each kernel of the plan. */
  readonly onKernel?: (kernel: Kernel) => void;
}
/** Checks the program and runs all passes. Throws ProgramError if it has errors. */
export function buildPlan(
  ...of: [Loaded, TargetRequest, Observer, Backend, PlanCallbacks?]
): Analyzed & { readonly plan: Plan };
export function buildPlan(...of: [Loaded, TargetRequest, Observer, Backend | null, PlanCallbacks?]): BuiltPlan;
export function buildPlan(
  loaded: Loaded,
  request: TargetRequest,
  observer: Observer,
  backend: Backend | null,
  { onStores, onKernel }: PlanCallbacks = {},
): BuiltPlan {
  return withoutStackOverflow(() => {
    timed("check", observer, () => requireValid(loaded));
    const program = toGraphs(loaded, request, observer, onStores);
    request.onInputs?.(inputFigures(program));
    const plan = backend && toPlan(program, observer, onKernel, request.schedules, backend);
    const seen = { program, figures: figuresOf(program, plan) };
    return plan ? { ...seen, plan } : { ...seen, plan };
  });
}
async function executableOf(
  made: CachedPlan | BuiltPlan,
  { target, onCompile, threads = cores(), device, world = singleWorker }: TargetRequest,
  observer: Debugger,
  build: KernelBuild | null,
): Promise<Executable> {
  const { plan } = made;
  if (plan === null) return referenceExecutable(made.program);
  switch (target) {
    case "reference":
      throw new Bug("the interpreter runs graphs, and is given a plan");
    case "host": {
      const kernels = await observer.profileOptions(plan, threads);
      return hostExecutable(plan, { onCompile, threads, build, free: world.memory(), ...kernels });
    }
    case "cuda":
      return cudaExecutable(plan, { onCompile, device, world, ...(await observer.profileOptions(plan, 1)) });
  }
}
