// Loops along rows of another length than theirs: scores of relative positions, moved so that a column is a distance.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Value } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { compareWidths, graphOf, kernelsOf, lowered } from "../host/compare.ts";

const test = suite("row ends");
const param = (g: GraphBuilder, name: string, ...shape: number[]): Value => b.param(g, name, { dtype: "f32", shape });
const textOf = (result: Value): string =>
  kernelsOf([lowered(graphOf([result]))])
    .map(({ text }) => text)
    .join("\n");

/** The rows of a concat of so many columns, numbered through from element `start` on, as rows of `width`. */
function renumbered(pieces: readonly number[], rows: number, width: number, start: number): Value {
  const g = new GraphBuilder(ops);
  const sizes = pieces.map((n, i) =>
    i % 2 === 0 ? param(g, `x${i}`, 2, rows, n) : b.broadcastTo(g, b.constant(g, 2, "f32"), [2, rows, n]),
  );
  const total = rows * pieces.reduce((a, n) => a + n, 0);
  const flat = b.reshape(g, b.concat(g, sizes, 2), [2, total]);
  const count = Math.floor((total - start) / width);
  const y = b.reshape(g, b.slice(g, flat, 1, start, count * width), [2, count, width]);
  return b.add(g, b.mul(g, y, param(g, "y", 2, count, width)), y);
}
const cases: readonly (readonly [number[], number, number, number])[] = [
  [[64, 1], 20, 64, 20],
  [[1, 64], 20, 64, 20],
  [[130, 1], 7, 131 * 3, 5],
  [[64, 1], 33, 17, 0],
  [[30, 7, 60, 3], 9, 200, 99],
  [[500, 13], 3, 513, 1],
  [[1, 63, 1], 5, 64, 64],
];

test("values, where rows are longer and shorter than the loop, and with several pieces", () => {
  const graphs = cases.map((each) => graphOf([renumbered(...each)]));
  compareWidths(
    "row ends",
    graphs,
    graphs.map((graph) => lowered(graph)),
  );
});
test("a loop over each piece of a row, where no element asks where it lies", () => {
  for (const each of cases) {
    const text = textOf(renumbered(...each));
    assert.not.match(text, /[(+] j(?:_in)?\)* [/%]|where\(/, JSON.stringify(each));
    assert.match(text, /_row\+\+/);
  }
});
test("not along rows whose ends lie between groups of lanes, short ones, or those of many pieces", () => {
  for (const [pieces, rows, width, start] of [
    [[64, 64], 20, 256, 128],
    [[20, 3], 20, 64, 20],
    [[30, 1, 30, 1, 30], 9, 200, 99],
  ] as const)
    assert.not.match(textOf(renumbered(pieces, rows, width, start)), /_row\+\+/);
});

test.run();
