// Gradient accumulation over several batches: stores that hold weighted sums, and the `update` graph that steps the optimizer from their means.
import type { GraphBuilder } from "../graph/builder.ts";
import { type Graph, type Result, runtimeInputs, type Store, unstackedStore, type Value } from "../graph/node.ts";
import * as b from "../ops/build.ts";
import { dims, dtypeOf, type } from "../types/type.ts";

/** The name of the entry that takes the optimizer step of the train entry `entry`, when gradients are accumulated. */
export const updateEntryName = (entry: string): string => `${entry}:update`;

interface Accumulated {
  /** One gradient sum for each trained parameter, and the sum of the batches' weights; 0 initially. */
  readonly stores: readonly Store[];
  /** The new contents of those stores after a batch: old sum plus this batch's gradient times its weight, and plus its weight. */
  readonly adds: readonly Result[];
  /** Keyed by the parameter's store name: the sum divided by that of the weights (0 if that is 0), which the optimizer takes as its gradient. */
  readonly means: ReadonlyMap<string, Value>;
  /** Resets the sums to 0: run by `init`, and by each optimizer step. */
  readonly clears: readonly Result[];
}
/** The store of a trained parameter, and its gradient for one batch. */
export interface StoreGradient {
  readonly store: Store;
  readonly grad: Value;
}
export function accumulate(g: GraphBuilder, entry: string, grads: readonly StoreGradient[]): Accumulated {
  const weight = b.param(g, runtimeInputs.weight, type("f32", []));
  const total = sumOf(g, unstackedStore(`${entry}/${runtimeInputs.weight}`, "gradient", weight.type), weight);
  const divisor = b.where(g, b.gt(g, total.held, 0), total.held, 1);
  const sums = grads.map(({ store, grad }) => {
    const added = b.mul(g, grad, weight); // f32 or wider, also of a parameter of bf16
    const name = `${entry}/gradient/${store.name}`;
    const kept = { ...store, name, type: added.type, role: "gradient", saved: false, of: store.name } as const;
    const sum = sumOf(g, kept, added);
    return { ...sum, mean: b.cast(g, b.div(g, sum.held, divisor), dtypeOf(grad.type)), of: store.name };
  });
  const all = [total, ...sums];
  return {
    stores: all.map(({ store }) => store),
    adds: all.map(({ store, sum }) => ({ role: "store", name: store.name, value: sum })),
    means: new Map(sums.map(({ of, mean }) => [of, mean])),
    clears: all.map(({ store: { name, type } }) => ({
      role: "store",
      name,
      value: b.fill(g, 0, dtypeOf(type), dims(type)),
    })),
  };
}
/** `held`: what the store has; `sum`: with `added`. */
function sumOf(g: GraphBuilder, store: Store, added: Value): { store: Store; held: Value; sum: Value } {
  const held = b.param(g, store.name, store.type);
  return { store, held, sum: b.add(g, held, added) };
}
/** The optimizer step: applies `updates`, which are computed from the means, then clears the sums. */
export const updateGraph = (entry: string, updates: readonly Result[], { clears }: Accumulated): Graph => ({
  name: updateEntryName(entry),
  results: [...updates, ...clears],
});
