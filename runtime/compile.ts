// Compiles a program and loads it: the one place where the compiler's plan meets a target.
import { check, type Loaded, load, loadFile } from "../compiler/check/index.ts";
import type { Diagnostic } from "../compiler/diagnostic.ts";
import { shown } from "../compiler/emit/unit.ts";
import type { Elaborated, Graph } from "../compiler/graph/node.ts";
import { printGraph } from "../compiler/graph/print.ts";
import { topological, valuesOf } from "../compiler/graph/walk.ts";
import type { Kernel } from "../compiler/kernel/ir.ts";
import { print as printKernel } from "../compiler/kernel/print.ts";
import type { Schedule } from "../compiler/kernel/schedule.ts";
import { type Observer, timed } from "../compiler/pass.ts";
import { type BuildRequest, requireRight, toGraphs, toPlan } from "../compiler/pipeline.ts";
import type { Plan } from "../compiler/plan/plan.ts";
import { printPlan } from "../compiler/plan/print.ts";
import { print as printProgram } from "../compiler/syntax/print.ts";
import { byteSize } from "../compiler/types/type.ts";
import { Debugger, type Watch } from "./debug.ts";
import type { Executable } from "./executable.ts";
import { hostExecutable } from "./host/executable.ts";
import { cores } from "./host/machine.ts";
import { referenceExecutable } from "./reference.ts";

export type { EntryRequest, Sizes } from "../compiler/pipeline.ts";
export type Form = "ast" | "graph" | "kernels" | "plan" | "cpp";
export const forms: readonly Form[] = ["ast", "graph", "kernels", "plan", "cpp"];

export interface TargetRequest extends BuildRequest {
  readonly target: "host" | "reference";
  /** Of the host: the cores that this process may use, if not given. */
  readonly threads?: number;
  /** Passes to print after, on stderr. */
  readonly printAfter?: readonly string[];
  readonly watch?: Watch;
  /** Schedules in place of those that were measured on this machine. */
  readonly schedules?: ReadonlyMap<string, Schedule>;
  /** Forms to print into `report.forms`. */
  readonly emit?: readonly Form[];
}
/** Each program also gets the entry `init`. */
export interface CompileRequest extends TargetRequest {
  /** A .moe file. */
  readonly path: string;
}
/** Bytes, except `flops` (of one run of the first entry); seconds by stage in `timings`, with `total`. The interpreter plans no memory: its gradients and activations are 0. */
export interface CompileReport {
  readonly parameters: number;
  readonly gradients: number;
  readonly optimizer: number;
  readonly activations: number;
  readonly flops: number;
  readonly kernels: readonly { readonly name: string; readonly lines: readonly string[] }[];
  readonly timings: Readonly<Record<string, number>>;
  /** Text by file name. */
  readonly forms?: Readonly<Partial<Record<Form, Readonly<Record<string, string>>>>>;
}
export interface Compiled {
  readonly executable: Executable;
  /** Of the host. */
  readonly plan: Plan | null;
  readonly report: CompileReport;
}

/** Compiles and loads. Throws ProgramError with all that is wrong in the program, or Problem. */
export const compileProgram = (request: CompileRequest): Promise<Compiled> =>
  compileLoaded((observer) => timed("parse", observer, () => loadFile(request.path)), request);

/** All that is wrong in a file and what it imports: its syntax and its types. */
export const checkFile = (path: string): readonly Diagnostic[] => check(loadFile(path));
export const checkText = (name: string, text: string): readonly Diagnostic[] => check(load({ name, text }));

export async function compileLoaded(open: (observer: Observer) => Loaded, request: TargetRequest): Promise<Compiled> {
  const start = performance.now();
  const observer = new Debugger({ printAfter: request.printAfter ?? [], watch: request.watch ?? {} });
  const loaded = open(observer);
  timed("check", observer, () => requireRight(loaded));
  const program = toGraphs(loaded, request, observer);
  const kernels: Kernel[] = [];
  const plan = request.target === "host" ? toPlan(program, observer, (k) => kernels.push(k), request.schedules) : null;
  observer.planned(plan);
  const before = performance.now();
  const { threads = cores() } = request;
  const executable = plan
    ? await hostExecutable(plan, { threads, ...(await observer.kernels(plan, threads)) })
    : referenceExecutable(program);
  const seconds = (performance.now() - before) / 1000;
  observer.timings.set("load", seconds);
  observer.after({ pass: "load", start: before / 1000, seconds });
  observer.timings.set("total", (performance.now() - start) / 1000);
  const printed = formsOf(request.emit ?? [], loaded, program, kernels, plan);
  return {
    executable,
    plan,
    report: { ...reportOf(program, plan), timings: Object.fromEntries(observer.timings), forms: printed },
  };
}
function reportOf(program: Elaborated, plan: Plan | null): Omit<CompileReport, "timings" | "forms"> {
  const held = (role: string): number =>
    program.stores.filter((s) => s.role === role).reduce((sum, s) => sum + byteSize(s.type), 0);
  const { parameters, gradients, optimizer, activations } = plan?.bytes ?? {
    parameters: held("parameter"),
    optimizer: held("optimizer"),
    gradients: 0,
    activations: 0,
  };
  const [, first] = program.graphs;
  const kernels = (plan?.kernels ?? []).map(({ name, origins }) => ({ name, lines: origins }));
  return { parameters, gradients, optimizer, activations, flops: first ? flopsOf(first) : 0, kernels };
}
const flopsOf = (graph: Graph): number =>
  topological(valuesOf(graph)).reduce((sum, node) => sum + node.op.cost(node).flops, 0);

/** A file for each of a list, by its name. */
const files = <T extends { readonly name: string }>(list: readonly T[], ending: string, text: (item: T) => string) =>
  Object.fromEntries(list.map((item) => [`${item.name.replaceAll(/[^\w.-]/g, "-")}.${ending}`, text(item)]));
function formsOf(
  wanted: readonly Form[],
  { main }: Loaded,
  { graphs }: Elaborated,
  kernels: readonly Kernel[],
  plan: Plan | null,
): NonNullable<CompileReport["forms"]> {
  const make: Readonly<Record<Form, () => Readonly<Record<string, string>>>> = {
    ast: () => ({ "program.moe": printProgram(main.program) }),
    graph: () => files(graphs, "graph", printGraph),
    kernels: () => files(kernels, "kernel", printKernel),
    plan: () => (plan ? { "plan.txt": printPlan(plan) } : {}),
    cpp: () =>
      plan
        ? {
            "device.hpp": plan.header,
            ...files(plan.kernels, "cpp", shown),
          }
        : {},
  };
  return Object.fromEntries(wanted.map((form) => [form, make[form]()]));
}
