// Every record's rule inside experts[index](...) against a plain loop over rows.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import { mapGraph } from "../../compiler/graph/map.ts";
import type { Mapped, NdArray, Node, Routing, Value } from "../../compiler/graph/node.ts";
import { storeOf, topological } from "../../compiler/graph/walk.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { product } from "../../compiler/types/numbers.ts";
import { dims, dtypeOf } from "../../compiler/types/type.ts";
import { distance, entry, generator, samples, storesOf } from "../graphs.ts";

const test = suite("mapped");
const E = 5;
const M = 13;
const [D, H, K, E2] = [3, 4, 2, 3];
type Kind = Mapped["kind"];

function routing(g: GraphBuilder, name: string, rows: number, groups: number): Routing {
  const index = b.param(g, name, { dtype: "i32", shape: [rows] });
  return { ...b.route(g, index, groups), groups, rows };
}
/** Indices of `groups`, some that are none, in no order. */
function indices(shape: readonly number[], groups: number): NdArray {
  const random = generator(`indices ${shape.join()}`);
  const data = Float64Array.from({ length: product(shape) }, () => Math.floor((groups + 1) * random()) - 1);
  return { dtype: "i32", shape, data };
}
/** Numbers for the stores, `which` being the experts of the rows. */
const storesWith = (values: readonly Value[]): Map<string, NdArray> => storesOf(values).set("which", indices([M], E));
/** All ways to choose kinds for n operands, but for all plain; of many operands, a few ways. */
function choices(n: number): Kind[][] {
  const kinds: Kind[] = ["uniform", "each", "rows"];
  if (n > 3)
    return [1, 2, 4, 5].map((step) => Array.from({ length: n }, (_, i) => kinds[(1 + i * step) % 3] ?? "rows"));
  const all = Array.from({ length: n }).reduce<Kind[][]>(
    (list) => list.flatMap((l) => kinds.map((k) => [...l, k])),
    [[]],
  );
  return all.filter((l) => l.some((k) => k !== "uniform"));
}
function bound(g: GraphBuilder, kind: Kind, v: Value, by: Routing): Mapped {
  const dtype = dtypeOf(v.type);
  const shape = dims(v.type);
  const name = `${kind} of ${v.node.id}`;
  if (kind === "uniform") return { kind, value: b.param(g, name, v.type) };
  if (kind === "each") return { kind, value: b.param(g, name, { dtype, shape: [E, ...shape] }), over: E };
  return { kind, value: b.param(g, name, { dtype, shape: [M, ...shape] }), by };
}

test("every op, every combination of operands", () => {
  const skipped = new Set(["random", "route", "dispatch", "combine", "ragged_dot", "ragged_outer", "ragged_sum"]);
  for (const { name, node, g } of samples()) {
    if (node.args.length === 0 || skipped.has(node.op.name)) continue;
    for (const kinds of choices(node.args.length)) checkMapped(`${name} of ${kinds.join(", ")}`, node, kinds, g);
  }
});
function checkMapped(name: string, node: Node, kinds: readonly Kind[], g: GraphBuilder): void {
  const by = routing(g, "which", M, E);
  const given = node.args.map((v, i) => bound(g, kinds[i] ?? "uniform", v, by));
  const mapped = mapGraph(node.results, new Map(node.args.map((v, i) => [v, given[i] as Mapped])), g);
  const operands = given.map((m) => m.value);
  const stores = storesWith([...operands, by.expert]);
  const arrays = interpret([by.expert, ...operands, ...mapped.map((m) => m.value)], stores, { exact: true });
  const [experts, ...rest] = arrays as [NdArray, ...NdArray[]];
  const rows = mapped[0]?.kind === "rows";
  for (let place = 0; place < (rows ? M : E); place++) {
    const expert = rows ? (experts.data[place] ?? -1) : place;
    if (expert < 0) continue;
    const args = rest
      .slice(0, given.length)
      .map((x, i) => (kinds[i] === "uniform" ? x : entry(x, kinds[i] === "each" ? expert : place)));
    node.op
      .eval(
        args,
        node.attrs,
        node.results.map((r) => r.type),
      )
      .forEach((expected, i) => {
        const found = entry(rest[given.length + i] as NdArray, place).data;
        assert.ok(
          distance(found, expected) < 1e-4,
          `${name} at ${place}: ${[...found].join()} but ${[...expected].join()}`,
        );
      });
  }
}

test("a matrix that all rows share multiplies them in one product, from either side", () => {
  const g = new GraphBuilder(ops);
  const by = routing(g, "which", M, E);
  const [x, y] = [b.param(g, "x", { dtype: "f32", shape: [D, H] }), b.param(g, "y", { dtype: "f32", shape: [H, K] })];
  for (const shared of [x, y]) {
    const given = new Map([x, y].map((v) => [v, bound(g, v === shared ? "uniform" : "rows", v, by)]));
    const [made] = mapGraph([b.dot(g, x, y)], given, g) as [Mapped];
    const products = topological([made.value]).filter((node) => node.op.name === "dot");
    assert.equal(
      products.map(({ results }) => results.map((v) => v.type.shape.length)),
      [[2]],
    );
  }
});
test("random numbers of a row are those of its choice", () => {
  const g = new GraphBuilder(ops);
  const by = routing(g, "which", M, E);
  const [key, number] = [
    b.param(g, "key", { dtype: "i32", shape: [2] }),
    b.param(g, "number", { dtype: "i32", shape: [] }),
  ];
  const [rows] = mapGraph(
    [b.random(g, key, 3, [4], number)],
    new Map([[number, { kind: "rows", value: by.order, by }]]),
    g,
  );
  const all = b.random(g, key, 3, [M, 4]);
  const [found, order, expected] = interpret([(rows as Mapped).value, by.order, all], storesWith([all, by.order])) as [
    NdArray,
    NdArray,
    NdArray,
  ];
  order.data.forEach((choice, place) => {
    if (choice >= 0) assert.is(distance(entry(found, place).data, entry(expected, choice).data), 0);
  });
});

test("in a mixture inside an expert, of its choice and the outer one", () => {
  const g = new GraphBuilder(ops);
  const by = routing(g, "which", M, E);
  const [key, number, index] = [
    b.param(g, "key", { dtype: "i32", shape: [2] }),
    b.param(g, "number", { dtype: "i32", shape: [] }),
    b.param(g, "own", { dtype: "i32", shape: [K] }),
  ];
  const inner: Routing = { ...b.route(g, index, E2), groups: E2, rows: K };
  const own = b.param(g, "own number", { dtype: "i32", shape: [] });
  const count = b.add(g, b.mul(g, number, K), inner.order);
  const [body] = mapGraph(
    [b.random(g, key, 3, [4], own)],
    new Map([[own, { kind: "rows", value: count, by: inner }]]),
    g,
  ) as [Mapped];
  const choices = b.param(g, "indices", { dtype: "i32", shape: [M, K] });
  const rows = b.dispatch(g, choices, by);
  const bind = new Map<Value, Mapped>([
    [number, { kind: "rows", value: by.order, by }],
    [index, { kind: "rows", value: rows, by }],
  ]);
  const [mapped] = mapGraph([b.combine(g, body.value, inner)], bind, g) as [Mapped];
  const result = b.combine(g, mapped.value, by);
  const all = b.random(g, key, 3, [M, K, 4]);
  const stores = storesWith([result, all]);
  stores.set("indices", indices([M, K], E2));
  const [which, picked] = ["which", "indices"].map((name) => stores.get(name) as NdArray) as [NdArray, NdArray];
  const [found, expected] = interpret([result, all], stores) as [NdArray, NdArray];
  for (let m = 0; m < M; m++)
    for (let k = 0; k < K; k++) {
      const e = which.data[m] ?? -1;
      const chosen = e >= 0 && (picked.data[m * K + k] ?? -1) >= 0;
      const bits = entry(entry(expected, m), k).data;
      assert.is(distance(entry(entry(found, m), k).data, chosen ? bits : [0, 0, 0, 0]), 0, `${m} ${k}`);
    }
});

// A mixture inside an expert: each row of an outer expert is given to K of its own E2 experts.
/** `experts[index](x)` of one level, on values of the graph around it; the body sees one row. */
function routed(
  g: GraphBuilder,
  index: Value,
  groups: number,
  given: { rows: Value[]; each: Value[]; plain: Value[] },
  body: (rows: Value[], each: Value[], plain: Value[]) => Value,
): Value {
  const [size = 0] = dims(index.type);
  const by: Routing = { ...b.route(g, index, groups), groups, rows: size };
  const bind = new Map<Value, Mapped>();
  const inside = (v: Value, mapped: Mapped): Value => {
    const one = b.param(g, `row of ${v.node.id}.${v.index}`, { dtype: dtypeOf(v.type), shape: dims(v.type).slice(1) });
    bind.set(one, mapped);
    return one;
  };
  const rows = given.rows.map((v) => inside(v, { kind: "rows", value: b.dispatch(g, v, by), by }));
  const each = given.each.map((v) => inside(v, { kind: "each", value: v, over: groups }));
  const [result] = mapGraph([body(rows, each, given.plain)], bind, g) as [Mapped];
  return b.combine(g, result.value, by);
}
/** The inner mixture: sum over k of tanh(x W[e] + bias[e] + shift) * table[e, token], where a choice of none gives nothing. */
function innerMixture(
  g: GraphBuilder,
  x: Value,
  index: Value,
  token: Value,
  w: Value,
  bias: Value,
  table: Value,
  shift: Value,
): Value {
  const shared = b.broadcast(g, x, [K, D], [1]);
  const tokens = b.broadcast(g, token, [K], []);
  const out = routed(
    g,
    index,
    E2,
    { rows: [shared, tokens], each: [w, bias, table], plain: [shift] },
    ([row, t], [weight, add, rows], [s]) => {
      const y = b.tanh(g, b.add(g, b.add(g, b.matmul(g, row as Value, weight as Value), add as Value), s as Value));
      return b.mul(g, b.mul(g, y, 2), b.take(g, rows as Value, t as Value));
    },
  );
  return b.sum(g, out, [0]);
}
function nested(g: GraphBuilder): { body: Value; inner: Value[] } {
  const at = (name: string, shape: number[], dtype: "f32" | "i32" = "f32"): Value => b.param(g, name, { dtype, shape });
  const inner = [
    at("x", [D]),
    at("index", [K], "i32"),
    at("token", [], "i32"),
    at("w", [E2, D, H]),
    at("bias", [E2, H]),
    at("table", [E2, 4, H]),
    at("shift", [H]),
  ];
  const body = innerMixture(g, ...(inner as [Value, Value, Value, Value, Value, Value, Value]));
  return { body, inner };
}
/** Operands that belong to the row, to the outer expert, or to all. */
function checkNested(kinds: readonly Kind[], over: "rows" | "each"): void {
  const g = new GraphBuilder(ops);
  const { body, inner } = nested(g);
  const by = routing(g, "which", M, E);
  const given = inner.map((v, i) => bound(g, kinds[i] ?? "uniform", v, by));
  const [mapped] = mapGraph([body], new Map(inner.map((v, i) => [v, given[i] as Mapped])), g) as [Mapped];
  assert.is(mapped.kind, over);
  const operands = given.map((m) => m.value);
  const stores = storesWith([...operands, by.expert]);
  const [, chosen] = operands;
  if (chosen) stores.set(storeOf(chosen.node) ?? "", indices(dims(chosen.type), E2));
  const [experts, found, ...arrays] = interpret([by.expert, mapped.value, ...operands], stores) as [
    NdArray,
    NdArray,
    ...NdArray[],
  ];
  for (let place = 0; place < (over === "rows" ? M : E); place++) {
    const expert = over === "rows" ? (experts.data[place] ?? -1) : place;
    if (expert < 0) continue;
    const row = arrays.map((x, i) => (kinds[i] === "uniform" ? x : entry(x, kinds[i] === "each" ? expert : place)));
    const alone = new Map(inner.map((v, i) => [storeOf(v.node) ?? "", row[i] as NdArray]));
    const [expected] = interpret([body], alone) as [NdArray];
    assert.ok(distance(entry(found, place).data, expected.data) < 1e-5, `${kinds.join(", ")} at ${place}`);
    assert.ok(distance(expected.data, loop(row)) < 1e-5, `the inner mixture at ${place}`);
  }
}
const read = (a: Float64Array, i: number): number => a[i] ?? Number.NaN;
function loop(row: readonly NdArray[]): Float64Array {
  const [x, index, token, w, bias, table, shift] = row.map((a) => a.data) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const out = new Float64Array(H);
  for (const e of index.filter((i) => i >= 0)) {
    const t = read(token, 0);
    for (let h = 0; h < H; h++) {
      let y = read(bias, e * H + h) + read(shift, h);
      for (let d = 0; d < D; d++) y += read(x, d) * read(w, (e * D + d) * H + h);
      out[h] = read(out, h) + Math.tanh(y) * 2 * (t >= 0 && t < 4 ? read(table, (e * 4 + t) * H + h) : 0);
    }
  }
  return out;
}
test("a mixture inside an expert", () => {
  checkNested(["rows", "rows", "rows", "each", "each", "each", "uniform"], "rows");
  checkNested(["rows", "rows", "uniform", "each", "uniform", "uniform", "each"], "rows");
  checkNested(["uniform", "rows", "rows", "uniform", "each", "each", "rows"], "rows");
  checkNested(["each", "rows", "each", "each", "each", "each", "each"], "rows");
});
test("a mixture inside an expert that gets no rows", () => {
  const g = new GraphBuilder(ops);
  const { body, inner } = nested(g);
  const none = b.param(g, "none", { dtype: "i32", shape: [0] });
  const by: Routing = { ...b.route(g, none, E), groups: E, rows: 0 };
  const empty = (v: Value): Mapped => ({
    kind: "rows",
    value: b.param(g, `no ${v.node.id}`, { ...v.type, shape: [0, ...v.type.shape] }),
    by,
  });
  const [mapped] = mapGraph([body], new Map(inner.slice(0, 3).map((v) => [v, empty(v)])), g) as [Mapped];
  const [found] = interpret([mapped.value], storesOf([mapped.value]));
  assert.equal(found?.shape, [0, H]);
});
test("a mixture inside a stack", () =>
  checkNested(["each", "each", "each", "each", "each", "uniform", "uniform"], "each"));
test("rows of an inner mixture times a matrix of the outer expert, whatever the sizes", () => {
  for (const width of [K, D]) {
    const g = new GraphBuilder(ops);
    const p = (name: string, shape: readonly number[], dtype: "f32" | "i32" = "f32"): Value =>
      b.param(g, name, { dtype, shape });
    const [x, own, w, which] = [
      p("x", [M, width]),
      p("own", [M, K], "i32"),
      p("w", [E, width, H]),
      p("which", [M], "i32"),
    ];
    const result = routed(g, which, E, { rows: [x, own], each: [w], plain: [] }, ([x, own], each) => {
      const rows = b.broadcast(g, x as Value, [K, width], [1]);
      return routed(g, own as Value, E2, { rows: [rows], each: [], plain: each }, ([row], _, [w]) =>
        b.matmul(g, row as Value, w as Value),
      );
    });
    const chosen = b.and(g, b.ge(g, own, 0), b.lt(g, own, E2));
    const all = b.squeeze(g, b.dot(g, b.expand(g, x, 1), b.take(g, w, which)), 1);
    const plain = b.where(g, b.expand(g, chosen, 2), b.expand(g, all, 1), 0);
    const stores = storesWith([result, plain]).set("own", indices([M, K], E2));
    const [found, expected] = interpret([result, plain], stores) as [NdArray, NdArray];
    assert.ok(distance(found.data, expected.data) < 1e-5, `width ${width}: ${distance(found.data, expected.data)}`);
    assert.ok(expected.data.some((y) => y !== 0));
  }
});
test.run();
