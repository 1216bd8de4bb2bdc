// The row rule: what a layer's parameter asks for with `...S` empty.
import type { Span, TypeExpr } from "../syntax/ast.ts";
import { equal, type Size } from "../types/size.ts";
import type { Type } from "../types/type.ts";
import { counted, fail, textOf } from "./errors.ts";
import { type Callable, resultList, type Val } from "./values.ts";
import type { Given, World } from "./world.ts";

/** The type whose axes are those of a row of argument `i`; null: it is not a tensor's parameter. */
export function rowTypeOf(fn: Callable, arg: Given, i: number, at: Span): TypeExpr | null {
  const types = parameterTypes(fn);
  const found = arg.name ? types.find((t) => t.name === arg.name?.name) : types[i];
  if (!found)
    return fail("E0305", `the layer takes ${types.length} arguments`, arg.span, {
      also: [{ span: at, text: "called here" }],
      help: "give as many as its `forward` takes",
    });
  return found.type;
}

/** What an error about a shape should say that a routed call made, where rows were meant and more was given to each choice. */
export function rowHelp({ whole }: World, ...shapes: readonly (readonly Size[])[]): string | null {
  return shapes.map((shape) => whole.get(shape)).find((help) => help !== undefined) ?? null;
}
/** Where an expert takes an axis of an argument that the index has too. */
export function markWhole(w: World, index: Type, split: readonly Split[], result: Val): void {
  const taken = split.find(({ lead, row: [first = 1, ...more] }) => {
    const next = lead ? index.shape[lead.length] : undefined;
    return more.length > 0 && typeof next === "object" && equal(first, next);
  });
  if (!taken?.type) return;
  for (const r of resultList(result)) if (r.kind === "tensor") w.whole.set(r.value.type.shape, oneRow(taken.type));
}
/** What to do with an expert's parameter that takes all of what it should take a row of. */
export function oneRow({ dtype, axes, span }: TypeExpr): string {
  const last = axes.slice(-1).map((e) => textOf(e.span));
  return `an expert takes one row, and for \`${textOf(span)}\` a row has ${counted(axes.length, "axis", "axes")}: declare \`${dtype}[${["...S", ...last].join(", ")}]\``;
}
/** An argument of a routed call: what is declared for it, the axes before its row, and the row. Not a tensor: null. */
export interface Split {
  readonly given: Given;
  readonly type: TypeExpr | null;
  readonly lead: readonly Size[] | null;
  readonly row: readonly Size[];
}
interface Parameter {
  readonly name: string;
  readonly type: TypeExpr | null;
}
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
