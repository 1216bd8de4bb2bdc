// Writes examples/one-layer.md: one mixture of experts in every form, by the compiler's own printers.
import { readFileSync } from "node:fs";
import { load } from "../compiler/check/index.ts";
import { requireValid } from "../compiler/check/valid.ts";
import { readableKernel } from "../compiler/emit/unit.ts";
import type { Graph } from "../compiler/graph/node.ts";
import { printGraph } from "../compiler/graph/print.ts";
import type { Kernel } from "../compiler/kernel/ir.ts";
import { print as printKernel } from "../compiler/kernel/print.ts";
import { silentObserver } from "../compiler/pass.ts";
import { toGraphs, toPlan } from "../compiler/pipeline.ts";
import type { Plan } from "../compiler/plan/plan.ts";
import { printPlan } from "../compiler/plan/print.ts";
import { print as printProgram } from "../compiler/syntax/print.ts";

const source = "examples/one-layer.moe";

interface Forms {
  readonly program: string;
  readonly graph: Graph;
  readonly kernels: readonly Kernel[];
  readonly plan: Plan;
}
function formsOf(gradients: boolean): Forms {
  const loaded = load({ name: source, text: readFileSync(new URL(`../${source}`, import.meta.url), "utf8") });
  requireValid(loaded);
  const entries = [{ method: "forward", name: "forward", sizes: {}, gradients }];
  const made = toGraphs(loaded, { declaration: "Layer", sizes: { N: 6 }, precision: "f32", entries }, silentObserver());
  const kernels: Kernel[] = [];
  const plan = toPlan(made, silentObserver(), (kernel) => kernels.push(kernel));
  return { program: printProgram(loaded.main.program), graph: named(made.graphs, "forward"), kernels, plan };
}
function named<T extends { readonly name: string }>(list: readonly T[], name: string): T {
  const found = list.find((item) => item.name === name);
  if (!found) throw new Error(`there is no ${name} among ${list.map((item) => item.name).join(", ")}`);
  return found;
}
/** Names of the kernels that `forward` launches, in order, that begin with `kind`. */
function launched({ plan }: Forms, kind: string): string[] {
  const { steps } = named(plan.entries, "forward");
  const names = steps.map((step) => (step.kind === "launch" ? (plan.kernels[step.launch.kernel]?.name ?? "") : ""));
  return names.filter((name) => name.startsWith(kind));
}
const at = (list: readonly string[], i: number): string => list[i] ?? "";
const block = (language: string, text: string): string => `\`\`\`${language}\n${text.trimEnd()}\n\`\`\``;
const kernel = ({ kernels }: Forms, name: string): string => block("text", printKernel(named(kernels, name)));
const cpp = ({ plan }: Forms, name: string): string => block("cpp", readableKernel(named(plan.kernels, name), plan));
/** The printed plan without `init`. */
const planned = ({ plan }: Forms): string =>
  printPlan({ ...plan, entries: plan.entries.filter((entry) => entry.name === "forward") });

/** The text of the page, from the compiler as it is now. */
export function oneLayer(): string {
  const [forward, both] = [formsOf(false), formsOf(true)];
  const [pair, down] = launched(forward, "ragged_dot");
  const back = launched(both, "ragged_dot");
  return `# One layer in every form

Written by \`npm run generate\` (scripts/one-layer.ts); a test keeps it current. The sizes are small enough to read: 6 rows of 8
numbers, 4 experts with 16 hidden units, 2 of them for each row. To see the same of any program:

    moec compile ${source} --entry Layer --set N=6 --emit graph

and \`ast\`, \`kernels\`, \`plan\` or \`cpp\` in place of \`graph\`. That also shows \`init\`, which gives the parameters their first values
and is left out here.

## Source

A gate's scores, the two best experts for each row, and the weighted sum of what they make of it. \`experts[index](x)\` says
only that: no capacity, no order, no buffers.

${block("moe", forward.program)}

## Graph

Sizes are numbers now, and \`SwiGlu\`'s body has been elaborated once for all four experts. \`route\` sorts the 12 choices by
expert, stably: \`.0\` is the order, \`.1\` where each expert's rows begin, \`.2\` the way back, \`.3\` each row's expert.
\`dispatch\` puts rows in that order, \`combine\` takes them back, and each \`x @ weight\` of the body is one \`ragged_dot\`, in
which expert \`e\` multiplies its own rows. \`unit\` is how many rows a choice has.

${block("text", printGraph(forward.graph))}

## Graph with gradients

What is added when gradients are asked for: \`cotangent.0\` is the gradient of the result. \`dispatch\` and \`combine\` are each
other's gradients, so no sum needs an atomic. The score of a row has been moved behind the matmul (first \`ragged_dot\` of
\`cotangent.0\`, then \`mul\`), and its gradient is a sum over the hidden axis: the experts' results are not kept.

${block("text", added(forward.graph, both.graph))}

## Kernels

A region of the graph becomes a kernel; its second line names the nodes inside. This one holds the gather of the rows, both
matmuls of \`SwiGlu\` and the activation. A task is an expert \`e\` and a block of columns \`n\`. \`stage\` names an operand once; then
the loop walks the expert's rows, \`index(t) .. index(t1)\`, 48 at a time: one \`mma\` multiplies the same rows by both weights,
and \`each\` is the epilogue, on accumulators before they reach memory. Kernels have no names of the program: \`x\`, \`w\` and \`y\`
are whatever a launch gives them, so that equal kernels are one.

${kernel(forward, pair ?? "")}

The second matmul of the experts has rows that lie in order already, and no epilogue.

${kernel(forward, down ?? "")}

A routing counts the choices of each expert, sums the counts, and puts each choice in its place: one small kernel, or, of more
choices than one task should count, three. \`tally\` gives ranks in order, which is what makes the sort stable. Indices outside go
to a group of their own, behind the last expert.

${kernel(forward, at(launched(forward, "route"), 0))}

The sum over a row's two choices reads through the routing: nothing is scattered.

${kernel(forward, at(launched(forward, "sum"), 0))}

Backward, one kernel multiplies the gradient by the transposed \`down\`, and its epilogue makes all that follows: from \`gate\` and
\`up\`, which are kept, it computes the activation again and writes the gradients of both halves.

${kernel(both, at(back, 2))}

## Plan

Every buffer has its place in one arena before anything runs. \`steps\` says between which launches a buffer lives; buffers whose
live ranges do not overlap share bytes. The arena is rounded up to whole pages; kernels of \`init\` are counted, its steps left out.

${block("text", planned(forward))}

## C++

What the system's compiler gets, behind the device headers (runtime/device), which say what these functions do. The comments are for
the reader: the lines of the program that the kernel serves, its parameters, and the stores that they are. \`in_place_or_pack\` multiplies by a
weight where it lies (other shapes are copied, by \`pack_columns\` or \`pack\`); \`left.bind\` gives a pointer to each row, so the
gather costs nothing more; \`mma(true, ..)\` overwrites its accumulators. The epilogue runs on each register tile; \`each_in<LANES>\`
runs its body on vectors, and once more on the scalars that are left.

${cpp(forward, pair ?? "")}

The routing:

${cpp(forward, at(launched(forward, "route"), 0))}
`;
}
/** The lines of graph `after` that are not in graph `before`. */
function added(before: Graph, after: Graph): string {
  const lines = printGraph(after).split("\n");
  const old = new Set(printGraph(before).split("\n"));
  return lines.filter((line) => !old.has(line) || line === "}" || line.startsWith("graph")).join("\n");
}
