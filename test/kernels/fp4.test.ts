// Products by weights of 4 bits in panels: by every instruction set against the definition; neither the number of rows nor a schedule changes a bit.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Graph, Value } from "../../compiler/graph/node.ts";
import { type Choices, hostChoicesOf } from "../../compiler/kernel/schedule.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { storesOf } from "../graphs.ts";
import { compare, graphOf, kernelsOf, lowered, valuesOf } from "../host/compare.ts";
import { hasBf16Dot, hasTileVectors, inWords, splitAll, tileFlags, wordFlags, wordsCut } from "../host/forms.ts";
import { x64 } from "../host/machine.ts";
import { compiled, runSequence } from "../host/run.ts";

const test = suite("fp4");

/** Rows x columns of a weight, in 4 bits; columns are whole panels of 64. */
const [K, N] = [96, 128];
function weights(dtype: DType) {
  const g = new GraphBuilder(ops);
  const stores: string[] = [];
  const p = (name: string, shape: number[], as = dtype): Value => b.param(g, name, { dtype: as, shape });
  const fp4 = (name: string, k: number, n: number, ...lead: number[]): Value => {
    stores.push(name, `${name} scales`);
    const scales = p(`${name} scales`, [...lead, k / 32, n], "bf16");
    return b.cast(g, b.fromFp4(g, p(name, [...lead, k / 2, n], "i8"), scales), dtype);
  };
  return { g, p, fp4, panels: (width: number) => new Map(stores.map((s) => [s, width])) };
}
type Made = Pick<ReturnType<typeof weights>, "panels"> & { readonly graph: Graph };
/** Products of all kinds: of few rows and many, deep ones, of groups, turned, sums of pairs, two of one left operand, beside floats. */
function products(dtype: DType): Made {
  const { g, p, fp4, panels } = weights(dtype);
  const w = fp4("w", K, N);
  const x = p("x", [5, K]);
  const { offsets } = b.route(g, b.rem(g, b.iota(g, 23), 5), 6);
  const gated = b.mul(g, b.dot(g, x, w), b.sigmoid(g, b.dot(g, x, fp4("gate", K, N))));
  const beside = b.mul(g, b.dot(g, p("two", [2, K]), w), b.dot(g, p("two", [2, K]), p("floats", [K, N])));
  const pairs = [p("a", [41, K]), w, p("b", [41, 64]), fp4("more", 64, N)];
  return {
    graph: graphOf([
      ...[1, 2, 3, 16, 41].map((rows) => b.dot(g, p(`x${rows}`, [rows, K]), w)),
      b.dot(g, p("deep", [4, 1600]), fp4("wd", 1600, 64)),
      b.raggedDot(g, p("rows", [23, 64]), fp4("we", 64, N, 6), offsets),
      ...[5, 40].map((rows) => b.dot(g, p(`dy${rows}`, [rows, N]), b.swap(g, w))),
      b.raggedDot(g, p("drows", [23, N]), b.swap(g, fp4("we", 64, N, 6)), offsets),
      b.make1(g, "dot", pairs, {}),
      gated,
      beside,
    ]),
    panels,
  };
}
const sequenceOf = ({ graph, panels }: Made, choices: Choices) => lowered(graph, choices, panels(choices.panel ?? 0));
const textOf = (made: Made, choices: Choices): string =>
  kernelsOf([sequenceOf(made, choices)])
    .map((k) => k.text)
    .join("\n");
function run(made: Made, choices: Choices, flags: readonly string[], threads = 2): Float64Array[] {
  const sequence = sequenceOf(made, choices);
  return runSequence(
    sequence,
    storesOf(valuesOf(made.graph)),
    threads,
    compiled(kernelsOf([sequence]), ["-Og", ...flags]),
  );
}
test("codes are read in place, turned ones are packed, to numbers or to words", () => {
  const [plain, short] = [textOf(products("f32"), hostChoicesOf(64)), textOf(products("bf16"), inWords)];
  for (const [text, turned] of [
    [plain, "pack_transposed_fp4<"],
    [short, "pack_transposed_fp4_words<"],
  ] as const) {
    assert.ok(text.includes("fp4_panels<64>(") && text.includes(turned));
    assert.not(text.includes("from_fp4_("), "no element is made alone");
  }
});
const cut = (of: Choices, bk: number): Choices => ({
  ...of,
  contraction: (c) => ({ ...of.contraction(c), bm: 12, bn: 48, mc: 24, bk }),
});
const sets: readonly (readonly [name: string, DType, Choices, readonly string[], can: boolean])[] = [
  ["this machine", "f32", hostChoicesOf(64), [], true],
  ["AVX2", "f32", hostChoicesOf(16), ["-mavx2", "-mfma", "-mno-avx512f"], x64],
  ["SSE2", "bf16", hostChoicesOf(16), ["-mno-avx"], x64],
  ["words", "bf16", inWords, wordFlags, hasBf16Dot],
  ["terms", "f32", splitAll, tileFlags, hasTileVectors],
  ["a term", "bf16", splitAll, tileFlags, hasTileVectors],
];
for (const [name, dtype, choices, flags] of sets.filter(([, , , , can]) => can))
  test(`${name}: products of ${dtype} against the interpreter`, () => {
    const made = products(dtype);
    compare(name, made.graph, run(made, choices, flags), dtype === "bf16" ? 2e-2 : 2e-5);
  });
test("no number of threads, block of rows, columns or depth changes a bit", () => {
  for (const [dtype, choices, cuts] of [
    ["f32", hostChoicesOf(64), cut(hostChoicesOf(64), 33)],
    ...(hasBf16Dot ? ([["bf16", inWords, wordsCut]] as const) : []),
  ] as const) {
    const made = products(dtype);
    const want = run(made, choices, []);
    assert.equal(run(made, choices, [], 1), want);
    assert.equal(run(made, cuts, [], 3), want);
  }
});
test("a row has the same bits among any number of rows", () => {
  for (const [dtype, choices] of [
    ["f32", hostChoicesOf(64)] as const,
    ...(hasBf16Dot ? [["bf16", inWords] as const] : []),
  ]) {
    const { g, p, fp4, panels } = weights(dtype);
    const x = p("x", [70, K]);
    const heights = [70, 25, 16, 7, 4, 3, 1];
    const graph = graphOf(heights.map((rows) => b.dot(g, b.detach(g, b.slice(g, x, 0, 0, rows)), fp4("w", K, N))));
    const [all, ...fewer] = run({ graph, panels }, choices, []);
    for (const some of fewer) assert.equal([...some], [...(all ?? [])].slice(0, some.length));
  }
});
test.run();
