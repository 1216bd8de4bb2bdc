// Views: ops whose results have the elements of their arguments at other indices (reshape, transpose, broadcast, slice, concat).
import { readStrided, strides } from "../graph/array.ts";
import type { Node, OpSharding, Placement, Value } from "../graph/node.ts";
import { item } from "../item.ts";
import { sum } from "../types/numbers.ts";
import { add, equal, equalAll, product, type Size, show } from "../types/size.ts";
import { count, dims, showType, type } from "../types/type.ts";
import type { OpAttrs } from "./attrs.ts";
import * as b from "./build.ts";
import { define, need, needAxis, noFlops, number, numbers, one, resultCount, sample, splitAtAxis } from "./common.ts";
import { mapLeading, shiftAxes } from "./mapped.ts";
import {
  evenSharding,
  isSharded,
  leadSharding as lead,
  localShape,
  onePiece,
  piecesOfAxis,
  reshapedPlace,
  type Sharded,
  sharded,
  shardPointwise,
} from "./sharding.ts";

export const reshape = define<"reshape">({
  name: "reshape",
  doc: "the same elements in row-major order under another shape",
  lower: "view",
  infer(args, { shape }) {
    const x = one(args);
    need(
      equal(product(x.shape), product(shape)),
      () => `${showType(x)} has not as many elements as [${shape.map(show).join(", ")}]`,
    );
    return [type(x.dtype, shape)];
  },
  eval: (args) => [one(args).data],
  vjp: ({ args }, [dy], g) => [dy ? b.reshape(g, dy, dims(one(args).type)) : null],
  shard({ args, attrs }, [p], workers) {
    if (!p || !isSharded(p)) return null;
    const shape = numbers(attrs.shape);
    const to = reshapedPlace(dims(one(args).type), shape, p, workers.unit(p.sharding), workers.joinsAxes);
    return to && { args: [p], results: [to], attrs: { shape: localShape(shape, to, workers) } };
  },
  mapped: mapLeading("reshape", ({ shape }, n) => ({ shape: [n, ...shape] })),
  flops: noFlops,
  samples: (g) => [
    b.reshape(g, sample(g, "f32", [6, 5]), [3, 10]).node,
    b.reshape(g, sample(g, "f32", [0, 5]), [5, 2, 0]).node,
  ],
});

export const transpose = define<"transpose">({
  name: "transpose",
  doc: "axis i of the result is axis perm[i] of x",
  lower: "view",
  infer(args, { perm }) {
    const x = one(args);
    need(
      perm.toSorted((p, q) => p - q).every((p, i) => p === i) && perm.length === x.shape.length,
      () => `[${perm.join(", ")}] does not order the axes of ${showType(x)}`,
    );
    return [
      type(
        x.dtype,
        perm.map((p) => item(x.shape, p)),
      ),
    ];
  },
  eval(args, { perm }) {
    const x = one(args);
    const steps = strides(x.shape);
    return [
      readStrided(
        x.data,
        perm.map((p) => item(x.shape, p)),
        perm.map((p) => item(steps, p)),
      ),
    ];
  },
  vjp: ({ attrs }, [dy], g) => [dy ? b.transpose(g, dy, inversePermutation(attrs.perm)) : null],
  shard: ({ attrs }, [p]) =>
    p && isSharded(p) ? { args: [p], results: [sharded(attrs.perm.indexOf(p.axis), p.sharding)] } : null,
  mapped: mapLeading("transpose", ({ perm }) => ({ perm: [0, ...shiftAxes(perm)] })),
  flops: noFlops,
  samples: (g) => [
    b.transpose(g, sample(g, "f32", [2, 3, 5]), [2, 0, 1]).node,
    b.transpose(g, sample(g, "i32", [4, 1]), [1, 0]).node,
  ],
});
/** The inverse of a permutation of axes. */
export const inversePermutation = (perm: readonly number[]): number[] => perm.map((_, i) => perm.indexOf(i));

export const broadcast = define<"broadcast">({
  name: "broadcast",
  doc: "axis i of x is axis axes[i] of the result; the other axes repeat it",
  lower: "view",
  infer(args, { shape, axes }) {
    const x = one(args);
    const ascending = axes.every((a, i) => a > (axes[i - 1] ?? -1) && a < shape.length);
    need(
      ascending &&
        equalAll(
          x.shape,
          axes.map((a) => item(shape, a)),
        ),
      () => `${showType(x)} does not stretch to [${shape.map(show).join(", ")}]`,
    );
    return [type(x.dtype, shape)];
  },
  eval(args, { shape, axes }) {
    const x = one(args);
    const steps = strides(x.shape);
    return [
      readStrided(
        x.data,
        numbers(shape),
        shape.map((_, i) => steps[axes.indexOf(i)] ?? 0),
      ),
    ];
  },
  vjp({ attrs }, [dy], g) {
    const repeated = attrs.shape.flatMap((_, i) => (attrs.axes.includes(i) ? [] : [i]));
    return [dy ? b.sum(g, dy, repeated) : null];
  },
  shard({ attrs: { shape, axes } }, [p], workers) {
    if (!p || !isSharded(p)) return null;
    const to = sharded(item(axes, p.axis), p.sharding);
    return { args: [p], results: [to], attrs: { axes, shape: localShape(numbers(shape), to, workers) } };
  },
  mapped: mapLeading("broadcast", ({ shape, axes }, n) => ({ shape: [n, ...shape], axes: [0, ...shiftAxes(axes)] })),
  flops: noFlops,
  reads: resultCount,
  samples: (g) =>
    [
      b.broadcast(g, sample(g, "f32", [3]), [2, 3, 5], [1]),
      b.fill(g, 2, "f32", [2, 2]),
      b.broadcast(g, sample(g, "f32", [2, 1]), [2, 3, 1], [0, 2]),
    ].map((v) => v.node),
});

export const slice = define<"slice">({
  name: "slice",
  doc: "`size` places of an axis, from `start`",
  lower: "view",
  infer(args, { axis, start, size }) {
    const x = one(args);
    const whole = needAxis("a slice", axis, x);
    const end = add(start, size);
    const inside =
      [start, size, end, whole].some((s) => typeof s !== "number") ||
      (number(start) >= 0 && number(size) >= 0 && number(end) <= number(whole));
    need(inside, () => `places ${show(start)} to ${show(end)} are not all on axis ${axis} of ${showType(x)}`);
    return [type(x.dtype, x.shape.with(axis, size))];
  },
  eval(args, { axis, start, size }) {
    const x = one(args);
    const steps = strides(x.shape);
    return [readStrided(x.data, x.shape.with(axis, number(size)), steps, number(start) * item(steps, axis))];
  },
  vjp({ args, attrs: { axis, start, size } }, [dy], g) {
    const shape = dims(one(args).type);
    const after = item(shape, axis) - number(start) - number(size);
    const gap = (n: number) => (dy && n > 0 ? [b.like(g, b.slice(g, one(args), axis, 0, n), 0)] : []);
    return [dy ? b.concat(g, [...gap(number(start)), dy, ...gap(after)], axis) : null];
  },
  shard(node, [p]) {
    if (!p || !isSharded(p)) return null;
    return p.axis === node.attrs.axis ? shardPieces(node, p) : { args: [p], results: [p] };
  },
  mapped: mapLeading("slice", (attrs) => ({ ...attrs, axis: attrs.axis + 1 })),
  flops: noFlops,
  reads: resultCount,
  samples: (g) => [
    b.slice(g, sample(g, "f32", [4, 7]), 1, 2, 3).node,
    b.slice(g, sample(g, "f32", [4, 7]), 0, 4, 0).node,
  ],
});

/** Of an axis that is sharded in pieces, a slice has some of them, and a worker its part of each. */
function shardPieces(
  { args, attrs }: Node<OpAttrs["slice"]>,
  { axis, sharding }: Sharded,
): OpSharding<OpAttrs["slice"]> | null {
  if (sharding.kind !== "even") return null;
  const { parts, pieces } = sharding;
  const [start, size] = [number(attrs.start), number(attrs.size)];
  const all = piecesOfAxis(item(dims(one(args).type), axis), pieces);
  const own = all.flatMap((p) => (p.start >= start && p.start + p.length <= start + size ? [p.length] : []));
  if (size === 0 || sum(own) !== size) return null;
  return {
    args: [sharded(axis, sharding)],
    results: [sharded(axis, evenSharding(parts, own))],
    attrs: { axis, start: start / parts, size: size / parts },
  };
}

/** One operand of a concat, and the range `from` .. `to` that it fills along the joined axis. */
export interface Piece {
  readonly value: Value;
  readonly from: number;
  readonly to: number;
}
/** The operands of a concat in order, each with its range. */
export function piecesOf({ args, attrs: { axis } }: Pick<Node<OpAttrs["concat"]>, "args" | "attrs">): Piece[] {
  let to = 0;
  return args.map((value) => {
    const from = to;
    to += item(dims(value.type), axis);
    return { value, from, to };
  });
}
/** Operands that are sharded along the joined axis, or cost nothing to cut, are pieces of it, divided as the operands are. */
function shardJoined(
  { args: values, attrs: { axis } }: Node<OpAttrs["concat"]>,
  places: readonly Placement[],
): OpSharding<OpAttrs["concat"]> | null {
  const first = lead(places);
  if (first?.sharding.kind !== "even") return null;
  const { parts } = first.sharding;
  const isCheap = (p: Placement, i: number): boolean =>
    isSharded(p) ? p.axis === axis : item(values, i).node.op.name === "broadcast";
  if (!places.every(isCheap)) return null;
  const own = places.map((p) => (isSharded(p) && p.sharding.kind === "even" ? p.sharding.pieces : onePiece));
  const lengths = values.flatMap((v, i) => piecesOfAxis(item(dims(v.type), axis), own[i]).map((p) => p.length));
  return {
    args: own.map((pieces) => sharded(axis, evenSharding(parts, pieces))),
    results: [sharded(axis, evenSharding(parts, lengths))],
  };
}
export const concat = define<"concat">({
  name: "concat",
  doc: "the operands one after another along an axis",
  lower: "view",
  infer(args, { axis }) {
    const x = one(args);
    needAxis("concat", axis, x);
    const rest = (shape: readonly Size[]): Size[] => shape.toSpliced(axis, 1);
    for (const y of args)
      need(
        y.dtype === x.dtype && equalAll(rest(x.shape), rest(y.shape)),
        () => `concat along axis ${axis} does not join ${showType(x)} and ${showType(y)}`,
      );
    return [type(x.dtype, x.shape.with(axis, args.map((y) => item(y.shape, axis)).reduce(add)))];
  },
  eval(args, { axis }, types) {
    const [before] = splitAtAxis(one(args).shape, axis);
    const out = new Float64Array(count(one(types)));
    let place = 0;
    for (let i = 0; i < before; i++) {
      for (const { data } of args) {
        const n = data.length / before;
        out.set(data.subarray(i * n, (i + 1) * n), place);
        place += n;
      }
    }
    return [out];
  },
  vjp: (node, [dy], g) =>
    piecesOf(node).map(({ from, to }) => (dy ? b.slice(g, dy, node.attrs.axis, from, to - from) : null)),
  shard: (node, args) => (lead(args)?.axis === node.attrs.axis ? shardJoined(node, args) : shardPointwise(node, args)),
  mapped: mapLeading("concat", ({ axis }) => ({ axis: axis + 1 })),
  flops: noFlops,
  samples: (g) =>
    [
      b.concat(g, [sample(g, "f32", [2, 3]), sample(g, "f32", [2, 4]), sample(g, "f32", [2, 0])], 1),
      b.concat(g, [sample(g, "f32", [1, 3]), sample(g, "f32", [2, 3])], 0),
    ].map((v) => v.node),
});
