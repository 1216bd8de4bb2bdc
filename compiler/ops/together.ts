// What workers do together: each runs the same graph on its part of a batch, and of the experts. Made by transform/partition.ts.
import { Bug } from "../diagnostic.ts";
import { TypeMismatch } from "../graph/builder.ts";
import type { NdArray } from "../graph/node.ts";
import { fromTo, product } from "../types/numbers.ts";
import { mul } from "../types/size.ts";
import { count, showType, type } from "../types/type.ts";
import { at, define, free, made, need, needIndex, nth, one, two } from "./common.ts";
import { foldOf } from "./reduce.ts";

const alone = (): never => {
  throw new Bug("workers do this together: it has no meaning for one alone");
};
function afterwards(): never {
  throw new TypeMismatch("what workers do together is put in after routed calls are elaborated");
}

export const all_gather = define<"all_gather">({
  name: "all_gather",
  doc: "(x [N, ...R]) -> [workers * N, ...R]: the rows of worker 0, then those of worker 1, ...",
  lower: "together",
  infer(args, { workers }) {
    const x = one(args);
    need(x.shape.length > 0, () => `all_gather needs rows, not ${showType(x)}`);
    return [type(x.dtype, [mul(workers, nth(x.shape, 0)), ...x.shape.slice(1)])];
  },
  eval: alone,
  together(args) {
    const all = Float64Array.from(args.flatMap((own) => [...one(own).data]));
    return args.map(() => [all]);
  },
  vjp: () => [null],
  mapped: afterwards,
  flops: free,
  samples: () => [],
  show: ({ workers }) => `workers=${workers}`,
});

export const all_reduce = define<"all_reduce">({
  name: "all_reduce",
  doc: "(x) -> x: element by element the sum (in f32 or wider), max or min over all workers, in their order",
  lower: "together",
  infer(args, { fn }) {
    const x = one(args);
    need(x.dtype !== "bool", () => `${fn} has no meaning for ${showType(x)}`);
    return [x];
  },
  eval: alone,
  together(args, { fn }) {
    const { step } = foldOf(fn);
    const [first = new Float64Array(), ...rest] = args.map((own) => one(own).data);
    const all = first.map((x, i) => rest.reduce((sum, other) => step(sum, other[i] ?? Number.NaN), x));
    return args.map(() => [all]);
  },
  vjp: () => [null],
  mapped: afterwards,
  flops: made,
  samples: () => [],
  word: ({ fn }) => `all_reduce_${fn}`,
  show: ({ workers }) => `workers=${workers}`,
});

export const all_to_all = define<"all_to_all">({
  name: "all_to_all",
  doc: "(x [workers, ...R]) -> [workers, ...R]: row r of worker w becomes row w of worker r",
  lower: "together",
  infer(args, { workers }) {
    const x = one(args);
    need(x.shape[0] === workers, () => `all_to_all needs a row for each of ${workers} workers, not ${showType(x)}`);
    return [x];
  },
  eval: alone,
  together(args, { workers }) {
    const row = (w: number, r: number): Float64Array => {
      const { data } = one(nth(args, w));
      const size = data.length / workers;
      return data.subarray(r * size, (r + 1) * size);
    };
    return args.map((_, r) => [Float64Array.from(args.flatMap((__, w) => [...row(w, r)]))]);
  },
  vjp: () => [null],
  mapped: afterwards,
  flops: free,
  samples: () => [],
  show: ({ workers }) => `workers=${workers}`,
});

export const exchange = define<"exchange">({
  name: "exchange",
  doc:
    "(rows [C, ...R] in E groups, offsets i32[workers, E + 1] of all workers) -> [length, ...R]: the rows of the E / workers groups that " +
    "worker r owns, from r * E / workers on, by group and then by worker; past the last nothing. `back`: from there to where they were",
  lower: "together",
  infer(args, { length }) {
    const [x, offsets] = two(args);
    needIndex("an exchange", offsets);
    need(x.shape.length > 0 && offsets.shape.length === 2, () => `an exchange moves rows, not ${showType(x)}`);
    return [type(x.dtype, [length, ...x.shape.slice(1)])];
  },
  eval: alone,
  together(args, { back, length }, types) {
    const [rows, offsets] = two(one(args));
    const room = back ? nth(rows.shape, 0) : length;
    const size = product(rows.shape.slice(1));
    // what nothing is sent to, nobody may read
    const out = args.map(() => new Float64Array(count(one(types))).fill(Number.NaN));
    for (const { worker, row, owner, place } of moves(offsets)) {
      if (place >= room) throw new TypeMismatch(`worker ${owner} has room for ${room} rows, and gets more`);
      const [from, source, to, target] = back ? [owner, place, worker, row] : [worker, row, owner, place];
      const { data } = one(nth(args, from));
      nth(out, to).set(data.subarray(source * size, (source + 1) * size), target * size);
    }
    return out.map((own) => [own]);
  },
  vjp: () => [null, null],
  mapped: afterwards,
  flops: free,
  samples: () => [],
  show: ({ workers, back }) => `workers=${workers}${back ? " back" : ""}`,
});
/** Which row of which worker stands in which place of which owner. */
function* moves(
  offsets: NdArray,
): Generator<{ readonly worker: number; readonly row: number; readonly owner: number; readonly place: number }> {
  const [workers = 1, ends = 1] = offsets.shape;
  const own = (ends - 1) / workers;
  const start = (worker: number, group: number): number => at(offsets, worker * ends + group);
  for (const owner of fromTo(0, workers)) {
    let place = 0;
    for (const group of fromTo(owner * own, (owner + 1) * own))
      for (const worker of fromTo(0, workers))
        for (const row of fromTo(start(worker, group), start(worker, group + 1)))
          yield { worker, row, owner, place: place++ };
  }
}
