// From graphs to what the addon computes: lowered, planned, compiled, run.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { emitHost, hostHeader } from "../../compiler/emit/unit.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import { type Graph, type NdArray, unstackedStore } from "../../compiler/graph/node.ts";
import { lower } from "../../compiler/lower/lower.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import type { Outcome, Tensor } from "../../runtime/executable/executable.ts";
import type { PlanExecutable } from "../../runtime/executable/plan-executable.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { zeros } from "../../runtime/tensor.ts";
import { storesOf } from "../graphs.ts";
import {
  adamw,
  attentionLayer,
  choiceRounds,
  copySums,
  crossEntropy,
  moeLayer,
  normLayer,
  rowSums,
  sinkhornLayer,
} from "../layers.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("execute");
const cache = new KernelCache(temporaryFolder());
const at = { seed: 0, call: 0, step: 0 };

function tensor({ dtype, shape, data }: NdArray): Tensor {
  const empty = zeros(dtype, shape);
  return { ...empty, data: empty.data.map((_, i) => data[i] ?? Number.NaN) };
}
function planned(graph: Graph): { readonly plan: Plan; readonly values: ReadonlyMap<string, NdArray> } {
  const values = storesOf(graph.results.map((r) => r.value));
  const stores = [...values].map(([name, { dtype, shape }]) =>
    unstackedStore(name, "parameter", { dtype, shape }, true),
  );
  const plan = planMemory([lower(graph, { emit: emitHost })], stores, { target: "host", header: hostHeader() });
  return { plan, values };
}
async function loaded(graph: Graph, threads: number): Promise<PlanExecutable> {
  const { plan, values } = planned(graph);
  const executable = await hostExecutable(plan, { threads, cache, poison: true });
  for (const [name, value] of values) executable.write(name, tensor(value));
  return executable;
}
const all = (o: Outcome): readonly number[][] => [
  ...o.outputs.map((t) => [...t.data]),
  ...[...o.losses.values()].map((loss) => [loss]),
  ...[...o.gradients.values()].map((t) => [...t.data]),
];
function near(got: ArrayLike<number> | undefined, want: ArrayLike<number>, what: string): void {
  const scale = Math.max(1e-3, ...Array.from(want, Math.abs));
  const worst = Array.from(want, (x, i) => Math.abs(x - (got?.[i] ?? Number.NaN)) / scale);
  assert.ok(
    worst.every((x) => x < 2e-5),
    `${what}: ${Math.max(...worst)}`,
  );
}

const layers: Readonly<Record<string, Graph>> = {
  norm: normLayer([3, 5, 17], true),
  "cross entropy": crossEntropy(67, 19),
  attention: attentionLayer(2, 11, 3, 8),
  "mixture of experts": moeLayer(67, 24, 19, 5, 2),
  "Sinkhorn's scaling": sinkhornLayer([3, 23], [3, 4], 3),
  "Sinkhorn's scaling in a loop": sinkhornLayer([3, 23], [5, 3], 11),
  "rounds that hand on choices": choiceRounds([3, 23], [4, 3], 12),
  "mixture whose scores' gradient an epilogue adds up": moeLayer(67, 24, 48, 5, 2),
  "sums of an element's copies": copySums("f32"),
  ...Object.fromEntries(
    (["whole", "in pairs", "across", "one a row"] as const).map((lies) => [lies, rowSums("f32", lies)]),
  ),
};
for (const [name, graph] of Object.entries(layers)) {
  test(`${name}, forward and backward, in one arena: the interpreter's values, the same bits on 1, 2 and 3 threads`, async () => {
    const values = storesOf(graph.results.map((r) => r.value));
    const want = interpret(
      graph.results.map((r) => r.value),
      values,
      { exact: true },
    );
    const outcomes: (readonly number[][])[] = [];
    for (const threads of [1, 2, 3]) {
      const executable = await loaded(graph, threads);
      outcomes.push(all(await executable.run(graph.name, new Map(), at)));
      assert.equal(all(await executable.run(graph.name, new Map(), at)), outcomes.at(-1), "a second run");
      for (const [store, value] of values)
        assert.equal([...executable.read(store).data], [...value.data], `${store} stays`);
      executable.close();
    }
    assert.equal([outcomes[1], outcomes[2]], [outcomes[0], outcomes[0]]);
    for (const [i, { data }] of want.entries()) near(outcomes[0]?.[i], data, `${name} ${graph.results[i]?.name}`);
  });
}

test("AdamW updates parameters and moments in place", async () => {
  const graph = adamw([9, 33]);
  const { plan, values } = planned(graph);
  assert.not.ok(plan.entries[0]?.steps.some((s) => s.kind === "copy"));
  const executable = await loaded(graph, 2);
  const now = new Map(values);
  for (let step = 0; step < 3; step++) {
    await executable.run(graph.name, new Map(), at);
    for (const [i, array] of interpret(
      graph.results.map((r) => r.value),
      new Map(now),
      { exact: true },
    ).entries()) {
      now.set(graph.results[i]?.name ?? "", array);
    }
    for (const [name, { data }] of now) near(executable.read(name).data, data, `${name} after ${step + 1}`);
  }
  executable.close();
});

test.run();
