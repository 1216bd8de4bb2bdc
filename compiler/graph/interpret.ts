// The reference interpreter: evaluates every op by its definition (`eval`), in topological order, and rounds each result to its dtype.
import { Problem } from "../diagnostic.ts";
import { isFloat } from "../types/dtype.ts";
import { dims, dtypeOf, showType } from "../types/type.ts";
import { roundAll } from "./array.ts";
import type { NdArray, Node, Value } from "./node.ts";
import { storeOf, topological } from "./walk.ts";

interface InterpretOptions {
  /** Do not round floats to their dtypes; finite differences need this. */
  readonly exact?: boolean;
}

/** The values of `results`, given the contents of the stores. */
export function interpret(
  results: readonly Value[],
  stores: ReadonlyMap<string, NdArray>,
  options: InterpretOptions = {},
): NdArray[] {
  const known = new Map<Value, NdArray>();
  const of = (v: Value): NdArray => {
    const found = known.get(v);
    if (!found) throw new Problem(`${v.node.op.name} was not computed`, "verify the graph");
    return found;
  };
  const order = topological(results);
  const dying = lastUses(order, results);
  for (const node of order) {
    evaluate(node, node.args.map(of), stores, options).forEach((array, i) => {
      const result = node.results[i];
      if (result) known.set(result, array);
    });
    for (const v of dying.get(node) ?? []) known.delete(v);
  }
  return results.map(of);
}
/** The results of one node. */
function evaluate(
  node: Node,
  args: readonly NdArray[],
  stores: ReadonlyMap<string, NdArray>,
  { exact }: InterpretOptions,
): NdArray[] {
  const store = storeOf(node);
  if (store !== null) return [storeContents(node, store, stores)];
  const types = node.results.map((r) => r.type);
  return arrays(node, node.op.eval(args, node.attrs, types), exact ?? false);
}
const arrays = ({ results }: Node, made: readonly Float64Array[], exact: boolean): NdArray[] =>
  made.map((data, i) => {
    const { type } = results[i] as Value;
    const dtype = dtypeOf(type);
    return { dtype, shape: dims(type), data: exact && isFloat(dtype) ? data : roundAll(dtype, data) };
  });
/** The same for several workers, each with its own stores; collectives read the operands of all of them. Returns the results of each worker. */
export function interpretWorkers(
  results: readonly Value[],
  stores: readonly ReadonlyMap<string, NdArray>[],
  { exact = false }: InterpretOptions = {},
): NdArray[][] {
  const known = new Map<Value, readonly NdArray[]>();
  for (const node of topological(results)) {
    const args = stores.map((_, w) => node.args.map((a) => known.get(a)?.[w] as NdArray));
    const types = node.results.map((r) => r.type);
    const made =
      node.op.collective?.(args, node.attrs, types).map((own) => arrays(node, own, exact)) ??
      stores.map((own, w) => evaluate(node, args[w] ?? [], own, { exact }));
    node.results.forEach((r, i) =>
      known.set(
        r,
        made.map((own) => own[i] as NdArray),
      ),
    );
  }
  return stores.map((_, w) => results.map((r) => known.get(r)?.[w] as NdArray));
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
