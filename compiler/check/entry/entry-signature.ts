// What callers can learn of an entry before elaboration: its arguments, results, and the header of its declaration.
import { Problem } from "../../diagnostic.ts";
import { declarationFlagText } from "../../flag-text.ts";
import type * as ast from "../../syntax/ast.ts";
import type { Element } from "../../types/dtype.ts";
import { didYouMean, textOf } from "../errors.ts";
import type { Loaded } from "../modules.ts";
import { allMembers, isLayer } from "../origin.ts";
import { bareName } from "../types.ts";
import type { Declared, Module } from "../values.ts";

export interface Argument {
  readonly name: string;
  readonly dtype: Element;
  /** The name of the spread before the other axes; null: there is none. */
  readonly spread: string | null;
  /** For each axis the size name that it consists of; null: another expression. */
  readonly axes: readonly (string | null)[];
  readonly optional: boolean;
  /** The type as it is written. */
  readonly text: string;
}
interface HeaderName {
  readonly name: string;
  readonly kind: "size" | "value" | "layer";
  /** The default as it is written; null: the value must be given. */
  readonly default: string | null;
}
export interface EntrySignature {
  readonly declaration: string;
  readonly method: string;
  readonly arguments: readonly Argument[];
  readonly header: readonly HeaderName[];
  readonly results: readonly string[];
}

/** The declaration called `name`, or the file's only model or, without one, only layer or function. Throws a Problem if there is none. */
export function findDeclaration(loaded: Loaded, name: string | undefined): Declared {
  const { main } = loaded;
  const all = [...main.names].flatMap(([key, decl]) => (decl ? [{ key, decl }] : []));
  const own = all.filter(({ decl }) => decl.module === main);
  const names = (own.length > 0 ? own : all).map((o) => o.key);
  const known = names.join(", ");
  const models = modelsOf(loaded);
  if (name === undefined) {
    if (models.length > 0 || known === "") return findModel(loaded, undefined, declarationFlagText);
    const [only, ...others] = own;
    if (only && others.length === 0 && only.decl.ast.kind !== "optimizer") return only.decl;
    throw new Problem(`${main.name} declares no model`, nameOne(declarationFlagText, known));
  }
  const found = all.find((o) => o.key === name);
  if (found) return found.decl;
  const methods = models.length === 1 ? models.flatMap(methodNames) : [];
  const theirs = methods.length > 0 ? `; methods of its model are ${methods.join(", ")}` : "";
  throw new Problem(
    `${main.name} declares no ${name}`,
    didYouMean(name, [...names, ...methods], `it declares ${known || "nothing"}${theirs}`),
  );
}
/** The file's model called `name`, or its only model. Throws a Problem if there is none; `flagText` says how the user can name one. */
export function findModel(loaded: Loaded, name: string | undefined, flagText: string): Declared {
  const models = modelsOf(loaded);
  const found = name === undefined && models.length === 1 ? models[0] : models.find((m) => nameOf(m) === name);
  if (found) return found;
  const names = models.map(nameOf);
  const [file, known] = [loaded.main.name, names.join(", ")];
  if (known === "") throw new Problem(`${file} declares no model`, "declare one: `model Name(D) { ... }`");
  throw name === undefined
    ? new Problem(`${file} declares several models`, nameOne(flagText, known))
    : new Problem(`${file} declares no model ${name}`, didYouMean(name, names, `it declares ${known}`));
}
const nameOne = (flagText: string, known: string): string => `name one: ${flagText}, with NAME one of ${known}`;
const nameOf = ({ ast }: Declared): string => ast.name.name;
/** The models that the file itself declares. */
export const modelsOf = (loaded: Loaded): Declared[] =>
  [...loaded.main.names.values()].filter(
    (decl): decl is Declared =>
      decl?.module === loaded.main &&
      (decl.ast.kind === "model" || (decl.ast.kind === "alias" && decl.ast.of === "model")),
  );
/** A declaration and, if it is an alias, what that names, and so on; found by names alone. */
function chainOf(decl: Declared): Declared[] {
  const next = namedBy(decl);
  return [decl, ...(next ? chainOf(next) : [])];
}
function namedBy({ ast, module }: Declared): Declared | null {
  if (ast.kind !== "alias" || ast.value.kind !== "call") return null;
  const { callee } = ast.value;
  const named = callee.kind === "name" ? module.names.get(callee.name) : null;
  const next = callee.kind === "hole" ? module.holes.get(callee.index) : named;
  return next && next.ast !== ast ? next : null;
}
/** The layer that a declaration is, or that an alias leads to; null if it is no layer. */
export function layerBehind(decl: Declared): Declared<ast.Layer> | null {
  const { ast, module } = chainOf(decl).at(-1) ?? decl;
  return ast.kind === "layer" || ast.kind === "model" ? { ast, module } : null;
}
/** A method, with the module whose names it can use. */
export interface DeclaredMethod {
  readonly ast: ast.Method;
  readonly module: Module;
}
/** The methods of a layer, those under an `if` too; those of an alias come before what it keeps, or may keep, of its layer. */
export function methodsOf(decl: Declared): DeclaredMethod[] {
  const replaced = new Set<string>();
  return chainOf(decl).flatMap(({ ast, module }) => {
    const own = ownMethods(ast).filter((m) => !replaced.has(m.name.name));
    if (isLayer(ast)) for (const m of ast.body) if (m.kind === "method") replaced.add(m.name.name);
    return own.map((m) => ({ ast: m, module }));
  });
}
/** All methods of one name, of which the header's values choose one. */
export const methodsCalled = (decl: Declared, name: string): DeclaredMethod[] =>
  methodsOf(decl).filter((m) => m.ast.name.name === name);
const ownMethods = (ast: ast.Declaration): ast.Method[] =>
  isLayer(ast) ? allMembers(ast.body).filter((m) => m.kind === "method") : [];
/** The methods that aliases on the way to the layer replace. */
export function replacedMethods(decl: Declared): ast.Method[] {
  const kept = new Set(methodsOf(decl).map((m) => m.ast));
  return chainOf(decl).flatMap(({ ast }) => ownMethods(ast).filter((m) => !kept.has(m)));
}
const methodNames = (decl: Declared): string[] => [...new Set(methodsOf(decl).map((m) => m.ast.name.name))];
export function findMethod(decl: Declared, name: string): DeclaredMethod {
  const [found] = methodsCalled(decl, name);
  if (found) return found;
  const names = methodNames(decl);
  throw new Problem(
    `${decl.ast.name.name} has no method ${name}`,
    didYouMean(name, names, `it has ${names.join(", ") || "none"}`),
  );
}
/** The signature of a method of a declaration; if the declaration is a function, of that. */
export function entrySignature(loaded: Loaded, declaration: string | undefined, method = "forward"): EntrySignature {
  const decl = findDeclaration(loaded, declaration);
  const fn = decl.ast.kind === "fn" ? decl.ast : null;
  const body = fn ?? findMethod(decl, method).ast;
  const params = fn ? fn.header : (body as ast.Method).params;
  return {
    declaration: decl.ast.name.name,
    method: fn ? fn.name.name : method,
    arguments: params.flatMap((p) => (p.type?.kind === "tensor" ? [argument(p, p.type)] : [])),
    header: (fn ? fn.header.filter((p) => p.type?.kind !== "tensor") : decl.ast.header).map(headerName),
    results: body.result.map((t) => textOf(t.span)),
  };
}
const argument = (p: ast.HeaderParam, t: ast.TypeExpr): Argument => ({
  name: p.name.name,
  dtype: t.dtype,
  spread: t.spread?.name ?? null,
  axes: t.axes.map(bareName),
  optional: p.default !== null,
  text: textOf(t.span),
});
const headerName = (p: ast.HeaderParam): HeaderName => ({
  name: p.name.name,
  kind: p.type?.kind === "arrow" ? "layer" : p.spread || /^[A-Z]/.test(p.name.name) ? "size" : "value",
  default: p.default ? textOf(p.default.span) : null,
});
/** The sizes that follow from the shapes of inputs; a spread gives a list. Throws a Problem if two inputs disagree. */
export function sizesFromInputs(
  signature: EntrySignature,
  shapes: ReadonlyMap<string, readonly number[]>,
): Record<string, number | number[]> {
  const sizes = new Map<string, number | number[]>();
  const bind = (name: string, value: number | number[], argument: Argument): void => {
    const old = sizes.get(name);
    if (old !== undefined && String(old) !== String(value))
      throw new Problem(
        `input ${argument.name}: ${name} is ${String(value)} here and ${String(old)} in another input`,
        `give inputs whose sizes agree: ${argument.text}`,
      );
    sizes.set(name, value);
  };
  for (const argument of signature.arguments) {
    const shape = shapes.get(argument.name);
    if (!shape) continue;
    const lead = shape.length - argument.axes.length;
    if (argument.spread === null ? lead !== 0 : lead < 0)
      throw new Problem(
        `input ${argument.name} has the shape [${shape.join(", ")}]`,
        `it is declared ${argument.text}`,
      );
    if (argument.spread !== null) bind(argument.spread, shape.slice(0, lead), argument);
    argument.axes.forEach((name, i) => name !== null && bind(name, shape[lead + i] ?? 0, argument));
  }
  return Object.fromEntries(sizes);
}
