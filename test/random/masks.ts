// Random attention masks: bounds on pairs of positions, as attributes of the op `attention` and as an expression.
import type { Value } from "../../compiler/graph/node.ts";
import type { Bound, Clause } from "../../compiler/ops/attrs.ts";
import * as b from "../../compiler/ops/build.ts";
import type { RandomGraphBuilder } from "./random-graph.ts";

export interface RandomMask {
  /** Positions of queries and of keys, alternating: two for each pair. */
  readonly places: readonly Value[];
  readonly bounds: readonly Clause[];
}
const kinds = [
  { at: 0, seen: 1, plus: 0 },
  { at: 1, seen: -1, plus: 0 },
  { at: -1, seen: 1, plus: 3 },
] as const;
/** A mask for B sequences, T queries and U keys; most are a conjunction of bounds on one pair, like a causal mask. */
export function randomMask(
  { g, draw, index }: Pick<RandomGraphBuilder, "g" | "draw" | "index">,
  B: number,
  T: number,
  U: number,
): RandomMask {
  const positions = (n: number): Value =>
    draw.chance(0.6) ? b.broadcastTo(g, b.sub(g, b.iota(g, n), draw.below(3)), [B, n]) : index([B, n], U);
  const places = [positions(T), positions(U)];
  const bounds: Clause[] = kinds.filter(() => draw.chance(0.6)).map((c) => ({ ...c, pair: 0 }));
  if (draw.chance(0.5)) return { places, bounds };
  const more = draw.chance(0.5) ? places.map((x) => b.idiv(g, x, 3)) : [positions(T), positions(U)];
  const bound = (): Bound => ({ ...draw.of(kinds), plus: draw.below(5) - 1, pair: draw.below(2) });
  const list = (depth: number): Clause[] => Array.from({ length: 1 + draw.below(2) }, () => clause(depth));
  const clause = (depth: number): Clause =>
    depth === 0 || draw.chance(0.5) ? bound() : { any: [list(depth - 1), list(depth - 1)] };
  return { places: [...places, ...more], bounds: [...bounds.slice(1), ...list(2)] };
}
/**
 * The mask as an expression; null if there are no bounds. `wide` broadcasts a position of queries (axis 3) or keys (axis 4) to the shape of scores.
 */
export function writtenMask(
  g: RandomGraphBuilder["g"],
  { places, bounds }: RandomMask,
  wide: (x: Value, axis: 3 | 4) => Value,
): Value | null {
  const holds = ({ at, seen, plus, pair }: Bound): Value => {
    const [query, key] = [places[2 * pair], places[2 * pair + 1]].map((x, i) => wide(x as Value, i === 0 ? 3 : 4));
    if (!query || !key) throw new Error(`no pair ${pair}`);
    if (at === 0) return b.ge(g, key, -plus * seen);
    if (plus === 0) return at === 1 ? b.le(g, key, query) : b.not(g, b.lt(g, key, query));
    return at === 1 ? b.gt(g, b.add(g, b.sub(g, query, key), plus), -1) : b.le(g, b.sub(g, query, key), plus);
  };
  const written = (list: readonly Clause[]): Value | null =>
    list.map(one).reduce<Value | null>((x, y) => (x ? b.and(g, x, y) : y), null);
  const one = (c: Clause): Value =>
    "any" in c ? c.any.flatMap((list) => written(list) ?? []).reduce((x, y) => b.or(g, x, y)) : holds(c);
  return written(bounds);
}
