// On a GPU, where there is one: every op's samples, layers, and contractions by wgmma, through NVIDIA's driver and NVRTC against their
// definitions; temporaries begin as NaN, and the second run, by a graph, must repeat the first. Each case has a context of its own, for a
// kernel that fails leaves one that is of no use.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../compiler/diagnostic.ts";
import { interpret } from "../compiler/graph/interpret.ts";
import { backends } from "../compiler/targets.ts";
import { compileKernels } from "../runtime/cuda/code.ts";
import { architectureOf, cudaDriver, type Driver } from "../runtime/cuda/driver.ts";
import { compileVariants, variantsFor } from "../runtime/cuda/variants.ts";
import { KernelCache } from "../runtime/host/cache.ts";
import { cores } from "../runtime/host/machine.ts";
import { nvrtc } from "../runtime/nvrtc.ts";
import { cases, compare as compareContraction, type Made, made } from "./cuda/contractions.ts";
import { type Runnable, throughRuntime } from "./cuda/runtime.ts";
import { loweredForCuda } from "./emulator/sequence.ts";
import { folder } from "./folder.ts";
import { samples, shortSamples, storesOf } from "./graphs.ts";
import { bounds, compare, elementsOf, graphOf, kernelsOf, valuesOf } from "./host/compare.ts";
import { layers } from "./layers.ts";

const test = suite("gpu");
const cache = new KernelCache(folder());

function found(): Driver | null {
  try {
    return cudaDriver();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    console.log(`skipped: ${error.message.split("\n")[0] ?? ""}`);
    return null;
  }
}
/** Into the cache, as many at once as there are cores. */
async function compiled(all: readonly Runnable[], { version, devices: [device] }: Driver): Promise<void> {
  const compiler = await nvrtc(process.env, version);
  const architecture = architectureOf(device, compiler.architectures);
  const plan = { kernels: kernelsOf(all.map((r) => r.sequence)), header: backends.cuda.header() };
  const tools = { architecture, compiler, cache, jobs: cores() };
  await compileKernels(plan, tools);
  await compileVariants({ ...plan, kernels: variantsFor(plan, architecture) }, tools);
}
interface Named extends Runnable {
  readonly name: string;
}
/** Throws of all that went wrong, not only of the first. `repeats`: the second run must give the bits of the first. */
async function allRight<C extends Named>(
  driver: Driver,
  all: readonly C[],
  check: (c: C, results: readonly Float64Array[]) => void,
  repeats = true,
): Promise<string[]> {
  await compiled(all, driver);
  const [wrong, told]: [string[], string[]] = [[], []];
  for (const c of all)
    try {
      const ran = await throughRuntime(c, { cache, poison: true });
      told.push(...ran.told);
      const [first = [], second = []] = ran.runs;
      check(c, first);
      if (repeats && first.some((x, i) => !sameBits(x, second[i]))) throw new Error("two runs differ");
      check(c, second);
    } catch (error) {
      wrong.push(`${c.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  assert.is(wrong.join("\n"), "");
  return told;
}
const sameBits = (a: Float64Array, b: Float64Array | undefined): boolean =>
  b !== undefined && a.every((x, i) => Object.is(x, b[i]));

const contractionRight = (c: Made, results: readonly Float64Array[]): void =>
  compareContraction(c, { results, findings: "" });

const driver = found();
if (driver) {
  test("every op against its definition", async () => {
    const ops = [...samples(), ...shortSamples()]
      .filter(({ node }) => node.op.name !== "const" && node.results.every((v) => v.type.dtype !== "f64"))
      .map((s) => ({ ...s, sequence: loweredForCuda(graphOf(s.node.results)), stores: storesOf(s.node.results) }));
    await allRight(driver, ops, ({ node, stores }, results) => {
      const bound = bounds(node, stores);
      interpret(node.results, stores, { exact: true }).forEach((want, r) => {
        for (let i = 0; i < elementsOf(node, stores, r); i++) {
          const [x, y] = [want.data[i] ?? Number.NaN, results[r]?.[i] ?? Number.NaN];
          if (!(x === y || Math.abs(x - y) <= bound(x, r, i))) throw new Error(`result ${r}[${i}] is ${y}, not ${x}`);
        }
      });
    });
  });
  test("layers against the interpreter", async () => {
    const all = Object.entries(layers).map(([name, graph]) => ({
      name,
      graph,
      sequence: loweredForCuda(graphOf(valuesOf(graph))),
      stores: storesOf(valuesOf(graph)),
    }));
    await allRight(driver, all, ({ name, graph }, results) => compare(name, graph, results));
  });
  test("contractions of bf16, by wgmma where the device has it", async () => {
    const all = cases.map((c) => made(c, (sequence) => sequence));
    // after the first run it takes over, and adds up in another order
    const told = await allRight(driver, all, contractionRight, false);
    assert.equal(
      told.filter((line) => line.includes("is not used")),
      [],
    );
  });
}
test.run();
