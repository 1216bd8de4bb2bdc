// Rewrites the graph to what there are kernels for. Long reductions are cut by their shape alone, the pieces added in order, so that no
// schedule and no number of threads changes a bit.
import { Problem } from "../diagnostic.ts";
import { GraphBuilder } from "../graph/builder.ts";
import type { Graph, Node, Value } from "../graph/node.ts";
import { rebuild, valuesOf, withValues } from "../graph/walk.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { ops } from "../ops/list.ts";
import { isFold } from "../transform/regions.ts";
import { expandScatters } from "../transform/scatter.ts";
import { dims } from "../types/type.ts";
import { item, product } from "./expr.ts";

export function expand(graph: Graph): Graph {
  const g = new GraphBuilder(ops);
  const values = rebuild(g, valuesOf(graph), (node) => {
    if (node.results.every((v) => v.type.dtype !== "f64")) return null;
    throw new Problem("the host target computes in f32, and this program asks for f64", "use `--target reference`");
  });
  const gathered = expandScatters(g, withValues(graph, values));
  return settled(g, gathered);
}

/** Cuts until nothing is too long. */
function settled(g: GraphBuilder, graph: Graph): Graph {
  const changed: Node[] = [];
  const values = rebuild(g, valuesOf(graph), (node, args) => {
    const pieces = node.op.name === "reduce" ? cut(g, node, node.attrs as OpAttrs["reduce"], item(args, 0)) : null;
    if (pieces) changed.push(node);
    return pieces;
  });
  return changed.length > 0 ? settled(g, withValues(graph, values)) : graph;
}

/** A fold of more elements than this is cut; so is a reduction over more rows. */
const longFold = 1 << 14;
const manyRows = 64;

function cut(g: GraphBuilder, node: Node, { fn, axes }: OpAttrs["reduce"], x: Value): readonly Value[] | null {
  const shape = dims(x.type);
  const total = product(axes.map((a) => item(shape, a)));
  const [first = 0, last = 0] = [axes[0], axes.at(-1)];
  const twice = (from: Value, inner: number, outer: readonly number[]): Value[] => {
    const pieces = b.make1(g, "reduce", [from], { fn, axes: [inner] });
    return [b.make1(g, "reduce", [pieces], { fn, axes: outer })];
  };
  if (isFold(node)) {
    if (total <= longFold) return null;
    if (axes.length > 1 && item(shape, last) >= manyRows) return twice(x, last, axes.slice(0, -1));
    const lead = shape.slice(0, shape.length - axes.length);
    const piece = divisor(total);
    return piece === 1 ? null : twice(b.reshape(g, x, [...lead, total / piece, piece]), lead.length + 1, [lead.length]);
  }
  if (total <= manyRows) return null;
  if (axes.length > 1) return twice(x, last, axes.slice(0, -1));
  const piece = divisor(total);
  if (piece === 1) return null;
  return twice(b.reshape(g, x, shape.toSpliced(first, 1, total / piece, piece)), first + 1, [first]);
}
/** The largest divisor of n up to its square root, or a little above it. */
function divisor(n: number): number {
  for (let d = Math.min(n, 2 ** Math.ceil(Math.log2(Math.sqrt(n)))); d > 1; d--) if (n % d === 0) return d;
  return 1;
}
