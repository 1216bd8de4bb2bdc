// Keeps narrower copies of parameters, such as the bf16 copy of an f32 master that products read. A copy is a store of its own (role `prepared`),
// assigned wherever its parameter is, so that each step casts a weight only once.
import type { GraphBuilder } from "../graph/builder.ts";
import type { Elaborated, Graph, Result, Store, Value } from "../graph/node.ts";
import { rebuildGraph, storeOf } from "../graph/walk.ts";
import * as b from "../ops/build.ts";
import { bytesOf, type DType, isFloat } from "../types/dtype.ts";
import { dtypeOf, type } from "../types/type.ts";

/** The entry that recomputes all copies, after parameters were written from outside. */
export const prepareEntry = "init:prepared";

/** Replaces reads of `cast(parameter)`, also through views, by reads of the parameter's copy. */
export function prepare(g: GraphBuilder, { stores, graphs }: Elaborated): Elaborated {
  const copies = new Copies(g, stores);
  const read = graphs.map((graph) => copies.replaceCasts(graph));
  if (copies.all.length === 0) return { stores, graphs };
  const anew: Graph = { name: prepareEntry, results: copies.all.map(({ of, copy }) => copies.assign(of, copy, null)) };
  return {
    stores: [...stores, ...copies.all.map((c) => c.copy)],
    graphs: [...read.map((x) => copies.withAssignments(x)), anew],
  };
}

interface Copy {
  readonly of: Store;
  readonly copy: Store;
}
class Copies {
  readonly #g: GraphBuilder;
  readonly #parameters: ReadonlyMap<string, Store>;
  readonly #made = new Map<string, Copy>();

  constructor(g: GraphBuilder, stores: readonly Store[]) {
    this.#g = g;
    this.#parameters = new Map(stores.filter((s) => s.role === "parameter").map((s) => [s.name, s]));
  }
  get all(): Copy[] {
    return [...this.#made.values()];
  }
  /** The graph with such casts replaced; records the copies that it needs. */
  replaceCasts(graph: Graph): Graph {
    return rebuildGraph(this.#g, graph, (node, [x]) => {
      const [y] = node.results;
      if (
        node.op.name !== "cast" ||
        !x ||
        !y ||
        !narrows(dtypeOf(x.type), dtypeOf(y.type)) ||
        !this.#isParameterView(x)
      )
        return null;
      return [this.#copied(x, dtypeOf(y.type))];
    });
  }
  /** The graph with an assignment to the copy of every parameter that it assigns. */
  withAssignments(graph: Graph): Graph {
    const assigned = new Map(graph.results.flatMap((r) => (r.role === "store" ? [[r.name, r.value]] : [])));
    const more = this.all.flatMap(({ of, copy }) => {
      const value = assigned.get(of.name);
      return value ? [this.assign(of, copy, value)] : [];
    });
    return { ...graph, results: [...graph.results, ...more] };
  }
  /** The result that assigns a copy; `value` null: it is computed from what the parameter holds. */
  assign(of: Store, copy: Store, value: Value | null): Result {
    const from = value ?? b.param(this.#g, of.name, of.type);
    return { role: "store", name: copy.name, value: b.cast(this.#g, from, dtypeOf(copy.type)) };
  }
  /** Whether a value is a view of nothing but parameters. */
  #isParameterView({ node }: Value): boolean {
    if (this.#parameters.has(storeOf(node) ?? "")) return true;
    return node.op.lower === "view" && node.args.every((a) => this.#isParameterView(a));
  }
  /** The same view of the copies. */
  #copied({ node, index }: Value, dtype: DType): Value {
    const store = this.#parameters.get(storeOf(node) ?? "");
    if (store) return this.#leaf(store, dtype);
    const made = this.#g.add(
      node.op,
      node.args.map((a) => this.#copied(a, dtype)),
      node.attrs,
    );
    return made.results[index] as Value;
  }
  #leaf(of: Store, dtype: DType): Value {
    // names in programs contain no space, so this cannot collide
    const name = `${of.name} as ${dtype}`;
    const copy: Store = { ...of, name, role: "prepared", type: type(dtype, of.type.shape), saved: false };
    this.#made.set(name, { of, copy });
    return b.param(this.#g, name, copy.type);
  }
}
const narrows = (from: DType, to: DType): boolean => isFloat(from) && isFloat(to) && bytesOf[to] < bytesOf[from];
