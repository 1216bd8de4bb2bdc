// Graphs of layers like those that elaboration makes, with gradients of their operands, for tests of passes and kernels.
import { gradients } from "../compiler/gradients/differentiate.ts";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { mapGraph } from "../compiler/graph/map.ts";
import type { Graph, Mapped, Result, Routing, Value } from "../compiler/graph/node.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { simplify } from "../compiler/rewrite/simplify.ts";
import { cutHeads } from "../compiler/transform/products/head.ts";
import { routedBackward } from "../compiler/transform/routed.ts";
import { expandScatters } from "../compiler/transform/scatters/scatter.ts";
import type { DType } from "../compiler/types/dtype.ts";
import { dims, dtypeOf } from "../compiler/types/type.ts";

type Param = (name: string, shape: readonly number[], dtype?: DType) => Value;
const params =
  (g: GraphBuilder): Param =>
  (name, shape, dtype = "f32") =>
    b.param(g, name, { dtype, shape });

/** Results: the output, its sum with random weights as the loss, and the loss's gradients for the floats among `wrt`. */
function trained(name: string, g: GraphBuilder, out: Value, wrt: readonly Value[]): Graph {
  const seed = b.param(g, "seed", out.type);
  const loss = b.sum(g, b.mul(g, out, seed));
  const grads = gradients(g, [loss], wrt);
  const results: Result[] = [
    { role: "output", name: "y", value: out },
    { role: "loss", name: "l", value: loss },
    ...grads.map((value, i) => ({ role: "gradient" as const, name: String(i), value })),
  ];
  return simplify(g, { name, results }, true);
}

function softmaxLayer(rows: number, cols: number): Graph {
  const g = new GraphBuilder(ops);
  const [x, mask] = [params(g)("x", [rows, cols]), params(g)("mask", [rows, cols], "bool")];
  return trained("softmax", g, b.softmax(g, b.mul(g, x, 3), -1, mask), [x]);
}
/** A gate's probabilities and their mean entropy; a single kernel if there are few rows and columns. */
function entropyLayer(rows: number, cols: number): Graph {
  const g = new GraphBuilder(ops);
  const chance = b.softmax(g, params(g)("x", [rows, cols]));
  const entropy = b.sum(g, b.mul(g, chance, b.log(g, b.add(g, chance, 1e-20))), [-1]);
  const results = [chance, b.neg(g, b.mean(g, entropy))];
  return simplify(g, graphOf("entropy", results));
}
const graphOf = (name: string, values: readonly Value[]): Graph => ({
  name,
  results: values.map((value, i) => ({ role: "output", name: String(i), value })),
});
export function normLayer(shape: readonly number[], centred: boolean): Graph {
  const g = new GraphBuilder(ops);
  const d = shape.at(-1) ?? 1;
  const [x, w, bias] = [params(g)("x", shape), params(g)("w", [d]), params(g)("bias", [d])];
  const y = centred ? b.sub(g, x, b.mean(g, x, [-1], true)) : x;
  const scaled = b.mul(g, b.mul(g, y, b.rsqrt(g, b.add(g, b.mean(g, b.mul(g, y, y), [-1], true), 1e-5))), w);
  return trained("norm", g, centred ? b.add(g, scaled, bias) : scaled, centred ? [x, w, bias] : [x, w]);
}
/** Rounds of Sinkhorn's scaling of a small matrix for each of `rows`, of logits that are part of wider rows. A kernel each way. */
export function sinkhornLayer(rows: readonly number[], [n, m]: readonly [number, number], rounds: number): Graph {
  const g = new GraphBuilder(ops);
  const x = params(g)("x", [...rows, n * m + 3]);
  const of = (axis: number, y: Value): Value => b.div(g, y, b.add(g, b.sum(g, y, [axis], true), 1e-6));
  let y = b.softmax(g, b.reshape(g, b.slice(g, x, rows.length, 2, n * m), [...rows, n, m]));
  for (let i = 0; i < rounds; i++) y = of(rows.length + 1, of(rows.length, y));
  return trained("sinkhorn", g, y, [x]);
}
/** Rounds each of which hands on numbers, a count of them and which were large: what a lane keeps is f32, i32 and bool. */
export function choiceRounds(rows: readonly number[], [n, m]: readonly [number, number], rounds: number): Graph {
  const g = new GraphBuilder(ops);
  const x = params(g)("x", [...rows, n, m]);
  const axes = [rows.length];
  let [y, large] = [x, b.gt(g, x, 0)];
  let count = b.sum(g, b.cast(g, large, "i32"), axes, true);
  for (let i = 0; i < rounds; i++) {
    const mean = b.mean(g, y, axes, true);
    const now = b.gt(g, y, mean);
    const fresh = b.and(g, now, b.not(g, large));
    count = b.add(g, count, b.sum(g, b.cast(g, fresh, "i32"), axes, true));
    y = b.where(g, fresh, b.sub(g, mean, y), b.add(g, y, b.mul(g, b.cast(g, count, "f32"), 0.01)));
    large = now;
  }
  return trained("choices", g, y, [x]);
}
export function crossEntropy(rows: number, classes: number): Graph {
  const g = new GraphBuilder(ops);
  const [x, target] = [params(g)("x", [rows, classes]), params(g)("target", [rows], "i32")];
  const picked = b.squeeze(g, b.take(g, x, b.reshape(g, target, [rows, 1]), 1), 1);
  const inside = b.ge(g, target, 0);
  const losses = b.where(g, inside, b.sub(g, b.logsumexp(g, x), picked), 0);
  return trained("cross entropy", g, b.div(g, b.sum(g, losses), b.maximum(g, b.cast(g, b.sum(g, inside), "f32"), 1)), [
    x,
  ]);
}
/**
 * The mean cross-entropy of the logits `x @ w + bias`, with label smoothing and a penalty on large logits; cut into pieces of at most `limit`
 * elements. `dtype` is that of the product's operands.
 */
export function headLayer(
  rows: readonly number[],
  D: number,
  V: number,
  limit = Infinity,
  dtype: DType = "f32",
): Graph {
  const g = new GraphBuilder(ops);
  const p = params(g);
  const [x, w, bias] = [p("x", [...rows, D], dtype), p("w", [D, V], dtype), p("bias", [V], dtype)];
  const target = p("target", rows, "i32");
  const logits = b.cast(g, b.add(g, b.matmul(g, b.tanh(g, x), w), bias), "f32");
  const total = b.logsumexp(g, logits);
  const picked = b.squeeze(g, b.take(g, logits, b.reshape(g, target, [...rows, 1]), rows.length), rows.length);
  const miss = b.sub(g, b.sub(g, total, b.mul(g, picked, 0.9)), b.mul(g, b.mean(g, logits, [-1]), 0.1));
  const inside = b.ge(g, target, 0);
  const count = b.maximum(g, b.cast(g, b.sum(g, inside), "f32"), 1);
  const loss = b.add(g, b.div(g, b.sum(g, b.where(g, inside, miss, 0)), count), b.mean(g, b.mul(g, total, total)));
  const graph = expandScatters(g, trained("head", g, loss, [x, w, bias]));
  return cutHeads(g, simplify(g, graph, true), limit);
}
/** Causal multi-head attention over [B, T, D] with rotary positions. */
export function attentionLayer(B: number, T: number, heads: number, A: number): Graph {
  const g = new GraphBuilder(ops);
  const D = heads * A;
  const p = params(g);
  const [x, wq, wk, wv] = [p("x", [B, T, D]), p("wq", [D, D]), p("wk", [D, D]), p("wv", [D, D])];
  const split = (v: Value): Value => b.transpose(g, b.reshape(g, v, [B, T, heads, A]), [0, 2, 1, 3]);
  const frequency = b.pow(g, 10000, b.div(g, b.neg(g, b.cast(g, b.iota(g, A / 2), "f32")), A / 2));
  const at = b.cast(g, b.iota(g, T), "f32");
  const angle = b.mul(g, b.reshape(g, at, [T, 1]), frequency);
  const rope = (v: Value): Value => {
    const [left, right] = [b.slice(g, v, 3, 0, A / 2), b.slice(g, v, 3, A / 2, A / 2)];
    const [cos, sin] = [b.cos(g, angle), b.sin(g, angle)];
    return b.concat(
      g,
      [b.sub(g, b.mul(g, left, cos), b.mul(g, right, sin)), b.add(g, b.mul(g, right, cos), b.mul(g, left, sin))],
      3,
    );
  };
  const [q, k, v] = [rope(split(b.matmul(g, x, wq))), rope(split(b.matmul(g, x, wk))), split(b.matmul(g, x, wv))];
  const scores = b.mul(g, b.dot(g, q, b.swap(g, k)), 1 / Math.sqrt(A));
  const seen = b.ge(g, b.reshape(g, b.iota(g, T), [T, 1]), b.iota(g, T));
  const out = b.dot(g, b.softmax(g, scores, -1, b.broadcastTo(g, seen, [B, heads, T, T])), v);
  return trained("attention", g, b.reshape(g, b.transpose(g, out, [0, 2, 1, 3]), [B, T, D]), [x, wq, wk, wv]);
}
/** A mixture of SwiGlu experts with a top-k gate, its backward rewritten by `routedBackward`. */
export function moeLayer(N: number, D: number, H: number, E: number, K: number, dtype: "f32" | "bf16" = "f32"): Graph {
  const g = new GraphBuilder(ops);
  const p = params(g);
  const [x, gate] = [p("x", [N, D], dtype), p("gate", [D, E])];
  const weights = [p("w.gate", [E, D, H], dtype), p("w.up", [E, D, H], dtype), p("w.down", [E, H, D], dtype)];
  const [top, index] = b.topK(g, b.softmax(g, b.matmul(g, b.cast(g, x, "f32"), gate)), K);
  const score = b.cast(g, b.div(g, top, b.sum(g, top, [-1], true)), dtype);
  const by: Routing = { ...b.route(g, b.reshape(g, index, [N * K]), E), groups: E, rows: N * K };
  const bind = new Map<Value, Mapped>();
  const inside = (v: Value, m: Mapped): Value => {
    const one = p(`one ${bind.size}`, dims(v.type).slice(1), dtypeOf(v.type));
    bind.set(one, m);
    return one;
  };
  const rows = b.dispatch(g, b.reshape(g, b.broadcast(g, x, [N, K, D], [0, 2]), [N * K, D]), by);
  const row = inside(rows, { kind: "rows", value: rows, by });
  const [wg, wu, wd] = weights.map((w) => inside(w, { kind: "each", value: w, over: E })) as [Value, Value, Value];
  const half = b.matmul(g, row, wg);
  const y = b.matmul(g, b.mul(g, b.mul(g, half, b.sigmoid(g, half)), b.matmul(g, row, wu)), wd);
  const [{ value: mapped }] = mapGraph([y], bind, g) as [Mapped];
  const result = b.reshape(g, b.combine(g, mapped, by), [N, K, D]);
  const out = b.sum(g, b.mul(g, b.expand(g, score, 2), result), [1]);
  return routedBackward(g, trained("moe", g, out, [x, gate, ...weights]));
}
/** A gate in f32 for rows in bf16, and its gradients: products of operands of two dtypes. */
function gateLayer(N: number, D: number, E: number): Graph {
  const g = new GraphBuilder(ops);
  const p = params(g);
  const x = b.cast(g, p("x", [N, D], "bf16"), "f32");
  const [gate, seed] = [p("gate", [D, E]), p("seed", [N, E])];
  const values = [
    b.matmul(g, x, gate),
    b.matmul(g, b.swap(g, x), seed),
    b.matmul(g, x, b.swap(g, p("swapped", [E, D]))),
  ];
  return graphOf("gate", values);
}
/** Codes: two matrices of the same rows, with points of both; two pairs that are summed; a matrix of codes beside one of numbers. */
function codesLayer(N: number, D: number, H: number, dtype: "f32" | "bf16"): Graph {
  const g = new GraphBuilder(ops);
  const p = params(g);
  const x = b.cast(g, p("x", [N, D], dtype), "f32");
  const codes = (name: string, ...shape: readonly number[]): Value => b.cast(g, p(name, shape, "i8"), "f32");
  const scaled = (y: Value, of: string): Value =>
    b.mul(g, y, b.mul(g, b.broadcast(g, p(`${of} scales`, [H]), [N, H], [1]), 1e-3));
  const [gate, up] = ["gate", "up"].map((of) => scaled(b.dot(g, x, codes(of, D, H)), of)) as [Value, Value];
  const z = b.cast(g, p("z", [N, H], dtype), "f32");
  const pairs = b.make1(g, "dot", [x, codes("first", D, H), z, codes("second", H, H)], {});
  const mixed = b.mul(g, scaled(b.dot(g, z, codes("mixed", H, H)), "mixed"), b.dot(g, z, p("numbers", [H, H])));
  return graphOf("codes", [b.mul(g, b.mul(g, gate, b.sigmoid(g, gate)), up), b.add(g, pairs, mixed)]);
}
/** Codes of 4 bits: two matrices of the same rows, two pairs that are summed, one that is turned, some of experts. */
export function fp4Layer(N: number, D: number, H: number, dtype: "f32" | "bf16"): Graph {
  const g = new GraphBuilder(ops);
  const p = params(g);
  const fp4 = (name: string, ...lead: readonly number[]): Value => {
    const scales = p(`${name} scales`, [...lead, D / 32, H], "bf16");
    return b.cast(g, b.fromFp4(g, p(name, [...lead, D / 2, H], "i8"), scales), dtype);
  };
  const [x, y, z] = [p("x", [N, D], dtype), p("y", [N, D], dtype), p("z", [N, H], dtype)];
  const { offsets } = b.route(g, b.rem(g, b.iota(g, N), 3), 4); // the last group is empty
  return graphOf("codes of 4 bits", [
    b.mul(g, b.dot(g, x, fp4("gate")), b.sigmoid(g, b.dot(g, x, fp4("up")))),
    b.make1(g, "dot", [x, fp4("first"), y, fp4("second")], {}),
    b.dot(g, z, b.swap(g, fp4("first"))),
    b.raggedDot(g, y, fp4("experts", 4), offsets),
  ]);
}
/** Codes of groups, `unit` rows for each place of a routing, by the scales of each row's group; or by those of the place's before it. */
export function groupScales(dtype: "f32" | "bf16", unit: number, whose: "own" | "before"): Graph {
  const g = new GraphBuilder(ops);
  const [C, D, H, E] = [30, 24, 64, 6];
  const p = params(g);
  const { offsets, expert } = b.route(g, b.rem(g, b.iota(g, C), E - 1), E); // the last group is empty
  const x = b.cast(g, p("x", [C * unit, D], dtype), "f32");
  const product = b.raggedDot(g, x, b.cast(g, p("codes", [E, D, H], "i8"), "f32"), offsets, unit);
  const before = (): Value => b.concat(g, [b.slice(g, expert, 0, C - 1, 1), b.slice(g, expert, 0, 0, C - 1)], 0);
  const scales = b.take(g, b.mul(g, p("scales", [E, H]), 1e-3), whose === "own" ? expert : before());
  const ofRows = b.reshape(g, b.broadcast(g, scales, [C, unit, H], [0, 2]), [C * unit, H]);
  return graphOf("codes of groups", [b.mul(g, product, ofRows)]);
}
/** Points of a product, and the row sums of the product times a factor in some layout: tests epilogues that sum rows. */
export function rowSums(dtype: DType, layout: "whole" | "in pairs" | "across" | "one a row"): Graph {
  const g = new GraphBuilder(ops);
  const [M, K, N] = [150, 40, 160];
  const p = (name: string, ...shape: readonly number[]): Value => b.param(g, name, { dtype, shape });
  const factor = {
    whole: () => p("factor", M, N),
    "in pairs": () => b.slice(g, p("factor", M, N + 2), 1, 2, N),
    across: () => b.swap(g, p("factor", N, M)),
    "one a row": () => b.broadcast(g, p("factor", M), [M, N], [0]),
  }[layout]();
  const product = b.matmul(g, p("x", M, K), p("w", K, N));
  const sum = b.sum(g, b.mul(g, b.cast(g, product, "f32"), b.cast(g, factor, "f32")), [-1]);
  return graphOf(`sums of rows, ${layout}, ${dtype}`, [b.mul(g, product, 2), sum]);
}
/** A product, and the sum of four copies of each of its elements, as in the backward of a mean over rows: one epilogue computes both. */
export function copySums(dtype: DType): Graph {
  const g = new GraphBuilder(ops);
  const [M, K, N] = [150, 40, 160];
  const p = (name: string, ...shape: readonly number[]): Value => b.param(g, name, { dtype, shape });
  const product = b.matmul(g, p("x", M, K), p("w", K, N));
  const copies = b.broadcast(g, b.cast(g, product, "f32"), [M, 4, N], [0, 2]);
  return graphOf(`sums of copies, ${dtype}`, [b.mul(g, product, 2), b.sum(g, copies, [1])]);
}
/** One step of AdamW on a matrix, with its gradient clipped by its own norm. */
export function adamw(shape: readonly number[]): Graph {
  const g = new GraphBuilder(ops);
  const p = params(g);
  const [w, grad, m, v] = [p("w", shape), p("grad", shape), p("m", shape), p("v", shape)];
  const norm = b.sqrt(g, b.sum(g, b.mul(g, grad, grad)));
  const clipped = b.mul(g, grad, b.minimum(g, 1, b.div(g, 1, b.add(g, norm, 1e-6))));
  const nextM = b.add(g, b.mul(g, m, 0.9), b.mul(g, clipped, 0.1));
  const nextV = b.add(g, b.mul(g, b.abs(g, v), 0.95), b.mul(g, b.mul(g, clipped, clipped), 0.05));
  const step = b.div(g, nextM, b.add(g, b.sqrt(g, nextV), 1e-8));
  const next = b.sub(g, w, b.mul(g, b.add(g, step, b.mul(g, w, 0.1)), 1e-3));
  const results = [next, nextM, nextV].map((value, i) => ({
    role: "store" as const,
    name: ["w", "m", "v"][i] ?? "",
    value,
  }));
  return simplify(g, { name: "adamw", results }, true);
}

export interface GptSizes {
  readonly V: number;
  readonly B: number;
  readonly T: number;
  readonly D: number;
  readonly H: number;
  readonly L: number;
  readonly heads: number;
  readonly E: number;
  readonly K: number;
}
/** One training step of a GptMoE with AdamW, after the passes that precede lowering. */
export function gptStep(s: GptSizes): Graph {
  const g = new GraphBuilder(ops);
  const p = params(g);
  const [N, A] = [s.B * s.T, s.D / s.heads];
  const weights: Value[] = [];
  const weight = (name: string, shape: readonly number[]): Value => {
    const w = p(name, shape);
    weights.push(w);
    return w;
  };
  const norm = (x: Value, w: Value): Value =>
    b.mul(g, b.mul(g, x, b.rsqrt(g, b.add(g, b.mean(g, b.mul(g, x, x), [-1], true), 1e-6))), w);
  const positions = b.broadcastTo(g, b.iota(g, s.T), [s.B, s.T]);
  const rope = (x: Value): Value => {
    const frequency = b.pow(g, 10000, b.div(g, b.neg(g, b.cast(g, b.iota(g, A / 2), "f32")), A / 2));
    const angle = b.mul(g, b.reshape(g, b.cast(g, positions, "f32"), [s.B, 1, s.T, 1]), frequency);
    const [l, r, cos, sin] = [
      b.slice(g, x, 3, 0, A / 2),
      b.slice(g, x, 3, A / 2, A / 2),
      b.cos(g, angle),
      b.sin(g, angle),
    ];
    return b.concat(g, [b.sub(g, b.mul(g, l, cos), b.mul(g, r, sin)), b.add(g, b.mul(g, r, cos), b.mul(g, l, sin))], 3);
  };
  const attend = (x: Value, name: string): Value => {
    const split = (part: string): Value =>
      b.transpose(
        g,
        b.reshape(g, b.matmul(g, x, weight(`${name}.${part}`, [s.D, s.D])), [s.B, s.T, s.heads, A]),
        [0, 2, 1, 3],
      );
    const [q, k, v] = [rope(split("query")), rope(split("key")), split("value")];
    const bounds = [
      { at: 0, seen: 1, plus: 0, pair: 0 },
      { at: 1, seen: -1, plus: 0, pair: 0 },
    ];
    const out = b.make1(g, "attention", [b.reshape(g, q, [s.B, s.heads, 1, s.T, A]), k, v, positions, positions], {
      scale: 1 / Math.sqrt(A),
      bounds,
    });
    const merged = b.reshape(g, b.transpose(g, b.reshape(g, out, [s.B, s.heads, s.T, A]), [0, 2, 1, 3]), [
      s.B,
      s.T,
      s.D,
    ]);
    return b.matmul(g, merged, weight(`${name}.output`, [s.D, s.D]));
  };
  const mix = (x: Value, name: string): Value => {
    const flat = b.reshape(g, x, [N, s.D]);
    const [top, index] = b.topK(g, b.softmax(g, b.matmul(g, flat, weight(`${name}.gate`, [s.D, s.E]))), s.K);
    const score = b.div(g, top, b.sum(g, top, [-1], true));
    const by = b.route(g, b.reshape(g, index, [N * s.K]), s.E);
    const rows = b.dispatch(g, b.reshape(g, b.broadcast(g, flat, [N, s.K, s.D], [0, 2]), [N * s.K, s.D]), by);
    const half = b.raggedDot(g, rows, weight(`${name}.gates`, [s.E, s.D, s.H]), by.offsets);
    const up = b.raggedDot(g, rows, weight(`${name}.ups`, [s.E, s.D, s.H]), by.offsets);
    const inner = b.mul(g, b.mul(g, half, b.sigmoid(g, half)), up);
    const down = b.raggedDot(g, inner, weight(`${name}.downs`, [s.E, s.H, s.D]), by.offsets);
    const all = b.reshape(g, b.combine(g, down, by), [N, s.K, s.D]);
    return b.reshape(g, b.sum(g, b.mul(g, b.expand(g, score, 2), all), [1]), [s.B, s.T, s.D]);
  };
  const embed = weight("embed", [s.V, s.D]);
  let x = b.take(g, embed, p("tokens", [s.B, s.T], "i32"));
  for (let i = 0; i < s.L; i++) {
    x = b.add(g, x, attend(norm(x, weight(`${i}.norm1`, [s.D])), `${i}.attention`));
    x = b.add(g, x, mix(norm(x, weight(`${i}.norm2`, [s.D])), `${i}.feed`));
  }
  const logits = b.matmul(g, b.reshape(g, norm(x, weight("norm", [s.D])), [N, s.D]), b.swap(g, embed));
  const target = b.reshape(g, p("targets", [s.B, s.T], "i32"), [N, 1]);
  const loss = b.mean(g, b.sub(g, b.logsumexp(g, logits), b.squeeze(g, b.take(g, logits, target, 1), 1)));
  const grads = gradients(g, [loss], weights);
  const total = b.sqrt(
    g,
    grads.map((d) => b.sum(g, b.mul(g, d, d))).reduce((a, c) => b.add(g, a, c)),
  );
  const factor = b.minimum(g, 1, b.div(g, 1, b.add(g, total, 1e-6)));
  const results: Result[] = [{ role: "loss", name: "loss", value: loss }];
  weights.forEach((w, i) => {
    const name = (w.node.attrs as { store: string }).store;
    const d = b.mul(g, grads[i] as Value, factor);
    const m = b.add(g, b.mul(g, p(`${name}.m`, dims(w.type)), 0.9), b.mul(g, d, 0.1));
    const v = b.add(g, b.mul(g, b.abs(g, p(`${name}.v`, dims(w.type))), 0.95), b.mul(g, b.mul(g, d, d), 0.05));
    const step = b.add(g, b.div(g, m, b.add(g, b.sqrt(g, v), 1e-8)), b.mul(g, w, 0.1));
    for (const [suffix, value] of [
      ["", b.sub(g, w, b.mul(g, step, 1e-3))],
      [".m", m],
      [".v", v],
    ] as const)
      results.push({ role: "store", name: name + suffix, value });
  });
  return routedBackward(g, simplify(g, { name: "train", results }, true));
}

/** A routing with many groups, few or none of whose indices occur, and a sort of rows. */
export function manyGroups(n: number, groups: number): Graph {
  const g = new GraphBuilder(ops);
  const p = params(g);
  const index = b.rem(g, b.mul(g, p("tokens", [n], "i32"), b.mul(g, b.iota(g, n), 7919)), groups + 1);
  const { order, offsets, inverse, expert } = b.route(g, index, groups);
  const results = [order, offsets, inverse, expert, ...b.topK(g, p("x", [2, n]), n)];
  return { name: "many", results: results.map((value, i) => ({ role: "output", name: String(i), value })) };
}

/** The layers on which the kernels of every target are compared with the interpreter. */
export const layers: Readonly<Record<string, Graph>> = {
  softmax: softmaxLayer(13, 37),
  "softmax of one": softmaxLayer(1, 1),
  "chances and their entropy": entropyLayer(22, 4),
  "rms norm": normLayer([3, 5, 32], false),
  "layer norm": normLayer([130, 17], true),
  "cross entropy": crossEntropy(67, 19),
  "Sinkhorn's scaling": sinkhornLayer([3, 23], [3, 4], 3),
  "Sinkhorn's scaling in a loop": sinkhornLayer([1, 37], [4, 4], 9),
  "a head in pieces": headLayer([2, 13], 9, 21, 150),
  attention: attentionLayer(2, 11, 3, 8),
  "mixture of experts": moeLayer(67, 24, 19, 5, 2),
  "mixture of many experts": moeLayer(5, 8, 8, 40, 3),
  "gate of bf16": gateLayer(70, 45, 9),
  "wide gate of bf16": gateLayer(33, 96, 64),
  codes: codesLayer(5, 320, 64, "f32"),
  "codes, bf16": codesLayer(70, 176, 96, "bf16"),
  "codes of 4 bits": fp4Layer(5, 320, 67, "f32"),
  "codes of groups": groupScales("bf16", 1, "own"),
  "codes of groups, three rows a place": groupScales("f32", 3, "own"),
  "codes of groups, others' scales": groupScales("bf16", 3, "before"),
  adamw: adamw([9, 33]),
  "a step of a model": gptStep({ V: 17, B: 2, T: 7, D: 8, H: 12, L: 1, heads: 2, E: 4, K: 2 }),
};
