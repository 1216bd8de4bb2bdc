// Long unrolled loops: what their steps write and send back, in text and launches that go with the number of steps, not with its square.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../compiler/check/modules.ts";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { interpret } from "../compiler/graph/interpret.ts";
import { type Elaborated, type Graph, isHidden, type NdArray, type Store, type Value } from "../compiler/graph/node.ts";
import { verifyGraph } from "../compiler/graph/verify.ts";
import { topological, valuesOf } from "../compiler/graph/walk.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { silent } from "../compiler/pass.ts";
import { requireRight, toGraphs, toPlan } from "../compiler/pipeline.ts";
import { planMemory } from "../compiler/plan/memory.ts";
import type { Plan, Step } from "../compiler/plan/plan.ts";
import type { VirtualArg } from "../compiler/plan/sequence.ts";
import { verifyPlan } from "../compiler/plan/verify.ts";
import { joinPieces } from "../compiler/transform/pieces.ts";
import { type } from "../compiler/types/type.ts";
import { KernelCache } from "../runtime/host/cache.ts";
import { hostExecutable } from "../runtime/host/executable.ts";
import { zeros } from "../runtime/tensor.ts";
import { loweredForCuda, modulesOf, runEmulated } from "./emulator/sequence.ts";
import { folder } from "./folder.ts";
import { distance, filled, storesOf } from "./graphs.ts";
import { graphOf } from "./host/compare.ts";
import { buffer, launch, read, write } from "./sequences.ts";

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
  requireRight(loaded);
  const entries = [{ method: "forward", name: "forward", sizes: { B: 2 }, gradients: true }];
  return toGraphs(loaded, { declaration: "Steps", sizes: { D, T }, precision: "f32", entries }, silent());
}
const planned = (T: number): Plan => toPlan(elaborated(T), silent());
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
test("what steps make and send back is right, in places of one buffer that begin anywhere", async () => {
  for (const D of [6, 16]) {
    const { graphs, stores } = elaborated(40, D);
    const graph = graphs.find((g) => g.name === "forward") as Graph;
    const held = stores.map((s): Store => (s.role === "input" && !isHidden(s.name) ? { ...s, role: "state" } : s));
    const plan = toPlan({ graphs: [graph], stores: held }, silent());
    const ex = await hostExecutable(plan, { threads: 2, cache: new KernelCache(folder()), poison: true });
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
  const nodes = topological(valuesOf(after));
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
const written =
  (places: readonly number[], from: (g: GraphBuilder, x: Value) => Value): Make =>
  (g, x) =>
    places.reduce(
      (all, place, t) => {
        const index = b.broadcast(g, b.add(g, b.iota(g, 1), place), [2, 1], [1]);
        const rows = b.mul(g, b.slice(g, x, 1, 0, 1), t + 2);
        return b.make1(g, "scatter", [all, index, rows], { axis: 1, batch: 1, mode: "set", size: 20 });
      },
      from(g, x),
    );
const nothing = (g: GraphBuilder): Value => b.fill(g, 0, "f32", [2, 20, 3]);

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
const ofSteps =
  (n: number): Make =>
  (g, x) =>
    sum(
      g,
      steps(n).map((t) => gapped(g, x, t, 1, n)),
    );
const nodesOf = (n: number): number => joined(ofSteps(n), [2, n, 3]).nodes;
test("nodes of the joined grow with the steps", () => assert.is(nodesOf(120) - nodesOf(80), nodesOf(80) - nodesOf(40)));

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
  const modules = await modulesOf([...new Set(sequence.launches.map((l) => l.kernel))]);
  const [got] = await runEmulated([{ name: "mixed", sequence, stores }], modules, { words: "check", grid: 3 });
  assert.is(got?.findings, "");
  const [want] = interpret(valuesOf(graph), stores);
  assert.ok(distance(want?.data ?? [], got?.results[0] ?? []) < 1e-4);
});

const part = (of: ReturnType<typeof buffer>, shift = 0): VirtualArg => ({ buffer: of, access: "part", shift });
test("a plan that reads a buffer before all of its parts are written is refused", () => {
  const [x, y, z] = ["x", "y", "z"].map((name) => buffer(name, [4, 16])) as [
    VirtualArg["buffer"],
    VirtualArg["buffer"],
    VirtualArg["buffer"],
  ];
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
