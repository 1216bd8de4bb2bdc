// The intermediate forms that `moec compile --emit` prints as text. No kernel is compiled for them.
import type { Loaded } from "../compiler/check/index.ts";
import { readableKernel } from "../compiler/emit/unit.ts";
import type { Elaborated } from "../compiler/graph/node.ts";
import { printGraph } from "../compiler/graph/print.ts";
import type { Kernel } from "../compiler/kernel/ir.ts";
import { print as printKernel } from "../compiler/kernel/print.ts";
import type { Plan } from "../compiler/plan/plan.ts";
import { printPlan } from "../compiler/plan/print.ts";
import { print as printProgram } from "../compiler/syntax/print.ts";
import {
  backendOf,
  buildPlan,
  type CompileReport,
  type CompileRequest,
  parseFile,
  prepareRequest,
  reportOf,
} from "./compile.ts";

export type Form = "ast" | "graph" | "kernels" | "plan" | "cpp";
export const forms: readonly Form[] = ["ast", "graph", "kernels", "plan", "cpp"];
/** Text by file name. */
type Files = Readonly<Record<string, string>>;

/** Runs the passes and prints one form. Throws as `compileProgram` does. */
export async function printedProgram(
  given: CompileRequest,
  form: Form,
): Promise<CompileReport & { readonly files: Files }> {
  const start = performance.now();
  const { request, observer } = await prepareRequest(given);
  const loaded = parseFile(given.path)(observer);
  const kernels: Kernel[] = [];
  const backend = await backendOf(request);
  const { program, plan, figures } = buildPlan(loaded, request, observer, backend, {
    onKernel: (k) => kernels.push(k),
  });
  observer.showPlan(plan);
  const files = formOf(form, loaded, program, kernels, plan);
  return { ...reportOf(figures, observer, start), files };
}

/** One file for each item of a list, named after it. */
const filesOf = <T extends { readonly name: string }>(list: readonly T[], ending: string, text: (item: T) => string) =>
  Object.fromEntries(list.map((item) => [`${item.name.replaceAll(/[^\w.-]/g, "-")}.${ending}`, text(item)]));
export function formOf(
  form: Form,
  { main }: Loaded,
  { graphs }: Elaborated,
  kernels: readonly Kernel[],
  plan: Plan | null,
): Files {
  const make: Readonly<Record<Form, () => Files>> = {
    ast: () => ({ "program.moe": printProgram(main.program) }),
    graph: () => filesOf(graphs, "graph", printGraph),
    kernels: () => filesOf(kernels, "kernel", printKernel),
    plan: () => (plan ? { "plan.txt": printPlan(plan) } : {}),
    cpp: () =>
      plan ? { "device.hpp": plan.header, ...filesOf(plan.kernels, "cpp", (k) => readableKernel(k, plan)) } : {},
  };
  return make[form]();
}
