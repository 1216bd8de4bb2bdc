// Conversion of values to tensors, broadcasting ("stretching"), and the errors if two sides do not fit.
import type { Value } from "../graph/node.ts";
import * as b from "../ops/build.ts";
import { numbers } from "../ops/common.ts";
import type { Span } from "../syntax/ast.ts";
import { type Element, isFloat } from "../types/dtype.ts";
import { equal, equalAll, isSpread, mentions, product, type Size, show, substitute } from "../types/size.ts";
import { dtypeOf, showType, type Type, type } from "../types/type.ts";
import { absorb, fail, quoted, quotedOperand, textOf } from "./errors.ts";
import { calledFrom } from "./numbers.ts";
import { rowHelp } from "./rows.ts";
import { kindText, type Val } from "./values.ts";
import type { World } from "./world.ts";

/** A number as a scalar of `dtype`; an error if i32 cannot represent it. */
function constantOf(w: World, value: number, dtype: Element, at: Span): Value {
  if (dtype === "i32" && !Number.isNaN(value) && Math.trunc(value) !== (value | 0))
    fail("E0205", `an i32 does not hold ${value}`, at, {
      label: "from -2147483648 to 2147483647",
      notes: calledFrom(w),
      help: "compute in f32, which holds it: `f32(x)`",
    });
  return w.make(type(dtype, []), () => b.constant(w.g, value, dtypeOf(type(dtype, []))));
}

/**
 * The dtype that a value has next to a tensor of dtype `beside`: whole numbers stay integers, others become floats. `beside` null: there is none.
 */
export function elementOf(w: World, v: Val, beside: Element | null): Element {
  if (v.kind === "bool") return "bool";
  if (v.kind !== "number") return fromTensor(v);
  if (beside !== null && isFloat(beside)) return beside;
  return v.whole && beside !== null ? "i32" : w.options.f32;
}
const fromTensor = (v: Val): Element => (v.kind === "tensor" ? v.value.type.dtype : absorb());

/** A value as a tensor; a number or boolean becomes a scalar of `dtype`. */
export function toTensor(w: World, v: Val, at: Span, dtype: Element): Value {
  switch (v.kind) {
    case "tensor":
      return v.value;
    case "number":
      return constantOf(w, numeric(v.value), dtype, at);
    case "bool":
      return constantOf(w, v.value === true ? 1 : 0, dtype, at);
    case "spread":
      return constantOf(w, numeric(product(v.axes)), dtype, at);
    case "error":
      return absorb();
    default:
      return fail("E0311", `a tensor is needed here, not ${kindText[v.kind]}`, at, { help: remedyFor(v) });
  }
}
const numeric = (n: unknown): number => (typeof n === "number" ? n : Number.NaN);
const remedyFor = (v: Val): string => {
  if (v.kind === "layer" || v.kind === "fn") return "call it: `f(x)`";
  if (v.kind === "maker" || v.kind === "declaration")
    return "make it a member of the layer, `name: Layer(...)`, and call that";
  if (v.kind === "tuple") return "take its parts: `let (a, b) = ...`";
  if (v.kind === "layers") return "pick one and call it: `layers[0](x)`, or all: `for layer in layers`";
  return "give a tensor or a number";
};
/** A value as a tensor; a number becomes an f32 or i32 scalar, depending on whether it is whole. */
export function toDefaultTensor(w: World, v: Val, at: Span): Value {
  const isWhole = v.kind === "spread" || (v.kind === "number" && v.whole);
  return toTensor(w, v, at, v.kind === "bool" ? "bool" : isWhole ? "i32" : w.options.f32);
}

export function castTo(w: World, x: Value, dtype: Element): Value {
  if (x.type.dtype === dtype) return x;
  return w.make(type(dtype, x.type.shape), () => b.cast(w.g, x, dtypeOf(type(dtype, []))));
}
/** Whether a shape broadcasts to another, aligned at the right: an axis that is missing or literally 1 is repeated. */
export function canBroadcast(from: readonly Size[], to: readonly Size[]): boolean {
  const lead = to.length - from.length;
  return lead >= 0 && from.every((n, i) => n === 1 || equal(n, to[lead + i] ?? -1));
}
export function broadcastTo(w: World, x: Value, shape: readonly Size[]): Value {
  if (equalAll(x.type.shape, shape)) return x;
  return w.make(type(x.type.dtype, shape), () => b.broadcastTo(w.g, x, numbers(shape)));
}

/** The shape that both sides broadcast to. `what` names the operation in errors. */
export function commonShape(w: World, what: string, left: Side, right: Side, at: Span): readonly Size[] {
  const [a, c] = [left.type.shape, right.type.shape];
  const rank = Math.max(a.length, c.length);
  return Array.from({ length: rank }, (_, i) => {
    const m = a[a.length - rank + i] ?? 1;
    const n = c[c.length - rank + i] ?? 1;
    if (equal(m, n)) return m;
    const missing = a.length - rank + i < 0 || c.length - rank + i < 0;
    if (m === 1 && (missing || !isSpread(n))) return n;
    if (n === 1 && (missing || !isSpread(m))) return m;
    return fail(
      "E0202",
      `${what}: the shapes do not fit: ${axisText(m)} on the left, ${axisText(n)} on the right`,
      at,
      {
        also: [left, right].map((s) => ({ span: s.span, text: showType(s.type) })),
        notes: [
          ...[left, right].flatMap((s) =>
            s.origin?.() ? [`\`${textOf(s.span)}\` is ${showType(s.type)}${s.origin()}`] : [],
          ),
          "axes are aligned at the right; an axis that is missing or 1 stretches, two different sizes never fit",
          ...whySizesDiffer(w, m, n),
          ...calledFrom(w),
        ],
        help: rowHelp(w, a, c) ?? helpForShapes(left, right),
      },
    );
  });
}
interface Side {
  readonly type: Type;
  readonly span: Span;
  /** Where it was declared; see origin.ts. */
  readonly origin?: () => string;
}
/** Notes on why two sizes differ: they are written alike but are distinct symbols, or they are equal only while a header keeps its defaults. */
export function whySizesDiffer(w: World, a: Size, b: Size): string[] {
  if (show(a) === show(b)) return [namesakes(show(a))];
  if (!equal(substitute(a, w.sizeDefaults), substitute(b, w.sizeDefaults))) return [];
  return [...w.sizeDefaults]
    .filter(([name]) => mentions(a, name) || mentions(b, name))
    .map(([{ name }, size]) => `${name} is ${show(size)} by default only: write ${show(size)} where it must be that`);
}
const namesakes = (size: string): string =>
  /^\w+$/.test(size)
    ? `each call that chooses a size makes another ${size}; \`let y: f32[${size}] = ...\` names one`
    : `each ${size} is a new size: name one, in the header or with \`let\`, as in \`H = ${size}\``;
const axisText = (n: Size): string => (isSpread(n) ? `the axes ${show(n)}` : `axis ${show(n)}`);
/** The remedy: an axis of size 1 at the end, if that makes the shorter side broadcast. */
function helpForShapes(left: Side, right: Side): string {
  const [short, long] = left.type.shape.length < right.type.shape.length ? [left, right] : [right, left];
  const text = quoted(short.span);
  if (canBroadcast([...short.type.shape, 1], long.type.shape))
    return /^(sum|mean|max|min)\([^()]*,[^()]*\)$/.test(text)
      ? `keep the axis with size 1: \`${text.slice(0, -1)}, keep: true)\``
      : `give it an axis of 1 where it should stretch: \`${quotedOperand(short.span)}[..., new]\``;
  return "the sizes must be the same: change a declaration, or the order of the axes with `transpose`";
}

interface DeclaredType {
  /** What is declared, for errors: "`x`", "the result". */
  readonly what: string;
  readonly span: Span;
  /** The type as written in the program. */
  readonly text: string;
  /** Whether the value must have the declared shape; else it stretches to it. */
  readonly exact?: boolean;
  /** The call, if the value is one of its several results. */
  readonly resultOf?: Span | undefined;
}
/** Converts a value to its declared type: floats convert and, unless it is exact, the shape is broadcast; anything else is an error. */
export function conform(w: World, v: Val, want: Type, declared: DeclaredType, at: Span): Value {
  const stretch = !declared.exact;
  const x = convert(w, v, want, declared, at);
  if (equalAll(x.type.shape, want.shape)) return x;
  if (stretch && canBroadcast(x.type.shape, want.shape)) return broadcastTo(w, x, want.shape);
  return fail(
    stretch ? "E0212" : "E0206",
    `${declared.what} is declared ${typeText(declared, want)}, but this is ${showType(x.type)}`,
    at,
    {
      label: showType(x.type),
      also: [{ span: declared.span, text: "declared here" }],
      notes: [...whyShapesDiffer(w, x.type.shape, want.shape), ...calledFrom(w)],
      help:
        rowHelp(w, x.type.shape) ??
        (stretch
          ? "change the type, or reshape the value; axes are aligned at the right, and only 1 stretches"
          : "the shapes must be the same: change the type or the value"),
    },
  );
}
/** Notes on the last axes that differ, aligned at the right. */
function whyShapesDiffer(w: World, a: readonly Size[], c: readonly Size[]): string[] {
  const i = a.findLastIndex((n, k) => !equal(n, c[c.length - a.length + k] ?? -1));
  const [n, m] = [a[i], c[c.length - a.length + i]];
  return n === undefined || m === undefined ? [] : whySizesDiffer(w, n, m);
}
const typeText = (d: DeclaredType, t: Type): string => {
  const shown = showType(t);
  return shown === d.text ? shown : `${d.text} = ${shown}`;
};
/** Converts a value to the dtype of a declared type: floats convert implicitly, numbers become scalars, anything else is an error. */
export function convert(w: World, v: Val, want: Type, declared: DeclaredType, at: Span): Value {
  if (
    v.kind === "number" &&
    (isFloat(want.dtype) || (want.dtype === "i32" && (v.whole || v.loose || Number.isInteger(v.value))))
  )
    return constantOf(w, numeric(v.value), want.dtype, at);
  if (v.kind === "spread" && want.dtype !== "bool") return toTensor(w, v, at, want.dtype);
  const x = toDefaultTensor(w, v, at);
  const from = x.type.dtype;
  if (from === want.dtype) return x;
  if (isFloat(from) && isFloat(want.dtype)) return castTo(w, x, want.dtype);
  return fail("E0205", `${declared.what} is declared ${declared.text}, but this is ${showType(x.type)}`, at, {
    label: from,
    also: [{ span: declared.span, text: want.dtype }],
    notes: ["only floats convert by themselves", ...calledFrom(w)],
    help: conversionHelp(want.dtype, declared, at),
  });
}
function conversionHelp(to: Type["dtype"], { resultOf }: DeclaredType, at: Span): string {
  if (resultOf) return `name the results first, \`let (a, b) = ${quoted(resultOf, "...")}\`, and convert that one`;
  return to === "bool" ? `compare it: \`${quoted(at)} != 0\`` : `convert it: \`${to}(${quoted(at, "...")})\``;
}
function axesText(rank: number, spread: boolean): string {
  if (rank === 1) return spread ? "it has no axes that can be counted" : "its only axis is 0";
  if (spread)
    return rank === 2
      ? "its only axis that can be counted is -1"
      : `its axes that can be counted are -${rank - 1} to -1`;
  return `its axes are 0 to ${rank - 1}`;
}
/** The index of an axis that is given as a number, counted from 0 or, if negative, from the end. */
export function axisOf(w: World, x: Type, axis: number, at: Span): number {
  const rank = x.shape.length;
  const spread = x.shape[0] !== undefined && isSpread(x.shape[0]);
  const place = axis < 0 ? axis + rank : axis;
  if (spread && axis >= 0)
    fail("E0207", `axis ${axis} counts from the front, where ${showType(x)} has any number of axes`, at, {
      help: "count from the end: the last axis is -1",
      notes: calledFrom(w),
    });
  if (!Number.isInteger(axis) || place < (spread ? 1 : 0) || place >= rank)
    fail("E0207", `${showType(x)} has no axis ${axis}`, at, {
      help: rank === 0 ? "it is a scalar" : axesText(rank, spread),
      notes: calledFrom(w),
    });
  return place;
}
