// One of the workers that test/workers/collectives.test.ts starts: a plan of all collectives, against their definitions. Fails with a stack.
import assert from "node:assert/strict";
import { emitHost, hostHeader } from "../../compiler/emit/unit.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpretWorkers } from "../../compiler/graph/interpret.ts";
import {
  type Graph,
  type NdArray,
  type ReduceName,
  type Store,
  unstackedStore,
  type Value,
} from "../../compiler/graph/node.ts";
import { choosePanels } from "../../compiler/lower/layout.ts";
import { lower } from "../../compiler/lower/lower.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { groupsOf } from "../../compiler/ops/sharding.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { printPlan } from "../../compiler/plan/print.ts";
import { bytesOf, type DType } from "../../compiler/types/dtype.ts";
import { type } from "../../compiler/types/type.ts";
import type { Outcome, Tensor } from "../../runtime/executable/executable.ts";
import type { PlanExecutable } from "../../runtime/executable/plan-executable.ts";
import { panelWidth } from "../../runtime/host/backend.ts";
import { type HostOptions, hostExecutable } from "../../runtime/host/executable.ts";
import { toolchain } from "../../runtime/host/toolchain.ts";
import { kernelTimes, unknownLimits } from "../../runtime/measure/kernel-times.ts";
import { bytesOfTensor, fromNumbers, numbers } from "../../runtime/tensor.ts";
import { mpiWorkers } from "../../runtime/workers/mpi.ts";
import { filled, ndarray, storesOf } from "../graphs.ts";

const everyone = mpiWorkers();
const { rank, size } = everyone;
const [g, groups, most] = [new GraphBuilder(ops), 3 * size, 11];
const width = panelWidth(await toolchain());
const parameter = (name: string, shape: readonly number[], dtype: DType = "f32"): Value =>
  b.param(g, name, type(dtype, shape));
/** By name, those of which only so many rows, in groups, hold something. */
const [results, rows]: [Record<string, Value>, Map<string, (w: number) => number>] = [{}, new Map()];

/** Where the groups of worker w end: one of it all, some of none, some of one row; not all of its rows are in a group. */
function endsOf(w: number): number[] {
  const counts = Array.from({ length: groups }, (_, i) => (i === w ? most - 4 : Number((i + w) % 3 === 0)));
  const ends = [0];
  for (const n of counts) ends.push(Math.min(most, (ends.at(-1) ?? 0) + n));
  return ends;
}
const all = Array.from({ length: size }, (_, w) => endsOf(w));
const lengthOf = (w: number): number => all[w]?.at(-1) ?? 0;
const [from, to] = [(w: number): number => w * 3, (w: number): number => w * 3 + 3];
const owned = (w: number): number => all.reduce((n, ends) => n + (ends[to(w)] ?? 0) - (ends[from(w)] ?? 0), 0);
const room = Math.max(...all.map((_, w) => owned(w)));

const gather = (x: Value): Value => b.make1(g, "all_gather", [x], { workers: size });
const reduce = (x: Value, fn: ReduceName): Value => b.make1(g, "all_reduce", [x], { fn, workers: size });
const exchange = (x: Value, offsets: Value, back: boolean): Value =>
  b.make1(g, "exchange", [x, offsets], { workers: size, back, length: back ? most : room });

/** Those of four by pairs, which stand together and which do not. */
const pairs = size === 4 ? [groupsOf(size, 2), groupsOf(size, 2, 2)] : [];
const offsets = gather(parameter("ends", [1, groups + 1], "i32"));
results["gather of one row that is made"] = gather(b.mul(g, parameter("row", [1, 5]), 3));
results["gather of a store"] = gather(parameter("short", [5, 7], "bf16"));
results["gather of a line"] = gather(parameter("line", [13], "i32"));
for (const [name, shape, dtype] of [
  ["rows", [size, 5], "bf16"],
  ["a line, what is made", [size * 70_001], "f32"],
] as const) {
  const x = b.mul(g, parameter(`all to all of ${name}`, shape, dtype), 3);
  const each = b.reshape(g, x, [size, shape[0] === size ? 5 : 70_001]);
  results[`all to all of ${name}`] = b.make1(g, "all_to_all", [each], { workers: size });
}
for (const [name, shape, dtype] of [
  ["numbers", [], "f32"],
  ["few numbers", [3], "f32"],
  ["narrow", [7001, 3], "bf16"],
  ["whole", [4999], "i32"],
] as const)
  for (const fn of ["sum", "max", "min"] as const)
    results[`${fn} of ${name}`] = reduce(parameter(name, shape, dtype), fn);
results["sum of more than go in a round"] = reduce(parameter("many", [600_011]), "sum");
results["sum of what is made, where it lies"] = b.add(g, reduce(b.mul(g, parameter("points", [67, 31]), 2), "sum"), 1);
for (const [dtype, shape] of [
  ["f32", [most, 5]],
  ["bf16", [most]],
  ["i32", [most, 1]],
] as const) {
  const [x, there] = [parameter(`rows ${dtype}`, shape, dtype), `${dtype} rows there`];
  const moved = b.add(g, exchange(x, offsets, false), 1);
  results[there] = moved;
  results[`${there} and back`] = exchange(moved, offsets, true);
  rows.set(there, owned).set(`${there} and back`, lengthOf);
}
/** Rows that worker w is sent by its pair. */
function ofPair(w: number): number {
  const [first, own] = [w - (w % 2), (w % 2) * (groups / 2)];
  const counts = all.slice(first, first + 2).map((ends) => (ends[own + groups / 2] ?? 0) - (ends[own] ?? 0));
  return counts.reduce((n, count) => n + count, 0);
}
const roomOfPair = Math.max(...all.map((_, w) => ofPair(w)));
for (const pair of pairs) {
  const inPairs = (what: string): string => `by pairs, ${pair.stride ?? 1} apart: ${what}`;
  const moved = (op: "all_gather" | "all_to_all", x: Value): Value => b.make1(g, op, [b.mul(g, x, 3)], pair);
  results[inPairs("one row")] = moved("all_gather", parameter("row", [1, 5]));
  results[inPairs("two rows")] = moved("all_gather", parameter("two rows", [2, 3]));
  results[inPairs("all to all")] = moved("all_to_all", parameter("two rows", [2, 3]));
  for (const name of ["few numbers", "many"])
    results[inPairs(`sum of ${name}`)] = b.make1(g, "all_reduce", [parameter(name, [name === "many" ? 600_011 : 3])], {
      fn: "sum",
      ...pair,
    });
}
const [beside] = pairs;
if (beside) {
  const x = parameter("rows f32", [most, 5]);
  const swap = (v: Value, back: boolean): Value =>
    b.make1(g, "exchange", [v, offsets], { ...beside, back, length: back ? most : roomOfPair });
  const there = b.add(g, swap(x, false), 1);
  results["by pairs: rows there"] = there;
  results["by pairs: rows there and back"] = swap(there, true);
  rows.set("by pairs: rows there", ofPair).set("by pairs: rows there and back", lengthOf);
}
const weight = parameter("weight", [16, 2 * width]);
const slope = reduce(b.dot(g, parameter("left", [16, 9]), b.dot(g, parameter("right", [9, 16]), weight)), "sum");
const updated = b.sub(g, weight, slope);

const graph: Graph = {
  name: "e",
  results: [
    ...Object.entries(results).map(([name, value]) => ({ role: "output" as const, name, value })),
    { role: "store", name: "weight", value: updated },
  ],
};
const values = graph.results.map((r) => r.value);
/** What worker w has: of most stores numbers of its own. */
function held(w: number): Map<string, NdArray> {
  const own = (name: string, x: NdArray): NdArray => {
    if (name === "weight") return x;
    if (name === "ends") return ndarray("i32", [1, groups + 1], all[w] ?? []);
    const numbers = filled(`${name} of ${w}`, x.dtype, x.shape);
    if (name === "few numbers") numbers.data[w % 3] = Number.NaN;
    if (name === "whole") return { ...numbers, data: numbers.data.map((n) => n * (2 ** 28 - 1)) };
    return numbers;
  };
  return new Map([...storesOf(values)].map(([name, x]) => [name, own(name, x)]));
}
const everywhere = all.map((_, w) => held(w));
const stores: Store[] = [...(everywhere[0] ?? [])].map(([name, type]) => unstackedStore(name, "parameter", type, true));
const panels = choosePanels([graph], stores, width);
const plan = planMemory([lower(graph, { emit: emitHost, panels })], stores, { target: "host", header: hostHeader() });

type Profile = NonNullable<HostOptions["profile"]>;

async function opened(threads: number, profile: Profile): Promise<PlanExecutable> {
  const executable = await hostExecutable(plan, { threads, poison: true, profile });
  for (const [name, { dtype, shape, data }] of everywhere[rank] ?? [])
    executable.write(name, fromNumbers(dtype, shape, data));
  return executable;
}
const runOnce = (executable: PlanExecutable): Promise<Outcome> =>
  executable.run("e", new Map(), { seed: 0, call: 0, step: 0 });
async function run(threads: number): Promise<readonly Tensor[]> {
  let kernels: readonly string[] = [];
  const executable = await opened(threads, (entry, times) => {
    kernels = kernelTimes(plan, entry, times, unknownLimits).flatMap((t) => (t.seconds > 0 ? [t.kernel] : []));
  });
  const { outputs } = await runOnce(executable);
  const got = [...outputs, executable.read("weight")];
  executable.close();
  for (const name of ["all_gather", "all_reduce", "all_to_all", "exchange"])
    assert.ok(kernels.includes(name), `${name} is not timed`);
  assert.ok(kernels.includes("wait for all_reduce"), "no sum is beside");
  return got;
}
/** Sums are f32; of so few workers they are within two units in the last place of the largest number. A NaN is far from all but a NaN. */
function near(name: string, got: Tensor, want: NdArray, count: number): void {
  assert.deepEqual(got.shape, want.shape, name);
  const [mine, wanted] = [numbers(got).slice(0, count), want.data.slice(0, count)];
  const most = wanted.reduce((m, x) => Math.max(m, Math.abs(x) || 0), 1e-30);
  const apart = want.dtype === "bf16" ? 2 ** -8 : want.dtype === "i32" ? 0 : 2 ** -22;
  for (const [i, x] of wanted.entries()) {
    const y = mine[i] ?? Infinity;
    const fits = Number.isNaN(x) ? Number.isNaN(y) : Math.abs(x - y) <= apart * most;
    assert.ok(fits, `${name}[${i}] is ${y}, not ${x}`);
  }
}

const expected = interpretWorkers(values, everywhere);
const got = await run(2);
for (const [i, { name }] of graph.results.entries()) {
  const [mine, want] = [got[i], expected[rank]?.[i]];
  assert.ok(mine && want, name);
  const row = want.shape.slice(1).reduce((n, m) => n * m, 1);
  near(name, mine, want, (rows.get(name)?.(rank) ?? want.shape[0] ?? 1) * row);
}
const bits = (list: readonly Tensor[]): Uint8Array[] =>
  graph.results.map(({ name }, i) => {
    const tensor = list[i] as Tensor;
    const row = tensor.shape.slice(1).reduce((n, m) => n * m, 1);
    return bytesOfTensor(tensor).subarray(
      0,
      (rows.get(name)?.(rank) ?? tensor.shape[0] ?? 1) * row * bytesOf[tensor.dtype],
    );
  });
assert.deepEqual(bits(await run(1)), bits(got), "threads changed a bit");
for (const [i, { name }] of graph.results.entries()) {
  if (rows.has(name) || name.startsWith("all to all") || name.startsWith("by pairs")) continue;
  const own = bytesOfTensor(got[i] as Tensor);
  const others = everyone.allGather(own);
  for (let w = 0; w < size; w++)
    assert.ok(
      Buffer.from(own).equals(others.subarray(w * own.length, (w + 1) * own.length)),
      `${name} of ${w} and ${rank}`,
    );
}
assert.equal(panels.get("weight"), width, "a sum of all workers lies as the weight that it is of");
assert.match(printPlan(plan), /all_reduce_max\(.*\), all workers/);
assert.match(printPlan(plan), /exchange_back\(/);
for (const joined of ["all_reduce_sum", "all_reduce_max", "exchange"])
  assert.match(printPlan(plan), new RegExp(`${joined}\\(([^,)]*, ){3}`), `${joined} of several at once`);
const strays = await opened(1, () => {});
strays.write("ends", fromNumbers("i32", [1, groups + 1], Array<number>(groups + 1).fill(most + 1)));
await assert.rejects(() => runOnce(strays), /rows \d+ to \d+ of 11 cannot be exchanged/);
const sent = (count: number, of: number): string => `is sent ${count} rows, and has room for ${of}$`;
if (size > 1) {
  strays.write("ends", fromNumbers("i32", [1, groups + 1], [0, ...Array<number>(groups).fill(most)]));
  const crowd = new RegExp(`NO_ROOM: worker 0 (${sent(size * most, room)}|${sent(2 * most, roomOfPair)})`);
  await assert.rejects(() => runOnce(strays), crowd);
  // the other pair finds it too
  strays.write("ends", fromNumbers("i32", [1, groups + 1], [0, ...Array<number>(groups).fill(rank < 2 ? 0 : most)]));
  if (size === 4) await assert.rejects(() => runOnce(strays), new RegExp(`worker 2 ${sent(2 * most, roomOfPair)}`));
}
strays.close();
if (size > 1)
  assert.throws(() => everyone.allGather(new Uint8Array(rank)), /workers gave 0 and 1 bytes to be gathered/);
console.log(`worker ${rank} of ${size} agrees`);
