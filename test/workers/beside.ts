// One of two workers that test/cuda/nccl.test.ts starts, each with a GPU of its own, as the emulator has them: sums beside products, and an exchange between,
// against their definitions. `planted`: each wait stands at the end instead, which must show. Fails with a stack.
import assert from "node:assert/strict";
import { argv } from "node:process";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpretWorkers } from "../../compiler/graph/interpret.ts";
import { type Graph, type NdArray, unstackedStore, type Value } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { isBeside, type Plan, type Step } from "../../compiler/plan/plan.ts";
import { backends } from "../../compiler/targets.ts";
import { type } from "../../compiler/types/type.ts";
import { type CudaOptions, cudaExecutable } from "../../runtime/cuda/executable.ts";
import { localDevice } from "../../runtime/cuda/local-device.ts";
import { kernelTimes, unknownLimits } from "../../runtime/measure/kernel-times.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { workers } from "../../runtime/workers/workers.ts";
import { loweredForCuda } from "../emulator/sequence.ts";
import { filled, ndarray, storesOf } from "../graphs.ts";

const world = workers();
const { rank, size } = world;
const g = new GraphBuilder(ops);
const parameter = (name: string, shape: readonly number[]): Value => b.param(g, name, type("f32", shape));
const reduce = (x: Value): Value => b.make1(g, "all_reduce", [x], { fn: "sum", workers: size });

// a chain of products, as a backward is, a gradient of each, and rows that are exchanged in the middle
const width = 66;
const offsets = b.make1(g, "all_gather", [b.param(g, "ends", type("i32", [1, size + 1]))], { workers: size });
let x = parameter("x", [width, width]);
const outputs: Record<string, Value> = {};
for (let layer = 0; layer < 4; layer++) {
  const weight = parameter(`weight ${layer}`, [width, width]);
  const slope = reduce(b.dot(g, b.swap(g, x), x));
  outputs[`updated ${layer}`] = b.sub(g, weight, b.mul(g, slope, 0.001));
  x = b.mul(g, b.dot(g, x, weight), 0.01);
  if (layer === 1) x = b.make1(g, "exchange", [x, offsets], { workers: size, back: false, length: width });
}
outputs["last"] = x;
const graph: Graph = {
  name: "e",
  results: Object.entries(outputs).map(([name, value]) => ({ role: "output" as const, name, value })),
};
const values = graph.results.map((r) => r.value);
/** Every worker sends the same number of rows to each. */
const ends = Array.from({ length: size + 1 }, (_, i) => (width * i) / size);
const held = (w: number): Map<string, NdArray> =>
  new Map(
    [...storesOf(values)].map(([name, { dtype, shape }]) => [
      name,
      name === "ends" ? ndarray("i32", shape, ends) : filled(`${name} ${name === "x" ? w : ""}`, dtype, shape),
    ]),
  );
const stores = [...held(0)].map(([name, form]) => unstackedStore(name, "parameter", form, true));
const plan = planMemory([loweredForCuda(graph)], stores, {
  target: "cuda",
  header: backends.cuda.header(),
  grain: backends.cuda.grain,
});
const [entry] = plan.entries;
assert.ok(entry);
const begun = entry.steps.filter(isBeside);
assert.ok(begun.some((s) => s.kind === "launch") && begun.some((s) => s.kind === "collective"), "nothing is beside");
const isWait = (s: Step): boolean => s.kind === "wait";
const waits = entry.steps.filter(isWait);
const late: Plan = {
  ...plan,
  entries: [{ ...entry, steps: [...entry.steps.filter((s) => !isWait(s)), ...waits] }],
};

const expected = interpretWorkers(
  values,
  Array.from({ length: size }, (_, w) => held(w)),
)[rank];
const device = localDevice(world);
/** The results that are not near what they should be, after two runs. */
async function wrong(of: Plan, options: CudaOptions): Promise<string[]> {
  const executable = await cudaExecutable(of, { world, device, poison: true, ...options });
  const found: string[] = [];
  for (let run = 0; run < 2; run++) {
    for (const [name, { dtype, shape, data }] of held(rank)) executable.write(name, fromNumbers(dtype, shape, data));
    const { outputs: got } = await executable.run("e", new Map(), { seed: 0, call: 0, step: 0 });
    for (const [i, { name }] of graph.results.entries()) {
      const [mine, want] = [got[i], expected?.[i]];
      assert.ok(mine && want, name);
      const all = numbers(mine);
      const most = Math.max(...want.data.map(Math.abs));
      if (!want.data.every((y, at) => Math.abs((all[at] ?? Number.NaN) - y) <= 2 ** -18 * most)) found.push(name);
    }
  }
  executable.close();
  return found;
}
if (argv[2] === "planted") {
  assert.notDeepEqual(await wrong(late, { graphs: true }), [], "a wait that comes too late does not show");
} else {
  for (const graphs of [true, false]) assert.deepEqual(await wrong(plan, { graphs }), [], `graphs ${graphs}`);
  const timed = new Set<string>();
  const profile: CudaOptions["profile"] = (of, times) => {
    for (const { kernel } of kernelTimes(plan, of, times, unknownLimits)) timed.add(kernel);
  };
  assert.deepEqual(await wrong(plan, { profile }), [], "timed");
  assert.ok(
    [...timed].some((name) => name.startsWith("wait for ")),
    [...timed].join(),
  );
}
console.log(`worker ${rank} of ${size} agrees`);
