// Random valid graphs; the same seed gives the same graph.
import { gradients } from "../../compiler/gradients/differentiate.ts";
import { roundAll } from "../../compiler/graph/array.ts";
import type { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Graph, NdArray, Result, Value } from "../../compiler/graph/node.ts";
import { verifyGraph } from "../../compiler/graph/verify.ts";
import { nodesOf, storeOf, topological } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { type Observer, silentObserver } from "../../compiler/pass.ts";
import { afterGradients, beforeGradients } from "../../compiler/pipeline.ts";
import { isFloat } from "../../compiler/types/dtype.ts";
import { Draw, type Mixture, RandomGraphBuilder } from "./random-graph.ts";
import { everywhere } from "./steps.ts";

export interface RandomGraph {
  readonly g: GraphBuilder;
  readonly graph: Graph;
  readonly mixtures: readonly Mixture[];
}
/** Draws a graph of `length` steps; its results are some of the last values. */
export function randomGraph(seed: string, length = 14): RandomGraph {
  const draw = new Draw(seed);
  const r = new RandomGraphBuilder(seed, draw, everywhere);
  r.keep([r.param("f32", draw.shape(2)), r.param("f32", draw.shape(1))]);
  for (let i = 0; i < length; i++) r.step();
  const last = r.pool.slice(-2 * (1 + draw.below(3)));
  const values = [...new Set([...last.filter(() => draw.chance(0.5)), r.pool.at(-1) as Value])];
  const results = values.map((value, i): Result => ({ role: "output", name: String(i), value }));
  return { g: r.g, graph: { name: seed, results }, mixtures: r.mixtures };
}
/** Adds the gradients of all float results, weighted by stores of cotangents, for all float stores. */
export function withGradients({ g, graph }: Pick<RandomGraph, "g" | "graph">): Graph {
  const outputs = graph.results.map((r) => r.value).filter((v) => isFloat(v.type.dtype));
  const wrt = topological(outputs).flatMap((n) =>
    storeOf(n) === null ? [] : n.results.filter((v) => isFloat(v.type.dtype)),
  );
  const seeds = outputs.map((v, i) => b.param(g, `${graph.name}.seed${i}`, v.type));
  const grads = gradients(g, outputs, wrt, seeds);
  const made = grads.map(
    (value, i): Result => ({ role: "gradient", name: storeOf((wrt[i] as Value).node) ?? "", value }),
  );
  return { name: graph.name, results: [...graph.results, ...made] };
}
/** Whether it has an `attention_backward`, which has no gradient itself. */
export const isTwice = (graph: Graph): boolean => nodesOf(graph).some((n) => n.op.name === "attention_backward");
/** Runs all passes, adding gradients in between; `ran` is called with the graph after each pass. */
export function prepared(
  { g, graph }: Pick<RandomGraph, "g" | "graph">,
  ran: (graph: Graph, pass: string) => void = () => undefined,
): Graph {
  const observer: Observer = silentObserver();
  const all = (passes: ReturnType<typeof afterGradients>, from: Graph): Graph =>
    passes.reduce((before, pass) => {
      const after = pass.run(before);
      verifyGraph(after, pass.name);
      ran(after, pass.name);
      return after;
    }, from);
  const early = all(beforeGradients(g, observer, { untranspose: 0 }), graph);
  const whole = isTwice(early) ? early : withGradients({ g, graph: early });
  ran(whole, "gradients");
  return all(afterGradients(g, observer), whole);
}
/** Extreme numbers of each dtype; no floats so large that the order of a sum decides whether it overflows. */
const ends = {
  float: [NaN, Infinity, -Infinity, 1e15, -1e15, 1e-40, -1e-45, 2 ** -126, 0, -0, 88.8, -104.5],
  i32: [2 ** 31 - 1, -(2 ** 31), 2 ** 30, -(2 ** 24) - 1, 0, -1],
};
/** Replaces some of the elements by extreme numbers. */
export function withEnds({ dtype, shape, data }: NdArray, draw: Draw): NdArray {
  if (dtype === "bool" || draw.chance(0.3)) return { dtype, shape, data };
  const [list, often] = [ends[dtype === "i32" ? "i32" : "float"], draw.of([0.02, 0.2])];
  return {
    dtype,
    shape,
    data: roundAll(
      dtype,
      data.map((x) => (draw.chance(often) ? draw.of(list) : x)),
    ),
  };
}
