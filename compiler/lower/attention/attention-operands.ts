// What all kernels of attention share: the operands with their sizes and tiles, how products become scores, and the steps of the softmax.
import { Problem } from "../../diagnostic.ts";
import { precisionFlagText, targetFlagText } from "../../flag-text.ts";
import type { Node, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import { type Block, plus } from "../../kernel/builder.ts";
import { call, f32, load, select } from "../../kernel/expr.ts";
import type { Expr, Tile } from "../../kernel/ir.ts";
import type { AttentionShape, AttentionTile, Choices } from "../../kernel/schedule.ts";
import {
  type AttentionArguments,
  attentionOf,
  type BackwardArguments,
  backwardOf,
  isBackward,
} from "../../ops/attention.ts";
import type { OpAttrs } from "../../ops/attrs.ts";
import { bytesOf } from "../../types/dtype.ts";
import { dtypeOf } from "../../types/type.ts";
import type { Draft } from "../draft.ts";
import type { Reader } from "../reader.ts";
import { shapeOf } from "../reader.ts";
import { isVisible } from "./mask-bounds.ts";

export type Head = readonly [b: Expr, g: Expr, r: Expr];
/** A query by its head, of those that share keys, and its place. */
export type Query = readonly [r: Expr, t: Expr];
export const callF32 = (op: string, ...args: readonly Expr[]): Expr => call(op, "f32", ...args);

/** The operands, named as in the op's record (ops/attention.ts), with the sizes of their axes. */
export interface Operands extends AttentionArguments<Value> {
  readonly node: Node;
  readonly reader: Reader;
  /** The element function of a stage for a block of rows of v: `element` is [row, column], `transposedElement` is [column, row]. */
  readonly element: (v: Value, head: readonly Expr[], block: Block) => (i: Expr, a: Expr) => Expr;
  readonly transposedElement: (v: Value, head: readonly Expr[], block: Block) => (a: Expr, i: Expr) => Expr;
  readonly attrs: OpAttrs["attention"];
  /** Tile sizes: in the forward `rows` queries by `block` keys. `wide`, `endMultiple` and `separatePasses`: see `AttentionTile`. */
  readonly rows: number;
  readonly block: number;
  readonly wide?: AttentionTile["wide"];
  readonly endMultiple?: number;
  readonly separatePasses?: boolean;
  /** Whether the operands are bf16: weights are rounded to bf16 next, so faster, less exact functions are good enough. */
  readonly isBf16: boolean;
  /** Whether the backward may round scores otherwise than the forward, since words of bf16 are summed in another order: then none is above the maximum. */
  readonly hasBound: boolean;
  /**
   * Whether the backward bends scores by the cap only where it reads them, so that the cap's slope follows from the score: 1 - tanh^2 cancels. In
   * bf16, and by tensor cores, products are rounded by more than that.
   */
  readonly bendsLate: boolean;
  /** The factor by which scores are multiplied inside `weight`: the cap or the scale; 1 if the scale was applied before (bias, or scale <= 0). */
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
export type BackwardOperands = Operands & BackwardArguments<Value>;
export const backwardOperands = (d: Draft, node: Node): BackwardOperands => ({
  ...operands(d, node),
  ...backwardOf(node),
});
export function operands(d: Draft, node: Node): Operands {
  const own = attentionOf(node);
  const attrs = node.attrs as OpAttrs["attention"];
  const reader = d.reader({ withoutLets: true });
  const isBf16 = dtypeOf(own.q.type) === "bf16";
  const isHostBackward = isBackward(node) && d.choices.attention.transposed !== null;
  const element: Operands["element"] = (x, head, rows) => (i, a) => reader.element(x, [...head, plus(rows, i), a]);
  return {
    ...own,
    node,
    reader,
    element,
    transposedElement: (x, head, rows) => (a, i) => element(x, head, rows)(i, a),
    attrs,
    factor: attrs.cap ?? (own.bias || attrs.scale <= 0 ? 1 : attrs.scale),
    isBf16,
    hasBound: isBf16 && isHostBackward,
    bendsLate: attrs.cap !== undefined && !isBf16 && isHostBackward,
    ...tileSizes(d, node),
    sizes: sizesOf(node),
  };
}
export function sizesOf(node: Node): Operands["sizes"] {
  const { q, k, v } = attentionOf(node);
  const [B, G, R, T, A] = shapeOf(q) as [number, number, number, number, number];
  return { B, G, R, T, A, U: item(shapeOf(k), 2), C: item(shapeOf(v), 3) };
}
function tileSizes(d: Draft, node: Node): AttentionTile {
  const shape = attentionShape(node, d.choices);
  const found = d.choices.attention.tile(shape);
  if (found) return found;
  const dtype = dtypeOf(item(node.args, 0).type);
  const others = [...(dtype === "f32" ? [precisionFlagText("bf16")] : []), targetFlagText("host")].join(" or ");
  throw new Problem(
    `attention of heads ${Math.max(shape.keys, shape.values)} wide in ${dtype} does not fit a multiprocessor`,
    `take more heads, so that each is at most 128 wide in f32 and 256 in bf16 (256 and 512 without gradients), or ${others}`,
  );
}
/** Whether values are the first elements of the keys. */
function isNested({ node: { op, args, attrs } }: Value, k: Value): boolean {
  if (op.name !== "slice" || args[0] !== k) return false;
  const { axis, start } = attrs as OpAttrs["slice"];
  return axis === 3 && start === 0;
}
export function attentionShape(node: Node, choices: Choices): AttentionShape {
  const { q, k, v } = attentionOf(node);
  const { R, T, A, C } = sizesOf(node);
  const backward = isBackward(node);
  return {
    keys: A,
    values: C,
    nested: isNested(v, k),
    bytes: bytesOf[dtypeOf(q.type)],
    backward,
    queries: !backward && sharesKeys(node, choices) ? R * T : T,
  };
}
/** A tile of scores, still to be multiplied by `factor`. */
interface Scores {
  readonly tile: Tile;
  readonly valid: readonly [Expr, Expr];
  /** The query and the key of element [i, j]. */
  readonly of: (i: Expr, j: Expr) => readonly [query: Query, u: Expr];
}
/**
 * Turns products of q and k into scores. With a cap, a bias or a scale <= 0 the scale is applied here, else in `weight`. Where `needsMask` holds,
 * scores that the mask hides become -infinity.
 */
export function finishScores(
  d: Draft,
  o: Operands,
  [b, g]: readonly [b: Expr, g: Expr],
  { tile, valid, of }: Scores,
  needsMask: Expr | null,
): void {
  const { bias, isBf16 } = o;
  const { scale, cap } = o.attrs;
  const set = (f: (s: Expr, query: Query, u: Expr) => Expr): void =>
    d.k.each(tile, valid, (i, j) => d.k.store(tile, [i, j], f(load(tile, i, j), ...of(i, j))));
  const scaled = (s: Expr): Expr => callF32("mul", s, f32(scale));
  // where tanh is -1 either way, a score stays above the -infinity that says it is masked
  const own = (x: Expr): Expr =>
    o.bendsLate ? callF32("max", x, f32(-40)) : callF32(isBf16 ? "tanh_short" : "tanh", x);
  if (cap !== undefined) set((s) => own(callF32("mul", s, f32(scale / cap))));
  else if (bias) set((s, query, u) => callF32("add", scaled(s), o.reader.element(bias, [b, g, ...query, u])));
  else if (scale <= 0) set(scaled);
  if (needsMask) d.k.if(needsMask, () => set((s, [, t], u) => select(isVisible(o, b, t, u), s, f32(-Infinity))));
}
/** A score of the tile, bent if `finishScores` left it as it was. */
export const bent = ({ bendsLate }: Operands, s: Expr): Expr =>
  bendsLate ? select(call("eq", "bool", s, f32(-Infinity)), s, callF32("tanh", s)) : s;
/** The gradient of a score before the cap, given the gradient of the capped one, `gradient`; `s` is the tile's, 0 comes of a masked one (-infinity). */
export function softcapGradient({ attrs, bendsLate }: Operands, s: Expr, gradient: Expr): Expr {
  if (attrs.cap === undefined) return gradient;
  if (bendsLate) return callF32("mul", gradient, callF32("tanh_slope", s));
  return callF32("mul", gradient, callF32("sub", f32(1), callF32("min", callF32("mul", s, s), f32(1))));
}
/**
 * exp(factor * s - less), `less` the scaled log-sum-exp of a row: 1 where the two are equal once rounded, however large. A power of two is multiplied by
 * without rounding, so one instruction is enough.
 */
export function probability({ isBf16, hasBound, factor }: Operands, s: Expr, less: Expr): Expr {
  const isExact = factor !== 1 && Number.isInteger(Math.log2(factor));
  const x = isExact ? callF32("mad", s, f32(factor), callF32("neg", less)) : callF32("sub", times(s, factor), less);
  return callF32(isBf16 ? "exp_short" : "exp", hasBound ? callF32("min", x, f32(0)) : x);
}
/** exp(factor * (s - top)), `top` the maximum of the row's scores so far. */
export function weight(o: Operands, s: Expr, top: Expr): Expr {
  if (!o.isBf16) return probability(o, s, times(top, o.factor));
  const rate = rateOf(o, top);
  return callF32("exp2_short", callF32("mad", s, rate, callF32("neg", callF32("mul", top, rate))));
}
/**
 * The factor that makes scores exponents of 2. One instruction computes s * rate - top * rate, of which only the second product is rounded: for all scores
 * of a row by as much. From 2^24 on, where neighbouring numbers are 1 apart, that could be so much that no weight is finite: there it is a power of two,
 * and the product exact.
 */
function rateOf({ factor }: Operands, top: Expr): Expr {
  const rate = Math.fround(factor * Math.LOG2E);
  const isLarge = call("lt", "bool", f32(2 ** 24 / rate), callF32("abs", top));
  return select(isLarge, f32(2 ** Math.floor(Math.log2(rate))), f32(rate));
}
export const times = (x: Expr, factor: number): Expr => (factor === 1 ? x : callF32("mul", x, f32(factor)));

/** The factor that rescales earlier sums, whose maximum was `before`, to the new maximum `top`: 1 if they are equal, also both `initialMaximum`. */
export function rescaleFactor(o: Operands, before: Expr, top: Expr): Expr {
  const [exp, factor] = o.isBf16 ? (["exp2_short", o.factor * Math.LOG2E] as const) : (["exp", o.factor] as const);
  return callF32(exp, times(callF32("sub", before, top), factor));
}
/** The initial maximum: below all scores, yet finite when multiplied by the factor, rounding included. */
export const initialMaximum = ({ factor }: Operands): number => -3.4e38 / Math.max(1, factor * Math.LOG2E);

/** Whether a row has seen any key; NaN is a weight too. */
const hasWeight = (total: Expr): Expr => call("ne", "bool", total, f32(0));
export const normalize = (x: Expr, total: Expr): Expr => select(hasWeight(total), callF32("over", x, total), f32(0));
/** The scaled maximum of a finished row: that of a row with a sink is scaled (`softmaxWithSink`). */
export const scaledMaximum = ({ sink, factor }: Operands, top: Expr): Expr => (sink ? top : times(top, factor));
/** The log-sum-exp of a row; `top` is scaled. */
export const logSumExp = (top: Expr, total: Expr): Expr =>
  select(hasWeight(total), callF32("add", top, callF32("log", total)), f32(0));

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
/**
 * Whether the rows of a task are the queries of all heads that share its keys, which are then read once: if each head has few. Each row has the keys
 * that any of them sees.
 */
export function sharesKeys(node: Node, { attention: { fewQueries } }: Choices): boolean {
  const [, , R = 1, T = 1] = shapeOf(item(node.args, 0));
  return R > 1 && T <= fewQueries;
}
