// Contractions: dot, and its forms over rows sorted by group.
import type { Node, Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { type Block, plus } from "./build.ts";
import type { Draft } from "./draft.ts";
import { add, asIndex, call, item, load, mul, num, product, unflatten } from "./expr.ts";
import type { Expr } from "./ir.ts";
import { shapeOf } from "./read.ts";
import { contraction } from "./schedule.ts";

const args = (node: Node): [Value, Value] => [item(node.args, 0), item(node.args, 1)];

/** y[.., m, n] = sum over k: a[.., m, k] * b[.., k, n] */
export function dot(d: Draft, node: Node): void {
  const [a, b] = args(node);
  const shape = shapeOf(item(node.results, 0));
  const lead = shape.slice(0, -2);
  const [m, n, k] = [item(shape, shape.length - 2), item(shape, shape.length - 1), item(shapeOf(a), shape.length - 1)];
  const s = contraction(m, n, product(lead));
  const e = d.k.task("e", product(lead));
  const rows = d.k.task("mc", m, s.mc);
  const cols = d.k.task("n", n, s.bn);
  const at = unflatten(e.at, lead);
  d.k.for("m", rows.at, add(rows.at, rows.n), s.bm, (mb) => {
    multiply(
      d,
      { m: mb, n: cols, depth: k, bm: s.bm, bn: s.bn, bk: s.bk },
      (i, kk) => d.reader(undefined, left).element(a, [...at, i, kk]),
      (kk, j) => d.reader(undefined, right).element(b, [...at, kk, j]),
      (i, j, x) => d.k.store(d.output(item(node.results, 0)), [...at, i, j], x, s.stream),
    );
  });
}
const left = { plain: true, name: "a" };
const right = { plain: true, name: "b" };
const sorted = { plain: true, inside: true, name: "x" };
const weights = { plain: true, name: "w" };

interface Blocks {
  readonly m: Block;
  readonly n: Block;
  readonly depth: number;
  readonly bm: number;
  readonly bn: number;
  readonly bk: number;
}
/** One accumulator over a depth known when compiling; `store` is given each element. */
function multiply(
  d: Draft,
  t: Blocks,
  a: (i: Expr, k: Expr) => Expr,
  b: (k: Expr, j: Expr) => Expr,
  store: (i: Expr, j: Expr, x: Expr) => void,
): void {
  const acc = d.k.tile("acc", "acc", [t.bm, t.bn]);
  d.k.for("k", num(0), num(t.depth), t.bk, (kb) => {
    const deep = Math.min(t.bk, t.depth);
    const left = d.k.stage("left", [t.bm, deep], [t.m.n, kb.n], (i, k) => a(plus(t.m, i), plus(kb, k)));
    const right = d.k.stage("right", [deep, t.bn], [kb.n, t.n.n], (k, j) => b(plus(kb, k), plus(t.n, j)));
    d.k.mma(left, [right], [acc], [t.m.n, kb.n]);
  });
  d.k.each(acc, [t.m.n, t.n.n], (i, j) => store(plus(t.m, i), plus(t.n, j), load(acc, i, j)));
}
/** The rows of group e: [from, to). */
function group(d: Draft, offsets: Value, e: Expr, unit: number): [from: Expr, to: Expr] {
  const reader = d.reader(undefined, { name: "offsets" });
  const edge = (i: Expr): Expr => mul(asIndex(reader.element(offsets, [i])), num(unit));
  return [edge(e), edge(add(e, num(1)))];
}
/** y[m, n] = sum over k: x[m, k] * w[e, k, n] for the rows m of each group e. Rows of no group are not written. */
export function raggedDot(d: Draft, node: Node): void {
  const [x, w] = args(node);
  const { unit } = node.attrs as OpAttrs["ragged_dot"];
  const [groups, k, n] = [item(shapeOf(w), 0), item(shapeOf(w), 1), item(shapeOf(w), 2)];
  const s = contraction(item(shapeOf(x), 0), n, groups);
  const e = d.k.task("e", groups);
  const cols = d.k.task("n", n, s.bn);
  const [from, to] = group(d, item(node.args, 2), e.at, unit);
  d.k.for("m", from, to, s.bm, (m) => {
    multiply(
      d,
      { m, n: cols, depth: k, bm: s.bm, bn: s.bn, bk: s.bk },
      (i, kk) => d.reader(undefined, sorted).element(x, [i, kk]),
      (kk, j) => d.reader(undefined, weights).element(w, [e.at, kk, j]),
      (i, j, z) => d.k.store(d.output(item(node.results, 0)), [i, j], z, s.stream),
    );
  });
}
/** w[e] = x^T y over the rows of each group; of an empty one zeros. */
export function raggedOuter(d: Draft, node: Node): void {
  const [x, y] = args(node);
  const { unit } = node.attrs as OpAttrs["ragged_outer"];
  const [groups, k, n] = [item(shapeOf(item(node.results, 0)), 0), item(shapeOf(x), 1), item(shapeOf(y), 1)];
  const s = contraction(k, n, groups);
  const e = d.k.task("e", groups);
  const m = d.k.task("m", k, s.bm);
  const cols = d.k.task("n", n, s.bn);
  const [from, to] = group(d, item(node.args, 2), e.at, unit);
  const acc = d.k.tile("acc", "acc", [s.bm, s.bn]);
  const deep = 256;
  d.k.for("r", from, to, deep, (r) => {
    const left = d.k.stage("left", [s.bm, deep], [m.n, r.n], (i, q) =>
      d.reader(undefined, sorted).element(x, [plus(r, q), plus(m, i)]),
    );
    const right = d.k.stage("right", [deep, s.bn], [r.n, cols.n], (q, j) =>
      d.reader(undefined, { ...sorted, name: "y" }).element(y, [plus(r, q), plus(cols, j)]),
    );
    d.k.mma(left, [right], [acc], [m.n, r.n]);
  });
  d.k.each(acc, [m.n, cols.n], (i, j) =>
    d.k.store(d.output(item(node.results, 0), "w"), [e.at, plus(m, i), plus(cols, j)], load(acc, i, j), s.stream),
  );
}
/** y[e] = sum of x over the rows of each group, in order. */
export function raggedSum(d: Draft, node: Node): void {
  const [x, offsets] = args(node);
  const { unit } = node.attrs as OpAttrs["ragged_sum"];
  const shape = shapeOf(item(node.results, 0));
  const inner = shape.slice(1);
  const width = 256;
  const e = d.k.task("e", item(shape, 0));
  const cols = d.k.task("n", product(inner), width);
  const [from, to] = group(d, offsets, e.at, unit);
  const acc = d.k.tile("acc", "acc", [1, width]);
  const reader = d.reader(undefined, { inside: true });
  d.k.for("r", from, to, 1, (r) => {
    d.k.each(acc, [num(1), cols.n], (i, j) =>
      d.k.store(
        acc,
        [i, j],
        call("add", "f32", load(acc, i, j), reader.element(x, [r.at, ...unflatten(plus(cols, j), inner)])),
      ),
    );
  });
  d.k.each(acc, [num(1), cols.n], (i, j) =>
    d.k.store(d.output(item(node.results, 0)), [e.at, ...unflatten(plus(cols, j), inner)], load(acc, i, j)),
  );
}
