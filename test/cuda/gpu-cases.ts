// The cases that are run on a GPU: every op's samples, layers, and contractions with wgmma variants, each with a check of its results.
import { interpret } from "../../compiler/graph/interpret.ts";
import { loweredForCuda } from "../emulator/sequence.ts";
import { bf16Samples, codeSamples, type Sample, samples, storesOf } from "../graphs.ts";
import { bounds, compare, elementsOf, graphOf, valuesOf } from "../host/compare.ts";
import { layers } from "../layers.ts";
import { buildCase, cases, compare as compareContraction } from "./contractions.ts";
import type { Runnable } from "./runtime.ts";

export interface GpuCase extends Runnable {
  readonly name: string;
  /** Throws an error that says what is wrong. */
  readonly check: (results: readonly Float64Array[]) => void;
}
export const groups = {
  /** Every op against its definition. */
  ops: (): GpuCase[] =>
    [...samples(), ...bf16Samples(), ...codeSamples()]
      .filter(({ node }) => node.op.name !== "const" && node.results.every((v) => v.type.dtype !== "f64"))
      .map((sample) => ({
        name: sample.name,
        sequence: loweredForCuda(graphOf(sample.node.results)),
        stores: storesOf(sample.node.results),
        check: (results) => defined(sample, results),
      })),
  /** Layers against the interpreter. */
  layers: (): GpuCase[] =>
    Object.entries(layers).map(([name, graph]) => ({
      name,
      sequence: loweredForCuda(graphOf(valuesOf(graph))),
      stores: storesOf(valuesOf(graph)),
      check: (results) => compare(name, graph, results),
    })),
  /** Contractions of bf16. In the first run each is computed by its kernel and, for the trial, by its wgmma variant. */
  contractions: (): GpuCase[] =>
    cases.map((c) => {
      const whole = buildCase(c, (sequence) => sequence);
      return { ...whole, check: (results) => compareContraction(whole, { results, findings: "" }) };
    }),
} as const;
export type Group = keyof typeof groups;

function defined({ node }: Sample, results: readonly Float64Array[]): void {
  const stores = storesOf(node.results);
  const bound = bounds(node, stores);
  interpret(node.results, stores, { exact: true }).forEach((want, r) => {
    for (let i = 0; i < elementsOf(node, stores, r); i++) {
      const [x, y] = [want.data[i] ?? Number.NaN, results[r]?.[i] ?? Number.NaN];
      if (!(x === y || Math.abs(x - y) <= bound(x, r, i))) throw new Error(`result ${r}[${i}] is ${y}, not ${x}`);
    }
  });
}
