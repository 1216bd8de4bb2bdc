// The backward pass of a mixture: equal in value, and without what must not be kept.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { interpret } from "../compiler/graph/interpret.ts";
import { mapGraph } from "../compiler/graph/map.ts";
import type { Graph, Mapped, Routing, Value } from "../compiler/graph/node.ts";
import { printGraph } from "../compiler/graph/print.ts";
import { verifyGraph } from "../compiler/graph/verify.ts";
import { topological, valuesOf } from "../compiler/graph/walk.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { gradients } from "../compiler/transform/differentiate.ts";
import { routedBackward, rowFactors } from "../compiler/transform/routed.ts";
import { simplify } from "../compiler/transform/simplify.ts";
import type { DType } from "../compiler/types/dtype.ts";
import { dims, dtypeOf } from "../compiler/types/type.ts";
import { golden } from "./golden.ts";
import { distance, storesOf } from "./graphs.ts";

const test = suite("routed");
const [N, D, H, E] = [11, 6, 4, 5];

interface Moe {
  readonly g: GraphBuilder;
  readonly graph: Graph;
}
/** LANGUAGE.md's MoE of SwiGlu experts as the checker elaborates it, with the gradients of all operands. */
function moe(dtype: DType, biased: boolean, K = 2): Moe {
  const g = new GraphBuilder(ops);
  const at = (name: string, shape: number[], t: DType = dtype): Value => b.param(g, name, { dtype: t, shape });
  const [x, gate] = [at("x", [N, D]), at("gate", [D, E], "f32")];
  const weights = [at("w.gate", [E, D, H]), at("w.up", [E, D, H]), at("w.down", [E, H, D]), at("w.bias", [E, D])];
  const [top, index] = b.topK(g, b.softmax(g, b.matmul(g, x, gate)), K);
  const score = b.div(g, top, b.sum(g, top, [-1], true));
  const by: Routing = { ...b.route(g, b.reshape(g, index, [N * K]), E), groups: E, rows: N * K };
  const bind = new Map<Value, Mapped>();
  const inside = (v: Value, m: Mapped): Value => {
    const one = at(`one ${bind.size}`, dims(v.type).slice(1), dtypeOf(v.type));
    bind.set(one, m);
    return one;
  };
  const rows = b.dispatch(g, b.reshape(g, b.broadcast(g, x, [N, K, D], [0, 2]), [N * K, D]), by);
  const row = inside(rows, { kind: "rows", value: rows, by });
  const [wg, wu, wd, bias] = weights.map((w) => inside(w, { kind: "each", value: w, over: E })) as [
    Value,
    Value,
    Value,
    Value,
  ];
  const half = b.matmul(g, row, wg);
  const y = b.matmul(g, b.mul(g, b.mul(g, half, b.sigmoid(g, half)), b.matmul(g, row, wu)), wd);
  const [{ value: mapped }] = mapGraph([biased ? b.add(g, y, bias) : y], bind, g) as [Mapped];
  const result = b.reshape(g, b.combine(g, mapped, by), [N, K, D]);
  const out = b.cast(g, b.sum(g, b.mul(g, b.expand(g, score, 2), result), [1]), dtype);
  const loss = b.sum(g, b.mul(g, b.cast(g, out, "f32"), at("seed", [N, D], "f32")));
  const wrt = [x, gate, ...weights];
  const grads = gradients(g, [loss], wrt);
  const names = ["x", "gate", "w.gate", "w.up", "w.down", "w.bias"];
  const results = grads.map((value, i) => ({ role: "gradient" as const, name: names[i] ?? "", value }));
  return {
    g,
    graph: simplify(g, { name: "moe", results: [{ role: "loss", name: "l", value: loss }, ...results] }, true),
  };
}

const variants = [
  ["f32", false, 2],
  ["f32", true, 2],
  ["bf16", false, 2],
  ["bf16", true, 1],
  ["f32", false, 1],
] as const;
for (const [dtype, biased, K] of variants)
  test(`gradients are the same, ${dtype}${biased ? ", with a bias" : ""}, ${K} of ${E}, and need no product of the last matmul`, () => {
    const { g, graph } = moe(dtype, biased, K);
    const better = routedBackward(g, graph);
    verifyGraph(better, "routedBackward");
    const stores = storesOf(valuesOf(graph));
    const [before, after] = [graph, better].map((x) => interpret(valuesOf(x), stores, { exact: true }));
    before?.forEach((x, i) => assert.ok(distance(x.data, after?.[i]?.data ?? []) < 1e-10, graph.results[i]?.name));
    const backward = topological(valuesOf(better).slice(1));
    assert.is(
      backward.filter((n) => n.op.name === "ragged_dot").length,
      5,
      "gate, up, and the three gradients of rows",
    );
    assert.is(backward.filter((n) => n.op.name === "ragged_outer").length, 3);
    assert.ok(
      topological(valuesOf(graph).slice(1)).filter((n) => n.op.name === "ragged_dot").length > 5,
      "before, it needed the product",
    );
  });
test("as text", () => {
  const { g, graph } = moe("f32", false);
  golden("moe-backward.txt", printGraph(routedBackward(g, graph)));
  const again = moe("f32", false);
  assert.is(printGraph(routedBackward(again.g, again.graph)), printGraph(routedBackward(g, graph)));
});
for (const r of rowFactors)
  test(r.name, () => {
    const g = new GraphBuilder(ops);
    for (const left of r.examples(g)) {
      const right = r.apply(left, g);
      if (!right) throw new Error("does not match its example");
      const [before, after] = interpret([left, right], storesOf([left]), { exact: true });
      assert.ok(distance(before?.data ?? [], after?.data ?? [0]) < 1e-12);
    }
  });
test.run();
