// Binds the arguments of a call to the parameters of a header, and defines what each name of the header stands for.
import { Bug } from "../diagnostic.ts";
import { pluralize } from "../pluralize.ts";
import type * as ast from "../syntax/ast.ts";
import { atom, atomOf, type Size, sizeOf as sizeOfAtom } from "../types/size.ts";
import type { Type } from "../types/type.ts";
import { showType } from "../types/type.ts";
import { checkArrow, passed } from "./arrows.ts";
import { condition } from "./conditions.ts";
import { argumentHelp, fail, textOf, tooManyLabel } from "./errors.ts";
import { toMakeable, toMakers } from "./makers.ts";
import { toSize } from "./numbers.ts";
import { shapeOf } from "./sizes.ts";
import { conform } from "./tensor.ts";
import { anyAxes, declareNames, isBound, isCapital, namesIn, sizeOf, typeOf } from "./types.ts";
import { bindFromResult, type DeclaredValue, unifyAll } from "./unify.ts";
import { type ArrowParam, bool, errorVal, kindText, number, type Scope, tensor, type Val } from "./values.ts";
import type { Call, CallArgument, World } from "./world.ts";

export interface Signature {
  readonly name: string;
  readonly params: readonly ast.HeaderParam[];
  readonly result: readonly ast.TypeExpr[];
}
type Param = ast.HeaderParam;
type Typed = Param & { readonly type: ast.TypeExpr };
const isTensor = (p: Param): p is Typed => p.type?.kind === "tensor";
const isArrow = (p: Param): p is Param & { readonly type: ast.ArrowType } => p.type?.kind === "arrow";
const isSize = (p: Param): boolean => p.type === null && !p.spread && isCapital(p.name.name);

/** Binds the names of a header in `scope`, given the arguments of a call. */
export function bindArguments(
  w: World,
  sig: Signature,
  scope: Scope,
  { given, at, want }: Pick<Call, "given" | "at" | "want">,
): void {
  const args = matchArguments(sig, given, at);
  for (const p of sig.params) {
    const arg = args.get(p);
    if (arg && (isSize(p) || p.spread)) scope.set(p.name.name, sizeArgument(w, sig, p, arg));
  }
  const fits = sig.params.filter(isTensor).flatMap((p): DeclaredValue[] => {
    const arg = args.get(p);
    return arg
      ? [{ type: p.type, value: arg.value, what: `\`${p.name.name}\` of \`${sig.name}\``, span: arg.span }]
      : [];
  });
  bindHeaderFromResult(sig, scope, want);
  const values = unifyAll(w, fits, scope, w.options.floatDType);
  let next = 0;
  for (const p of sig.params) {
    const arg = args.get(p);
    if (isTensor(p))
      scope.set(p.name.name, arg ? tensor(values[next++] ?? absent()) : tensorDefault(w, sig, p, scope, at));
    else scope.set(p.name.name, arg ? headerArgument(w, sig, p, arg, scope) : headerDefault(w, sig, p, scope, at));
  }
}
/** Finds sizes that were not given from the declared type of the result. */
function bindHeaderFromResult(sig: Signature, scope: Scope, want: Type | null): void {
  const [only, ...more] = sig.result;
  if (want && only && more.length === 0) {
    const open = sig.params.filter((p) => (isSize(p) || p.spread) && p.default === null && !scope.has(p.name.name));
    if (open.length > 0) bindFromResult(only, want.shape, scope);
  }
}
function absent(): never {
  throw new Bug("an argument was lost");
}

/** Assigns arguments to parameters, by position or by name. */
function matchArguments(sig: Signature, given: readonly CallArgument[], at: ast.Span): Map<Param, CallArgument> {
  const args = new Map<Param, CallArgument>();
  given.forEach((arg, i) => {
    const p = arg.name ? sig.params.find((q) => q.name.name === arg.name?.name) : sig.params[i];
    if (!p && arg.name) {
      const names = sig.params.map((q) => q.name.name);
      fail("E0305", `\`${sig.name}\` takes no argument \`${arg.name.name}\``, arg.name.span, {
        help: argumentHelp(arg.name.name, names),
      });
    }
    if (!p)
      fail(
        "E0305",
        `\`${sig.name}\` takes ${pluralize(sig.params.length, "argument")}, not ${given.length}`,
        arg.span,
        {
          help: `it takes (${sig.params.map((q) => textOf(q.span)).join(", ")})`,
          label: tooManyLabel(given.length - sig.params.length),
        },
      );
    const old = args.get(p);
    if (old)
      fail("E0305", `\`${p.name.name}\` is given twice`, arg.span, {
        also: [{ span: old.span, text: "first here" }],
        help: "leave one out",
      });
    args.set(p, arg);
  });
  for (const p of sig.params)
    if (p.type && !p.default && !args.has(p))
      fail("E0306", `\`${sig.name}\` needs \`${p.name.name}\``, at, {
        also: [{ span: p.span, text: "declared here" }],
        help: `give it: \`${textOf(p.span)}\``,
      });
  return args;
}
function sizeArgument(w: World, sig: Signature, p: Param, arg: CallArgument): Val {
  if (arg.value.kind === "error") return errorVal;
  if (!p.spread) return number(toSize(w, arg.value, arg.span), true);
  if (arg.value.kind !== "list")
    return fail("E0314", `\`...${p.name.name}\` is a list of sizes, not ${kindText[arg.value.kind]}`, arg.span, {
      help: `write \`[2, 3]\`${nextByName(sig, p, arg)}`,
    });
  return { kind: "spread", name: p.name.name, axes: shapeOf(w, arg.value, arg.span) };
}
/** The remedy for `normal(0.02)`: the axes come from the declared type, so the number must be given by name. */
function nextByName(sig: Signature, p: Param, { span, name }: CallArgument): string {
  const next = sig.params[sig.params.indexOf(p) + 1];
  if (!next || name || isSize(next) || sig.result.length === 0) return "";
  return `, or leave it to the declared type: \`${next.name.name}: ${textOf(span)}\``;
}
function headerArgument(w: World, sig: Signature, p: Param, arg: CallArgument, scope: Scope): Val {
  if (isSize(p) || p.spread) return scope.own(p.name.name) ?? errorVal;
  if (isArrow(p)) return arrowArgument(w, p, arg.value, arg.span, scope);
  const taker = arg.name ? undefined : sig.params.slice(sig.params.indexOf(p) + 1).find(isArrow);
  return valueArgument(w, p, arg.value, arg.span, taker?.name.name);
}
/** The value of a lower-case header name: a number, a boolean, or a scalar tensor. `taker`: the name after it that takes a layer. */
function valueArgument(w: World, p: Param, v: Val, at: ast.Span, taker?: string): Val {
  const defaultKind = p.default && (p.default.kind === "bool" ? "bool" : p.default.kind === "number" ? "number" : null);
  const wrong = (text: string, help: string): never =>
    fail("E0314", `\`${p.name.name}\` is ${text}`, at, { also: [{ span: p.span, text: "declared here" }], help });
  if (v.kind === "number" && defaultKind === "bool" && !v.loose)
    return wrong("a boolean, not a number", "write `true` or `false`");
  if (v.kind === "bool" && defaultKind === "number") return wrong("a number, not a boolean", "give a number");
  if (v.kind === "number") return { ...v, whole: false };
  if (v.kind === "spread") return number(toSize(w, v, at), false);
  if (v.kind === "tensor" && v.value.type.shape.length > 0)
    return wrong(`a single number, not ${showType(v.value.type)}`, "give a number or a scalar");
  if (v.kind !== "bool" && v.kind !== "tensor" && v.kind !== "error")
    return wrong(
      `a number, not ${kindText[v.kind]}`,
      taker
        ? `\`${taker}\` takes a layer or function: \`${taker}: ${textOf(at)}\``
        : `give it an arrow type to take layers and functions: \`${p.name.name}: float[...S] -> float[...S]\``,
    );
  return v;
}
function arrowArgument(w: World, p: Param & { readonly type: ast.ArrowType }, v: Val, at: ast.Span, scope: Scope): Val {
  if (v.kind === "error") return v;
  const abstract: ArrowParam = { name: p.name.name, arrow: p.type, scope };
  if (p.type.array) {
    const makers = toMakers(w, v, abstract, at);
    return checkArrow(w, { kind: "makers", makers }, abstract, at);
  }
  const checked = (given: Val): Val =>
    checkArrow(w, { kind: "maker", make: toMakeable(given, abstract, at) }, abstract, at);
  // a header makes the layers that it is given
  if (scope.frame.role === "header") return checked(v);
  const [first, ...others] = passed(v, at);
  for (const other of others) checked(other);
  return checked(first);
}
function headerDefault(w: World, sig: Signature, p: Param, scope: Scope, at: ast.Span): Val {
  if (isSize(p) || p.spread) {
    if (scope.has(p.name.name)) return scope.own(p.name.name) ?? errorVal;
    if (p.default) return number(sizeOf(w, p.default, scope), true);
    return fail("E0306", `\`${sig.name}\` needs the size \`${p.name.name}\``, at, {
      also: [{ span: p.span, text: "declared here" }],
      help: `give it: \`${p.spread ? "[2, 3]" : `${p.name.name}: 8`}\`${isCapital(sig.name) ? "" : "; it is found by itself only where the result has a declared type"}`,
    });
  }
  if (!p.default)
    return fail("E0306", `\`${sig.name}\` needs \`${p.name.name}\``, at, {
      also: [{ span: p.span, text: "declared here" }],
      help: `give it: \`${p.name.name}: ...\``,
    });
  const value = w.evaluate(p.default, scope);
  if (isArrow(p)) return arrowArgument(w, p, value, p.default.span, scope);
  return valueArgument(w, p, value, p.default.span);
}
function tensorDefault(w: World, sig: Signature, p: Typed, scope: Scope, at: ast.Span): Val {
  const value = p.default ?? absent();
  const open = namesIn(p.type).find((name) => !isBound(scope, name));
  if (open !== undefined)
    return fail("E0306", `\`${sig.name}\` needs \`${p.name.name}\`: nothing else says what \`${open}\` is`, at, {
      also: [{ span: p.type.span, text: "declared here" }],
      help: `give it: \`${p.name.name}: ...\``,
    });
  const want = typeOf(w, p.type, scope);
  const declared = { what: `\`${p.name.name}\``, span: p.type.span, text: textOf(p.type.span) };
  return tensor(conform(w, w.evaluate(value, scope, want), want, declared, value.span));
}

/** Binds the names of a header while its declaration is checked: sizes to symbols, tensors to placeholders, layers to their arrow types. */
export function declareSymbols(w: World, params: readonly Param[], scope: Scope): void {
  for (const p of params) {
    if (p.spread) scope.set(p.name.name, anyAxes(p.name.name));
    else if (isSize(p)) scope.set(p.name.name, number(sizeOfAtom(atom(p.name.name)), true));
  }
  for (const p of params) if (isTensor(p)) w.guard(() => declareNames(p.type, scope));
  for (const p of params) {
    if (!scope.has(p.name.name)) scope.set(p.name.name, errorVal);
    w.guard(() => declareParam(w, p, scope));
  }
}
function declareParam(w: World, p: Param, scope: Scope): void {
  if (isTensor(p)) {
    const t = typeOf(w, p.type, scope);
    if (p.default) tensorDefault(w, { name: "", params: [], result: [] }, p, scope, p.span);
    scope.set(p.name.name, tensor(w.placeholder(t)));
  } else if (isArrow(p)) {
    const abstract: ArrowParam = { name: p.name.name, arrow: p.type, scope };
    scope.set(p.name.name, abstractValue(w, abstract));
    if (p.default) arrowArgument(w, p, w.evaluate(p.default, scope), p.default.span, scope);
  } else if (isSize(p)) {
    if (p.default) recordDefault(w, scope.get(p.name.name), sizeOf(w, p.default, scope));
  } else if (!p.spread) {
    const defaultValue = p.default && valueArgument(w, p, w.evaluate(p.default, scope), p.default.span);
    const text = `${p.name.name} of ${p.span.start}`;
    scope.set(
      p.name.name,
      defaultValue?.kind === "bool"
        ? bool(null, condition(text))
        : { kind: "number", value: null, whole: false, loose: defaultValue?.kind !== "number", text },
    );
  }
}
/** Remembers the default of a size that is an expression of other sizes, for notes in errors (`whySizesDiffer`). */
function recordDefault(w: World, v: Val | undefined, size: Size): void {
  const own = v?.kind === "number" && v.value !== null ? atomOf(v.value) : null;
  if (own && typeof size !== "number") w.sizeDefaults.set(own, size);
}
function abstractValue(w: World, abstract: ArrowParam): Val {
  const make = { of: { kind: "abstract", abstract }, arrows: [] } as const;
  const { array } = abstract.arrow;
  return array
    ? { kind: "makers", makers: { times: sizeOf(w, array, abstract.scope), items: [make] } }
    : { kind: "maker", make };
}
