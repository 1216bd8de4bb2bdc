// Folds of what is read turned: along the axis on which it lies, and what stays as it is.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/index.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Value } from "../../compiler/graph/node.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs } from "../../compiler/pipeline.ts";
import { untranspose } from "../../compiler/transform/products/untranspose.ts";
import { dims } from "../../compiler/types/type.ts";
import { printValues } from "../graphs.ts";
import { graphOf, kernelsOf, lowered, valuesOf } from "../host/compare.ts";

const test = suite("untranspose");
const g = new GraphBuilder(ops);
const x = b.param(g, "x", { dtype: "f32", shape: [300, 256] });
const square = b.param(g, "square", { dtype: "f32", shape: [4, 256, 256] });
const turned = b.transpose(g, x, [1, 0]);
const after = (v: Value): Value => {
  const [made] = valuesOf(untranspose(g, graphOf([v])));
  if (!made) throw new Error("no result");
  return made;
};
const gathers = (v: Value): boolean => kernelsOf([lowered(graphOf([v]))]).some((k) => k.text.includes("ld_strided"));

test("a logsumexp of columns reads rows: no kernel gathers", () => {
  const lse = b.logsumexp(g, turned, -1);
  assert.equal([lse, after(lse)].map(gathers), [true, false]);
  assert.not.match(printValues([after(lse)]), "transpose");
});
test("a Toeplitz matrix of each column is made in the order in which a product reads it, and multiplied once", () => {
  const text = `layer P(T, D) {
    forward(k: f32[T, D], v: f32[B, T, D]) -> f32[B, D, T, 1] {
      let table = take(k, range(T)[:, new] - range(T), axis: 0)
      return transpose(transpose(table, 0, 2), 1, 2)[new] @ transpose(v, 1, 2)[..., new]
    }
  }`;
  const entries = [{ method: "forward", name: "forward", sizes: { B: 3 }, gradients: true }];
  const request = { declaration: "P", sizes: { T: 64, D: 40 }, precision: "f32", entries } as const;
  const { graphs } = toGraphs(load({ name: "test.moe", text }), request, silentObserver());
  const nodes = graphs.filter((x) => x.name === "forward").flatMap(nodesOf);
  const shapes = (name: string): string[] =>
    nodes.flatMap(({ op, results }) => (op.name === name ? results.map((v) => dims(v.type).join()) : []));
  assert.equal(shapes("gather").slice(0, 1), ["40,64,64"]);
  assert.equal(shapes("dot"), ["40,64,3", "40,64,64", "40,64,3"]);
});
test("what is small, folded in its own order, or turned in two ways stays as it is", () => {
  const both = b.add(g, b.transpose(g, square, [0, 2, 1]), square);
  const kept = [
    b.sum(g, b.slice(g, turned, 0, 0, 200), [1]),
    b.sum(g, b.transpose(g, square, [1, 0, 2]), [2]),
    b.sum(g, turned, [0]),
    b.sum(g, both, [2]),
  ];
  for (const v of kept) assert.is(after(v), v, printValues([v]));
});
test.run();
