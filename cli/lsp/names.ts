// Which names are visible at a position, and what declares each.
import { allMembers } from "../../compiler/check/origin.ts";
import { isCapital } from "../../compiler/check/types.ts";
import type { Declared, Makeable, Val } from "../../compiler/check/values.ts";
import type * as ast from "../../compiler/syntax/ast.ts";
import type { Analysis, Node } from "./analysis.ts";

/** What a name stands for: the name as it is declared, and the node that declares it; for a size, the first type that mentions it. */
export interface Definition {
  readonly name: ast.Name;
  readonly by: ast.Declaration | ast.HeaderParam | ast.Member | Binding | ast.TypeExpr;
  /** Of a member that several branches of an `if` declare: those of the other branches. */
  readonly others?: readonly Definition[];
}
type Binding = Extract<ast.Stmt, { kind: "let" | "for" | "state" }>;
type Names = Map<string, Definition>;

/** All names that can stand at the end of a path. */
export function visibleNames({ loaded: { main }, values }: Analysis, path: readonly Node[], offset: number): Names {
  const names: Names = new Map();
  for (const declared of main.names.values()) if (declared) add(names, declared.ast.name, declared.ast);
  let inBody = false;
  path.forEach((node, i) => {
    if (isDeclaration(node)) addDeclared(names, node, path, values);
    else if (is(node, "method")) addHeader(names, node.params, node.result);
    else if (is(node, "arrow")) addSizes(names, [...node.params, ...node.result]);
    else if (is(node, "for")) for (const name of [node.name, node.index]) add(names, name, node);
    inBody ||= is(node, "method") || is(node, "fn");
    if (inBody) for (const stmt of statementsBefore(node, path[i + 1], offset)) addBinding(names, stmt);
  });
  return names;
}
const add = (names: Names, name: ast.Name | null, by: Definition["by"]): unknown =>
  name && names.set(name.name, { name, by });
export const is = <K extends string>(node: Node | undefined, kind: K): node is Extract<Node, { kind: K }> =>
  node !== undefined && "kind" in node && node.kind === kind;
export const isDeclaration = (node: Node): node is ast.Declaration =>
  "kind" in node && ["layer", "model", "alias", "fn", "optimizer"].includes(node.kind);

/** Methods see all members; members see the header only. */
function addDeclared(names: Names, node: ast.Declaration, path: readonly Node[], values: Analysis["values"]): void {
  addHeader(names, node.header, node.kind === "fn" ? node.result : []);
  if (path.some((inner) => is(inner, "method")))
    for (const body of bodiesOf(node, values))
      for (const { name } of body) {
        const found = memberCalled(body, name.name);
        if (found) names.set(name.name, found);
      }
}
/** The members of a declaration; of an alias, after those of its layer. */
function bodiesOf(node: ast.Declaration, values: Analysis["values"]): readonly (readonly ast.Member[])[] {
  const base = node.kind === "alias" ? values.get(node.value) : undefined;
  return [...(base?.kind === "maker" ? bodiesOfMade(base.make) : []), writtenMembers(node)];
}
/** What a name of a body's members stands for. */
function memberCalled(body: readonly ast.Member[], name: string): Definition | null {
  const all = body.filter((m) => m.name.name === name).map((by): Definition => ({ name: by.name, by }));
  return all[0] ? { ...all[0], others: all.slice(1) } : null;
}
export function writtenMembers(node: ast.Declaration): readonly ast.Member[] {
  if (node.kind === "fn") return [];
  return node.kind === "optimizer" ? node.methods : allMembers(node.body);
}
function addHeader(names: Names, params: readonly ast.HeaderParam[], result: readonly ast.TypeExpr[]): void {
  for (const param of params) add(names, param.name, param);
  addSizes(names, [...params.flatMap(({ type }) => (type?.kind === "tensor" ? [type] : [])), ...result]);
}
/** Names that stand alone in types are declared there, unless they are sizes already. */
function addSizes(names: Names, types: readonly ast.TypeExpr[]): void {
  for (const type of types)
    for (const name of sizesIn(type)) {
      const known = names.get(name.name);
      if (isCapital(name.name) && (!known || isDeclaration(known.by))) add(names, name, type);
    }
}
const sizesIn = (type: ast.TypeExpr): ast.Name[] => [
  ...(type.spread ? [type.spread] : []),
  ...type.axes.flatMap((axis) => (axis.kind === "name" ? [axis] : [])),
];
/** The statements of a block that come before the next node of the path or, if there is none, before the offset. */
function statementsBefore(node: Node, next: Node | undefined, offset: number): ast.Stmt[] {
  const blocks = [...("body" in node ? [node.body] : []), ...("then" in node ? [node.then, node.else] : [])];
  return blocks
    .filter((block: readonly Node[]) => next === undefined || block.includes(next))
    .flatMap((block: readonly Node[]) => block.filter((one) => one.span.end <= offset && one !== next) as ast.Stmt[]);
}
function addBinding(names: Names, stmt: ast.Stmt): void {
  if (stmt.kind === "state") add(names, stmt.name, stmt);
  if (stmt.kind !== "let") return;
  for (const name of stmt.names) add(names, name, stmt);
  if (stmt.type) addSizes(names, [stmt.type]);
}

/** What the word at the end of a path stands for; null if it is built in, or no name. */
export function definitionOf(analysis: Analysis, path: readonly Node[], offset: number): Definition | null {
  const [outer, parent, node] = [path.at(-3), path.at(-2), path.at(-1)];
  const { loaded, values } = analysis;
  if (!node || !parent || !("name" in node) || typeof node.name !== "string") return null;
  const word: ast.Name = { name: node.name, span: node.span };
  if (is(parent, "member") && node === parent.name) return namedMember(values.get(parent.object), word);
  if (isArgument(parent) && node === parent.name)
    return is(outer, "call") ? named(paramsOf(values.get(outer.callee)), word) : null;
  if ("fromSpan" in parent) return declaration(loaded.main.names.get(word.name));
  if (!("kind" in node) && binds(parent)) return { name: word, by: parent };
  const type = is(parent, "tensor") ? { name: word, by: parent } : null;
  return visibleNames(analysis, path, offset).get(node.name) ?? type;
}
const isArgument = (node: Node): node is ast.Arg => "value" in node && !("kind" in node);
const named = (list: readonly ast.HeaderParam[], { name }: ast.Name): Definition | null => {
  const by = list.findLast((one) => one.name.name === name);
  return by ? { name: by.name, by } : null;
};
export const declaration = (declared: Declared | null | undefined): Definition | null =>
  declared ? { name: declared.ast.name, by: declared.ast } : null;
const binding: ReadonlySet<string> = new Set(["let", "for", "state", "param", "sublayer", "method"]);
/** Whether a node declares the names that it consists of. */
const binds = (node: Node): node is Definition["by"] & Node =>
  "kind" in node ? binding.has(node.kind) || isDeclaration(node) : "spread" in node;

function namedMember(object: Val | undefined, { name }: ast.Name): Definition | null {
  const bodies = object?.kind === "layer" ? bodiesOfMade(object.layer.make) : [];
  const body = bodies.findLast((one) => one.some((m) => m.name.name === name));
  return body ? memberCalled(body, name) : null;
}
/** The members of a layer, then those that each of its aliases adds. */
const bodiesOfMade = ({ of }: Makeable): readonly (readonly ast.Member[])[] =>
  of.kind === "layer" ? of.maker.parts.map((part) => allMembers(part.ast.body)) : [];
const membersOfMade = (make: Makeable): readonly ast.Member[] => bodiesOfMade(make).flat();
/** The members that can stand after a value and a dot, one for each name. */
export function membersOfValue(value: Val | undefined): readonly ast.Member[] {
  const all = value?.kind === "layer" ? membersOfMade(value.layer.make) : [];
  return [...new Map(all.map((m) => [m.name.name, m])).values()];
}
export const forwardIn = (make: Makeable): ast.Method | undefined =>
  membersOfMade(make)
    .filter((m) => m.kind === "method")
    .findLast((m) => m.name.name === "forward");
/** The parameters that a call of a value can name. */
function paramsOf(value: Val | undefined): readonly ast.HeaderParam[] {
  if (value?.kind === "layer") return forwardIn(value.layer.make)?.params ?? [];
  if (value?.kind === "declaration") return value.decl.ast.header;
  if (value?.kind !== "fn") return [];
  const { fn } = value;
  if (fn.kind === "declared") return fn.decl.ast.header;
  return fn.kind === "method" || fn.kind === "helper" ? fn.method.params : [];
}
