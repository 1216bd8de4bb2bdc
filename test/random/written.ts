// Checks a layer and its gradients against its text: against the elaborated graph and that graph's gradients in the interpreter, without any pass;
// and those gradients against finite differences.
import * as assert from "uvu/assert";
import { elaborate, load, type Request, type Sizes } from "../../compiler/check/index.ts";
import type { Loaded } from "../../compiler/check/modules.ts";
import { requireValid } from "../../compiler/check/valid.ts";
import { gradients } from "../../compiler/gradients/differentiate.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import {
  type Graph,
  isRuntimeInput,
  type NdArray,
  type Result,
  type Store,
  type Value,
} from "../../compiler/graph/node.ts";
import { nodesOf, storeOf, valuesOf } from "../../compiler/graph/walk.ts";
import { item } from "../../compiler/item.ts";
import * as b from "../../compiler/ops/build.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { type Limits, toGraphs, toPlan } from "../../compiler/pipeline.ts";
import { prepareEntry } from "../../compiler/transform/prepare.ts";
import { isFloat, type Precision } from "../../compiler/types/dtype.ts";
import { dims, dtypeOf } from "../../compiler/types/type.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import {
  type Executable,
  hiddenInput,
  inputOfStore,
  type Outcome,
  type Tensor,
} from "../../runtime/executable/executable.ts";
import { hostBackend } from "../../runtime/host/backend.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { filled } from "../graphs.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { type Expected, expected, type Stores } from "./compare.ts";
import { finiteDifference } from "./finite-difference.ts";
import { choicesOf, type HostMode, withIsa } from "./host-modes.ts";
import { checkGraphsOnEmulator, type Emulation } from "./on-emulator.ts";
import { differences } from "./training.ts";

const cache = temporaryFolder();
const at = { seed: 7, call: 0, step: 3 };

/** A layer, with numbers for its sizes. */
export interface Written {
  readonly text: string;
  readonly declaration: string;
  readonly sizes: Sizes;
  /** Default: `forward`. */
  readonly entries?: readonly string[];
}
interface ExpectedLayer {
  readonly graphs: readonly Graph[];
  readonly stores: readonly Store[];
  readonly held: Stores;
  readonly entries: readonly ExpectedEntry[];
}
interface ExpectedEntry {
  /** The graph, one of the layer's, whose results are checked. */
  readonly graph: Graph;
  /** The same results in the same order, without passes. */
  readonly unoptimized: Graph;
  readonly want: readonly Expected[];
}
/** `fill` gives the values of stores. */
function expectedLayer(written: Written, precision: Precision, limits: Limits, fill: typeof filled): ExpectedLayer {
  const { text, declaration, sizes } = written;
  const loaded = load({ name: "written.moe", text });
  requireValid(loaded);
  const entries = (written.entries ?? ["forward"]).map((name) => ({ method: name, name, sizes: {}, gradients: true }));
  const made = toGraphs(loaded, { declaration, sizes, precision, entries, limits }, silentObserver());
  const graphs = made.graphs.filter(({ name }) => name !== "init");
  const own = made.stores.filter((s) => s.role !== "prepared");
  const held = new Map(own.map((s) => [s.name, fill(s.name, dtypeOf(s.type), dims(s.type))]));
  for (const { name } of own) {
    const x = hiddenInput(name, at);
    if (x) held.set(name, { ...x, data: numbers(x) });
  }
  for (const { name, value } of graphs.find((g) => g.name === prepareEntry)?.results ?? [])
    held.set(name, item(interpret([value], held), 0));
  const checked = entries.map(({ name }): ExpectedEntry => {
    const graph = graphs.find((g) => g.name === name) as Graph;
    const unoptimized = asElaborated(loaded, { declaration, sizes, precision }, graph);
    return { graph, unoptimized, want: expected(valuesOf(unoptimized), held) };
  });
  return { graphs, stores: made.stores, held, entries: checked };
}
function asElaborated(loaded: Loaded, request: Omit<Request, "entries">, { name, results }: Graph): Graph {
  const e = elaborate(loaded, { ...request, entries: [{ method: name, name, evaluates: false, sizes: {} }] });
  const { graph } = item(e.entries, 0);
  const ends = endsOf(graph);
  const seeds = ends.map(({ role, name: of, value }) =>
    role === "loss" ? b.like(e.g, value, 1) : b.param(e.g, `${name}/cotangent.${of}`, value.type),
  );
  const leaves = new Map(nodesOf(graph).map((n) => [storeOf(n), item(n.results, 0)]));
  const wanted = results.filter((r) => r.role === "gradient");
  const wrt = wanted.map((r) => leaves.get(storeOfGradient(r.name, name)) as Value);
  const made = gradients(
    e.g,
    ends.map((r) => r.value),
    wrt,
    seeds,
  );
  const own = new Map(graph.results.map((r) => [key(r), r.value]));
  wanted.forEach((r, i) => own.set(key(r), item(made, i)));
  return { name, results: results.map((r) => ({ ...r, value: own.get(key(r)) as Value })) };
}
const key = (r: Result): string => `${r.role} ${r.name}`;
const storeOfGradient = (name: string, entry: string): string => name.replace(/^input\./, `${entry}/`);
/** The results whose gradients are taken: losses and float outputs. */
const endsOf = ({ results }: Graph): Result[] =>
  ["loss", "output"].flatMap((role) => results.filter((r) => r.role === role && isFloat(r.value.type.dtype)));

/** Checks what passes make of it in the interpreter, and its gradients against finite differences. */
export function checkWrittenPasses(written: Written, { precision, limits = {} }: HostMode): void {
  const { entries, held } = expectedLayer(written, precision, limits, filled);
  for (const entry of entries) {
    const got = interpret(valuesOf(entry.graph), held).map((x) => x.data);
    const off = differences(entry.graph, entry.want, got);
    assert.ok(off === "", `${entry.graph.name}, after all passes: ${off}`);
    if (precision === "f32" && !written.text.includes("detach")) checkSlopes(entry, held);
  }
}
/** Checks on the host, with several numbers of threads and schedules. */
export async function checkWritten(written: Written, way: HostMode, fill = filled): Promise<void> {
  const m = expectedLayer(written, way.precision, way.limits ?? {}, fill);
  await withIsa(way.isa, () => compare(m, way));
  if (way.precision === "f32" && !written.text.includes("detach"))
    for (const entry of m.entries) checkSlopes(entry, m.held);
}
async function compare(m: ExpectedLayer, way: HostMode): Promise<void> {
  const backend = await hostBackend();
  let wants = m.entries.map((e) => e.want);
  for (const [n, choices] of choicesOf(backend.choices, way).entries()) {
    const plan = toPlan(m, silentObserver(), undefined, undefined, { ...backend, choices });
    for (const threads of way.threads.slice(0, n === 0 ? 2 : 1)) {
      const shares = threads === way.threads[0]; // the other runs leave small launches to one thread, as programs do
      const executable = await hostExecutable(plan, { threads, cache: new KernelCache(cache), poison: true, shares });
      const got = await runAll(executable, m).finally(() => executable.close());
      for (const [i, { graph, want }] of m.entries.entries()) {
        const off = differences(graph, item(wants, i), item(got, i));
        const of = item(wants, i) === want ? "written" : "first";
        assert.ok(off === "", `${graph.name}, ${threads} threads, schedules ${n}, ${of}: ${off}`);
      }
      wants = got.map((results) => results.map((x) => ({ want: x, slack: x.map(() => 0) })));
    }
  }
}
async function runAll(executable: Executable, m: ExpectedLayer): Promise<Float64Array[][]> {
  const all: Float64Array[][] = [];
  for (const { graph } of m.entries) all.push(await run(executable, m, graph));
  return all;
}
/** A run's results in the order of the graph's. */
async function run(executable: Executable, { stores, held }: ExpectedLayer, graph: Graph): Promise<Float64Array[]> {
  const inputs = new Map<string, Tensor>();
  for (const { name, role } of stores) {
    const x = held.get(name);
    const tensor = x && fromNumbers(x.dtype, x.shape, x.data);
    if (tensor && role !== "input") executable.write(name, tensor);
    else if (tensor && !isRuntimeInput(name) && name.startsWith(`${graph.name}/`))
      inputs.set(inputOfStore(graph.name, name), tensor);
  }
  const outcome = await executable.run(graph.name, inputs, at);
  const outputs = outcome.outputs.values();
  return graph.results.map((r) => numbersOf(r, outcome, () => outputs.next().value, executable));
}
function numbersOf(
  { role, name }: Result,
  { losses, metrics, gradients: grads }: Outcome,
  next: () => Tensor | undefined,
  executable: Executable,
): Float64Array {
  if (role === "loss") return Float64Array.of(losses.get(name) ?? Number.NaN);
  const tensors = { output: next, gradient: () => grads.get(name), metric: () => metrics.get(name) };
  const tensor = role === "store" ? executable.read(name) : tensors[role]();
  return tensor ? numbers(tensor) : new Float64Array();
}
/** Compares a few elements of each gradient with finite differences, where these exist. */
function checkSlopes({ unoptimized }: ExpectedEntry, held: Stores): void {
  const ends = endsOf(unoptimized);
  const grads = unoptimized.results.filter((r) => r.role === "gradient");
  const made = interpret(valuesOf({ ...unoptimized, results: grads }), held, { exact: true });
  const total = (): number =>
    interpret(valuesOf({ ...unoptimized, results: ends }), held, { exact: true }).reduce(
      (sum, x, i) => sum + weighed(x, held, item(ends, i), unoptimized.name),
      0,
    );
  grads.forEach(({ name }, k) => {
    const { data } = held.get(storeOfGradient(name, unoptimized.name)) as NdArray;
    for (const j of new Set([0, data.length >> 1].filter((i) => i < data.length))) {
      const [slope, is] = [finiteDifference(data, j, total), made[k]?.data[j] ?? Number.NaN];
      const right = slope === null || Math.abs(is - slope) <= 2e-4 * Math.max(1, Math.abs(slope));
      assert.ok(right, `the gradient ${name}[${j}] is ${is}, not ${slope}`);
    }
  });
}
/** The sum of all elements, weighted by their cotangents. */
function weighed(x: NdArray, held: Stores, { role, name }: Result, entry: string): number {
  const seed = role === "loss" ? undefined : held.get(`${entry}/cotangent.${name}`)?.data;
  return x.data.reduce((sum, e, i) => sum + e * (seed?.[i] ?? 1), 0);
}

/**
 * Checks on the emulator of the CUDA target. With tf32 the expected gradients of attention are those of the op: the composition has more
 * cancellation.
 */
export async function checkWrittenOnEmulator(written: Written, precision: Precision, emulation: Emulation) {
  const { held, entries } = expectedLayer(written, precision, {}, filled);
  const given = entries.map(({ graph, unoptimized }) => ({
    graph,
    stores: held,
    said: emulation.kernels === "tf32" ? graph : unoptimized,
  }));
  await checkGraphsOnEmulator(given, emulation, async (_, check) => void (await check()));
}
