// Indexing of tensors: `x[2]`, `x[a:b]`, `x[..., new]`, `x[index]`.
import type { Value } from "../../graph/node.ts";
import * as b from "../../ops/build.ts";
import { numbers } from "../../ops/common.ts";
import type * as ast from "../../syntax/ast.ts";
import { nameHelp } from "../../syntax/help.ts";
import { equal, isSpread, type Size, show, sub } from "../../types/size.ts";
import { showType, type } from "../../types/type.ts";
import { absorb, fail, quoted, textOf } from "../errors.ts";
import { calledFrom, toSize } from "../numbers.ts";
import { headerValues } from "../origin.ts";
import { capitalised } from "../types.ts";
import { type Frame, kindText, type Scope, tensor, type Val } from "../values.ts";
import type { World } from "../world.ts";
import { requireWithin } from "./table-index.ts";

type Index = Extract<ast.Expr, { kind: "index" }>;
type Item = ast.IndexItem;
/** Where an index is written, and in which body. */
interface Place {
  readonly span: ast.Span;
  readonly from: Frame;
}

export function indexTensor(w: World, x: Value, e: Index, scope: Scope): Val {
  const rank = x.type.shape.length;
  const used = e.items.filter((i) => i.kind !== "new" && i.kind !== "ellipsis").length;
  if (used > rank)
    fail("E0210", rank === 0 ? "a number has no axes" : `${used} indices for ${showType(x.type)}`, e.span, {
      help: noneIn(e) ?? (rank === 0 ? "leave the index out" : `give at most ${rank}`),
      notes: calledFrom(w),
    });
  const dots = e.items.filter((i) => i.kind === "ellipsis").length;
  if (dots > 1) fail("E0210", "`...` may stand once in an index", e.span, { help: "leave one out" });
  let value = x;
  let axis = 0;
  for (const item of e.items) {
    if (item.kind === "ellipsis") axis += rank - used;
    else [value, axis] = indexAxis(w, value, axis, item, scope);
  }
  return tensor(value);
}
/** The remedy for `None` as an index, as in `x[:, None]`. */
const noneIn = (e: Index): string | null =>
  e.items.some((i) => i.kind === "name" && i.name === "None") ? nameHelp("None") : null;
function indexAxis(
  w: World,
  x: Value,
  axis: number,
  item: Exclude<Item, { kind: "ellipsis" }>,
  scope: Scope,
): [Value, number] {
  w.g.span = item.span;
  if (item.kind === "new") return [expanded(w, x, axis), axis + 1];
  const n = x.type.shape[axis] ?? absorb();
  if (isSpread(n))
    fail("E0207", `${showType(x.type)} has any number of axes in front`, item.span, {
      help: "count from the end: `x[..., i]`",
      notes: calledFrom(w),
    });
  if (item.kind === "slice") return [sliced(w, x, axis, item, scope), axis + 1];
  requireFromStart(w, item, n);
  const v = w.evaluate(item, scope);
  if (v.kind === "error") return absorb();
  if (v.kind === "tensor") return taken(w, x, axis, v.value, { span: item.span, from: scope.frame });
  if (v.kind !== "number")
    return fail("E0210", `an index is a number or an i32 tensor, not ${kindText[v.kind]}`, item.span, {
      help: "`x[2]`, `x[a:b]`, `x[index]`",
    });
  const place = typeof v.value === "number" ? v.value : 0;
  requireWhole(w, place, item);
  return [at(w, x, axis, place, n), axis];
}
/** `x[i / 2]` in a loop: `/` does not round, and between two rows there is none. */
function requireWhole(w: World, place: number, item: ast.Expr): void {
  if (!Number.isInteger(place))
    fail("E0210", `an index is a whole number, and this is ${place}`, item.span, {
      help: `round it: \`floor(${textOf(item.span)})\``,
      notes: calledFrom(w),
    });
}
/** A literal `x[-1]`, elsewhere the last element, would always be none here: an error. A computed one, such as `x[i - 1]` in a loop, may be none. */
function requireFromStart(w: World, item: ast.Expr, n: Size): void {
  if (item.kind === "unary" && item.op === "-" && item.value.kind === "number")
    fail("E0211", `an index counts from 0, and ${textOf(item.span)} is less`, item.span, {
      help: `from the end, subtract: \`${show(n)} - ${item.value.value}\``,
      notes: calledFrom(w),
    });
}
function expanded(w: World, x: Value, axis: number): Value {
  const shape = x.type.shape.toSpliced(axis, 0, 1);
  return w.make(type(x.type.dtype, shape), () => b.reshape(w.g, x, numbers(shape)));
}
/** One position of an axis, which is dropped; zeros if it is out of range. */
function at(w: World, x: Value, axis: number, i: number, n: Size): Value {
  const shape = x.type.shape.toSpliced(axis, 1);
  return w.make(type(x.type.dtype, shape), () => {
    const inside = i >= 0 && i < Number(n);
    if (!inside)
      return b.broadcastTo(
        w.g,
        b.cast(w.g, b.constant(w.g, 0, "f32"), x.type.dtype === "float" ? "f32" : x.type.dtype),
        numbers(shape),
      );
    return b.reshape(w.g, b.slice(w.g, x, axis, i, 1), numbers(shape));
  });
}
function sliced(w: World, x: Value, axis: number, item: Extract<Item, { kind: "slice" }>, scope: Scope): Value {
  const n = x.type.shape[axis] ?? absorb();
  const [from, to] = [item.from ? end(w, item.from, n, scope) : 0, item.to ? end(w, item.to, n, scope) : n];
  if (typeof from === "number" && typeof to === "number" && (from > to || (typeof n === "number" && to > n)))
    fail("E0210", `${from}:${to} is not a part of ${showType(x.type)}`, item.span, {
      help: `the axis has ${show(n)}; a slice \`a:b\` needs 0 <= a <= b <= ${show(n)}`,
      notes: calledFrom(w),
    });
  const size = sub(to, from);
  const shape = x.type.shape.toSpliced(axis, 1, size);
  return w.make(type(x.type.dtype, shape), () => b.slice(w.g, x, axis, Number(from), Number(size)));
}
function end(w: World, e: ast.Expr, n: Size, scope: Scope): Size {
  const v = w.evaluate(e, scope);
  if (v.kind === "number" && typeof v.value === "number" && v.value < 0)
    fail("E0211", `a slice counts from 0, and ${textOf(e.span)} is less`, e.span, {
      help: `from the end, subtract: \`${show(n)} - ${-v.value}\``,
      notes: calledFrom(w),
    });
  return v.kind === "error" ? absorb() : toSize(w, v, e.span);
}
function taken(w: World, x: Value, axis: number, index: Value, at: Place): [Value, number] {
  if (axis !== 0) fail("E0210", "a tensor as index stands first", at.span, { help: "write `take(x, index, axis: a)`" });
  return [takeAlong(w, x, index, 0, at), index.type.shape.length];
}

/**
 * `take(x, index, axis)`: the axes before `axis` match the first axes of the index (a size of 1 broadcasts); the index's other axes replace `axis`.
 */
export function takeAlong(w: World, x: Value, index: Value, axis: number, at: Place): Value {
  const { span } = at;
  needIndex(w, index, at);
  const batch = matched(w, x.type.shape.slice(0, axis), index, axis, span);
  const shape = [...batch, ...index.type.shape.slice(axis), ...x.type.shape.slice(axis + 1)];
  if (!w.checking) requireWithin(w, x, index, axis, span);
  return w.make(type(x.type.dtype, shape), () => b.take(w.g, x, index, axis));
}
export function needIndex(w: World, index: Value, { span, from }: Place): void {
  if (index.type.dtype !== "i32")
    fail("E0210", `an index is i32, not ${showType(index.type)}`, span, {
      help:
        index.type.dtype === "bool"
          ? `no size depends on data, so a mask picks no rows: choose with \`where(${quoted(span, "mask")}, a, b)\``
          : (wholeHelp(span, from) ?? `convert it: \`i32(${quoted(span)})\``),
      notes: calledFrom(w),
    });
}
/** The remedy for `range(T) - dilation`, which is real because a header's `dilation` is. */
function wholeHelp(span: ast.Span, from: Frame): string | null {
  const words = new Set(textOf(span).match(/(?<![\w.])[a-z_]\w*/g));
  const real = headerValues(from).find((name) => words.has(name));
  if (real === undefined) return null;
  return `\`${real}\` is a real number of the header: as a size, which is whole, it is \`${capitalised(real)}\`; else convert: \`i32(${quoted(span)})\``;
}
/** The common axes of `lead` (the axes before the indexed one) and the first axes of an index; a size of 1 broadcasts. */
export function matched(w: World, lead: readonly Size[], index: Value, axis: number, span: ast.Span): Size[] {
  const own = index.type.shape;
  if (own.length < axis)
    fail(
      "E0210",
      `the index ${showType(index.type)} has too few axes for the [${lead.map(show).join(", ")}] before the axis`,
      span,
      { help: "give it an axis for each, or of 1: `index[new]`", notes: calledFrom(w) },
    );
  return lead.map((n, i) => {
    const m = own[i] ?? 1;
    if (equal(n, m) || m === 1) return n;
    if (n === 1) return m;
    return fail(
      "E0210",
      `the index ${showType(index.type)} does not match the axes [${lead.map(show).join(", ")}] before the axis`,
      span,
      {
        help: `its first axes are those before the axis, or 1; one index for all of them: \`let at: i32[${[...lead, ...own].map(show).join(", ")}] = ${quoted(span)}\``,
        notes: calledFrom(w),
      },
    );
  });
}
