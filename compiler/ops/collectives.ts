// The collectives, ops that all workers do at once. Only partition/partition.ts makes them, in the graph that each worker runs on its part.
// Their definition is `collective`, on the arguments of all workers.
import { Bug } from "../diagnostic.ts";
import { TypeMismatch } from "../graph/builder.ts";
import type { Group, NdArray, Node, Op, OpSharding, Placement } from "../graph/node.ts";
import { item } from "../item.ts";
import { fromTo, product } from "../types/numbers.ts";
import { mul } from "../types/size.ts";
import { byteSize, count, dims, showType, type } from "../types/type.ts";
import { at, define, need, needIndex, noFlops, one, resultCount, two } from "./common.ts";
import { neverMapped } from "./mapped.ts";
import { foldOf } from "./reduce.ts";
import { isSharded, sharded } from "./sharding.ts";

const needsAllWorkers = (): never => {
  throw new Bug("a collective has no meaning for one worker alone");
};
type CollectiveEval<A> = NonNullable<Op<A>["collective"]>;
/** Extends the definition `of` for one group of workers to all groups. */
const perGroup =
  <A extends Group>(of: CollectiveEval<A>): CollectiveEval<A> =>
  (args, attrs, types) => {
    const made: (readonly Float64Array[])[] = [];
    for (const group of groups(args.length, attrs)) {
      const own = of(
        group.map((w) => item(args, w)),
        attrs,
        types,
      );
      group.forEach((w, i) => (made[w] = item(own, i)));
    }
    return made;
  };
/** The ranks of each group, where there are `count` workers in all. */
function groups(count: number, { workers, stride = 1 }: Group): number[][] {
  const all = fromTo(0, count);
  const firsts = all.filter((w) => Math.floor(w / stride) % workers === 0);
  return firsts.map((first) => Array.from({ length: workers }, (_, i) => first + i * stride));
}
const showGroup = ({ workers, groups, stride }: Group): string =>
  `workers=${workers}${groups === undefined ? "" : ` groups=${groups}`}${stride === undefined ? "" : ` stride=${stride}`}`;

const operandBytes = ({ args }: Node): number => byteSize(item(args, 0).type);
/** A worker keeps one of its `workers` parts of what it moves. */
const sendsParts = (node: Node<Group>): number => (operandBytes(node) * (node.attrs.workers - 1)) / node.attrs.workers;
/** How many of `workers` are expected to be named by so many even choices. */
export const expectedOwners = (workers: number, choices: number): number =>
  workers * (1 - (1 - 1 / workers) ** choices);

/** A worker of another axis of the mesh may have a part along any axis but that which the collective works along. */
const shardOtherAxes =
  (along: number | null) =>
  <A>(_: Node<A>, [p]: readonly Placement[]): OpSharding<A> | null =>
    p && isSharded(p) && p.axis !== along
      ? { args: [sharded(p.axis, p.sharding)], results: [sharded(p.axis, p.sharding)] }
      : null;

export const all_gather = define<"all_gather">({
  name: "all_gather",
  doc: "(x [N, ...R]) -> [workers * N, ...R]: the rows of the first worker of a group, then those of the next, ...",
  lower: "collective",
  infer(args, { workers }) {
    const x = one(args);
    need(x.shape.length > 0, () => `all_gather needs rows, not ${showType(x)}`);
    return [type(x.dtype, [mul(workers, item(x.shape, 0)), ...x.shape.slice(1)])];
  },
  eval: needsAllWorkers,
  collective: perGroup((args) => {
    const all = Float64Array.from(args.flatMap((own) => [...one(own).data]));
    return args.map(() => [all]);
  }),
  vjp: () => [null],
  mapped: neverMapped("all_gather"),
  shard: shardOtherAxes(0),
  flops: noFlops,
  sends: (node) => (node.attrs.workers - 1) * operandBytes(node),
  samples: () => [],
  showAttrs: showGroup,
});

export const all_reduce = define<"all_reduce">({
  name: "all_reduce",
  doc: "(x) -> x: element by element the sum (in f32 or wider), max or min over all workers of a group, in their order",
  lower: "collective",
  infer(args, { fn }) {
    const x = one(args);
    need(x.dtype !== "bool", () => `${fn} has no meaning for ${showType(x)}`);
    return [x];
  },
  eval: needsAllWorkers,
  collective: perGroup((args, { fn }) => {
    const { step } = foldOf(fn);
    const [first = new Float64Array(), ...rest] = args.map((own) => one(own).data);
    const all = first.map((x, i) => rest.reduce((sum, other) => step(sum, other[i] ?? Number.NaN), x));
    return args.map(() => [all]);
  }),
  vjp: () => [null],
  mapped: neverMapped("all_reduce"),
  shard: shardOtherAxes(null),
  flops: resultCount,
  sends: (node) => 2 * sendsParts(node),
  samples: () => [],
  displayName: ({ fn }) => `all_reduce_${fn}`,
  showAttrs: showGroup,
});

export const all_to_all = define<"all_to_all">({
  name: "all_to_all",
  doc: "(x [workers, ...R]) -> [workers, ...R]: row r of worker w of a group becomes row w of its worker r",
  lower: "collective",
  infer(args, { workers }) {
    const x = one(args);
    need(x.shape[0] === workers, () => `all_to_all needs a row for each of ${workers} workers, not ${showType(x)}`);
    return [x];
  },
  eval: needsAllWorkers,
  collective: perGroup((args, { workers }) => {
    const row = (w: number, r: number): Float64Array => {
      const { data } = one(item(args, w));
      const size = data.length / workers;
      return data.subarray(r * size, (r + 1) * size);
    };
    return args.map((_, r) => [Float64Array.from(args.flatMap((__, w) => [...row(w, r)]))]);
  }),
  vjp: () => [null],
  mapped: neverMapped("all_to_all"),
  shard: shardOtherAxes(0),
  flops: noFlops,
  sends: sendsParts,
  samples: () => [],
  showAttrs: showGroup,
});

export const exchange = define<"exchange">({
  name: "exchange",
  doc:
    "(rows [C, ...R] of E experts, offsets i32[W, E + 1] of all W workers) -> [length, ...R]: the rows, of its group's workers, of the E / workers " +
    "experts that worker r of a group owns, from r * E / workers on, by expert and then by worker; past the last nothing. `back`: from there to where they were",
  lower: "collective",
  infer(args, { length }) {
    const [x, offsets] = two(args);
    needIndex("an exchange", offsets);
    need(x.shape.length > 0 && offsets.shape.length === 2, () => `an exchange moves rows, not ${showType(x)}`);
    return [type(x.dtype, [length, ...x.shape.slice(1)])];
  },
  eval: needsAllWorkers,
  collective(args, attrs, types) {
    const { back, length } = attrs;
    const [rows, offsets] = two(one(args));
    const room = back ? item(rows.shape, 0) : length;
    const size = product(rows.shape.slice(1));
    // Rows that nothing is sent to are padding, which nobody may read: NaN would show.
    const out = args.map(() => new Float64Array(count(one(types))).fill(Number.NaN));
    for (const group of groups(args.length, attrs))
      for (const { worker, row, owner, place } of exchangedRows(offsets, group)) {
        if (place >= room) throw new TypeMismatch(`worker ${owner} has room for ${room} rows, and gets more`);
        const [from, source, to, target] = back ? [owner, place, worker, row] : [worker, row, owner, place];
        const { data } = one(item(args, from));
        item(out, to).set(data.subarray(source * size, (source + 1) * size), target * size);
      }
    return out.map((own) => [own]);
  },
  vjp: () => [null, null],
  mapped: neverMapped("exchange"),
  flops: noFlops,
  sends({ args, attrs: { back, length, workers, shared = 1 } }) {
    const { type: rows } = item(args, 0);
    const n = item(dims(rows), 0);
    const choices = back ? length : n;
    return n === 0
      ? 0
      : (byteSize(rows) / n) * (choices / shared) * expectedOwners(workers, shared) * (1 - 1 / workers);
  },
  samples: () => [],
  showAttrs: ({ back, ...group }) => `${showGroup(group)}${back ? " back" : ""}`,
});
export const whole = define<"whole">({
  name: "whole",
  doc: "(x, ...first) -> x, all of it on each worker, moved when all of `first` are made; a graph that is partitioned has none left",
  lower: "collective",
  infer: ([x]) => [x ?? needsAllWorkers()],
  eval: ([x]) => [x?.data ?? needsAllWorkers()],
  vjp: () => [null],
  mapped: neverMapped("whole"),
  flops: noFlops,
  samples: () => [],
});
/** The rows of an exchange within a group: row `row` of `worker` goes to place `place` of `owner`. */
function* exchangedRows(
  offsets: NdArray,
  workers: readonly number[],
): Generator<{ readonly worker: number; readonly row: number; readonly owner: number; readonly place: number }> {
  const ends = item(offsets.shape, 1);
  const own = (ends - 1) / workers.length;
  const start = (worker: number, expert: number): number => at(offsets, worker * ends + expert);
  for (const [i, owner] of workers.entries()) {
    let place = 0;
    for (const expert of fromTo(i * own, (i + 1) * own))
      for (const worker of workers)
        for (const row of fromTo(start(worker, expert), start(worker, expert + 1)))
          yield { worker, row, owner, place: place++ };
  }
}
