// What kernels of their own (anchors, chains of lanes) read must be in memory. Fusion asks first which values these are.
import type { Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { attentionOf } from "../ops/attention.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { count, dims } from "../types/type.ts";
import { contractions, isAnchor, isFree } from "./region.ts";

/** What the anchors among the nodes, and the nodes of chains of lanes, read of others, possibly under views: with it in memory they can run. */
export function operandsInMemory(nodes: readonly Node[], lanes: { has(node: Node): boolean }): Set<Value> {
  const found = new Set<Value>();
  for (const node of nodes)
    if (lanes.has(node)) for (const a of node.args) addLaneOperand(a);
    else if (isAnchor(node) && node.op.name !== "reduce") node.args.forEach((a, i) => addOperand(node, i, a));
  return found;

  function addLaneOperand(v: Value): void {
    const { op, args } = v.node;
    if (lanes.has(v.node) || op.lower === "leaf") return;
    const [next] = args;
    if (next && op.lower === "view" && op.name !== "concat") addLaneOperand(next);
    else found.add(v);
  }
  function addOperand(anchor: Node, index: number, v: Value): void {
    const { op, args } = v.node;
    const [next] = args;
    if (lanes.has(v.node)) return;
    if (movesBytes(anchor) && op.name === "reshape" && next) addOperand(anchor, index, next);
    else if (isReadAsItIs(anchor, index, v)) found.add(v);
    else if (next && isReadThrough(anchor, index, v.node)) {
      const more = movesRows(v.node) || op.name === "from_fp4" ? args.slice(1, 2) : [];
      for (const a of [...more, next]) addOperand(anchor, index, a);
    } else if (op.lower !== "leaf") found.add(v);
  }
}
/** Whether the anchor can read it from a buffer of its own alone, or had better. */
function isReadAsItIs(anchor: Node, index: number, v: Value): boolean {
  const isMoved = anchor.op.lower === "collective" || (anchor.op.name === "scatter" && index === 0);
  if (isMoved && v.node.op.name !== "param") return true;
  if (movesLastAxis(v.node) && isBias(anchor, index)) return true;
  return contractions.has(anchor.op.name) && isInterleaved(v);
}
/** Whether the anchor reads the node's result from where its argument is: a view, rows that are gathered, or what is free when loaded. */
function isReadThrough(anchor: Node, index: number, node: Node): boolean {
  const rowsOfGroups = anchor.op.name.startsWith("ragged_") && movesRows(node) && index !== 2;
  const free = isFree(node) && (contractions.has(anchor.op.name) || anchor.op.name === "ragged_outer");
  return (node.op.lower === "view" && node.op.name !== "concat") || rowsOfGroups || free;
}
/** Collectives that only move bytes ignore shapes, so reshapes before them are skipped; an `all_reduce` needs its operand laid out as its result. */
const movesBytes = ({ op }: Node): boolean => op.lower === "collective" && op.name !== "all_reduce";
/** The bias of an attention, which is read row by row in many blocks: a transposed one is copied once. */
const isBias = (node: Node, arg: number): boolean =>
  node.op.name.startsWith("attention") && node.args[arg] === attentionOf(node).bias;
/** Whether rows are moved as they are: all of a row by one index. */
const movesRows = ({ op, args, attrs }: Node): boolean =>
  op.name === "dispatch" ||
  (op.name === "gather" && (attrs as OpAttrs["gather"]).axis === 0 && args[1]?.type.shape.length === 1);
const movesLastAxis = ({ op, attrs }: Node): boolean => {
  const { perm } = attrs as OpAttrs["transpose"];
  return op.name === "transpose" && perm.at(-1) !== perm.length - 1;
};
/** A tensor of fewer elements stays in the caches in any order, as do fewer interleaved matrices than `farApart`. */
const [manyElements, farApart] = [1 << 20, 32];
/** A large batch of matrices interleaved in memory (the innermost axis is a batch axis): reading one matrix touches the cache lines of all. */
function isInterleaved({ node, type }: Value): boolean {
  if (node.op.name !== "transpose") return false;
  const { perm } = node.attrs as OpAttrs["transpose"];
  const nearest = perm.indexOf(perm.length - 1);
  return nearest < type.shape.length - 2 && item(dims(type), nearest) >= farApart && count(type) >= manyElements;
}
