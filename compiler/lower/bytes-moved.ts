// How many bytes a launch moves, for reports: all that it writes, and the fraction of its inputs that its nodes read.
import type { Node, Value } from "../graph/node.ts";
import type { VirtualArg, VirtualBuffer } from "../plan/sequence.ts";
import { count } from "../types/type.ts";

/** Bytes of all arguments. Of a buffer that is updated in some elements, no more are counted than all other arguments have. */
export function bytesMoved(args: readonly VirtualArg[], fractions: ReadonlyMap<VirtualBuffer, number>): number {
  const bytes = (update: boolean): number =>
    args
      .filter((a) => (a.access === "update") === update)
      .reduce((sum, { buffer }) => sum + Math.ceil(buffer.bytes * (fractions.get(buffer) ?? 1)), 0);
  return bytes(false) + Math.min(bytes(false), bytes(true));
}

/**
 * The fraction of each buffer that is read to make `outputs`. `nodes` are those computed, each after its operands. The reads of several nodes add up
 * to at most 1. If only a fraction of a node's results is wanted, the same fraction of its reads is counted.
 */
export function fractionsRead(
  outputs: readonly Value[],
  nodes: readonly Node[],
  bufferOf: (v: Value) => VirtualBuffer | null,
): Map<VirtualBuffer, number> {
  const fractions = new Map<Value, number>(outputs.map((v) => [v, 1]));
  for (const node of nodes.toReversed()) {
    const wanted = Math.max(...node.results.map((v) => fractions.get(v) ?? 0));
    node.args.forEach((a, i) =>
      fractions.set(a, Math.min(1, (fractions.get(a) ?? 0) + wanted * fractionRead(node, i, a))),
    );
  }
  const held = [...fractions].map(([v, part]) => [bufferOf(v), part] as const);
  return new Map(held.flatMap(([buffer, part]) => (buffer ? [[buffer, part]] : [])));
}
const fractionRead = (node: Node, i: number, a: Value): number =>
  node.op.reads ? node.op.reads(node, i) / Math.max(1, count(a.type)) : 1;
