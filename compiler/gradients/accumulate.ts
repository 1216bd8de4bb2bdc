// Gradient accumulation over several batches: stores that hold the running sums, and the `update` graph that steps the optimizer from their means.
import type { GraphBuilder } from "../graph/builder.ts";
import type { Graph, Result, Store, Value } from "../graph/node.ts";
import * as b from "../ops/build.ts";
import { dims, dtypeOf } from "../types/type.ts";

/** The name of the entry that takes the optimizer step of the train entry `entry`, when gradients are accumulated. */
export const updateEntryName = (entry: string): string => `${entry}:update`;

interface Accumulated {
  /** One gradient sum for each trained parameter, 0 initially. */
  readonly stores: readonly Store[];
  /** The new contents of those stores after a batch: old sum plus this batch's gradient. */
  readonly adds: readonly Result[];
  /** Keyed by the parameter's store name: the sum divided by `n`, which the optimizer takes as its gradient. */
  readonly means: ReadonlyMap<string, Value>;
  /** Resets the sums to 0: run by `init`, and by each optimizer step. */
  readonly clears: readonly Result[];
}
/** The store of a trained parameter, and its gradient for one batch. */
export interface StoreGradient {
  readonly store: Store;
  readonly grad: Value;
}
export function accumulate(g: GraphBuilder, entry: string, grads: readonly StoreGradient[], n: number): Accumulated {
  const sums = grads.map(({ store, grad }) => {
    const sum: Store = {
      ...store,
      name: `${entry}/gradient/${store.name}`,
      role: "gradient",
      saved: false,
      of: store.name,
    };
    return { of: store.name, sum, grad, held: b.param(g, sum.name, sum.type) };
  });
  return {
    stores: sums.map(({ sum }) => sum),
    adds: sums.map(({ sum, held, grad }) => ({ role: "store", name: sum.name, value: b.add(g, held, grad) })),
    means: new Map(sums.map(({ of, held }) => [of, b.mul(g, held, 1 / n)])),
    clears: sums.map(({ sum }) => ({
      role: "store",
      name: sum.name,
      value: b.fill(g, 0, dtypeOf(sum.type), dims(sum.type)),
    })),
  };
}
/** The optimizer step: applies `updates`, which are computed from the means, then clears the sums. */
export const updateGraph = (entry: string, updates: readonly Result[], { clears }: Accumulated): Graph => ({
  name: updateEntryName(entry),
  results: [...updates, ...clears],
});
