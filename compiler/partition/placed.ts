// A value of the whole program as each worker has it.
import type { Placement, Value, Workers } from "../graph/node.ts";

/** A value of the graph that each worker runs, and where what it stands for is. */
export interface Placed {
  readonly value: Value;
  readonly place: Placement;
}
/** What is known, while a graph is partitioned, of the whole program's values; partition.ts has it. */
export interface Partitioned extends Workers {
  of(v: Value): Placed;
  /** The same of a value that was made for that graph since. */
  placed(v: Value): Placed;
  /** Its placement as rules see it. */
  ruleInput(v: Value): Placement;
  /** Whether one node alone needs it. */
  isOwn(v: Value): boolean;
  /** The new graph's value for `v` in this placement. */
  convertTo(v: Value, place: Placement): Value;
}
