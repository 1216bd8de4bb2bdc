// Prints a graph as text, one node per line. The order and the numbers depend on the graph alone.
import { type Size, Sym, show } from "../types/size.ts";
import { showType, type Type } from "../types/type.ts";
import type { Graph, Node, Value } from "./node.ts";
import { storeOf, topological, valuesOf } from "./walk.ts";

export function printGraph(graph: Graph): string {
  const [lines, name] = printed(valuesOf(graph));
  const results = graph.results.map((r) => `  ${r.role} ${r.name} = ${name(r.value)}`);
  return [`graph ${graph.name} {`, ...lines.map((l) => `  ${l}`), ...results, "}", ""].join("\n");
}
/** A value as a term, with deeper operands elided: `mul(exp(..), 1) : f32[2, 3]`. */
export const printTerm = (v: Value): string => `${term(v, 2)} : ${showType(v.type)}`;
function term({ node, index }: Value, depth: number): string {
  const word = node.op.displayName?.(node.attrs) ?? node.op.name;
  const result = node.results.length > 1 ? `.${index}` : "";
  const store = storeOf(node);
  if (store !== null) return store;
  if (node.args.length === 0) return `${word}${showAttrs(node, word)}${result}`;
  const args = depth === 0 ? ".." : node.args.map((a) => term(a, depth - 1)).join(", ");
  return `${word}(${args})${depth === 0 ? "" : showAttrs(node, word)}${result}`;
}

function printed(values: readonly Value[]): [lines: string[], name: (v: Value) => string] {
  const numbers = new Map<Node, number>();
  const name = (v: Value): string => `%${numbers.get(v.node) ?? "?"}${v.node.results.length > 1 ? `.${v.index}` : ""}`;
  const lines = topological(values).map((node) => {
    numbers.set(node, numbers.size);
    const types = node.results.map((r) => showType(r.type)).join(", ");
    const args = node.args.length === 0 ? "" : `(${node.args.map(name).join(", ")})`;
    const word = node.op.displayName?.(node.attrs) ?? node.op.name;
    return `%${numbers.get(node) ?? 0} = ${word}${args}${showAttrs(node, word)} : ${types}`;
  });
  return [lines, name];
}
/** The attributes, without those that the op's word or the result types show already. */
function showAttrs(node: Node, word: string): string {
  if (node.op.showAttrs) return ` ${node.op.showAttrs(node.attrs)}`;
  const said = [word, ...node.results.map((r) => showValue(r.type.shape))];
  return Object.entries(node.attrs as Record<string, unknown>)
    .map(([key, value]) => [key, showValue(value)] as const)
    .filter(([, value]) => !said.includes(value))
    .map(([key, value]) => ` ${key}=${value}`)
    .join("");
}
function showValue(x: unknown): string {
  if (Array.isArray(x)) return `[${x.map(showValue).join(", ")}]`;
  if (x instanceof Sym) return show(x satisfies Size);
  if (typeof x === "object" && x !== null && "dtype" in x && "shape" in x) return showType(x as Type);
  return String(x);
}
