// The row rule: what a layer's parameter asks for with `...S` empty.
import type { Span, TypeExpr } from "../syntax/ast.ts";
import { fail } from "./errors.ts";
import type { Callable } from "./values.ts";
import type { Given } from "./world.ts";

/** How many axes a row of argument `i` has; null: it is not a tensor's parameter. */
export function rowTypeOf(fn: Callable, arg: Given, i: number, at: Span): number | null {
  const types = parameterTypes(fn);
  const found = arg.name ? types.find((t) => t.name === arg.name?.name) : types[i];
  if (!found)
    return fail("E0305", `the layer takes ${types.length} arguments`, arg.span, {
      also: [{ span: at, text: "called here" }],
      help: "give as many as its `forward` takes",
    });
  return found.type ? found.type.axes.length : null;
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
