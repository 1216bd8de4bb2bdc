// Products of f32 by tensor cores: contractions under the emulator against the interpreter with operands rounded to tf32, the text, the real
// NVRTC, and who may ask for it.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, NdArray, Value } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { requireTarget } from "../../compiler/options.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import { cudaBackend } from "../../compiler/targets.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { compile } from "../../runtime/index.ts";
import { type EmulationMode, emulationModes, loweredForCuda, modulesOf, runEmulated } from "../emulator/sequence.ts";
import { full } from "../full.ts";
import { ndarray, storesOf } from "../graphs.ts";
import { graphOf, kernelsOf, valuesOf } from "../host/compare.ts";
import { project } from "../project.ts";
import { foundNvrtc, requireNoSpills } from "./nvrtc.ts";

const test = suite("tf32");
const backend = cudaBackend(true);

type Param = (name: string, shape: readonly number[], dtype?: DType) => Value;
function graph(f: (g: GraphBuilder, p: Param) => readonly Value[]): Graph {
  const g = new GraphBuilder(ops);
  return graphOf(f(g, (name, shape, dtype = "f32") => b.param(g, name, { dtype, shape })));
}
/** x w, x v^T and x^T y: rows and columns in all orders. */
const dense = (m: number, n: number, k: number): Graph =>
  graph((g, p) => [
    b.matmul(g, p("x", [m, k]), p("w", [k, n])),
    b.matmul(g, p("x", [m, k]), b.swap(g, p("v", [n, k]))),
    b.matmul(g, b.swap(g, p("x", [m, k])), p("y", [m, n])),
  ]);
/** Rows of x for each expert's matrices, two of them at once, and the gradient of a matrix. Every row is of a group. */
const mixture = (tokens: number, rows: number, groups: number, d: number, n: number): Graph =>
  graph((g, p) => {
    const { offsets } = b.route(g, b.rem(g, b.abs(g, p("index", [rows], "i32")), groups), groups);
    const x = b.take(g, p("x", [tokens, d]), b.rem(g, b.abs(g, p("of", [rows], "i32")), tokens), 0);
    const [up, gate] = ["up", "gate"].map((name) => b.raggedDot(g, x, p(name, [groups, d, n]), offsets)) as [
      Value,
      Value,
    ];
    const back = b.raggedDot(g, p("dy", [rows, n]), b.swap(g, p("down", [groups, d, n])), offsets);
    return [b.mul(g, up, b.sigmoid(g, gate)), b.raggedOuter(g, x, p("dy", [rows, n]), offsets), back];
  });
const graphs: Readonly<Record<string, Graph>> = {
  "one number": dense(1, 1, 1),
  "no multiple of anything": dense(37, 43, 23),
  "whole tiles": dense(128, 64, 96),
  "more than a tile": dense(70, 130, 65),
  "a mixture": mixture(9, 41, 5, 19, 27),
  "a mixture of aligned rows": mixture(48, 96, 3, 64, 32),
};

/** To the nearest number of 11 bits, ties away from zero, by arithmetic. */
function rounded(x: number): number {
  if (x === 0) return 0;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(x))) - 10);
  return Math.sign(x) * Math.floor(Math.abs(x) / unit + 0.5) * unit;
}
const short = (stores: ReadonlyMap<string, NdArray>): Map<string, NdArray> =>
  new Map(
    [...stores].map(([name, a]) => [
      name,
      a.dtype === "f32" ? ndarray("f32", a.shape, Array.from(a.data, rounded)) : a,
    ]),
  );
/** How far numbers may be apart, of the largest: a sum in f32, in any order. */
function worst(want: NdArray, got: ArrayLike<number> | undefined): number {
  const most = Math.max(1e-3, ...want.data.map(Math.abs));
  return Math.max(0, ...Array.from(want.data, (x, i) => Math.abs(x - (got?.[i] ?? Number.NaN)) / most));
}
const runs = Object.entries(graphs).map(([name, of]) => ({
  name,
  of,
  sequence: loweredForCuda(of, backend),
  stores: storesOf(valuesOf(of)),
}));
const isRounded = ({ text }: PlanKernel): boolean => text.includes("mma_tf32<");
const kernels = kernelsOf(runs.map((r) => r.sequence));

test("contractions are those of rounded operands, and sums stay f32", async () => {
  const modules = await modulesOf(kernels, 100, backend.header());
  for (const way of emulationModes) {
    const outcomes = await runEmulated(runs, modules, way);
    for (const [i, { name, of, stores }] of runs.entries()) {
      assert.is(outcomes[i]?.findings, "", `${name} (${way.words})`);
      const exact = interpret(valuesOf(of), stores, { exact: true });
      interpret(valuesOf(of), short(stores), { exact: true }).forEach((want, r) => {
        const got = outcomes[i]?.results[r];
        const off = worst(want, got);
        assert.ok(off < 2e-6, `${name}, result ${r}: off by ${off}`);
        const lost = worst(exact[r] as NdArray, got);
        assert.ok(lost > 1e-5 && lost < 2e-3, `${name}, result ${r}: rounding moved it by ${lost}`);
      });
    }
  }
});
test("only the mma is another word; without the option nothing changes", () => {
  const plain = kernelsOf(runs.map((r) => loweredForCuda(r.of)));
  const products = kernels.filter(isRounded);
  assert.ok(products.length >= 10, `${products.length}`);
  for (const [i, k] of kernels.entries()) {
    const before = plain[i]?.text ?? "";
    assert.is(before === k.text, !before.includes("mma<"));
    assert.not.match(before, /tf32/);
  }
  assert.not.match(cudaBackend().header(), /#define TF32|mma_tf32/);
});
test("bf16, and bf16 with f32, are multiplied as before", () => {
  for (const right of ["bf16", "f32"] as const) {
    const of = graph((g, p) => [b.matmul(g, p("x", [64, 32], "bf16"), p("w", [32, 64], right))]);
    const [kernel] = kernelsOf([loweredForCuda(of, backend)]);
    assert.match(kernel?.text ?? "", /\bmma<32>/);
  }
});
/** Attention and its gradients over some blocks: weights are operands that no memory holds. */
const attention = (width: number): Graph =>
  graph((g, p) => {
    const at = b.reshape(g, b.iota(g, 70), [1, 70]);
    const attrs = { scale: 0.5, bounds: [{ at: 1, seen: -1, plus: 0, pair: 0 }] };
    const [q, k, v] = [p("q", [1, 1, 2, 70, width]), p("k", [1, 1, 70, width]), p("v", [1, 1, 70, width])];
    const [out, sums] = b.make(g, "attention", [q, k, v, at, at], attrs).results as [Value, Value];
    const rest = [sums, p("delta", [1, 1, 2, 70]), p("dout", [1, 1, 2, 70, width])];
    return [out, sums, ...b.make(g, "attention_backward", [q, k, v, at, at, ...rest], attrs).results];
  });
const heads = [16, 64].map((width) => ({ name: `heads ${width} wide`, of: attention(width) }));
const attentionRuns = heads.map(({ name, of }) => ({
  name,
  of,
  sequence: loweredForCuda(of, backend),
  stores: new Map(
    [...storesOf(valuesOf(of))].map(([key, a]) => [
      key,
      ndarray(
        a.dtype,
        a.shape,
        a.data.map((x) => x / 2),
      ),
    ]),
  ),
}));
test("attention is f32's but for the rounding of operands", async () => {
  const modules = await modulesOf(kernelsOf(attentionRuns.map((r) => r.sequence)), 100, backend.header());
  const outcomes = await runEmulated(attentionRuns, modules, emulationModes[1] as EmulationMode);
  for (const [i, { name, of, stores }] of attentionRuns.entries()) {
    assert.is(outcomes[i]?.findings, "", name);
    interpret(valuesOf(of), stores, { exact: true }).forEach((want, r) => {
      const off = worst(want, outcomes[i]?.results[r]);
      assert.ok(off < 2e-3, `${name}, result ${r}: off by ${off}`);
    });
  }
});

const compiler = await foundNvrtc();
if (compiler)
  for (const architecture of full ? ["sm_80", "sm_90a", "sm_100a"] : ["sm_90a"])
    test(`NVRTC takes them for ${architecture} without spills`, async () => {
      const all = [...kernels, ...kernelsOf(attentionRuns.map((r) => r.sequence))].filter(isRounded);
      const ptx = await requireNoSpills(all, { header: backend.header(), architecture, nvrtc: compiler });
      assert.match(ptx, /mma\.sync\.aligned\.m16n8k8\.row\.col\.f32\.tf32\.tf32\.f32/);
    });

test("who may ask for it", async () => {
  for (const target of [undefined, "host", "reference"] as const)
    assert.throws(
      () => requireTarget({ tf32: true, ...(target ? { target } : {}) }),
      (e: unknown) => e instanceof Problem && /tf32 is of CUDA targets/.test(e.message),
    );
  for (const target of ["cuda", "cuda:sm_90a"] as const) requireTarget({ target, tf32: true });
  const file = join(project, "examples/one-layer.moe");
  try {
    await compile({ file }, { tf32: true, target: "host" });
    assert.unreachable("it compiles");
  } catch (error) {
    assert.match(String(error), /tf32 is of CUDA targets/);
  }
});
test.run();
