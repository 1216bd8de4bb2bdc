// A routing: a stable counting sort of choices by group. A table of counts lies in a block's shared memory, so many groups are sorted
// digit by digit, the lowest first (a radix sort); whole numbers alone are moved, so every target gives the same.
import type { Node } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { number } from "../ops/common.ts";
import type { VirtualBuffer } from "../plan/sequence.ts";
import { piece, plus } from "./build.ts";
import type { Draft } from "./draft.ts";
import {
  add,
  asIndex,
  asValue,
  both,
  call,
  div,
  equals,
  i32,
  isNum,
  item,
  least,
  less,
  load,
  mod,
  num,
  select,
  sub,
  unflatten,
  within,
} from "./expr.ts";
import type { Expr, Tile } from "./ir.ts";
import { operand, result, shapeOf } from "./read.ts";

/** So many groups are counted in one table. */
const mostGroups = 4096;
/** One counting: of `key / below % keys`, in the order that the pass before left (that of the choices, for the first). */
export interface RoutePass {
  readonly node: Node;
  readonly below: number;
  readonly keys: number;
  readonly chunks: number;
  readonly before: VirtualBuffer | null;
  /** Where the order goes; null for the last pass, which writes the results. */
  readonly after: VirtualBuffer | null;
}
type Digit = Pick<RoutePass, "below" | "keys" | "chunks">;

/** The digits of a routing's keys, the lowest first. Key `groups` stands for an index outside. */
export function digitsOf(choices: number, groups: number): Digit[] {
  if (groups <= mostGroups) return [{ below: 1, keys: groups + 1, chunks: chunksOf(choices, groups) }];
  const bits = Math.ceil(Math.log2(groups + 1));
  const digits = Math.ceil(bits / Math.log2(mostGroups));
  const width = 2 ** Math.ceil(bits / digits);
  return Array.from({ length: digits }, (_, i) => {
    const below = width ** i;
    const keys = Math.min(width, Math.floor(groups / below) + 1);
    return { below, keys, chunks: chunksOf(choices, keys) };
  });
}
/** How many pieces the choices are counted in. */
const chunksOf = (choices: number, keys: number): number =>
  Math.max(1, Math.min(64, Math.floor(choices / Math.max(1024, keys))));

const choicesOf = (node: Node): number => item(shapeOf(operand(node)), 0);
const groupsOf = (node: Node): number => number((node.attrs as OpAttrs["route"]).groups);

interface Chunk {
  readonly c: Expr;
  readonly n: Expr;
  readonly choice: (i: Expr) => Expr;
  readonly group: (choice: Expr) => Expr;
  readonly digit: (i: Expr) => Expr;
}
/** The choices of one chunk: its number, and for each of its slots the choice, its group (`groups` if outside) and its digit. */
function chunk(d: Draft, pass: RoutePass): Chunk {
  const { node, below, keys, chunks, before } = pass;
  const [choices, groups] = [choicesOf(node), groupsOf(node)];
  const reader = d.reader({ plain: true, name: "index" });
  const order = before && d.param("before", before, "read");
  const c = d.k.task("c", chunks);
  const slots = piece(c.at, choices, Math.ceil(choices / chunks));
  const choice = (i: Expr): Expr => (order ? asIndex(load(order, plus(slots, i))) : plus(slots, i));
  const group = (x: Expr): Expr => {
    const key = asIndex(reader.element(operand(node), [x]));
    return select(within(key, groups), key, num(groups));
  };
  const digit = (i: Expr): Expr => {
    const high = div(group(choice(i)), below);
    return keys * below > groups ? high : mod(high, keys);
  };
  return { c: c.at, n: slots.n, choice, group, digit };
}
/** counts[c, e]: choices of chunk c that have digit e. */
export function routeCount(d: Draft, pass: RoutePass, counts: VirtualBuffer): void {
  const { c, n, digit } = chunk(d, pass);
  const table = d.k.tile("shared", "table", [pass.keys]);
  d.k.tally(n, table, digit, () => undefined);
  const to = d.param("counts", counts, "write");
  d.k.par(num(pass.keys), (e) => d.k.store(to, [c, e], load(table, e)), "e");
}
/**
 * counts[c, e] becomes the first place of chunk c's choices of digit e; of one pass, that of the first chunk is the group's offset. No places:
 * nobody asks where the choices are.
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
/** Each choice to its place, in order. */
export function routePlace(d: Draft, pass: RoutePass, places: VirtualBuffer): void {
  const own = chunk(d, pass);
  const from = d.param("places", places, "read");
  const table = d.k.tile("shared", "table", [pass.keys]);
  d.k.par(num(pass.keys), (e) => d.k.store(table, [e], load(from, own.c, e)), "e");
  placeAll(d, pass, own, table);
}
/** Of one pass and one chunk: counted, scanned and placed by one task. */
export function routeWhole(d: Draft, pass: RoutePass, places: boolean): void {
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
/** `table`: the first place of each digit. */
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
/** After several passes: offsets[e] is how many places hold a group below e, found by halving. */
export function routeOffsets(d: Draft, node: Node): void {
  const places = choicesOf(node);
  const expert = d.param("expert", d.bufferOf(result(node, 3)), "read");
  const offsets = d.output(result(node, 1), "offsets");
  const groups = d.k.task("e", groupsOf(node) + 1, 4096);
  d.k.par(groups.n, (j) => {
    const e = plus(groups, j);
    let found: Expr = num(0);
    for (let step = places === 0 ? 0 : 2 ** Math.floor(Math.log2(places)); step >= 1; step /= 2) {
      const next = add(found, num(step));
      const last = d.k.letHere("last", load(expert, least(sub(next, num(1)), num(places - 1))));
      const below = [call("ge", "bool", last, i32(0)), call("lt", "bool", last, asValue(e))].reduce(both);
      const chosen = select(both(less(next, num(places + 1)), below), next, found);
      found = isNum(chosen) ? chosen : d.k.letHere("found", chosen);
    }
    d.k.store(offsets, [e], asValue(found));
  });
}
