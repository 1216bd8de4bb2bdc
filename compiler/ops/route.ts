// Routing: `route` sorts choices by group (expert), `dispatch` moves rows into that order, `combine` moves them back.
// Everything else that a mixture of experts needs is composed of these three and other ops.
import { Bug } from "../diagnostic.ts";
import type { Builder, LocalRouting, Mapped, NdArray, Placement, Routing, Value, Workers } from "../graph/node.ts";
import { item } from "../item.ts";
import { product } from "../types/numbers.ts";
import { add, equal, type Size, show } from "../types/size.ts";
import { dims, showType, type Type, type } from "../types/type.ts";
import { none, type OpName } from "./attrs.ts";
import * as b from "./build.ts";
import {
  at,
  define,
  flopsPerElement,
  need,
  needIndex,
  needVector,
  noFlops,
  number,
  one,
  sample,
  three,
} from "./common.ts";
import { inSpace, lift, type Space, spaceLength, spaceOf } from "./mapped.ts";
import { evenSharding, isSharded, sharded } from "./sharding.ts";

export const route = define<"route">({
  name: "route",
  doc:
    "(index i32[C]) -> order i32[C]: sorted place to choice, -1 past the end; offsets i32[groups + 1]; inverse i32[C]: choice to place, " +
    "-1 for an index outside; expert i32[C]: place to group, -1 past the end. A stable counting sort",
  lower: "algorithm",
  infer(args, { groups }) {
    const index = one(args);
    needIndex("a routing", index);
    need(index.shape.length === 1, () => `a routing sorts i32[C], not ${showType(index)}`);
    return [index, type("i32", [add(groups, 1)]), index, index];
  },
  eval(args, { groups }) {
    const index = one(args);
    const chosen = [...index.data.keys()].filter((c) => at(index, c) >= 0 && at(index, c) < number(groups));
    const sorted = chosen.toSorted((c, d) => at(index, c) - at(index, d) || c - d);
    const none = index.data.map(() => -1);
    const [order, inverse, expert] = [none.slice(), none.slice(), none.slice()] as const;
    const offsets = new Float64Array(number(groups) + 1);
    sorted.forEach((choice, place) => {
      const group = at(index, choice);
      order[place] = choice;
      inverse[choice] = place;
      expert[place] = group;
      offsets[group + 1] = place + 1;
    });
    // A group without rows begins and ends where the one before it ends.
    offsets.forEach((end, e) => (offsets[e] = Math.max(end, offsets[e - 1] ?? 0)));
    return [order, offsets, inverse, expert];
  },
  vjp: () => [null],
  shard: (node, [p], workers) =>
    p && isSharded(p) && p.sharding.kind === "even"
      ? {
          args: [sharded(0, p.sharding.parts === workers.count ? p.sharding : evenSharding(workers.count))],
          results: node.results.map(() => ({ kind: "routing", by: node, owned: false })),
        }
      : null,
  mapped: (args, { groups }, g) => nestedRoute(g, one(args), number(groups)),
  indexes: ({ args, attrs: { groups } }) => ({ index: one(args), length: number(groups) }),
  flops: flopsPerElement(4),
  samples: (g) =>
    [
      [23, 6],
      [5, 1],
      [7, 40],
      [0, 2],
      [1, 3],
    ].map(([c = 0, e = 0]) => b.make(g, "route", [sample(g, "i32", [c], "index")], { groups: e })),
  showAttrs: ({ groups }) => `groups=${show(groups)}`,
});

/** `route` of a mixture inside an expert: one routing of all choices of all outer rows, by `outer group * groups + index`. */
function nestedRoute(g: Builder, index: Mapped, groups: number): Mapped[] {
  const space = spaceOf([index]);
  const outer = outerOf(g, space);
  const local = lift(g, index, space);
  const [rows = 0, each = 0] = dims(local.type);
  // The outer mixture may itself be nested; then each entry of the leading axis stands for several of its rows.
  const places = dims(outer.expert.type)[0] || 1;
  const own = b.broadcast(g, outer.expert, [...dims(outer.expert.type), (rows * each) / places], [0]);
  const group = b.reshape(g, own, [rows, each]);
  const inside = b.and(g, b.ge(g, group, 0), b.and(g, b.ge(g, local, 0), b.lt(g, local, groups)));
  const all = b.where(g, inside, b.add(g, b.mul(g, group, groups), local), -1);
  const { order, offsets, inverse, expert } = b.route(g, b.reshape(g, all, [rows * each]), outer.groups * groups);
  const by: Routing = {
    order,
    offsets,
    inverse,
    expert: b.idiv(g, expert, groups),
    groups: outer.groups,
    rows: rows * each,
    outer,
  };
  // The op's results are as one outer row sees them: numbers of its own choices, and groups within its outer group.
  const known = (x: Value) => b.where(g, b.ge(g, order, 0), x, -1);
  const shaped = (x: Value): Mapped => inSpace({ kind: "rows", by }, b.reshape(g, x, [rows, each]));
  return [
    shaped(known(b.rem(g, order, each))),
    { kind: "uniform", value: offsets },
    shaped(inverse),
    shaped(known(b.rem(g, expert, groups))),
  ];
}
function outerOf(g: Builder, space: Space): NonNullable<Routing["outer"]> {
  if (space.kind === "rows")
    return { rows: spaceLength(space), groups: space.by.groups, expert: space.by.expert, by: space.by };
  const all = b.iota(g, space.over);
  return { rows: space.over, groups: space.over, expert: all, by: null };
}

/** `mapped` of dispatch and combine: rows move by the nested routing, all outer rows at once. */
function nestedMove(name: "dispatch" | "combine", args: readonly Mapped[], g: Builder): Mapped[] {
  const [x, order] = three(args);
  const by = order.kind === "rows" ? order.by : null;
  if (!by?.outer) throw new Bug("a routing inside an expert does not depend on the expert's row");
  const outside: Space = by.outer.by ? { kind: "rows", by: by.outer.by } : { kind: "each", over: by.outer.rows };
  const [from, to]: [Space, Space] =
    name === "dispatch" ? [outside, { kind: "rows", by }] : [{ kind: "rows", by }, outside];
  const rows = lift(g, x, from);
  const moved = b.make1(
    g,
    name,
    [b.reshape(g, rows, [by.rows, ...dims(rows.type).slice(2)]), by.order, by.inverse],
    none,
  );
  return [inSpace(to, b.reshape(g, moved, dims(rows.type)))];
}
function inferMove(what: OpName, args: readonly Type[]): Type[] {
  const [x, order, inverse] = three(args);
  const size: Size = item(x.shape, 0);
  needVector(what, order, size);
  needVector(what, inverse, size);
  need(equal(size, item(order.shape, 0)), () => `${what} moves as many rows as its routing has`);
  return [x];
}
/** `shard` of dispatch and combine: each worker moves rows by the routing of its own choices. `moves` gives the placements of operand and result. */
function shardMove(
  args: readonly Value[],
  workers: Workers,
  moves: (by: LocalRouting, rows: Placement) => [Placement, Placement],
): { args: Placement[]; results: Placement[] } | null {
  const [, { node: by, index }, inverse] = three(args);
  const fits = by.op.name === "route" && index === 0 && inverse.node === by && inverse.index === 2;
  const local = fits ? workers.routing(by) : null;
  if (!local) return null;
  const [from, to] = moves(local, sharded(0, { kind: "rows", by, owned: local.atOwners }));
  const routing: Placement = { kind: "routing", by, owned: local.atOwners };
  return { args: [from, routing, routing], results: [to] };
}
function moveRows(x: NdArray, from: NdArray): Float64Array {
  const size = product(x.shape.slice(1));
  return x.data.map((_, i) => {
    const row = at(from, Math.floor(i / size));
    return row < 0 ? 0 : at(x, row * size + (i % size));
  });
}
const moveSamples = (g: Builder): { x: Value; by: b.Route }[] =>
  [
    [23, 6],
    [7, 1],
    [0, 2],
  ].map(([c = 0, e = 0]) => ({ x: sample(g, "f32", [c, 3]), by: b.route(g, sample(g, "i32", [c], "index"), e) }));

export const dispatch = define<"dispatch">({
  name: "dispatch",
  doc: "(x [C, ...R], order, inverse) -> rows [C, ...R]: row p is x[order[p]], 0 past the end",
  lower: "algorithm",
  infer: (args) => inferMove("dispatch", args),
  eval: (args) => [moveRows(one(args), item(args, 1))],
  vjp: ({ args }, [dy], g) => [
    dy ? b.combine(g, dy, { order: item(args, 1), inverse: item(args, 2) }) : null,
    null,
    null,
  ],
  mapped: (args, _, g) => nestedMove("dispatch", args, g),
  shard: ({ args }, _, workers) => shardMove(args, workers, ({ choices }, rows) => [choices, rows]),
  flops: noFlops,
  samples: (g) => moveSamples(g).map(({ x, by }) => b.dispatch(g, x, by).node),
});
export const combine = define<"combine">({
  name: "combine",
  doc: "(rows [C, ...R], order, inverse) -> [C, ...R]: choice c is rows[inverse[c]], 0 for none",
  lower: "algorithm",
  infer: (args) => inferMove("combine", args),
  eval: (args) => [moveRows(one(args), item(args, 2))],
  vjp: ({ args }, [dy], g) => [
    dy ? b.dispatch(g, dy, { order: item(args, 1), inverse: item(args, 2) }) : null,
    null,
    null,
  ],
  mapped: (args, _, g) => nestedMove("combine", args, g),
  shard: ({ args }, _, workers) => shardMove(args, workers, ({ combined }, rows) => [rows, combined]),
  flops: noFlops,
  samples: (g) => moveSamples(g).map(({ x, by }) => b.combine(g, x, by).node),
});
