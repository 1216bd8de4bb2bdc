// Kernels for sm_90a: that contractions of bf16 have them, that they give what the ops define (under the emulator, checked for races, bounds
// and initialisation), and that NVRTC takes them without a spill or a warning.
import { env } from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../compiler/diagnostic.ts";
import { variantUnit } from "../compiler/emit/unit.ts";
import { rounded } from "../compiler/graph/array.ts";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { interpret } from "../compiler/graph/interpret.ts";
import type { NdArray, Store, Value } from "../compiler/graph/node.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { planMemory } from "../compiler/plan/memory.ts";
import type { PlanKernel, Variant } from "../compiler/plan/plan.ts";
import { backends } from "../compiler/targets.ts";
import type { DType } from "../compiler/types/dtype.ts";
import { dims } from "../compiler/types/type.ts";
import { options, used } from "../runtime/cuda/code.ts";
import { cudaExecutable } from "../runtime/cuda/executable.ts";
import { leftOut, usable } from "../runtime/cuda/variants.ts";
import type { Tensor } from "../runtime/executable.ts";
import { KernelCache } from "../runtime/host/cache.ts";
import { fromNumbers, numbers } from "../runtime/tensor.ts";
import { build } from "./emulator/build.ts";
import {
  byVariants,
  loweredForCuda,
  modulesOf,
  type Outcome,
  type Run,
  runEmulated,
  ways,
} from "./emulator/sequence.ts";
import { folder } from "./folder.ts";
import { storesOf } from "./graphs.ts";
import { graphOf, kernelsOf } from "./host/compare.ts";
import { foundNvrtc } from "./nvrtc.ts";

const test = suite("hopper");
const full = env["MOEC_TEST"] === "full";

type Param = (name: string, shape: readonly number[], dtype?: DType) => Value;
/** `rows`: the offsets whose last number says how many rows of a result there are. `variants`: contractions that have one. */
interface Case {
  readonly name: string;
  readonly variants: number;
  readonly make: (g: GraphBuilder, p: Param) => { readonly values: readonly Value[]; readonly rows?: Value };
}
const gated = (g: GraphBuilder, x: Value, y: Value): Value => b.mul(g, b.mul(g, x, b.sigmoid(g, x)), y);
const cases: readonly Case[] = [
  {
    name: "dense, of awkward sizes",
    variants: 1,
    make: (g, p) => ({ values: [b.matmul(g, p("x", [130, 200]), p("w", [200, 264]))] }),
  },
  {
    name: "dense, 256 columns, a bias and an activation",
    variants: 1,
    make: (g, p) => ({
      values: [b.tanh(g, b.add(g, b.matmul(g, p("x", [3, 67, 320]), p("w", [320, 512])), p("bias", [512])))],
    }),
  },
  {
    name: "dense, both operands the other way around",
    variants: 1,
    make: (g, p) => ({ values: [b.dot(g, b.swap(g, p("x", [136, 136])), b.swap(g, p("w", [144, 136])))] }),
  },
  {
    name: "parts of both operands, beyond whose depth there is more",
    variants: 1,
    make: (g, p) => ({
      values: [b.matmul(g, b.slice(g, p("x", [130, 320]), 1, 64, 136), b.slice(g, p("w", [320, 128]), 0, 64, 136))],
    }),
  },
  {
    name: "a stack of matrices",
    variants: 1,
    make: (g, p) => ({ values: [b.dot(g, p("x", [3, 129, 136]), p("w", [3, 136, 128]))] }),
  },
  {
    name: "gathered rows, gate and up in one, empty groups",
    variants: 2,
    make(g, p) {
      const by = b.route(g, p("index", [300], "i32"), 6);
      const x = b.dispatch(g, b.reshape(g, b.broadcast(g, p("x", [150, 200]), [150, 2, 200], [0, 2]), [300, 200]), by);
      const dot = (name: string): Value => b.raggedDot(g, x, p(name, [6, 200, 136]), by.offsets);
      const half = gated(g, dot("gate"), dot("up"));
      const y = b.raggedDot(g, half, p("down", [6, 136, 200]), by.offsets);
      return { values: [half, y], rows: by.offsets };
    },
  },
  {
    name: "a mixture's backward: W^T, several results, weights' gradients",
    variants: 2,
    make(g, p) {
      const by = b.route(g, p("index", [280], "i32"), 4);
      const x = b.dispatch(g, p("x", [280, 136]), by);
      const dy = p("dy", [280, 264]);
      const h = b.raggedDot(g, dy, b.swap(g, p("w", [4, 136, 264])), by.offsets);
      const u = p("u", [280, 136]);
      return {
        values: [b.mul(g, h, u), b.mul(g, h, b.sigmoid(g, u)), b.raggedOuter(g, x, dy, by.offsets)],
        rows: by.offsets,
      };
    },
  },
];
interface Made extends Run {
  readonly case_: Case;
  readonly values: readonly Value[];
  readonly rows: Value | undefined;
}
function made(c: Case, by = byVariants): Made {
  const g = new GraphBuilder(ops);
  const param: Param = (name, shape, dtype = "bf16") => b.param(g, name, { dtype, shape });
  const { values, rows } = c.make(g, param);
  const stores = new Map(
    [...storesOf(values)].map(([name, a]): [string, NdArray] => [name, { ...a, data: rounded(a.dtype, a.data) }]),
  );
  return { case_: c, name: c.name, sequence: by(loweredForCuda(graphOf(values))), stores, values, rows };
}
const all = cases.map((c) => made(c));
const variantsOf = (kernels: readonly PlanKernel[]): Variant[] =>
  kernels.flatMap(({ variant }) => (variant ? [variant] : []));

for (const { case_, sequence } of all)
  test(`${case_.name}: kernels by wgmma`, () => {
    const variants = variantsOf(kernelsOf([sequence]));
    assert.is(variants.length, case_.variants);
    for (const { text } of variants) assert.match(text, /pipe\.consume/);
  });

/** Results may be off by their rounding to bf16, and, where a second contraction follows, by that of what it reads. */
function compare({ values, rows, stores }: Made, { results, findings }: Outcome): void {
  if (findings !== "") throw new Error(findings.trim());
  const wanted = interpret(values, stores, { exact: true });
  const count = rows ? (interpret([rows], stores)[0]?.data.at(-1) ?? 0) : null;
  values.forEach((value, r) => {
    const [first = 0] = dims(value.type);
    const data = wanted[r]?.data ?? new Float64Array();
    const isRows = count !== null && value.node.op.name !== "ragged_outer";
    const n = isRows ? (data.length / first) * count : data.length;
    const scale = Math.sqrt(data.slice(0, n).reduce((sum, x) => sum + x * x, 0) / Math.max(1, n));
    for (let i = 0; i < n; i++) {
      const [x, y] = [data[i] ?? Number.NaN, results[r]?.[i] ?? Number.NaN];
      if (!(Math.abs(x - y) <= 2 ** -8 * Math.abs(x) + 2 ** -6 * scale))
        throw new Error(`result ${r}[${i}] is ${y}, not ${x}`);
    }
  });
}
test("under the emulator, in all ways", async () => {
  const modules = await modulesOf(kernelsOf(all.map((m) => m.sequence)));
  const wrong: string[] = [];
  for (const way of ways) {
    const outcomes = await runEmulated(all, modules, way);
    all.forEach((m, i) => {
      try {
        compare(m, outcomes[i] ?? { results: [], findings: "did not run" });
      } catch (error) {
        wrong.push(
          `${m.name} (${way.words}, ${way.grid} blocks): ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    });
  }
  assert.is(wrong.join("\n"), "");
});

const cache = new KernelCache(folder());
/** A plan of one case through the real runtime, the emulator being the driver and NVRTC of an sm_90: what was told, and the results twice. */
async function throughRuntime(
  { sequence, values, stores }: Made,
  change: (variant: Variant) => Variant,
): Promise<{ told: string[]; runs: (readonly Tensor[])[] }> {
  const parameters = [...stores].map(([name, { dtype, shape }]): Store => {
    return { name, role: "parameter", type: { dtype, shape }, stack: 0, saved: true, where: null };
  });
  const plain = planMemory([sequence], parameters, { target: "cuda", header: backends.cuda.header() });
  const changed = ({ variant, ...k }: PlanKernel): PlanKernel => (variant ? { ...k, variant: change(variant) } : k);
  const plan = { ...plain, kernels: plain.kernels.map(changed) };
  const told: string[] = [];
  const executable = await cudaExecutable(plan, { cache, tell: (line) => void told.push(line) });
  for (const [name, a] of stores) executable.write(name, fromNumbers(a.dtype, [...a.shape], [...a.data]));
  const runs: (readonly Tensor[])[] = [];
  for (let i = 0; i < 2; i++)
    runs.push((await executable.run(graphOf(values).name, new Map(), { seed: 0, call: i, step: i })).outputs);
  executable.close();
  return { told, runs };
}
const dense = cases.slice(0, 1).map((c) => made(c, (s) => s))[0] as Made;
async function judged(change: (variant: Variant) => Variant): Promise<string[]> {
  const { libcuda, libnvrtc } = await build();
  const before = process.env;
  const words = "arch=90 multiprocessors=4";
  process.env = { ...before, MOEC_LIBCUDA: libcuda, MOEC_LIBNVRTC: libnvrtc, MOEC_EMULATOR: words, MOEC_DEBUG: "1" };
  try {
    const { told, runs } = await throughRuntime(dense, change);
    for (const outputs of runs)
      compare(dense, { results: outputs.map((t) => Float64Array.from(numbers(t))), findings: "" });
    return told;
  } finally {
    process.env = before;
  }
}
test("through the runtime: its first run compares both, then the kernel by wgmma is used", async () => {
  const told = await judged((variant) => variant);
  assert.is(told.length, 1);
  assert.match(told[0] ?? "", /^dot_\w+_sm90 of .* is used: 34320 elements agree$/);
});
test("one that loads the wrong columns is not used", async () => {
  const told = await judged((v) => ({ ...v, text: v.text.replace("&a_map0, k, ", "&a_map0, k + 8, ") }));
  assert.is(told.length, 1);
  assert.match(told[0] ?? "", /^dot_\w+_sm90 of .* is not used, mma\.sync is: \d+ of 34320 elements differ$/);
});
test("one that the driver does not take is not used", async () => {
  const told = await judged((v) => ({ ...v, launch: { ...v.launch, threads: 2048 } }));
  assert.is(told.length, 1);
  assert.match(told[0] ?? "", /^dot_\w+_sm90 of .* is not used, mma\.sync is: CUDA_ERROR_\w+: /);
});
test("one that spills is not used", () => {
  const variant = { of: 0, name: "dot_1_sm90", origins: ["model.moe:3"], text: "", scratch: 0 };
  const code = { spills: 8, warnings: [], registers: 168, shared: 0, ptx: "", cubin: Buffer.alloc(0), seconds: 0 };
  const plan = {
    kernels: [
      { ...variant, variant: { ...variant, launch: { threads: 384, shared: 0, wide: false }, maps: [], writes: [] } },
    ],
  };
  const used = usable(plan, [variant], [code]);
  assert.is(used.size, 0);
  assert.equal(leftOut([variant], [code], used), [
    "dot_1_sm90 of model.moe:3 is not used, mma.sync is: ptxas spills 8 bytes",
  ]);
});
/** The emulator never ends a kernel of such a name. */
function endless(v: Variant): Variant {
  const name = `${v.name}_endless`;
  return { ...v, name, text: v.text.replaceAll(v.name, name) };
}
test("one that does not end is told of, with what helps", async () => {
  const error = await judged(endless).then(
    () => null,
    (e: unknown) => e,
  );
  assert.instance(error, Problem);
  assert.match(String(error), /kernel dot_\w+_sm90_endless does not end/);
  assert.match((error as Problem).help, /MOEC_WGMMA=0/);
});

const compiler = await foundNvrtc();
if (compiler)
  test("NVRTC takes them for sm_90a: no spill, no warning", async () => {
    const variants = variantsOf(kernelsOf(all.map((m) => m.sequence)));
    const header = backends.cuda.header();
    for (const variant of full ? variants : variants.slice(-3)) {
      const text = variantUnit(header, variant);
      const { log } = await compiler.compile({ name: "k.cu", text, architecture: "sm_90a", options });
      const { registers, spills, warnings } = used(variant.name, log);
      assert.is(registers, variant.launch.threads === 384 ? 168 : 128, variant.name); // else setmaxnreg was ignored
      assert.is(spills, 0, variant.name);
      assert.equal(warnings, [], variant.name);
    }
  });

test.run();
