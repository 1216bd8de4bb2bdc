// Kernels of contractions: dot, and its variants over rows that are sorted by group (ragged_dot, ragged_outer, ragged_sum).
import { Bug } from "../diagnostic.ts";
import { roundBf16 } from "../graph/array.ts";
import type { Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { type Block, plus } from "../kernel/builder.ts";
import { add, asIndex, asValue, call, div, load, min, mul, num, sameAll, sub, unflatten } from "../kernel/expr.ts";
import type { Expr, OperandForm, Tile } from "../kernel/ir.ts";
import type { Contraction, Schedule } from "../kernel/schedule.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { isTransposed } from "../ops/build.ts";
import { depthOf, isOfCodes, isOfFp4, pairsOf } from "../ops/pairs.ts";
import type { Region } from "../regions/region.ts";
import { product } from "../types/numbers.ts";
import type { Draft, Element } from "./draft.ts";
import { operand, type Reader, result, shapeOf } from "./reader.ts";

const args = (node: Node): [Value, Value] => [operand(node), operand(node, 1)];

/**
 * Whether an operand is loaded as bf16 (constants that bf16 represents count too). Looks through values that the kernel computes inline: a value in
 * memory in f32 may not be representable.
 */
export function isLoadedAsBf16(d: Draft, v: Value): boolean {
  const { op, args, attrs } = v.node;
  const [from] = args;
  if (op.name === "const") return isExactInBf16((attrs as OpAttrs["const"]).value);
  if (isOfFp4(v.node) && v.type.dtype === "bf16") return true;
  return from && d.inlines(v) ? isLoadedAsBf16(d, from) : v.type.dtype === "bf16";
}
const isExactInBf16 = (x: number): boolean => roundBf16(x) === x;
type OfOperands = Pick<Contraction, "k" | "operands" | "pairs" | "isBf16" | "codes" | "fp4">;
function operandsOf(d: Draft, { nodes }: Region): OfOperands {
  const pairs = nodes.flatMap(pairsOf);
  const isBf16 = (list: readonly Value[]): boolean => list.every((v) => isLoadedAsBf16(d, v));
  const codes = pairs.every(([, y]) => isOfCodes(y, (v) => d.inlines(v)))
    ? isBf16(pairs.map(([x]) => x))
      ? "bf16"
      : "f32"
    : undefined;
  return {
    k: depthOf(item(nodes, 0)),
    operands: nodes.length,
    pairs: pairsOf(item(nodes, 0)).length,
    isBf16: isBf16(pairs.flat()),
    ...(codes && { codes }),
    ...(pairs.some(([, y]) => isOfFp4(y.node)) && { fp4: true as const }),
  };
}

/**
 * y[.., m, n] = sum over pairs of operands and k: a[.., m, k] * b[.., k, n]. One a may be multiplied with several b; elementwise operations on the
 * results follow in the epilogue.
 */
export function dot(d: Draft, node: Node, region: Region): void {
  const [a] = args(node);
  const shape = shapeOf(result(node));
  const lead = shape.slice(0, -2);
  const [m, n] = [item(shape, shape.length - 2), item(shape, shape.length - 1)];
  const c: Contraction = {
    op: "dot",
    m,
    n,
    groups: product(lead),
    isLeftTransposed: isTransposed(a),
    ...operandsOf(d, region),
  };
  const s = d.schedule(c);
  const e = d.k.task("e", product(lead));
  const rows = d.k.task("mc", m, s.mc);
  const cols = d.k.task("n", n, s.bn);
  const at = unflatten(e.at, lead);
  const left = d.reader({ withoutLets: true, name: "a" });
  const right = d.reader({ withoutLets: true, name: "b" });
  const block = (mb: Block): void => {
    const t: Tiles = { ...s, m: mb, n: cols, form: d.form(c), lead: at, group: null };
    multiply(d, region, t, {
      a: (x, i, k) => left.element(x, [...at, i, k]),
      b: (y, k, j) => right.element(y, [...at, k, j]),
    });
  };
  if (s.rowBlockPerTask) block(rows);
  else d.k.for("m", rows.at, add(rows.at, rows.n), s.bm, block);
}
/** y[m, n] = sum over pairs of operands and k: x[m, k] * w[e, k, n], for the rows m of each group e. Rows of no group are not written. */
export function raggedDot(d: Draft, node: Node, region: Region): void {
  const [x, w] = args(node);
  const { unit } = node.attrs as OpAttrs["ragged_dot"];
  const [groups, n] = [item(shapeOf(w), 0), item(shapeOf(w), 2)];
  const m = item(shapeOf(x), 0);
  const c: Contraction = { op: "ragged_dot", m, n, groups, isLeftTransposed: false, ...operandsOf(d, region) };
  const s = d.schedule(c);
  const columns = (): Block => d.k.task("n", n, s.bn);
  const before = s.across ? columns() : null;
  const e = d.k.task("e", groups);
  const offsets = operand(node, 2);
  const weights = d.reader({ withoutLets: true, name: "w" });
  const tile = (block: Block, cols: Block): void => {
    const t: Tiles = { ...s, m: block, n: cols, form: d.form(c), lead: [], group: { offsets, unit, at: e.at } };
    multiply(d, region, t, {
      a: (y, i, k) => d.reader({ withoutLets: true, offsets, name: "x" }).element(y, [i, k]),
      b: (y, k, j) => weights.element(y, [e.at, k, j]),
    });
  };
  if (s.rowBlockPerTask && !d.inlines(offsets)) {
    const edge = (i: Expr): Expr => mul(asIndex(load(d.input(offsets, "offsets"), i)), num(unit));
    const block = d.k.ragged("m", edge(e.at), edge(add(e.at, num(1))), s.bm, m);
    return tile(block, columns());
  }
  const part = s.parts === undefined ? null : d.k.task("p", s.parts).at;
  const cols = before ?? columns();
  const all = groupRows(d, offsets, e.at, unit);
  const [from, to] = part && s.parts ? partOfRows(all, part, s.parts) : all;
  d.k.for("m", from, to, s.bm, (block) => tile(block, cols));
}

interface Tiles extends Pick<Schedule, "bm" | "bn" | "bk" | "stream"> {
  readonly m: Block;
  readonly n: Block;
  readonly form: OperandForm | null;
  /** The leading indices, before rows and columns. */
  readonly lead: readonly Expr[];
  /** The group of a ragged contraction to which all rows of a tile belong; else null. */
  readonly group: Group | null;
}
interface Group {
  readonly offsets: Value;
  /** Rows for each place of the routing. */
  readonly unit: number;
  readonly at: Expr;
}
interface Operands {
  readonly a: (x: Value, i: Expr, k: Expr) => Expr;
  readonly b: (y: Value, k: Expr, j: Expr) => Expr;
}
/**
 * One accumulator for each contraction of the region, summed pair after pair over static depths; then the epilogue computes and stores the outputs. A
 * result that may share memory with an operand of the epilogue gets no non-temporal stores: its lines are in the caches and would first be written
 * back.
 */
function multiply(d: Draft, region: Region, t: Tiles, operands: Operands): void {
  const acc = region.nodes.map(() => d.k.tile("acc", "acc", [t.bm, t.bn]));
  const sums = new Set(rowSums(region));
  sumPairs(d, region.nodes, acc, t, operands);
  d.k.each(item(acc, 0), [t.m.n, t.n.n], (i, j) => {
    const at = [...t.lead, plus(t.m, i), plus(t.n, j)];
    const locals = new Map<Value, Element>([
      ...groupOfRow(d, t, at),
      ...region.nodes.map((x, n): [Value, Element] => [
        result(x),
        (where) => accElement(item(acc, n), [i, j], at, where),
      ]),
    ]);
    const reader = d.reader({ locals, offsets: t.group?.offsets ?? null });
    const before = d.bindings.length;
    const values = region.outputs.map((v) => reader.element(sums.has(v) ? operand(v.node) : v, at));
    const epilogueShapes = d.bindings.slice(before).map(({ param }) => param.shape.join());
    const streams = (v: Value): boolean => t.stream && !epilogueShapes.includes(shapeOf(v).join());
    const named = values.length === 1 ? values : values.map((x) => (x.e === "op" ? d.k.letHere("value", x) : x));
    region.outputs.forEach((v, n) => {
      if (sums.has(v)) return storePartialSum(d, v, at, item(named, n), t);
      d.writerOf(v)(at, item(named, n), streams(v));
    });
  });
}
/** What a routing says of a row's group, which a tile knows (by which an epilogue finds the scales of codes). */
function groupOfRow(d: Draft, { group }: Tiles, [row = num(0)]: readonly Expr[]): [Value, Element][] {
  if (group === null || group.offsets.node.op.name !== "route") return [];
  const groups = result(group.offsets.node, 3);
  const own = [div(row, group.unit)];
  return [[groups, (where) => (sameAll(where, own) ? asValue(group.at) : load(d.input(groups), ...where))]];
}
/** acc[n] += the sum over the pairs of contraction n. If the total depth fits one block, all operands are staged before any is multiplied. */
function sumPairs(d: Draft, nodes: readonly Node[], acc: readonly Tile[], t: Tiles, operands: Operands): void {
  const pairs = pairsOf(item(nodes, 0)).map(([x], p) => ({
    x,
    ys: nodes.map((node) => item(item(pairsOf(node), p), 1)),
    depth: item(shapeOf(x), x.type.shape.length - 1),
  }));
  const staged = ({ x, ys, depth }: (typeof pairs)[number], kb: Block): (() => void) => {
    const deep = Math.min(t.bk, depth);
    const element = (i: Expr, k: Expr): Expr => operands.a(x, plus(t.m, i), plus(kb, k));
    const left = d.k.stage("left", [t.bm, deep], [t.m.n, kb.n], element, t.form);
    const right = ys.map((y) =>
      d.k.stage("right", [deep, t.bn], [kb.n, t.n.n], (k, j) => operands.b(y, plus(kb, k), plus(t.n, j)), t.form),
    );
    return () => d.k.mma(left, right, acc, [t.m.n, kb.n]);
  };
  if (pairs.reduce((sum, { depth }) => sum + depth, 0) <= t.bk)
    for (const multiply of pairs.map((p) => staged(p, { at: num(0), n: num(p.depth) }))) multiply();
  else for (const p of pairs) d.k.for("k", num(0), num(p.depth), t.bk, (kb) => staged(p, kb)());
}
/** Outputs that are row sums of the epilogue's values. (A sum over a broadcast axis keeps the rank of the accumulator: it is elementwise.) */
export const rowSums = ({ nodes: [node], outputs }: Region): Value[] =>
  outputs.filter((v) => shapeOf(v).length < shapeOf(item(node?.results ?? [], 0)).length);
function storePartialSum(d: Draft, v: Value, at: readonly Expr[], value: Expr, { bn }: Tiles): void {
  const to = d.partialSums(v, "write");
  if (product(to.shape) === 0) return; // of no columns
  const run = product(shapeOf(operand(v.node))) / product(to.shape);
  if (bn % run !== 0) throw new Bug(`a schedule of ${bn} columns cuts sums of ${run}`);
  const [i, j] = at.slice(-2) as [Expr, Expr];
  d.k.storeSum(to, [...at.slice(0, -2), div(j, run), i], value, run);
}
/** A second kernel: the sum of each row from the partial sums that the epilogue stored, in order. */
export function addPartialSums(d: Draft, v: Value): void {
  const parts = d.partialSums(v, "read");
  const count = product(shapeOf(v));
  const rows = d.k.task("r", count, d.choices.rows.elementsPerTask?.(count) ?? 1024);
  d.k.par(rows.n, (i) => {
    const at = unflatten(plus(rows, i), shapeOf(v));
    const [lead, row] = [at.slice(0, -1), item(at, at.length - 1)];
    const added = num(item(parts.shape, lead.length));
    const sum = d.k.fold("sum", "sum", "f32", added, (k) => load(parts, ...lead, k, row));
    d.k.store(d.output(v), at, sum);
  });
}
/** The element of an accumulator at the epilogue's own index; reading another is a bug. */
function accElement(
  acc: Tile,
  [i = num(0), j = num(0)]: readonly Expr[],
  at: readonly Expr[],
  where: readonly Expr[],
): Expr {
  if (!sameAll(at, where)) throw new Bug("an epilogue reads another element than its own");
  return load(acc, i, j);
}
/** The rows [from, to) of group e. */
function groupRows(d: Draft, offsets: Value, e: Expr, unit: number): [from: Expr, to: Expr] {
  const reader = d.reader({ name: "offsets" });
  const edge = (i: Expr): Expr => mul(asIndex(reader.element(offsets, [i])), num(unit));
  return [edge(e), edge(add(e, num(1)))];
}
/** Part `part` of the rows, cut into `parts` parts of whole register tiles (6 rows); the last may be shorter. */
function partOfRows([from, to]: [Expr, Expr], part: Expr, parts: number): [from: Expr, to: Expr] {
  const rows = mul(add(div(sub(to, from), 6 * parts), num(1)), num(6));
  return [min(add(from, mul(part, rows)), to), min(add(from, mul(add(part, num(1)), rows)), to)];
}
/** w[e] = x^T y over the rows of each group e; zeros for an empty group. */
export function raggedOuter(d: Draft, node: Node): void {
  const [x, y] = args(node);
  const offsets = operand(node, 2);
  const { unit } = node.attrs as OpAttrs["ragged_outer"];
  const [groups, k, n] = [item(shapeOf(result(node)), 0), item(shapeOf(x), 1), item(shapeOf(y), 1)];
  const isBf16 = args(node).every((v) => isLoadedAsBf16(d, v));
  const depth = { k: item(shapeOf(x), 0), operands: 1, pairs: 1, isBf16 };
  const c: Contraction = { op: "ragged_outer", m: k, n, groups, isLeftTransposed: true, ...depth };
  const [s, form] = [d.schedule(c), d.form(c)];
  const e = d.k.task("e", groups);
  const m = d.k.task("m", k, s.bm);
  const cols = d.k.task("n", n, s.bn);
  const [from, to] = groupRows(d, offsets, e.at, unit);
  const reader = (name: string): Reader => d.reader({ withoutLets: true, offsets, name });
  const acc = d.k.tile("acc", "acc", [s.bm, s.bn]);
  d.k.for("r", from, to, s.bk, (r) => {
    const element = (i: Expr, q: Expr): Expr => reader("x").element(x, [plus(r, q), plus(m, i)]);
    const left = d.k.stage("left", [s.bm, s.bk], [m.n, r.n], element, form);
    const factor = (q: Expr, j: Expr): Expr => reader("y").element(y, [plus(r, q), plus(cols, j)]);
    const right = d.k.stage("right", [s.bk, s.bn], [r.n, cols.n], factor, form);
    d.k.mma(left, [right], [acc], [m.n, r.n]);
  });
  d.k.each(acc, [m.n, cols.n], (i, j) =>
    d.k.store(d.output(result(node), "w"), [e.at, plus(m, i), plus(cols, j)], load(acc, i, j), s.stream),
  );
}
/** y[e] = sum of x over the rows of each group, in order. */
export function raggedSum(d: Draft, node: Node): void {
  const [x, offsets] = args(node);
  const { unit } = node.attrs as OpAttrs["ragged_sum"];
  const shape = shapeOf(result(node));
  const inner = shape.slice(1);
  const width = d.choices.rows.groupSumColumns(product(inner));
  const e = d.k.task("e", item(shape, 0));
  const cols = d.k.task("n", product(inner), width);
  const [from, to] = groupRows(d, offsets, e.at, unit);
  const acc = d.k.tile("acc", "acc", [1, width]);
  const reader = d.reader({ offsets });
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
    d.k.store(d.output(result(node)), [e.at, ...unflatten(plus(cols, j), inner)], load(acc, i, j)),
  );
}
