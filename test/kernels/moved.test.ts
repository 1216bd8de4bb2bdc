// The bytes that a launch counts: of what is chosen by an index no more than can be chosen.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Value } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { graphOf, lowered } from "../host/compare.ts";

const test = suite("moved");
type Param = (name: string, shape: readonly number[], dtype?: "f32" | "i32") => Value;

/** Of the last launch its bytes, and those of each buffer that it is given, by store or else `result`. */
function counted(make: (g: GraphBuilder, p: Param) => Value) {
  const g = new GraphBuilder(ops);
  const param: Param = (name, shape, dtype = "f32") => b.param(g, name, { dtype, shape });
  const launch = lowered(graphOf([make(g, param)])).launches.at(-1);
  assert.ok(launch);
  const buffers = launch.args.map(({ buffer }) => [buffer.store ?? buffer.name, buffer.bytes] as const);
  const whole = buffers.reduce((sum, [, n]) => sum + n, 0);
  return { bytes: launch.bytes, whole, of: new Map<string, number>(buffers) };
}
/** The bytes, if of these stores such parts are read and all else whole. */
function expect(made: ReturnType<typeof counted>, parts: Readonly<Record<string, number>>): void {
  const less = Object.entries(parts).map(([store, part]) => (1 - part) * (made.of.get(store) ?? Number.NaN));
  assert.is(made.bytes, made.whole - less.reduce((x, y) => x + y, 0));
}
const experts = 16;
const mixture = (rows: number, unit = 1) =>
  counted((g, p) => {
    const { offsets } = b.route(g, p("index", [rows], "i32"), experts);
    const products = ["gate", "up"].map((name) =>
      b.raggedDot(g, p("x", [rows * unit, 32]), p(name, [experts, 32, 64]), offsets, unit),
    ) as [Value, Value];
    return b.mul(g, ...products);
  });

test("one row among 16 experts reads the weights of one; three rows of three, however many belong to each", () => {
  expect(mixture(1), { gate: 1 / 16, up: 1 / 16 });
  expect(mixture(3, 5), { gate: 3 / 16, up: 3 / 16 });
});
test("of many rows no more than all weights are read", () => {
  for (const rows of [16, 17, 400]) expect(mixture(rows), {});
});
/** Rows of a table, which is seen as `under` makes it. */
const embedding = (rows: number, under: (g: GraphBuilder, table: Value) => Value = (_, x) => x) =>
  counted((g, p) => b.take(g, under(g, p("table", [256, 64])), p("index", [rows], "i32")));
test("an embedding reads as many rows as are asked for, also under views and points, and never more than it has", () => {
  expect(embedding(4), { table: 1 / 64 });
  expect(
    embedding(8, (g, x) => b.reshape(g, b.exp(g, b.reshape(g, x, [128, 2, 64])), [256, 64])),
    { table: 1 / 32 },
  );
  expect(
    embedding(2, (g, x) => b.slice(g, x, 0, 16, 32)),
    { table: 1 / 128 },
  );
  expect(embedding(1000), {});
});
test("a table that several batches index is read for each of them", () => {
  const each = counted((g, p) =>
    b.take(g, b.broadcastTo(g, p("table", [256, 64]), [4, 256, 64]), p("i", [4, 2], "i32"), 1),
  );
  expect(each, { table: 8 / 256 });
});
/** A sum of such halves. */
const halves = (used: readonly number[]) =>
  counted((g, p) => {
    const parts = used.map((i) => b.slice(g, p("x", [32, 8]), 0, 16 * i, 16));
    return parts.reduce((x, y) => b.add(g, x, y), p("y", [16, 8]));
  });
test("slices of one buffer add up; one alone reads its own part", () => {
  expect(halves([1]), { x: 1 / 2 });
  expect(halves([0, 1]), {});
});

test.run();
