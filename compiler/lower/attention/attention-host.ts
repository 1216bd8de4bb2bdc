// Attention on the host, where accumulators are arrays in memory. Scores are computed transposed, keys by queries: the softmax goes down a column
// with queries as lanes, and only a block's queries are transposed, once. Keys after the last one that a block's mask allows are skipped.
import type { Node, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import { type Block, plus } from "../../kernel/builder.ts";
import { call, f32, load, num, roundUp, unflatten } from "../../kernel/expr.ts";
import type { Buffer, Expr, OperandForm, Tile } from "../../kernel/ir.ts";
import type { Choices } from "../../kernel/schedule.ts";
import { attentionOf } from "../../ops/attention.ts";
import { isLoadedAsBf16 } from "../contraction.ts";
import type { Draft } from "../draft.ts";
import { shapeOf } from "../reader.ts";
import { storeQueryGradient } from "./attention-backward.ts";
import {
  type BackwardOperands,
  backwardOperands,
  bent,
  callF32,
  finishScores,
  initialMaximum,
  logSumExp,
  normalize,
  type Operands,
  operands,
  probability,
  rescaleFactor,
  scaledMaximum,
  softcapGradient,
  softmaxWithSink,
  times,
  weight,
} from "./attention-operands.ts";
import { visibleRange } from "./mask-bounds.ts";

/** Whether the forward uses this form: the target supports it, there are enough queries, and there is no bias (it would be read by columns). */
export const usesTransposedScores = (node: Node, { attention: { transposed, fewQueries } }: Choices): boolean =>
  transposed !== null && item(shapeOf(item(node.args, 0)), 3) > fewQueries && !attentionOf(node).bias;
/** Whether the backward uses one kernel with a task for each head of keys: there are enough heads, and the gradients of one head are small enough. */
export function usesHeadTasks(node: Node, { attention: { transposed } }: Choices): boolean {
  const [B = 0, G = 0, U = 0, A = 0] = shapeOf(item(node.args, 1));
  const gradients = U * (A + item(shapeOf(item(node.args, 2)), 3));
  return transposed !== null && B * G >= transposed.heads && gradients <= transposed.maxGradients;
}

/** Writes `out` and each row's log-sum-exp: one task for a block of queries. */
export function attentionTransposed(d: Draft, node: Node): void {
  const o = operands(d, node);
  const { block } = o;
  const { B, G, R, T, A, C } = o.sizes;
  const queries = queriesPerBlock(d, T);
  const [b = num(0), g = num(0), r = num(0)] = unflatten(d.k.task("h", B * G * R).at, [B, G, R]);
  const m = d.k.task("m", T, queries);
  const form = formOf(d, node.args.slice(0, 3));
  const q = d.k.stage("q", [A, queries], [num(A), m.n], o.transposedElement(o.q, [b, g, r], m), form);
  const out = d.k.tile("acc", "out", [queries, roundUp(C, 16)]);
  const [top, total, keep] = [
    d.k.local("row_max", [queries]),
    d.k.local("row_sum", [queries]),
    d.k.local("rescale", [queries]),
  ];
  d.k.par(m.n, (j) => {
    d.k.store(top, [j], f32(initialMaximum(o)));
    d.k.store(total, [j], f32(0));
  });
  const { from, to, skip, needsMask } = visibleRange(d, o, { b, side: "at", block: m }, 1);
  const step = (c: Block): void => {
    const keys = d.k.stage("keys", [block, A], [c.n, num(A)], o.element(o.k, [b, g], c), form);
    const values = d.k.stage("values", [block, roundUp(C, 16)], [c.n, num(C)], o.element(o.v, [b, g], c), form);
    const scores = d.k.tile("acc", "scores", [block, queries]);
    d.k.mma(keys, [q], [scores], [c.n, num(A)]);
    const of = (i: Expr, j: Expr) => [[r, plus(m, j)], plus(c, i)] as const;
    finishScores(d, o, [b, g], { tile: scores, valid: [c.n, m.n], of }, needsMask(c));
    onlineSoftmaxColumns(d, o, { scores, keys: c.n, queries: m.n, top, total, keep });
    d.k.each(out, [m.n, num(C)], (i, j) => d.k.store(out, [i, j], callF32("mul", load(out, i, j), load(keep, i))));
    if (form === null) return d.k.mmaTransposed(scores, values, out, [m.n, c.n]);
    d.k.mma(roundedOperand(d, form, scores, [m.n, c.n], true), [values], [out], [m.n, c.n]);
  };
  d.k.for("c", from, to, block, step, skip);
  if (o.sink) addSinkToColumns(d, o, o.reader.element(o.sink, [b, g, r]), m.n, { out, top, total, keep });
  storeOutput(d, o, [b, g, r], m, { out, top, total });
}
/** Stores the results of a block m of queries. */
function storeOutput(
  d: Draft,
  o: Operands,
  head: readonly Expr[],
  m: Block,
  { out, top, total }: Pick<Columns, "top" | "total"> & { readonly out: Tile },
): void {
  const [result, sums] = [d.output(item(o.node.results, 0), "y"), d.output(item(o.node.results, 1), "sums")];
  d.k.each(out, [m.n, num(o.sizes.C)], (i, j) =>
    d.k.store(result, [...head, plus(m, i), j], normalize(load(out, i, j), load(total, i))),
  );
  d.k.par(m.n, (j) =>
    d.k.store(sums, [...head, plus(m, j)], logSumExp(scaledMaximum(o, load(top, j)), load(total, j))),
  );
}
/** Adds a head's sink to the softmax of all queries of the block. */
function addSinkToColumns(
  d: Draft,
  { factor, sizes: { C } }: Operands,
  sink: Expr,
  queries: Expr,
  { out, top, total, keep }: Pick<Columns, "top" | "total" | "keep"> & { readonly out: Tile },
): void {
  d.k.par(queries, (j) => {
    const made = softmaxWithSink(d, times(load(top, j), factor), load(total, j), sink);
    d.k.store(keep, [j], made.keep);
    d.k.store(total, [j], made.total);
    d.k.store(top, [j], made.top);
  });
  d.k.each(out, [queries, num(C)], (i, j) => d.k.store(out, [i, j], callF32("mul", load(out, i, j), load(keep, i))));
}
/** A block of scores, keys by queries, with the running sums of each query. */
interface Columns {
  readonly scores: Tile;
  readonly keys: Expr;
  readonly queries: Expr;
  /** For each query: the maximum score, the sum of weights, and the factor that rescales earlier sums to the new maximum. */
  readonly top: Buffer;
  readonly total: Buffer;
  readonly keep: Buffer;
}
/** The online softmax step down each column: updates the sums and turns scores into weights. */
function onlineSoftmaxColumns(d: Draft, o: Operands, { scores, keys, queries, top, total, keep }: Columns): void {
  d.k.par(queries, (j) => {
    const highest = d.k.fold("block_max", "max", "f32", keys, (i) => load(scores, i, j));
    const before = d.k.letHere("old_max", load(top, j));
    const next = d.k.letHere("new_max", callF32("max", before, highest));
    const rescale = d.k.letHere("rescale", rescaleFactor(o, before, next));
    const added = d.k.fold("block_sum", "sum", "f32", keys, (i) => {
      const p = d.k.letHere("p", weight(o, load(scores, i, j), next));
      d.k.store(scores, [i, j], p);
      return p;
    });
    d.k.store(top, [j], next);
    d.k.store(keep, [j], rescale);
    d.k.store(total, [j], callF32("add", callF32("mul", load(total, j), rescale), added));
  });
}
/** An accumulator, or its transpose, as a left operand rounded to bf16. */
function roundedOperand(
  d: Draft,
  form: OperandForm,
  acc: Tile,
  valid: readonly [Expr, Expr],
  isTransposed = false,
): Tile {
  const [rows = 1, columns = 1] = acc.shape;
  const of = (i: Expr, j: Expr): Expr => call("bf16", "f32", isTransposed ? load(acc, j, i) : load(acc, i, j));
  return d.k.stage("rounded", isTransposed ? [columns, rows] : [rows, columns], valid, of, form);
}
/** The form of all operands, those computed in the kernel included: "words" if all given operands are bf16 and the target has them, else null. */
function formOf(d: Draft, given: readonly Value[]): OperandForm | null {
  const [B = 1, G = 1, U = 1, k = 1] = shapeOf(item(given, 1));
  const c = {
    op: "dot",
    m: U,
    n: queriesPerBlock(d, U),
    k,
    groups: B * G,
    operands: 1,
    pairs: 1,
    isLeftTransposed: false,
  } as const;
  return d.form({ ...c, isBf16: given.every((v) => isLoadedAsBf16(d, v)) }) === "words" ? "words" : null;
}
/** The queries of a block. */
const queriesPerBlock = (d: Draft, T: number): number =>
  Math.min(d.choices.attention.transposed?.queries ?? 0, roundUp(T, 16));

/** One head of keys, with the local buffers that sum its dk and dv. */
interface KeyHead {
  readonly o: BackwardOperands;
  readonly form: OperandForm | null;
  readonly b: Expr;
  readonly g: Expr;
  readonly sumK: Buffer;
  readonly sumV: Buffer;
  /** Whether rows of scores are queries, as a bias lies, and not keys. */
  readonly byQueries: boolean;
  /** The gradient of the bias, if it is read. */
  readonly dbias: Value | null;
}
/** Writes dq, dk, dv and, if it is given, the gradient of the bias: one task for each head of keys, which sums its dk and dv in local buffers. */
export function attentionHeads(d: Draft, node: Node, dbias: Value | null): void {
  const o = backwardOperands(d, node);
  const { B, G, R, T, U, A, C } = o.sizes;
  const [b = num(0), g = num(0)] = unflatten(d.k.task("h", B * G).at, [B, G]);
  const [sumK, sumV] = [d.k.local("dk_sum", [U, roundUp(A, 16)]), d.k.local("dv_sum", [U, roundUp(C, 16)])];
  for (const to of [sumK, sumV])
    d.k.for("i", num(0), num(U), 1, ({ at }) => d.k.par(num(item(to.shape, 1)), (a) => d.k.store(to, [at, a], f32(0))));
  const form = formOf(d, [...node.args.slice(0, 3), o.dout]);
  const head = { o, form, b, g, sumK, sumV, byQueries: o.bias !== undefined, dbias };
  d.k.for("r", num(0), num(R), 1, ({ at: r }) =>
    d.k.for("c", num(0), num(T), queriesPerBlock(d, T), (c) => addQueryBlock(d, head, r, c)),
  );
  const [toKeys, toValues] = [d.output(item(node.results, 1), "dk"), d.output(item(node.results, 2), "dv")];
  d.k.for("i", num(0), num(U), 1, ({ at: i }) => {
    d.k.par(num(A), (a) => d.k.store(toKeys, [b, g, i, a], callF32("mul", load(sumK, i, a), f32(o.attrs.scale))));
    d.k.par(num(C), (e) => d.k.store(toValues, [b, g, i, e], load(sumV, i, e)));
  });
}
/** Adds the contribution of a block c of queries to the gradients of all keys that it sees, and stores the block's dq. */
function addQueryBlock(d: Draft, head: KeyHead, r: Expr, c: Block): void {
  const { o, form, b, g, byQueries } = head;
  const { T, A, C } = o.sizes;
  const [queries, wideA, wideC] = [queriesPerBlock(d, T), roundUp(A, 16), roundUp(C, 16)];
  const own = [b, g, r];
  const stage = (name: string, x: Value, width: number): Tile =>
    byQueries
      ? d.k.stage(name, [queries, width], [c.n, num(width)], o.element(x, own, c), form)
      : d.k.stage(name, [width, queries], [num(width), c.n], o.transposedElement(x, own, c), form);
  const [q, doutTile] = [stage("q", o.q, A), stage("d_out", o.dout, C)];
  const queryRows = d.k.stage("query_rows", [queries, wideA], [c.n, num(A)], o.element(o.q, own, c), form);
  const doutRows = d.k.stage("flow_rows", [queries, wideC], [c.n, num(C)], o.element(o.dout, own, c), form);
  const dq = d.k.tile("acc", "dq", [queries, wideA]);
  const { from, to, skip, needsMask } = visibleRange(d, o, { b, side: "at", block: c }, 1);
  if (head.dbias && o.attrs.bounds.length > 0) clearBiasGradient(d, head, head.dbias, [r, c]);
  const step = (m: Block): void =>
    addKeyBlock(d, head, { r, c, m, q, doutTile, queryRows, doutRows, dq, needsMask: needsMask(m) });
  d.k.for("m", from, to, o.block, step, skip);
  storeQueryGradient(d, o, [b, g, r], c, dq);
}
/** The gradient of the bias is 0 where blocks of keys are not visited. */
function clearBiasGradient(d: Draft, { o, b, g }: KeyHead, dbias: Value, [r, c]: readonly [Expr, Block]): void {
  const result = d.output(dbias, "dbias");
  d.k.for("i", num(0), c.n, 1, ({ at: i }) =>
    d.k.par(num(o.sizes.U), (u) => d.k.store(result, [b, g, r, plus(c, i), u], f32(0))),
  );
}
/** A block c of queries with a block m of keys. */
interface BlockPair {
  readonly r: Expr;
  readonly c: Block;
  readonly m: Block;
  readonly q: Tile;
  readonly doutTile: Tile;
  readonly queryRows: Tile;
  readonly doutRows: Tile;
  readonly dq: Tile;
  readonly needsMask: Expr | null;
}
/** The scores of a block pair and the gradients of its probabilities, keys by queries, or `byQueries` turned. */
function scoresAndFlows(
  d: Draft,
  { o, form, b, g, byQueries }: KeyHead,
  { c, m, q, doutTile }: BlockPair,
): readonly [scores: Tile, dp: Tile] {
  const { A, C } = o.sizes;
  const queries = item(doutTile.shape, byQueries ? 0 : 1);
  const product = (name: string, of: string, x: Value, own: Tile, width: number): Tile => {
    const keys = byQueries
      ? d.k.stage(of, [width, o.block], [num(width), m.n], o.transposedElement(x, [b, g], m), form)
      : d.k.stage(of, [o.block, width], [m.n, num(width)], o.element(x, [b, g], m), form);
    const to = d.k.tile("acc", name, byQueries ? [queries, o.block] : [o.block, queries]);
    d.k.mma(byQueries ? own : keys, [byQueries ? keys : own], [to], [byQueries ? c.n : m.n, num(width)]);
    return to;
  };
  return [product("scores", "keys", o.k, q, A), product("d_scores", "values", o.v, doutTile, C)];
}
function addKeyBlock(d: Draft, head: KeyHead, pair: BlockPair): void {
  const { o, form, b, g, sumK, sumV, byQueries, dbias } = head;
  const { r, c, m, queryRows, doutRows, dq, needsMask } = pair;
  const { A, C } = o.sizes;
  const [wideA, wideC] = [roundUp(A, 16), roundUp(C, 16)];
  const [scores, dp] = scoresAndFlows(d, head, pair);
  const rows = d.k.stage("key_rows", [o.block, wideA], [m.n, num(A)], o.element(o.k, [b, g], m), form);
  const valid = byQueries ? ([c.n, m.n] as const) : ([m.n, c.n] as const);
  const placed = (i: Expr, j: Expr) => {
    const [query, key] = byQueries ? [i, j] : [j, i];
    return [[r, plus(c, query)], plus(m, key)] as const;
  };
  finishScores(d, o, [b, g], { tile: scores, valid, of: placed }, needsMask);
  d.k.each(scores, valid, (i, j) => {
    const [query, key] = placed(i, j);
    const at = [b, g, ...query];
    const p = d.k.letHere("p", probability(o, bent(o, load(scores, i, j)), o.reader.element(o.sums, at)));
    const less = o.reader.element(o.delta, at);
    const ds = d.k.letHere("ds", callF32("mul", p, callF32("sub", load(dp, i, j), less)));
    if (dbias) d.k.store(d.output(dbias, "dbias"), [...at, key], ds);
    d.k.store(dp, [i, j], softcapGradient(o, load(scores, i, j), ds));
    d.k.store(scores, [i, j], p);
  });
  const partV = d.k.tileIn("dv_block", [o.block, wideC], load(sumV, m.at, num(0)));
  const partK = d.k.tileIn("dk_block", [o.block, wideA], load(sumK, m.at, num(0)));
  const multiply = (left: Tile, isTurned: boolean, right: Tile, to: Tile, size: readonly [Expr, Expr]): void => {
    if (form) d.k.mma(roundedOperand(d, form, left, size, isTurned), [right], [to], size);
    else if (isTurned) d.k.mmaTransposed(left, right, to, size);
    else d.k.mma(left, [right], [to], size);
  };
  multiply(scores, byQueries, doutRows, partV, [m.n, c.n]);
  multiply(dp, byQueries, queryRows, partK, [m.n, c.n]);
  multiply(dp, !byQueries, rows, dq, [c.n, m.n]);
}
