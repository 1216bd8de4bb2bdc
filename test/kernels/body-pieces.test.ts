// Rows into which heads are merged, of which each is made of pieces (rotated halves): a loop over such a row asks once for a group of lanes, not for each
// element, in which piece it is.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Value } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { storesOf } from "../graphs.ts";
import { compare, compareWidths, graphOf, kernelsOf, lowered, valuesOf } from "../host/compare.ts";
import { runSequence } from "../host/run.ts";

const test = suite("body pieces");
const [heads, rows] = [3, 37];
const param = (g: GraphBuilder, name: string, shape: readonly number[], dtype: DType = "f32"): Value =>
  b.param(g, name, { dtype, shape });
/** Heads [2, heads, rows, width] as rows [2, rows, heads * width]. */
function merged(g: GraphBuilder, x: Value): Value {
  const width = Number(x.type.shape.at(-1));
  return b.reshape(g, b.transpose(g, x, [0, 2, 1, 3]), [2, rows, heads * width]);
}
/** Pieces of these widths, each made of another one of the operands. */
const joined = (g: GraphBuilder, widths: readonly number[], dtype: DType = "f32"): Value =>
  b.concat(
    g,
    widths.map((n, i) => {
      const [x, y] = ["x", "y"].map((name) => b.cast(g, param(g, `${name}${i}`, [2, heads, rows, n], dtype), "f32"));
      if (!x || !y) throw new Error("no operand");
      return i % 2 === 0 ? b.add(g, x, y) : b.mul(g, x, b.sub(g, x, y));
    }),
    3,
  );
/** Halves that are turned by an angle of each place, as rotary positions are. */
function turned(g: GraphBuilder, width: number): Value {
  const x = param(g, "x", [2, heads, rows, 2 * width]);
  const angle = (name: string): Value => b.broadcast(g, param(g, name, [rows, width]), [2, heads, rows, width], [2, 3]);
  const [low, high, cos, sin] = [
    b.slice(g, x, 3, 0, width),
    b.slice(g, x, 3, width, width),
    angle("cos"),
    angle("sin"),
  ];
  return b.concat(
    g,
    [b.sub(g, b.mul(g, low, cos), b.mul(g, high, sin)), b.add(g, b.mul(g, high, cos), b.mul(g, low, sin))],
    3,
  );
}
/** Pairs of neighbours, each half of them made of another operand; heads of other numbers; a row moved by three places. */
const others: readonly ((g: GraphBuilder) => Value)[] = [
  (g) => {
    const halves = ["x", "y"].map((name) =>
      b.reshape(g, param(g, name, [2, heads, rows, 16]), [2, heads, rows, 16, 1]),
    );
    return b.reshape(g, b.concat(g, halves, 4), [2, heads, rows, 32]);
  },
  (g) => b.concat(g, [param(g, "x", [2, 1, rows, 32]), b.sin(g, param(g, "y", [2, 2, rows, 32]))], 1),
  (g) => {
    const x = param(g, "x", [2, heads, rows, 32]);
    return b.concat(g, [b.mul(g, b.slice(g, x, 3, 0, 3), 0), b.slice(g, x, 3, 0, 29)], 3);
  },
];
const along = (g: GraphBuilder, sum: Value, x: Value): Value => b.mul(g, x, b.expand(g, sum, 2));
/** What is made of a merged row. */
const uses: Readonly<Record<string, (g: GraphBuilder, x: Value) => readonly Value[]>> = {
  elements: (g, x) => [b.sin(g, x)],
  "a sum": (g, x) => [along(g, b.sum(g, b.mul(g, x, x), [2]), x)],
  "a maximum": (g, x) => [along(g, b.max(g, x, [2]), b.mul(g, x, param(g, "w", x.type.shape.map(Number))))],
  moments(g, x) {
    const mean = b.div(g, b.sum(g, x, [2]), 96);
    const less = b.sub(g, x, b.expand(g, mean, 2));
    return [along(g, b.sum(g, b.mul(g, less, less), [2]), less)];
  },
  "several results": (g, x) => [b.exp(g, x), b.mul(g, x, 3), b.gt(g, x, 0)],
  "columns' sums": (g, x) => [b.sum(g, b.mul(g, x, b.sin(g, x)), [0, 1])],
};
const scalar = /(?:par|par_back_and_forth|fold|moments)<(?:\w+, )?1>/;
const textOf = (values: readonly Value[]): string =>
  kernelsOf([lowered(graphOf(values))])
    .map(({ text }) => text)
    .join("\n");

test("loops over rows of merged heads run on vectors, where pieces are whole vectors", () => {
  for (const [what, use] of Object.entries(uses)) {
    const g = new GraphBuilder(ops);
    for (const x of [turned(g, 16), joined(g, [32, 16, 48]), joined(g, [16, 32], "bf16")]) {
      const text = textOf(use(g, merged(g, x)));
      assert.match(text, /if \(.* % \d+ < \d+\) \{/, what);
      assert.not.match(text, scalar, `${what}: ${text}`);
      assert.not.match(text, /where\(|ix_m(?:in|ax)\([^;]*%/, what);
    }
  }
});
test("rows of merged heads have their numbers, however wide pieces are", () => {
  const graphs = Object.values(uses).flatMap((use) => {
    const g = new GraphBuilder(ops);
    const all = [
      ...[1, 5, 8, 10, 12, 16].map((width) => turned(g, width)),
      ...[
        [32, 16, 48],
        [16, 8, 8],
        [7, 16, 9],
        [1, 31],
        [3, 13, 16, 32],
      ].map((widths) => joined(g, widths)),
      joined(g, [16, 32], "bf16"),
      ...others.map((of) => of(g)),
    ];
    return all.map((x) => graphOf(use(g, merged(g, x))));
  });
  // in which piece an element lies depends on a loop within the body
  const g = new GraphBuilder(ops);
  const lines = b.concat(g, [param(g, "x", [9, 32]), b.sin(g, param(g, "y", [18, 32]))], 0);
  graphs.push(graphOf([b.sum(g, b.reshape(g, lines, [18, 48]), [0])]));
  // what varies in one piece is the same number for all of another
  const padded = b.exp(g, merged(g, b.pad(g, b.sin(g, param(g, "z", [2, heads, rows, 16])), 3, 0, 16)));
  const read = b.mul(g, padded, b.sin(g, padded));
  graphs.push(graphOf([b.sum(g, read, [2]), b.max(g, read, [2])]));
  // a piece ends within a row
  const short = b.reshape(g, b.concat(g, [param(g, "p", [44]), b.sin(g, param(g, "q", [36]))], 0), [4, 20]);
  graphs.push(graphOf([b.mul(g, short, b.expand(g, b.sum(g, b.mul(g, short, short), [1]), 1))]));
  compareWidths(
    "merged",
    graphs,
    graphs.map((graph) => lowered(graph)),
  );
});
test("a piece computes only what it needs", () => {
  const g = new GraphBuilder(ops);
  const [half, angle] = ["x", "y"].map((name) => b.exp(g, param(g, name, [2, heads, rows, 16])));
  if (!half || !angle) throw new Error("two operands");
  const text = textOf([b.sin(g, merged(g, b.concat(g, [b.mul(g, half, b.sin(g, half)), angle], 3)))]);
  assert.equal(
    text.split("} else {").map((piece) => piece.match(/exp_\(/g)?.length),
    [1, 1],
    text,
  );
});
test("rows of merged heads are rounded where they are stored", () => {
  const g = new GraphBuilder(ops);
  const graph = graphOf([b.cast(g, b.exp(g, merged(g, turned(g, 16))), "bf16")]);
  const sequence = lowered(graph);
  assert.not.match(kernelsOf([sequence])[0]?.text ?? "par<1>", scalar);
  const [got, other] = [1, 3].map((threads) => runSequence(sequence, storesOf(valuesOf(graph)), threads));
  assert.equal(other, got);
  compare("rounded", graph, got ?? [], 2 ** -8);
});
test("the last block of columns ends where the row does", () => {
  for (const widths of [
    [256, 64],
    [160, 37],
  ]) {
    const g = new GraphBuilder(ops);
    const joint = b.concat(
      g,
      widths.map((n, i) => param(g, `x${i}`, [rows, n])),
      1,
    );
    const graph = graphOf([b.sum(g, b.mul(g, joint, b.sin(g, joint)), [0])]);
    const sequence = lowered(graph);
    const text = kernelsOf([sequence])
      .map((k) => k.text)
      .join("\n");
    assert.not.match(text, scalar, text);
    compareWidths("columns", [graph], [sequence]);
  }
});
test("a body of too many pieces stays one, of single elements", () => {
  const g = new GraphBuilder(ops);
  assert.not.match(textOf([b.sin(g, merged(g, joined(g, Array<number>(6).fill(16))))]), scalar);
  const text = textOf([b.sin(g, merged(g, joined(g, Array<number>(7).fill(16))))]);
  assert.match(text, /par<1>/);
});

test.run();
