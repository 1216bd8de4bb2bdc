// One of two or four workers that test/cuda/nccl.test.ts starts, each with a GPU of its own, as the emulator has them: the collectives of all workers and
// of pairs, against their definitions, in graphs and step by step. Fails with a stack.
import assert from "node:assert/strict";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpretWorkers } from "../../compiler/graph/interpret.ts";
import { type Graph, type NdArray, unstackedStore, type Value } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { groupsOf } from "../../compiler/ops/sharding.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { bytesOf, type DType } from "../../compiler/types/dtype.ts";
import { type } from "../../compiler/types/type.ts";
import { cudaDriver } from "../../runtime/cuda/driver.ts";
import { type CudaOptions, loadOnDevice } from "../../runtime/cuda/executable.ts";
import { localDevice } from "../../runtime/cuda/local-device.ts";
import { PlanExecutable } from "../../runtime/executable/plan-executable.ts";
import { kernelTimes, unknownLimits } from "../../runtime/measure/kernel-times.ts";
import { bytesOfTensor, fromNumbers } from "../../runtime/tensor.ts";
import { workers } from "../../runtime/workers/workers.ts";
import { loweredForCuda } from "../emulator/sequence.ts";
import { filled, ndarray, storesOf } from "../graphs.ts";

const world = workers();
const { rank, size } = world;
const [g, groups, most] = [new GraphBuilder(ops), 3 * size, 11];
const parameter = (name: string, shape: readonly number[], dtype: DType = "f32"): Value =>
  b.param(g, name, type(dtype, shape));

/** Where the groups of worker w end at call n: one of most of it, some of none, some of one row; not all of its rows are in a group. */
function endsOf(w: number, n: number): number[] {
  const ends = [0];
  for (let i = 0; i < groups; i++) {
    const rows = i === (w + n) % groups ? most - 4 : Number((i + w) % 3 === n);
    ends.push(Math.min(most, (ends.at(-1) ?? 0) + rows));
  }
  return ends;
}
const pair = groupsOf(size, 2);
/** Rows that worker w is sent by its pair. */
function owned(w: number, n: number): number {
  const [first, own] = [w - (w % 2), (w % 2) * (groups / 2)];
  const all = [first, first + 1].map((from) => endsOf(from, n));
  return all.reduce((sum, ends) => sum + (ends[own + groups / 2] ?? 0) - (ends[own] ?? 0), 0);
}
const room = Math.max(...[0, 1].flatMap((n) => Array.from({ length: size }, (_, w) => owned(w, n))));
const exchange = (x: Value, back: boolean): Value =>
  b.make1(g, "exchange", [x, offsets], { ...pair, back, length: back ? most : room });
const offsets = b.make1(g, "all_gather", [parameter("ends", [1, groups + 1], "i32")], { workers: size });
const outputs: Record<string, Value> = {
  gathered: b.make1(g, "all_gather", [parameter("line", [70_001], "i32")], { workers: size }),
  traded: b.make1(g, "all_to_all", [parameter("each", [size, 3, 5])], { workers: size }),
};
for (const pair of [groupsOf(size, 2), groupsOf(size, 2, size / 2)]) {
  const apart = `${pair.stride ?? 1} apart`;
  outputs[`gathered by pairs, ${apart}`] = b.make1(g, "all_gather", [parameter("line", [70_001], "i32")], pair);
  outputs[`traded by pairs, ${apart}`] = b.make1(g, "all_to_all", [parameter("both", [2, 3, 5])], pair);
}
for (const [dtype, shape] of [
  ["f32", [most, 5]],
  ["bf16", [most]],
] as const) {
  const there = exchange(parameter(dtype, shape, dtype), false);
  outputs[`${dtype} back`] = exchange(there, true);
  outputs[`${dtype} there`] = there;
}
const graph: Graph = {
  name: "e",
  results: Object.entries(outputs).map(([name, value]) => ({ role: "output" as const, name, value })),
};
const values = graph.results.map((r) => r.value);
const held = (w: number, n: number): Map<string, NdArray> =>
  new Map(
    [...storesOf(values)].map(([name, { dtype, shape }]) => {
      const own = name === "ends" ? ndarray("i32", shape, endsOf(w, n)) : filled(`${name} ${w} ${n}`, dtype, shape);
      return [name, own];
    }),
  );
const stores = [...held(0, 0)].map(([name, form]) => unstackedStore(name, "parameter", form, true));
const plan = planMemory([loweredForCuda(graph)], stores, { target: "cuda", header: "" });
assert.deepEqual(plan.kernels, [], "all is moved");

/** Rows of a result that hold something. */
function lengthOf(name: string, n: number): number | null {
  if (name.endsWith("back")) return endsOf(rank, n).at(-1) ?? 0;
  return name.endsWith("there") ? owned(rank, n) : null;
}
/** Of each call. */
const expected = [0, 1].map(
  (n) =>
    interpretWorkers(
      values,
      Array.from({ length: size }, (_, w) => held(w, n)),
    )[rank],
);
const device = localDevice(world);
assert.equal(device, rank);
async function check(options: CudaOptions): Promise<void> {
  const executor = loadOnDevice(plan, cudaDriver(), [], { world, device, ...options });
  const executable = new PlanExecutable(plan, executor, { poison: true, ...options });
  for (const n of [0, 1, 0]) {
    for (const [name, { dtype, shape, data }] of held(rank, n)) executable.write(name, fromNumbers(dtype, shape, data));
    const got = await executable.run("e", new Map(), { seed: 0, call: 0, step: 0 });
    const wanted = expected[n];
    for (const [i, { name }] of graph.results.entries()) {
      const [mine, want] = [got.outputs[i], wanted?.[i]];
      assert.ok(mine && want, name);
      const row = want.shape.slice(1).reduce((x, y) => x * y, bytesOf[want.dtype]);
      const bytes = row * (lengthOf(name, n) ?? want.shape[0] ?? 1);
      const bits = bytesOfTensor(fromNumbers(want.dtype, want.shape, want.data));
      assert.deepEqual(bytesOfTensor(mine).subarray(0, bytes), bits.subarray(0, bytes), `${name}, call ${n}`);
    }
  }
  executable.close();
}
await check({ graphs: true });
await check({ graphs: false });
const timed = new Set<string>();
await check({
  profile: (entry, times) => {
    for (const { kernel, seconds } of kernelTimes(plan, entry, times, unknownLimits))
      if (seconds > 0) timed.add(kernel);
  },
});
for (const name of ["all_gather", "all_to_all", "exchange"]) assert.ok(timed.has(name), [...timed].join());
const strays = new PlanExecutable(plan, loadOnDevice(plan, cudaDriver(), [], { world, device }), {});
const stray = (ends: readonly number[]): Promise<unknown> => {
  strays.write("ends", fromNumbers("i32", [1, groups + 1], ends));
  return strays.run("e", new Map(), { seed: 0, call: 0, step: 0 });
};
await assert.rejects(() => stray(Array<number>(groups + 1).fill(most + 1)), /cannot be exchanged/);
const crowd = new RegExp(`NO_ROOM: worker 0 is sent ${2 * most} rows, and has room for ${room}$`);
await assert.rejects(() => stray([0, ...Array<number>(groups).fill(most)]), crowd);
strays.close();
console.log(`worker ${rank} of ${size} agrees`);
