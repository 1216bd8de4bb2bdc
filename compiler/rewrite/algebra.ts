// Rewrite rules that hold in any program. The right side is never larger than the left. A rule that needs more than a line of condition should be a
// pass.
import { roundTo } from "../graph/array.ts";
import type { Builder, NdArray, Value } from "../graph/node.ts";
import type { OpAttrs, OpName } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { number, numbers } from "../ops/common.ts";
import { foldOf } from "../ops/reduce.ts";
import { piecesOf } from "../ops/view.ts";
import { type DType, wider } from "../types/dtype.ts";
import { dims, dtypeOf, sameType } from "../types/type.ts";
import { any, binary, matchOp, num, select, splatOf, unary } from "./pattern.ts";
import { type Rule, rule } from "./rule.ts";
import { takeOfRun } from "./runs.ts";

const [x, y, c] = [any("x"), any("y"), any("c", "bool")];
const numeric: readonly DType[] = ["f32", "i32"];

const identities: readonly Rule[] = [
  rule("x + 0 = x", binary("add", x, num(0)), ({ x }) => x, numeric),
  rule("x - 0 = x", binary("sub", x, num(0)), ({ x }) => x, numeric),
  rule("0 - x = -x", binary("sub", num(0), x), ({ x }, g) => b.neg(g, x), numeric),
  rule("x * 1 = x", binary("mul", x, num(1)), ({ x }) => x, numeric),
  rule("x * -1 = -x", binary("mul", x, num(-1)), ({ x }, g) => b.neg(g, x), numeric),
  rule("x / 1 = x", binary("div", x, num(1)), ({ x }) => x),
  rule("x ** 1 = x", binary("pow", x, num(1)), ({ x }) => x),
  rule("x ** 2 = x * x", binary("pow", x, num(2)), ({ x }, g) => b.mul(g, x, x)),
  rule("x ** 0 = 1", binary("pow", x, num(0)), ({ x }, g) => b.like(g, x, 1)),
  rule("-(-x) = x", unary("neg", unary("neg", x)), ({ x }) => x, numeric),
  rule("x + -y = x - y", binary("add", x, unary("neg", y)), ({ x, y }, g) => b.sub(g, x, y), numeric),
  rule("x - -y = x + y", binary("sub", x, unary("neg", y)), ({ x, y }, g) => b.add(g, x, y), numeric),
  rule("-x * -y = x * y", binary("mul", unary("neg", x), unary("neg", y)), ({ x, y }, g) => b.mul(g, x, y), numeric),
  rule("-x * y = -(x * y)", binary("mul", unary("neg", x), y), ({ x, y }, g) => b.neg(g, b.mul(g, x, y)), numeric),
  rule("-x / y = -(x / y)", binary("div", unary("neg", x), y), ({ x, y }, g) => b.neg(g, b.div(g, x, y))),
  rule("!!c = c", unary("not", unary("not", c)), ({ c }) => c, ["bool"]),
  rule("c && true = c", binary("and", c, num(1)), ({ c }) => c, ["bool"]),
  rule("c && false = false", binary("and", c, num(0)), ({ c }, g) => b.like(g, c, 0), ["bool"]),
  rule("c || false = c", binary("or", c, num(0)), ({ c }) => c, ["bool"]),
  rule("c || true = true", binary("or", c, num(1)), ({ c }, g) => b.like(g, c, 1), ["bool"]),
  rule("c && c = c", binary("and", c, c), ({ c }) => c, ["bool"]),
  rule("c || c = c", binary("or", c, c), ({ c }) => c, ["bool"]),
  rule("where(true, x, y) = x", select(num(1), x, y), ({ x }) => x),
  rule("where(false, x, y) = y", select(num(0), x, y), ({ y }) => y),
  rule("where(c, x, x) = x", select(c, x, x), ({ x }) => x),
  rule("where(!c, x, y) = where(c, y, x)", select(unary("not", c), x, y), ({ c, x, y }, g) => b.where(g, c, y, x)),
];

/** A rule for a single-argument op applied to another. `right` gets the attributes of both, the inner op's argument and the whole value. */
interface Composed<O extends OpName, I extends OpName> {
  readonly name: string;
  readonly outer: O;
  readonly inner: I;
  readonly right: (g: Builder, outer: OpAttrs[O], inner: OpAttrs[I], x: Value, whole: Value) => Value | null;
  readonly examples: (g: Builder, x: Value) => readonly Value[];
}
const composed = <O extends OpName, I extends OpName>({
  name,
  outer,
  inner,
  right,
  examples,
}: Composed<O, I>): Rule => ({
  name,
  root: outer,
  apply(v, g) {
    const o = matchOp(v, outer);
    const middle = o?.args.length === 1 ? o.args[0] : undefined;
    const i = middle && matchOp(middle, inner);
    const from = i?.args.length === 1 ? i.args[0] : undefined;
    return o && i && from ? right(g, o.attrs, i.attrs, from, v) : null;
  },
  examples: (g) => examples(g, b.param(g, "x", { dtype: "f32", shape: [2, 3, 4] })),
});
const at = (list: readonly number[], i: number): number => list[i] ?? Number.NaN;

const views: readonly Rule[] = [
  composed({
    name: "reshape(reshape(x)) = reshape(x)",
    outer: "reshape",
    inner: "reshape",
    right: (g, o, _, x) => b.reshape(g, x, numbers(o.shape)),
    examples: (g, x) =>
      [
        [4, 6],
        [2, 3, 4],
      ].map((shape) => b.reshape(g, b.reshape(g, x, [6, 4]), shape)),
  }),
  composed({
    name: "transpose(transpose(x)) = transpose(x)",
    outer: "transpose",
    inner: "transpose",
    right: (g, o, i, x) =>
      b.transpose(
        g,
        x,
        o.perm.map((p) => at(i.perm, p)),
      ),
    examples: (g, x) =>
      [
        [0, 2, 1],
        [2, 0, 1],
      ].map((perm) => b.transpose(g, b.transpose(g, x, [1, 2, 0]), perm)),
  }),
  composed({
    name: "broadcast(broadcast(x)) = broadcast(x)",
    outer: "broadcast",
    inner: "broadcast",
    right: (g, o, i, x) =>
      b.broadcast(
        g,
        x,
        numbers(o.shape),
        i.axes.map((a) => at(o.axes, a)),
      ),
    examples: (g, x) => [b.broadcast(g, b.broadcast(g, x, [2, 3, 5, 4], [0, 1, 3]), [7, 2, 3, 5, 4], [1, 2, 3, 4])],
  }),
  composed({
    name: "transpose(broadcast(x)) = broadcast(transpose(x))",
    outer: "transpose",
    inner: "broadcast",
    right(g, o, i, x, whole) {
      const places = i.axes.map((a) => o.perm.indexOf(a));
      const order = [...places.keys()].toSorted((p, q) => at(places, p) - at(places, q));
      return b.broadcast(
        g,
        b.transpose(g, x, order),
        dims(whole.type),
        order.map((p) => at(places, p)),
      );
    },
    examples: (g, x) => [b.transpose(g, b.broadcast(g, x, [2, 3, 5, 4], [0, 1, 3]), [3, 2, 0, 1])],
  }),
  composed({
    name: "slice(slice(x)) = slice(x)",
    outer: "slice",
    inner: "slice",
    right: (g, o, i, x) =>
      o.axis === i.axis ? b.slice(g, x, o.axis, number(o.start) + number(i.start), number(o.size)) : null,
    examples: (g, x) => [b.slice(g, b.slice(g, x, 2, 1, 3), 2, 1, 2)],
  }),
  composed({
    name: "fn(broadcast(x)) = broadcast(fn(x))",
    outer: "unary",
    inner: "broadcast",
    right: (g, o, i, x) => b.broadcast(g, b.unary(g, o.fn, x), numbers(i.shape), i.axes),
    examples: (g, x) => [b.exp(g, b.broadcast(g, x, [2, 3, 5, 4], [0, 1, 3]))],
  }),
  composed({
    name: "cast(broadcast(x)) = broadcast(cast(x))",
    outer: "cast",
    inner: "broadcast",
    right: (g, o, i, x) => b.broadcast(g, b.cast(g, x, o.dtype as DType), numbers(i.shape), i.axes),
    examples: (g, x) => [b.cast(g, b.broadcast(g, x, [2, 3, 5, 4], [0, 1, 3]), "bf16")],
  }),
  composed({
    name: "reduce(broadcast(x)) = broadcast(n * x)",
    outer: "reduce",
    inner: "broadcast",
    right(g, o, i, x, whole) {
      const shape = numbers(i.shape);
      const repeats = o.axes.reduce((n, a) => n * at(shape, a), 1);
      if (o.axes.some((a) => i.axes.includes(a)) || repeats === 0) return null;
      if (o.fn !== "sum" && !foldOf(o.fn).picks) return null;
      const kept = [...shape.keys()].filter((a) => !o.axes.includes(a));
      return b.broadcast(
        g,
        o.fn === "sum" ? b.mul(g, x, repeats) : x,
        dims(whole.type),
        i.axes.map((a) => kept.indexOf(a)),
      );
    },
    examples: (g, x) => [b.sum, b.max].map((fold) => fold(g, b.broadcast(g, x, [7, 2, 3, 5, 4], [1, 2, 4]), [0, 3])),
  }),
  composed({
    name: "cast(cast(x)) = cast(x), the first exact",
    outer: "cast",
    inner: "cast",
    right: (g, o, i, x) => (holds(i.dtype as DType, dtypeOf(x.type)) ? b.cast(g, x, o.dtype as DType) : null),
    examples: (g, x) =>
      (["f64", "bf16"] as const).map((to) => b.cast(g, b.cast(g, x, "f64"), to === "f64" ? "f32" : to)),
  }),
];
/** Whether `to` can represent every value of `from` exactly. */
function holds(to: DType, from: DType): boolean {
  if (from === "bool") return true;
  return from === "i32" && to !== "i32" ? to === "f64" : wider(to, from) === to;
}

/** Constant folding, by the op's own `eval`. */
const folding: readonly Rule[] = (["unary", "binary", "select", "cast"] as const).map((root) => ({
  name: `${root} of constants`,
  root,
  apply(v, g) {
    const numbers = v.node.args.map(splatOf);
    if (numbers.some((n) => n === null)) return null;
    const scalars = v.node.args.map(
      (a, i): NdArray => ({ dtype: dtypeOf(a.type), shape: [], data: Float64Array.of(numbers[i] ?? 0) }),
    );
    const [result] = v.node.op.eval(scalars, v.node.attrs, [{ ...v.type, shape: [] }]);
    const dtype = dtypeOf(v.type);
    return b.fill(g, roundTo[dtype](result?.[0] ?? Number.NaN), dtype, dims(v.type));
  },
  examples: (g) => {
    const [two, three] = [b.fill(g, 2, "f32", [3]), b.fill(g, 3, "f32", [3])];
    const some = {
      unary: b.exp(g, two),
      binary: b.div(g, two, three),
      select: b.where(g, b.fill(g, 0, "bool", [3]), two, three),
      cast: b.cast(g, two, "i32"),
    };
    return [some[root]];
  },
}));
const splats: readonly Rule[] = (["reshape", "slice"] as const).map((root) => ({
  name: `${root} of a constant`,
  root,
  apply(v, g) {
    const [from] = v.node.args;
    const value = from ? splatOf(from) : null;
    return value === null ? null : b.fill(g, value, dtypeOf(v.type), dims(v.type));
  },
  examples: (g) => [
    root === "reshape" ? b.reshape(g, b.fill(g, 2, "f32", [6]), [2, 3]) : b.slice(g, b.fill(g, 2, "f32", [6]), 0, 1, 2),
  ],
}));
/** As where documents begin, if there is but one: what compares them is then known. */
const concatOfOne: Rule = {
  name: "concat of equal constants = a constant",
  root: "concat",
  apply(v, g) {
    const [first = null, ...others] = v.node.args.map(splatOf);
    return first !== null && others.every((value) => value === first)
      ? b.fill(g, first, dtypeOf(v.type), dims(v.type))
      : null;
  },
  examples(g) {
    const piece = (n: number): Value => b.fill(g, 2, "f32", [3, n]);
    return [b.concat(g, [piece(1), piece(4), piece(2)], 1)];
  },
};
/** A reduction over axes of size 1 only changes the shape. */
const reduceOfOne: Rule = {
  name: "reduce over axes of 1 = reshape",
  root: "reduce",
  apply(v, g) {
    const node = matchOp(v, "reduce");
    const [from] = node?.args ?? [];
    const shape = from ? dims(from.type) : [];
    return node && from && node.attrs.axes.every((a) => shape[a] === 1) ? b.reshape(g, from, dims(v.type)) : null;
  },
  examples: (g) => [b.sum(g, b.param(g, "x", { dtype: "f32", shape: [3, 1, 2] }), [1])],
};

/** A `put` of no rows is its base: without this rule no kernel would run that passes the base on. */
const putOfNothing: Rule = {
  name: "put(x, no index, no rows) = x",
  root: "scatter",
  apply(v) {
    const node = matchOp(v, "scatter");
    const [base, index] = node?.args ?? [];
    return node?.attrs.mode === "set" && base && index && dims(index.type).includes(0) ? base : null;
  },
  examples(g) {
    const index = b.param(g, "index", { dtype: "i32", shape: [0] });
    const [x, rows] = [
      [3, 2],
      [0, 2],
    ].map((shape, i) => b.param(g, `x${i}`, { dtype: "f32", shape })) as [Value, Value];
    return [b.put(g, x, index, rows)];
  },
};

/** For a mask that leaves out nothing: `at >= 0` where positions are a range. */
const wholeRange: Rule = {
  name: "range(n) < c = true, c >= n; range(n) >= c = true, c <= 0",
  root: "binary",
  apply(v, g) {
    const node = matchOp(v, "binary");
    const [x, y] = node?.args ?? [];
    const range = x && (matchOp(x, "broadcast")?.args[0] ?? x);
    const limit = y ? splatOf(y) : null;
    if (!node || !range || !matchOp(range, "iota") || limit === null) return null;
    const [n = 0] = dims(range.type);
    const all = (node.attrs.fn === "lt" && limit >= n) || (node.attrs.fn === "ge" && limit <= 0);
    return all ? b.like(g, v, 1) : null;
  },
  examples(g) {
    const range = b.iota(g, 4);
    return [b.lt(g, b.broadcast(g, range, [3, 4], [1]), 4), b.ge(g, range, 0)];
  },
};

const sameTypes = (x: Value, y: Value | undefined): boolean => y !== undefined && sameType(x.type, y.type);
function addedConcats(v: Value): ReturnType<typeof matchOp<"concat">>[] {
  const sum = matchOp(v, "binary");
  return sum?.attrs.fn === "add" ? sum.args.map((a) => matchOp(a, "concat")) : [];
}
/** The gradients of slices of one tensor add up in this way: `concat(x, 0) + concat(0, y) = concat(x, y)`. */
const sumOfConcats: Rule = {
  name: "concat(a, b) + concat(c, d) = concat(a + c, b + d), of equal cuts",
  root: "binary",
  apply(v, g) {
    const [x, y] = addedConcats(v);
    if (!x || !y || !x.args.every((a, i) => sameTypes(a, y.args[i]))) return null; // so along one axis
    const pieces = x.args.map((a, i) => b.add(g, a, y.args[i] ?? a));
    return x.args.length === y.args.length ? b.concat(g, pieces, x.attrs.axis) : null;
  },
  examples(g) {
    const [p, q] = ["p", "q"].map((name) => b.param(g, name, { dtype: "f32", shape: [2, 3] })) as [Value, Value];
    return [b.add(g, b.concat(g, [p, q], 0), b.concat(g, [q, p], 0))];
  },
};

/** The gradients of several slices: `concat(x, 0) + concat(0, y, 0) = concat(x, y, 0)`. */
const sumOfGapped: Rule = {
  name: "concat(.., a, 0, ..) + concat(.., 0, b, ..) = concat(.., a, b, ..)",
  root: "binary",
  apply(v, g) {
    const [x, y] = addedConcats(v);
    if (!x || !y || x.attrs.axis !== y.attrs.axis) return null;
    const filled = [x, y].flatMap((c) => piecesOf(c).filter(({ value }) => splatOf(value) !== 0));
    const ordered = filled.toSorted((p, q) => p.from - q.from);
    if (ordered.some(({ from }, i) => from < (ordered[i - 1]?.to ?? 0))) return null;
    const { axis } = x.attrs;
    const shape = dims(v.type);
    const zeros = (from: number, to: number): Value[] =>
      from < to ? [b.fill(g, 0, dtypeOf(v.type), shape.with(axis, to - from))] : [];
    const pieces = ordered.flatMap(({ from, value }, i) => [...zeros(ordered[i - 1]?.to ?? 0, from), value]);
    return b.concat(g, [...pieces, ...zeros(ordered.at(-1)?.to ?? 0, shape[axis] ?? 0)], axis);
  },
  examples(g) {
    const [p, q] = ["p", "q"].map((name) => b.param(g, name, { dtype: "f32", shape: [2, 3] })) as [Value, Value];
    const gap = (n: number): Value => b.fill(g, 0, "f32", [2, n]);
    return [
      b.add(g, b.concat(g, [p, gap(7)], 1), b.concat(g, [gap(4), q, gap(3)], 1)),
      b.add(g, b.concat(g, [gap(3), p, gap(3)], 1), b.concat(g, [q, gap(3), q], 1)),
    ];
  },
};

/** If one piece contains the whole slice. */
const sliceOfConcat: Rule = {
  name: "slice(concat(.., x, ..)) = slice(x)",
  root: "slice",
  apply(v, g) {
    const node = matchOp(v, "slice");
    const whole = node?.args[0] && matchOp(node.args[0], "concat");
    if (!node || !whole || whole.attrs.axis !== node.attrs.axis) return null;
    const [start, size] = [number(node.attrs.start), number(node.attrs.size)];
    const piece = piecesOf(whole).find(({ to }) => start < to);
    return piece && start + size <= piece.to
      ? b.slice(g, piece.value, node.attrs.axis, start - piece.from, size)
      : null;
  },
  examples(g) {
    const [p, q] = ["p", "q"].map((name) => b.param(g, name, { dtype: "f32", shape: [2, 3] })) as [Value, Value];
    const along = [0, 1].map((axis) => b.concat(g, [p, q], axis)) as [Value, Value];
    return [b.slice(g, along[1], 1, 4, 2), b.slice(g, along[0], 0, 0, 2), b.slice(g, along[1], 1, 3, 2)];
  },
};

export const algebra: readonly Rule[] = [
  ...identities,
  ...folding,
  ...views,
  ...splats,
  concatOfOne,
  reduceOfOne,
  putOfNothing,
  wholeRange,
  sumOfConcats,
  sumOfGapped,
  sliceOfConcat,
  takeOfRun,
];

/** After differentiation `detach` has no purpose any more. */
export const finalAlgebra: readonly Rule[] = [
  ...algebra,
  {
    name: "detach(x) = x",
    root: "detach",
    apply: (v) => v.node.args[0] ?? null,
    examples: (g) => [b.detach(g, b.param(g, "x", { dtype: "f32", shape: [3] }))],
  },
];
