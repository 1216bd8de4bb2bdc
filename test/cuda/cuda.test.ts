// CUDA text: what it says, and that the real NVRTC takes all of it without a spill or a warning. What it computes is tested under the emulator,
// how it is cut in cuda-schedule.test.ts.
import { rejects } from "node:assert/strict";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { cudaUnit, emitCuda, readableKernel } from "../../compiler/emit/unit.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Graph, Value } from "../../compiler/graph/node.ts";
import { KernelBuilder } from "../../compiler/kernel/builder.ts";
import { add, asValue, div, i32, less, load, mul, num, select, sub } from "../../compiler/kernel/expr.ts";
import type { Expr } from "../../compiler/kernel/ir.ts";
import { lower } from "../../compiler/lower/lower.ts";
import type { OpAttrs } from "../../compiler/ops/attrs.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { compileTarget } from "../../compiler/options.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import type { Sequence } from "../../compiler/plan/sequence.ts";
import { backends } from "../../compiler/targets.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { capability, occupancy, requireArchitecture, requireSharedMemory } from "../../runtime/cuda/architecture.ts";
import { compileKernels, type KernelCode, nvrtcOptions, parseResources } from "../../runtime/cuda/code.ts";
import type { Nvrtc } from "../../runtime/nvrtc.ts";
import { full } from "../full.ts";
import { golden } from "../golden.ts";
import { samples } from "../graphs.ts";
import { graphOf, kernelsOf } from "../host/compare.ts";
import { attended } from "../kernels/few-queries.ts";
import { attentionLayer, gptStep, manyGroups, moeLayer } from "../layers.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { foundNvrtc } from "./nvrtc.ts";

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
  const { header } = { header: backends.cuda.header() };
  const units: PlanKernel[][] = [];
  for (const wide of [false, true]) {
    const some = kernels.filter((k) => (k.launch?.wide ?? false) === wide);
    for (let i = 0; i < some.length; i += 16) units.push(some.slice(i, i + 16));
  }
  const compile = async (unit: readonly PlanKernel[]): Promise<void> => {
    const [first, ...rest] = unit;
    if (!first) return;
    const text = [cudaUnit(header, first), ...rest.map((k) => k.text)].join("\n");
    const { log } = await nvrtc.compile({ name: "unit.cu", text, architecture, options: nvrtcOptions });
    for (const { name } of unit) {
      const { registers, spills, warnings } = parseResources(name, log);
      assert.ok(registers > 0, `${name} is not in the log`);
      assert.is(spills, 0, `${name} spills on ${architecture}`);
      assert.equal(warnings, [], `${name} on ${architecture}`);
    }
  };
  await Promise.all(units.map(compile));
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

test("what ptxas tells of a kernel", () => {
  const log = [
    "ptxas info    : Compiling entry function 'one' for 'sm_80'",
    "    0 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads",
    "ptxas info    : Used 46 registers, used 1 barriers, 128 bytes smem, 368 bytes cmem[0]",
    "ptxas info    : Compiling entry function 'two' for 'sm_80'",
    "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads",
    "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized",
    "ptxas info    : Used 20 registers, 352 bytes cmem[0]",
    "ptxas info    : Compiling entry function 'three' for 'sm_80'",
    "    0 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads",
    "ptxas info    : Used 30 registers, used 1 barriers, 256 bytes smem, 352 bytes cmem[0]",
  ].join("\n");
  const { warnings, ...one } = parseResources("one", log);
  assert.equal(one, { registers: 46, shared: 128, spills: 12 });
  assert.is(warnings.length, 1);
  const two = parseResources("two", log);
  assert.equal([two.registers, two.shared, two.spills], [20, 0, 0]);
});
/** A kernel whose threads each keep 48 numbers. */
function hungry(blocks: number): PlanKernel {
  const text = `KERNEL void __launch_bounds__(256, MIN_BLOCKS(${blocks})) hungry(f32* x) {
  f32 kept[48];
  UNROLL for (int i = 0; i < 48; i++) kept[i] = x[threadIdx.x + i * 256];
  __syncthreads();
  UNROLL for (int i = 0; i < 48; i++) x[threadIdx.x + i * 256] = kept[i] * kept[(i * 7 + 5) % 48];
}
KERNEL_END(hungry)
`;
  return { name: "hungry", text, origins: [], scratch: 0, launch: { threads: 256, shared: 0, wide: false } };
}
const compile: Nvrtc["compile"] = async () => ({ ptx: "", cubin: Buffer.of(1), log: "", names: new Map() });
test("how many kernels are compiled is told, and nothing where the cache has them", async () => {
  const plan = { kernels: [hungry(1), { ...hungry(2), name: "second" }], header: "" };
  const compiler = { compile, version: "1" };
  const cache = new KernelCache(temporaryFolder());
  const told: [number, number][] = [];
  const onCompile = (done: number, of: number): void => void told.push([done, of]);
  for (let i = 0; i < 2; i++)
    await compileKernels(plan, { architecture: "sm_80", compiler, cache, jobs: 2, onCompile });
  assert.equal(told, [
    [0, 2],
    [1, 2],
    [2, 2],
  ]);
});
const compiledAlone = async (kernel: PlanKernel, nvrtc: Pick<Nvrtc, "compile">): Promise<KernelCode | undefined> => {
  const plan = { kernels: [kernel], header: backends.cuda.header() };
  const compiler = { ...nvrtc, version: "1" };
  return (await compileKernels(plan, { architecture: "sm_80", compiler, cache: null, jobs: 1 }))[0];
};
if (compiler)
  test("attention as wide as it may be compiles without a spill", async () => {
    for (const [dtype, width, cap] of [
      ["f32", 128, {}],
      ["bf16", 256, {}],
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
if (compiler)
  test("a kernel that spills is compiled again for fewer blocks", async () => {
    const asked: string[] = [];
    const counting: Pick<Nvrtc, "compile"> = {
      compile(source) {
        asked.push(source.options?.find((o) => o.includes("HALVED")) ?? "");
        return compiler.compile(source);
      },
    };
    const code = await compiledAlone(hungry(8), counting);
    assert.equal(asked, ["", "-DHALVED=1"]);
    assert.is(code?.spills, 0);
    assert.ok((code?.registers ?? 0) > 32, `${code?.registers ?? 0} registers`);
  });
if (compiler)
  test("a kernel that NVRTC refuses is told of with the log, its own line and the program's", async () => {
    const whole = hungry(1);
    const broken = { ...whole, text: whole.text.replace("kept[i] = x[", "kept[i] = lost["), origins: ["model.moe:7"] };
    await rejects(
      compiledAlone(broken, { compile: (source) => compiler.compile(source) }),
      /^Bug: kernel hungry of model\.moe:7: NVRTC refuses it\nhungry\.cu\(\d+\): error: .*"lost".*\n {4}UNROLL for .* = lost\[/,
    );
  });
test("where every choice spills, the least is kept", async () => {
  const spills = [8, 40, 4, 4];
  const seen: number[] = [];
  const compile: Nvrtc["compile"] = () => {
    const n = spills[seen.length] ?? 0;
    seen.push(n);
    const log = `entry function 'hungry' for 'sm_80'\n 0 bytes stack frame, ${n} bytes spill stores\nUsed 99 registers`;
    return Promise.resolve({ ptx: String(seen.length), cubin: Buffer.alloc(0), log, names: new Map() });
  };
  const code = await compiledAlone(hungry(8), { compile });
  assert.equal([code?.spills, code?.ptx, seen], [4, "3", spills]);
});
const share = (threads: number, registers: number, shared: number, architecture = "sm_80"): number | null =>
  occupancy({ threads, registers, shared }, architecture);
test("occupancy by registers, shared memory, warps and blocks", () => {
  assert.is(share(256, 32, 0), 1);
  assert.is(share(256, 128, 0), 16 / 64);
  assert.is(share(128, 32, 49152), (3 * 4) / 64);
  assert.is(share(32, 16, 0), 0.5);
  assert.is(share(128, 32, 49152, "sm_90a"), (4 * 4) / 64);
  assert.is(share(128, 32, 0, "sm_999"), null);
});
test("a kernel that wants more shared memory than a block has is refused with its line", () => {
  const kernel = { name: "dot_1", origins: ["model.moe:7"], shared: 170_000 };
  assert.throws(
    () => requireSharedMemory(kernel, "sm_80"),
    /dot_1 of model\.moe:7 wants 170000 bytes.*sm_80 gives a block 166912/,
  );
  requireSharedMemory(kernel, "sm_90a");
  requireSharedMemory({ ...kernel, shared: 166_912 }, "sm_80");
});
const unasked: Nvrtc["compile"] = () => Promise.reject(new Error("it was compiled"));
test("what is too large stops compiling", async () => {
  const kernel = { ...hungry(1), origins: ["model.moe:7"], launch: { threads: 256, shared: 200_000, wide: false } };
  try {
    await compiledAlone(kernel, { compile: unasked });
    assert.unreachable("it was not refused");
  } catch (error) {
    assert.instance(error, Problem);
  }
});
test("architectures", () => {
  assert.equal(["sm_90a", "sm_100f", "sm_75"].map(capability), [90, 100, 75]);
  const nvrtc = { version: "12.9", architectures: [75, 80, 90, 100] };
  assert.throws(() => requireArchitecture("sm_75", nvrtc), /older than sm_80/);
  for (const name of ["sm_130", "sm_80a", "sm_90f"])
    assert.throws(
      () => requireArchitecture(name, nvrtc),
      (e: unknown) =>
        e instanceof Problem &&
        e.message === `this NVRTC makes no code for ${name}` &&
        e.help === "name one of sm_80, sm_90, sm_90a, sm_100, sm_100a, sm_100f",
    );
  for (const name of ["sm_80", "sm_90a", "sm_100f"]) requireArchitecture(name, nvrtc);
  assert.throws(() => requireArchitecture("sm_100f", { ...nvrtc, version: "12.8" }), /no code for sm_100f/);
  assert.is(compileTarget.parse("cuda:sm_90a"), "cuda:sm_90a");
  for (const text of ["cuda", "cuda:sm_75", "cuda:sm_9"])
    assert.throws(() => compileTarget.parse(text), /from sm_80 on, cuda:sm_90a say/);
  assert.throws(() => compileTarget.parse("cuda:gtx"), /cuda:sm_90a/);
});

test.run();
