// Graphs of layers as the checker would make them, for tests of passes and kernels: each with the gradients of its operands.
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { mapGraph } from "../compiler/graph/map.ts";
import type { Graph, Mapped, Result, Routing, Value } from "../compiler/graph/node.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { gradients } from "../compiler/transform/differentiate.ts";
import { routedBackward } from "../compiler/transform/routed.ts";
import { simplify } from "../compiler/transform/simplify.ts";
import type { DType } from "../compiler/types/dtype.ts";
import { dims, dtypeOf } from "../compiler/types/type.ts";

type Param = (name: string, shape: readonly number[], dtype?: DType) => Value;
const params =
  (g: GraphBuilder): Param =>
  (name, shape, dtype = "f32") =>
    b.param(g, name, { dtype, shape });

/** The result of `f`, summed with random weights, and the gradients of the floats among `wrt`. */
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

export function softmaxLayer(rows: number, cols: number): Graph {
  const g = new GraphBuilder(ops);
  const [x, mask] = [params(g)("x", [rows, cols]), params(g)("mask", [rows, cols], "bool")];
  return trained("softmax", g, b.softmax(g, b.mul(g, x, 3), -1, mask), [x]);
}
export function normLayer(shape: readonly number[], centred: boolean): Graph {
  const g = new GraphBuilder(ops);
  const d = shape.at(-1) ?? 1;
  const [x, w, bias] = [params(g)("x", shape), params(g)("w", [d]), params(g)("bias", [d])];
  const y = centred ? b.sub(g, x, b.mean(g, x, [-1], true)) : x;
  const scaled = b.mul(g, b.mul(g, y, b.rsqrt(g, b.add(g, b.mean(g, b.mul(g, y, y), [-1], true), 1e-5))), w);
  return trained("norm", g, centred ? b.add(g, scaled, bias) : scaled, centred ? [x, w, bias] : [x, w]);
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
/** Heads of attention over [B, T, D], causal, with rotated positions. */
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
/** LANGUAGE.md's MoE of SwiGlu experts, its backward by the rules. */
export function moeLayer(N: number, D: number, H: number, E: number, K: number): Graph {
  const g = new GraphBuilder(ops);
  const p = params(g);
  const [x, gate] = [p("x", [N, D]), p("gate", [D, E])];
  const weights = [p("w.gate", [E, D, H]), p("w.up", [E, D, H]), p("w.down", [E, H, D])];
  const [top, index] = b.topK(g, b.softmax(g, b.matmul(g, x, gate)), K);
  const score = b.div(g, top, b.sum(g, top, [-1], true));
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
