// Attention without a buffer of T x U scores (Dao et al., "FlashAttention", 2022): an online softmax over blocks of keys.
import type { Node } from "../../graph/node.ts";
import { item } from "../../item.ts";
import { type Block, plus } from "../../kernel/builder.ts";
import { add, div, less, load, max, min, mod, mul, num, roundUp, select, sub, unflatten } from "../../kernel/expr.ts";
import type { Buffer, Expr, Tile } from "../../kernel/ir.ts";
import type { Choices, Pieces } from "../../kernel/schedule.ts";
import type { VirtualBuffer } from "../../plan/sequence.ts";
import type { Draft } from "../draft.ts";
import {
  attentionShape,
  callF32,
  finishScores,
  initialMaximum,
  logSumExp,
  normalize,
  type Operands,
  operands,
  type Query,
  rescaleFactor,
  scaledMaximum,
  sharesKeys,
  sizesOf,
  softmaxWithSink,
  times,
  weight,
} from "./attention-operands.ts";
import { type VisibleRange, visibleRange } from "./mask-bounds.ts";

/**
 * Split keys, for when there are too few tasks: buffers that hold, for each piece of the keys and each query, the undivided output, the maximum score
 * and the sum of weights.
 */
interface KeyPieces extends Pieces {
  readonly out: VirtualBuffer;
  readonly top: VirtualBuffer;
  readonly total: VirtualBuffer;
}
/** The pieces into which the keys that a task visits are split; null if they are not. */
export function keyPieces(node: Node, choices: Choices): Pieces | null {
  const { B, G, R, T, U } = sizesOf(node);
  const shape = attentionShape(node, choices);
  const tile = choices.attention.tile(shape);
  if (!tile) return null;
  const { rows } = tile;
  const heads = (G * R * T) / shape.queries;
  const blocks = Math.ceil(shape.queries / rows);
  return choices.attention.keyPieces({ texts: B, heads, queries: T, blocks, rows, keys: U });
}
/** The queries of a task. */
interface QueryRows {
  readonly b: Expr;
  readonly g: Expr;
  readonly m: Block;
  readonly query: (i: Expr) => Query;
  /** The number of row i among all rows. */
  readonly number: (i: Expr) => Expr;
  /** The queries whose keys the task visits. */
  readonly visiting: Block;
}
function queryRows(d: Draft, node: Node, { rows, sizes: { B, G, R, T } }: Operands): QueryRows {
  const shares = sharesKeys(node, d.choices);
  const [heads, queries] = shares ? [B * G, R * T] : [B * G * R, T];
  const h = d.k.task("h", heads).at;
  const [b = num(0), g = num(0), only = num(0)] = unflatten(h, shares ? [B, G] : [B, G, R]);
  const m = d.k.task("m", queries, rows);
  return {
    b,
    g,
    m,
    query: (i) => (shares ? (unflatten(plus(m, i), [R, T]) as [Expr, Expr]) : [only, plus(m, i)]),
    number: (i) => add(mul(h, num(queries)), plus(m, i)),
    visiting: shares ? { at: num(0), n: num(T) } : m,
  };
}

/** The columns of queries and keys, in parts that are each one operand. */
function columnParts({ sizes: { A }, wide }: Operands): { readonly at: number; readonly n: number }[] {
  const { depth } = wide ?? { depth: A };
  const starts = Array.from({ length: Math.ceil(A / depth) }, (_, i) => i * depth);
  return starts.map((at) => ({ at, n: Math.min(depth, A - at) }));
}
/** Writes `out` and each row's log-sum-exp; with `pieces`, writes the partial results of each piece instead. */
export function attention(d: Draft, node: Node, pieces: KeyPieces | null = null): void {
  const o = operands(d, node);
  const { rows, block } = o;
  const { C } = o.sizes;
  const { b, g, m, query, number, visiting } = queryRows(d, node, o);
  const p = pieces && d.k.task("p", pieces.count).at;
  const row = (i: Expr): Expr[] => [b, g, ...query(i)];
  const parts = columnParts(o);
  const q = parts.map(({ at, n }) =>
    d.k.stage("q", [rows, n], [m.n, num(n)], (i, a) => o.reader.element(o.q, [...row(i), add(num(at), a)])),
  );
  const width = o.wide?.columns ?? roundUp(C, 16);
  const out = d.k.tile("acc", "out", [rows, width]);
  const [top, total] = [d.k.tile("row", "row_max", [rows], initialMaximum(o)), d.k.tile("row", "row_sum", [rows])];
  const all = visibleRange(d, o, { b, side: "at", block: visiting }, o.endMultiple);
  const range = pieces && p ? pieceOf(d, all, p, pieces, block) : { ...all, key: same };
  const { from, to, skip, needsMask } = range;
  const step = ({ at, n }: Block): void => {
    const c = { at: range.key(at), n };
    const key = o.transposedElement(o.k, [b, g], c);
    const keys = parts.map(({ at, n }) =>
      d.k.stage("keys", [n, block], [num(n), c.n], (a, i) => key(add(num(at), a), i)),
    );
    const values = d.k.stage("values", [block, width], [c.n, num(C)], o.element(o.v, [b, g], c));
    const scores = d.k.tile("acc", "scores", [rows, block]);
    parts.forEach(({ n }, i) => d.k.mma(item(q, i), [item(keys, i)], [scores], [m.n, num(n)]));
    const of = (i: Expr, j: Expr) => [query(i), plus(c, j)] as const;
    finishScores(d, o, [b, g], { tile: scores, valid: [m.n, c.n], of }, needsMask(c));
    onlineSoftmaxRows(d, o, { scores, top, total, out }, m, c);
    d.k.mma(scores, [values], [out], [m.n, c.n]);
  };
  d.k.for("c", from, to, block, step, skip);
  if (pieces && p) return storePartials(d, pieces, { top, total, out }, [m.n, num(C)], (i) => [p, number(i)]);
  const { sink } = o;
  if (sink) addSinkToRows(d, o, { top, total, out }, [m.n, num(C)], (i) => o.reader.element(sink, row(i).slice(0, 3)));
  const result = d.output(item(node.results, 0), "y");
  d.k.each(out, [m.n, num(C)], (i, j) => d.k.store(result, [...row(i), j], normalize(load(out, i, j), load(total, i))));
  const sums = d.output(item(node.results, 1), "sums");
  d.k.each(top, [m.n], (i) => d.k.store(sums, row(i), logSumExp(scaledMaximum(o, load(top, i)), load(total, i))));
}
/** Adds the sink to the sums of each row. */
function addSinkToRows(
  d: Draft,
  o: Operands,
  { top, total, out }: Sums,
  [n, cols]: readonly [Expr, Expr],
  sink: (i: Expr) => Expr,
): void {
  const keep = d.k.tile("row", "rescale", top.shape);
  d.k.each(top, [n], (i) => {
    const made = softmaxWithSink(d, times(load(top, i), o.factor), load(total, i), sink(i));
    d.k.store(keep, [i], made.keep);
    d.k.store(total, [i], made.total);
    d.k.store(top, [i], made.top);
  });
  d.k.each(out, [n, cols], (i, j) => d.k.store(out, [i, j], callF32("mul", load(out, i, j), load(keep, i))));
}
/** A range of a piece's keys, and which key the one at a place of the range is. */
interface PieceRange extends VisibleRange {
  readonly key: (place: Expr) => Expr;
}
const same = (place: Expr): Expr => place;
const pieceOf = (d: Draft, all: VisibleRange, piece: Expr, { count, run }: Pieces, block: number): PieceRange =>
  run === null ? shareOf(d, all, piece, count, block) : runsOf(d, all, piece, count, run);
/** One of `count` pieces of the keys that the mask allows, of equal numbers of blocks. */
function shareOf(
  d: Draft,
  { from, to, skip, needsMask }: VisibleRange,
  piece: Expr,
  count: number,
  block: number,
): PieceRange {
  const all = max(sub(to, from), num(0));
  const length = d.k.let("length", mul(div(add(all, num(count * block - 1)), count * block), num(block)));
  const first = d.k.let("first", add(from, mul(piece, length)));
  const end = d.k.let("end", min(to, add(first, length)));
  const inside = (x: Expr): Expr => min(max(x, first), end);
  return { ...withGap(d, { from: first, to: end, skip }, inside), needsMask, key: same };
}
/** Of each `count` runs of keys, those of one piece, whatever the mask allows. Its range counts its own keys alone. */
function runsOf(
  d: Draft,
  { from, to, skip, needsMask }: VisibleRange,
  piece: Expr,
  count: number,
  run: number,
): PieceRange {
  const first = mul(piece, num(run));
  const before = (x: Expr): Expr =>
    add(mul(div(x, count * run), num(run)), min(max(sub(mod(x, count * run), first), num(0)), num(run)));
  const key = (place: Expr): Expr => add(mul(div(place, run), num(count * run)), add(first, mod(place, run)));
  const end = d.k.let("end", before(to));
  return { ...withGap(d, { from: before(from), to: end, skip }, before), needsMask, key };
}
type Loop = Omit<VisibleRange, "needsMask">;
/** The range of a piece without the gap of all keys; `inside`: where in the piece a key is. */
function withGap(d: Draft, { from, to, skip }: Loop, inside: (x: Expr) => Expr): Loop {
  if (!skip) return { from, to, skip };
  const [leave, again] = [d.k.let("leave", inside(skip.at)), d.k.let("again", inside(add(skip.at, skip.by)))];
  // what is skipped at the end is no gap: loops have a round after theirs
  const last = d.k.let("last", select(less(again, to), to, leave));
  const by = d.k.let("left", sub(min(again, last), leave));
  return { from, to: last, skip: { at: leave, by } };
}
type Sums = { readonly [name in "top" | "total" | "out"]: Tile };
/** Stores the partial results of one piece of the keys. */
function storePartials(
  d: Draft,
  pieces: KeyPieces,
  sums: Sums,
  [n, cols]: readonly [Expr, Expr],
  row: (i: Expr) => Expr[],
): void {
  const out = d.param("out", pieces.out, "write");
  d.k.each(sums.out, [n, cols], (i, j) => d.k.store(out, [...row(i), j], load(sums.out, i, j)));
  for (const name of ["top", "total"] as const) {
    const to = d.param(name, pieces[name], "write");
    d.k.each(sums[name], [n], (i) => d.k.store(to, row(i), load(sums[name], i)));
  }
}
/** Combines the partial results of all pieces of the keys, in order: one task for each query. */
export function attentionJoin(d: Draft, node: Node, pieces: KeyPieces): void {
  const o = operands(d, node);
  const { B, G, R, T, C } = o.sizes;
  const row = d.k.task("r", B * G * R * T).at;
  const [out, top, total] = (["out", "top", "total"] as const).map((name) => d.param(name, pieces[name], "read")) as [
    Buffer,
    Buffer,
    Buffer,
  ];
  const count = num(pieces.count);
  const highest = d.k.fold("block_max", "max", "f32", count, (p) => load(top, p, row));
  const pieceWeight = (p: Expr): Expr => callF32("exp", times(callF32("sub", load(top, p, row), highest), o.factor));
  const kept = pieces.count <= d.choices.rows.maxCachedRow ? d.k.local("weights", [pieces.count]) : null;
  const added = d.k.fold("block_sum", "sum", "f32", count, (p) => {
    if (!kept) return callF32("mul", load(total, p, row), pieceWeight(p));
    const once = d.k.letHere("weight", pieceWeight(p));
    d.k.store(kept, [p], once);
    return callF32("mul", load(total, p, row), once);
  });
  const at = unflatten(row, [B, G, R, T]);
  const scaled = times(highest, o.factor);
  const made = o.sink && softmaxWithSink(d, scaled, added, o.reader.element(o.sink, at.slice(0, 3)));
  const all = made ? d.k.letHere("row_sum", made.total) : added;
  d.k.par(num(C), (j) => {
    const sum = d.k.fold("sum", "sum", "f32", count, (p) =>
      callF32("mul", load(out, p, row, j), kept ? load(kept, p) : pieceWeight(p)),
    );
    const rescaled = made ? callF32("mul", sum, made.keep) : sum;
    d.k.store(d.output(item(node.results, 0), "y"), [...at, j], normalize(rescaled, all));
  });
  d.k.store(d.output(item(node.results, 1), "sums"), at, logSumExp(made?.top ?? scaled, all));
}
/** The online softmax step: updates the maximum, rescales earlier sums to it, and turns scores into weights. */
function onlineSoftmaxRows(
  d: Draft,
  o: Operands,
  { scores, top, total, out }: { readonly [name in "scores" | "top" | "total" | "out"]: Tile },
  m: Block,
  c: Block,
): void {
  const highest = d.k.foldRows("block_max", "max", scores, c.n, (i, j) => load(scores, i, j));
  const keep = d.k.tile("row", "rescale", top.shape);
  d.k.each(top, [m.n], (i) => {
    const next = d.k.letHere("new_max", callF32("max", load(top, i), load(highest, i)));
    d.k.store(keep, [i], rescaleFactor(o, load(top, i), next));
    d.k.store(total, [i], callF32("mul", load(total, i), load(keep, i)));
    d.k.store(top, [i], next);
  });
  d.k.each(out, [m.n, num(o.sizes.C)], (i, j) =>
    d.k.store(out, [i, j], callF32("mul", load(out, i, j), load(keep, i))),
  );
  d.k.each(scores, [m.n, c.n], (i, j) => d.k.store(scores, [i, j], weight(o, load(scores, i, j), load(top, i))));
  const added = d.k.foldRows("block_sum", "sum", scores, c.n, (i, j) => load(scores, i, j));
  d.k.each(total, [m.n], (i) => d.k.store(total, [i], callF32("add", load(total, i), load(added, i))));
}
