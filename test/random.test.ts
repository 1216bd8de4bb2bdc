// Random graphs: what each pass makes of them, their gradients, and their kernels, against the definitions. MOEC_TEST=full takes other graphs each
// time; what fails says with which MOEC_SEED it does so again.
import { env } from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { interpret } from "../compiler/graph/interpret.ts";
import type { Graph, NdArray, Store } from "../compiler/graph/node.ts";
import { printGraph } from "../compiler/graph/print.ts";
import { verifyGraph } from "../compiler/graph/verify.ts";
import { storeOf, topological, valuesOf } from "../compiler/graph/walk.ts";
import * as b from "../compiler/ops/build.ts";
import { type Observer, silent } from "../compiler/pass.ts";
import { afterGradients, beforeGradients, toPlan } from "../compiler/pipeline.ts";
import { isFloat } from "../compiler/types/dtype.ts";
import type { Outcome } from "../runtime/executable.ts";
import { hostBackend } from "../runtime/host/backend.ts";
import { KernelCache } from "../runtime/host/cache.ts";
import { hostExecutable } from "../runtime/host/executable.ts";
import { fromNumbers, numbers } from "../runtime/tensor.ts";
import { loweredForCuda, modulesOf, runEmulated, ways } from "./emulator/sequence.ts";
import { folder } from "./folder.ts";
import { entry, storesOf } from "./graphs.ts";
import { kernelsOf } from "./host/compare.ts";
import { type Expected, expected, type Stores, wrong } from "./random/compare.ts";
import { type RandomGraph, randomGraph, withGradients } from "./random/graphs.ts";
import type { Mixture } from "./random/growing.ts";

const test = suite("random");
const full = env["MOEC_TEST"] === "full";
const base = env["MOEC_SEED"] ?? (full ? String(Date.now()) : "moec");
if (full) console.log(`random graphs of MOEC_SEED=${base}`);
const seeds = (n: number, name: string): string[] =>
  Array.from({ length: full ? 8 * n : n }, (_, i) => `${base}/${name}${i}`);

/** Throws with the seed, and the graph. */
function of<T>(seed: string, graph: Graph, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`MOEC_SEED=${base}, ${seed}: ${why}\n${printGraph(graph)}`, { cause });
  }
}
/** Throws where a result is not what it should be. */
function same(want: readonly Expected[], got: readonly Float64Array[]): void {
  want.forEach((w, r) => {
    const off = wrong(w, got[r] ?? []);
    assert.is(off.slice(0, 3).join("; "), "", `result ${r}: ${off.length} elements are off`);
  });
}
const isTwice = (graph: Graph): boolean => topological(valuesOf(graph)).some((n) => n.op.name === "attention_backward");
/** Through all passes, with gradients, `ran` being told of each. */
function prepared({ g, graph }: RandomGraph, ran: (graph: Graph, pass: string) => void = () => undefined): Graph {
  const observer: Observer = silent();
  const all = (passes: ReturnType<typeof afterGradients>, from: Graph): Graph =>
    passes.reduce((before, pass) => {
      const after = pass.run(before);
      verifyGraph(after, pass.name);
      ran(after, pass.name);
      return after;
    }, from);
  const early = all(beforeGradients(g, observer), graph);
  const whole = isTwice(early) ? early : withGradients({ g, graph: early });
  ran(whole, "gradients");
  return all(afterGradients(g, observer), whole);
}

test("each pass leaves what a graph computes", () => {
  for (const seed of seeds(24, "pass")) {
    const random = randomGraph(seed);
    let before: Graph = random.graph;
    let [stores, want] = meant(before);
    const check = (after: Graph, pass: string): void => {
      if (pass === "gradients") [stores, want] = meant(after);
      else if (after !== before)
        of(`${seed} after ${pass}`, before, () =>
          same(
            want,
            interpret(valuesOf(after), stores).map((a) => a.data),
          ),
        );
      before = after;
    };
    of(seed, random.graph, () => prepared(random, check));
  }
});
function meant(graph: Graph): [Stores, Expected[]] {
  const stores = storesOf(valuesOf(graph));
  return [stores, expected(valuesOf(graph), stores)];
}

test("gradients against finite differences", () => {
  let checked = 0;
  for (const seed of seeds(20, "gradient")) {
    const random = randomGraph(seed, 8);
    if (!isTwice(random.graph) && !isDetached(random.graph))
      checked += of(seed, random.graph, () => checkGradients(random));
  }
  assert.ok(checked > 40, `${checked} elements`);
});
/** By the program: the largest of a softmax, whose gradient is nothing, aside. */
const isDetached = (graph: Graph): boolean =>
  topological(valuesOf(graph)).some(
    ({ op, args }) => op.name === "detach" && args[0]?.node.op.word?.(args[0].node.attrs) !== "max",
  );
/** A few elements of each store; where the slope is one number. */
function checkGradients(random: RandomGraph): number {
  const { g } = random;
  const graph = withGradients(random);
  const grads = graph.results.filter((r) => r.role === "gradient");
  const sums = random.graph.results
    .map((r) => r.value)
    .filter((v) => isFloat(v.type.dtype))
    .map((v, i) => b.sum(g, b.mul(g, v, b.param(g, `${random.graph.name}.seed${i}`, v.type))));
  const stores = storesOf([...valuesOf(graph), ...sums]);
  const total = (): number => interpret(sums, stores, { exact: true }).reduce((sum, x) => sum + (x.data[0] ?? 0), 0);
  const found = interpret(
    grads.map((r) => r.value),
    stores,
    { exact: true },
  );
  let checked = 0;
  grads.forEach(({ name }, k) => {
    const { data } = stores.get(name) as NdArray;
    for (const j of new Set([0, data.length >> 1, data.length - 1].filter((i) => i >= 0 && i < data.length))) {
      const slope = slopeOf(data, j, total);
      if (slope === null) continue;
      const is = found[k]?.data[j] ?? Number.NaN;
      assert.ok(Math.abs(is - slope) <= 2e-4 * Math.max(1, Math.abs(slope)), `${name}[${j}]: ${is}, not ${slope}`);
      checked++;
    }
  });
  return checked;
}
/** Of `total` along an element; null at a kink, or where it is too steep to tell. */
function slopeOf(data: Float64Array, j: number, total: () => number): number | null {
  const x = data[j] ?? 0;
  const at = (y: number): number => {
    data[j] = y;
    const sum = total();
    data[j] = x;
    return sum;
  };
  const steps = [
    [-1e-5, 1e-5],
    [-1e-6, 0],
    [0, 1e-6],
  ] as const;
  const slopes = steps.map(([left, right]) => (at(x + right) - at(x + left)) / (right - left));
  const [first = Number.NaN] = slopes;
  return slopes.every((s) => Math.abs(s - first) <= 1e-4 * Math.max(1, Math.abs(first))) ? first : null;
}

test("experts of random bodies against a loop over rows", () => {
  const all = seeds(60, "mixture").flatMap((seed) => {
    const random = randomGraph(seed);
    return random.mixtures.map((mixture) => ({ seed, mixture, graph: random.graph }));
  });
  assert.ok(all.length > 5, `${all.length} mixtures`);
  for (const { seed, mixture, graph } of all) of(seed, graph, () => checkMixture(mixture));
});
function checkMixture({ body, bind, by, mapped }: Mixture): void {
  const leaves = [...bind];
  const values = [by.expert, mapped.value, ...leaves.map(([, m]) => m.value)];
  const stores = storesOf([...values, body]);
  const [experts, made, ...given] = interpret(values, stores, { exact: true }) as [NdArray, NdArray, ...NdArray[]];
  experts.data.forEach((expert, place) => {
    if (expert < 0) return;
    const own = leaves.map(([leaf, m], i): [string, NdArray] => [
      storeOf(leaf.node) ?? "",
      entry(given[i] as NdArray, m.kind === "each" ? expert : place),
    ]);
    same(expected([body], new Map([...stores, ...own]), { exact: true }), [entry(made, place).data]);
  });
}

test("kernels of the host, in one plan, on one and two threads", async () => {
  for (let from = 0, all = seeds(6, "host"); from < all.length; from += 20)
    await checkOnHost(all.slice(from, from + 20));
});
async function checkOnHost(names: readonly string[]): Promise<void> {
  const graphs = names.map((seed) => {
    const random = randomGraph(seed, 10);
    return of(seed, random.graph, () => prepared(random));
  });
  const values = graphs.map((graph) => storesOf(valuesOf(graph)));
  const stores = values.flatMap((list) => [...list].map(([name, x]) => storeFor(name, x)));
  const plan = toPlan({ graphs, stores }, silent(), undefined, undefined, await hostBackend());
  const outcomes: (readonly Float64Array[])[][] = [];
  for (const threads of [2, 1]) {
    const executable = await hostExecutable(plan, { threads, cache: new KernelCache(cache), poison: true });
    for (const list of values)
      for (const [name, x] of list) executable.write(name, fromNumbers(x.dtype, x.shape, x.data));
    const each: (readonly Float64Array[])[] = [];
    for (const graph of graphs)
      each.push(resultsOf(graph, await executable.run(graph.name, new Map(), { seed: 0, call: 0, step: 0 })));
    outcomes.push(each);
    executable.close();
  }
  graphs.forEach((graph, i) => {
    const want = expected(valuesOf(graph), values[i] ?? new Map());
    of(graph.name, graph, () => {
      same(want, outcomes[0]?.[i] ?? []);
      assert.equal(outcomes[0]?.[i], outcomes[1]?.[i], "the same bits");
    });
  });
}
const cache = folder();
/** Matrices lie in panels where that is how they are read. */
const storeFor = (name: string, { dtype, shape }: NdArray): Store => ({
  name,
  role: shape.length > 1 && isFloat(dtype) ? "parameter" : "state",
  type: { dtype, shape },
  stack: 0,
  saved: true,
  where: null,
});
/** In the order of the graph's results. */
function resultsOf(graph: Graph, { outputs, gradients }: Outcome): Float64Array[] {
  const rest = outputs.values();
  return graph.results.map(({ role, name }) => {
    const tensor = role === "gradient" ? gradients.get(name) : rest.next().value;
    return tensor ? numbers(tensor) : new Float64Array();
  });
}

if (full)
  test("kernels of the CUDA target on the emulator", async () => {
    const graphs = seeds(3, "cuda").map((seed) => prepared(randomGraph(seed, 10)));
    const runs = graphs.map((graph) => ({
      name: graph.name,
      graph,
      sequence: loweredForCuda(graph),
      stores: storesOf(valuesOf(graph)),
      rest: 0xff,
    }));
    const modules = await modulesOf(kernelsOf(runs.map((r) => r.sequence)));
    for (const way of ways) {
      const outcomes = await runEmulated(runs, modules, way);
      runs.forEach(({ graph, stores }, i) => {
        const { results, findings } = outcomes[i] as NonNullable<(typeof outcomes)[0]>;
        of(graph.name, graph, () => {
          assert.is(findings, "");
          same(expected(valuesOf(graph), stores), results);
        });
      });
    }
  });
test.run();
