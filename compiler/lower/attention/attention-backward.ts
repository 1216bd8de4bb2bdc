// The backward of attention in two kernels. For each block of keys: S^T = K Q^T, then dV = P^T dO and dK = dS^T Q. For each block of queries: dQ = dS
// K. So an accumulator is used as an operand only on the left.
import type { Node, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import { type Block, plus } from "../../kernel/builder.ts";
import { bool, f32, load, num, roundUp, unflatten } from "../../kernel/expr.ts";
import type { Expr, Tile } from "../../kernel/ir.ts";
import type { Draft } from "../draft.ts";
import {
  type BackwardOperands,
  backwardOperands,
  bent,
  callF32,
  finishScores,
  type Head,
  type Operands,
  probability,
  softcapGradient,
} from "./attention-operands.ts";
import { type VisibleRange, visibleRange } from "./mask-bounds.ts";

/** Writes dq and, if it is given, the gradient of the bias: one task for a block of queries. */
export function attentionQueries(d: Draft, node: Node, dbias: Value | null): void {
  const o = backwardOperands(d, node);
  const { rows, block } = o;
  const { B, G, R, T, U, A, C } = o.sizes;
  const [b = num(0), g = num(0), r = num(0)] = unflatten(d.k.task("h", B * G * R).at, [B, G, R]);
  const m = d.k.task("m", T, rows);
  const q = d.k.stage("q", [rows, A], [m.n, num(A)], o.element(o.q, [b, g, r], m));
  const doutTile = d.k.stage("d_out", [rows, C], [m.n, num(C)], o.element(o.dout, [b, g, r], m));
  const dq = d.k.tile("acc", "dq", [rows, roundUp(A, 16)]);
  const all: VisibleRange = {
    from: num(0),
    to: num(U),
    skip: null,
    needsMask: () => (o.attrs.bounds.length === 0 ? null : bool(true)),
  };
  const { from, to, skip, needsMask } = dbias ? all : visibleRange(d, o, { b, side: "at", block: m });
  const queries = { head: [b, g, r] as const, m, q, doutTile, dq, dbias };
  d.k.for("c", from, to, block, (c) => addKeyBlock(d, o, queries, c, needsMask(c)), skip);
  storeQueryGradient(d, o, [b, g, r], m, dq);
}
/** Stores the gradient of a block m of queries. */
export function storeQueryGradient(d: Draft, o: Operands, head: Head, m: Block, dq: Tile): void {
  const result = d.output(item(o.node.results, 0), "dq");
  d.k.each(dq, [m.n, num(o.sizes.A)], (i, a) =>
    d.k.store(result, [...head, plus(m, i), a], callF32("mul", load(dq, i, a), f32(o.attrs.scale))),
  );
}
interface BlockOfQueries {
  readonly head: Head;
  readonly m: Block;
  readonly q: Tile;
  /** The gradient of its output. */
  readonly doutTile: Tile;
  readonly dq: Tile;
  readonly dbias: Value | null;
}
/** Adds the contribution of a block c of keys to the gradient of a block of queries. */
function addKeyBlock(d: Draft, o: BackwardOperands, queries: BlockOfQueries, c: Block, needsMask: Expr | null): void {
  const { head, m, q, doutTile, dq, dbias } = queries;
  const { rows, block } = o;
  const { A, C } = o.sizes;
  const [b, g, r] = head;
  const keys = d.k.stage("keys", [A, block], [num(A), c.n], o.transposedElement(o.k, [b, g], c));
  const values = d.k.stage("values", [C, block], [num(C), c.n], o.transposedElement(o.v, [b, g], c));
  const keyRows = d.k.stage("key_rows", [block, roundUp(A, 16)], [c.n, num(A)], o.element(o.k, [b, g], c));
  const [scores, dp] = [d.k.tile("acc", "scores", [rows, block]), d.k.tile("acc", "d_scores", [rows, block])];
  d.k.mma(q, [keys], [scores], [m.n, num(A)]);
  d.k.mma(doutTile, [values], [dp], [m.n, num(C)]);
  const of = (i: Expr, j: Expr) => [[r, plus(m, i)], plus(c, j)] as const;
  finishScores(d, o, [b, g], { tile: scores, valid: [m.n, c.n], of }, needsMask);
  d.k.each(scores, [m.n, c.n], (i, j) => {
    const at = [b, g, r, plus(m, i)];
    const p = probability(o, bent(o, load(scores, i, j)), o.reader.element(o.sums, at));
    const ds = d.k.letHere("ds", callF32("mul", p, callF32("sub", load(dp, i, j), o.reader.element(o.delta, at))));
    if (dbias) d.k.store(d.output(dbias, "dbias"), [...at, plus(c, j)], ds);
    d.k.store(scores, [i, j], softcapGradient(o, load(scores, i, j), ds));
  });
  d.k.mma(scores, [keyRows], [dq], [m.n, c.n]);
}

/** Writes dk and dv: one task for a block of keys, over all queries that share its head. */
export function attentionKeys(d: Draft, node: Node): void {
  const o = backwardOperands(d, node);
  const { B, G, U, A, C } = o.sizes;
  const [b = num(0), g = num(0)] = unflatten(d.k.task("h", B * G).at, [B, G]);
  const m = d.k.task("m", U, o.rows);
  const keys = d.k.stage("keys", [o.rows, A], [m.n, num(A)], o.element(o.k, [b, g], m));
  const values = d.k.stage("values", [o.rows, C], [m.n, num(C)], o.element(o.v, [b, g], m));
  const block = { b, g, m, keys, values, visible: visibleRange(d, o, { b, side: "seen", block: m }) };
  if (!o.separatePasses) return keyAndValueGradients(d, o, block, ["keys", "values"]);
  keyAndValueGradients(d, o, block, ["values"]);
  keyAndValueGradients(d, o, block, ["keys"]);
}
interface BlockOfKeys {
  readonly b: Expr;
  readonly g: Expr;
  readonly m: Block;
  readonly keys: Tile;
  readonly values: Tile;
  readonly visible: VisibleRange;
}
/** The gradient of a block of keys, of its values, or of both in one pass. */
function keyAndValueGradients(
  d: Draft,
  o: BackwardOperands,
  keys: BlockOfKeys,
  of: readonly ("keys" | "values")[],
): void {
  const { b, g, m, visible } = keys;
  const { from, to, skip } = visible;
  const { rows, block } = o;
  const { R, A, C } = o.sizes;
  const dk = of.includes("keys") ? d.k.tile("acc", "dk", [rows, roundUp(A, 16)]) : null;
  const dv = of.includes("values") ? d.k.tile("acc", "dv", [rows, roundUp(C, 16)]) : null;
  d.k.for("r", num(0), num(R), 1, ({ at: r }) =>
    d.k.for("c", from, to, block, (c) => addQueryBlock(d, o, keys, { dk, dv }, [r, c]), skip),
  );
  const stored = (from: Tile | null, n: number, width: number, f: (x: Expr) => Expr): void => {
    if (!from) return;
    const result = d.output(item(o.node.results, n), n === 1 ? "dk" : "dv");
    d.k.each(from, [m.n, num(width)], (i, a) => d.k.store(result, [b, g, plus(m, i), a], f(load(from, i, a))));
  };
  stored(dk, 1, A, (x) => callF32("mul", x, f32(o.attrs.scale)));
  stored(dv, 2, C, (x) => x);
}
/** Adds the contribution of a block c of queries of head r to the gradients of a block of keys. */
function addQueryBlock(
  d: Draft,
  o: BackwardOperands,
  { b, g, m, keys, values, visible }: BlockOfKeys,
  { dk, dv }: { readonly dk: Tile | null; readonly dv: Tile | null },
  [r, c]: readonly [Expr, Block],
): void {
  const { rows, block } = o;
  const { A, C } = o.sizes;
  const needsMask = visible.needsMask(c);
  const head = [b, g, r];
  const q = d.k.stage("q", [A, block], [num(A), c.n], o.transposedElement(o.q, head, c));
  const doutTile = dk && d.k.stage("d_out", [C, block], [num(C), c.n], o.transposedElement(o.dout, head, c));
  const doutRows = dv && d.k.stage("d_out_rows", [block, roundUp(C, 16)], [c.n, num(C)], o.element(o.dout, head, c));
  const queryRows = dk && d.k.stage("q_rows", [block, roundUp(A, 16)], [c.n, num(A)], o.element(o.q, head, c));
  const scores = d.k.tile("acc", "scores", [rows, block]);
  d.k.mma(keys, [q], [scores], [m.n, num(A)]);
  const of = (i: Expr, j: Expr) => [[r, plus(c, j)], plus(m, i)] as const;
  // before there is a fourth accumulator: with it, registers would not suffice for three blocks a multiprocessor of CUDA
  finishScores(d, o, [b, g], { tile: scores, valid: [m.n, c.n], of }, needsMask);
  const dp = dk && d.k.tile("acc", "d_scores", [rows, block]);
  if (dp && doutTile) d.k.mma(values, [doutTile], [dp], [m.n, num(C)]);
  d.k.each(scores, [m.n, c.n], (i, j) => {
    const at = [b, g, r, plus(c, j)];
    const p = d.k.letHere("p", probability(o, bent(o, load(scores, i, j)), o.reader.element(o.sums, at)));
    const ds = (x: Expr): Expr => callF32("mul", p, callF32("sub", x, o.reader.element(o.delta, at)));
    if (dp) d.k.store(dp, [i, j], softcapGradient(o, load(scores, i, j), ds(load(dp, i, j))));
    if (dv) d.k.store(scores, [i, j], p);
  });
  if (dv && doutRows) d.k.mma(scores, [doutRows], [dv], [m.n, c.n]);
  if (dk && dp && queryRows) d.k.mma(dp, [queryRows], [dk], [m.n, c.n]);
}
