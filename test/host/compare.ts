// Runs graphs by the host's kernels and compares them with the interpreter in exact arithmetic.
import * as assert from "uvu/assert";
import { emitHost } from "../../compiler/emit/unit.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, NdArray, Node, Value } from "../../compiler/graph/node.ts";
import { type Choices, hostChoices } from "../../compiler/kernel/schedule.ts";
import type { StorePanels } from "../../compiler/lower/layout.ts";
import { lower } from "../../compiler/lower/lower.ts";
import { depthOf, isOfFp4 } from "../../compiler/ops/pairs.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import { type Sequence } from "../../compiler/plan/sequence.ts";
import { count, dims } from "../../compiler/types/type.ts";
import { full } from "../full.ts";
import { bf16Samples, codeSamples, type Sample, samples, storesOf } from "../graphs.ts";
import { kernelOf } from "../sequences.ts";
import { hasClang, x64 } from "./machine.ts";
import { compiled, runSequences } from "./run.ts";

export const graphOf = (values: readonly Value[]): Graph => ({
  name: "test",
  results: values.map((value, i) => ({ role: "output", name: String(i), value })),
});
export const lowered = (graph: Graph, choices: Choices = hostChoices, panels: StorePanels = new Map()): Sequence =>
  lower(graph, { emit: emitHost, choices, panels });
export const kernelsOf = (list: readonly Sequence[]): PlanKernel[] => [
  ...new Map(list.flatMap((s) => s.launches.map(kernelOf).map((k) => [k.name, k] as const))).values(),
];

/** How many elements of result `r` are defined: a ragged result has rows beyond its last group, which are not. */
export function elementsOf(node: Node, stores: ReadonlyMap<string, NdArray>, r: number): number {
  const result = node.results[r] as Value;
  if (node.op.name !== "ragged_dot") return count(result.type);
  const [offsets] = interpret([node.args[2] as Value], stores);
  return (offsets?.data.at(-1) ?? 0) * (node.attrs as { unit: number }).unit * (dims(result.type)[1] ?? 1);
}
/** How many terms are summed for one element of a sum. */
function termsOf(node: Node): number {
  const { op, args, results } = node;
  const [x, y] = [args[0] as Value, results[0] as Value];
  if (op.name === "dot" || op.name === "ragged_dot") return depthOf(node);
  if (op.name === "reduce") return count(x.type) / Math.max(1, count(y.type));
  return dims(x.type)[op.name === "scan" ? 1 : 0] ?? 1;
}
const sums = new Set(["dot", "ragged_dot", "ragged_outer", "ragged_sum", "reduce", "scan"]);
const epsilon = 2 ** -23;
/** How far an element may be off: for sums, 2 eps sqrt(K) of the sum of magnitudes; for pointwise ops, 4 units in the last place. */
export function bounds(node: Node, stores: ReadonlyMap<string, NdArray>): (x: number, r: number, i: number) => number {
  const narrow = [...node.results, ...node.args].some((v) => v.type.dtype === "bf16");
  const stored = narrow ? 2 ** -8 : 0;
  if (node.op.name.startsWith("attention")) {
    // tensor cores also round the weights to bf16
    const most = interpret(node.results, stores, { exact: true }).map((a) => Math.max(0, ...a.data.map(Math.abs)));
    return (_, r) => 2e-6 + 2 * stored * (most[r] ?? 0);
  }
  if (!sums.has(node.op.name)) return (x) => (stored || 4 * epsilon) * Math.abs(x);
  const hasFp4 = node.args.some((a) => isOfFp4(a.node));
  const magnitudes = new Map(
    [...stores].map(([name, a]) => {
      const size = hasFp4 && a.dtype === "i8" ? (x: number): number => x & 0x77 : Math.abs;
      return [name, a.dtype === "i32" ? a : { ...a, data: a.data.map(size) }];
    }),
  );
  const scale = interpret(node.results, magnitudes, { exact: true });
  const each = 2 * epsilon * Math.sqrt(termsOf(node)) + (hasFp4 ? stored / 2 : 0); // of fp4 the numbers are rounded to bf16
  return (x, r, i) => stored * Math.abs(x) + each * Math.abs(scale[r]?.data[i] ?? 0);
}
export const kernelsOfSamples = (all: readonly OpSample[]): PlanKernel[] => kernelsOf(all.map((s) => s.sequence));
export interface OpSample extends Sample {
  readonly sequence: Sequence;
}
/** The lowered samples of all ops that the host can compute. */
export const opSamples = (choices?: Choices): OpSample[] =>
  [...samples(), ...bf16Samples(), ...codeSamples()]
    .filter(({ node }) => node.op.name !== "const" && node.results.every((v) => v.type.dtype !== "f64"))
    .map((s) => ({ ...s, sequence: lowered(graphOf(s.node.results), choices) }));
/** Of these, those whose kernels differ from what the default choices give. */
export function chosenSamples(choices: Choices): OpSample[] {
  const usual = new Set(kernelsOfSamples(opSamples()).map((k) => k.text));
  return opSamples(choices).filter(({ sequence }) => kernelsOf([sequence]).some((k) => !usual.has(k.text)));
}
/**
 * The samples for compiler (or instruction set) `w` of `n`. Each gets some of every tile op (`lower: "tile"`), whose kernels take most of the time to
 * compile, and all of the other ops; with MOEC_TEST=full all of all.
 */
export const samplesInTurn = (all: readonly OpSample[], w: number, n: number): readonly OpSample[] =>
  all.filter(({ node }, i) => full || node.op.lower !== "tile" || i % n === w);
/**
 * For instruction set `w` of `n`: as `samplesInTurn`, and of the other ops half of the samples, so that each is in half of the sets. Of four the outer or
 * the inner two, since samples of one op take two dtypes in turn.
 */
export const samplesOfSet = (all: readonly OpSample[], w: number, n: number): readonly OpSample[] =>
  all.filter(({ node }, i) => full || (node.op.lower === "tile" ? i % n === w : (i + (i >> 1)) % 2 === w % 2));
/** Runs samples from a library with their kernels; throws if one differs from its op's definition by more than its bound. */
export function compareOps(all: readonly OpSample[], lib: string): void {
  const runs = all.map(({ node, sequence }) => ({ sequence, stores: storesOf(node.results) }));
  const results = runSequences(runs, 2, lib);
  for (const [s, sample] of all.entries()) compareOp(sample, runs[s]?.stores ?? new Map(), results[s] ?? []);
}
function compareOp({ name, node }: OpSample, stores: ReadonlyMap<string, NdArray>, got: readonly Float64Array[]): void {
  const bound = bounds(node, stores);
  interpret(node.results, stores, { exact: true }).forEach((want, r) => {
    for (let i = 0; i < elementsOf(node, stores, r); i++) {
      const [x, y] = [want.data[i] ?? Number.NaN, got[r]?.[i] ?? Number.NaN];
      assert.ok(x === y || Math.abs(x - y) <= bound(x, r, i), `${name} result ${r}[${i}]: ${y}, not ${x}`);
    }
  });
}

export const valuesOf = ({ results }: Graph): Value[] =>
  [...results.filter((r) => r.role !== "store"), ...results.filter((r) => r.role === "store")].map((r) => r.value);

/** Compiles the samples by each compiler that is here, in turn; compares them if this CPU can run them, else only compiles some. */
export function compareByCompilers(all: readonly OpSample[], flags: readonly string[], isRunnable: boolean): void {
  const compilers = ["g++", ...(hasClang ? ["clang++"] : [])];
  for (const [c, compiler] of compilers.entries()) {
    const some = samplesInTurn(all, c, compilers.length);
    const taken = isRunnable ? some : some.filter((_, i) => full || i % 4 === 0);
    const lib = compiled(kernelsOfSamples(taken), flags, compiler);
    if (isRunnable) compareOps(taken, lib);
  }
}
/** Compares results with the interpreter; `error` is relative to the largest number of a result. */
export function compare(name: string, graph: Graph, got: readonly Float64Array[], error = 2e-5): void {
  const values = valuesOf(graph);
  interpret(values, storesOf(values), { exact: true }).forEach((want, r) => {
    const scale = Math.max(1e-3, ...want.data.map(Math.abs));
    const errors = [...want.data].map((x, i) => Math.abs(x - (got[r]?.[i] ?? Number.NaN)) / scale);
    assert.ok(
      errors.every((e) => e < error),
      `${name}, result ${r}: off by ${Math.max(...errors)}`,
    );
  });
}
/** The compiler's flags for each vector width that the machine has. */
export const widths: readonly (readonly string[])[] = [
  [],
  ...(x64 ? [["-mavx2", "-mfma", "-mno-avx512f"], ["-mno-avx"]] : []),
];
/** For each vector width, its flags and what is run at it: each item at one of them, in turn; with MOEC_TEST=full all at all. */
export const widthsInTurn = <T>(all: readonly T[]): { readonly flags: readonly string[]; readonly some: T[] }[] =>
  widths.map((flags, w) => ({ flags, some: all.filter((_, i) => full || i % widths.length === w) }));
/** Compares graphs with the interpreter at every vector width that the machine has. */
export function compareWidths(name: string, graphs: readonly Graph[], sequences: readonly Sequence[]): void {
  for (const flags of widths) {
    const lib = compiled(kernelsOf(sequences), ["-Og", ...flags]);
    const runs = graphs.map((graph, i) => ({ sequence: sequences[i] as Sequence, stores: storesOf(valuesOf(graph)) }));
    const results = runSequences(runs, 2, lib);
    for (const [i, graph] of graphs.entries()) compare(`${name} ${i} ${flags.join(" ")}`, graph, results[i] ?? []);
  }
}
