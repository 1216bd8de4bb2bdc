// Infers sizes from arguments: a name that stands alone in a declared type is bound to the size found there; everything else is compared.
import { locationText } from "../diagnostic.ts";
import type { Value } from "../graph/node.ts";
import { pluralize } from "../pluralize.ts";
import type { Span, TypeExpr } from "../syntax/ast.ts";
import { type Element, isFloat, wider } from "../types/dtype.ts";
import { equal, equalAll, isSpread, type Size, show } from "../types/size.ts";
import { absorb, fail, quoted, quotedOperand, resultText, textOf } from "./errors.ts";
import { calledFrom } from "./numbers.ts";
import { rowHelp } from "./rows.ts";
import { convert, toDefaultTensor, whySizesDiffer } from "./tensor.ts";
import { bareName, isBound, spreadAxes, typeOf } from "./types.ts";
import { number, type Scope, type Val } from "./values.ts";
import type { World } from "./world.ts";

/** A value that must have a declared type: an argument or a result. */
export interface DeclaredValue {
  readonly type: TypeExpr;
  readonly value: Val;
  /** What the value is, for errors: "argument `x` of `f`". */
  readonly what: string;
  readonly span: Span;
  /** The call, if the value is one of its several results: it is converted by a name of its own. */
  readonly resultOf?: Span | undefined;
}
/** The results of a call of `callee`, with their declared types. */
export const declaredResults = (
  types: readonly TypeExpr[],
  values: readonly Val[],
  callee: string,
  span: Span,
): DeclaredValue[] =>
  types.map((type, i) => ({
    type,
    value: values[i] ?? absorb(),
    what: resultText(i, types.length, callee),
    span,
  }));
/**
 * Binds the names in the types, determines `float`, and converts the values to their types. Shapes must match exactly; floats convert.
 * `floatDType`: what `float` means if no value has a float type; null: `float` is determined already.
 */
export function unifyAll(w: World, fits: readonly DeclaredValue[], scope: Scope, floatDType: Element | null): Value[] {
  const tensors = fits.map((f) => (isScalarNumber(f) ? null : toDefaultTensor(w, f.value, f.span)));
  fits.forEach((f, i) => {
    const x = tensors[i];
    if (x) bindNames(w, f, x.type.shape, scope);
  });
  if (floatDType !== null) scope.frame.float = floatOf(fits, tensors) ?? floatDType;
  return fits.map((f, i) => {
    const want = typeOf(w, f.type, scope);
    const { what, resultOf } = f;
    const declared = { what, span: f.type.span, text: textOf(f.type.span), resultOf };
    const x = convert(w, tensors[i] ? { kind: "tensor", value: tensors[i] } : f.value, want, declared, f.span);
    return equalAll(x.type.shape, want.shape) ? x : mismatch(w, f, x.type.shape, want.shape);
  });
}
const isScalarNumber = (f: DeclaredValue): boolean =>
  (f.value.kind === "number" || f.value.kind === "bool") && f.type.axes.length === 0 && f.type.spread === null;

/** The widest float dtype among the values that are declared `float`; null if there is none. */
function floatOf(fits: readonly DeclaredValue[], tensors: readonly (Value | null)[]): Element | null {
  let widest: Element | null = null;
  fits.forEach((f, i) => {
    const dtype = tensors[i]?.type.dtype;
    if (f.type.dtype === "float" && dtype !== undefined && isFloat(dtype))
      widest = widest === null ? dtype : wider(widest, dtype);
  });
  return widest;
}

/** Binds the unbound names of a type to the sizes of a shape; an error if the rank does not fit. */
export function bindNames(w: World, f: DeclaredValue, shape: readonly Size[], scope: Scope): void {
  const { type } = f;
  const lead = shape.length - type.axes.length;
  if (type.spread ? lead < 0 : lead !== 0) wrongRank(w, f, shape);
  const front = shape.slice(0, lead);
  if (type.spread && !isBound(scope, type.spread.name))
    scope.set(type.spread.name, { kind: "spread", name: type.spread.name, axes: front });
  else if (type.spread && !equalAll(front, spreadAxes(type.spread.name, type, scope))) mismatch(w, f, shape, null);
  type.axes.forEach((e, i) => {
    const name = bareName(e);
    const n = shape[lead + i] ?? 1;
    if (name === null || isBound(scope, name)) return;
    if (isSpread(n)) wrongRank(w, f, shape);
    scope.set(name, number(n, true));
  });
}
function wrongRank(w: World, f: DeclaredValue, shape: readonly Size[]): never {
  const wants = `${f.type.spread ? "at least " : ""}${pluralize(f.type.axes.length, "axis", "axes")}`;
  fail("E0204", `${f.what} needs ${wants}: ${textOf(f.type.span)}, not [${shape.map(show).join(", ")}]`, f.span, {
    label: `[${shape.map(show).join(", ")}]`,
    also: [{ span: f.type.span, text: "declared here" }],
    notes: calledFrom(w),
    help: rowHelp(w, shape) ?? rankHelp(f, shape),
  });
}
/** The remedy for a wrong rank: arguments are not broadcast, but a declared variable is. */
function rankHelp({ type: { axes, span }, span: at }: DeclaredValue, shape: readonly Size[]): string {
  if (shape.some(isSpread)) return "the value has any number of axes; give it a fixed number, with `reshape`";
  const wanted = axes.map((e) => textOf(e.span));
  const last = wanted.slice(-shape.length);
  if (shape.length < axes.length && shape.length > 0 && shape.every((n, i) => show(n) === last[i]))
    return `stretch it first: \`let y: ${textOf(span)} = ${quoted(at, "...")}\``;
  if (shape.length === axes.length + 1 && shape.at(-1) === 1)
    return `take the axis of 1 away: \`${quotedOperand(at)}[..., 0]\``;
  const extra = shape.findIndex((_, i) => shape.toSpliced(i, 1).map(show).join() === wanted.join());
  if (shape[extra] === 1) return `take the axis of 1 away: \`${quotedOperand(at)}[${":, ".repeat(extra)}0]\``;
  if (extra >= 0) return `reduce the axis ${show(shape[extra] ?? 0)}: \`sum(${quoted(at)}, axis: ${extra})\``;
  return "add an axis with `x[..., new]`, or change the shape with `reshape`";
}
function mismatch(w: World, f: DeclaredValue, shape: readonly Size[], want: readonly Size[] | null): never {
  const shown = want ? `[${want.map(show).join(", ")}]` : "";
  const wanted = want && !textOf(f.type.span).endsWith(shown) ? ` = ${shown}` : "";
  const differing = want?.findIndex((n, i) => !equal(n, shape[i] ?? -1)) ?? -1;
  const sides =
    want && differing >= 0 && want.length === shape.length
      ? [
          `${show(want[differing] ?? 0)} is wanted where it has ${show(shape[differing] ?? 0)}`,
          ...whySizesDiffer(w, want[differing] ?? 0, shape[differing] ?? 0),
        ]
      : [];
  fail("E0204", `${f.what} needs ${textOf(f.type.span)}${wanted}, not [${shape.map(show).join(", ")}]`, f.span, {
    label: `[${shape.map(show).join(", ")}]`,
    also: [{ span: f.type.span, text: "declared here" }],
    notes: [...sides, `declared at ${locationText(f.type.span)}`, ...calledFrom(w)],
    help: rowHelp(w, shape) ?? "the sizes must be the same: check the order of the axes and of the arguments",
  });
}
/** Binds names of a result's type from the shape that the caller declares for it, such as the header sizes of an initializer. */
export function bindFromResult(type: TypeExpr, shape: readonly Size[], scope: Scope): void {
  const lead = shape.length - type.axes.length;
  if (type.spread ? lead < 0 : lead !== 0) return;
  if (type.spread && !isBound(scope, type.spread.name))
    scope.set(type.spread.name, { kind: "spread", name: type.spread.name, axes: shape.slice(0, lead) });
  type.axes.forEach((e, i) => {
    const name = bareName(e);
    const n = shape[lead + i];
    if (name !== null && n !== undefined && !isSpread(n) && !isBound(scope, name)) scope.set(name, number(n, true));
  });
}
