// The kinds of steps in random graphs, besides the ops' own samples. A new op is included by its samples; add a line here to use it in other sizes.
import { mapGraph } from "../../compiler/graph/map.ts";
import type { Mapped, Routing, Value } from "../../compiler/graph/node.ts";
import { storeOf, topological } from "../../compiler/graph/walk.ts";
import type { BinaryName, UnaryName } from "../../compiler/ops/attrs.ts";
import * as b from "../../compiler/ops/build.ts";
import { binaries, unaries } from "../../compiler/ops/scalar.ts";
import { isFloat } from "../../compiler/types/dtype.ts";
import { count, dims, dtypeOf } from "../../compiler/types/type.ts";
import { randomMask, writtenMask } from "./masks.ts";
import { type Draw, RandomGraphBuilder, type Shape, type Step } from "./random-graph.ts";

const unaryNames = Object.keys(unaries) as UnaryName[];
const binaryNames = Object.keys(binaries) as BinaryName[];
/** A size in a product; sometimes larger than a tile. */
const extent = (d: Draw): number => (d.chance(0.1) ? d.of([96, 129, 200]) : d.size());
const few = (d: Draw): number => 1 + d.below(3);

const steps: Readonly<Record<string, Step>> = {
  unary: (r) => [b.unary(r.g, r.draw.of(unaryNames), r.any())],
  smooth: (r) => [b.unary(r.g, r.draw.of(["exp", "expm1", "sin", "tanh", "sigmoid", "erf", "neg"]), r.float())],
  positive: (r) => {
    const x = r.float();
    return [
      b.unary(r.g, r.draw.of(unaryNames.filter((fn) => unaries[fn].positive)), b.add(r.g, b.mul(r.g, x, x), 0.1)),
    ];
  },
  binary(r) {
    const x = r.any();
    return [b.binary(r.g, r.draw.of(binaryNames), x, r.value(dtypeOf(x.type), stretched(r.draw, dims(x.type))))];
  },
  "with a number"(r) {
    const fn = r.draw.of(["add", "sub", "mul", "div", "max", "pow", "rem"] as const);
    const [x, n] = [r.any(({ type }) => type.dtype !== "bool"), r.draw.of([-1, 0, 0.5, 1, 2, 3])];
    return [r.draw.chance(0.3) ? b.binary(r.g, fn, n, x) : b.binary(r.g, fn, x, n)];
  },
  where(r) {
    const x = r.any();
    const other = r.draw.chance(0.3) ? r.draw.below(2) : r.value(dtypeOf(x.type), dims(x.type));
    return [b.where(r.g, r.value("bool", stretched(r.draw, dims(x.type))), x, other)];
  },
  compare(r) {
    const x = r.any(({ type }) => type.dtype !== "bool");
    return [b.binary(r.g, r.draw.of(["lt", "le", "gt", "ge", "eq", "ne"]), x, r.value(dtypeOf(x.type), dims(x.type)))];
  },
  cast: (r) => [b.cast(r.g, r.any(), r.draw.dtype())],
  kept: (r) => (r.draw.chance(0.5) ? [b.detach(r.g, r.float())] : [b.after(r.g, r.float(), [r.any()])]),
  fresh: (r) => [r.param(r.draw.dtype(), r.draw.shape(1 + r.draw.below(3)))],
  empty(r) {
    const shape = r.draw.shape(1 + r.draw.below(3));
    return [r.param(r.draw.dtype(), shape.with(r.draw.below(shape.length), 0))];
  },
  iota: (r) => [b.iota(r.g, r.draw.size())],
  reshape(r) {
    const x = r.any();
    const n = count(x.type);
    const by = r.draw.of([1, 2, 3, 4, 5, 7, 8, 16].filter((d) => n % d === 0));
    return [b.reshape(r.g, x, r.draw.of([[n], [by, n / by], [n / by, by], [by, 1, n / by]]))];
  },
  transpose(r) {
    const x = r.any((v) => v.type.shape.length > 1);
    return [b.transpose(r.g, x, r.draw.order(x.type.shape.length))];
  },
  stretch(r) {
    const x = r.any((v) => count(v.type) < 500);
    return [b.broadcastTo(r.g, b.expand(r.g, x, 0), [few(r.draw) + 1, ...dims(x.type)])];
  },
  slice(r) {
    const [x, axis] = r.valueAndAxis();
    const n = dims(x.type)[axis] ?? 0;
    const size = r.draw.below(n + 1) || (r.draw.chance(0.3) ? 0 : n);
    return [b.slice(r.g, x, axis, r.draw.below(n - size + 1), size)];
  },
  concat(r) {
    const [x, axis] = r.valueAndAxis();
    const more = () => r.value(dtypeOf(x.type), dims(x.type).with(axis, few(r.draw)));
    return [b.concat(r.g, r.draw.chance(0.5) ? [x, more()] : [more(), x, more()], axis)];
  },
  pad(r) {
    const [x, axis] = r.valueAndAxis();
    const gap = () => b.fill(r.g, 0, dtypeOf(x.type), dims(x.type).with(axis, few(r.draw)));
    return [b.concat(r.g, r.draw.chance(0.5) ? [gap(), x] : [gap(), x, gap()], axis)];
  },
  reduce(r) {
    const x = r.any(({ type }) => type.dtype !== "bool" && type.shape.length > 0);
    const axes = r.draw.order(x.type.shape.length).slice(0, few(r.draw));
    return [r.draw.of([b.sum, b.sum, b.max, b.min, b.mean])(r.g, x, axes, r.draw.chance(0.3))];
  },
  "reductions over few numbers"(r) {
    const [rows, own] = [r.draw.shape(1 + r.draw.below(2)), r.draw.of([[2, 3], [4, 4], [5], [3, 2, 2], [1, 4], [16]])];
    const made = [r.value(r.draw.of(["f32", "f32", "bf16"]), [...rows, ...own])];
    for (let round = 5 + r.draw.below(7); round > 0; round--) {
      const x = r.draw.chance(0.8) ? (made.at(-1) ?? r.float()) : r.draw.of(made);
      const y = r.draw.of([b.sum, b.mean, b.max])(r.g, x, [rows.length + r.draw.below(own.length)], true);
      const next = [
        () => b.sub(r.g, x, y),
        () => b.div(r.g, x, b.add(r.g, b.abs(r.g, y), 0.3)),
        () => b.mul(r.g, x, b.sigmoid(r.g, y)),
        () => b.mul(r.g, b.sub(r.g, x, y), r.value(dtypeOf(x.type), own)),
      ];
      made.push(r.draw.of(next)());
    }
    return r.draw.chance(0.5) ? made.slice(-1) : made.slice(-3);
  },
  scan(r) {
    const [x, axis] = r.valueAndAxis(({ type }) => type.dtype !== "bool");
    return [b.make1(r.g, "scan", [x], { axis, exclusive: r.draw.chance(0.5), reverse: r.draw.chance(0.5) })];
  },
  softmax(r) {
    const [x, axis] = r.valueAndAxis(({ type }) => isFloat(type.dtype));
    return [b.softmax(r.g, x, axis, r.draw.chance(0.4) ? r.value("bool", dims(x.type)) : undefined)];
  },
  logsumexp(r) {
    const [x, axis] = r.valueAndAxis(({ type }) => isFloat(type.dtype));
    return [b.logsumexp(r.g, x, axis, r.draw.chance(0.5))];
  },
  norm(r) {
    const [x] = r.valueAndAxis(({ type }) => isFloat(type.dtype));
    const y = r.draw.chance(0.5) ? b.sub(r.g, x, b.mean(r.g, x, [-1], true)) : x;
    const scale = b.rsqrt(r.g, b.add(r.g, b.mean(r.g, b.mul(r.g, y, y), [-1], true), 0.1));
    return [b.mul(r.g, b.mul(r.g, y, scale), r.value(dtypeOf(x.type), [dims(x.type).at(-1) ?? 1]))];
  },
  matmul: (r) => [contracted(r, [])],
  "batched matmul": (r) => [contracted(r, r.draw.of([[2], [3], [2, 3], [1]]))],
  "two products of the same rows"(r) {
    const [x] = r.valueAndAxis(({ type }) => isFloat(type.dtype));
    const weight = () => r.value(dtypeOf(x.type), [dims(x.type).at(-1) ?? 1, 33]);
    const [gate, up] = [b.matmul(r.g, x, weight()), b.matmul(r.g, x, weight())];
    return [b.mul(r.g, b.mul(r.g, gate, b.sigmoid(r.g, gate)), up)];
  },
  take(r) {
    const [x, axis] = r.valueAndAxis();
    const shape = dims(x.type);
    return [b.take(r.g, x, r.index([...shape.slice(0, axis), few(r.draw) + 1], shape[axis] ?? 1), axis)];
  },
  gather(r) {
    const [x, axis] = r.valueAndAxis();
    return [b.make1(r.g, "gather", [x, r.index(r.draw.shape(1), dims(x.type)[axis] ?? 1)], { axis, batch: 0 })];
  },
  put(r) {
    const [x, axis] = r.valueAndAxis();
    const [shape, n] = [dims(x.type), few(r.draw) + 1];
    const index = r.index([...shape.slice(0, axis), n], shape[axis] ?? 1);
    return [b.put(r.g, x, index, r.value(dtypeOf(x.type), shape.with(axis, n)), axis)];
  },
  scatter(r) {
    const [x, axis] = r.valueAndAxis(({ type }) => type.dtype !== "bool");
    const [shape, n] = [dims(x.type), r.draw.of([1, 2, 5, 33, 130])];
    return [b.scatter(r.g, x, r.index(shape.slice(0, axis + 1), n), n, axis)];
  },
  "top k"(r) {
    const [x] = r.valueAndAxis(({ type }) => type.dtype !== "bool");
    return b.topK(r.g, x, r.draw.below((dims(x.type).at(-1) ?? 0) + 1));
  },
  sort: (r) => b.sort(r.g, r.valueAndAxis(({ type }) => type.dtype !== "bool")[0]),
  cutoff(r) {
    const [x] = r.valueAndAxis(({ type }) => isFloat(type.dtype));
    const [shape, counts] = [dims(x.type), r.draw.chance(0.5)];
    const weight = counts ? b.fill(r.g, 1, "i32", shape) : b.exp(r.g, r.value("f32", shape));
    return [b.cutoff(r.g, x, weight, r.value(counts ? "i32" : "f32", shape.slice(0, -1)))];
  },
  random: (r) => [b.gaussian(r.g, r.value("i32", [2]), r.draw.below(9), r.draw.shape())],
  "cross entropy"(r) {
    const [x] = r.valueAndAxis(({ type }) => isFloat(type.dtype));
    const rows = dims(x.type).slice(0, -1);
    const target = r.index(rows, dims(x.type).at(-1) ?? 1);
    const picked = b.squeeze(r.g, b.take(r.g, x, b.expand(r.g, target, rows.length), rows.length), -1);
    return [b.where(r.g, b.ge(r.g, target, 0), b.sub(r.g, b.logsumexp(r.g, x), picked), 0)];
  },
  attention: (r) => attend(r, true),
  "attention as it is written": (r) => attend(r, false),
  mixture,
};

/** Steps that the language has only as `experts[index](...)`, and that therefore are not used inside of one. */
const unrouted: Readonly<Record<string, Step>> = {
  ragged(r) {
    const [rows, groups, unit, k, n] = [
      extent(r.draw),
      1 + r.draw.below(7),
      few(r.draw),
      extent(r.draw),
      extent(r.draw),
    ];
    const dtype = r.draw.of(["f32", "bf16"] as const);
    const by = b.route(r.g, r.index([rows], groups), groups);
    const sorted = (width: number): Value =>
      b.reshape(r.g, b.dispatch(r.g, r.value(dtype, [rows, unit * width]), by), [rows * unit, width]);
    const [x, w] = [sorted(k), r.value(dtype, [groups, k, n])];
    if (r.draw.chance(0.3)) return [b.raggedOuter(r.g, x, sorted(n), by.offsets, unit)];
    const made = b.raggedDot(r.g, x, w, by.offsets, unit);
    if (r.draw.chance(0.3)) return [b.raggedSum(r.g, made, by.offsets, unit)];
    return [b.combine(r.g, b.reshape(r.g, made, [rows, unit * n]), by)];
  },
  route(r) {
    const [rows, groups] = [extent(r.draw), 1 + r.draw.below(7)];
    const by = b.route(r.g, r.index([rows], groups), groups);
    const x = r.value("f32", [rows, few(r.draw)]);
    return [...Object.values(by), r.draw.chance(0.5) ? b.dispatch(r.g, x, by) : b.combine(r.g, x, by)];
  },
};
export const everywhere: readonly Step[] = [...Object.values(steps), ...Object.values(unrouted)];

/** A shape that broadcasts to this one: some axes 1, and some leading axes missing. */
function stretched(draw: Draw, shape: Shape): number[] {
  if (draw.chance(0.5)) return [...shape];
  return shape.map((n) => (draw.chance(0.3) ? 1 : n)).slice(draw.below(shape.length + 1));
}
/** A product of awkward sizes, whose operands may be transposed. */
function contracted(r: RandomGraphBuilder, batch: Shape): Value {
  const [m, k, n] = [extent(r.draw), extent(r.draw), extent(r.draw)];
  const dtype = r.draw.of(["f32", "f32", "bf16"] as const);
  const operand = (rows: number, columns: number): Value =>
    r.draw.chance(0.3)
      ? b.swap(r.g, r.value(dtype, [...batch, columns, rows]))
      : r.value(dtype, [...batch, rows, columns]);
  return b.matmul(r.g, operand(m, k), operand(k, n));
}
/** Attention with a random mask: as the op `attention`, or as the composition that a pass recognises. */
function attend(r: RandomGraphBuilder, asOp: boolean): readonly Value[] {
  const { g, draw } = r;
  const [B, G, R, T, U, A, C] = [few(draw), few(draw), few(draw), draw.size(), draw.size(), draw.size(), draw.size()];
  const dtype = draw.of(["f32", "f32", "bf16"] as const);
  const [q, k, v] = [r.value(dtype, [B, G, R, T, A]), r.value(dtype, [B, G, U, A]), r.value(dtype, [B, G, U, C])];
  const mask = randomMask(r, B, T, U);
  const cap = draw.chance(0.2) ? draw.of([0.5, 2, 30]) : undefined;
  const bias =
    cap === undefined && draw.chance(0.3) ? [r.value(dtype === "bf16" ? "f32" : dtype, [B, G, R, T, U])] : [];
  const scale = draw.of([1, 0.5, -0.5]);
  if (asOp) {
    const attrs = { scale, ...(cap === undefined ? {} : { cap }), bounds: mask.bounds };
    return b.make(g, "attention", [q, k, v, ...mask.places, ...bias], attrs).results;
  }
  const written = writtenMask(g, mask, (x, axis) => b.broadcast(g, x, [B, G, R, T, U], [0, axis]));
  const turned = b.broadcast(g, b.swap(g, k), [B, G, R, A, U], [0, 1, 3, 4]);
  const scaled = b.mul(g, b.cast(g, b.dot(g, q, turned), "f32"), scale);
  const scores = cap === undefined ? scaled : b.mul(g, b.tanh(g, b.mul(g, scaled, 1 / cap)), cap);
  const p = b.softmax(
    g,
    bias.reduce((x, y) => b.add(g, x, y), scores),
    -1,
    written ?? undefined,
  );
  return [b.dot(g, b.cast(g, p, dtype), b.broadcast(g, v, [B, G, R, U, C], [0, 1, 3, 4]))];
}

/** A mixture with a random body: rows are dispatched to experts, and each row's choices summed. */
function mixture(r: RandomGraphBuilder): readonly Value[] {
  const { g, draw } = r;
  const [N, K, E, D] = [draw.size(), few(draw), 1 + draw.below(7), draw.size()];
  const dtype = draw.of(["f32", "f32", "bf16"] as const);
  const by: Routing = { ...b.route(g, r.index([N * K], E), E), groups: E, rows: N * K };
  const x = b.reshape(g, b.broadcast(g, r.value(dtype, [N, D]), [N, K, D], [0, 2]), [N * K, D]);
  const inner = new RandomGraphBuilder(`${r.name}.${by.order.node.id}`, draw, Object.values(steps), g, true);
  const row = inner.param(dtype, [D]);
  inner.keep([row, b.matmul(g, row, inner.param(dtype, [D, draw.size()]))]);
  for (let i = draw.below(6); i > 0; i--) inner.step();
  const body = inner.float();
  const bind = new Map<Value, Mapped>([[row, { kind: "rows", value: b.dispatch(g, x, by), by }]]);
  for (const leaf of topological([body]).flatMap((n) => (storeOf(n) === null || n === row.node ? [] : n.results))) {
    const [t, shape] = [dtypeOf(leaf.type), dims(leaf.type)];
    // a nested mixture's expert parameters must not depend on the row
    const each = (): Value => (r.routed ? r.param(t, [E, ...shape]) : r.value(t, [E, ...shape]));
    if (draw.chance(0.7)) bind.set(leaf, { kind: "each", value: each(), over: E });
    else if (draw.chance(0.5))
      bind.set(leaf, { kind: "rows", value: b.dispatch(g, r.value(t, [N * K, ...shape]), by), by });
  }
  const [mapped] = mapGraph([body], bind, g);
  if (mapped?.kind !== "rows") return [];
  r.mixtures.push({ body, bind, by, mapped });
  const made = b.reshape(g, b.combine(g, mapped.value, by), [N, K, ...dims(body.type)]);
  const score = b.softmax(g, r.value(dtypeOf(made.type), [N, K]));
  return [b.sum(g, b.mul(g, made, b.broadcast(g, score, dims(made.type), [0, 1])), [1])];
}
