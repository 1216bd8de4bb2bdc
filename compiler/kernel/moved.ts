// How many bytes a launch moves: of what it writes all, of what it reads no more than its nodes ask for.
import type { Node, Value } from "../graph/node.ts";
import type { VirtualArg, VirtualBuffer } from "../plan/sequence.ts";
import { count } from "../types/type.ts";

/** Of a buffer of which only some elements are written, they are no more than the others have. */
export function bytesMoved(args: readonly VirtualArg[], parts: ReadonlyMap<VirtualBuffer, number>): number {
  const bytes = (update: boolean): number =>
    args
      .filter((a) => (a.access === "update") === update)
      .reduce((sum, { buffer }) => sum + Math.ceil(buffer.bytes * (parts.get(buffer) ?? 1)), 0);
  return bytes(false) + Math.min(bytes(false), bytes(true));
}

/**
 * What part of each buffer is read to make the outputs, by `nodes`, each after its operands. Several readers add up, to all of it at most.
 * Where only a part of a node's results is wanted, so is that part of what it reads, as if evenly of all operands.
 */
export function partsRead(
  outputs: readonly Value[],
  nodes: readonly Node[],
  bufferOf: (v: Value) => VirtualBuffer | null,
): Map<VirtualBuffer, number> {
  const parts = new Map<Value, number>(outputs.map((v) => [v, 1]));
  for (const node of nodes.toReversed()) {
    const wanted = Math.max(...node.results.map((v) => parts.get(v) ?? 0));
    node.args.forEach((a, i) => parts.set(a, Math.min(1, (parts.get(a) ?? 0) + wanted * partOf(node, i, a))));
  }
  const held = [...parts].map(([v, part]) => [bufferOf(v), part] as const);
  return new Map(held.flatMap(([buffer, part]) => (buffer ? [[buffer, part]] : [])));
}
const partOf = (node: Node, i: number, a: Value): number =>
  node.op.reads ? node.op.reads(node, i) / Math.max(1, count(a.type)) : 1;
