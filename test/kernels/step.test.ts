// A whole training step, from the composition to what the kernels are given: two layers of attention and a mixture, cross-entropy and
// an optimizer, through every pass on graphs.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { gradients } from "../../compiler/gradients/differentiate.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import { mapGraph } from "../../compiler/graph/map.ts";
import type { Graph, Mapped, NdArray, Result, Value } from "../../compiler/graph/node.ts";
import { printGraph } from "../../compiler/graph/print.ts";
import { verifyGraph } from "../../compiler/graph/verify.ts";
import { nodesOf, storeOf, valuesOf } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { simplify } from "../../compiler/rewrite/simplify.ts";
import { findAttention } from "../../compiler/transform/attention.ts";
import { routedBackward } from "../../compiler/transform/routed.ts";
import { expandScatters } from "../../compiler/transform/scatters/scatter.ts";
import { dims, dtypeOf } from "../../compiler/types/type.ts";
import { distance, storesOf } from "../graphs.ts";

const test = suite("step");
const [B, T, V, D, H, E, K, heads] = [2, 5, 11, 8, 6, 3, 2, 2];

class Model {
  readonly g = new GraphBuilder(ops);
  readonly params: Value[] = [];
  param(name: string, ...shape: number[]): Value {
    const value = b.param(this.g, name, { dtype: "f64", shape });
    this.params.push(value);
    return value;
  }
  norm(x: Value, name: string): Value {
    const { g } = this;
    const scale = b.rsqrt(g, b.add(g, b.mean(g, b.mul(g, x, x), [-1], true), 1e-6));
    return b.mul(g, b.mul(g, x, scale), this.param(name, D));
  }
  attention(x: Value, name: string): Value {
    const { g } = this;
    const split = (w: string): Value =>
      b.transpose(
        g,
        b.reshape(g, b.matmul(g, x, this.param(`${name}.${w}`, D, D)), [B, T, heads, D / heads]),
        [0, 2, 1, 3],
      );
    const [q, k, v] = [split("query"), split("key"), split("value")];
    const at = b.broadcastTo(g, b.iota(g, T), [B, T]);
    const [query, key] = [b.expand(g, at, 2), b.expand(g, at, 1)];
    const mask = b.and(g, b.ge(g, key, 0), b.le(g, key, query));
    const score = b.mul(g, b.matmul(g, q, b.swap(g, k)), (D / heads) ** -0.5);
    const y = b.matmul(g, b.softmax(g, score, -1, b.expand(g, mask, 1)), v);
    return b.matmul(g, b.reshape(g, b.transpose(g, y, [0, 2, 1, 3]), [B, T, D]), this.param(`${name}.output`, D, D));
  }
  mixture(x: Value, name: string): Value {
    const { g } = this;
    const [top, index] = b.topK(g, b.softmax(g, b.matmul(g, x, this.param(`${name}.gate`, D, E))), K);
    const score = b.div(g, top, b.sum(g, top, [-1], true));
    const n = B * T * K;
    const by = { ...b.route(g, b.reshape(g, index, [n]), E), groups: E, rows: n };
    const bind = new Map<Value, Mapped>();
    const inside = (m: Mapped): Value => {
      const one = b.param(g, `?${name}${bind.size}`, {
        dtype: dtypeOf(m.value.type),
        shape: dims(m.value.type).slice(1),
      });
      bind.set(one, m);
      return one;
    };
    const each = (w: string, ...shape: number[]): Value =>
      inside({ kind: "each", value: this.param(`${name}.${w}`, E, ...shape), over: E });
    const row = inside({
      kind: "rows",
      value: b.dispatch(g, b.reshape(g, b.broadcast(g, x, [B, T, K, D], [0, 1, 3]), [n, D]), by),
      by,
    });
    const [gate, up] = [
      b.matmul(g, row, each("wg", D, H)),
      b.add(g, b.matmul(g, row, each("wu", D, H)), each("bias", H)),
    ];
    const body = b.matmul(g, b.mul(g, b.mul(g, gate, b.sigmoid(g, gate)), up), each("wd", H, D));
    const [rows] = mapGraph([body], bind, g) as [Mapped];
    const out = b.reshape(g, b.combine(g, rows.value, by), [B, T, K, D]);
    return b.sum(g, b.mul(g, b.expand(g, score, 3), out), [2]);
  }
  /** The loss, and what it is differentiated by. */
  forward(): Graph {
    const { g } = this;
    const [tokens, targets] = ["tokens", "targets"].map((name) =>
      b.param(g, name, { dtype: "i32", shape: [B, T] }),
    ) as [Value, Value];
    const embed = this.param("embed", V, D);
    let x = b.take(g, embed, tokens);
    for (const i of [0, 1]) {
      x = b.add(g, x, this.attention(this.norm(x, `${i}.norm`), `${i}.attention`));
      x = b.add(g, x, this.mixture(x, `${i}.moe`));
    }
    const logits = b.matmul(g, x, b.swap(g, embed));
    const right = b.squeeze(g, b.take(g, logits, b.expand(g, targets, -1), -1), -1);
    const loss = b.mean(g, b.sub(g, b.logsumexp(g, logits), right));
    const wrt = this.params.map(
      (value): Result => ({ role: "output", name: `by ${storeOf(value.node) ?? ""}`, value }),
    );
    return { name: "train", results: [{ role: "loss", name: "language", value: loss }, ...wrt] };
  }
  /** The forward graph with a step of gradient descent. */
  descend({ name, results }: Graph): Graph {
    const [loss, ...wrt] = results as [Result, ...Result[]];
    const { g } = this;
    const grads = gradients(
      g,
      [loss.value],
      wrt.map((r) => r.value),
    );
    const updates = this.params.map(
      (p, i): Result => ({
        role: "store",
        name: storeOf(p.node) ?? "",
        value: b.sub(g, p, b.mul(g, grads[i] ?? 0, 0.1)),
      }),
    );
    return { name, results: [loss, ...updates] };
  }
}

interface Passes {
  readonly plain: Graph;
  readonly best: Graph;
}
function compiled(): Passes {
  const model = new Model();
  const { g } = model;
  const start = model.forward();
  const plain = model.descend(start);
  const passes = [
    (x: Graph) => simplify(g, x),
    (x: Graph) => findAttention(g, x),
    (x: Graph) => model.descend(x),
    (x: Graph) => simplify(g, x, true),
    (x: Graph) => routedBackward(g, x),
    (x: Graph) => expandScatters(g, x),
    (x: Graph) => simplify(g, x, true),
  ];
  const best = passes.reduce((graph, pass, i) => {
    const next = pass(graph);
    verifyGraph(next, `pass ${i}`);
    return next;
  }, start);
  return { plain, best };
}

test("every pass keeps the values of a step", () => {
  const { plain, best } = compiled();
  const stores = storesOf([...valuesOf(plain), ...valuesOf(best)]);
  for (const [, { data }] of stores) data.forEach((x, i) => (data[i] = x / 4));
  for (const name of ["tokens", "targets"])
    stores.set(name, {
      dtype: "i32",
      shape: [B, T],
      data: Float64Array.from({ length: B * T }, (_, i) => (i * 7) % V),
    });
  const [before, after] = [plain, best].map((x) => interpret(valuesOf(x), stores, { exact: true })) as [
    NdArray[],
    NdArray[],
  ];
  before.forEach((x, i) => {
    const size = x.data.reduce((m, e) => Math.max(m, Math.abs(e)), 1);
    assert.ok(distance(x.data, after[i]?.data ?? []) < 1e-12 * size, plain.results[i]?.name);
  });
});
test("and leaves what the kernels know", () => {
  const names = nodesOf(compiled().best).map((n) => n.op.name);
  const times = (name: string): number => names.filter((n) => n === name).length;
  assert.is(times("attention"), 2);
  assert.is(times("attention_backward"), 2);
  assert.is(times("ragged_dot"), 2 * 6);
  assert.is(times("ragged_outer"), 2 * 3);
  assert.is(times("scatter"), 0);
  assert.is(times("detach"), 0);
});
test("twice the same text", () => assert.is(printGraph(compiled().best), printGraph(compiled().best)));
test.run();
