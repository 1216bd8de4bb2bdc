// Reads an attention mask as bounds on positions: comparisons of integers, each a linear form of one query position and one key position, joined by
// and, or, not. A condition on the query or the key alone, however it was computed, counts as a position of 0 or 1.
import type { Builder, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { getOrMake } from "../memoize.ts";
import { allBounds, allHold, type PositionPair } from "../ops/attention.ts";
import type { BinaryName, Bound, Clause } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { matchOp, splatOf } from "../rewrite/pattern.ts";
import type { DType } from "../types/dtype.ts";
import { dims, dtypeOf } from "../types/type.ts";

/**
 * The axis of the scores that an axis of an expression runs along: batch, group, head in the group, query, key. null: it is broadcast, with size 1.
 */
type Axis = "b" | "g" | "r" | "t" | "u" | null;
export type Axes = readonly Axis[];

/** Clauses that must all hold for a query to see a key, and the pairs of positions that they refer to by number. */
export interface Mask {
  readonly pairs: readonly PositionPair<Value>[];
  readonly bounds: readonly Clause[];
}
/** The linear form at * query + seen * key + plus. `query`, `key`: the i32 tensors of positions; null if the form does not contain one. */
interface Linear {
  readonly at: number;
  readonly seen: number;
  readonly plus: number;
  readonly query: Value | null;
  readonly key: Value | null;
}
/** A boolean formula whose leaves mean `Linear >= 0`. An empty `all` is true, an empty `any` false. */
type Formula = Linear | { readonly join: "all" | "any"; readonly of: readonly Formula[] };
/** The maximum, or minimum, of some linear forms. */
interface Extreme {
  readonly fn: "max" | "min";
  readonly of: readonly Linear[];
}
/**
 * Limits. With more `bounds`, checking them for every score would cost more than reading a buffer of scores; `pairs`: of positions; `read`: nodes
 * of the mask that are looked at; `plus`: the largest offset for which at + seen + plus cannot overflow i32.
 */
const limits = { bounds: 16, pairs: 6, read: 64, plus: 2 ** 29 };

/** Strips broadcasts, transposes, and reshapes that add or drop axes of size 1; returns what is below them, with its axes named accordingly. */
export function stripViews(v: Value, axes: Axes): [Value, Axes] {
  const [from] = v.node.args;
  if (!from) return [v, axes];
  const broadcast = matchOp(v, "broadcast");
  if (broadcast)
    return stripViews(
      from,
      broadcast.attrs.axes.map((a) => axes[a] ?? null),
    );
  const transpose = matchOp(v, "transpose");
  if (transpose)
    return stripViews(
      from,
      dims(from.type).map((_, i) => axes[transpose.attrs.perm.indexOf(i)] ?? null),
    );
  if (v.node.op.name !== "reshape") return [v, axes];
  const kept = axes.filter((_, i) => dims(v.type)[i] !== 1);
  const wide = dims(from.type).filter((n) => n !== 1);
  if (
    wide.join() !==
    dims(v.type)
      .filter((n) => n !== 1)
      .join()
  )
    return [v, axes];
  let next = 0;
  return stripViews(
    from,
    dims(from.type).map((n) => (n === 1 ? null : (kept[next++] ?? null))),
  );
}
/** Reshapes and broadcasts x to the axes `wanted`, of those sizes, in that order; null if x has other axes or has them in another order. */
export function alignAxes(
  g: Builder,
  x: Value,
  axes: Axes,
  wanted: Readonly<Partial<Record<NonNullable<Axis>, number>>>,
): Value | null {
  const [names, shape] = [Object.keys(wanted), dims(x.type)];
  // An axis of size 1 may have lost its name on the way. They are all dropped first, so that equal positions become the same value.
  const wide = axes.flatMap((a, i) =>
    a === null || shape[i] === 1 ? [] : [{ place: names.indexOf(a), size: item(shape, i) }],
  );
  const places = wide.map(({ place }) => place);
  if (places.some((p, i) => p < 0 || p <= (places[i - 1] ?? -1))) return null;
  const bare = b.reshape(
    g,
    x,
    wide.map((axis) => axis.size),
  );
  return b.broadcast(g, bare, Object.values(wanted), places);
}
const truth = (is: boolean): Formula => ({ join: is ? "all" : "any", of: [] });
/** A conjunction or disjunction, of one part the part itself; null if a part could not be read. */
const joined = (join: "all" | "any", of: readonly (Formula | null)[]): Formula | null => {
  const [only] = of;
  if (only && of.length === 1) return only;
  return of.includes(null) ? null : { join, of: of as readonly Formula[] };
};
const negatives: Readonly<Partial<Record<BinaryName, BinaryName>>> = {
  and: "or",
  or: "and",
  ge: "lt",
  lt: "ge",
  gt: "le",
  le: "gt",
  eq: "ne",
  ne: "eq",
};

class MaskReader {
  readonly #g: Builder;
  readonly #sequences: number;
  readonly #queries: number;
  readonly #keys: number;
  #count = 0;
  readonly #linears = new Map<Value, Map<string, Linear | null>>();
  constructor(g: Builder, shape: readonly number[]) {
    this.#g = g;
    [this.#sequences, this.#queries, this.#keys] = [item(shape, 0), item(shape, 3), item(shape, 4)];
  }
  /** The formula of a mask or, with `not`, of its negation; null if it is not made of bounds. */
  read(v: Value, axes: Axes, not = false): Formula | null {
    if (++this.#count > limits.read) return null;
    const [mask, inner] = stripViews(v, axes);
    const number = splatOf(mask);
    if (number !== null) return truth((number !== 0) !== not);
    return this.#composed(mask, inner, not) ?? this.#oneSided(mask, inner, not);
  }
  #composed(mask: Value, axes: Axes, not: boolean): Formula | null {
    const args = mask.node.args.map((x) => [x, axes] as const);
    const [x, y, z] = args;
    if (!x) return null;
    if (matchOp(mask, "unary")?.attrs.fn === "not") return this.read(...x, !not);
    if (y && z && matchOp(mask, "select")) {
      const first = joined("all", [this.read(...x), this.read(...y, not)]);
      return joined("any", [first, joined("all", [this.read(...x, true), this.read(...z, not)])]);
    }
    const plain = matchOp(mask, "binary")?.attrs.fn;
    const fn = plain && not ? negatives[plain] : plain;
    if (!y || !fn) return null;
    if (fn === "and" || fn === "or")
      return joined(fn === "and" ? "all" : "any", [this.read(...x, not), this.read(...y, not)]);
    return this.#comparison(fn, x[0], y[0], axes);
  }
  #comparison(fn: BinaryName, x: Value, y: Value, axes: Axes): Formula | null {
    if (fn === "eq" || fn === "ne") {
      if (x.type.dtype !== "i32") return null;
      const sides = fn === "eq" ? (["ge", "le"] as const) : (["gt", "lt"] as const);
      return joined(
        fn === "eq" ? "all" : "any",
        sides.map((side) => this.#comparison(side, x, y, axes)),
      );
    }
    const order = { ge: [x, y, 0], gt: [x, y, -1], le: [y, x, 0], lt: [y, x, -1] } as const;
    if (!(fn in order)) return null;
    const [big, small, strict] = order[fn as keyof typeof order];
    const more = this.#side(big, axes, strict ? Math.ceil : Math.floor);
    const less = this.#side(small, axes, strict ? Math.floor : Math.ceil);
    if (!more || !less || (x.type.dtype !== "i32" && !isConstant(more) && !isConstant(less))) return null;
    return joined(
      more.fn === "max" ? "any" : "all",
      more.of.map((p) =>
        joined(
          less.fn === "min" ? "any" : "all",
          less.of.map((q) => this.#bound(p, q, strict)),
        ),
      ),
    );
  }
  #bound(more: Linear, less: Linear, strict: 0 | -1): Formula | null {
    if (more.plus === Number.POSITIVE_INFINITY) return truth(true); // an infinite offset (a window of unlimited size) always holds
    const bound = this.#added(more, less, -1);
    const far = bound && hasBothSides(bound) ? limits.plus : Number.MAX_VALUE;
    return bound && Math.abs(bound.plus) <= far ? { ...bound, plus: bound.plus + strict } : null;
  }
  /** One side of a comparison. A fractional constant is rounded to the integer that gives the same answer when compared with integers. */
  #side(v: Value, axes: Axes, round: (x: number) => number): Extreme | null {
    const [x, inner] = stripViews(v, axes);
    const number = splatOf(x);
    if (number !== null)
      return Math.abs(number) <= exact[dtypeOf(x.type)] || Math.abs(number) === Number.POSITIVE_INFINITY
        ? one(constant(round(number)))
        : null;
    const whole = matchOp(x, "cast")?.args[0];
    return whole ? this.#extreme(whole, inner) : this.#extreme(x, inner);
  }
  #extreme(v: Value, axes: Axes): Extreme | null {
    const [x, inner] = stripViews(v, axes);
    const of = (values: readonly Value[], fn: "max" | "min"): Extreme | null => {
      const read = values.map((y) => this.#linear(y, inner));
      return read.includes(null) ? null : { fn, of: read as readonly Linear[] };
    };
    const whole = this.#linear(x, inner);
    if (whole) return one(whole);
    if (matchOp(x, "unary")?.attrs.fn === "abs") {
      const [y] = of(x.node.args, "max")?.of ?? [];
      return y ? { fn: "max", of: [y, { ...y, at: -y.at, seen: -y.seen, plus: -y.plus }] } : null;
    }
    const fn = matchOp(x, "binary")?.attrs.fn;
    return fn === "max" || fn === "min" ? of(x.node.args, fn) : null;
  }
  /** Memoized by value and axes: sums may share subexpressions. */
  #linear(v: Value, axes: Axes): Linear | null {
    const [x, inner] = stripViews(v, axes);
    if (x.type.dtype !== "i32") return null;
    const number = splatOf(x);
    if (number !== null) return constant(number);
    const ofAxes = getOrMake(this.#linears, x, () => new Map());
    return getOrMake(ofAxes, inner.join(), () => this.#total(x, inner) ?? this.#position(x, inner));
  }
  #total(x: Value, axes: Axes): Linear | null {
    const sum = matchOp(x, "binary");
    if (sum?.attrs.fn !== "add" && sum?.attrs.fn !== "sub") return null;
    const [p, q] = [this.#linear(item(sum.args, 0), axes), this.#linear(item(sum.args, 1), axes)];
    return p && q && this.#added(p, q, sum.attrs.fn === "add" ? 1 : -1);
  }
  #added(x: Linear, y: Linear, sign: 1 | -1): Linear | null {
    const query = this.#sum([x.at, x.query], [sign * y.at, y.query]);
    const key = this.#sum([x.seen, x.key], [sign * y.seen, y.key]);
    if (!query || !key) return null;
    return { at: query[0], query: query[1], seen: key[0], key: key[1], plus: x.plus + sign * y.plus };
  }
  /**
   * m * x + n * y for two position tensors of one side (both query, or both key): merged if they are the same tensor, else a new tensor is built.
   * Null if the coefficient would not be -1, 0 or 1.
   */
  #sum([m, x]: Term, [n, y]: Term): Term | null {
    if (x === null || y === null || x === y) return Math.abs(m + n) > 1 ? null : [m + n, m + n === 0 ? null : (x ?? y)];
    return m > 0
      ? [1, n > 0 ? b.add(this.#g, x, y) : b.sub(this.#g, x, y)]
      : this.#negated(this.#sum([-m, x], [-n, y]));
  }
  #negated(term: Term | null): Term | null {
    return term && [-term[0], term[1]];
  }
  /** An i32 that varies along batch and query only, or along batch and key only, as a position. */
  #position(x: Value, axes: Axes): Linear | null {
    const key = axes.some((a, i) => a === "u" && dims(x.type)[i] !== 1);
    const full = alignAxes(this.#g, x, axes, {
      b: this.#sequences,
      ...(key ? { u: this.#keys } : { t: this.#queries }),
    });
    if (!full) return null;
    return key
      ? { at: 0, seen: 1, plus: 0, query: null, key: full }
      : { at: 1, seen: 0, plus: 0, query: full, key: null };
  }
  /** A condition on the query alone, or the key alone, as a position of 0 or 1. */
  #oneSided(mask: Value, axes: Axes, not: boolean): Formula | null {
    const position = this.#position(b.cast(this.#g, mask, "i32"), axes);
    return position && not
      ? { ...position, at: -position.at, seen: -position.seen }
      : position && { ...position, plus: -1 };
  }
}
type Term = readonly [number, Value | null];
const one = (x: Linear): Extreme => ({ fn: "max", of: [x] });
const constant = (plus: number): Linear => ({ at: 0, seen: 0, plus, query: null, key: null });
const isConstant = ({ of }: Extreme): boolean => of.every(({ query, key }) => query === null && key === null);
/** The largest integer that each dtype compares exactly: up to it, rounded integers compare with a constant as the integers themselves do. */
const exact: Readonly<Record<DType, number>> = {
  bool: 1,
  i8: 2 ** 7,
  bf16: 2 ** 8,
  f32: 2 ** 24,
  f64: 2 ** 53,
  i32: 2 ** 31,
};

/** The truth value of a formula if it does not depend on positions; else null. */
function constantTruth(x: Formula): boolean | null {
  if (!("join" in x)) return x.query === null && x.key === null ? x.plus >= 0 : null;
  const of = x.of.map(constantTruth);
  if (of.includes(x.join === "any")) return x.join === "any";
  return of.includes(null) ? null : x.join === "all";
}
/** The operands of a conjunction (or disjunction), nested ones flattened, without those that are always true (or false). */
function flattened(x: Formula, join: "all" | "any"): Formula[] {
  if (constantTruth(x) === (join === "all")) return [];
  return "join" in x && x.join === join ? x.of.flatMap((y) => flattened(y, join)) : [x];
}
const fits = (x: Value | null, y: Value | null): boolean => x === null || y === null || x === y;
const hasBothSides = ({ query, key }: Linear): boolean => query !== null && key !== null;
/** Assigns each bound a pair of (query, key) positions: the very pair if it is on both sides, any pair with its side if it is on one. */
class PairTable {
  readonly #found: { at: Value | null; seen: Value | null }[] = [];
  add({ query, key }: Linear): void {
    const known = this.#index(query, key);
    if (known >= 0) Object.assign(item(this.#found, known), query && { at: query }, key && { seen: key });
    else this.#found.push({ at: query, seen: key });
  }
  #index(query: Value | null, key: Value | null): number {
    return this.#found.findIndex(({ at, seen }) => fits(query, at) && fits(key, seen));
  }
  bound({ query, key, at, seen, plus }: Linear): Bound {
    return { at, seen, plus, pair: this.#index(query, key) };
  }
  all(none: (keys: boolean) => Value): PositionPair<Value>[] {
    return this.#found.map(({ at, seen }) => ({ at: at ?? none(false), seen: seen ?? none(true) }));
  }
}
/** The bounds that a mask puts on scores of shape [B, G, R, T, U]; null if it is not made of bounds on positions, or has too many of them. */
export function maskOf(g: Builder, shape: readonly number[], mask: Value, axes: Axes): Mask | null {
  const tree = new MaskReader(g, shape).read(mask, axes);
  if (!tree || constantTruth(tree) === false) return null;
  const pairs = new PairTable();
  const leaves = (x: Formula): Linear[] => ("join" in x ? x.of.flatMap(leaves) : [x]);
  const all = flattened(tree, "all");
  const spoken = all.flatMap(leaves);
  for (const x of [...spoken.filter(hasBothSides), ...spoken]) pairs.add(x);
  const clauses = (x: Formula): readonly Clause[] => flattened(x, "all").map(clause);
  const clause = (x: Formula): Clause => ("join" in x ? { any: flattened(x, "any").map(clauses) } : pairs.bound(x));
  const bounds = all.map(clause);
  const none = (keys: boolean): Value => b.fill(g, 0, "i32", [item(shape, 0), item(shape, keys ? 4 : 3)]);
  const made = pairs.all(none);
  return allBounds(bounds).length > limits.bounds || made.length > limits.pairs ? null : { pairs: made, bounds };
}
/**
 * Whether every row certainly sees its own position: each bound holds when query and key positions are the same tensor, because the coefficients
 * cancel or because the positions count from 0 and the bound is not negative.
 */
export function attendsToItself({ pairs, bounds }: Mask): boolean {
  const holds = ({ at, seen, plus, pair }: Bound): boolean => {
    const own = item(pairs, pair);
    const counts = stripViews(own.at, ["b", "t"])[0].node.op.name === "iota";
    return own.at === own.seen && plus >= 0 && (at + seen === 0 || (counts && at + seen > 0));
  };
  return allHold(bounds, holds);
}
