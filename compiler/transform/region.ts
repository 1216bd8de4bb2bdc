// A part of a graph that becomes one kernel.
import type { Node, Value } from "../graph/node.ts";

export interface Region {
  /** tile: contractions, and points of their accumulators. rows: elements, or rows with their folds. algorithm: one node in its own way. */
  readonly kind: "tile" | "rows" | "algorithm";
  /** The contractions, or the algorithm; of rows, the nodes of the outputs. */
  readonly nodes: readonly Node[];
  /** What goes to memory. */
  readonly outputs: readonly Value[];
  /** How many leading axes of the outputs' space the tasks walk, because a reduction over the others is inside; null: as it suits. */
  readonly depth: number | null;
  /** Of the backward or the update; such kernels compute `again` what the forward did not keep. */
  readonly late: boolean;
  readonly again: ReadonlySet<Value>;
}

/** Rows moved by an index: read in the consumer's load, whatever consumes it. */
export const carries: ReadonlySet<string> = new Set(["gather", "dispatch", "combine"]);

/** What has so many pieces, or is read in so many, is the work of a long loop: each step writes, or reads, its own. */
export const manySteps = 16;
