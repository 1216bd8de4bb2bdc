// Stores in panels: which ones lie so, and that every kernel that reads or writes them gives what the interpreter does.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { emitHost, hostHeader } from "../../compiler/emit/unit.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import { type Graph, type NdArray, type Store, unstackedStore, type Value } from "../../compiler/graph/node.ts";
import { type Choices, hostChoices } from "../../compiler/kernel/schedule.ts";
import { choosePanels } from "../../compiler/lower/layout.ts";
import { lower } from "../../compiler/lower/lower.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { pairProducts } from "../../compiler/transform/products/pairs.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import type { PlanExecutable } from "../../runtime/executable/plan-executable.ts";
import { panelWidth } from "../../runtime/host/backend.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { toolchain } from "../../runtime/host/toolchain.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { full } from "../full.ts";
import { storesOf } from "../graphs.ts";
import { hasBf16Dot, hasTiles, inWords, splitAll, splitAndCut, wordsCut } from "../host/forms.ts";
import { hasFeature } from "../host/machine.ts";
import { adamw, gptStep, moeLayer } from "../layers.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("panels");
const cache = new KernelCache(temporaryFolder());
const at = { seed: 0, call: 0, step: 0 };

const valuesOf = (graph: Graph) => graph.results.map((r) => r.value);
const parameters = (values: ReadonlyMap<string, NdArray>): Store[] =>
  [...values].map(([name, { dtype, shape }]) => unstackedStore(name, "parameter", { dtype, shape }, true));
interface Loaded {
  readonly executable: PlanExecutable;
  readonly panels: readonly string[];
}
/** `forced`: stores that lie in panels whatever reads them. */
async function loaded(
  graph: Graph,
  width: number,
  threads: number,
  forced: readonly string[],
  choices: Choices,
): Promise<Loaded> {
  const values = storesOf(valuesOf(graph));
  const stores = parameters(values);
  const panels = new Map([...choosePanels([graph], stores, width), ...forced.map((name) => [name, width] as const)]);
  const options = { target: "host", header: hostHeader() };
  const plan = planMemory([lower(graph, { emit: emitHost, panels, choices })], stores, options);
  const executable = await hostExecutable(plan, { threads, cache, poison: true });
  for (const [name, value] of values) executable.write(name, fromNumbers(value.dtype, value.shape, value.data));
  return { executable, panels: [...panels.keys()] };
}
function near(got: ArrayLike<number>, want: ArrayLike<number>, what: string, error: number): void {
  assert.is(got.length, want.length);
  const scale = Math.max(1e-3, ...Array.from(want, Math.abs));
  const worst = Array.from(want, (x, i) => Math.abs(x - (got[i] ?? Number.NaN)) / scale);
  assert.ok(
    worst.every((x) => x < error),
    `${what}: ${Math.max(...worst)}`,
  );
}
/** Everything that a run leaves: results and stores, as JavaScript sees them. */
async function run({ executable }: Loaded, graph: Graph): Promise<Map<string, ArrayLike<number>>> {
  const { outputs, losses, gradients } = await executable.run(graph.name, new Map(), at);
  const stores = executable.stores.map((s) => [s.name, numbers(executable.read(s.name))] as const);
  executable.close();
  return new Map<string, ArrayLike<number>>([
    ...stores,
    ...outputs.map((t, i) => [`output ${i}`, numbers(t)] as const),
    ...[...losses].map(([name, loss]) => [`loss ${name}`, [loss]] as const),
    ...[...gradients].map(([name, t]) => [`gradient ${name}`, numbers(t)] as const),
  ]);
}
/** What is expected of the same names. */
function expected(graph: Graph): Map<string, NdArray> {
  const values = storesOf(valuesOf(graph));
  const results = interpret(valuesOf(graph), values, { exact: true });
  let output = 0;
  graph.results.forEach(({ role, name }, i) => {
    const key = role === "store" ? name : role === "output" ? `output ${output++}` : `${role} ${name}`;
    values.set(key, results[i] as NdArray);
  });
  return values;
}

const pairsIn = (graph: Graph): Graph => pairProducts(new GraphBuilder(ops), graph);
/** x @ v + h @ w, of each number of rows. */
function twoLayers(...rows: readonly number[]): Graph {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: readonly number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const [v, w] = [p("v", 64, 128), p("w", 40, 128)];
  const sum = (n: number): Value => b.add(g, b.dot(g, p(`x${n}`, n, 64), v), b.dot(g, p(`h${n}`, n, 40), w));
  return { name: "sums", results: rows.map((n) => ({ role: "output", name: `y${n}`, value: b.tanh(g, sum(n)) })) };
}
/** x @ v^T, deeper than a panel is wide. */
function turned(): Graph {
  const g = new GraphBuilder(ops);
  const [x, v] = [
    b.param(g, "x", { dtype: "f32", shape: [61, 192] }),
    b.param(g, "v", { dtype: "f32", shape: [128, 192] }),
  ];
  return { name: "turned", results: [{ role: "output", name: "y", value: b.matmul(g, x, b.swap(g, v)) }] };
}
/** x @ (w + s), where rows are put into s one after the other. */
function putInto(): Graph {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: readonly number[]): Value => b.param(g, name, { dtype: "f32", shape });
  const first = b.put(g, b.broadcastTo(g, b.constant(g, 0, "f32"), [64, 128]), b.iota(g, 1), p("r", 1, 128));
  const s = b.put(g, first, b.add(g, b.iota(g, 1), 7), p("t", 1, 128));
  const value = b.matmul(g, p("x", 61, 64), b.add(g, p("w", 64, 128), s));
  return { name: "put", results: [{ role: "output", name: "y", value }] };
}
/** x @ w, x @ v and y @ w^T of bf16, of each number of rows; summed and given in f32. */
function short(...rows: readonly number[]): Graph {
  const g = new GraphBuilder(ops);
  const p = (name: string, ...shape: number[]): Value => b.cast(g, b.param(g, name, { dtype: "bf16", shape }), "f32");
  const [w, v, depth] = [p("w", 64, 128), p("v", 64, 128), [64, 128] as const];
  const of = (n: number): Value[] => {
    const [x, y] = depth.map((k) => p(`x${n}.${k}`, n, k)) as [Value, Value];
    return [b.mul(g, b.matmul(g, x, w), b.matmul(g, x, v)), b.matmul(g, y, b.swap(g, w))];
  };
  return { name: "short", results: rows.flatMap(of).map((value, i) => ({ role: "output", name: `y${i}`, value })) };
}
/** Without the loss, whose sum makes much of a rounding. */
const lossless = (graph: Graph): Graph => ({ ...graph, results: graph.results.filter((r) => r.role !== "loss") });
const gpt = { V: 17, B: 2, T: 7, D: 64, H: 128, L: 2, heads: 2, E: 3, K: 2 };
interface Case {
  readonly graph: Graph;
  readonly forced?: readonly string[];
  /** Of what is rounded to bf16. */
  readonly error?: number;
}
const shortCases: Readonly<Record<string, Case>> = {
  "weights of bf16, few rows and many": { graph: short(1, 5, 7, 24, 25, 61) },
  "mixture of experts of bf16": { graph: lossless(moeLayer(67, 64, 128, 5, 2, "bf16")), error: 2 ** -6 },
};
const cases: Readonly<Record<string, Case>> = {
  ...shortCases,
  "mixture of experts": { graph: moeLayer(67, 64, 128, 5, 2) },
  "mixture of experts, its sums of products in pairs": { graph: pairsIn(moeLayer(67, 64, 128, 5, 2)) },
  "two layers that are added, few rows and many": { graph: pairsIn(twoLayers(5, 61)) },
  "mixture of experts, some of them rows": { graph: moeLayer(19, 24, 64, 3, 2) },
  "a step of a model": { graph: gptStep(gpt) },
  "a matrix that is turned": { graph: turned(), forced: ["v"] },
  "a weight and rows that are put": { graph: putInto() },
  "adamw of a large matrix": { graph: adamw([300, 128]), forced: ["w", "grad", "m", "v"] },
  "adamw of a stack": { graph: adamw([3, 37, 64]), forced: ["w", "grad", "m", "v"] },
  "adamw of a wide matrix": { graph: adamw([2, 7, 1600]), forced: ["w", "grad", "m", "v"] },
  "adamw of some stores in rows": { graph: adamw([33, 64]), forced: ["m", "grad"] },
};
const [shortRows, shortMixture] = Object.entries(shortCases).map((one) => Object.fromEntries([one])) as [
  typeof shortCases,
  typeof shortCases,
];
const layersOnly = Object.fromEntries(Object.entries(cases).filter(([name]) => !/^adamw|^a step/.test(name)));
/** The last is an instruction set to compile for, if it is not the one that the machine takes by itself. */
const sets: Readonly<Record<string, readonly [Choices, Readonly<Record<string, Case>>, isa?: string]>> = {
  "in panels as wide as a register tile": [hostChoices, cases],
  ...(hasTiles ? { "in panels, every product split": [splitAll, layersOnly] } : {}),
  ...(hasTiles ? { "in panels, split and cut": [splitAndCut, layersOnly] } : {}),
  ...(hasBf16Dot ? { "in panels, of words": [inWords, full ? shortCases : shortMixture, "avx512bf16"] } : {}),
  ...(hasBf16Dot ? { "in panels, of words and cut": [wordsCut, full ? shortCases : shortRows, "avx512bf16"] } : {}),
};
async function compiledFor(isa: string, work: () => Promise<void>): Promise<void> {
  const before = process.env;
  process.env = { ...before, MOEC_ISA: isa };
  await work().finally(() => (process.env = before));
}
async function check({ graph, forced = [], error = 2e-5 }: Case, choices: Choices): Promise<void> {
  const want = expected(graph);
  const width = panelWidth(await toolchain());
  const load = (threads: number): Promise<Loaded> => loaded(graph, width, threads, forced, choices);
  // not at once: the second finds the kernels of the first
  const [one, three] = [await load(1), await load(3)];
  assert.ok(one.panels.length > 0);
  const [got, again] = [await run(one, graph), await run(three, graph)];
  assert.equal([...got], [...again]);
  for (const [key, { data }] of want) near(got.get(key) ?? [], data, `${key} in panels of ${width}`, error);
}
for (const [how, [choices, some, isa]] of Object.entries(sets))
  for (const [name, of] of Object.entries(some))
    test(`${name}: the interpreter's values ${how}, the same bits on 1 and 3 threads`, () =>
      isa === undefined ? check(of, choices) : compiledFor(isa, () => check(of, choices)));
if (hasFeature("avx2") && hasFeature("fma"))
  test("weights of bf16 in panels that are narrower than a block", () =>
    compiledFor("avx2", async () => {
      for (const of of Object.values(shortCases)) await check(of, hostChoices);
    }));
test.run();
