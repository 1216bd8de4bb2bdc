// softmax(scale q k^T + bias, where: mask) v as one op, without a [T, U] buffer. `transform/attention.ts` makes it from the composition.
// The mask is bounds on any number of pairs of positions, one of the query and one of the key (places in the sequence, documents, rows and columns
// of an image).
// Axes: B sequences, G groups of keys, R query heads per group, T queries, U keys, A and C the widths of keys and values.
import { TypeMismatch } from "../graph/builder.ts";
import type {
  AxisSharding,
  Builder,
  Mapped,
  NdArray,
  Node,
  OpSharding,
  Placement,
  Value,
  Workers,
} from "../graph/node.ts";
import { item } from "../item.ts";
import { equalAll, type Size } from "../types/size.ts";
import { count, dims, dtypeOf, showType, type Type, type } from "../types/type.ts";
import type { Bound, Clause, OpAttrs } from "./attrs.ts";
import * as b from "./build.ts";
import { define, need, one, at as read, sample, three } from "./common.ts";
import { inSpace, lift, spaceOf } from "./mapped.ts";
import { isSharded, leadSharding, partial, replicated, type Sharded, sharded, shardPointwise } from "./sharding.ts";

type Attrs = OpAttrs["attention"];

/** A pair of positions, as integers: `at` of each query, `seen` of each key. */
export interface PositionPair<T> {
  readonly at: T;
  readonly seen: T;
}
/** The arguments of `attention`, by name. */
export interface AttentionArguments<T> {
  readonly q: T;
  readonly k: T;
  readonly v: T;
  readonly pairs: readonly PositionPair<T>[];
  readonly bias: T | undefined;
  readonly sink: T | undefined;
}
/** Those of `attention_backward`: also the log-sum-exp of each row, the number to subtract in each row, and the gradient of the output. */
export interface BackwardArguments<T> extends AttentionArguments<T> {
  readonly sums: T;
  readonly delta: T;
  readonly dout: T;
}
type TypeOf<T> = (x: T) => Pick<Type, "dtype"> & { readonly shape: readonly unknown[] };
const itself = <T>(x: T): T => x;
const typeOfValue = (v: Value): Type => v.type;
/** Only positions are integers; behind them, and `own` arguments more, a bias is told from a sink by its rank. */
function named<T>(args: readonly T[], typeOf: TypeOf<T>, own: number) {
  const [q, k, v] = three(args);
  const positions = args.slice(3).filter((x) => typeOf(x).dtype === "i32");
  const pairs = positions.flatMap((at, i) => (i % 2 === 0 ? [{ at, seen: item(positions, i + 1) }] : []));
  const rest = args.slice(3 + positions.length);
  const [bias, sink] = [5, 3].map((rank) => rest.slice(own).find((x) => typeOf(x).shape.length === rank));
  return { q, k, v, pairs, bias, sink, rest };
}
const forwardArguments = <T>(args: readonly T[], typeOf: TypeOf<T>): AttentionArguments<T> => named(args, typeOf, 0);
function backwardArguments<T>(args: readonly T[], typeOf: TypeOf<T>): BackwardArguments<T> {
  const { rest, ...all } = named(args, typeOf, 3);
  const [sums, delta, dout] = three(rest);
  return { ...all, sums, delta, dout };
}
export const isBackward = ({ op }: Node): boolean => op.name === "attention_backward";
/** The arguments of an `attention_backward` node. */
export const backwardOf = ({ args }: Node): BackwardArguments<Value> => backwardArguments(args, typeOfValue);
/** The arguments of a node that both `attention` and `attention_backward` have. */
export const attentionOf = (node: Node): AttentionArguments<Value> =>
  isBackward(node) ? backwardOf(node) : forwardArguments(node.args, typeOfValue);
/** The list of the first arguments, to the last position. */
const withPositions = <T>({ q, k, v, pairs }: Omit<AttentionArguments<T>, "bias" | "sink">): T[] => [
  q,
  k,
  v,
  ...pairs.flatMap(({ at, seen }) => [at, seen]),
];
/** All bounds in some clauses, nested ones included. */
export const allBounds = (list: readonly Clause[]): Bound[] =>
  list.flatMap((c) => ("any" in c ? c.any.flatMap(allBounds) : [c]));
/** Whether all clauses are true, given which bounds hold. */
export const allHold = (list: readonly Clause[], holds: (c: Bound) => boolean): boolean =>
  list.every((c) => ("any" in c ? c.any.some((some) => allHold(some, holds)) : holds(c)));

/** Checks the types of q, k, v and the positions; returns the sizes [B, G, R, T, U, A, C]. */
function attentionSizes(
  what: string,
  { q, k, v, pairs }: AttentionArguments<Type>,
  { bounds, cap }: Attrs,
): [Size, Size, Size, Size, Size, Size, Size] {
  need(
    q.shape.length === 5 && k.shape.length === 4 && v.shape.length === 4,
    () => `${what} needs q [B, G, R, T, A], k [B, G, U, A], v [B, G, U, C], not ${[q, k, v].map(showType).join(", ")}`,
  );
  const [B, G, R, T, A] = q.shape as [Size, Size, Size, Size, Size];
  const [U, C] = [item(k.shape, 2), item(v.shape, 3)];
  const fits =
    equalAll(k.shape, [B, G, U, A]) && equalAll(v.shape, [B, G, U, C]) && q.dtype === k.dtype && q.dtype === v.dtype;
  need(fits, () => `${what}: ${[q, k, v].map(showType).join(", ")} do not fit together`);
  for (const { at, seen } of pairs)
    need(
      equalAll(at.shape, [B, T]) && equalAll(seen.shape, [B, U]),
      () => `${what} needs positions i32[B, T] and i32[B, U], not ${showType(at)} and ${showType(seen)}`,
    );
  need(
    allBounds(bounds).every(({ pair }) => pair < pairs.length),
    () => `${what} has bounds on more than its ${pairs.length} pairs of positions`,
  );
  need(cap === undefined || (cap > 0 && cap < Infinity), () => `${what} needs a cap above 0, not ${cap}`);
  return [B, G, R, T, U, A, C];
}
function needBias(what: string, bias: Type | undefined, shape: readonly Size[], { cap }: Attrs): void {
  need(!bias || cap === undefined, () => `${what} has no bias beside a cap`);
  need(
    bias === undefined || equalAll(bias.shape, shape),
    () => `${what} needs a bias of one number a score, not ${bias ? showType(bias) : "none"}`,
  );
}
/** The dtype of scores and their sums. */
const scoreDType = (t: Type): Type["dtype"] => (t.dtype === "f64" ? "f64" : "f32");

/**
 * The scores of one query with one head, -infinity where a key is masked; `row` is its index in [B, G, R, T]; `q`, `keys`: where its query (in
 * elements) and its keys (in rows) begin.
 */
interface Row {
  readonly row: number;
  readonly q: number;
  readonly keys: number;
  readonly scores: number[];
}
function* rows({ q, k, pairs, bias }: AttentionArguments<NdArray>, attrs: Attrs): Generator<Row> {
  const { scale, bounds } = attrs;
  const [B = 0, G = 0, R = 0, T = 0, A = 0] = q.shape;
  const U = k.shape[2] ?? 0;
  for (let row = 0; row < B * G * R * T; row++) {
    const group = Math.floor(row / (R * T));
    const sequence = Math.floor(group / G);
    const places = pairs.map(({ at }) => read(at, sequence * T + (row % T)));
    const scores = Array.from({ length: U }, (_, u) => {
      const key = pairs.map(({ seen }) => read(seen, sequence * U + u));
      if (!allHold(bounds, (c) => holds(c, item(places, c.pair), item(key, c.pair)))) return Number.NEGATIVE_INFINITY;
      let score = 0;
      for (let a = 0; a < A; a++) score += read(q, row * A + a) * read(k, (group * U + u) * A + a);
      return capped(score * scale, attrs) + (bias ? read(bias, row * U + u) : 0);
    });
    yield { row, q: row * A, keys: group * U, scores };
  }
}
const capped = (x: number, { cap }: Attrs): number => (cap === undefined ? x : cap * Math.tanh(x / cap));
/** The derivative of a capped score with respect to its argument; 0 for a masked one. */
const slope = (score: number, { cap }: Attrs): number => (cap === undefined ? 1 : Math.max(0, 1 - (score / cap) ** 2));
const holds = ({ at, seen, plus }: Bound, t: number, u: number): boolean => at * t + seen * u + plus >= 0;

/** Prints the attributes, e.g. `scale 0.5 cap 30 where seen >= 0 where (at - seen >= 0 or at.1 - seen.1 >= 0 and 8 - seen >= 0)`. */
const show = ({ scale, cap, bounds }: Attrs): string =>
  `scale ${scale}${cap === undefined ? "" : ` cap ${cap}`}${bounds.map((c) => ` where ${showClause(c)}`).join("")}`;
const showClause = (c: Clause): string =>
  "any" in c ? `(${c.any.map((list) => list.map(showClause).join(" and ")).join(" or ")})` : showBound(c);
function showBound({ at, seen, plus, pair }: Bound): string {
  const of = pair === 0 ? "" : `.${pair}`;
  const terms = [times(at, `at${of}`), times(seen, `seen${of}`), plus === 0 ? "" : String(plus)].filter(
    (t) => t !== "",
  );
  return `${terms.join(" + ").replaceAll("+ -", "- ")} >= 0`;
}
const times = (n: number, name: string): string => (n === 0 ? "" : n < 0 ? `-${name}` : name);

/** Workers can each do some of the sequences, groups of keys, heads of queries, or queries. All arguments and results have the sequences as first axis. */
function shardAttention(node: Node<Attrs>, args: readonly Placement[], workers: Workers): OpSharding<Attrs> | null {
  const [queries] = args;
  if (queries && isSharded(queries) && queries.axis === 3 && queries.sharding.kind === "even")
    return shardByQueries(node, queries.sharding, workers);
  const isShared = (p: Placement, i: number): boolean =>
    isSharded(p) && p.axis <= lastSharedAxis(item(node.args, i), i);
  const lead = leadSharding(args.filter(isShared));
  if (!lead) return null;
  return lead.axis === 0 ? shardPointwise(node, args) : shardByHeads(node, lead, workers);
}
const isOfKeys = (i: number): boolean => i === 1 || i === 2;
/** Axes: sequences, groups, query heads. Keys and values have not the last, positions the first alone. */
const lastSharedAxis = ({ type: { dtype } }: Value, i: number): number => (dtype === "i32" ? 0 : isOfKeys(i) ? 1 : 2);
/** Along the groups (axis 1), or the query heads of each (axis 2), whose keys and values all workers then have. Positions are those of all heads. */
function shardByHeads(node: Node<Attrs>, { axis, sharding }: Sharded, workers: Workers): OpSharding<Attrs> | null {
  if (item(dims(item(node.args, 0).type), axis) % workers.unit(sharding) !== 0) return null;
  const own = sharded(axis, sharding);
  const place = (i: number, whole: Placement): Placement => (axis === 2 && isOfKeys(i) ? whole : own);
  const args = node.args.map(({ type: { dtype } }, i) => (dtype === "i32" ? replicated : place(i, replicated)));
  const results = node.results.map((_, i) => (isBackward(node) ? place(i, partial("sum", sharding, workers)) : own));
  return { args, results };
}
/**
 * Along the queries of each sequence, which stand at its positions `at`. All workers have the keys, the values, where these stand (`seen`) and sinks; each has a term of
 * the gradients of keys and values.
 */
function shardByQueries(node: Node<Attrs>, sharding: AxisSharding, workers: Workers): OpSharding<Attrs> {
  const { sink } = attentionOf(node);
  const args = node.args.map((a, i) => {
    if (dtypeOf(a.type) === "i32") return i % 2 === 1 ? sharded(1, sharding) : replicated; // of `at`, then of `seen`
    return isOfKeys(i) || a === sink ? replicated : sharded(3, sharding);
  });
  const ofKeys = partial("sum", sharding, workers);
  const results = node.results.map((_, i) => (isBackward(node) && isOfKeys(i) ? ofKeys : sharded(3, sharding)));
  return { args, results };
}

export const attention = define<"attention">({
  name: "attention",
  doc:
    "(q [B, G, R, T, A], k [B, G, U, A], v [B, G, U, C], pairs of at i32[B, T] and seen i32[B, U], bias [B, G, R, T, U]?, sink [B, G, R]?) -> " +
    "[B, G, R, T, C] and log(sum(exp(score))) [B, G, R, T], score = scale q k^T + bias, or cap tanh(scale q k^T / cap), where all bounds hold, and the sink, which has no value; " +
    "zeros (and, without a sink, a logarithm of 0) where nothing is seen",
  lower: "tile",
  infer(args, attrs) {
    const given = forwardArguments(args, itself);
    const { bias, sink } = given;
    const [B, G, R, T, U, , C] = attentionSizes("attention", given, attrs);
    needBias("attention", bias, [B, G, R, T, U], attrs);
    const fits = sink === undefined || equalAll(sink.shape, [B, G, R]);
    const isAll = withPositions(given).length + (bias ? 1 : 0) + (sink ? 1 : 0) === args.length;
    need(fits && isAll, () => "attention needs a sink of one number a head of queries");
    return [type(one(args).dtype, [B, G, R, T, C]), type(scoreDType(one(args)), [B, G, R, T])];
  },
  eval(args, attrs, types) {
    const given = forwardArguments(args, itself);
    const { q, v, sink } = given;
    const [T, C] = [item(q.shape, 3), item(v.shape, 3)];
    const [out, sums] = types.map((t) => new Float64Array(count(t))) as [Float64Array, Float64Array];
    for (const { row, keys, scores } of rows(given, attrs)) {
      const level = sink ? read(sink, Math.floor(row / T)) : Number.NEGATIVE_INFINITY;
      const top = scores.reduce((m, s) => Math.max(m, s), level);
      if (top === Number.NEGATIVE_INFINITY) continue;
      const weights = scores.map((s) => Math.exp(s - top));
      const total = weights.reduce((p, w) => p + w, Math.exp(level - top));
      sums[row] = top + Math.log(total);
      for (let c = 0; c < C; c++)
        out[row * C + c] = weights.reduce((p, w, u) => p + (w / total) * read(v, (keys + u) * C + c), 0);
    }
    return [out, sums];
  },
  vjp: (node, [dout = null, dsums = null], g) =>
    dout || dsums ? backward(node, dout, dsums, g) : node.args.map(() => null),
  mapped: (args, attrs, g) => mapSequences("attention", args, attrs, g),
  shard: shardAttention,
  flops: (node) => 2 * scoreCount(node) * (width(node, 0) + width(node, 2)),
  samples: (g) => sampleAttention(g).map(({ args, attrs }) => b.make(g, "attention", args, attrs)),
  showAttrs: show,
});
const width = (node: Node, i: number): number => dims(item(node.args, i).type).at(-1) ?? 0;
const scoreCount = (node: Node): number =>
  (count(item(node.args, 0).type) / Math.max(1, width(node, 0))) * item(dims(item(node.args, 1).type), 2);

/** The gradient of the sinks: minus the sum, over their rows, of the sink's share of the softmax times delta. */
function sinkGradient(g: Builder, sink: Value, sums: Value, delta: Value): Value {
  const share = b.exp(g, b.sub(g, b.expand(g, b.cast(g, sink, dtypeOf(sums.type)), 3), sums));
  return b.cast(g, b.neg(g, b.sum(g, b.mul(g, share, delta), [3])), dtypeOf(sink.type));
}
/** delta = sum(out * dout) - d(sums), for each row: what is subtracted from the gradient of every probability of the row. */
function backward(node: Node<Attrs>, dout: Value | null, dsums: Value | null, g: Builder): (Value | null)[] {
  const [out, sums] = [item(node.results, 0), item(node.results, 1)];
  const t = dtypeOf(sums.type);
  const d = dout ?? b.like(g, out, 0);
  const own = b.sum(g, b.mul(g, b.cast(g, out, t), b.cast(g, d, t)), [-1]);
  const delta = dsums ? b.sub(g, own, dsums) : own;
  const { bias, sink } = attentionOf(node);
  const given = withPositions(attentionOf(node));
  const more = bias ? [bias] : [];
  const { results } = b.make(g, "attention_backward", [...given, sums, delta, d, ...more], node.attrs);
  const flow = sink ? [sinkGradient(g, sink, sums, delta)] : [];
  return [...results.slice(0, 3), ...given.slice(3).map(() => null), ...results.slice(3), ...flow];
}

export const attention_backward = define<"attention_backward">({
  name: "attention_backward",
  doc:
    "(q, k, v, pairs of at and seen, sums [B, G, R, T], delta [B, G, R, T], dout [B, G, R, T, C], bias?) -> dq, dk, dv, dbias?: with p = exp(score - sums) " +
    "where seen, ds = p (dout v^T - delta), by a cap times 1 - (score / cap)^2: dq = scale ds k, dk = scale ds^T q, dv = p^T dout summed over R, dbias = ds",
  lower: "tile",
  infer(args, attrs) {
    const given = backwardArguments(args, itself);
    const { sums, delta, dout, bias } = given;
    const [B, G, R, T, U, , C] = attentionSizes("attention_backward", given, attrs);
    const fits =
      equalAll(sums.shape, [B, G, R, T]) && equalAll(delta.shape, sums.shape) && equalAll(dout.shape, [B, G, R, T, C]);
    need(fits, () => `attention_backward: ${[sums, delta, dout].map(showType).join(", ")} do not fit`);
    needBias("attention_backward", bias, [B, G, R, T, U], attrs);
    return [...args.slice(0, 3), ...(bias ? [bias] : [])];
  },
  eval(args, attrs, types) {
    const given = backwardArguments(args, itself);
    const { q, k, v, sums, delta, dout } = given;
    const [A, C] = [item(k.shape, 3), item(v.shape, 3)];
    const [dq, dk, dv, dbias] = types.map((t) => new Float64Array(count(t))) as [
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array?,
    ];
    for (const { row, q: own, keys, scores } of rows(given, attrs)) {
      scores.forEach((score, u) => {
        const key = keys + u;
        const p = Math.exp(score - read(sums, row));
        let into = -read(delta, row);
        for (let c = 0; c < C; c++) {
          into += read(dout, row * C + c) * read(v, key * C + c);
          dv[key * C + c] = (dv[key * C + c] ?? 0) + p * read(dout, row * C + c);
        }
        const ds = p * into * slope(score, attrs);
        if (dbias) dbias[row * scores.length + u] = ds;
        for (let a = 0; a < A; a++) {
          dq[own + a] = (dq[own + a] ?? 0) + attrs.scale * ds * read(k, key * A + a);
          dk[key * A + a] = (dk[key * A + a] ?? 0) + attrs.scale * ds * read(q, own + a);
        }
      });
    }
    return dbias ? [dq, dk, dv, dbias] : [dq, dk, dv];
  },
  vjp: () => {
    throw new TypeMismatch(
      "attention has no second gradient: write it as a softmax in the function that is differentiated twice",
    );
  },
  mapped: (args, attrs, g) => mapSequences("attention_backward", args, attrs, g),
  shard: shardAttention,
  flops: (node) => scoreCount(node) * (6 * width(node, 0) + 4 * width(node, 2)),
  samples: (g) =>
    sampleAttention(g).map(({ args, attrs }) => {
      const [out, sums] = b.make(g, "attention", args, attrs).results as [Value, Value];
      const [dout, delta] = [sample(g, "f32", dims(out.type), "dout"), sample(g, "f32", dims(sums.type), "delta")];
      const { bias, ...given } = forwardArguments(args, typeOfValue);
      const more = bias ? [bias] : [];
      return b.make(g, "attention_backward", [...withPositions(given), sums, delta, dout, ...more], attrs);
    }),
  showAttrs: show,
});

/** Inside a routed call, or over a stack, the additional axis is joined with that of the sequences. */
function mapSequences(
  name: "attention" | "attention_backward",
  args: readonly Mapped[],
  attrs: Attrs,
  g: Builder,
): Mapped[] {
  const space = spaceOf(args);
  const lifted = args.map((m) => lift(g, m, space));
  const [n = 0, sequences = 0] = dims(item(lifted, 0).type);
  const joined = lifted.map((v) => b.reshape(g, v, [n * sequences, ...dims(v.type).slice(2)]));
  return b
    .make(g, name, joined, attrs)
    .results.map((r) => inSpace(space, b.reshape(g, r, [n, sequences, ...dims(r.type).slice(1)])));
}

/**
 * Samples: causal; a window, with more keys than queries, queries masked entirely and a bias; no mask, one query; documents; the first keys and a
 * window, with sinks; capped.
 */
function sampleAttention(g: Builder): { args: Value[]; attrs: Attrs }[] {
  const of = (
    [B, G, R, T, U, A, C]: readonly [number, number, number, number, number, number, number],
    bounds: readonly Clause[],
    more: "bias" | "sink" | null,
    cap: Pick<Attrs, "cap"> = {},
  ) => {
    const places = (n: number, start: number): Value => b.broadcastTo(g, b.sub(g, b.iota(g, n), start), [B, n]);
    const pair = (f: (x: Value) => Value): Value[] => [f(places(T, -1)), f(places(U, 1))];
    const isOfDocuments = allBounds(bounds).some((c) => c.pair === 1);
    const args = [
      sample(g, "f32", [B, G, R, T, A], "q"),
      sample(g, "f32", [B, G, U, A], "k"),
      sample(g, "f32", [B, G, U, C], "v"),
      ...pair((x) => x),
      ...(isOfDocuments ? pair((x) => b.idiv(g, x, 3)) : []),
    ];
    return {
      args: more ? [...args, sample(g, "f32", more === "bias" ? [B, G, R, T, U] : [B, G, R], more)] : args,
      attrs: { scale: 0.5, ...cap, bounds },
    };
  };
  const before = { at: 1, seen: -1, plus: 0, pair: 0 };
  const causal = [{ at: 0, seen: 1, plus: 0, pair: 0 }, before];
  const documents = [
    { at: 1, seen: -1, plus: 0, pair: 1 },
    { at: -1, seen: 1, plus: 0, pair: 1 },
  ];
  const near = { at: -1, seen: 1, plus: 1, pair: 0 };
  const first = { any: [[near], [{ at: 0, seen: -1, plus: 0, pair: 0 }, ...documents.slice(1)]] };
  return [
    of([2, 1, 2, 5, 5, 3, 4], causal, null),
    of([1, 2, 1, 3, 7, 2, 1], [...causal, near], "bias"),
    of([1, 1, 1, 1, 3, 4, 2], [], null),
    of([2, 1, 1, 7, 6, 3, 2], [...documents, before], null),
    of([1, 1, 2, 6, 7, 2, 3], [before, first], "sink"),
    of([2, 1, 1, 5, 6, 2, 3], causal, null, { cap: 0.75 }),
  ];
}
