// Elaboration: evaluates entries with numbers for sizes. Makes one graph for each entry, the stores that they share, and the graph that initializes
// these.
import { Problem } from "../../diagnostic.ts";
import { GraphBuilder } from "../../graph/builder.ts";
import type { Graph, Store } from "../../graph/node.ts";
import { ops } from "../../ops/list.ts";
import type { Loaded } from "../modules.ts";
import { withStacks } from "../stacks.ts";
import { Stores } from "../storage.ts";
import { asProgramErrors, type ElaboratedEntry, type ElaborationState, EntryElaborator } from "./entry.ts";
import { initGraph } from "./init-graph.ts";
import type { Request } from "./request.ts";

export type { ElaboratedEntry, Training } from "./entry.ts";
export type { EntryRequest, Request, Sizes } from "./request.ts";

export interface Elaboration {
  readonly g: GraphBuilder;
  readonly entries: readonly ElaboratedEntry[];
  /** All stores made so far. Call it after `update`, which adds the optimizer's. */
  stores(): Store[];
  /** The `init` graph: a "store" result with the initial value of each parameter and state. Call it after `update`, too. */
  init(): Graph;
}

/** Throws a ProgramError for errors in the program, and a Problem for errors in the request. */
export function elaborate(loaded: Loaded, request: Request): Elaboration {
  if (request.entries.some((entry) => entry.name === "init"))
    throw new Problem("`init` is the entry that gives parameters their first values", "give the method another name");
  return withStacks((stacks) => {
    const once = (frozen: ReadonlySet<string>): [Elaboration, Stores] => {
      const stores = new Stores(frozen);
      return [elaborateOnce({ loaded, request, g: new GraphBuilder(ops), stacks, stores, inputs: [] }), stores];
    };
    // what is trained is known once all is elaborated; then again, without masters of the rest
    const [made, { masters }] = once(new Set());
    const trained = new Set(made.entries.flatMap(({ training }) => training?.trainable.map((t) => t.store.name) ?? []));
    const frozen = new Set([...masters].filter((name) => !trained.has(name)));
    return frozen.size > 0 ? once(frozen)[0] : made;
  });
}
function elaborateOnce(shared: ElaborationState): Elaboration {
  const { request } = shared;
  const entries = request.entries.map((entry) => asProgramErrors(() => new EntryElaborator(shared, entry).elaborate()));
  return {
    g: shared.g,
    entries,
    stores: () => [...[...shared.stores.all.values()].map((r) => r.store), ...shared.inputs],
    init: () => asProgramErrors(() => initGraph(shared)),
  };
}
