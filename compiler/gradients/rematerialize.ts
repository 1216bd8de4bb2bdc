// Rematerialization by layers (activation checkpointing; Chen et al. 2016, arXiv 1604.06174). The forward of a layer is not kept: the backward makes
// it again from what entered the layer. So memory holds what passes between layers, routers' choices, and everything of one layer.
import type { Builder, Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import * as b from "../ops/build.ts";
import { dtypeOf } from "../types/type.ts";

/**
 * Divides nodes into segments. Segment s needs a value of `boundaries[s - 1]` and none of later ones: what a layer computes from what enters it. The
 * segment before the first boundary, and the one after the last, are not made again.
 */
export class Segments {
  /** All nodes, segment after segment; each still follows what it reads. */
  readonly order: readonly Node[];
  readonly #segments: readonly (readonly Node[])[];
  readonly #boundaryOf = new Map<Value, number>();
  readonly #segmentOf = new Map<Node, number>();
  #current: number;
  /** What the backward reads in place of nodes of the current segment. */
  #again = new Map<Node, Node>();
  /** Gradients that the current segment has given to values outside. The segment before is not made again until all of them are. */
  #given: Value[] = [];

  constructor(order: readonly Node[], boundaries: readonly (readonly Value[])[]) {
    this.#current = boundaries.length;
    boundaries.forEach((values, i) => {
      for (const v of values) if (!this.#boundaryOf.has(v)) this.#boundaryOf.set(v, i);
    });
    const segments = Array.from({ length: boundaries.length + 1 }, (): Node[] => []);
    for (const node of order) {
      const segment = Math.max(0, ...node.args.map((a) => this.#segmentReading(a)));
      this.#segmentOf.set(node, segment);
      segments[segment]?.push(node);
    }
    this.#segments = segments;
    this.order = segments.flat();
  }
  #segment(node: Node): number {
    return this.#segmentOf.get(node) ?? 0;
  }
  #segmentReading(v: Value): number {
    return Math.max(this.#segment(v.node), (this.#boundaryOf.get(v) ?? -1) + 1);
  }
  /**
   * The node whose operands and results the gradient of `node` refers to. Nodes must come in the reverse of `order`. The builder's span may then be another's.
   */
  inBackward(node: Node, g: Builder): Node {
    const segment = this.#segment(node);
    if (segment < this.#current) {
      this.#current = segment;
      this.#again = segment > 0 ? this.#makeAgain(segment, g) : new Map<Node, Node>();
      this.#given = [];
    }
    return this.#again.get(node) ?? node;
  }
  /** Notes a gradient of `to`, which a node of the current segment gave. */
  note(to: Value, grad: Value): void {
    if (this.#segment(to.node) < this.#current) this.#given.push(grad);
  }
  /** The nodes of a segment once more, from copies of its boundary values that are made when the backward has come so far. */
  #makeAgain(segment: number, g: Builder): Map<Node, Node> {
    const [waitFor, made] = [this.#given, new Map<Node, Node>()];
    const now = (v: Value): Value => {
      if (this.#segment(v.node) === segment) return item((made.get(v.node) ?? v.node).results, v.index);
      return this.#boundaryOf.get(v) === segment - 1 && waitFor.length > 0 ? b.after(g, v, waitFor) : v;
    };
    for (const node of this.#segments[segment] ?? []) {
      if (decides(node)) continue;
      g.span = node.span;
      made.set(node, g.add(node.op, node.args.map(now), node.attrs));
    }
    return made;
  }
}
/**
 * Whether integers are made of other numbers, as a router's choices are: they are kept. From values that other kernels round otherwise, the backward
 * might choose other experts than the forward did.
 */
const decides = ({ args, results }: Node): boolean => results.some(isInteger) && !args.every(isInteger);
const isInteger = ({ type }: Value): boolean => dtypeOf(type) === "i32";
