// Attention without a buffer of T x U scores (Dao et al., "FlashAttention", 2022): an online softmax over blocks of keys.
import { Problem } from "../diagnostic.ts";
import { targetFlagText } from "../flag-text.ts";
import type { Node, Value } from "../graph/node.ts";
import { type Block, plus } from "../kernel/builder.ts";
import { add, call, f32, item, load, max, min, mul, num, roundUp, select, sub, unflatten } from "../kernel/expr.ts";
import type { Buffer, Expr, Tile } from "../kernel/ir.ts";
import type { AttentionTile, Choices } from "../kernel/schedule.ts";
import { biasAndSink, type PositionPair, splitPositions } from "../ops/attention.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import type { VirtualBuffer } from "../plan/sequence.ts";
import { bytesOf } from "../types/dtype.ts";
import { dtypeOf } from "../types/type.ts";
import type { Draft } from "./draft.ts";
import { isVisible, type VisibleRange, visibleRange } from "./mask-bounds.ts";
import type { Reader } from "./reader.ts";
import { shapeOf } from "./reader.ts";

export type Head = readonly [b: Expr, g: Expr, r: Expr];
export const callF32 = (op: string, ...args: readonly Expr[]): Expr => call(op, "f32", ...args);

/** The operands, named as in the op's record (ops/attention.ts), with the sizes of their axes. */
export interface Operands {
  readonly reader: Reader;
  /** The element function of a stage for a block of rows of v: `element` is [row, column], `transposedElement` is [column, row]. */
  readonly element: (v: Value, head: readonly Expr[], block: Block) => (i: Expr, a: Expr) => Expr;
  readonly transposedElement: (v: Value, head: readonly Expr[], block: Block) => (a: Expr, i: Expr) => Expr;
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly pairs: readonly PositionPair<Value>[];
  /**
   * Only in the backward: the log-sum-exp of each row from the forward, the number to subtract in each row (`delta`), and the gradient of the output.
   */
  readonly backwardInputs: readonly Value[];
  readonly attrs: OpAttrs["attention"];
  /** Tile sizes: in the forward `rows` queries by `block` keys. `endMultiple` and `separatePasses`: see `AttentionTile`. */
  readonly rows: number;
  readonly block: number;
  readonly endMultiple?: number;
  readonly separatePasses?: boolean;
  /** Whether the operands are bf16: weights are rounded to bf16 next, so faster, less exact functions are good enough. */
  readonly isBf16: boolean;
  readonly bias: Value | undefined;
  readonly sink: Value | undefined;
  /** The factor by which scores are multiplied inside `shiftedExp`: the cap or the scale; 1 if the scale was applied before (bias, or scale <= 0). */
  readonly factor: number;
  readonly sizes: {
    readonly B: number;
    readonly G: number;
    readonly R: number;
    readonly T: number;
    readonly U: number;
    readonly A: number;
    readonly C: number;
  };
}
export function operands(d: Draft, node: Node): Operands {
  const [q, k, v] = [0, 1, 2].map((i) => item(node.args, i)) as [Value, Value, Value];
  const { pairs, rest } = splitPositions(node.args, (x) => x.type.dtype);
  const [B, G, R, T, A] = shapeOf(q) as [number, number, number, number, number];
  const backward = node.op.name === "attention_backward";
  const attrs = node.attrs as OpAttrs["attention"];
  const backwardInputs = rest.slice(0, backward ? 3 : 0);
  const { bias, sink } = biasAndSink(rest.slice(backwardInputs.length), (x) => shapeOf(x).length);
  const sizes = { B, G, R, T, A, U: item(shapeOf(k), 2), C: item(shapeOf(v), 3) };
  const reader = d.reader({ withoutLets: true });
  const element: Operands["element"] = (x, head, rows) => (i, a) => reader.element(x, [...head, plus(rows, i), a]);
  return {
    reader,
    element,
    transposedElement: (x, head, rows) => (a, i) => element(x, head, rows)(i, a),
    q,
    k,
    v,
    pairs,
    backwardInputs,
    attrs,
    bias,
    sink,
    factor: attrs.cap ?? (bias || attrs.scale <= 0 ? 1 : attrs.scale),
    isBf16: dtypeOf(q.type) === "bf16",
    ...tileSizes(d, q, sizes, backward),
    sizes,
  };
}
function tileSizes(d: Draft, q: Value, { A, C, T }: Operands["sizes"], backward: boolean): AttentionTile {
  const width = Math.max(A, C);
  const found = d.choices.attention(width, bytesOf[dtypeOf(q.type)], backward, T);
  if (found) return found;
  throw new Problem(
    `attention of heads ${width} wide in ${dtypeOf(q.type)} does not fit a multiprocessor`,
    `take more heads, so that each is at most 128 wide in f32, 256 in bf16, or ${targetFlagText("host")}`,
  );
}
/** A tile of scores, still to be multiplied by `factor`. */
export interface Scores {
  readonly tile: Tile;
  readonly valid: readonly [Expr, Expr];
  /** The query and the key of element [i, j]. */
  readonly of: (i: Expr, j: Expr) => readonly [t: Expr, u: Expr];
}
/**
 * Turns products of q and k into scores. With a cap, a bias or a scale <= 0 the scale is applied here, else in `shiftedExp`. Where `needsMask` holds,
 * scores that the mask hides become -infinity.
 */
export function finishScores(
  d: Draft,
  o: Operands,
  [b, g, r]: Head,
  { tile, valid, of }: Scores,
  needsMask: Expr | null,
): void {
  const { bias, isBf16 } = o;
  const { scale, cap } = o.attrs;
  const set = (f: (s: Expr, t: Expr, u: Expr) => Expr): void =>
    d.k.each(tile, valid, (i, j) => d.k.store(tile, [i, j], f(load(tile, i, j), ...of(i, j))));
  const scaled = (s: Expr): Expr => callF32("mul", s, f32(scale));
  if (cap !== undefined) set((s) => callF32(isBf16 ? "tanh_short" : "tanh", callF32("mul", s, f32(scale / cap))));
  else if (bias) set((s, t, u) => callF32("add", scaled(s), o.reader.element(bias, [b, g, r, t, u])));
  else if (scale <= 0) set(scaled);
  if (needsMask) d.k.if(needsMask, () => set((s, t, u) => select(isVisible(o, b, t, u), s, f32(-Infinity))));
}
/**
 * The gradient of a score before the cap, given the gradient of the capped one, `gradient`: times 1 - tanh^2, which is 0 for masked scores (s =
 * -infinity).
 */
export function softcapGradient({ attrs }: Operands, s: Expr, gradient: Expr): Expr {
  if (attrs.cap === undefined) return gradient;
  return callF32("mul", gradient, callF32("sub", f32(1), callF32("min", callF32("mul", s, s), f32(1))));
}
/** exp(factor * s - less). */
export function shiftedExp(o: Operands, s: Expr, less: Expr): Expr {
  const { factor, isBf16 } = o;
  if (isBf16)
    return callF32("exp2_short", callF32("mad", s, f32(factor * Math.LOG2E), callF32("mul", less, f32(-Math.LOG2E))));
  return callF32("exp", callF32("sub", times(s, factor), less));
}
export const times = (x: Expr, factor: number): Expr => (factor === 1 ? x : callF32("mul", x, f32(factor)));

/**
 * The factor that rescales earlier sums, whose maximum was `before`, to the new (scaled) maximum `less`. Rounding may not make it more than 1, even
 * when both maxima are still `initialMaximum`.
 */
export function rescaleFactor(o: Operands, before: Expr, less: Expr): Expr {
  const factor = shiftedExp(o, before, less);
  return o.isBf16 ? callF32("min", factor, f32(1)) : factor;
}
/** The initial maximum: below all scores, yet finite when multiplied by the factor, rounding included. */
export const initialMaximum = ({ factor }: Operands): number => -3.4e38 / Math.max(1, factor * Math.LOG2E);

/**
 * Split keys, for when there are too few tasks: buffers that hold, for each piece of the keys and each query, the undivided output, the maximum score
 * and the sum of weights.
 */
export interface KeyPieces {
  readonly count: number;
  /** Keys in a piece. */
  readonly length: number;
  readonly out: VirtualBuffer;
  readonly top: VirtualBuffer;
  readonly total: VirtualBuffer;
}
/** How to split the keys into pieces; null if they are not split. */
export function keyPieces(node: Node, choices: Choices): Pick<KeyPieces, "count" | "length"> | null {
  const [q, k, v] = [0, 1, 2].map((i) => item(node.args, i)) as [Value, Value, Value];
  const [B, G, R, T, A] = shapeOf(q) as [number, number, number, number, number];
  const [U, C] = [item(shapeOf(k), 2), item(shapeOf(v), 3)];
  const tile = choices.attention(Math.max(A, C), bytesOf[dtypeOf(q.type)], false, T);
  const count = tile && choices.keyPieces ? choices.keyPieces(B * G * R * Math.ceil(T / tile.rows), U) : 1;
  if (!tile || count <= 1) return null;
  const length = roundUp(Math.ceil(U / count), tile.block);
  return { count: Math.ceil(U / length), length };
}

/** Writes `out` and each row's log-sum-exp; with `pieces`, writes the partial results of each piece instead. */
export function attention(d: Draft, node: Node, pieces: KeyPieces | null = null): void {
  const o = operands(d, node);
  const { rows, block } = o;
  const { B, G, R, T, A, C } = o.sizes;
  const h = d.k.task("h", B * G * R).at;
  const [b = num(0), g = num(0), r = num(0)] = unflatten(h, [B, G, R]);
  const m = d.k.task("m", T, rows);
  const p = pieces && d.k.task("p", pieces.count).at;
  const q = d.k.stage("q", [rows, A], [m.n, num(A)], o.element(o.q, [b, g, r], m));
  const out = d.k.tile("acc", "out", [rows, roundUp(C, 16)]);
  const [top, total] = [d.k.tile("row", "row_max", [rows], initialMaximum(o)), d.k.tile("row", "row_sum", [rows])];
  const all = visibleRange(d, o, b, "at", m, o.endMultiple);
  const { from, to, skip, needsMask } =
    pieces && p ? clipToPiece(d, all, mul(p, num(pieces.length)), pieces.length) : all;
  const step = (c: Block): void => {
    const keys = d.k.stage("keys", [A, block], [num(A), c.n], o.transposedElement(o.k, [b, g], c));
    const values = d.k.stage("values", [block, roundUp(C, 16)], [c.n, num(C)], o.element(o.v, [b, g], c));
    const scores = d.k.tile("acc", "scores", [rows, block]);
    d.k.mma(q, [keys], [scores], [m.n, num(A)]);
    const of = (i: Expr, j: Expr) => [plus(m, i), plus(c, j)] as const;
    finishScores(d, o, [b, g, r], { tile: scores, valid: [m.n, c.n], of }, needsMask(c));
    onlineSoftmaxRows(d, o, { scores, top, total, out }, m, c);
    d.k.mma(scores, [values], [out], [m.n, c.n]);
  };
  d.k.for("c", from, to, block, step, skip);
  const row = (i: Expr): Expr[] => [b, g, r, plus(m, i)];
  if (pieces && p)
    return storePartials(d, pieces, { top, total, out }, [m.n, num(C)], (i) => [p, add(mul(h, num(T)), plus(m, i))]);
  if (o.sink) addSinkToRows(d, o, { top, total, out }, [m.n, num(C)], o.reader.element(o.sink, [b, g, r]));
  const result = d.output(item(node.results, 0), "y");
  d.k.each(out, [m.n, num(C)], (i, j) => d.k.store(result, [...row(i), j], normalize(load(out, i, j), load(total, i))));
  const sums = d.output(item(node.results, 1), "sums");
  d.k.each(top, [m.n], (i) => d.k.store(sums, row(i), logSumExp(times(load(top, i), o.factor), load(total, i))));
}
/** Adds a sink to the softmax of a row: the new maximum, the factor for earlier sums, and the new sum of weights. `top` is scaled. */
export function softmaxWithSink(d: Draft, top: Expr, total: Expr, sink: Expr): Record<"top" | "keep" | "total", Expr> {
  const next = d.k.letHere("new_max", callF32("max", top, sink));
  const keep = d.k.letHere("rescale", callF32("exp", callF32("sub", top, next)));
  return {
    top: next,
    keep,
    total: callF32("add", callF32("mul", total, keep), callF32("exp", callF32("sub", sink, next))),
  };
}
/** Adds the sink to the sums of each row. */
function addSinkToRows(
  d: Draft,
  o: Operands,
  { top, total, out }: Sums,
  [n, cols]: readonly [Expr, Expr],
  sink: Expr,
): void {
  const keep = d.k.tile("row", "rescale", top.shape);
  d.k.each(top, [n], (i) => {
    const made = softmaxWithSink(d, times(load(top, i), o.factor), load(total, i), sink);
    d.k.store(keep, [i], made.keep);
    d.k.store(total, [i], made.total);
    d.k.store(top, [i], times(made.top, 1 / o.factor));
  });
  d.k.each(out, [n, cols], (i, j) => d.k.store(out, [i, j], callF32("mul", load(out, i, j), load(keep, i))));
}
/** Intersects the keys that the mask allows with one piece of the keys. */
function clipToPiece(d: Draft, { from, to, skip, needsMask }: VisibleRange, start: Expr, length: number): VisibleRange {
  const first = d.k.let("first", max(from, start));
  const end = d.k.let("end", min(to, add(start, num(length))));
  const inside = (x: Expr): Expr => min(max(x, first), end);
  const at = skip && d.k.let("leave", inside(skip.at));
  const by = skip && at && d.k.let("left", sub(inside(add(skip.at, skip.by)), at));
  return { from: first, to: end, skip: at && by && { at, by }, needsMask };
}
const hasWeight = (total: Expr): Expr => call("ne", "bool", total, f32(0));
const normalize = (x: Expr, total: Expr): Expr => select(hasWeight(total), callF32("over", x, total), f32(0));
/** The log-sum-exp of a row; `top` is scaled. */
const logSumExp = (top: Expr, total: Expr): Expr =>
  select(hasWeight(total), callF32("add", top, callF32("log", total)), f32(0));
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
  const weight = (p: Expr): Expr => callF32("exp", times(callF32("sub", load(top, p, row), highest), o.factor));
  const added = d.k.fold("block_sum", "sum", "f32", count, (p) => callF32("mul", load(total, p, row), weight(p)));
  const at = unflatten(row, [B, G, R, T]);
  const scaled = times(highest, o.factor);
  const made = o.sink && softmaxWithSink(d, scaled, added, o.reader.element(o.sink, at.slice(0, 3)));
  const all = made ? d.k.letHere("row_sum", made.total) : added;
  d.k.par(num(C), (j) => {
    const sum = d.k.fold("sum", "sum", "f32", count, (p) => callF32("mul", load(out, p, row, j), weight(p)));
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
    d.k.store(keep, [i], rescaleFactor(o, load(top, i), times(next, o.factor)));
    d.k.store(total, [i], callF32("mul", load(total, i), load(keep, i)));
    d.k.store(top, [i], next);
  });
  d.k.each(out, [m.n, num(o.sizes.C)], (i, j) =>
    d.k.store(out, [i, j], callF32("mul", load(out, i, j), load(keep, i))),
  );
  d.k.each(scores, [m.n, c.n], (i, j) =>
    d.k.store(scores, [i, j], shiftedExp(o, load(scores, i, j), times(load(top, i), o.factor))),
  );
  const added = d.k.foldRows("block_sum", "sum", scores, c.n, (i, j) => load(scores, i, j));
  d.k.each(total, [m.n], (i) => d.k.store(total, [i], callF32("add", load(total, i), load(added, i))));
}
