// Frames (one for each activation of a body), module scopes, and the places that key random numbers.
import { memoize } from "../memoize.ts";
import type * as ast from "../syntax/ast.ts";
import { nodesIn } from "../syntax/nodes.ts";
import {
  type Declared,
  errorVal,
  type Frame,
  type Instance,
  type Lane,
  type Module,
  Scope,
  type Val,
} from "./values.ts";
import type { World } from "./world.ts";

interface FrameOptions {
  readonly role: Frame["role"];
  readonly instance?: Instance | null;
  readonly body?: ast.Method | ast.Declaration | null;
  readonly site: string;
  readonly lane?: Lane | null;
  readonly result?: readonly ast.TypeExpr[];
}
export const newFrame = (w: World, o: FrameOptions): Frame => ({
  float: w.options.floatDType,
  role: o.role,
  instance: o.instance ?? null,
  body: o.body ?? null,
  site: o.site,
  lane: o.lane ?? null,
  result: o.result ?? [],
  returned: null,
  iterations: "",
});
/** The scope with the names that a module declares and imports; one for each World. */
export function moduleScope(w: World, module: Module): Scope {
  const known = w.scopes.get(module);
  if (known) return known;
  const scope = new Scope(newFrame(w, { role: "header", site: "" }), null);
  w.scopes.set(module, scope);
  for (const [name, decl] of module.names) scope.set(name, () => (decl ? declarationValue(decl) : errorVal));
  return scope;
}
export function declarationValue(decl: Declared): Val {
  const { ast } = decl;
  return ast.kind === "fn"
    ? { kind: "fn", fn: { kind: "declared", decl: { ast, module: decl.module } } }
    : { kind: "declaration", decl };
}

/** The index of a call among the calls of a body, in order of the text: unlike a position, it does not change with spaces or comments. */
function ordinalOf(body: object | null, at: ast.Span): string {
  return body ? String(callsIn(body).findIndex((c) => c.start === at.start && c.end === at.end)) : "";
}
const callsIn: (body: object) => readonly ast.Span[] = memoize((body: object) =>
  nodesIn(body).flatMap(({ kind, span }) => (kind === "call" && span ? [span] : [])),
);
/** Identifies a call for its random numbers: the chain of calls that leads to it, with the iterations of the loops around each. */
export const siteOf = (frame: Frame, at: ast.Span): string =>
  `${frame.site}/${ordinalOf(frame.body, at)}${frame.iterations}`;
