// Rewrite rules, and the driver that applies them until none matches.
import { Bug } from "../diagnostic.ts";
import type { Builder, Graph, Node, Value } from "../graph/node.ts";
import { rebuild, topological, valuesOf, withValues } from "../graph/walk.ts";
import { getOrMake } from "../memoize.ts";
import type { DType } from "../types/dtype.ts";
import type { Pattern } from "./pattern.ts";

export interface Rule {
  /** The rule as an equation. */
  readonly name: string;
  /** The op that a matching value is made by; null: any. */
  readonly root: string | null;
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
    const bound = left.match(v, new Map());
    return bound && right(Object.fromEntries(bound) as Record<N, Value>, g);
  };
  return { name, root: left.root, apply, examples: (g) => dtypes.map((t) => left.example(g, t)) };
}

export interface RewriteOptions {
  /** Called for each rewrite, for debugging. */
  readonly onRewrite?: (rule: Rule, from: Value, to: Value) => void;
  /** Nodes that are left alone, with everything that they need. */
  readonly frozen?: ReadonlySet<Node>;
}
/** Applies the rules bottom up until none matches. If that does not end, throws a Bug that names the rules that cycle. */
export function rewrite(
  g: Builder,
  results: readonly Value[],
  rules: readonly Rule[],
  options: RewriteOptions = {},
): Value[] {
  const budget = new Budget(1000 + 20 * topological(results, options.frozen).length);
  const fitting = byRoot(rules);
  const step = (v: Value): Value | null => {
    for (const r of fitting(v.node.op.name)) {
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
    const last = settled.has(v) ? v : applyToFixedPoint(v, step);
    settled.add(last);
    return last;
  };
  const pass = (node: Node, args: readonly Value[]): readonly Value[] => {
    const { results } = g.withArgs(node, args);
    const [only, ...more] = results;
    const last = only && more.length === 0 ? settle(only) : only;
    return last === undefined || last === only ? results : [last];
  };
  for (let now = [...results]; ; ) {
    const next = rebuild(g, now, pass, options.frozen);
    if (next.every((v, i) => v === now[i])) return next;
    now = next;
  }
}
/** Applies the rules to a graph. Nodes that no result needs any more are dropped. */
export const rewriteGraph = (g: Builder, graph: Graph, rules: readonly Rule[], options?: RewriteOptions): Graph =>
  withValues(graph, rewrite(g, valuesOf(graph), rules, options));
function byRoot(rules: readonly Rule[]): (name: string) => readonly Rule[] {
  const table = new Map<string, readonly Rule[]>();
  return (name) => getOrMake(table, name, () => rules.filter((r) => r.root === null || r.root === name));
}
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
