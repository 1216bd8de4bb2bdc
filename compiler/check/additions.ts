// Checks what the body of an alias adds to its layer, and what it replaces.
import { pluralize } from "../pluralize.ts";
import type * as ast from "../syntax/ast.ts";
import { type AnyNode, nodesIn } from "../syntax/nodes.ts";
import { declareSymbols } from "./bind.ts";
import { diagnostic, Failure, fail, isSlip, passOnHelp, textOf } from "./errors.ts";
import { newFrame } from "./frames.ts";
import { makeInstance } from "./layers.ts";
import { allMembers, bodyOf } from "./origin.ts";
import { abstractStorage } from "./storage.ts";
import { isBound, namesIn } from "./types.ts";
import { declaredResults, unifyAll } from "./unify.ts";
import { type Callable, errorVal, type Instance, type Maker, resultList } from "./values.ts";
import type { World } from "./world.ts";

type Method = Extract<Callable, { kind: "method" }>;

/** `instance`: an instance of `maker`, whose last part is the alias. */
export function checkAdditions(w: World, maker: Maker, instance: Instance): void {
  const [layer, ...aliases] = maker.parts;
  const body = allMembers(aliases.at(-1)?.ast.body ?? []);
  const without: Maker = { ...maker, parts: [layer, ...aliases.slice(0, -1)] };
  const before = makeInstance(w, { of: { kind: "layer", maker: without }, arrows: [] }, "", abstractStorage(w));
  const [replaceable, methods] = [methodsIn(before), methodsIn(instance)];
  const kept = [...methods.values()].filter((m) => !body.includes(m.method));
  for (const m of body) {
    w.guard(() => requireNoClash(m, before));
    w.guard(() => requireNoSlip(m, replaceable));
    const [old, replacing] = [replaceable.get(m.name.name), methods.get(m.name.name)];
    const callers = kept.filter((k) => callsOf(k, methods).some(({ to }) => to === replacing));
    if (old && replacing && callers.length > 0) w.guard(() => requireTypes(w, old, replacing, callers));
  }
  for (const m of methods.values()) if (!kept.includes(m)) requireNoCycle(w, m, kept, methods);
}
function methodsIn(instance: Instance): Map<string, Method> {
  const found = new Map<string, Method>();
  for (const { kind, name } of allMembers(bodyOf(instance.make))) {
    const v = kind === "method" ? instance.members.get(name.name)?.() : undefined;
    if (v?.kind === "fn" && v.fn.kind === "method") found.set(name.name, v.fn);
  }
  return found;
}

/** Of two members with one name both must be methods. */
function requireNoClash(m: ast.Member, before: Instance): void {
  const { name } = m;
  const old = allMembers(bodyOf(before.make)).findLast((o) => o.name.name === name.name);
  if (!old || !before.members.has(name.name) || (m.kind === "method" && old.kind === "method")) return;
  fail("E0302", `the layer has a member \`${name.name}\` already`, name.span, {
    also: [{ span: old.name.span, text: "declared here" }],
    help: "give this one another name: only a method can be replaced, and by a method",
  });
}

/** A method that is meant to replace one, and is misspelt, would be one more that nothing calls. */
function requireNoSlip({ kind, name }: ast.Member, replaceable: ReadonlyMap<string, Method>): void {
  if (kind !== "method" || replaceable.has(name.name)) return;
  const meant = [...replaceable.values()].find((old) => isSlip(name.name, old.method.name.name))?.method.name;
  const mentions = name.span.source.text.match(new RegExp(`\\b${name.name}\\b`, "g")) ?? [];
  if (!meant || mentions.length > 1) return;
  fail("E0415", `nothing calls \`${name.name}\`, and it does not replace \`${meant.name}\``, name.span, {
    also: [{ span: meant.span, text: "declared here" }],
    help: `write \`${meant.name}\` if it is to replace that, or else another name, less like it`,
  });
}

interface Call {
  readonly to: Method;
  readonly at: ast.Span;
}
/** The calls of methods of the same instance in a method, by names alone; a name that the method itself gives to a layer is none of theirs. */
function callsOf({ method, scope }: Method, methods: ReadonlyMap<string, Method>): Call[] {
  const nodes = nodesIn(method.body);
  const local = new Set(nodes.flatMap(localNames));
  return nodes.flatMap(({ kind, callee, span }): Call[] => {
    const name = kind === "call" && callee?.kind === "name" ? callee.name : null;
    if (typeof name !== "string" || local.has(name) || !scope.has(name)) return [];
    const to = methods.get(name);
    return to && span ? [{ to, at: span }] : [];
  });
}
function localNames({ kind, name, names = [] }: AnyNode): string[] {
  if (kind === "let") return names.flatMap((n) => (n ? [n.name] : []));
  return kind === "for" && typeof name === "object" ? [name.name] : [];
}
/** Reports calls in `own`, a method of the alias, that lead back to it through methods that the layer keeps, or at once. */
function requireNoCycle(w: World, own: Method, kept: readonly Method[], methods: ReadonlyMap<string, Method>): void {
  const reached = new Set<Method>();
  const leadsBack = (m: Method): boolean => {
    if (m === own) return true;
    if (reached.has(m)) return false;
    reached.add(m);
    return callsOf(m, methods).some(({ to }) => leadsBack(to));
  };
  const name = own.method.name.name;
  for (const { to, at } of callsOf(own, methods))
    if ((to === own || kept.includes(to)) && leadsBack(to))
      w.diagnostics.push(
        diagnostic("E0308", `\`${textOf(at).split("\n")[0] ?? ""}\` leads back to \`${name}\``, at, {
          help: `all methods of the layer call this \`${name}\`, and none the one that it replaces: write out what that does, or give this one another name`,
        }),
      );
}

/** Throws a Failure unless calls of `old` are calls of `replacing`, which takes its place. */
function requireTypes(w: World, old: Method, replacing: Method, callers: readonly Method[]): void {
  const why = parametersDiffer(old.method, replacing.method) ?? typesDiffer(w, old, replacing);
  if (why === null) return;
  const { name } = replacing.method;
  const named = callers.map((c) => `\`${c.method.name.name}\``).join(" and ");
  fail("E0414", `${named} cannot call this \`${name.name}\` in place of the layer's`, name.span, {
    also: [{ span: old.method.name.span, text: "it replaces this" }],
    notes: [why],
    help:
      unseenSize(old, replacing) ??
      `give it the same parameters (and more, if they have defaults) and results, or replace ${named}, too`,
  });
}
function parametersDiffer(old: ast.Method, replacing: ast.Method): string | null {
  for (const [i, p] of old.params.entries()) {
    const q = replacing.params[i];
    if (q?.name.name !== p.name.name)
      return `argument ${i} is \`${textOf(p.span)}\` there, and ${q ? `\`${textOf(q.span)}\`` : "missing"} here`;
    if (p.default && !q.default) return `\`${p.name.name}\` has a default there, and none here`;
    if (dtypeOf(p) !== dtypeOf(q)) return `\`${textOf(p.span)}\` there is \`${textOf(q.span)}\` here`;
  }
  const [a, b] = [old.result, replacing.result];
  if (a.length !== b.length) return `there it has ${pluralize(a.length, "result")}, and here ${b.length}`;
  const i = a.findIndex((t, k) => t.dtype !== b[k]?.dtype);
  const [there, here] = [a[i], b[i]];
  return there && here ? `it returns ${textOf(there.span)} there, and ${textOf(here.span)} here` : null;
}
const dtypeOf = ({ type }: ast.HeaderParam): string | null => (type?.kind === "tensor" ? type.dtype : null);

/** Calls `replacing` with arguments of the types of `old`, and compares the results. */
function typesDiffer(w: World, old: Method, replacing: Method): string | null {
  const { params, result, name } = old.method;
  const scope = old.scope.within(newFrame(w, { role: "header", site: "" }));
  try {
    declareSymbols(w, params, scope);
    const given = params.map((p) => ({ name: null, value: scope.get(p.name.name) ?? errorVal, span: p.span }));
    const values = resultList(
      w.call(replacing, { given, from: scope.frame, at: replacing.method.name.span, want: null }),
    );
    const fits = declaredResults(result, values, name.name, name.span).map((f, i) => ({
      ...f,
      span: replacing.method.result[i]?.span ?? f.span,
    }));
    unifyAll(w, fits, scope, null);
    return null;
  } catch (error) {
    if (!(error instanceof Failure) || !error.diagnostic) throw error;
    return error.diagnostic.message;
  }
}
/** The remedy for a size of the layer's header in a result, where it means a new size. */
function unseenSize(old: Method, { method, scope }: Method): string | null {
  const bound = new Set(method.params.flatMap((p) => (p.type?.kind === "tensor" ? namesIn(p.type) : p.name.name)));
  const name = method.result.flatMap(namesIn).find((n) => !bound.has(n) && !isBound(scope, n) && isBound(old.scope, n));
  return name === undefined ? null : passOnHelp(name);
}
