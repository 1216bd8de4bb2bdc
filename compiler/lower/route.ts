// The `route` op: a stable counting sort of choices by group. The table of counts lies in shared memory, so many groups are sorted digit by digit,
// the lowest first (a radix sort). Only integers are involved, so all targets give the same result.
import type { Node } from "../graph/node.ts";
import { item } from "../item.ts";
import { blockAt, plus } from "../kernel/builder.ts";
import {
  add,
  asIndex,
  asValue,
  call,
  div,
  equals,
  i32,
  load,
  min,
  mod,
  num,
  select,
  sub,
  unflatten,
  within,
} from "../kernel/expr.ts";
import type { Expr, Tile } from "../kernel/ir.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { number } from "../ops/common.ts";
import type { VirtualBuffer } from "../plan/sequence.ts";
import type { Draft } from "./draft.ts";
import { operand, result, shapeOf } from "./reader.ts";

/** The most groups that one table can count. */
const mostGroups = 4096;
/** One counting sort by `key / divisor % keys`, stable, starting from the order that the pass before left (at first, the order of the choices). */
export interface RoutePass {
  readonly node: Node;
  readonly divisor: number;
  readonly keys: number;
  readonly chunks: number;
  readonly before: VirtualBuffer | null;
  /** Where the resulting order goes; null for the last pass, which writes the op's results. */
  readonly after: VirtualBuffer | null;
}
type Digit = Pick<RoutePass, "divisor" | "keys" | "chunks">;

/** The digits of a routing's keys, the lowest first. Key `groups` stands for an index that is in no group. */
export function digitsOf(node: Node): Digit[] {
  const [choices, groups] = [choicesOf(node), groupsOf(node)];
  if (groups <= mostGroups) return [{ divisor: 1, keys: groups + 1, chunks: chunksOf(choices, groups) }];
  const bits = Math.ceil(Math.log2(groups + 1));
  const digits = Math.ceil(bits / Math.log2(mostGroups));
  const width = 2 ** Math.ceil(bits / digits);
  return Array.from({ length: digits }, (_, i) => {
    const divisor = width ** i;
    const keys = Math.min(width, Math.floor(groups / divisor) + 1);
    return { divisor, keys, chunks: chunksOf(choices, keys) };
  });
}
/** How many chunks of choices are counted in parallel. */
const chunksOf = (choices: number, keys: number): number =>
  Math.max(1, Math.min(64, Math.floor(choices / Math.max(1024, keys))));

export const choicesOf = (node: Node): number => item(shapeOf(operand(node)), 0);
const groupsOf = (node: Node): number => number((node.attrs as OpAttrs["route"]).groups);

interface Chunk {
  readonly c: Expr;
  readonly n: Expr;
  readonly choice: (i: Expr) => Expr;
  readonly group: (choice: Expr) => Expr;
  readonly digit: (i: Expr) => Expr;
}
/** One chunk of the choices: its number c and, for each of its n slots, the choice there, that choice's group (`groups` if in none) and its digit. */
function chunk(d: Draft, pass: RoutePass): Chunk {
  const { node, divisor, keys, chunks, before } = pass;
  const [choices, groups] = [choicesOf(node), groupsOf(node)];
  const reader = d.reader({ withoutLets: true, name: "index" });
  const order = before && d.param("before", before, "read");
  const c = d.k.task("c", chunks);
  const slots = blockAt(c.at, choices, Math.ceil(choices / chunks));
  const choice = (i: Expr): Expr => (order ? asIndex(load(order, plus(slots, i))) : plus(slots, i));
  const group = (x: Expr): Expr => {
    const key = asIndex(reader.element(operand(node), [x]));
    return select(within(key, groups), key, num(groups));
  };
  const digit = (i: Expr): Expr => {
    const high = div(group(choice(i)), divisor);
    return keys * divisor > groups ? high : mod(high, keys);
  };
  return { c: c.at, n: slots.n, choice, group, digit };
}
/** Writes counts[c, e]: how many choices of chunk c have digit e. */
export function routeCount(d: Draft, pass: RoutePass, counts: VirtualBuffer): void {
  const { c, n, digit } = chunk(d, pass);
  const table = d.k.tile("shared", "table", [pass.keys]);
  d.k.tally(n, table, digit, () => undefined);
  const to = d.param("counts", counts, "write");
  d.k.par(num(pass.keys), (e) => d.k.store(to, [c, e], load(table, e)), "e");
}
/**
 * Turns counts[c, e] into `places`, the first place of chunk c's choices with digit e; if there is only one pass, the places of chunk 0 are the group
 * offsets. `places` is null if nothing reads where the choices go.
 */
export function routeScan(d: Draft, pass: RoutePass, counts: VirtualBuffer, places: VirtualBuffer | null): void {
  const { node, keys, chunks, before, after } = pass;
  const from = d.param("counts", counts, "read");
  const to = places && d.param("places", places, "write");
  const offsets = before === null && after === null ? d.output(result(node, 1), "offsets") : null;
  const at = (i: Expr): Expr[] => unflatten(i, [keys, chunks]).toReversed();
  d.k.scan(
    num(keys * chunks),
    (i) => load(from, ...at(i)),
    (i, sum) => {
      const [c, e] = at(i);
      if (to) d.k.store(to, at(i), sum);
      if (offsets && c && e) d.k.if(equals(c, num(0)), () => d.k.store(offsets, [e], sum));
    },
  );
}
/** Moves each choice to its place, in order. */
export function routePlace(d: Draft, pass: RoutePass, places: VirtualBuffer): void {
  const own = chunk(d, pass);
  const from = d.param("places", places, "read");
  const table = d.k.tile("shared", "table", [pass.keys]);
  d.k.par(num(pass.keys), (e) => d.k.store(table, [e], load(from, own.c, e)), "e");
  placeAll(d, pass, own, table);
}
/** A routing of one pass and one chunk: one task counts, scans and places. */
export function routeInOneTask(d: Draft, pass: RoutePass, places: boolean): void {
  const own = chunk(d, pass);
  const table = d.k.tile("shared", "table", [pass.keys]);
  d.k.tally(own.n, table, own.digit, () => undefined);
  const offsets = d.output(result(pass.node, 1), "offsets");
  d.k.scan(
    num(pass.keys),
    (e) => load(table, e),
    (e, sum) => {
      d.k.store(offsets, [e], sum);
      if (places) d.k.store(table, [e], sum);
    },
  );
  if (places) placeAll(d, pass, own, table);
}
/** Writes the results of a pass. `table`: the first place of each digit. */
function placeAll(d: Draft, { node, after }: RoutePass, { n, choice, group, digit }: Chunk, table: Tile): void {
  const order = after ? d.param("after", after, "write") : d.output(result(node, 0), "order");
  d.k.tally(n, table, digit, (i, rank) => {
    const own = d.k.letHere("choice", choice(i));
    if (after) return d.k.store(order, [rank], asValue(own));
    const of = d.k.letHere("group", group(own));
    const or = (x: Expr): Expr => select(call("lt", "bool", of, num(groupsOf(node))), asValue(x), i32(-1));
    d.k.store(order, [rank], or(own));
    d.k.store(d.output(result(node, 3), "expert"), [rank], or(of));
    d.k.store(d.output(result(node, 2), "inverse"), [own], or(rank));
  });
}
/**
 * After several passes: offsets[e] is the first place whose group is not below e. Each place writes those of the groups above that of the place before
 * it, up to its own, and the end those of all that remain.
 */
export function routeOffsets(d: Draft, node: Node): void {
  const [places, groups] = [choicesOf(node), groupsOf(node)];
  const expert = d.param("expert", d.bufferOf(result(node, 3)), "read");
  const offsets = d.output(result(node, 1), "offsets");
  const next = (place: Expr): Expr => {
    const of = d.k.letHere("group", asIndex(load(expert, place)));
    return add(select(within(of, groups), of, num(groups)), num(1));
  };
  const own = d.k.task("p", places + 1, placesPerTask);
  d.k.for("i", num(0), own.n, 1, ({ at }) => {
    const p = plus(own, at);
    const [first, last] = [equals(p, num(0)), equals(p, num(places))];
    const from = places === 0 ? num(0) : select(first, num(0), next(select(first, num(0), sub(p, num(1)))));
    const to = places === 0 ? num(groups + 1) : select(last, num(groups + 1), next(min(p, num(places - 1))));
    const begin = d.k.letHere("begin", from);
    d.k.par(sub(to, begin), (j) => d.k.store(offsets, [add(begin, j)], asValue(p)));
  });
}
/** Few, for the groups between two neighbours may be many. */
const placesPerTask = 64;
