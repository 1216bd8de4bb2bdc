// Patterns for the left sides of rules, written like expressions: `binary("mul", any("x"), num(1))`. A name that occurs twice must match the same
// value.
import type { Builder, Value } from "../graph/node.ts";
import type { BinaryName, OpAttrs, UnaryName } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import type { DType } from "../types/dtype.ts";
import { dims } from "../types/type.ts";

type Bindings = ReadonlyMap<string, Value>;
export interface Pattern<N extends string> {
  readonly names: readonly N[];
  /** The op that a matching value is made by; null: any. */
  readonly root: string | null;
  /** Of `unary` and `binary`: the function. */
  readonly fn?: UnaryName | BinaryName;
  match(v: Value, bound: Bindings): Bindings | null;
  /** A value that the pattern matches, for the test of the rule. */
  example(g: Builder, dtype: DType): Value;
}

/** Matches any value (of `dtype`, if given) and binds it to `name`. */
export const any = <N extends string>(name: N, dtype?: DType): Pattern<N> => ({
  names: [name],
  root: null,
  match(v, bound) {
    const old = bound.get(name);
    if (old) return old === v ? bound : null;
    return !dtype || v.type.dtype === dtype ? new Map(bound).set(name, v) : null;
  },
  example: (g, wanted) => b.param(g, name, { dtype: dtype ?? wanted, shape: [3, 5] }),
});
/** Matches a tensor all of whose elements are `value`. */
export const num = (value: number): Pattern<never> => ({
  names: [],
  root: null,
  match: (v, bound) => (splatOf(v) === value ? bound : null),
  example: (g, dtype) => b.fill(g, value, dtype, [3, 5]),
});
export const unary = <N extends string>(fn: UnaryName, x: Pattern<N>): Pattern<N> => ({
  names: x.names,
  root: "unary",
  fn,
  match: ({ node }, bound) =>
    node.op.name === "unary" && (node.attrs as OpAttrs["unary"]).fn === fn ? matchAll([x], node.args, bound) : null,
  example: (g, dtype) => b.unary(g, fn, x.example(g, dtype)),
});
const commutes: ReadonlySet<BinaryName> = new Set(["add", "mul", "max", "min", "eq", "ne", "and", "or"]);
/** Matches the operands in either order if the function is commutative. */
export const binary = <M extends string, N extends string>(
  fn: BinaryName,
  x: Pattern<M>,
  y: Pattern<N>,
): Pattern<M | N> => ({
  names: [...x.names, ...y.names],
  root: "binary",
  fn,
  match({ node }, bound) {
    if (node.op.name !== "binary" || (node.attrs as OpAttrs["binary"]).fn !== fn) return null;
    return matchAll([x, y], node.args, bound) ?? (commutes.has(fn) ? matchAll([y, x], node.args, bound) : null);
  },
  example: (g, dtype) => b.binary(g, fn, x.example(g, dtype), y.example(g, dtype)),
});
export const select = <L extends string, M extends string, N extends string>(
  c: Pattern<L>,
  x: Pattern<M>,
  y: Pattern<N>,
): Pattern<L | M | N> => ({
  names: [...c.names, ...x.names, ...y.names],
  root: "select",
  match: ({ node }, bound) => (node.op.name === "select" ? matchAll([c, x, y], node.args, bound) : null),
  example: (g, dtype) => b.where(g, c.example(g, "bool"), x.example(g, dtype), y.example(g, dtype)),
});
function matchAll(patterns: readonly Pattern<string>[], values: readonly Value[], bound: Bindings): Bindings | null {
  return patterns.reduce<Bindings | null>((so, p, i) => {
    const v = values[i];
    return so && v ? p.match(v, so) : null;
  }, bound);
}

/** If all elements of a tensor are known to be one number, that number; else null. */
export function splatOf(v: Value): number | null {
  const { op, attrs, args } = v.node;
  if (op.name === "const") return (attrs as OpAttrs["const"]).value;
  const [from] = args;
  return op.name === "broadcast" && from && dims(from.type).length === 0 ? splatOf(from) : null;
}
/** The node that made a value, with typed attributes, if its op has that name; else null. */
export function matchOp<N extends keyof OpAttrs>(
  v: Value,
  name: N,
): { readonly args: readonly Value[]; readonly attrs: OpAttrs[N] } | null {
  return v.node.op.name === name
    ? (v.node as { args: readonly Value[]; attrs: unknown } as { args: readonly Value[]; attrs: OpAttrs[N] })
    : null;
}
