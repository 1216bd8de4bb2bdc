// How one element of a result is computed from elements of the arguments: index maps of views and gathers, functions of elementwise ops.
import { fp4Group, fp4PerByte } from "../graph/codes.ts";
import type { Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import {
  add,
  asIndex,
  asValue,
  bool,
  call,
  clamp,
  clampBetween,
  div,
  f32,
  flatten,
  i32,
  isBefore,
  isNum,
  mul,
  num,
  range,
  scalarOf,
  select,
  sub,
  unflatten,
  within,
} from "../kernel/expr.ts";
import type { Expr, Scalar } from "../kernel/ir.ts";
import { show } from "../kernel/print.ts";
import type { OpAttrs, OpName } from "../ops/attrs.ts";
import { number, numbers } from "../ops/common.ts";
import { unaries } from "../ops/scalar.ts";
import { type Piece, piecesOf } from "../ops/view.ts";
import { isInlinedReduction } from "../regions/region.ts";
import { affineOf } from "../rewrite/affine.ts";
import { type DType, isFloat } from "../types/dtype.ts";
import { product } from "../types/numbers.ts";
import { dims, dtypeOf } from "../types/type.ts";
import { isConstantAlong } from "./constant-axis.ts";
import { type ElementRules, operand, type Reader, result } from "./reader.ts";

type Typed<N extends OpName> = (r: Reader, node: Node<OpAttrs[N]>, at: readonly Expr[]) => Expr;

/** A constant of a dtype. */
function constant(value: number, dtype: DType): Expr {
  const type = scalarOf(dtype);
  return type === "bool" ? bool(value !== 0) : num(value, type);
}
const typeOfResult = (node: { readonly results: readonly Value[] }): Scalar => scalarOf(dtypeOf(result(node).type));

/** The function's name; for a bf16 result the faster, less exact variant, if there is one. */
function functionOf({ attrs, results }: Node<OpAttrs["unary"]>): string {
  const short = dtypeOf(item(results, 0).type) === "bf16" && unaries[attrs.fn].short;
  return short ? `${attrs.fn}_short` : attrs.fn;
}
/** "over" where a row is divided by one number: targets may multiply by its reciprocal. Otherwise the op's own function. */
function operator({ attrs, args, results }: Node<OpAttrs["binary"]>): string {
  const [row, by] = [item(results, 0), item(args, 1)];
  const last = dims(row.type).length - 1;
  return attrs.fn === "div" && isFloat(dtypeOf(row.type)) && isConstantAlong(by, last) ? "over" : attrs.fn;
}
const combined = (r: Reader, node: Node<OpAttrs["binary"]>, at: readonly Expr[], fn: string): Expr =>
  call(fn, typeOfResult(node), r.element(operand(node), at), r.element(operand(node, 1), at));
const table: { readonly [N in OpName]?: Typed<N> } = {
  const: (_, node) => constant(node.attrs.value, dtypeOf(result(node).type)),
  iota: (_, _node, at) => asValue(item(at, 0)),
  unary: (r, node, at) => call(functionOf(node), typeOfResult(node), r.element(operand(node), at)),
  binary: (r, node, at) => combined(r, node, at, operator(node)),
  select: (r, node, at) =>
    select(r.element(operand(node), at), r.element(operand(node, 1), at), r.element(operand(node, 2), at)),
  cast: (r, node, at) => cast(r.element(operand(node), at), dtypeOf(operand(node).type), dtypeOf(result(node).type)),
  from_fp4(r, node, at) {
    const depth = at.length - 2;
    const row = item(at, depth);
    const code = r.element(operand(node), at.with(depth, div(row, fp4PerByte)));
    const scale = r.element(operand(node, 1), at.with(depth, div(row, fp4Group)));
    return call("from_fp4", "f32", code, asValue(row), scale);
  },
  detach: (r, node, at) => r.element(operand(node), at),
  after: (r, node, at) => r.element(operand(node), at),
  random(r, node, at) {
    const [key, base] = node.args;
    const shape = numbers(node.attrs.shape);
    const rows = at.length - shape.length;
    const word = (i: number): Expr => r.element(operand(node), [num(i)]);
    const row = base && key ? asIndex(r.element(base, at.slice(0, rows))) : num(0);
    const { place } = node.attrs;
    const n = add(mul(row, num(product(shape))), flatten(at.slice(rows), shape));
    return call(
      "threefry",
      "i32",
      word(0),
      place === 0 ? word(1) : call("xor", "i32", word(1), i32(place)),
      asValue(n),
      highWord(n),
    );
  },
  reshape: (r, node, at) =>
    r.element(operand(node), reshapeIndex(at, dims(result(node).type), dims(operand(node).type))),
  transpose(r, node, at) {
    const { perm } = node.attrs;
    return r.element(
      operand(node),
      perm.map((_, i) => item(at, perm.indexOf(i))),
    );
  },
  broadcast: (r, node, at) =>
    r.element(
      operand(node),
      node.attrs.axes.map((a) => item(at, a)),
    ),
  slice: (r, node, at) =>
    r.element(operand(node), at.with(node.attrs.axis, add(item(at, node.attrs.axis), num(number(node.attrs.start))))),
  concat(r, node, at) {
    const { axis } = node.attrs;
    const i = item(at, axis);
    const [lowest, highest] = range(i);
    const pieces = piecesOf(node).filter(({ from, to }) => to > from && from <= highest && lowest < to);
    const piece = ({ value, from, to }: Piece): Expr => r.element(value, at.with(axis, clampBetween(i, from, to)));
    return pieces.slice(0, -1).reduceRight(
      (rest, p) => {
        const cond = isBefore(i, p.to);
        return isNum(cond) && cond.value === 0 ? rest : select(cond, piece(p), rest);
      },
      piece(item(pieces, pieces.length - 1)),
    );
  },
  reduce: (r, node, at) => reduced(r, node, at, isInlinedReduction(node)),
  gather(r, node, at) {
    const { axis, batch } = node.attrs;
    const [x, index] = [operand(node), operand(node, 1)];
    const many = dims(index.type).length - batch;
    const i = gatherIndex(r, index, [...at.slice(0, batch), ...at.slice(axis, axis + many)]);
    const size = item(dims(x.type), axis);
    const inside = within(i, size);
    const found = r.element(x, [...at.slice(0, axis), clamp(i, size), ...at.slice(axis + many)]);
    return select(inside, found, constant(0, dtypeOf(x.type)));
  },
  dispatch: (r, node, at) => gatheredRow(r, node, at, operand(node, 1)),
  combine: (r, node, at) => gatheredRow(r, node, at, operand(node, 2)),
};
/** An element of a reduction: all that it combines, one after the other, if `unrolled`; else a fold. */
function reduced(r: Reader, node: Node<OpAttrs["reduce"]>, at: readonly Expr[], unrolled: boolean): Expr {
  const [x, { fn, axes }] = [operand(node), node.attrs];
  const shape = dims(x.type);
  const extents = axes.map((a) => item(shape, a));
  const kept = [...shape.keys()].filter((a) => !axes.includes(a));
  const value = (k: Expr): Expr => {
    const inner = unflatten(k, extents);
    return r.element(
      x,
      shape.map((_, a) => (axes.includes(a) ? item(inner, axes.indexOf(a)) : item(at, kept.indexOf(a)))),
    );
  };
  const total = product(extents);
  const type = typeOfResult(node);
  if (total > 0 && unrolled)
    return Array.from({ length: total }, (_, k) => value(num(k))).reduce((a, b) => call(combineOps[fn], type, a, b));
  const depth = Math.max(0, ...at.map((a) => r.k.depthOf(a)));
  return r.k.at(depth, () => r.k.fold(fn, fn, type, num(total), value));
}
/** Bits 32 to 63 of an index, as an i32. */
const highWord = (n: Expr): Expr => (range(n)[0] >= 0 && range(n)[1] < 2 ** 32 ? i32(0) : call("high", "i32", n));
const combineOps = { sum: "add", max: "max", min: "min" } as const;
export const elementRules = table as ElementRules;
/** The same for a lane that has a row of its own: every reduction is unrolled, and no number divides the rows of all lanes. */
export const laneRules: ElementRules = {
  ...elementRules,
  binary: (r, node, at) => combined(r, node as Node<OpAttrs["binary"]>, at, (node as Node<OpAttrs["binary"]>).attrs.fn),
  reduce: (r, node, at) => reduced(r, node as Node<OpAttrs["reduce"]>, at, true),
};

/**
 * Rows of the first argument, gathered by `index`: a row's number, or -1 (a choice that goes to no group), which gives zeros. Rows inside groups
 * (`r.offsets`) have no -1, so they need no guard.
 */
function gatheredRow(r: Reader, node: Node, at: readonly Expr[], index: Value): Expr {
  const x = operand(node);
  const i = asIndex(r.element(index, at.slice(0, 1)));
  if (r.offsets?.node === index.node && node.op.name === "dispatch") return r.element(x, [i, ...at.slice(1)]);
  const found = r.element(x, [clamp(i, Infinity), ...at.slice(1)]);
  return select(within(i, Infinity), found, constant(0, dtypeOf(x.type)));
}
/** The value of an index tensor at a place. If it is affine in the place, it is computed from the place, so that its stride over lanes is known. */
function gatherIndex(r: Reader, index: Value, at: readonly Expr[]): Expr {
  const a = affineOf(index);
  if (!a) return rowVariable(r, asIndex(r.element(index, at)));
  const digits = a.axes.flatMap((list, i) =>
    unflatten(
      item(at, i),
      list.map((axis) => axis.size),
    ),
  );
  const terms = a.axes.flat().map(({ step }, i) => [item(digits, i), step] as const);
  return terms.reduce(
    (sum, [x, step]) => (step < 0 ? sub(sum, mul(x, num(-step))) : add(sum, mul(x, num(step)))),
    num(a.start) as Expr,
  );
}
/** A variable with the value x: one for all that is gathered by x in the same scope. */
function rowVariable({ k }: Reader, x: Expr): Expr {
  if (x.e === "var" || x.e === "num") return x;
  const key = `row ${show(x)}`;
  const row = k.recall(key) ?? k.let("row", x);
  k.remember(key, row);
  return row;
}

function cast(x: Expr, from: DType, to: DType): Expr {
  if (from === "bool") return cast(call("number", "i32", x), "i32", to);
  if (from === "i8" && isFloat(to)) return x; // every float holds it
  if (isFloat(to) || to === "i8") {
    const wide = isFloat(from) || from === "i8" ? x : call("to_f32", "f32", x);
    if (to === "i8") return call("min", "f32", call("max", "f32", call("round", "f32", wide), f32(-128)), f32(127));
    return to === "bf16" ? call("bf16", "f32", wide) : wide;
  }
  if (to === "bool") return from === "i32" ? call("ne", "bool", x, i32(0)) : call("ne", "bool", x, f32(0));
  return from === "i32" ? x : call("to_i32", "i32", x);
}

/**
 * The index in shape `to` of the element at `at` in shape `from`, where a reshape leads from one to the other. Axes that both have pass unchanged.
 */
export function reshapeIndex(at: readonly Expr[], from: readonly number[], to: readonly number[]): Expr[] {
  if (product(to) === 0) return to.map(() => num(0));
  const result: Expr[] = [];
  let [i, j] = [0, 0];
  while (j < to.length) {
    const [first, start] = [i, j];
    let [m, n] = [from[i++] ?? 1, item(to, j++)];
    while (m !== n) {
      if (m < n) m *= item(from, i++);
      else n *= item(to, j++);
    }
    result.push(...unflatten(flatten(at.slice(first, i), from.slice(first, i)), to.slice(start, j)));
  }
  return result;
}
