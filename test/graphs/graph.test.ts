// Interning, printing, verifying, walking.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { gradients } from "../../compiler/gradients/differentiate.ts";
import { roundBf16 } from "../../compiler/graph/array.ts";
import { GraphBuilder, TypeMismatch } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import { mapGraph } from "../../compiler/graph/map.ts";
import { type Graph, type Node, type Result, unstackedStore, type Value } from "../../compiler/graph/node.ts";
import { printGraph } from "../../compiler/graph/print.ts";
import { verifyGraph } from "../../compiler/graph/verify.ts";
import { rebuild, topological } from "../../compiler/graph/walk.ts";
import type { OpAttrs, OpName } from "../../compiler/ops/attrs.ts";
import * as b from "../../compiler/ops/build.ts";
import { indexBounds } from "../../compiler/ops/index-range.ts";
import { ops } from "../../compiler/ops/list.ts";
import { add, atom, div, mul, type Size, sizeOf, spreadAtom } from "../../compiler/types/size.ts";
import { showType, type Type, type } from "../../compiler/types/type.ts";

const test = suite("graph");
const f32 = (...shape: Size[]): Type => type("f32", shape);
const i32 = (...shape: Size[]): Type => type("i32", shape);
const start = (): { g: GraphBuilder; x: Value; w: Value } => {
  const g = new GraphBuilder(ops);
  return { g, x: b.param(g, "x", f32(3, 5)), w: b.param(g, "w", f32(5, 2)) };
};

test("equal is identical", () => {
  const { g, x, w } = start();
  assert.is(b.matmul(g, x, w), b.matmul(g, x, w));
  assert.is(b.add(g, x, 1), b.add(g, x, 1));
  assert.is.not(b.sub(g, x, 1), b.sub(g, b.exp(g, x), 1));
  assert.is.not(b.detach(g, x), b.make1(g, "after", [x], {}));
});
test("numbers that print alike are told apart", () => {
  const { g } = start();
  const values = [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  const nodes = new Set(values.map((v) => b.constant(g, v, "f32")));
  assert.is(nodes.size, values.length);
  assert.is(b.constant(g, Number.NaN, "f32"), b.constant(g, Number.NaN, "f32"));
  assert.is.not(b.constant(g, 1, "f32"), b.constant(g, 1, "f64"));
});
test("sizes of one name but of two declarations are told apart", () => {
  const { g } = start();
  const [n, other] = [sizeOf(atom("N")), sizeOf(atom("N"))];
  assert.is(b.param(g, "x", f32(n)), b.param(g, "x", f32(n)));
  assert.is.not(b.param(g, "x", f32(n)), b.param(g, "x", f32(other)));
});
test("sizes of one name are told apart by factors, divisors and powers", () => {
  const { g } = start();
  const n = sizeOf(atom("N"));
  const sizes = [n, mul(n, 2), div(n, 2), div(n, 3), mul(n, n), add(n, 1)];
  assert.is(new Set(sizes.map((size) => b.param(g, "x", f32(size)))).size, sizes.length);
});

const [N, D, H, E, K] = ["N", "D", "H", "E", "K"].map((name) => sizeOf(atom(name))) as [Size, Size, Size, Size, Size];
const spread = spreadAtom("S");
const S = sizeOf(spread);
const whole = sizeOf(spread.product as NonNullable<typeof spread.product>);
function inferred<O extends OpName>(name: O, args: readonly Type[], attrs: OpAttrs[O]): string {
  const op = ops.find((o) => o.name === name);
  return op ? op.infer(args, attrs).map(showType).join(", ") : "no such op";
}
test("types on symbolic sizes, a spread being one axis", () => {
  assert.is(inferred("dot", [f32(S, N, D), f32(S, D, H)], {}), "f32[...S, N, H]");
  assert.is(inferred("reshape", [f32(S, D)], { shape: [whole, D] }), "f32[S, D]");
  assert.is(inferred("reshape", [f32(whole, D)], { shape: [S, D] }), "f32[...S, D]");
  assert.is(
    inferred("concat", [f32(N, D), f32(N, H)], { axis: 1 }),
    inferred("param", [], { store: "", type: f32(N, add(D, H)) }),
  );
  assert.is(inferred("broadcast", [f32(D)], { shape: [S, D], axes: [1] }), "f32[...S, D]");
  assert.is(inferred("slice", [f32(N, D)], { axis: 1, start: 0, size: H }), "f32[N, H]");
  assert.is(inferred("top_k", [f32(S, E)], { k: K }), "f32[...S, K], i32[...S, K]");
  assert.is(inferred("gather", [f32(E, D), i32(S, K)], { axis: 0, batch: 0 }), "f32[...S, K, D]");
  assert.is(
    inferred("ragged_dot", [f32(mul(N, K), D), f32(E, D, H), i32(add(E, 1))], { unit: 1 }),
    inferred("param", [], { store: "", type: f32(mul(N, K), H) }),
  );
  assert.is(inferred("reduce", [type("float", [S, D])], { fn: "sum", axes: [0] }), "float[D]");
});
function says(text: RegExp, make: () => unknown): void {
  assert.throws(make, (e: unknown) => e instanceof TypeMismatch && text.test(e.message));
}
test("what does not fit is said with both types", () => {
  says(/add needs equal shapes, not f32\[N\] and f32\[D\]/, () => inferred("binary", [f32(N), f32(D)], { fn: "add" }));
  says(/f32\[N, D\].*f32\[H, N\]/, () => inferred("dot", [f32(N, D), f32(H, N)], {}));
  says(/exp has no meaning for i32\[N\]/, () => inferred("unary", [type("i32", [N])], { fn: "exp" }));
  says(/as many elements as \[N, H\]/, () => inferred("reshape", [f32(N, D)], { shape: [N, H] }));
  says(/places 2 to 6 are not all on axis 0 of f32\[5\]/, () =>
    inferred("slice", [f32(5)], { axis: 0, start: 2, size: 4 }),
  );
  says(/does not stretch to \[4, 5\]/, () => b.broadcastTo(start().g, start().x, [4, 5]));
});

const output = (value: Value, name = "0", role: Result["role"] = "output"): Result => ({ role, name, value });
test("a graph as text", () => {
  const { g, x, w } = start();
  const [values, index] = b.topK(g, b.matmul(g, x, w), 1);
  const graph: Graph = {
    name: "best",
    results: [output(b.add(g, values, 0.5)), output(index, "1"), output(b.sum(g, values), "loss", "loss")],
  };
  const text = `graph best {
  %0 = param x : f32[3, 5]
  %1 = param w : f32[5, 2]
  %2 = dot(%0, %1) : f32[3, 2]
  %3 = top_k(%2) k=1 : f32[3, 1], i32[3, 1]
  %4 = const 0.5 : f32
  %5 = broadcast(%4) axes=[] : f32[3, 1]
  %6 = add(%3.0, %5) : f32[3, 1]
  %7 = reduce_sum(%3.0) axes=[0, 1] : f32
  output 0 = %6
  output 1 = %3.1
  loss loss = %7
}
`;
  assert.is(printGraph(graph), text);
});

const graph = (...results: Result[]): Graph => ({ name: "f", results });
test("the verifier finds what is wrong", () => {
  const { g, x, w } = start();
  const good = b.matmul(g, x, w);
  verifyGraph(graph(output(good)), "nothing");
  const forged = (change: Partial<Node>, t = good.type): Value => {
    const results: Value[] = [];
    const node: Node = { ...good.node, results, ...change };
    results.push({ node, index: 0, type: t });
    return results[0] as Value;
  };
  const fails = (text: RegExp, ...results: Result[]): void => {
    assert.throws(
      () => verifyGraph(graph(...results), "breakage"),
      (e: Error) => /after breakage, graph f/.test(e.message) && text.test(e.message),
    );
  };
  fails(/result 0 of dot is f32\[3, 3\], its record infers f32\[3, 2\]/, output(forged({}, f32(3, 3))));
  fails(/not a result of its node/, output(forged({ args: [{ ...x }, w] })));
  fails(/given twice/, output(good), output(x));
  fails(/loss l is f32\[3, 2\], not a number/, output(good, "l", "loss"));
  fails(/store x is f32\[3, 5\], set to f32\[3, 2\]/, output(good, "x", "store"), output(x));
  fails(/store x is read as two types/, output(x), output(b.param(g, "x", f32(4)), "1"));
  fails(/not in numbers/, output(b.param(g, "y", f32(N))));
  fails(/param has the id of another node/, output(good), output(start().x, "1"));
});

test("what a backward makes, of layers that it makes again too, has the place of what it is the gradient of", () => {
  const g = new GraphBuilder(ops);
  const source = { name: "layers.moe", text: "" };
  const at = (start: number, value: () => Value): Value => {
    g.span = { source, start, end: start + 1 };
    return value();
  };
  const x = at(0, () => b.param(g, "x", f32(3)));
  const bent = at(1, () => b.sin(g, x));
  const y = at(2, () => b.exp(g, bent));
  const again = at(3, () => b.sin(g, y));
  const z = at(4, () => b.sum(g, again, [0]));
  const [dx] = gradients(g, [z], [x], undefined, [[x], [y]]);
  assert.is(g.span, null);
  const forward = new Set(topological([z]));
  const found = topological([dx as Value]).filter((node) => !forward.has(node));
  const starts = (op: string): number[] =>
    found.flatMap(({ op: { name }, attrs, span }) => {
      const fn = (attrs as { readonly fn?: string }).fn ?? name;
      return fn === op ? [span?.start ?? -1] : [];
    });
  assert.equal([starts("sin"), starts("exp"), starts("cos")], [[1], [2], [3, 1]]);
});
test("long chains neither recurse nor take long", () => {
  const { g, x } = start();
  let y = x;
  for (let i = 0; i < 20_000; i++) y = b.add(g, y, x);
  assert.is(topological([y]).length, 20_001);
  assert.is(rebuild(g, [y], () => null)[0], y);
});
test("a body for a stack is made without a walk over what was there before it", () => {
  const { g, x, w } = start();
  const before = b.sum(g, b.matmul(g, x, w));
  const looked = {
    ...before,
    node: {
      ...before.node,
      get args(): never {
        throw new Error("walked");
      },
    },
  };
  const leaf = b.param(g, "leaf", f32(2));
  const all = b.param(g, "all", f32(4, 2));
  const [made] = mapGraph([b.mul(g, leaf, looked)], new Map([[leaf, { kind: "each", value: all, over: 4 }]]), g);
  assert.is(made?.kind, "each");
  assert.is(showType(made?.value.type ?? f32()), "f32[4, 2]");
});
test("the interpreter rounds to what each dtype holds", () => {
  const { g } = start();
  const tenth = b.constant(g, 0.1, "f32");
  const [f, wide, brain] = interpret(
    [b.add(g, tenth, tenth), b.cast(g, tenth, "f64"), b.cast(g, tenth, "bf16")],
    new Map(),
  );
  assert.is(f?.data[0], Math.fround(Math.fround(0.1) * 2));
  assert.is(wide?.data[0], Math.fround(0.1));
  assert.is(brain?.data[0], roundBf16(0.1));
  assert.is(roundBf16(3.3895313892515355e38), 3.3895313892515355e38);
  assert.is(roundBf16(3.4e38), Number.POSITIVE_INFINITY);
});
test("what an input chooses among: the shortest axis that is looked up, also through views, and of inputs only", () => {
  const g = new GraphBuilder(ops);
  const [tokens, kept] = [b.param(g, "train/tokens", i32(2, 3)), b.param(g, "kept", i32(2))];
  const last = b.param(g, "train/last", i32(2));
  const rows = (n: number, index: Value): Value => b.take(g, b.param(g, `table ${n}`, f32(n, 4)), index);
  const values = [rows(9, tokens), rows(7, b.reshape(g, tokens, [6])), rows(5, b.add(g, tokens, 1)), rows(3, kept)];
  // where rows are data, one past the end is how they are shifted
  values.push(b.take(g, b.exp(g, b.param(g, "table 2", f32(2, 4))), b.add(g, tokens, 1)));
  // what goes nowhere is left out of a sum, and lost to a cache
  values.push(
    b.scatter(g, b.param(g, "ones", f32(2)), last, 3),
    b.put(g, b.param(g, "cache", f32(6)), last, b.param(g, "ones", f32(2))),
  );
  values.push(rows(8, b.concat(g, [b.iota(g, 2), last], 0)), rows(6, b.concat(g, [kept, last], 0)));
  const stores = [
    unstackedStore("train/tokens", "input", tokens.type),
    unstackedStore("kept", "state", kept.type),
    unstackedStore("train/last", "input", last.type),
  ];
  const results = values.map((value, i): Result => ({ role: "output", name: `${i}`, value }));
  assert.equal(indexBounds({ stores, graphs: [{ name: "train", results }] }), { "train/tokens": 4, "train/last": 6 });
});
test("a store that is missing, or of another type, is said", () => {
  const { x } = start();
  assert.throws(() => interpret([x], new Map()), /nothing is given for x/);
  assert.throws(
    () => interpret([x], new Map([["x", { dtype: "f32" as const, shape: [2], data: new Float64Array(2) }]])),
    /x is f32\[2\], the program wants f32\[3, 5\]/,
  );
});
test("the interpreter says what is too large for it", () => {
  const g = new GraphBuilder(ops);
  const large = b.iota(g, 2 ** 40);
  assert.throws(
    () => interpret([large], new Map()),
    (e: unknown) => e instanceof Problem && /iota gives i32\[1099511627776\]: too much memory/.test(e.message),
  );
});

test.run();
