// Gathers along an axis of which each worker has a part: each reads its own part, at the owners of the rows that it serves, or adds up what all parts give.
import type { Builder, MeshAxis, Node, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { evenParts, isSharded, partial, sharded } from "../ops/sharding.ts";
import { bytesOf, isFloat } from "../types/dtype.ts";
import { dims, dtypeOf } from "../types/type.ts";
import { routingOfIndex } from "./expert-index.ts";
import { groupAlong, rankOffset } from "./mesh.ts";
import type { Partitioned, Placed } from "./placed.ts";

export class Gathers {
  readonly #g: Builder;
  readonly #axis: MeshAxis;
  readonly #values: Partitioned;

  constructor(g: Builder, axis: MeshAxis, values: Partitioned) {
    [this.#g, this.#axis, this.#values] = [g, axis, values];
  }
  /** What a gather becomes along an axis that is in parts; null: `node` is no such gather. */
  make(node: Node): Placed | null {
    if (node.op.name === "cast") return this.#castBefore(node);
    return node.op.name === "gather" ? (this.#atOwners(node) ?? this.#fromParts(node)) : null;
  }
  /** A narrower copy of what a gather from parts gives, if that alone is needed, is gathered from such copies of the parts: fewer bytes are moved. null: it is none. */
  #castBefore({ args, results }: Node): Placed | null {
    const [wide, to] = [item(args, 0), dtypeOf(item(results, 0).type)];
    const { node, type } = wide;
    if (node.op.name !== "gather" || !this.#values.isOwn(wide) || bytesOf[to] >= bytesOf[dtypeOf(type)]) return null;
    return this.#fromParts(node, to);
  }
  /** From a table of all experts, by rows whose index is their expert: done at the expert's owner, whose own part of the table suffices. */
  #atOwners(node: Node): Placed | null {
    const [table, index] = [item(node.args, 0), item(node.args, 1)];
    const { axis, batch } = node.attrs as OpAttrs["gather"];
    const parts = evenParts(this.#values.ruleInput(table), axis);
    const rows = this.#values.ruleInput(index);
    if (batch !== 0 || parts === null || !isSharded(rows) || rows.sharding.kind !== "rows") return null;
    const { by } = rows.sharding;
    if (this.#values.routing(by)?.owners !== parts) return null;
    if (routingOfIndex(index, item(dims(table.type), axis)) !== by) return null;
    const to = sharded(rows.axis, { ...rows.sharding, owned: true });
    const value = this.#ownPart(node, parts, this.#values.convertTo(index, to));
    return { value, place: sharded(axis + to.axis, to.sharding) };
  }
  /** By an index that all workers have: a sum of what the parts give, over the workers that have all of them, since there is 0 outside. */
  #fromParts(node: Node, as = dtypeOf(item(node.args, 0).type)): Placed | null {
    const [table, index] = [item(node.args, 0), this.#values.of(item(node.args, 1))];
    const { place } = this.#values.of(table);
    const parts = evenParts(place, (node.attrs as OpAttrs["gather"]).axis);
    if (!isSharded(place) || parts === null || index.place.kind !== "replicated" || !isFloat(as)) return null;
    const value = this.#ownPart(node, parts, index.value, as);
    return { value, place: partial("sum", place.sharding, this.#values) };
  }
  /** What a worker's own part gives, of `parts`, for an index into the whole. `as`: the dtype. */
  #ownPart({ args, attrs }: Node, parts: number, index: Value, as = dtypeOf(item(args, 0).type)): Value {
    const own = attrs as OpAttrs["gather"];
    const table = b.cast(this.#g, this.#values.of(item(args, 0)).value, as);
    const length = item(dims(table.type), own.axis);
    const first = rankOffset(this.#g, groupAlong(this.#axis, parts), length, dims(index.type));
    return b.make1(this.#g, "gather", [table, b.sub(this.#g, index, first)], own);
  }
}
