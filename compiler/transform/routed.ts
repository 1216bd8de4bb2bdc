// Simplifies the backward of routed calls. A row's score moves out of the matmuls, and its gradient is computed from the other side of a product,
// which exists anyway; so the forward need not keep the result of an expert's last product. Both rewrites may pass a cast.
import type { Builder, Graph, Node, Value } from "../graph/node.ts";
import { rebuild, topological, valuesOf, withValues } from "../graph/walk.ts";
import { item } from "../item.ts";
import { none, type OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { algebra } from "../rewrite/algebra.ts";
import { matchOp } from "../rewrite/pattern.ts";
import { type Rule, rewrite, rewriteGraph } from "../rewrite/rule.ts";
import type { DType } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { dims, dtypeOf } from "../types/type.ts";

/** v = rest * factor, the factor having the first `lead` axes of v and being broadcast over the others. */
interface Factored {
  readonly factor: Value;
  readonly rest: Value;
}
/** Finds a factor per row in v, also below casts, row moves and reshapes; null if there is none. */
function factored(g: Builder, v: Value, lead: number): Factored | null {
  const product = matchOp(v, "binary");
  if (product?.attrs.fn === "mul") return ofProduct(g, product.args, lead);
  const [from, ...by] = v.node.args;
  if (!from) return null;
  switch (v.node.op.name) {
    case "cast":
      return mapFactored(
        factored(g, from, lead),
        (f) => f,
        (rest) => b.cast(g, rest, dtypeOf(v.type)),
      );
    case "dispatch":
    case "combine": {
      const move = (x: Value): Value => b.make1(g, v.node.op.name as "dispatch", [x, ...by], none);
      return mapFactored(factored(g, from, lead), move, move);
    }
    case "reshape":
      return ofReshape(g, v, from, lead);
    default:
      return null;
  }
}
/** Applies the same op to a factor and its rest. */
function mapFactored(inner: Factored | null, factor: (x: Value) => Value, rest: (x: Value) => Value): Factored | null {
  return inner && { factor: factor(inner.factor), rest: rest(inner.rest) };
}
function ofProduct(g: Builder, args: readonly Value[], lead: number): Factored | null {
  const [x, y] = [item(args, 0), item(args, 1)];
  const [left, right] = [perRow(g, x, lead), perRow(g, y, lead)];
  if (right) return { factor: right, rest: x };
  return left && { factor: left, rest: y };
}
/** If v broadcasts one number per row (over all axes from `lead` on), those numbers; else null. */
export function perRow(g: Builder, v: Value, lead: number): Value | null {
  const node = matchOp(v, "broadcast");
  const [from] = node?.args ?? [];
  const { length } = dims(v.type);
  if (!node || !from || lead >= length || node.attrs.axes.length === 0 || node.attrs.axes.some((a) => a >= lead))
    return null;
  return b.broadcast(g, from, dims(v.type).slice(0, lead), node.attrs.axes);
}
/** Passes a reshape that may split or join the leading axes, but keeps them apart from the others. */
function ofReshape(g: Builder, v: Value, from: Value, lead: number): Factored | null {
  const [shape, before] = [dims(v.type), dims(from.type)];
  for (let inner = before.length; inner > 0; inner--) {
    const found = product(before.slice(0, inner)) === product(shape.slice(0, lead)) ? factored(g, from, inner) : null;
    if (found)
      return { factor: b.reshape(g, found.factor, shape.slice(0, lead)), rest: b.reshape(g, found.rest, shape) };
  }
  return null;
}
/** x times a factor for each row. The multiplication is in the wider dtype of the two, the result in that of x. */
function scaled(g: Builder, x: Value, factor: Value): Value {
  const wide = b.broadcast(g, factor, dims(x.type), [0]);
  return b.cast(g, b.mul(g, x, wide), dtypeOf(x.type));
}

const moveOut: Rule = {
  name: "ragged_dot(s * x, w) = s * ragged_dot(x, w)",
  root: "ragged_dot",
  apply({ node }, g) {
    const { args, attrs } = node as Node<{ readonly unit: number }>;
    const found = factored(g, item(args, 0), 1);
    return found && scaled(g, b.raggedDot(g, found.rest, item(args, 1), item(args, 2), attrs.unit), found.factor);
  },
  examples: (g) => sampleRouted(g).map(({ rows, w, offsets }) => b.raggedDot(g, rows, w, offsets)),
};
/** The factor moves to the left operand (the expert's activation), so that the right one remains a plain gather. */
const moveOver: Rule = {
  name: "ragged_outer(x, s * y) = ragged_outer(s * x, y)",
  root: "ragged_outer",
  apply({ node }, g) {
    const { args, attrs } = node as Node<{ readonly unit: number }>;
    const found = factored(g, item(args, 1), 1);
    return found && b.raggedOuter(g, scaled(g, item(args, 0), found.factor), found.rest, item(args, 2), attrs.unit);
  },
  examples: (g) =>
    sampleRouted(g).map(({ rows, offsets }) =>
      b.raggedOuter(g, b.param(g, "a", { dtype: "f32", shape: [12, 2] }), rows, offsets),
    ),
};
/** Sums over each expert's rows (a bias' gradient) then read the rows that products read, which workers exchange once. */
const moveIn: Rule = {
  name: "scatter(i, dispatch(s * x)) = scatter(i, dispatch(s) * dispatch(x))",
  root: "scatter",
  apply({ node }, g) {
    const { args, attrs } = node as Node<OpAttrs["scatter"]>;
    const rows = item(args, 1);
    const found = attrs.mode === "add" && isMoved(rows) ? factored(g, rows, 1) : null;
    return found && b.make1(g, "scatter", [item(args, 0), scaled(g, found.rest, found.factor)], attrs);
  },
  examples: (g) =>
    sampleRouted(g).map(({ rows, expert }) =>
      b.make1(g, "scatter", [expert, rows], { axis: 0, batch: 0, mode: "add", size: 4 }),
    ),
};
/** Whether v is rows as a dispatch left them, perhaps cast or reshaped. */
function isMoved({ node }: Value): boolean {
  const { name } = node.op;
  return name === "dispatch" || ((name === "cast" || name === "reshape") && isMoved(item(node.args, 0)));
}
export const rowFactors: readonly Rule[] = [moveOut, moveOver, moveIn];

function sampleRouted(g: Builder): { rows: Value; w: Value; offsets: Value; expert: Value }[] {
  const f32 = (name: string, shape: readonly number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const by = b.route(g, b.param(g, "index", { dtype: "i32", shape: [12] }), 4);
  const product = b.mul(g, b.broadcast(g, f32("s", [6, 2]), [6, 2, 3], [0, 1]), f32("x", [6, 2, 3]));
  const rows = b.dispatch(g, b.reshape(g, product, [12, 3]), by);
  return [{ rows, w: f32("w", [4, 3, 5]), offsets: by.offsets, expert: by.expert }];
}

/**
 * Rewrites sum(x * ragged_dot(a, w), -1) to sum(a * ragged_dot(x, w^T), -1) if that second product exists in the graph anyway. It looks through row
 * moves, casts, and sums of products: sum(x * (y + b), -1) = sum(x * y, -1) + sum(x * b, -1).
 */
class OtherSide {
  readonly #g: Builder;
  /** The nodes that exist in the graph anyway. */
  readonly #present: ReadonlySet<Node>;
  constructor(g: Builder, present: ReadonlySet<Node>) {
    this.#g = g;
    this.#present = present;
  }
  /** The rewritten form of a sum of products over the last axis; null if the other product would have to be computed. */
  of(sum: Value): Value | null {
    const node = matchOp(sum, "reduce");
    const from = node?.args[0];
    const last = from ? from.type.shape.length - 1 : -1;
    const product = from && matchOp(from, "binary");
    if (node?.attrs.fn !== "sum" || node.attrs.axes.join() !== String(last) || product?.attrs.fn !== "mul") return null;
    const [x, y] = [item(product.args, 0), item(product.args, 1)];
    const wide = dtypeOf(sum.type);
    return this.#rows(x, y, wide) ?? this.#rows(y, x, wide);
  }
  /** sum(x * q, -1), accumulated in `wide`, by way of the other side; null if that does not exist. */
  #rows(x: Value, q: Value, wide: DType): Value | null {
    const g = this.#g;
    const [from, ...by] = q.node.args;
    if (!from) return null;
    switch (q.node.op.name) {
      case "ragged_dot":
        return this.#product(x, q.node as Node<{ readonly unit: number }>, wide);
      case "cast":
        return this.#rows(b.cast(g, x, dtypeOf(from.type)), from, wide);
      case "combine": {
        const sums = this.#rows(b.make1(g, "dispatch", [x, ...by], none), from, wide);
        return sums && b.make1(g, "combine", [sums, ...by], none);
      }
      case "reshape": {
        const sums =
          dims(q.type).at(-1) === dims(from.type).at(-1)
            ? this.#rows(b.reshape(g, x, dims(from.type)), from, wide)
            : null;
        return sums && b.reshape(g, sums, dims(q.type).slice(0, -1));
      }
      case "binary":
        return matchOp(q, "binary")?.attrs.fn === "add" ? this.#sum(x, from, item(by, 0), wide) : null;
      default:
        return null;
    }
  }
  #sum(x: Value, y: Value, z: Value, wide: DType): Value | null {
    const [left, right] = [this.#rows(x, y, wide), this.#rows(x, z, wide)];
    if (!left && !right) return null;
    return b.add(this.#g, left ?? this.#rowDot(x, y, wide), right ?? this.#rowDot(x, z, wide));
  }
  #product(x: Value, { args, attrs }: Node<{ readonly unit: number }>, wide: DType): Value | null {
    const [a, w, offsets] = [item(args, 0), item(args, 1), item(args, 2)];
    const made = b.raggedDot(this.#g, x, b.swap(this.#g, w), offsets, attrs.unit);
    const [other] = rewrite(this.#g, [made], algebra, { frozen: this.#present });
    return other && this.#present.has(other.node) ? this.#rowDot(a, other, wide) : null;
  }
  #rowDot(x: Value, y: Value, wide: DType): Value {
    const g = this.#g;
    return b.sum(g, b.mul(g, b.cast(g, x, wide), b.cast(g, y, wide)), [-1]);
  }
}

/** Applies both rewrites to the graph of a training step, after differentiation and simplification. */
export function routedBackward(g: Builder, graph: Graph): Graph {
  const simplified = rewriteGraph(g, graph, [...algebra, ...rowFactors]);
  return rewriteGraph(g, withValues(graph, useOtherSides(g, valuesOf(simplified))), algebra);
}
/**
 * Replaces each sum by its other side, if it has one. All are found before any is replaced, because the set of nodes that exist changes with the
 * first replacement. The other side of a sum never needs a later sum, so rebuilding in this order makes each before it is used.
 */
function useOtherSides(g: Builder, values: readonly Value[]): Value[] {
  const nodes = topological(values);
  const side = new OtherSide(g, new Set(nodes));
  const others = new Map<Node, Value>();
  for (const node of nodes) {
    const other = node.op.name === "reduce" ? side.of(item(node.results, 0)) : null;
    if (other) others.set(node, other);
  }
  const all = rebuild(g, [...others.values(), ...values], (node, _, now) => {
    const other = others.get(node);
    return other ? [now(other)] : null;
  });
  return all.slice(others.size);
}
