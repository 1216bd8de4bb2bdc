// Gradients over several batches before one step of the optimizer: stores for their sums, and two graphs in place of one.
import type { GraphBuilder } from "../graph/builder.ts";
import type { Graph, Result, Store, Value } from "../graph/node.ts";
import * as b from "../ops/build.ts";
import { dims, dtypeOf } from "../types/type.ts";

/** What a `train` calls the entry that steps its optimizer. */
export const updateOf = (entry: string): string => `${entry}:update`;

interface Accumulated {
  /** The gradients' sums, 0 at first. */
  readonly stores: readonly Store[];
  /** Adds a batch's gradients to the sums. */
  readonly adds: readonly Result[];
  /** By the parameter's store: the means of `n` batches, for the optimizer. */
  readonly means: ReadonlyMap<string, Value>;
  /** Makes the sums 0: at first, and after each step. */
  readonly clears: readonly Result[];
}
/** `grads`: each trained parameter's store with its gradient of one batch. */
export function accumulate(
  g: GraphBuilder,
  entry: string,
  grads: readonly { readonly store: Store; readonly grad: Value }[],
  n: number,
): Accumulated {
  const sums = grads.map(({ store, grad }) => {
    const sum: Store = { ...store, name: `${entry}/gradient/${store.name}`, role: "gradient", saved: false };
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
/** The second graph: the optimizer's step from the means, and sums of 0 again. */
export const updateGraph = (entry: string, updates: readonly Result[], { clears }: Accumulated): Graph => ({
  name: updateOf(entry),
  results: [...updates, ...clears],
});
