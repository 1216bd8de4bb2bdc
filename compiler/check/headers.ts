// Fills in the headers of declarations: the result is a layer yet to be made, an optimizer, or what an alias stands for.
import type * as ast from "../syntax/ast.ts";
import { bindArguments } from "./bind.ts";
import { absorb, fail } from "./errors.ts";
import { bindOrExchange } from "./exchanged.ts";
import { moduleScope, newFrame } from "./frames.ts";
import { type Declared, type Scope, type Val } from "./values.ts";
import type { CallArgument, World } from "./world.ts";

/** The value of `Linear(D, H)`: a layer yet to be made (`maker`), an optimizer, or for an alias what it stands for. */
export function fillHeader(w: World, decl: Declared, given: readonly CallArgument[], from: Scope, at: ast.Span): Val {
  const { ast } = decl;
  if (ast.kind === "fn") return fail("E0307", "a function has no header to fill in", at, { help: "call it" });
  if (w.checking && from.frame.body) w.recordCall(from.frame.body, ast, at);
  if (w.filling.has(ast)) return absorb(); // `findRecursion` reports the cycle
  w.filling.add(ast);
  const depth = w.stack.push({ body: ast, at, name: ast.name.name }) - 1;
  try {
    const signature = { name: ast.name.name, params: ast.header, result: [] };
    const header = bindOrExchange(w, ast, given, (args) => {
      const frame = newFrame(w, { role: "header", body: ast, site: from.frame.site });
      const scope = moduleScope(w, decl.module).within(frame);
      bindArguments(w, signature, scope, { given: args, at, want: null });
      return scope;
    });
    return filled(w, { ast, module: decl.module }, header, at);
  } finally {
    w.filling.delete(ast);
    w.stack.length = depth;
  }
}
function filled(
  w: World,
  { ast, module }: Declared<Exclude<ast.Declaration, ast.Fn>>,
  header: Scope,
  at: ast.Span,
): Val {
  switch (ast.kind) {
    case "layer":
    case "model":
      return {
        kind: "maker",
        make: { of: { kind: "layer", maker: { parts: [{ ast, header }], at } }, arrows: [] },
      };
    case "optimizer":
      return { kind: "optimizer", decl: { ast, module }, header };
    case "alias":
      return resolveAlias(w, ast, header);
  }
}
/** The layer that an alias stands for, with what the alias adds. */
export function resolveAlias(w: World, ast: ast.Alias, header: Scope): Val {
  const v = w.evaluate(ast.value, header);
  if (v.kind === "error") return v;
  if (v.kind !== "maker" || v.make.of.kind !== "layer")
    return fail("E0307", `\`${ast.name.name}\` stands for a layer with its header`, ast.value.span, {
      help: "write `layer A(D) = B(D, 4 * D)`",
    });
  const { maker } = v.make.of;
  const parts = [...maker.parts, { ast, header }] as const;
  return { kind: "maker", make: { of: { kind: "layer", maker: { ...maker, parts } }, arrows: v.make.arrows } };
}
