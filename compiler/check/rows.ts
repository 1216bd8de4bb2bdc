// Which axes of a routed call's argument form one row: those of the parameter's type with `...S` empty.
import { pluralize } from "../pluralize.ts";
import type { Span, TypeExpr } from "../syntax/ast.ts";
import { equal, type Size } from "../types/size.ts";
import type { Type } from "../types/type.ts";
import { fail, textOf } from "./errors.ts";
import { type Callable, resultList, type Val } from "./values.ts";
import type { CallArgument, World } from "./world.ts";

/** The type of the parameter for an argument; its axes, without the spread, are those of a row. null: the parameter is no tensor. */
export function rowTypeOf(fn: Callable, arg: CallArgument, i: number, at: Span): TypeExpr | null {
  const types = parameterTypes(fn);
  const found = arg.name ? types.find((t) => t.name === arg.name?.name) : types[i];
  if (!found) {
    const taken = arg.name ? `no argument \`${arg.name.name}\`` : pluralize(types.length, "argument");
    return fail("E0305", `the layer takes ${taken}`, arg.span, {
      also: [{ span: at, text: "called here" }],
      help: "give those that its `forward` takes",
    });
  }
  return found.type;
}

/** A remedy for an error about one of these shapes, if it comes from a routed call whose expert takes a whole axis, not a row (`recordWholeAxis`). */
export function rowHelp({ shapeHelp }: World, ...shapes: readonly (readonly Size[])[]): string | null {
  return shapes.map((shape) => shapeHelp.get(shape)).find((help) => help !== undefined) ?? null;
}
/** Notes results of a routed call in which an expert takes an axis that the index also has: probably a row was meant. */
export function recordWholeAxis(w: World, index: Type, split: readonly RowArgument[], result: Val): void {
  const taken = split.find(({ lead, row: [first = 1, ...more] }) => {
    const next = lead ? index.shape[lead.length] : undefined;
    return more.length > 0 && typeof next === "object" && equal(first, next);
  });
  if (!taken?.type) return;
  for (const r of resultList(result))
    if (r.kind === "tensor") w.shapeHelp.set(r.value.type.shape, takeRowHelp(taken.type));
}
/** The remedy for a parameter that takes a whole axis where it should take a row. */
export function takeRowHelp({ dtype, axes, span }: TypeExpr): string {
  const last = axes.slice(-1).map((e) => textOf(e.span));
  return `an expert takes one row, and for \`${textOf(span)}\` a row has ${pluralize(axes.length, "axis", "axes")}: declare \`${dtype}[${["...S", ...last].join(", ")}]\``;
}
/** An argument of a routed call: the declared type, the axes before its row, and those of the row. `type`, `lead` null: not a tensor. */
export interface RowArgument {
  readonly given: CallArgument;
  readonly type: TypeExpr | null;
  readonly lead: readonly Size[] | null;
  readonly row: readonly Size[];
}
interface Parameter {
  readonly name: string;
  readonly type: TypeExpr | null;
}
/** The arguments of an arrow that `fn`, passed for it, takes: it may take the first of them only. */
export const firstArguments = (fn: Callable, given: readonly CallArgument[]): readonly CallArgument[] =>
  fn.kind === "builtin" ? given : given.slice(0, parameterTypes(fn).length);
function parameterTypes(fn: Callable): Parameter[] {
  switch (fn.kind) {
    case "method":
    case "helper":
      return fn.method.params.map((p) => ({ name: p.name.name, type: p.type?.kind === "tensor" ? p.type : null }));
    case "declared":
      return fn.decl.ast.header.map((p) => ({ name: p.name.name, type: p.type?.kind === "tensor" ? p.type : null }));
    case "abstract":
      return fn.abstract.arrow.params.map((type) => ({ name: "", type }));
    case "through":
      return fn.arrow.arrow.params.map((type) => ({ name: "", type }));
    case "builtin":
      return [];
  }
}
