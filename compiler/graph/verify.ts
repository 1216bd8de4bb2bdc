// Checks what must hold for a graph after every pass; a violation is a Bug that names the pass.
import { Bug } from "../diagnostic.ts";
import { sameType, showType } from "../types/type.ts";
import type { Graph, Node, Value } from "./node.ts";
import { nodesOf, storeOf } from "./walk.ts";

/** Throws a Bug that names `pass` if the graph is not well formed. */
export function verifyGraph(graph: Graph, pass: string): void {
  if (verifiedGraphs.has(graph)) return;
  const fail = (what: string): never => {
    throw new Bug(`after ${pass}, graph ${graph.name}: ${what}`);
  };
  const order = nodesOf(graph);
  verifyIds(graph, order, fail);
  for (const node of order) {
    if (verified.has(node)) continue;
    verifyNode(node, fail);
    verified.add(node);
  }
  verifyResults(graph, storeReaders(order, fail), fail);
  verifiedGraphs.add(graph);
}
type Fail = (what: string) => never;
/** Graphs and nodes are immutable, so each is verified after the pass that made it only. */
const verifiedGraphs = new WeakSet<Graph>();
const verified = new WeakSet<Node>();

/** A walk tells nodes apart by their ids, so of two builders' nodes it may leave some out. */
function verifyIds(graph: Graph, order: readonly Node[], fail: Fail): void {
  const found = new Set(order);
  const verifyRead = ({ node }: Value): void => {
    if (!found.has(node)) fail(`${node.op.name} has the id of another node`);
  };
  for (const { args } of order) args.forEach(verifyRead);
  for (const { value } of graph.results) verifyRead(value);
}
function verifyNode(node: Node, fail: Fail): void {
  const types = node.op.infer(
    node.args.map((a) => a.type),
    node.attrs,
  );
  if (types.length !== node.results.length)
    fail(`${node.op.name} has ${node.results.length} results, its record infers ${types.length}`);
  node.results.forEach((r, i) => {
    const t = types[i];
    if (!t || !sameType(t, r.type))
      fail(`result ${i} of ${node.op.name} is ${showType(r.type)}, its record infers ${t ? showType(t) : "nothing"}`);
    if (r.node !== node || r.index !== i) fail(`result ${i} of ${node.op.name} does not name its node`);
    if (r.type.dtype === "float" || r.type.shape.some((s) => typeof s !== "number"))
      fail(`result ${i} of ${node.op.name} is ${showType(r.type)}: not in numbers`);
  });
  for (const a of node.args)
    if (a.node.results[a.index] !== a) fail(`an operand of ${node.op.name} is not a result of its node`);
}
/** The node that reads each store. */
function storeReaders(order: readonly Node[], fail: Fail): Map<string, Node> {
  const readers = new Map<string, Node>();
  for (const node of order) {
    const store = storeOf(node);
    if (store === null) continue;
    if (readers.has(store)) fail(`store ${store} is read as two types`);
    readers.set(store, node);
  }
  return readers;
}
function verifyResults(graph: Graph, readers: ReadonlyMap<string, Node>, fail: Fail): void {
  const seen = new Set<string>();
  for (const { role, name, value } of graph.results) {
    if (seen.has(`${role} ${name}`)) fail(`${role} ${name} is given twice`);
    seen.add(`${role} ${name}`);
    if (role === "loss" && value.type.shape.length > 0) fail(`loss ${name} is ${showType(value.type)}, not a number`);
    const store = readers.get(name)?.results[0]?.type;
    if (role === "store" && store && !sameType(store, value.type))
      fail(`store ${name} is ${showType(store)}, set to ${showType(value.type)}`);
  }
}
