// What the elements of an input choose among: the vocabulary of tokens.
import type { Elaborated, Value } from "./node.ts";
import { storeOf, topological, valuesOf } from "./walk.ts";

/** By input: the shortest axis in which its elements, as they are given, look something up. */
export function choicesOf({ stores, graphs }: Elaborated): Record<string, number> {
  const inputs = new Set(stores.filter((s) => s.role === "input").map((s) => s.name));
  const least = new Map<string, number>();
  for (const node of topological(graphs.flatMap(valuesOf))) {
    const chosen = node.op.chooses?.(node);
    const store = chosen ? storeBehind(chosen.index) : null;
    if (chosen && store !== null && inputs.has(store))
      least.set(store, Math.min(chosen.among, least.get(store) ?? Infinity));
  }
  return Object.fromEntries(least);
}
function storeBehind({ node }: Value): string | null {
  const [from] = node.args;
  return node.op.lower === "view" && from ? storeBehind(from) : storeOf(node);
}
