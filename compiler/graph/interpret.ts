// The reference interpreter: evaluates every op by its definition (`eval`, `collective`), in topological order, and rounds each result to its dtype.
import { Problem } from "../diagnostic.ts";
import { item } from "../item.ts";
import { isFloat } from "../types/dtype.ts";
import { dims, dtypeOf, showType, type Type } from "../types/type.ts";
import { roundAll, withMemoryErrors } from "./array.ts";
import type { NdArray, Node, Value } from "./node.ts";
import { storeOf, topological } from "./walk.ts";

interface InterpretOptions {
  /** Do not round floats to their dtypes; finite differences need this. */
  readonly exact?: boolean;
}

/** The values of `results`, given the contents of the stores. */
export const interpret = (
  results: readonly Value[],
  stores: ReadonlyMap<string, NdArray>,
  options?: InterpretOptions,
): NdArray[] => item(interpretWorkers(results, [stores], options), 0);

/** The same for several workers, each with its own stores; collectives read the operands of all of them. Returns the results of each worker. */
export function interpretWorkers(
  results: readonly Value[],
  stores: readonly ReadonlyMap<string, NdArray>[],
  { exact = false }: InterpretOptions = {},
): NdArray[][] {
  const known = stores.map(() => new Map<Value, NdArray>());
  const of = (v: Value, worker: number): NdArray => {
    const found = known[worker]?.get(v);
    if (!found) throw new Problem(`${v.node.op.name} was not computed`, "verify the graph");
    return found;
  };
  const order = topological(results);
  const dying = lastUses(order, results);
  for (const node of order) {
    const args = stores.map((_, worker) => node.args.map((v) => of(v, worker)));
    const made = (): NdArray[][] => evaluate(node, args, stores, exact);
    withMemoryErrors(() => `${node.op.name} gives ${showResults(node)}`, made).forEach((arrays, worker) => {
      const own = item(known, worker);
      node.results.forEach((v, i) => own.set(v, item(arrays, i)));
      for (const v of dying.get(node) ?? []) own.delete(v);
    });
  }
  return stores.map((_, worker) => results.map((v) => of(v, worker)));
}
/** The results of one node on each worker. */
function evaluate(
  node: Node,
  args: readonly (readonly NdArray[])[],
  stores: readonly ReadonlyMap<string, NdArray>[],
  exact: boolean,
): NdArray[][] {
  const { op, attrs, results } = node;
  const store = storeOf(node);
  if (store !== null) return stores.map((own) => [storeContents(node, store, own)]);
  const types = results.map((r) => r.type);
  const made = op.collective?.(args, attrs, types) ?? args.map((own) => op.eval(own, attrs, types));
  return made.map((own) => own.map((data, i) => rounded(data, item(types, i), exact)));
}
const showResults = (node: Node): string => node.results.map((r) => showType(r.type)).join(", ");
function rounded(data: Float64Array, type: Type, exact: boolean): NdArray {
  const dtype = dtypeOf(type);
  return { dtype, shape: dims(type), data: exact && isFloat(dtype) ? data : roundAll(dtype, data) };
}
function storeContents(node: Node, store: string, stores: ReadonlyMap<string, NdArray>): NdArray {
  const array = stores.get(store);
  const [wanted] = node.results;
  if (!array) throw new Problem(`nothing is given for ${store}`, "give it among the inputs or parameters");
  const shape = wanted ? dims(wanted.type) : [];
  if (wanted && (array.dtype !== wanted.type.dtype || array.shape.join() !== shape.join()))
    throw new Problem(
      `${store} is ${array.dtype}[${array.shape.join(", ")}], the program wants ${showType(wanted.type)}`,
      "give it the type that the program wants",
    );
  return array;
}
/** For each node, the values that no later node reads; they can be freed after it. */
function lastUses(order: readonly Node[], results: readonly Value[]): Map<Node, Value[]> {
  const last = new Map<Value, Node>();
  for (const node of order) for (const v of [...node.results, ...node.args]) last.set(v, node);
  const kept = new Set(results);
  const dying = new Map<Node, Value[]>();
  for (const [v, node] of last) if (!kept.has(v)) dying.set(node, [...(dying.get(node) ?? []), v]);
  return dying;
}
