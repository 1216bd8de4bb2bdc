// What is said of a compiled program: the bytes that it needs, its operations and its kernels.
import { type Elaborated, type Graph, isRuntimeInput } from "../compiler/graph/node.ts";
import { assignedStores, nodesOf, storeOf } from "../compiler/graph/walk.ts";
import { indexBounds } from "../compiler/ops/index-range.ts";
import { partCount } from "../compiler/partition/store-placement.ts";
import type { Plan } from "../compiler/plan/plan.ts";
import { byteSize, count } from "../compiler/types/type.ts";

/**
 * In bytes, except `flops` (of one run of the first entry) and `trained`. The interpreter plans no memory, so its gradients and activations are 0.
 */
export interface Figures {
  readonly parameters: number;
  /** Copies of parameters in a narrower dtype, and the scales of quantised ones. */
  readonly prepared: number;
  readonly gradients: number;
  readonly optimizer: number;
  readonly activations: number;
  readonly flops: number;
  /** By the name of the collective: the bytes that one of several workers sends in one run of the first entry. See `sends` of ops. */
  readonly sent: Readonly<Record<string, number>>;
  /** How many elements of parameters the entries change. */
  readonly trained: number;
  /** The names of trained parameters that no loss depends on: an optimizer may let them decay, and nothing else. */
  readonly unreached: readonly string[];
  /** By the store's name (`train/tokens`), for inputs whose elements are indices: how many values an index may have. */
  readonly choices: Readonly<Record<string, number>>;
  /** The inputs that are given and that the entries read, by the store's name. */
  readonly reads: readonly string[];
  readonly kernels: readonly { readonly name: string; readonly lines: readonly string[] }[];
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
  const counted = {
    flops: first ? flopsOf(first) : 0,
    sent: first ? sentBy(first) : {},
    trained: trainableElements(program),
    unreached: program.unreached ?? [],
    ...inputFigures(program),
  };
  return { parameters, prepared, gradients, optimizer, activations, ...counted, kernels };
}
/** What is known of the inputs before any kernel is compiled. */
export type InputFigures = Pick<Figures, "choices" | "reads">;
export function inputFigures(program: Elaborated): InputFigures {
  const read = new Set(program.graphs.flatMap((graph) => nodesOf(graph).map(storeOf)));
  const given = program.stores.filter((s) => s.role === "input" && !isRuntimeInput(s.name));
  const reads = given.flatMap(({ name }) => (read.has(name) ? [name] : []));
  return { choices: indexBounds(program.whole ?? program), reads };
}
function trainableElements({ graphs, stores }: Elaborated): number {
  const changed = assignedStores(graphs.filter((g) => g.name !== "init"));
  const trained = stores.filter((s) => s.role === "parameter" && changed.has(s.name));
  return trained.reduce((sum, s) => sum + count(s.type) * partCount(s), 0);
}
function sentBy(graph: Graph): Record<string, number> {
  const sent: Record<string, number> = {};
  for (const node of nodesOf(graph)) {
    const bytes = node.op.sends?.(node) ?? 0;
    if (bytes > 0) sent[node.op.name] = (sent[node.op.name] ?? 0) + bytes;
  }
  return Object.fromEntries(Object.entries(sent).map(([name, bytes]) => [name, Math.round(bytes)]));
}
const flopsOf = (graph: Graph): number => nodesOf(graph).reduce((sum, node) => sum + node.op.flops(node), 0);
