// Shadowed experts (FasterMoE: He et al. 2022, PPoPP): of an array that several workers share, those with the most rows are computed where the rows are.
// Their rows are sorted by slot, and their parameters are read from the stack by the slots' experts; all else follows.
import type { Mapped, Routing, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import * as b from "../../ops/build.ts";
import { dims } from "../../types/type.ts";
import type { World } from "../world.ts";

type Bind = Map<Value, Mapped>;
/** The experts i32[slots] with the most rows, the most first, of equals the first first; the slot of each choice, and the other choices, -1 elsewhere. */
interface Shadowed {
  readonly hot: Value;
  readonly slot: Value;
  readonly others: Value;
}
/** `index`: i32[choices], of which others than 0 .. experts - 1 are none. null: the request shadows none. */
export function shadowed(w: World, index: Value, experts: number): Shadowed | null {
  const [choices = 0] = dims(index.type);
  const slots = w.shadow(experts, choices);
  if (slots === 0) return null;
  const { g } = w;
  const { offsets } = b.route(g, index, experts);
  const rows = b.sub(g, b.slice(g, offsets, 0, 1, experts), b.slice(g, offsets, 0, 0, experts));
  const [, hot] = b.topK(g, rows, slots);
  const shape = [choices, slots];
  const [own, expert, number] = [
    b.broadcast(g, index, shape, [0]),
    b.broadcast(g, hot, shape, [1]),
    b.broadcast(g, b.iota(g, slots), shape, [1]),
  ];
  const slot = b.max(g, b.where(g, b.eq(g, own, expert), number, -1), [1]);
  return { hot, slot, others: b.where(g, b.lt(g, slot, 0), index, -1) };
}
/** What the operands of a body become for the experts `hot`, whose rows `to` sorted, from what they are for all, whose rows `from` sorted. */
export function ofHot(w: World, bind: Bind, hot: Value, from: Routing, to: Routing): Bind {
  const become = (m: Mapped): Mapped => {
    if (m.kind === "each") return { ...m, value: b.take(w.g, m.value, hot), over: to.groups };
    if (m.kind !== "rows") return m;
    return { ...m, value: m.value === from.order ? to.order : b.dispatch(w.g, item(m.value.node.args, 0), to), by: to };
  };
  return new Map([...bind].map(([leaf, m]) => [leaf, become(m)]));
}
