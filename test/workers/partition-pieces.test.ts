// Rows that several workers share in pieces, of each of which a worker has its part: inputs that are joined, and choices among them.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, Placement, Value } from "../../compiler/graph/node.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import { item } from "../../compiler/item.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { evenSharding, replicated, sharded } from "../../compiler/ops/sharding.ts";
import { partition } from "../../compiler/partition/partition.ts";
import { dims, type } from "../../compiler/types/type.ts";
import { storesOf } from "../graphs.ts";
import { everyRow, interpretOnWorkers, requireEqual } from "../on-workers.ts";

const test = suite("partition-pieces");
const builder = new GraphBuilder(ops);

test("choices that are shared in pieces: their numbers, and rows of which a piece ends within the choices", () => {
  const by = b.route(builder, b.param(builder, "index", type("i32", [24])), 4);
  const param = (name: string, shape: readonly number[]): Value => b.param(builder, name, type("f32", shape));
  const repeated = b.reshape(builder, b.broadcast(builder, param("x", [6, 3]), [6, 4, 3], [0, 2]), [24, 3]);
  const product = b.raggedDot(builder, b.dispatch(builder, repeated, by), param("w", [4, 3, 3]), by.offsets);
  const number = b.broadcast(builder, b.cast(builder, by.order, "f32"), [24, 3], [0]);
  const values = [product, b.mul(builder, product, number)].map((v) => b.combine(builder, v, by));
  const held = new Map([...storesOf(values)].map(([name, x]) => [name, name === "index" ? everyRow(x) : x]));
  const wanted = interpret(values, held, { exact: true });
  const results = values.map((value, i) => ({ role: "output" as const, name: `${i}`, value }));
  for (const [workers, parts, pieces] of [
    [2, 2, [1, 1]],
    [2, 2, [1, 1, 1]],
    [2, 2, [2, 1]],
    [4, 4, [1, 1]],
    [4, 2, [1, 1]],
  ] as const)
    for (const owners of [1, 2]) {
      const places = (store: string): Placement =>
        store === "index"
          ? sharded(0, evenSharding(parts, pieces))
          : store === "w" && owners > 1
            ? sharded(0, evenSharding(owners))
            : replicated;
      const made = partition(builder, { name: "pieces", results }, { workers, leastSaved: -Infinity }, places);
      for (const own of interpretOnWorkers(made, held, places, workers))
        wanted.forEach((want, i) =>
          requireEqual(
            `${workers} workers, ${parts} parts of pieces ${pieces.join(":")}, ${owners} owners`,
            own[i],
            want,
          ),
        );
    }
});
test("inputs of other lengths that are joined stay shared, whichever is the first", () => {
  const [x, y] = [8, 4].map((n) => b.param(builder, `joined${n}`, type("f32", [n, 3]))) as [Value, Value];
  const half = sharded(0, evenSharding(2));
  for (const joined of [b.concat(builder, [x, y], 0), b.concat(builder, [y, x], 0)]) {
    const value = b.exp(builder, joined);
    const places = (): Placement => half;
    const graph: Graph = { name: "joined", results: [{ role: "output", name: "0", value }] };
    const made = partition(builder, graph, { workers: 2 }, places);
    const rows = nodesOf(made).flatMap((n) => (n.op.name === "unary" ? [dims(item(n.results, 0).type)[0]] : []));
    assert.equal(rows, [6]);
    const held = storesOf([value]);
    for (const own of interpretOnWorkers(made, held, places, 2))
      requireEqual("joined", own[0], item(interpret([value], held, { exact: true }), 0));
  }
});
test.run();
