// The gradients of one entry: those that its optimizer needs, or those that a caller asks for.
import type { ElaboratedEntry, Elaboration, Training } from "../check/entry/elaborate.ts";
import { type Graph, type Result, type Store, unstackedStore, type Value } from "../graph/node.ts";
import { nodesOf, storeOf } from "../graph/walk.ts";
import * as b from "../ops/build.ts";
import { isFloat } from "../types/dtype.ts";
import { gradients } from "./differentiate.ts";

type G = Elaboration["g"];

/** An entry before differentiation: `total` the sum of its losses, `boundaries` what passes between layers that are made again. */
interface Forward {
  readonly graph: Graph;
  readonly total: Value | null;
  readonly boundaries: readonly (readonly Value[])[];
}
/**
 * Adds what differentiation needs as the last results, so that passes rewrite it too; `splitTraining` takes it out again: the sum of the losses and,
 * if layers are to be made again, what passes between them.
 */
export function withTraining({ graph, training }: ElaboratedEntry, rematerialize: boolean): Graph {
  if (!training) return graph;
  const boundaries = rematerialize ? training.boundaries.flat() : [];
  const added = [training.total, ...boundaries].map(
    (value, i): Result => ({ role: "output", name: `training.${i}`, value }),
  );
  return { ...graph, results: [...graph.results, ...added] };
}
export function splitTraining(
  { graph: { results }, training }: ElaboratedEntry,
  graph: Graph,
  rematerialize: boolean,
): Forward {
  const [total = null, ...rewritten] = graph.results.slice(results.length).map((r) => r.value);
  const groups = training && rematerialize ? training.boundaries : [];
  const boundaries = groups.map(({ length }) => rewritten.splice(0, length));
  return { graph: { ...graph, results: graph.results.slice(0, results.length) }, total, boundaries };
}

/** The gradient of each trained parameter, by its store's name. */
export function parameterGradients(g: G, { trainable }: Training, { total, boundaries }: Forward): Map<string, Value> {
  const grads = gradients(
    g,
    total ? [total] : [],
    trainable.map((t) => t.value),
    undefined,
    boundaries,
  );
  return new Map(trainable.map(({ store }, i) => [store.name, grads[i] as Value]));
}
/** The trained stores that no loss depends on, by any operation that has a gradient. */
export const unreached = (g: G, { trainable }: Training, grads: ReadonlyMap<string, Value>): string[] =>
  trainable.flatMap(({ store, value }) => (grads.get(store.name) === b.like(g, value, 0) ? [store.name] : []));
/** Gradients of all parameters and float inputs that the entry reads, named by the parameter's path or `input.NAME`. Seeds are new inputs. */
export function requestedGradients(
  e: Elaboration,
  entry: ElaboratedEntry,
  { graph }: Forward,
  cotangents: Store[],
): Result[] {
  const { g } = e;
  const losses = graph.results.filter((r) => r.role === "loss").map((r) => r.value);
  const outputs = graph.results.filter((r) => r.role === "output" && isFloat(r.value.type.dtype));
  const seeds = outputs.map(({ name, value }) => {
    const store = unstackedStore(`${entry.name}/cotangent.${name}`, "input", value.type);
    cotangents.push(store);
    return b.param(g, store.name, store.type);
  });
  const names = new Map<string, string>([
    ...e.stores().flatMap((s): [string, string][] => (s.role === "parameter" ? [[s.name, s.name]] : [])),
    ...entry.inputs.map(({ name, store }): [string, string] => [store.name, `input.${name}`]),
  ]);
  const wrt = nodesOf(graph).flatMap((node) => {
    const name = names.get(storeOf(node) ?? "");
    const [value] = node.results;
    return name !== undefined && value && isFloat(value.type.dtype) ? [{ name, value }] : [];
  });
  const grads = gradients(
    g,
    [...losses, ...outputs.map((o) => o.value)],
    wrt.map((w) => w.value),
    [...losses.map((loss) => b.like(g, loss, 1)), ...seeds],
  );
  return wrt.map(({ name }, i): Result => ({ role: "gradient", name, value: grads[i] as Value }));
}
