// Kernels for sm_90a: that contractions of bf16 have them, that they give what the ops define (under the emulator, checked for races, bounds
// and initialisation), and that NVRTC takes them without a spill or a warning.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Loaded, load, loadFile } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs, toPlan } from "../../compiler/pipeline.ts";
import type { PlanKernel, Variant } from "../../compiler/plan/plan.ts";
import { backends } from "../../compiler/targets.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { compileVariants, rejectedVariants, usableVariants } from "../../runtime/cuda/variants.ts";
import { build } from "../emulator/build.ts";
import { emulationModes, modulesOf, runEmulated } from "../emulator/sequence.ts";
import { full } from "../full.ts";
import { kernelsOf } from "../host/compare.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { type BuiltCase, buildCase, cases, compare } from "./contractions.ts";
import { foundNvrtc } from "./nvrtc.ts";
import { throughRuntime } from "./runtime.ts";

const test = suite("hopper");

const all = cases.map((c) => buildCase(c));
const variantsOf = (kernels: readonly PlanKernel[]): Variant[] =>
  kernels.flatMap(({ variant }) => (variant ? [variant] : []));

for (const { case_, sequence } of all)
  test(`${case_.name}: kernels by wgmma`, () => {
    const variants = variantsOf(kernelsOf([sequence]));
    assert.is(variants.length, case_.variants);
    for (const { text } of variants) assert.match(text, /pipe\.consume/);
  });

test("of 256 columns that come by TMA, each half is asked for as soon as it is left, unless the depth is large", () => {
  const wide = all
    .flatMap((m) => variantsOf(kernelsOf([m.sequence])))
    .filter(({ text }) => /WgmmaAcc<128, 256/.test(text));
  const boxed = wide.filter(({ text }) => text.includes("pipe.produce("));
  const inParts = boxed.filter(({ text }) => text.includes("MbarrierPipeline<4, 2, 3>"));
  assert.is(inParts.length, boxed.length - 1); // but where the depth is large
  for (const { text } of inParts)
    assert.match(
      text,
      /right\w*\.load_box<0>\(s, pipe\.acquire\(16384, 0\)[^]*left\w*\.load_box<0>\(s, pipe\.acquire\(16384, 1\)[^]*\.load_box<1>\(s, pipe\.acquire\(16384, 2\)/,
    );
});

test("under the emulator, each in one of its ways, or in all with MOEC_TEST=full", async () => {
  const modules = await modulesOf(kernelsOf(all.map((m) => m.sequence)));
  const wrong: string[] = [];
  for (const [w, way] of emulationModes.entries()) {
    const chosen = all.filter((_, i) => full || i % emulationModes.length === w);
    const outcomes = await runEmulated(chosen, modules, way);
    chosen.forEach((m, i) => {
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

const cache = new KernelCache(temporaryFolder());
const dense = cases.slice(0, 1).map((c) => buildCase(c, (s) => s))[0] as BuiltCase;
async function judged(change: (variant: Variant) => Variant): Promise<string[]> {
  const { libcuda, libnvrtc } = await build();
  const before = process.env;
  const words = "arch=90 multiprocessors=4";
  process.env = { ...before, MOEC_LIBCUDA: libcuda, MOEC_LIBNVRTC: libnvrtc, MOEC_EMULATOR: words, MOEC_DEBUG: "1" };
  try {
    const { told, runs } = await throughRuntime(dense, { cache, change });
    for (const results of runs) compare(dense, { results, findings: "" });
    return [...told];
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
  const variant = { replaces: 0, name: "dot_1_sm90", origins: ["model.moe:3"], text: "", scratch: 0 };
  const code = { spills: 8, warnings: [], registers: 168, shared: 0, ptx: "", cubin: Buffer.alloc(0), seconds: 0 };
  const plan = {
    kernels: [
      { ...variant, variant: { ...variant, launch: { threads: 384, shared: 0, wide: false }, maps: [], writes: [] } },
    ],
  };
  const used = usableVariants(plan, [variant], [code]);
  assert.is(used.size, 0);
  assert.equal(rejectedVariants([variant], [code], used), [
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

/** The variants of a training step in bf16. */
function variantsOfStep(
  loaded: Loaded,
  declaration: string,
  sizes: Record<string, number>,
  of: Record<string, number>,
): Variant[] {
  const entries = [{ method: "train", name: "train", sizes: of }];
  const program = toGraphs(loaded, { declaration, sizes, precision: "bf16", entries }, silentObserver());
  return variantsOf(toPlan(program, silentObserver(), undefined, undefined, backends.cuda).kernels);
}
const layers = readFileSync(join(project, "bench/layers.moe"), "utf8");
const clamped = layers.replaceAll("balance: 0), SwiGlu(D, H))", "balance: 0), SwiGlu(D, H, limit: 10))");
const source = (text: string): Loaded => load({ name: "layers.moe", text });
// Mixtures of sizes that fill their tiles, and heads of 32 that are merged.
const ofMixture = variantsOfStep(source(layers), "MoEStep", { D: 1536, H: 256, E: 128, K: 8 }, { T: 24576 });
const ofClamped = variantsOfStep(source(clamped), "MoEStep", { D: 256, H: 256, E: 16, K: 2 }, { T: 1024 });
const ofHeads = variantsOfStep(loadFile(join(project, "examples/gpt-moe.moe")), "GptMoE", { L: 1 }, { B: 8, T: 64 });
test("accumulators are set before the loop that adds to them: ptxas of CUDA 12.3 to 12.8 makes the wgmma of undefined ones wait for each other", () => {
  const variants = [...variantsOf(kernelsOf(all.map((m) => m.sequence))), ...ofMixture, ...ofClamped, ...ofHeads];
  for (const { name, text } of variants) {
    const declared = [...text.matchAll(/WgmmaAcc<[^>]*> (\w+);\n(.*)/g)];
    assert.ok(declared.length > 0, name);
    for (const [, acc = "", next = ""] of declared) assert.is(next.trim(), `${acc}.fill(0.0f);`, name);
  }
});
const nvrtc = await foundNvrtc();
if (nvrtc)
  test("NVRTC takes them for sm_90a: no spill, no warning", async () => {
    const variants = variantsOf(kernelsOf(all.map((m) => m.sequence)));
    const backward = ofMixture.filter(({ text }) => text.includes("st_partial_sum(")); // its consumers need the most registers,
    const merged = ofHeads.filter(({ text }) => text.includes("% 64 * 32 + (k + j) % 32")); // and its producers,
    const long = ofClamped.filter(({ text }) => text.includes("WgmmaAcc<128, 128, 2> acc1") && text.includes("max_(")); // and its epilogue
    assert.equal([backward.length, merged.length, long.length], [1, 2, 1]);
    const chosen = [...(full ? variants : variants.slice(-3)), ...backward, ...merged, ...long];
    const kernels = chosen.map((v) => ({ ...v, replaces: 0, origins: [], scratch: 0 }));
    const tools = { architecture: "sm_90a", compiler: nvrtc, cache: null, jobs: 1 };
    const code = await compileVariants({ kernels, header: backends.cuda.header() }, tools);
    for (const [i, { registers, spills, warnings }] of code.entries()) {
      const { name, launch } = chosen[i] as Variant;
      assert.is(registers, launch.threads === 384 ? 168 : 128, name); // else setmaxnreg was ignored
      assert.is(spills, 0, name);
      assert.equal(warnings, [], name);
    }
  });

test.run();
