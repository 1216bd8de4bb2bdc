// Attention without a buffer of T x U (Dao et al., "FlashAttention", 2022): the softmax of a row is made block by block of keys. Backward:
// for each block of keys S^T = K Q^T, then P^T dO and dS^T Q; for each block of queries dS K, an accumulator being a left operand; or, where a
// task takes a head, K^T dS^T with all else of the block.
import { Problem } from "../diagnostic.ts";
import type { Node, Value } from "../graph/node.ts";
import type { Bound, OpAttrs } from "../ops/attrs.ts";
import { bytesOf } from "../types/dtype.ts";
import { dtypeOf } from "../types/type.ts";
import { type Block, plus } from "./build.ts";
import type { Draft } from "./draft.ts";
import { add, both, call, ceil, f32, i32, isNum, item, load, mul, num, select, truth, unflatten } from "./expr.ts";
import type { Buffer, Expr, Tile } from "./ir.ts";
import type { Reader } from "./read.ts";
import { shapeOf } from "./read.ts";
import type { AttentionTile, Choices } from "./schedule.ts";

const float = (op: string, ...args: readonly Expr[]): Expr => call(op, "f32", ...args);

/** The operands, by the names of the op's record, with the sizes of their axes. */
interface Operands {
  readonly reader: Reader;
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly at: Value;
  readonly seen: Value;
  readonly attrs: OpAttrs["attention"];
  /** Queries and keys taken at a time. */
  readonly rows: number;
  readonly block: number;
  readonly ahead?: boolean;
  /** The power of e: what is rounded to bf16 next needs no more than that. */
  readonly exp: "exp" | "exp_short";
  readonly sizes: {
    readonly B: number;
    readonly G: number;
    readonly R: number;
    readonly T: number;
    readonly U: number;
    readonly A: number;
    readonly C: number;
  };
}
function operands(d: Draft, node: Node): Operands {
  const [q, k, v, at, seen] = [0, 1, 2, 3, 4].map((i) => item(node.args, i)) as [Value, Value, Value, Value, Value];
  const [B, G, R, T, A] = shapeOf(q) as [number, number, number, number, number];
  const sizes = { B, G, R, T, A, U: item(shapeOf(k), 2), C: item(shapeOf(v), 3) };
  return {
    reader: d.reader(undefined, { plain: true }),
    q,
    k,
    v,
    at,
    seen,
    attrs: node.attrs as OpAttrs["attention"],
    exp: dtypeOf(q.type) === "bf16" ? "exp_short" : "exp",
    ...tile(d, q, Math.max(sizes.A, sizes.C), node.op.name === "attention_backward"),
    sizes,
  };
}
function tile(d: Draft, q: Value, width: number, backward: boolean): AttentionTile {
  const found = d.choices.attention(width, bytesOf[dtypeOf(q.type)], backward);
  if (found) return found;
  throw new Problem(
    `attention of heads ${width} wide in ${dtypeOf(q.type)} does not fit a multiprocessor`,
    "take more heads, so that each is at most 128 wide in f32, 256 in bf16, or `--target host`",
  );
}
const times = (n: number, x: Expr): Expr[] => (n === 0 ? [] : [n === 1 ? x : call("mul", "i32", x, i32(n))]);
const sum = ([first = i32(0), ...more]: readonly Expr[]): Expr =>
  more.reduce((x, y) => call("add", "i32", x, y), first);
/** Whether the query at t may see the key at u. */
function sees(o: Operands, b: Expr, t: Expr, u: Expr): Expr {
  const [at, seen] = [o.reader.element(o.at, [b, t]), o.reader.element(o.seen, [b, u])];
  const holds = ({ at: m, seen: n, plus: c }: Bound): Expr =>
    call("ge", "bool", sum([...times(m, at), ...times(n, seen), ...(c === 0 ? [] : [i32(c)])]), i32(0));
  return o.attrs.bounds.map(holds).reduce(both, truth(true));
}
/** What a block of positions brings to each bound at most, or at least. */
function reach(d: Draft, o: Operands, b: Expr, which: "at" | "seen", block: Block, op: "max" | "min" = "max"): Expr[] {
  const value = (i: Expr): Expr => o.reader.element(o[which], [b, plus(block, i)]);
  return o.attrs.bounds.map((bound) =>
    bound[which] === 0 ? i32(0) : d.k.fold("reach", op, "i32", block.n, (i) => sum(times(bound[which], value(i)))),
  );
}
/** Runs f unless no query of a block sees a key of another. */
function ifSeen(d: Draft, o: Operands, queries: readonly Expr[], keys: readonly Expr[], f: () => void): void {
  if (o.attrs.bounds.length === 0) f();
  else d.k.if(holdAll(o, queries, keys), f);
}
/** Whether all bounds hold of what queries and keys bring to them. */
const holdAll = (o: Operands, queries: readonly Expr[], keys: readonly Expr[]): Expr =>
  o.attrs.bounds
    .map((bound, n) => {
      const terms = [item(queries, n), item(keys, n), i32(bound.plus)].filter((x) => !(isNum(x) && x.value === 0));
      return call("ge", "bool", sum(terms), i32(0));
    })
    .reduce(both, truth(true));
/** Runs f for scores that are masked, or are seen all: with comparisons, or with none where a block needs none. */
function masked(d: Draft, o: Operands, all: Expr | null, f: (mask: boolean) => void): void {
  if (all === null) return f(o.attrs.bounds.length > 0);
  d.k.if(all, () => f(false));
  d.k.if(call("not", "bool", all), () => f(true));
}
/** scale q k^T + bias where seen, else -infinity. */
function score(
  o: Operands,
  bias: Value | undefined,
  dot: Expr,
  [b, g, r]: readonly [Expr, Expr, Expr],
  t: Expr,
  u: Expr,
  mask = true,
): Expr {
  const scaled = float("mul", dot, f32(o.attrs.scale));
  const whole = bias ? float("add", scaled, o.reader.element(bias, [b, g, r, t, u])) : scaled;
  return mask ? select(sees(o, b, t, u), whole, f32(-Infinity)) : whole;
}
const lowest = -3.4028234663852886e38;

/** out, and the logarithm of the sum of each row. */
export function attention(d: Draft, node: Node): void {
  const o = operands(d, node);
  const { rows, block } = o;
  const { B, G, R, T, U, A, C } = o.sizes;
  const [b = num(0), g = num(0), r = num(0)] = unflatten(d.k.task("h", B * G * R).at, [B, G, R]);
  const m = d.k.task("m", T, rows);
  const q = d.k.stage("q", [rows, A], [m.n, num(A)], (i, a) => o.reader.element(o.q, [b, g, r, plus(m, i), a]));
  const out = d.k.tile("acc", "out", [rows, ceil(C, 16)]);
  const [top, total] = [d.k.tile("row", "top", [rows], lowest), d.k.tile("row", "total", [rows])];
  const queries = reach(d, o, b, "at", m);
  const first = o.ahead && o.attrs.bounds.length > 0 ? reach(d, o, b, "at", m, "min") : null;
  const staged = (c: Block): [keys: Tile, values: Tile] => [
    d.k.stage("keys", [A, block], [num(A), c.n], (a, j) => o.reader.element(o.k, [b, g, plus(c, j), a])),
    d.k.stage("values", [block, ceil(C, 16)], [c.n, num(C)], (j, e) => o.reader.element(o.v, [b, g, plus(c, j), e])),
  ];
  const step = (c: Block, [keys, values]: [Tile, Tile]): void => {
    const scores = d.k.tile("acc", "scores", [rows, block]);
    d.k.mma(q, [keys], [scores], [m.n, num(A)]);
    masked(d, o, first ? d.k.let("all", holdAll(o, first, reach(d, o, b, "seen", c, "min"))) : null, (mask) =>
      d.k.each(scores, [m.n, c.n], (i, j) =>
        d.k.store(scores, [i, j], score(o, node.args[5], load(scores, i, j), [b, g, r], plus(m, i), plus(c, j), mask)),
      ),
    );
    const keep = renew(d, { scores, top, total, exp: o.exp }, m, c);
    d.k.each(out, [m.n, num(C)], (i, j) => d.k.store(out, [i, j], float("mul", load(out, i, j), load(keep, i))));
    d.k.mma(scores, [values], [out], [m.n, c.n]);
  };
  const ifReached = (c: Block, f: () => void): void => ifSeen(d, o, queries, reach(d, o, b, "seen", c), f);
  d.k.for("c", num(0), num(U), block, (c) => {
    if (!o.ahead) return ifReached(c, () => step(c, staged(c)));
    const operands = staged(c);
    ifReached(c, () => step(c, operands));
  });
  const [result, sums] = [d.output(item(node.results, 0), "y"), d.output(item(node.results, 1), "sums")];
  const some = (i: Expr): Expr => call("gt", "bool", load(total, i), f32(0));
  d.k.each(out, [m.n, num(C)], (i, j) =>
    d.k.store(result, [b, g, r, plus(m, i), j], select(some(i), float("div", load(out, i, j), load(total, i)), f32(0))),
  );
  d.k.each(top, [m.n], (i) =>
    d.k.store(
      sums,
      [b, g, r, plus(m, i)],
      select(some(i), float("add", load(top, i), float("log", load(total, i))), f32(0)),
    ),
  );
}
/** Scores become weights below a new maximum; what was summed before is to be scaled by the result. */
function renew(
  d: Draft,
  t: { readonly scores: Tile; readonly top: Tile; readonly total: Tile; readonly exp: Operands["exp"] },
  m: Block,
  c: Block,
): Tile {
  const { scores, top, total, exp } = t;
  const highest = d.k.foldRows("highest", "max", scores, c.n, (i, j) => load(scores, i, j));
  const keep = d.k.tile("row", "keep", top.shape);
  d.k.each(top, [m.n], (i) => {
    const next = d.k.letHere("next", float("max", load(top, i), load(highest, i)));
    d.k.store(keep, [i], float(exp, float("sub", load(top, i), next)));
    d.k.store(top, [i], next);
  });
  d.k.each(scores, [m.n, c.n], (i, j) =>
    d.k.store(scores, [i, j], float(exp, float("sub", load(scores, i, j), load(top, i)))),
  );
  const added = d.k.foldRows("added", "sum", scores, c.n, (i, j) => load(scores, i, j));
  d.k.each(total, [m.n], (i) =>
    d.k.store(total, [i], float("add", float("mul", load(total, i), load(keep, i)), load(added, i))),
  );
  return keep;
}

/** dq, and the gradient of the bias: for each block of queries. */
export function attentionQueries(d: Draft, node: Node): void {
  const o = operands(d, node);
  const { rows, block } = o;
  const [sums, delta, dout] = [item(node.args, 5), item(node.args, 6), item(node.args, 7)];
  const { B, G, R, T, U, A, C } = o.sizes;
  const [b = num(0), g = num(0), r = num(0)] = unflatten(d.k.task("h", B * G * R).at, [B, G, R]);
  const m = d.k.task("m", T, rows);
  const q = d.k.stage("q", [rows, A], [m.n, num(A)], (i, a) => o.reader.element(o.q, [b, g, r, plus(m, i), a]));
  const given = d.k.stage("given", [rows, C], [m.n, num(C)], (i, e) =>
    o.reader.element(dout, [b, g, r, plus(m, i), e]),
  );
  const dq = d.k.tile("acc", "dq", [rows, ceil(A, 16)]);
  const queries = reach(d, o, b, "at", m);
  const step = (c: Block): void => {
    const keys = d.k.stage("keys", [A, block], [num(A), c.n], (a, j) => o.reader.element(o.k, [b, g, plus(c, j), a]));
    const values = d.k.stage("values", [C, block], [num(C), c.n], (e, j) =>
      o.reader.element(o.v, [b, g, plus(c, j), e]),
    );
    const [scores, flow] = [d.k.tile("acc", "scores", [rows, block]), d.k.tile("acc", "flow", [rows, block])];
    d.k.mma(q, [keys], [scores], [m.n, num(A)]);
    d.k.mma(given, [values], [flow], [m.n, num(C)]);
    d.k.each(scores, [m.n, c.n], (i, j) => {
      const at = [b, g, r, plus(m, i)];
      const s = score(o, node.args[8], load(scores, i, j), [b, g, r], plus(m, i), plus(c, j));
      const p = float(o.exp, float("sub", s, o.reader.element(sums, at)));
      const ds = d.k.letHere("ds", float("mul", p, float("sub", load(flow, i, j), o.reader.element(delta, at))));
      const bias = node.results[3];
      if (bias) d.k.store(d.output(bias, "dbias"), [...at, plus(c, j)], ds);
      d.k.store(scores, [i, j], ds);
    });
    const rowsOfKeys = d.k.stage("rows", [block, ceil(A, 16)], [c.n, num(A)], (j, a) =>
      o.reader.element(o.k, [b, g, plus(c, j), a]),
    );
    d.k.mma(scores, [rowsOfKeys], [dq], [m.n, c.n]);
  };
  d.k.for("c", num(0), num(U), block, (c) => {
    if (node.results[3]) step(c);
    else ifSeen(d, o, queries, reach(d, o, b, "seen", c), () => step(c));
  });
  const to = d.output(item(node.results, 0), "dq");
  d.k.each(dq, [m.n, num(A)], (i, a) =>
    d.k.store(to, [b, g, r, plus(m, i), a], float("mul", load(dq, i, a), f32(o.attrs.scale))),
  );
}

/** dk and dv: for each block of keys, over all queries of its group. */
export function attentionKeys(d: Draft, node: Node): void {
  const o = operands(d, node);
  const { B, G, U } = o.sizes;
  const [b = num(0), g = num(0)] = unflatten(d.k.task("h", B * G).at, [B, G]);
  keysOf(d, node, o, [b, g], d.k.task("m", U, o.rows));
}
/** All three in one kernel, a task for each head of keys: scores and their flow are made once, and dq is summed beside it, transposed. */
export function attentionHeads(d: Draft, node: Node): void {
  const o = operands(d, node);
  const { B, G, R, T, U, A } = o.sizes;
  const [b = num(0), g = num(0)] = unflatten(d.k.task("h", B * G).at, [B, G]);
  const dq = d.k.local("dqs", [R * A, T + apart]);
  d.k.for("i", num(0), num(R * A), 1, (i) => d.k.par(num(T), (j) => d.k.store(dq, [i.at, j], f32(0))));
  d.k.for("m", num(0), num(U), o.rows, (m) => keysOf(d, node, o, [b, g], m, dq));
  const to = d.output(item(node.results, 0), "dq");
  d.k.for("r", num(0), num(R), 1, ({ at: r }) =>
    d.k.for("t", num(0), num(T), 1, ({ at: t }) =>
      d.k.par(num(A), (a) => {
        const total = load(dq, add(mul(r, num(A)), a), t);
        d.k.store(to, [b, g, r, t, a], float("mul", total, f32(o.attrs.scale)));
      }),
    ),
  );
}
/** Whether a backward goes by heads: a target says so, there are tasks enough, and no gradient of a bias is asked for. */
export function goesByHeads(node: Node, choices: Choices): boolean {
  const [B = 0, G = 0, R = 0, T = 0, A = 0] = shapeOf(item(node.args, 0));
  const { heads } = choices;
  return heads !== undefined && !node.results[3] && B * G >= heads.tasks && R * A * T <= heads.kept;
}
/** Floats between rows of scratch whose length may be a power of two: else they meet in the caches. */
const apart = 16;

/** dk and dv of a block of keys; `dq`: where what it brings to dq is added, [R A, T]. */
function keysOf(d: Draft, node: Node, o: Operands, [b, g]: readonly [Expr, Expr], m: Block, dq?: Buffer): void {
  const { rows, block } = o;
  const [sums, delta, dout] = [item(node.args, 5), item(node.args, 6), item(node.args, 7)];
  const { R, T, A, C } = o.sizes;
  const key = (i: Expr, a: Expr): Expr => o.reader.element(o.k, [b, g, plus(m, i), a]);
  const keys = d.k.stage("keys", [rows, A], [m.n, num(A)], key);
  const values = d.k.stage("values", [rows, C], [m.n, num(C)], (i, e) => o.reader.element(o.v, [b, g, plus(m, i), e]));
  const transposed = dq && d.k.stage("keysT", [A, rows], [num(A), m.n], (a, i) => key(i, a));
  const [dk, dv] = [d.k.tile("acc", "dk", [rows, ceil(A, 16)]), d.k.tile("acc", "dv", [rows, ceil(C, 16)])];
  const seen = reach(d, o, b, "seen", m);
  d.k.for("r", num(0), num(R), 1, ({ at: r }) => {
    const step = (c: Block): void => {
      const q = d.k.stage("q", [A, block], [num(A), c.n], (a, j) => o.reader.element(o.q, [b, g, r, plus(c, j), a]));
      const given = d.k.stage("given", [C, block], [num(C), c.n], (e, j) =>
        o.reader.element(dout, [b, g, r, plus(c, j), e]),
      );
      const [scores, flow] = [d.k.tile("acc", "scores", [rows, block]), d.k.tile("acc", "flow", [rows, block])];
      d.k.mma(keys, [q], [scores], [m.n, num(A)]);
      d.k.mma(values, [given], [flow], [m.n, num(C)]);
      d.k.each(scores, [m.n, c.n], (i, j) => {
        const at = [b, g, r, plus(c, j)];
        const s = score(o, node.args[8], load(scores, i, j), [b, g, r], plus(c, j), plus(m, i));
        const p = d.k.letHere("p", float(o.exp, float("sub", s, o.reader.element(sums, at))));
        d.k.store(flow, [i, j], float("mul", p, float("sub", load(flow, i, j), o.reader.element(delta, at))));
        d.k.store(scores, [i, j], p);
      });
      const rowsOut = d.k.stage("rows", [block, ceil(C, 16)], [c.n, num(C)], (j, e) =>
        o.reader.element(dout, [b, g, r, plus(c, j), e]),
      );
      const rowsIn = d.k.stage("rows", [block, ceil(A, 16)], [c.n, num(A)], (j, a) =>
        o.reader.element(o.q, [b, g, r, plus(c, j), a]),
      );
      d.k.mma(scores, [rowsOut], [dv], [m.n, c.n]);
      d.k.mma(flow, [rowsIn], [dk], [m.n, c.n]);
      if (!dq || !transposed) return;
      const part = d.k.tile("acc", "dqT", [A, block]);
      d.k.mma(transposed, [flow], [part], [num(A), m.n]);
      d.k.each(part, [num(A), c.n], (a, j) => {
        const at = [add(mul(r, num(A)), a), plus(c, j)];
        d.k.store(dq, at, float("add", load(dq, ...at), load(part, a, j)));
      });
    };
    d.k.for("c", num(0), num(T), block, (c) => ifSeen(d, o, reach(d, o, b, "at", c), seen, () => step(c)));
  });
  const [toKeys, toValues] = [d.output(item(node.results, 1), "dk"), d.output(item(node.results, 2), "dv")];
  d.k.each(dk, [m.n, num(A)], (i, a) =>
    d.k.store(toKeys, [b, g, plus(m, i), a], float("mul", load(dk, i, a), f32(o.attrs.scale))),
  );
  d.k.each(dv, [m.n, num(C)], (i, e) => d.k.store(toValues, [b, g, plus(m, i), e], load(dv, i, e)));
}
