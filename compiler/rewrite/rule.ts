// Rewrite rules, and the driver that applies them until none matches.
import { Bug } from "../diagnostic.ts";
import type { Builder, Graph, Node, Value } from "../graph/node.ts";
import { nodesOf, rebuild, topological, valuesOf, withValues } from "../graph/walk.ts";
import { getOrMake, memoize } from "../memoize.ts";
import type { DType } from "../types/dtype.ts";
import type { Pattern } from "./pattern.ts";

export interface Rule {
  /** The rule as an equation. */
  readonly name: string;
  /** The op that a matching value is made by; null: any. */
  readonly root: string | null;
  /** The function that this op must have; absent: any. */
  readonly fn?: string | undefined;
  /** The right side for a value that matches the left side; null if it does not match. */
  apply(v: Value, g: Builder): Value | null;
  /** Values that the left side matches, for the test of the rule. */
  examples(g: Builder): readonly Value[];
}
/** A rule from a pattern: `rule("x * 1 = x", binary("mul", any("x"), num(1)), ({ x }) => x)`. `dtypes`: of its examples. */
export function rule<N extends string>(
  name: string,
  left: Pattern<N>,
  right: (m: Readonly<Record<N, Value>>, g: Builder) => Value | null,
  dtypes: readonly DType[] = ["f32"],
): Rule {
  const apply = (v: Value, g: Builder): Value | null => {
    const bound = left.match(v, nothing);
    return bound && right(Object.fromEntries(bound) as Record<N, Value>, g);
  };
  return { name, root: left.root, fn: left.fn, apply, examples: (g) => dtypes.map((t) => left.example(g, t)) };
}
const nothing: ReadonlyMap<string, Value> = new Map();

/** What is called for each rewrite, for debugging. */
export interface RewriteObserver {
  readonly onRewrite?: (rule: Rule, from: Value, to: Value) => void;
}
interface RewriteOptions extends RewriteObserver {
  /** Nodes that are left alone, with everything that they need. */
  readonly frozen?: ReadonlySet<Node>;
}
/**
 * Applies the rules bottom up until none matches. If that does not end, throws a Bug that names the rules that cycle. `nodes`: all that the results need
 * but for frozen ones, in topological order.
 */
export function rewrite(
  g: Builder,
  results: readonly Value[],
  rules: readonly Rule[],
  options: RewriteOptions = {},
  nodes: readonly Node[] = topological(results, options.frozen),
): Value[] {
  const budget = new Budget(1000 + 20 * nodes.length);
  const fitting = byRoot(rules);
  const step = (v: Value): Value | null => {
    for (const r of fitting(v.node)) {
      const to = r.apply(v, g);
      if (!to || to === v) continue;
      budget.spend(r);
      options.onRewrite?.(r, v, to);
      return to;
    }
    return null;
  };
  const settled = new Set<Value>();
  const settle = (v: Value): Value => {
    if (fitting(v.node).length === 0 || settled.has(v)) return v;
    const last = applyToFixedPoint(v, step);
    settled.add(last);
    return last;
  };
  const pass = (node: Node, args: readonly Value[]): readonly Value[] => {
    const { results } = g.withArgs(node, args);
    const [only, ...more] = results;
    const last = only && more.length === 0 ? settle(only) : only;
    return last === undefined || last === only ? results : [last];
  };
  for (let [now, order] = [[...results], nodes]; ; ) {
    const next = rebuild(g, now, pass, order);
    if (next.every((v, i) => v === now[i])) return next;
    [now, order] = [next, topological(next, options.frozen)];
  }
}
/** Applies the rules to a graph. Nodes that no result needs any more are dropped. */
export const rewriteGraph = (g: Builder, graph: Graph, rules: readonly Rule[], observer: RewriteObserver = {}): Graph =>
  withValues(graph, rewrite(g, valuesOf(graph), rules, observer, nodesOf(graph)));
/** The rules that can apply to the results of a node, by its op and that one's function. */
const byRoot = memoize((rules: readonly Rule[]): ((node: Node) => readonly Rule[]) => {
  const table = new Map<string, readonly Rule[]>();
  return ({ op, attrs }) => {
    const { fn } = attrs as { readonly fn?: string };
    const fits = (r: Rule): boolean => (r.root ?? op.name) === op.name && (r.fn ?? fn) === fn;
    return getOrMake(table, fn === undefined ? op.name : `${op.name} ${fn}`, () => rules.filter(fits));
  };
});
function applyToFixedPoint(v: Value, step: (v: Value) => Value | null): Value {
  let now = v;
  for (let next = step(now); next; next = step(now)) now = next;
  return now;
}
/** Limits the number of rewrites; remembers the last ones, for the error. */
class Budget {
  #left: number;
  readonly #recent: string[] = [];
  constructor(steps: number) {
    this.#left = steps;
  }
  spend(r: Rule): void {
    if (this.#left-- < 40) this.#recent.push(r.name);
    if (this.#left < 0)
      throw new Bug(`rewriting does not end; these rules take turns: ${[...new Set(this.#recent)].join("; ")}`);
  }
}
