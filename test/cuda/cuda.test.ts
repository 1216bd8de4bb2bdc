// CUDA text: what it says, and that the real NVRTC takes all of it without a spill or a warning. What it computes is tested under the emulator,
// how it is cut in cuda-schedule.test.ts.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { emitCuda, readableKernel } from "../../compiler/emit/unit.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Graph, Value } from "../../compiler/graph/node.ts";
import { KernelBuilder } from "../../compiler/kernel/builder.ts";
import { add, asValue, div, i32, less, load, mul, num, select, sub } from "../../compiler/kernel/expr.ts";
import type { Expr } from "../../compiler/kernel/ir.ts";
import { lower } from "../../compiler/lower/lower.ts";
import type { OpAttrs } from "../../compiler/ops/attrs.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import type { Sequence } from "../../compiler/plan/sequence.ts";
import { backends } from "../../compiler/targets.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import type { Nvrtc } from "../../runtime/nvrtc.ts";
import { full } from "../full.ts";
import { golden } from "../golden.ts";
import { samples } from "../graphs.ts";
import { graphOf, kernelsOf } from "../host/compare.ts";
import { attended } from "../kernels/few-queries.ts";
import { attentionLayer, gptStep, manyGroups, moeLayer } from "../layers.ts";
import { compiledAlone, foundNvrtc, requireNoSpills } from "./nvrtc.ts";

const test = suite("cuda");
const compiler = await foundNvrtc();

const lowered = (graph: Graph): Sequence => lower(graph, backends.cuda);
function parameter(g: GraphBuilder, name: string, shape: readonly number[], dtype: DType = "f32"): Value {
  return b.param(g, name, { dtype, shape });
}

test("kernels and their text", () => {
  golden(
    "moe-kernels.cu",
    kernelsOf([lowered(moeLayer(64, 32, 48, 4, 2))])
      .map((k) => readableKernel(k))
      .join("\n"),
  );
});
test("a barrier stands between what one thread stores and what others load", () => {
  const g = new GraphBuilder(ops);
  const [top] = kernelsOf([lowered(graphOf([b.topK(g, parameter(g, "x", [3, 40]), 4)[0]]))]);
  assert.match(top?.text ?? "", /ONE_THREAD index\[.*\n\s+__syncthreads\(\);/);
});
test("what bounds an index is of one lane, as the index is", () => {
  const g = new GraphBuilder(ops);
  const [x, y] = [parameter(g, "x", [2, 20, 64]), parameter(g, "y", [2, 3, 64])];
  const [joined] = kernelsOf([lowered(graphOf([b.concat(g, [x, y], 1)]))]);
  assert.ok(joined?.text.includes("ix_min((c + j) / 64, 19)"), joined?.text);
});
/** The text of the sums of rows, or of columns (`axis` 0). */
function sumsOf(dtype: DType, shape: readonly number[], axis: number): string {
  const g = new GraphBuilder(ops);
  return kernelsOf([lowered(graphOf([b.sum(g, parameter(g, "x", shape, dtype), [axis])]))])
    .map((k) => k.text)
    .join();
}
test("lanes share a row that is too short for a warp, as many as load it at once", () => {
  for (const [n, text] of [
    [16, "fold_shared<Sum, 4, 4>(16, "],
    [12, "fold_shared<Sum, 4, 2>(12, "],
    [10, "fold_shared<Sum, 2, 4>(10, "],
    [9, "fold_shared<Sum, 1, 8>(9, "],
  ] as const)
    for (const dtype of ["f32", "bf16"] as const) assert.ok(sumsOf(dtype, [300, n], 1).includes(text), text);
  assert.match(sumsOf("f32", [300, 16], 1), "par_shared<4>(cn, [&](bool v, ix j) {");
  assert.match(sumsOf("f32", [300, 16], 1), "if (v) y[c + j] = sum;");
  assert.match(sumsOf("f32", [16, 300], 0), "fold_lane<Sum>(16, ");
});
test("an index that is chosen is of one lane, whichever is chosen", () => {
  const k = new KernelBuilder("a test");
  const [x, y] = [k.param("x", "f32", [4, 64]), k.param("y", "f32", [4, 256])];
  const { at } = k.task("t", 4);
  k.par(num(256), (j) => k.store(y, [at, j], load(x, at, select(less(at, num(2)), div(j, 4), num(5)))));
  assert.match(
    emitCuda(k.kernel("test")).text,
    "par<4>(256, [&](auto v, ix j) {\n      st(v, y + t * 256 + j, broadcast(v, x[t * 64 + (t < 2 ? j / 4 : 5)]));",
  );
});
test("operands in bf16 are multiplied by tensor cores, of f32 by FMA", () => {
  for (const [dtype, depth] of [
    ["bf16", 16],
    ["f32", 12],
  ] as const) {
    const g = new GraphBuilder(ops);
    const product = b.matmul(g, parameter(g, "x", [64, 12], dtype), parameter(g, "w", [12, 64], dtype));
    const [kernel] = kernelsOf([lowered(graphOf([product]))]);
    assert.match(kernel?.text ?? "", new RegExp(`SharedTile<${dtype}, `));
    assert.ok(kernel?.text.includes(`mma<${depth}>`), kernel?.text);
  }
});
test("results in bf16 come from shorter functions, where there are any", () => {
  for (const [dtype, name] of [
    ["bf16", "sigmoid_short_("],
    ["f32", "sigmoid_("],
  ] as const) {
    const g = new GraphBuilder(ops);
    const [kernel] = kernelsOf([lowered(graphOf([b.sigmoid(g, parameter(g, "x", [64], dtype))]))]);
    assert.match(kernel?.text ?? "", name);
  }
});
test("folds whose result is known, or that nothing reads, are left out", () => {
  const k = new KernelBuilder("a test");
  const [x, y, z] = [k.param("x", "i32", [8]), k.param("y", "i32", [8]), k.param("z", "i32", [8])];
  const { at, n } = k.task("t", 8, 5);
  const of = (name: string, op: "max" | "min" | "sum", f: (i: Expr) => Expr): Expr => k.fold(name, op, "i32", n, f);
  const first = of("first", "min", (i) => asValue(add(at, i)));
  const last = of("last", "max", (i) => asValue(add(at, i)));
  const one = of("one", "max", () => load(x, at));
  const many = of("many", "max", (i) => load(x, add(at, i)));
  const changing = of("changing", "max", () => load(y, at));
  of("unread", "sum", (i) => load(x, add(at, i)));
  const total = of("total", "sum", () => load(x, at));
  const none = k.fold("none", "max", "i32", sub(n, num(1)), () => load(x, at)); // of no element where n is 1
  const even = of("even", "max", (i) => asValue(mul(i, num(2))));
  k.fold("stored", "sum", "i32", n, (i) => (k.store(z, [i], i32(1)), load(x, at)));
  for (const [i, value] of [first, last, one, many, changing, total, none, even].entries()) k.store(y, [num(i)], value);
  const { text } = emitCuda(k.kernel("test"));
  assert.equal(
    [...text.matchAll(/const auto (\w+) = (.*?)[;,(]/g)].map((m) => `${m[1]} ${m[2]}`),
    [
      "first i32",
      "last i32",
      "one x[t]",
      "many fold<Max",
      "changing fold<Max",
      "total fold<Sum",
      "none fold<Max",
      "even fold<Max",
      "stored fold_with_stores<Sum",
    ],
  );
  assert.match(text, "const auto first = i32(t);");
  assert.match(text, "const auto last = i32(t + tn - 1);");
});
/** A product of depth 96 in rounds of 32; `column`: where in a row of the left operand a round begins; `more`: what follows the results. */
function product(column: (k: KernelBuilder, at: Expr) => Expr, more: (k: KernelBuilder) => void = () => {}): string {
  const k = new KernelBuilder("a test");
  const [x, w, y] = [k.param("x", "f32", [64, 192]), k.param("w", "f32", [96, 64]), k.param("y", "f32", [64, 64])];
  const block = k.task("t", 2, 1);
  const acc = k.tile("acc", "acc", [64, 64]);
  k.for("k", num(0), num(96), 32, ({ at, n }) => {
    const first = column(k, at);
    const left = k.stage("left", [64, 32], [num(64), n], (i, j) => load(x, i, add(first, j)));
    const right = k.stage("right", [32, 64], [n, num(64)], (i, j) => load(w, add(at, i), j));
    k.mma(left, [right], [acc], [num(64), n]);
  });
  k.each(acc, [num(64), num(64)], (i, j) => k.store(y, [i, j], add(load(acc, i, j), asValue(block.at))));
  more(k);
  return emitCuda(k.kernel("test")).text;
}
test("loads run ahead in loops whose operands wait for nothing in them, and begin before the results of the task before are stored only where nothing follows", () => {
  const plain = product((_, at) => at);
  assert.match(plain, /pipeline<.*start_loads/s);
  const waiting = product((k, at) => k.letHere("first", mul(at, num(2))));
  assert.not.match(waiting, "pipeline<");
  const followed = product(
    (_, at) => at,
    (k) => k.par(num(8), (i) => k.store(k.param("z", "f32", [8]), [i], load(k.param("u", "f32", [8]), i))),
  );
  assert.match(followed, "pipeline<");
  assert.not.match(followed, "start_loads");
});
function attentionOf(width: number, dtype: DType, cap: Pick<OpAttrs["attention"], "cap"> = {}): PlanKernel[] {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: readonly number[]): Value => parameter(g, name, shape, dtype);
  const at = parameter(g, "at", [1, 70], "i32");
  const args = [p("q", 1, 2, 1, 70, width), p("k", 1, 2, 70, width), p("v", 1, 2, 70, width), at, at];
  const attrs = { scale: 1, ...cap, bounds: [{ at: 1, seen: -1, plus: 0, pair: 0 }] };
  const { results } = b.make(g, "attention", args, attrs);
  const rest = [results[1] as Value, parameter(g, "delta", [1, 2, 1, 70]), p("dout", 1, 2, 1, 70, width)];
  return kernelsOf([
    lowered(graphOf([...results, ...b.make(g, "attention_backward", [...args, ...rest], attrs).results])),
  ]);
}
/**
 * Of one query, over keys that are as wide as heads may be without gradients; in bf16 the values are their first elements. Also over narrow values, which
 * take 64 columns.
 */
function widestAttention(dtype: DType): PlanKernel[] {
  const of = (A: number, C: number, latent: { latent?: true } = {}) =>
    lowered(attended({ shape: { B: 1, G: 1, R: 16, T: 1, U: 2048, A, C }, at: [0], ...latent }, dtype));
  return kernelsOf(dtype === "bf16" ? [of(576, 512, { latent: true }), of(576, 8)] : [of(256, 256), of(256, 8)]);
}
test("attention fits every GPU's shared memory, or says how wide heads may be", () => {
  for (const [dtype, widths] of [
    ["f32", [16, 64, 80, 128]],
    ["bf16", [16, 64, 80, 128, 256]],
  ] as const)
    for (const width of widths)
      for (const { name, launch } of attentionOf(width, dtype))
        assert.ok((launch?.shared ?? 0) <= 99 * 1024, `${name}, ${width} of ${dtype}: ${launch?.shared} bytes`);
  for (const dtype of ["f32", "bf16"] as const)
    for (const { name, launch } of widestAttention(dtype))
      assert.ok((launch?.shared ?? 0) <= 99 * 1024, `${name} of ${dtype}: ${launch?.shared} bytes`);
  assert.throws(() => attentionOf(257, "bf16"), /heads 257 wide in bf16 does not fit/);
  assert.throws(() => attentionOf(129, "f32"), /heads 129 wide in f32 does not fit/);
});
test("no routing asks for more shared memory than every GPU has", () => {
  for (const groups of [4096, 4097, 50257, 200_000, 20_000_000])
    for (const { launch, name } of kernelsOf([lowered(manyGroups(4096, groups))]))
      assert.ok((launch?.shared ?? 0) <= 48 * 1024, `${name} of ${groups} groups takes ${launch?.shared} bytes`);
});
function isWide(rows: number): boolean | undefined {
  const g = new GraphBuilder(ops);
  return kernelsOf([lowered(graphOf([b.exp(g, parameter(g, "x", [rows, 1024]))]))])[0]?.launch?.wide;
}
test("addresses are of 64 bits where a buffer has more elements than 31 bits count", () => {
  assert.equal([isWide(2 ** 20), isWide(2 ** 21)], [false, true]);
});
/** How each launch uses x. */
function accesses(f: (g: GraphBuilder, x: Value) => Value): (string | undefined)[] {
  const g = new GraphBuilder(ops);
  return lowered(graphOf([f(g, parameter(g, "x", [5, 640]))])).launches.map(
    (l) => l.args.find((a) => a.buffer.store === "x")?.access,
  );
}
test("a result stands in its operand's place only where one thread reads and writes an element", () => {
  assert.equal(
    accesses((g, x) => b.exp(g, x)),
    ["pointwise"],
  );
  assert.equal(
    accesses((g, x) => b.softmax(g, x)),
    ["read"],
  );
});

/** All kernels in units of some, which share the time that the header takes. */
async function compileAll(kernels: readonly PlanKernel[], architecture: string, nvrtc: Nvrtc): Promise<void> {
  const units: PlanKernel[][] = [];
  for (const wide of [false, true]) {
    const some = kernels.filter((k) => (k.launch?.wide ?? false) === wide);
    for (let i = 0; i < some.length; i += 16) units.push(some.slice(i, i + 16));
  }
  await Promise.all(
    units.map((unit) => requireNoSpills(unit, { header: backends.cuda.header(), architecture, nvrtc })),
  );
}
const sampled = (): Sequence[] => {
  const all = samples().filter(
    ({ node }) => node.op.name !== "const" && node.results.every((v) => v.type.dtype !== "f64"),
  );
  const firsts = all.filter((s, i) => all.findIndex((t) => t.node.op === s.node.op) === i);
  return (full ? all : firsts).map((s) => lowered(graphOf(s.node.results)));
};
const architectures = full ? ["sm_80", "sm_90a", "sm_100a"] : ["sm_90a"];
if (compiler)
  for (const architecture of architectures) {
    test(`NVRTC takes every op for ${architecture}`, () => compileAll(kernelsOf(sampled()), architecture, compiler));
    test(`NVRTC takes a mixture, attention and a step of a model for ${architecture}`, () =>
      compileAll(
        kernelsOf([
          lowered(moeLayer(256, 64, 128, 8, 2)),
          lowered(attentionLayer(2, 70, 2, 64)),
          lowered(manyGroups(8192, 50257)),
          ...(full ? [lowered(gptStep({ V: 64, B: 2, T: 128, D: 64, H: 128, L: 1, heads: 2, E: 4, K: 2 }))] : []),
        ]),
        architecture,
        compiler,
      ));
  }

if (compiler)
  test("attention as wide as it may be compiles without a spill", async () => {
    for (const [dtype, width, cap] of [
      ["f32", 128, {}],
      ...(full ? [["bf16", 256, {}] as const] : []),
      ["bf16", 256, { cap: 30 }],
    ] as const)
      for (const kernel of attentionOf(width, dtype, cap)) {
        const code = await compiledAlone(kernel, { compile: (source) => compiler.compile(source) });
        assert.is(code?.spills, 0, `${kernel.name}, ${width} of ${dtype}`);
      }
    for (const kernel of [...widestAttention("f32"), ...widestAttention("bf16")])
      assert.is(
        (await compiledAlone(kernel, { compile: (source) => compiler.compile(source) }))?.spills,
        0,
        kernel.name,
      );
  });
/** What is known of a number without looking at it, if nothing overflows; but i32 wraps. */
const looked: Readonly<Record<string, (g: GraphBuilder, x: Value) => Value>> = {
  add: (g, x) => b.gt(g, b.add(g, x, 1), x),
  sub: (g, x) => b.lt(g, b.sub(g, x, 1), x),
  mul: (g, x) => b.and(g, b.gt(g, x, 0), b.lt(g, b.mul(g, x, 3), 0)),
  neg: (g, x) => b.and(g, b.lt(g, x, 0), b.lt(g, b.neg(g, x), 0)),
  abs: (g, x) => b.lt(g, b.abs(g, x), 0),
  sum: (g, x) => b.lt(g, b.sum(g, b.maximum(g, b.reshape(g, x, [32, 2]), 0), [1]), 0),
};
if (compiler)
  test("NVRTC does not take for granted that whole numbers do not overflow", async () => {
    for (const [name, of] of Object.entries(looked)) {
      const g = new GraphBuilder(ops);
      const [kernel] = kernelsOf([lowered(graphOf([of(g, parameter(g, "x", [64], "i32"))]))]);
      const code = kernel && (await compiledAlone(kernel, { compile: (source) => compiler.compile(source) }));
      assert.match(code?.ptx ?? "", "ld.global", name);
    }
  });
/** The gradients of the projections around an attention, whose heads stand before its positions. */
function besideHeads(): PlanKernel[] {
  const g = new GraphBuilder(ops);
  const rows = (name: string): Value => b.param(g, name, { dtype: "bf16", shape: [2048, 128] });
  const heads = b.param(g, "heads", { dtype: "bf16", shape: [16, 4, 128, 32] });
  const merged = b.reshape(g, b.transpose(g, heads, [0, 2, 1, 3]), [2048, 128]);
  const both = [
    [merged, rows("dy")],
    [rows("x"), merged],
  ] as const;
  const gradients = both.map(([x, y]) => b.cast(g, b.dot(g, b.swap(g, x), y), "f32"));
  return kernelsOf([lowered(graphOf(gradients))]).filter(({ name }) => name.startsWith("dot"));
}
if (compiler)
  test("gradients of the projections beside heads find their rows by one address a thread, without a spill", async () => {
    const kernels = besideHeads();
    assert.is(kernels.length, 2);
    for (const kernel of kernels) {
      assert.match(kernel.text, /SharedTile<bf16, 32, 128, 4, 128, (ROW|COL)_MAJOR, 32>/);
      const code = await compiledAlone(kernel, { compile: (source) => compiler.compile(source) });
      assert.is(code?.spills, 0, kernel.name);
    }
  });
test.run();
