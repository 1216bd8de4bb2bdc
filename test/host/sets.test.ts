// Instruction sets and compilers: every op's kernels for each that this CPU can run, and the text of the others. MOEC_TEST=full takes every sample
// for each, else they share them out: those of the tile ops, and half of the others.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { hostHeader, hostUnit } from "../../compiler/emit/unit.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { kernelFlags, toolchain } from "../../runtime/host/toolchain.ts";
import { native } from "../../runtime/native.ts";
import { buffer, header, launch, write } from "../sequences.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { compareOps, kernelsOfSamples, type OpSample, opSamples, samplesInTurn, samplesOfSet } from "./compare.ts";
import { hasClang, hasFeature, x64 } from "./machine.ts";
import { compiled } from "./run.ts";

const test = suite("sets");
const using = (set: string) => toolchain({ ...process.env, MOEC_ISA: set });
/** The set's own flags, on what every CPU of this kind has. */
const machine = async (set: string): Promise<string[]> => [
  ...(x64 ? ["-march=x86-64"] : []),
  ...(await using(set)).flags.filter((flag) => flag.startsWith("-m")),
];
const all = opSamples();
const hasAvx2 = hasFeature("avx2") && hasFeature("fma");
const hasAvx512 = x64 && hasFeature("avx512bw");
/** What runs here. */
const runnable = [
  "portable",
  ...(hasAvx2 ? ["avx2"] : []),
  ...(hasAvx512 ? ["avx512"] : []),
  ...(hasClang ? ["clang++"] : []),
];
const samplesOf = (name: string): readonly OpSample[] =>
  samplesOfSet(all, Math.max(0, runnable.indexOf(name)), runnable.length);
const library = (of: readonly OpSample[], flags: readonly string[], compiler?: string): string =>
  compiled(kernelsOfSamples(of), [...flags, "-Og"], compiler);

test("each sample is of some set, and sums of each dtype are of all", () => {
  const sets = runnable.map((name) => samplesOf(name));
  assert.is(new Set(sets.flat()).size, all.length);
  for (const set of sets)
    for (const dtype of ["f32", "i32"])
      assert.ok(set.some(({ node }) => node.op.name === "reduce" && node.results[0]?.type.dtype === dtype));
});
test("portable kernels are right", async () => {
  const of = samplesOf("portable");
  compareOps(of, library(of, await machine("portable")));
});
if (hasAvx2)
  test("AVX2 kernels are right", async () => {
    const of = samplesOf("avx2");
    compareOps(of, library(of, await machine("avx2")));
  });
if (x64)
  test("AVX-512 kernels compile to its instructions, whatever this CPU has", async () => {
    const of = samplesOf("avx512");
    const lib = library(of, await machine("avx512"));
    const code = execFileSync("objdump", ["-d", "--no-show-raw-insn", lib], { encoding: "utf8", maxBuffer: 2 ** 28 });
    for (const instruction of ["vfmadd\\d+ps .*%zmm", "vscalefps .*%zmm", "vmovups .*%zmm"])
      assert.match(code, new RegExp(instruction));
    if (hasAvx512) compareOps(of, lib);
  });
if (!hasClang) console.log(" sets: no clang++ here, its kernels are not tested");
else
  test("kernels of clang++ are right", () => {
    const of = samplesOf("clang++");
    compareOps(of, library(of, [], "clang++"));
  });

if (hasClang)
  test("products for arm64 are by whole vectors, whatever this CPU is", () => {
    const products = samplesInTurn(
      all.filter(({ node }) => node.op.name === "dot"),
      0,
      6,
    );
    const args = ["--target=aarch64-linux-gnu", ...kernelFlags, "-w", "-S", "-x", "c++", "-", "-o", "-"];
    const unit = hostUnit(hostHeader(), kernelsOfSamples(products));
    const code = execFileSync("clang++", args, { input: unit, encoding: "utf8", maxBuffer: 2 ** 28 });
    assert.match(code, /fmla\s+v\d+\.4s/);
    assert.not.match(code, /fmla\s+v\d+\.2s/);
  });

test("MOEC_ISA names a set, and each has kernels of its own", async () => {
  const [portable, own] = [await using("portable"), await using("native")];
  assert.is.not(portable.identity, own.identity);
  const isGnu = /(^|\/)g\+\+/.test(own.command[0]);
  assert.is(own.flags.includes("-fstack-reuse=none"), isGnu);
  assert.not.ok(portable.features.some((feature) => feature.startsWith("AVX")));
  const error = await using("avx1024").then(
    () => null,
    (e: unknown) => e,
  );
  assert.ok(error instanceof Problem && /MOEC_ISA/.test(error.message) && /portable/.test(error.help));
});

/** A folder with programs that predefine these macros, and do nothing else, as compilers. */
function compilersOf(named: Readonly<Record<string, readonly string[]>>): string {
  const folder = temporaryFolder();
  for (const [name, macros] of Object.entries(named)) {
    const lines = macros.map((macro) => `echo "#define ${macro}"`);
    writeFileSync(join(folder, name), ["#!/bin/sh", ...lines].join("\n"), { mode: 0o755 });
  }
  return folder;
}
/** The features found in what a compiler predefines. */
async function featuresOf(macros: readonly string[]): Promise<readonly string[]> {
  const compiler = join(compilersOf({ "c++": macros }), "c++");
  return (await toolchain({ ...process.env, CXX: compiler, MOEC_ISA: "portable" })).features;
}
test("features are found in the macros of x64 and of arm64", async () => {
  assert.equal(await featuresOf(["__AVX512F__ 1", "__AMX_TILE__ 1", "__AMXBF16__ 1", "__SSE2__ 1"]), [
    "AMXBF16",
    "AMX_TILE",
    "AVX512F",
  ]);
  assert.equal(await featuresOf(["__ARM_NEON 1", "__ARM_FEATURE_FMA 1", "__ARM_ARCH 8"]), [
    "ARM_FEATURE_FMA",
    "ARM_NEON",
  ]);
});
test("g++ before 12 is refused", async () => {
  assert.equal(await featuresOf(["__GNUC__ 12", "__FMA__ 1"]), ["FMA"]);
  assert.equal(await featuresOf(["__GNUC__ 4", "__clang__ 1", "__FMA__ 1"]), ["FMA"]);
  const error = await featuresOf(["__GNUC__ 11", "__FMA__ 1"]).then(
    () => null,
    (e: unknown) => e,
  );
  assert.ok(error instanceof Problem && /older than g\+\+ 12/.test(error.message) && /clang\+\+ 14/.test(error.help));
});
test("where g++ is too old, a newer one beside it is taken", async () => {
  const PATH = compilersOf({ "g++": ["__GNUC__ 11"], "g++-12": ["__GNUC__ 12"], "clang++-15": ["__clang__ 1"] });
  assert.equal((await toolchain({ PATH, MOEC_ISA: "portable" })).command, ["g++-12"]);
});

const plan = () => {
  const out = buffer("out", [1]);
  const results = [{ role: "loss" as const, name: "one", buffer: out }];
  const launches = [launch("one", "a[0] = 1;", [write(out)])];
  return planMemory([{ entry: "main", launches, assigns: [], results }], [], { target: "host", header });
};
test("a kernel for another CPU is not loaded", async () => {
  const { command, flags } = await using("native");
  const folderOf = temporaryFolder();
  const load = (needs: string | null): unknown => {
    const [source, library] = [join(folderOf, `${needs}.cpp`), join(folderOf, `${needs}.so`)];
    writeFileSync(source, needs === null ? "" : `extern "C" const char moec_needs[] = "${needs}";`);
    execFileSync(command[0], [...command.slice(1), ...flags, "-w", source, "-o", library]);
    const empty = { bytes: 64, threads: 1, scratch: 0, buffers: [], kernels: [], entries: [] };
    return new (native().Executor)({ ...empty, libraries: [library] });
  };
  assert.ok(load(""));
  if (hasFeature("avx2")) assert.ok(load(" avx avx2"));
  assert.throws(() => load(" avx avx1024"), /kernels for a CPU with (avx|avx1024) cannot run on this one/);
  assert.throws(() => load(null), /does not say what CPU/);
  assert.match(hostUnit(hostHeader(), []), /moec_needs/);
});
if (x64 && !hasFeature("avx512f"))
  test("asking for what this CPU lacks is a problem", async () => {
    const before = process.env["MOEC_ISA"];
    process.env["MOEC_ISA"] = "avx512";
    try {
      const error = await hostExecutable(plan(), { threads: 1, cache: new KernelCache(temporaryFolder()) }).then(
        () => null,
        (e: unknown) => e,
      );
      assert.ok(error instanceof Problem && /cannot run on this one/.test(error.message), String(error));
      assert.match(error.help, /MOEC_ISA.*npm rebuild/);
    } finally {
      if (before === undefined) delete process.env["MOEC_ISA"];
      else process.env["MOEC_ISA"] = before;
    }
  });

test.run();
