import { suite } from "uvu";
import * as assert from "uvu/assert";
import { emitHost } from "../compiler/emit/unit.ts";
import { interpret } from "../compiler/graph/interpret.ts";
import type { Graph, NdArray, Node, Value } from "../compiler/graph/node.ts";
import { lower } from "../compiler/kernel/lower.ts";
import type { Sequence } from "../compiler/plan/sequence.ts";
import { samples, storesOf } from "./graphs.ts";
import { compiled, runSequence } from "./host/run.ts";
import { adamw, attentionLayer, crossEntropy, moeLayer, normLayer, softmaxLayer } from "./layers.ts";

const test = suite("kernels");

const graphOf = (values: readonly Value[]): Graph => ({
  name: "test",
  results: values.map((value, i) => ({ role: "output", name: String(i), value })),
});
const lowered = (values: readonly Value[]): Sequence => lower(graphOf(values), { emit: emitHost });
const kernelsOf = (list: readonly Sequence[]) =>
  [...new Map(list.flatMap((s) => s.launches.map((l) => [l.kernel.name, l.kernel])))].map(([, k]) => k);

/** Rows that no group has are not written. */
function known(node: Node, stores: ReadonlyMap<string, NdArray>, index: number, i: number): boolean {
  if (node.op.name !== "ragged_dot") return true;
  const [offsets] = interpret([node.args[2] as Value], stores);
  const rows = (offsets?.data.at(-1) ?? 0) * (node.attrs as { unit: number }).unit;
  const width = (node.results[index]?.type.shape[1] ?? 1) as number;
  return i < rows * width;
}
test("every op against its definition", () => {
  const all = samples()
    .filter(({ node }) => node.op.name !== "const" && node.results.every((v) => v.type.dtype !== "f64"))
    .map((s) => ({ ...s, sequence: lowered(s.node.results) }));
  const lib = compiled(kernelsOf(all.map((s) => s.sequence)));
  for (const { name, node, sequence } of all) {
    const stores = storesOf(node.results);
    const want = interpret(node.results, stores, { exact: true });
    const got = runSequence(sequence, stores, 2, lib);
    want.forEach((w, r) => {
      w.data.forEach((x, i) => {
        if (!known(node, stores, r, i)) return;
        const y = got[r]?.[i] ?? Number.NaN;
        const bf16 =
          node.results.some((v) => v.type.dtype === "bf16") || node.args.some((v) => v.type.dtype === "bf16");
        const error = Math.abs(y - x) / Math.max(1e-30, Math.abs(x));
        const fine = Object.is(x, y) || x === y || error <= (bf16 ? 2 ** -8 : 2 ** -21) || Math.abs(y - x) < 1e-6;
        assert.ok(
          fine,
          `${name} result ${r}[${i}]: ${y}, not ${x}\n${sequence.launches.map((l) => l.kernel.text).join("\n")}`,
        );
      });
    });
  }
});

const layers: Readonly<Record<string, Graph>> = {
  softmax: softmaxLayer(13, 37),
  "softmax of one": softmaxLayer(1, 1),
  "rms norm": normLayer([3, 5, 32], false),
  "layer norm": normLayer([130, 17], true),
  "cross entropy": crossEntropy(67, 19),
  attention: attentionLayer(2, 11, 3, 8),
  "mixture of experts": moeLayer(67, 24, 19, 5, 2),
  "mixture of many experts": moeLayer(5, 8, 8, 40, 3),
  adamw: adamw([9, 33]),
};
test("layers against the interpreter, the same bits with any number of threads", () => {
  for (const [name, graph] of Object.entries(layers)) {
    const sequence = lower(graph, { emit: emitHost });
    const values = [
      ...graph.results.filter((r) => r.role !== "store"),
      ...graph.results.filter((r) => r.role === "store"),
    ].map((r) => r.value);
    const stores = storesOf(values);
    const want = interpret(values, stores, { exact: true });
    const [got, ...others] = [1, 2, 3].map((threads) => runSequence(sequence, stores, threads));
    for (const other of others) assert.equal(other, got, name);
    want.forEach((w, r) => {
      const scale = Math.max(1e-3, ...w.data.map(Math.abs));
      const worst = w.data.reduce(
        (m, x, i) => Math.max(m, Math.abs(x - (got?.[r]?.[i] ?? Number.NaN)) / scale || 0),
        0,
      );
      const nan = got?.[r]?.some((x) => Number.isNaN(x)) ?? true;
      assert.ok(worst < 2e-5 && !nan, `${name} result ${r}: ${worst}${nan ? " NaN" : ""}`);
    });
  }
});

test.run();
