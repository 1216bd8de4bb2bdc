// Long unrolled loops: what their steps write and send back, in text and launches that go with the number of steps, not with its square.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/modules.ts";
import { requireValid } from "../../compiler/check/valid.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import {
  type Elaborated,
  type Graph,
  isRuntimeInput,
  type NdArray,
  type Store,
  type Value,
} from "../../compiler/graph/node.ts";
import { verifyGraph } from "../../compiler/graph/verify.ts";
import { nodesOf, valuesOf } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs, toPlan } from "../../compiler/pipeline.ts";
import { requireMemory } from "../../compiler/plan/bytes.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import type { Plan, Step } from "../../compiler/plan/plan.ts";
import { printPlan } from "../../compiler/plan/print.ts";
import { type VirtualArg } from "../../compiler/plan/sequence.ts";
import { verifyPlan } from "../../compiler/plan/verify.ts";
import { joinPieces } from "../../compiler/transform/scatters/pieces.ts";
import { type } from "../../compiler/types/type.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { zeros } from "../../runtime/tensor.ts";
import { byVariants, loweredForCuda, modulesOf, runEmulated } from "../emulator/sequence.ts";
import { distance, filled, storesOf } from "../graphs.ts";
import { graphOf, kernelsOf } from "../host/compare.ts";
import { checkGraphs } from "../random/graphs-on-host.ts";
import { defaultMode } from "../random/host-modes.ts";
import { buffer, kernelOf, launch, read, write } from "../sequences.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("steps");
/** A recurrence with a product in it, one of points alone with a running maximum, and an output of each step. */
const source = {
  name: "steps.moe",
  text: `import { Linear } from "std/nn"
layer Steps(D, T) {
  input: Linear(D, 2 * D, biased: true)
  hidden: Linear(D, D)
  param w: float[D] = 0.5
  forward(x: float[B, T, D]) -> float[B, T, D] {
    let a = input(x)
    let h: float[B, D] = 0
    let p: float[B, D] = -1
    let all: float[B, T, D] = 0
    for t in 0:T {
      h = sigmoid(a[:, t, :D]) * h + tanh(a[:, t, D:] + hidden(h))
      p = maximum(p - exp(w), a[:, t, :D])
      all = put(all, range(1)[new] + t, (h * exp(p - a[:, t, D:]))[:, new], axis: 1)
    }
    return all
  }
}`,
};
function elaborated(T: number, D = 6): Elaborated {
  const loaded = load(source);
  requireValid(loaded);
  const entries = [{ method: "forward", name: "forward", sizes: { B: 2 }, gradients: true }];
  return toGraphs(loaded, { declaration: "Steps", sizes: { D, T }, precision: "f32", entries }, silentObserver());
}
const planned = (T: number): Plan => toPlan(elaborated(T), silentObserver());
const quarter = (x: NdArray): NdArray => ({ ...x, data: x.data.map((n) => Math.fround(n / 4)) });
const text = ({ kernels }: Plan): number => kernels.reduce((sum, k) => sum + k.text.length, 0);
const launches = ({ entries }: Plan): number => entries.find((e) => e.name === "forward")?.steps.length ?? 0;

test("more steps are more launches of the same kernels", () => {
  const [few, more, most] = [planned(96), planned(144), planned(192)] as [Plan, Plan, Plan];
  assert.ok(text(most) < 1.15 * text(few), `${text(few)} and ${text(most)} characters`);
  assert.ok(more.kernels.length < few.kernels.length + 8, `${few.kernels.length} and ${more.kernels.length} kernels`);
  const [first, second] = [launches(more) - launches(few), launches(most) - launches(more)];
  assert.ok(Math.abs(second - first) <= 4 && first < 48 * 10, `${first} and ${second} more launches`);
});
test("what is said of a plan's buffers names each once, and not where each step begins in it", () => {
  const plan = planned(40);
  const rests = plan.buffers.filter((x) => x.of !== undefined);
  assert.ok(rests.length > 40);
  const printed = printPlan(plan);
  for (const { name } of rests) assert.not.ok(printed.includes(`  buffer ${name}:`));
  assert.throws(
    () => requireMemory(plan, { bytes: 0 }),
    /the largest buffers are(\n {2}[^ ]+: f32\[[\d, ]+\], \S+ \S+){5}$/,
  );
});
test("what steps make and send back is right, in places of one buffer that begin anywhere", async () => {
  for (const D of [6, 16]) {
    const { graphs, stores } = elaborated(40, D);
    const graph = graphs.find((g) => g.name === "forward") as Graph;
    const held = stores.map(
      (s): Store => (s.role === "input" && !isRuntimeInput(s.name) ? { ...s, role: "state" } : s),
    );
    const plan = toPlan({ graphs: [graph], stores: held }, silentObserver());
    const ex = await hostExecutable(plan, { threads: 2, cache: new KernelCache(temporaryFolder()), poison: true });
    const values = new Map(ex.stores.map((s) => [s.name, quarter(filled(s.name, s.dtype, s.shape))]));
    for (const [name, { dtype, shape, data }] of values) {
      const empty = zeros(dtype, shape);
      ex.write(name, { ...empty, data: empty.data.map((_, i) => data[i] ?? Number.NaN) });
    }
    const { outputs, gradients } = await ex.run("forward", new Map(), { seed: 0, call: 0, step: 0 });
    const got = [...outputs, ...gradients.values()];
    ex.close();
    const want = interpret(valuesOf(graph), values);
    assert.is(got.length, want.length);
    for (const [i, x] of want.entries()) {
      const scale = Math.max(1e-3, ...x.data.map(Math.abs));
      assert.ok(distance(x.data, got[i]?.data ?? []) < 2e-5 * scale, `${D}: result ${i}`);
    }
  }
});

type Make = (g: GraphBuilder, x: Value) => Value;
/** Concats of a graph after the pass, which must leave its value as it was; and how many nodes there are. */
function joined(make: Make, shape: readonly number[]): { readonly concats: readonly number[]; readonly nodes: number } {
  const g = new GraphBuilder(ops);
  const graph = graphOf([make(g, b.param(g, "x", { dtype: "f32", shape }))]);
  const after = joinPieces(g, graph);
  verifyGraph(after, "pieces");
  const stores = storesOf(valuesOf(graph));
  const [want, got] = [graph, after].map((x) => interpret(valuesOf(x), stores, { exact: true })[0]);
  assert.ok(distance(want?.data ?? [], got?.data ?? []) < 1e-12);
  const nodes = nodesOf(after);
  return { concats: nodes.flatMap((n) => (n.op.name === "concat" ? [n.args.length] : [])), nodes: nodes.length };
}
const steps = (n: number): number[] => Array.from({ length: n }, (_, t) => t);
/** Zeros, but for places `from` on of the middle axis. */
const gapped = (g: GraphBuilder, x: Value, from: number, size: number, n: number): Value => {
  const gap = (count: number): Value[] => (count > 0 ? [b.fill(g, 0, "f32", [2, count, 3])] : []);
  return b.concat(g, [...gap(from), b.mul(g, b.slice(g, x, 1, from, size), from + 2), ...gap(n - from - size)], 1);
};
const sum = (g: GraphBuilder, list: readonly Value[]): Value => list.reduce((p, q) => b.add(g, p, q));

const some: Make = (g, x) => sum(g, [x, ...steps(20).map((t) => gapped(g, x, t === 7 ? 20 : t, 1, 21))]);
test("a sum of slices' gradients is one concat, with zeros where there are none, and what is dense beside it", () => {
  assert.equal(joined(some, [2, 21, 3]).concats, [21]);
});
const pairs: Make = (g, x) =>
  sum(
    g,
    steps(20).map((t) => gapped(g, x, 2 * t, t % 2 === 0 ? 3 : 2, 41)),
  );
const long: Make = (g, x) =>
  sum(
    g,
    steps(20).map((t) => gapped(g, x, t, 20, 40)),
  );
test("pieces that meet are added where they do; where many would, the sum stays", () => {
  assert.is(joined(pairs, [2, 41, 3]).concats.length, 1);
  assert.is(joined(long, [2, 40, 3]).concats.length, 20);
});
interface At {
  readonly place: number;
  readonly size?: number;
  readonly axis?: number;
  /** More axes of the index. */
  readonly deep?: readonly number[];
}
/** Rows of x, put where an index says. */
function put(g: GraphBuilder, all: Value, x: Value, { place, size = 1, axis = 1, deep = [] }: At): Value {
  const shape = all.type.shape as number[];
  const outer = shape.slice(0, axis);
  const index = b.broadcast(g, b.add(g, b.iota(g, size), place), [...outer, size, ...deep], [axis]);
  const rows = b.reshape(g, b.slice(g, x, axis, 0, size), [...outer, size, ...deep, ...shape.slice(axis + 1)]);
  return b.make1(g, "scatter", [all, index, rows], { axis, batch: axis, mode: "set", size: shape[axis] ?? 0 });
}
const written =
  (places: readonly (number | At)[], from: (g: GraphBuilder, x: Value) => Value): Make =>
  (g, x) =>
    places.reduce<Value>(
      (all, at, t) => {
        const rows = b.mul(g, x, t + 2);
        return put(g, all, rows, typeof at === "number" ? { place: at } : at);
      },
      from(g, x),
    );
const added = (g: GraphBuilder, x: Value): Value =>
  b.scatter(g, b.slice(g, x, 1, 0, 1), b.broadcast(g, b.iota(g, 1), [2, 1], [1]), 20, 1);
const nothing = (g: GraphBuilder, x: Value): Value => b.like(g, x, 0);

test("a chain of puts is one concat of what is written last in each place", () => {
  assert.equal(joined(written(steps(20), nothing), [2, 20, 3]).concats, [20]);
  assert.equal(
    joined(
      written([...steps(18), 3, 3], (_, x) => x),
      [2, 20, 3],
    ).concats,
    [19],
  );
  assert.equal(joined(written(steps(4), nothing), [2, 20, 3]).concats, []);
});
test("what is put past the axis or along another one, and what another index says is no link of it, nor is a sum", () => {
  const others: readonly At[] = [
    { place: 19, size: 2 },
    { place: -1, size: 2 },
    { place: 2, axis: 2 },
    { place: 3, deep: [1] },
  ];
  for (const other of others)
    assert.equal(joined(written([...steps(17), other], nothing), [2, 20, 3]).concats, [18], JSON.stringify(other));
  assert.equal(joined(written(steps(20), added), [2, 20, 3]).concats, [20]);
  const between = written([...steps(17), { place: 2, axis: 2 }, ...steps(17)], nothing);
  assert.equal(joined(between, [2, 20, 3]).concats, [18, 18]);
});
test("what else is read ends a chain; over what few places are put, of what is in memory, there is none", () => {
  const twice: Make = (g, x) => {
    const half = written(steps(20), nothing)(g, x);
    const all = written(
      steps(20).map((t) => t + 20),
      () => half,
    )(g, x);
    return b.add(g, half, all);
  };
  assert.equal(joined(twice, [2, 40, 3]).concats, [21, 21]);
  assert.equal(joined(written(steps(17), nothing), [2, 64, 3]).concats, [18]);
  assert.equal(
    joined(
      written(steps(17), (_, x) => x),
      [2, 64, 3],
    ).concats,
    [],
  );
});
const across: Make = (g, x) => {
  const row = b.concat(g, [b.fill(g, 0, "f32", [1, 21, 3]), b.slice(g, x, 0, 0, 1)], 0);
  return b.add(g, b.add(g, row, some(g, x)), b.concat(g, [b.slice(g, x, 2, 0, 2), b.fill(g, 0, "f32", [2, 21, 1])], 2));
};
test("terms with gaps along another axis are added to the concat", () => {
  assert.equal(joined(across, [2, 21, 3]).concats, [2, 2, 21]);
});
const ofSteps =
  (n: number): Make =>
  (g, x) =>
    sum(
      g,
      steps(n).map((t) => gapped(g, x, t, 1, n)),
    );
const joinedNodes = (n: number): number => joined(ofSteps(n), [2, n, 3]).nodes;
test("nodes of the joined grow with the steps", () =>
  assert.is(joinedNodes(120) - joinedNodes(80), joinedNodes(80) - joinedNodes(40)));

/** Pieces that points, a product and nothing at all make, and some of what is in memory. */
function mixed(): Graph {
  const g = new GraphBuilder(ops);
  const [x, w] = [b.param(g, "x", type("f32", [2, 20, 16])), b.param(g, "w", type("f32", [16, 16]))];
  const piece = (t: number): Value => {
    const own = b.slice(g, x, 1, t, 1);
    if (t % 4 === 0) return own;
    if (t % 4 === 1) return b.broadcast(g, b.constant(g, t, "f32"), [2, 1, 16], []);
    return t % 4 === 2 ? b.exp(g, own) : b.reshape(g, b.dot(g, b.reshape(g, own, [2, 16]), w), [2, 1, 16]);
  };
  return graphOf([b.concat(g, steps(20).map(piece), 1)]);
}
test("kernels of CUDA write pieces to their places, too", async () => {
  const graph = mixed();
  const [sequence, stores] = [loweredForCuda(graph), storesOf(valuesOf(graph))];
  const modules = await modulesOf([...new Set(sequence.launches.map(kernelOf))]);
  const [got] = await runEmulated([{ name: "mixed", sequence, stores }], modules, { words: "check", grid: 3 });
  assert.is(got?.findings, "");
  const [want] = interpret(valuesOf(graph), stores);
  assert.ok(distance(want?.data ?? [], got?.results[0] ?? []) < 1e-4);
});
/** Of each step a point of each element, of three a product. */
function alike(rows: number, columns: number, dtype: "f32" | "bf16"): Graph {
  const g = new GraphBuilder(ops);
  const [x, w] = [b.param(g, "x", type(dtype, [rows, 33, columns])), b.param(g, "w", type(dtype, [columns, columns]))];
  const piece = (t: number): Value => {
    const own = b.slice(g, x, 1, t, 1);
    return t % 9 === 7 ? b.reshape(g, b.dot(g, b.squeeze(g, own, 1), w), [rows, 1, columns]) : b.neg(g, own);
  };
  return graphOf([b.concat(g, steps(33).map(piece), 1)]);
}
test("kernels of CUDA are given buffers from the step on, where that begins at 16 bytes; tensor maps, too", async () => {
  const given = [alike(2, 16, "f32"), alike(2, 6, "f32"), alike(128, 128, "bf16")];
  const runs = given.map((graph, i) => ({
    name: String(i),
    sequence: byVariants(loweredForCuda(graph)),
    stores: storesOf(valuesOf(graph)),
  }));
  const kernels = runs.map(({ sequence }) => kernelsOf([sequence]));
  const products = kernels.map((list) => list.filter((k) => k.name.startsWith("dot")));
  assert.equal(
    products.map((list) => list.length),
    [1, 2, 1], // rows of 24 bytes: one of even steps and one of odd ones
  );
  assert.is(products[2]?.[0]?.variant?.maps.length, 2);
  const got = await runEmulated(runs, await modulesOf(kernels.flat()), { words: "check", grid: 3 });
  for (const [i, { stores }] of runs.entries()) {
    assert.is(got[i]?.findings, "");
    const [want] = interpret(valuesOf(given[i] as Graph), stores);
    assert.ok(distance(want?.data ?? [], got[i]?.results[0] ?? []) < (i < 2 ? 1e-4 : 0.05), String(i));
  }
});

/** Pieces that a product, sums of another's columns, an algorithm and folds make; one stands there twice, two are results, one of them in another shape. */
function makers(): Graph {
  const g = new GraphBuilder(ops);
  const [x, w] = [b.param(g, "x", type("f32", [20, 16, 24])), b.param(g, "w", type("f32", [24, 64]))];
  const makers: readonly ((own: Value) => Value)[] = [
    (own) => b.sum(g, b.tanh(g, b.dot(g, own, w)), [1]),
    (own) => b.cumsum(g, b.sum(g, own, [1]), 0),
    (own) => b.max(g, own, [1]),
    (own) => b.sum(g, own, [1]),
    (own) => b.dot(g, b.slice(g, own, 0, 0, 1), b.slice(g, w, 1, 0, 16)),
  ];
  const made = steps(20).map((t) => (makers[t % 5] as (own: Value) => Value)(b.squeeze(g, b.slice(g, x, 0, t, 1), 0)));
  const pieces = made.map((v) => b.reshape(g, v, [1, 16]));
  const all = b.concat(g, [...pieces, pieces[2] as Value], 0);
  return graphOf([all, made[3] as Value, b.reshape(g, made[4] as Value, [4, 4])]);
}
test("pieces are written by whatever makes them, and lie elsewhere, too, where something else reads them", async () => {
  const graph = makers();
  const given = { graph, stores: storesOf(valuesOf(graph)) };
  await checkGraphs([given], { ...defaultMode, threads: [2, 1] }, (_, run) => run());
});

const part = (of: ReturnType<typeof buffer>, byteOffset = 0): VirtualArg => ({
  buffer: of,
  access: "part",
  byteOffset,
});
const named = (name: string): VirtualArg["buffer"] => buffer(name, [4, 16]);
test("a plan that writes over a part before the next one is written is refused", () => {
  const [x, y, z] = [named("x"), named("y"), named("z")];
  const launches = [
    launch("first", "", [part(x)]),
    launch("other", "", [write(z)]),
    launch("second", "", [read(z), part(x, 64)]),
    launch("last", "", [read(x), write(y)]),
  ];
  const results = [{ role: "output" as const, name: "0", buffer: y }];
  const sequence = { entry: "main", launches, assigns: [], results };
  const plan = planMemory([sequence], [], { target: "host", header: "" });
  const at = plan.buffers.find(({ name }) => name === "x")?.offset ?? 0;
  const buffers = plan.buffers.map((one) => (one.name === "z" ? { ...one, offset: at } : one));
  const alone = { ...sequence, launches: launches.toSpliced(2, 1, launch("second", "", [part(x, 64)])) };
  const entries = plan.entries.map(({ steps: all, ...entry }) => ({ ...entry, steps: all.map(withoutRead) }));
  assert.throws(
    () => verifyPlan({ ...plan, buffers, entries }, [alone]),
    /x is read in part in main, where z was written/,
  );
});
/** A launch of two arguments with the second alone. */
const withoutRead = (step: Step, i: number): Step =>
  step.kind === "launch" && i === 2 ? { ...step, launch: { ...step.launch, args: step.launch.args.slice(1) } } : step;
test("a plan that reads a buffer before all of its parts are written is refused", () => {
  const [x, y, z] = [named("x"), named("y"), named("z")];
  const sequence = {
    entry: "main",
    launches: [
      launch("first", "", [part(x)]),
      launch("other", "", [write(z)]),
      launch("second", "", [read(z), part(x, 64)]),
      launch("last", "", [read(x), write(y)]),
    ],
    assigns: [],
    results: [{ role: "output" as const, name: "0", buffer: y }],
  };
  const plan = planMemory([sequence], [], { target: "host", header: "" });
  const [entry] = plan.entries;
  const [first, other, second, last] = (entry?.steps ?? []) as [Step, Step, Step, Step];
  const late = { ...sequence, launches: [0, 1, 3, 2].map((i) => sequence.launches[i]) as typeof sequence.launches };
  const swapped = { ...plan, entries: [{ ...entry, steps: [first, other, last, second] }] } as Plan;
  assert.throws(() => verifyPlan(swapped, [late]), /x is read by last before all of its parts are written/);
});
test.run();
