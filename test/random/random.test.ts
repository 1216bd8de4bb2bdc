// Random graphs: what each pass makes of them, their gradients, and their kernels, against the definitions. MOEC_TEST=full takes other graphs each
// time; what fails says with which MOEC_SEED it does so again.
import { env } from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, NdArray } from "../../compiler/graph/node.ts";
import { printGraph } from "../../compiler/graph/print.ts";
import { nodesOf, storeOf, valuesOf } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { isFloat } from "../../compiler/types/dtype.ts";
import { full } from "../full.ts";
import { entry, storesOf } from "../graphs.ts";
import { type Expected, expected, type Stores } from "./compare.ts";
import { finiteDifference } from "./finite-difference.ts";
import { isTwice, prepared, type RandomGraph, randomGraph, withGradients } from "./graphs.ts";
import { checkGraphs, type Given, same } from "./graphs-on-host.ts";
import { defaultMode } from "./host-modes.ts";
import { randomLoop } from "./loops.ts";
import { checkGraphsOnEmulator, emulations } from "./on-emulator.ts";
import { randomProducts } from "./products.ts";
import { checkQuantised } from "./quantised.ts";
import { Draw, type Mixture } from "./random-graph.ts";
import { randomWritten } from "./tensors.ts";
import { checkWritten } from "./written.ts";

const test = suite("random");
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
test("an order that is drawn has all of its places", () => {
  const orders = Array.from({ length: 40 }, (_, i) => new Draw(String(i)).order(3));
  for (const order of orders) assert.equal(new Set(order), new Set([0, 1, 2]));
  assert.is(new Set(orders.map(String)).size, 6);
});
test("each pass leaves what a graph computes", () => {
  const graphs = seeds(24, "pass").map((seed) => ({ seed, random: randomGraph(seed) }));
  const loops = seeds(3, "loop").map((seed) => ({ seed, random: randomLoop(seed) }));
  for (const { seed, random } of [...graphs, ...loops]) {
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
test("what is kept in 8 bits gives what the numbers do that codes stand for", () => {
  let kept = 0;
  const products = seeds(60, "product").map((seed) => ({ seed, ...randomProducts(seed) }));
  const graphs = seeds(30, "coded").map((seed) => ({ seed, ...ownStores(randomGraph(seed, 6).graph) }));
  for (const { seed, graph, stores } of [...products, ...graphs])
    kept += of(seed, graph, () => checkQuantised(graph, stores, "int8"));
  assert.ok(kept > 30, `${kept} stores`);
  assert.ok(
    products.some(({ seed, graph, stores }) => of(seed, graph, () => checkQuantised(graph, stores, "fp4")) > 0),
  );
});
const ownStores = (graph: Graph) => ({ graph, stores: storesOf(valuesOf(graph)) });
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
/** By the program: the largest of a softmax, whose gradient is nothing, aside; or since it is made of codes, which are not trained. */
const isDetached = (graph: Graph): boolean =>
  nodesOf(graph).some(
    ({ op, args }) =>
      op.name === "from_fp4" || (op.name === "detach" && args[0]?.node.op.displayName?.(args[0].node.attrs) !== "max"),
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
      const slope = finiteDifference(data, j, total);
      if (slope === null) continue;
      const is = found[k]?.data[j] ?? Number.NaN;
      assert.ok(Math.abs(is - slope) <= 2e-4 * Math.max(1, Math.abs(slope)), `${name}[${j}]: ${is}, not ${slope}`);
      checked++;
    }
  });
  return checked;
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
test("long loops on the host, by different numbers of threads", () => checkOnHost(seeds(2, "loop"), randomLoop));
// an index that a fold of each lane makes
const foundByFuzz = `layer Written() {
  forward(x: float[1, 16, 5]) -> float[1, 5] {
    let v = max(x, axis: 1)
    return take(v, i32(abs(v) * 5), axis: -1)
  }
}`;
test("written layers against their text", async () => {
  const drawn = seeds(1, "written").map((seed) => ({ seed, ...randomWritten(seed, 10) }));
  const found = { seed: "found", text: foundByFuzz, declaration: "Written", sizes: {} };
  for (const { seed, ...written } of [...drawn, found])
    await checkWritten(written, { ...defaultMode, precision: "f32" }).catch((cause: unknown) => {
      throw new Error(`MOEC_SEED=${base}, ${seed}: ${String(cause)}\n${written.text}`, { cause });
    });
});
type Random = Pick<RandomGraph, "g" | "graph">;
async function checkOnHost(names: readonly string[], made: (seed: string) => Random = (s) => randomGraph(s, 10)) {
  const graphs = names.map((seed) => {
    const random = made(seed);
    return of(seed, random.graph, () => prepared(random));
  });
  const all = graphs.map((graph) => ({ graph, stores: storesOf(valuesOf(graph)) }));
  await checkGraphs(all, { ...defaultMode, threads: [2, 1] }, (graph, run) => of(graph.name, graph, run));
}

const onEmulator = (all: readonly Given[]): Promise<void> =>
  checkGraphsOnEmulator(all, emulations("mma"), async (graph, run) => void (await of(graph.name, graph, run)));
if (full)
  test("kernels of the CUDA target on the emulator", () => {
    const graphs = seeds(3, "cuda").map((seed) => prepared(randomGraph(seed, 10)));
    return onEmulator(graphs.map(ownStores));
  });
test("random products by codes of 4 bits", async () => {
  for (const seed of seeds(2, "fp4")) {
    const { graph, stores } = randomProducts(seed, "fp4");
    const way = { ...defaultMode, threads: [2, 1], schedules: seed };
    await checkGraphs([{ graph: { ...graph, name: seed }, stores }], way, (_, run) => of(seed, graph, run));
  }
});
test("products by codes of 8 bits on the emulator", () => {
  const products = seeds(5, "codes").map((seed) => ({ seed, ...randomProducts(seed, "codes") }));
  return onEmulator(products.map(({ seed, graph, stores }) => ({ graph: { ...graph, name: seed }, stores })));
});
test.run();
