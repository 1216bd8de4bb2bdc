// Compiles a program and loads it: the one place where the compiler's plan meets a target.
import { check, type Loaded, load, loadFile } from "../compiler/check/index.ts";
import { type Diagnostic, Problem } from "../compiler/diagnostic.ts";
import { choicesOf } from "../compiler/graph/choices.ts";
import type { Elaborated, Graph, Store } from "../compiler/graph/node.ts";
import { nodesOf } from "../compiler/graph/walk.ts";
import type { Kernel } from "../compiler/kernel/ir.ts";
import { crowd, type Schedule } from "../compiler/kernel/schedule.ts";
import { requireTarget, type Target } from "../compiler/options.ts";
import { type Observer, timed } from "../compiler/pass.ts";
import { type BuildRequest, requireRight, toGraphs, toPlan } from "../compiler/pipeline.ts";
import { requireParameters } from "../compiler/plan/bytes.ts";
import { buffersOf, type Plan, type Step } from "../compiler/plan/plan.ts";
import { type Backend, backends, cudaBackend } from "../compiler/targets.ts";
import type { Precision } from "../compiler/types/dtype.ts";
import { byteSize, count } from "../compiler/types/type.ts";
import { compilerVersion } from "./checkpoint.ts";
import { deviceAmong } from "./cuda/among.ts";
import { cudaDriver } from "./cuda/driver.ts";
import { cudaExecutable } from "./cuda/executable.ts";
import { Debugger, debugLevel, type Watch } from "./debug.ts";
import type { Executable } from "./executable.ts";
import { hostBackend, instructionsOf } from "./host/backend.ts";
import { hash } from "./host/cache.ts";
import type { KernelBuild } from "./host/compile.ts";
import { beginKernels, hostExecutable } from "./host/executable.ts";
import { cores } from "./host/machine.ts";
import { ScheduleCache, type Schedules } from "./host/schedules.ts";
import { toolchain } from "./host/toolchain.ts";
import { type Figures, ownPlans, type PlanCache, type Planned, type PlanPlace } from "./plans.ts";
import { withCopies } from "./prepared.ts";
import { referenceExecutable } from "./reference.ts";
import { spread } from "./spread.ts";
import { alone, type Workers } from "./workers.ts";

export type { EntryRequest, Sizes } from "../compiler/pipeline.ts";
export interface TargetRequest extends BuildRequest {
  readonly target: Target;
  /** Of cuda: products of f32 by tensor cores, of operands rounded to tf32. */
  readonly tf32?: boolean | undefined;
  /** Of cuda: the GPU, by its place in the driver's list; the first if not given. */
  readonly device?: number | undefined;
  /** Of the host: the cores that this process may use, if not given. */
  readonly threads?: number | undefined;
  readonly compiling?: Running["compiling"];
  /** Passes to print after, on stderr. */
  readonly printAfter?: readonly string[];
  readonly watch?: Watch;
  /** Schedules in place of those that were measured on this machine. */
  readonly schedules?: ReadonlyMap<string, Schedule>;
  /** Those who run it together. */
  readonly together?: Workers;
}
/** What all that runs a program is asked with. */
export interface Running {
  /** Sizes and values of the model's header. */
  readonly set?: Readonly<Record<string, number | boolean>> | undefined;
  readonly target?: Target | undefined;
  readonly precision?: Precision | undefined;
  /** Of cuda: products of f32 by tensor cores, of operands rounded to tf32. */
  readonly tf32?: boolean | undefined;
  readonly threads?: number | undefined;
  /** Told how many kernels are compiled before anything runs, which takes seconds; not where the cache has them all. */
  readonly compiling?: ((kernels: number) => void) | undefined;
}
/** Each program also gets the entry `init`. */
export interface CompileRequest extends TargetRequest {
  /** A .moe file. */
  readonly path: string;
}
/** Seconds by stage in `timings`, with `total`; a plan that was kept from an earlier compilation has no stages of its own. */
export interface CompileReport extends Figures {
  readonly timings: Readonly<Record<string, number>>;
}
export interface Compiled {
  readonly executable: Executable;
  /** Null of the interpreter. */
  readonly plan: Plan | null;
  readonly report: CompileReport;
}

/** Compiles and loads. Throws ProgramError with all that is wrong in the program, or Problem. */
export const compileProgram = (request: CompileRequest): Promise<Compiled> =>
  compileLoaded(parsed(request.path), request);

export const parsed =
  (path: string) =>
  (observer: Observer): Loaded =>
    timed("parse", observer, () => loadFile(path));

/**
 * What each of several workers compiles: the first of a machine before the others there, which find in the cache what it made. What they do together
 * must be the same for all, in one order, and lie alike: other instruction sets have panels of other widths. With other words of products what all
 * have would drift, as with another moec.
 */
export async function compileTogether(
  together: Workers,
  target: Target,
  compile: (device: number | undefined) => Promise<Compiled>,
): Promise<Compiled> {
  const device = target === "cuda" ? deviceAmong(together) : undefined;
  const made = await together.inTurn("compile", () => compile(device));
  if (together.size === 1) return made;
  try {
    together.requireAlike({ version: compilerVersion }, "install the same moec on every machine");
    if (target === "host") await requireInstructions(together);
    together.requireAlike({ plan: `SHA-256 ${hash(JSON.stringify(made.plan ? sharedOf(made.plan) : []))}` });
    return made;
  } catch (error) {
    made.executable.close();
    throw error;
  }
}
async function requireInstructions(together: Workers): Promise<void> {
  const instructions = await toolchain().then(instructionsOf, () => "none");
  together.requireAlike(
    { MOEC_ISA: instructions },
    "set MOEC_ISA for all, to what the oldest CPU has: amx, avx512bf16, avx512, avx2 or portable",
  );
}
/** On GPUs the kernels too: workers agree on variants of each at its first launch. */
const sharedOf = ({ target, entries, buffers, kernels }: Plan): readonly unknown[] => [
  ...entries.map(({ name, steps }) => [name, steps.flatMap((step) => shownTogether(step, buffers))]),
  ...(target === "cuda" ? [kernels.map((k) => k.name), entries.map((e) => e.steps.map(buffersOf))] : []),
];
const shownTogether = (step: Step, buffers: Plan["buffers"]): readonly object[] =>
  step.kind === "collective"
    ? [
        step.collective.together,
        ...step.collective.args.map((i) => ({ shape: buffers[i]?.shape, layout: buffers[i]?.layout })),
      ]
    : [];

/** All that is wrong in a file and what it imports: its syntax and its types. */
export const checkFile = (path: string): readonly Diagnostic[] => check(loadFile(path));
/** The same of a text, which errors name as `name`. */
export const checkText = (name: string, text: string): readonly Diagnostic[] => check(load({ name, text }));

/** `plans`: where finished plans are kept; null: nowhere. */
export async function compileLoaded(
  open: (observer: Observer) => Loaded,
  given: TargetRequest,
  plans: PlanCache | null = ownPlans(),
): Promise<Compiled> {
  const start = performance.now();
  const { request, observer } = await begin(given);
  const loaded = open(observer);
  const place = await placeOf(loaded, request, plans);
  const kept = place && timed("cache", observer, () => place.find());
  const backend = kept ? null : await backendOf(request);
  const begun = backend?.name === "host" ? await beginKernels(backend.header()) : null;
  try {
    const made =
      kept ?? planned(loaded, request, observer, backend && telling(backend, begun), { held: fitting(request) });
    if (!kept && made.plan) place?.put({ plan: made.plan, figures: made.figures });
    const executable = await loadedOn(made, request, observer, begun);
    return { executable, plan: made.plan, report: reportOf(made.figures, observer, start) };
  } catch (error) {
    begun?.abandon(); // nobody would wait for it
    throw error;
  }
}
export async function begin(
  given: TargetRequest,
): Promise<{ readonly request: TargetRequest; readonly observer: Debugger }> {
  requireTarget(given);
  const { size, rank } = requireFast(given);
  const schedules = given.schedules ?? (await measured(given));
  const request = { ...given, schedules, ...(size > 1 ? { workers: size } : {}) };
  const { printAfter = [], watch = {} } = request;
  return { request, observer: new Debugger({ level: rank > 0 ? 0 : debugLevel(), printAfter, watch }) };
}
function requireFast({ target, together = alone }: TargetRequest): Workers {
  if (together.size > 1 && target === "reference")
    throw new Problem(
      `${together.size} workers run on the targets host and cuda, not on the reference`,
      "leave the target out, or start one process",
    );
  return together;
}
export function reportOf(figures: Figures, { timings }: Debugger, start: number): CompileReport {
  timings.set("total", (performance.now() - start) / 1000);
  return { ...figures, timings: Object.fromEntries(timings) };
}
async function loadedOn(
  made: Planned | Made,
  request: TargetRequest,
  observer: Debugger,
  begun: KernelBuild | null,
): Promise<Executable> {
  observer.planned(made.plan);
  const before = performance.now();
  const executable = spread(withCopies(await executableOf(made, request, observer, begun)), request.together ?? alone);
  const seconds = (performance.now() - before) / 1000;
  observer.timings.set("load", seconds);
  observer.after({ pass: "load", start: before / 1000, seconds });
  return executable;
}
/** What passes make of a program, unless a chain of operations is longer than their recursion can follow. */
function followed<T>(make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof RangeError && /call stack/.test(cause.message))) throw cause;
    throw new Problem(
      "the program is too deep: thousands of its operations wait for one another, one by one",
      "give its loops fewer turns, and its lists of layers fewer layers",
      { cause },
    );
  }
}
/** The schedules that `moec tune` found for this machine. */
async function measured({ target, threads = cores() }: TargetRequest): Promise<Schedules> {
  // without a compiler the program's own errors come first
  const tools = target === "host" ? await toolchain().catch(() => null) : null;
  return tools ? new ScheduleCache(tools, threads).read() : new Map();
}
/** Where this program's plan is kept; null where it is made each time, for its passes are to be seen or nothing identifies it. */
async function placeOf(loaded: Loaded, request: TargetRequest, plans: PlanCache | null): Promise<PlanPlace | null> {
  const { printAfter = [], watch, threads = cores(), compiling: _, together: __, device: ___, ...asked } = request;
  const seen = printAfter.length > 0 || watch?.after !== undefined || debugLevel() > 0;
  const { target } = asked;
  if (!plans || target === "reference" || seen) return null;
  // without a compiler the program's own errors come first
  const tools = target === "host" ? await toolchain().catch(() => null) : null;
  if (target === "host" && !tools) return null;
  const { name, header } = target === "cuda" ? cudaBackend(asked.tf32) : backends[target];
  return plans.place(loaded, asked, hash([name, header(), tools?.identity, tools && crowd(threads)].join("\0")));
}

interface Seen {
  readonly program: Elaborated;
  readonly figures: Figures;
}
/** `plan` is null for the interpreter. */
type Made = (Seen & { readonly plan: Plan }) | (Seen & { readonly plan: null });
export async function backendOf({ target, tf32, threads }: TargetRequest): Promise<Backend | null> {
  if (target === "reference") return null;
  return target === "host" ? hostBackend(threads) : cudaBackend(tf32);
}
/** The same, and each kernel that it writes is told of. */
function telling(backend: Backend, begun: KernelBuild | null): Backend {
  if (!begun) return backend;
  const emit: Backend["emit"] = (kernel) => {
    const emitted = backend.emit(kernel);
    begun.soon({ name: kernel.name, text: emitted.text });
    return emitted;
  };
  return { ...backend, emit };
}
/** Refuses parameters that the target's memory does not hold, when the plan is not made yet. */
const fitting =
  ({ target, device = 0, together = alone }: TargetRequest): NonNullable<Told["held"]> =>
  (stores) =>
    requireParameters(stores, target === "cuda" ? { bytes: deviceMemory(device) } : together.memory());
/** No limit where the GPU is not found, which is said when the plan is loaded. */
function deviceMemory(device: number): number {
  try {
    return cudaDriver().devices[device]?.bytes ?? Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
/** Who is told of what is made, and may refuse it. */
interface Told {
  /** Of the stores that the program names, before any pass runs. */
  readonly held?: (stores: readonly Store[]) => void;
  /** Of each of the plan's kernels. */
  readonly kernel?: (kernel: Kernel) => void;
}
/** What passes make of a program that is right. */
export function planned(...of: [Loaded, TargetRequest, Observer, Backend, Told?]): Seen & { readonly plan: Plan };
export function planned(...of: [Loaded, TargetRequest, Observer, Backend | null, Told?]): Made;
export function planned(
  loaded: Loaded,
  request: TargetRequest,
  observer: Observer,
  backend: Backend | null,
  { held, kernel }: Told = {},
): Made {
  return followed(() => {
    timed("check", observer, () => requireRight(loaded));
    const program = toGraphs(loaded, request, observer, held);
    const plan = backend && toPlan(program, observer, kernel, request.schedules, backend);
    const seen = { program, figures: figuresOf(program, plan) };
    return plan ? { ...seen, plan } : { ...seen, plan };
  });
}
async function executableOf(
  made: Planned | Made,
  { target, compiling, threads = cores(), device, together = alone }: TargetRequest,
  observer: Debugger,
  begun: KernelBuild | null,
): Promise<Executable> {
  if (made.plan === null) return referenceExecutable(made.program);
  if (target === "cuda")
    return cudaExecutable(made.plan, { compiling, device, together, ...(await observer.kernels(made.plan, 1)) });
  const kernels = await observer.kernels(made.plan, threads);
  return hostExecutable(made.plan, { compiling, threads, begun, free: together.memory(), ...kernels });
}
export function figuresOf(program: Elaborated, plan: Plan | null): Figures {
  const held = (role: string): number =>
    program.stores.filter((s) => s.role === role).reduce((sum, s) => sum + byteSize(s.type), 0);
  const { parameters, prepared, gradients, optimizer, activations } = plan?.bytes ?? {
    parameters: held("parameter"),
    prepared: held("prepared"),
    optimizer: held("optimizer"),
    gradients: 0,
    activations: 0,
  };
  const [, first] = program.graphs;
  const kernels = (plan?.kernels ?? []).map(({ name, origins }) => ({ name, lines: origins }));
  const counted = { flops: first ? flopsOf(first) : 0, trained: trainedIn(program), choices: choicesOf(program) };
  return { parameters, prepared, gradients, optimizer, activations, ...counted, kernels };
}
function trainedIn({ graphs, stores }: Elaborated): number {
  const changed = new Set(
    graphs.flatMap((g) => (g.name === "init" ? [] : g.results.filter((r) => r.role === "store").map((r) => r.name))),
  );
  const trained = stores.filter((s) => s.role === "parameter" && changed.has(s.name));
  return trained.reduce((sum, s) => sum + count(s.type) * (s.split ?? 1), 0);
}
const flopsOf = (graph: Graph): number => nodesOf(graph).reduce((sum, node) => sum + node.op.flops(node), 0);
