// What holds of kernels whatever they compute: index arithmetic that folds, what the verifier refuses, barriers, and access to memory.
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cudaAccess } from "../../compiler/emit/cuda/cuda.ts";
import { earlyLoadsOf } from "../../compiler/emit/early-loads.ts";
import { number } from "../../compiler/emit/literal.ts";
import { named } from "../../compiler/emit/names.ts";
import type { ReduceName } from "../../compiler/graph/node.ts";
import { item } from "../../compiler/item.ts";
import { accessOf } from "../../compiler/kernel/access.ts";
import { KernelBuilder, plus } from "../../compiler/kernel/builder.ts";
import {
  add,
  asIndex,
  call,
  div,
  f32,
  flatten,
  knownDivisor,
  laneStride,
  less,
  load,
  max,
  min,
  mod,
  mul,
  num,
  range,
  stride,
  sub,
  unflatten,
} from "../../compiler/kernel/expr.ts";
import type { Buffer, Expr, Kernel, Var } from "../../compiler/kernel/ir.ts";
import { finishKernel, insertBarriers, statements } from "../../compiler/kernel/passes.ts";
import { lines, show } from "../../compiler/kernel/print.ts";
import { verify } from "../../compiler/kernel/verify.ts";

const test = suite("kernel-ir");
const seeded = { seed: 11, numRuns: 4000 };

const index = (name: string, lo: number, hi: number, divisor = 1): Var => ({
  e: "var",
  name,
  type: "index",
  lo,
  hi,
  divisor,
});
const vars = [index("a", 0, 3), index("b", 0, 63), index("c", 0, 240, 16), index("d", 5, 42), index("e", 0, 96, 6)];
const values = fc
  .tuple(
    ...vars.map(({ lo, hi, divisor }) => fc.integer({ min: Math.ceil(lo / divisor), max: Math.floor(hi / divisor) })),
  )
  .map((counts) => new Map(vars.map((v, i) => [v, item(counts, i) * v.divisor])));
type Values = ReadonlyMap<Var, number>;

/** An expression as it folds, and what it means. */
interface Pair {
  readonly x: Expr;
  readonly at: (values: Values) => number;
}
const whole = (n: number): Pair => ({ x: num(n), at: () => n });
const sizes = fc.constantFrom(1, 2, 3, 4, 6, 7, 8, 16, 24, 48, 64);
const { pair } = fc.letrec<{ pair: Pair }>((tie) => {
  const two = (fold: (x: Expr, y: Expr) => Expr, f: (a: number, b: number) => number) =>
    fc.tuple(tie("pair"), tie("pair")).map(([p, q]): Pair => ({ x: fold(p.x, q.x), at: (v) => f(p.at(v), q.at(v)) }));
  const by = (fold: (x: Expr, c: number) => Expr, f: (a: number, c: number) => number) =>
    fc.tuple(tie("pair"), sizes).map(([p, c]): Pair => ({ x: fold(p.x, c), at: (v) => f(p.at(v), c) }));
  return {
    pair: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.constantFrom(...vars).map((v): Pair => ({ x: v, at: (all) => all.get(v) ?? Number.NaN })),
      fc.integer({ min: 0, max: 70 }).map(whole),
      two(add, (a, b) => a + b),
      // a constant that was larger before
      fc
        .tuple(tie("pair"), fc.nat(40), fc.nat(40))
        .map(([p, m, n]): Pair => ({ x: sub(add(num(m + n), p.x), num(n)), at: (v) => p.at(v) + m })),
      two(min, Math.min),
      two(max, Math.max),
      by(
        (x, c) => mul(x, num(c)),
        (a, c) => a * c,
      ),
      by(div, (a, c) => Math.floor(a / c)),
      by(mod, (a, c) => a % c),
    ),
  };
});
const operations: Readonly<Record<string, (a: number, b: number) => number>> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => Math.floor(a / b),
  "%": (a, b) => a % b,
  min: Math.min,
  max: Math.max,
  lt: (a, b) => Number(a < b),
};
function meaning(x: Expr, values: Values): number {
  if (x.e === "num") return x.value;
  if (x.e === "var") return values.get(x) ?? Number.NaN;
  if (x.e === "load") throw new Error("an index that is loaded");
  const [a, b] = x.args.map((y) => meaning(y, values));
  return operations[x.op]?.(a ?? Number.NaN, b ?? Number.NaN) ?? Number.NaN;
}

test("the length of a block is known to be divided by what divides all blocks", () => {
  const k = new KernelBuilder("a test");
  k.for("k", num(0), num(50304), 1024, ({ n }) => assert.is(knownDivisor(n), 128));
  k.for("k", num(0), num(50257), 1024, ({ n }) => assert.is(knownDivisor(n), 1));
  k.for("k", num(0), num(4096), 1024, ({ n }) => assert.equal(n, num(1024)));
});
test("index arithmetic folds to what it says", () => {
  fc.assert(
    fc.property(pair, values, ({ x, at }, v) => assert.is(meaning(x, v), at(v))),
    seeded,
  );
});
test("an index is inside its range, and a multiple of what divides it", () => {
  fc.assert(
    fc.property(pair, pair, pair, values, (p, q, r, v) => {
      const [difference, nested] = [sub(p.x, q.x), sub(p.x, sub(q.x, r.x))];
      for (const x of [p.x, difference, nested]) {
        const [[lo, hi], n, divisor] = [range(x), meaning(x, v), knownDivisor(x)];
        assert.ok(lo <= n && n <= hi, `${n} is not in ${lo} .. ${hi}`);
        assert.ok(divisor === 0 ? n === 0 : n % divisor === 0, `${divisor} does not divide ${n}`);
      }
      assert.is(meaning(difference, v), p.at(v) - q.at(v));
      assert.is(meaning(nested, v), p.at(v) - (q.at(v) - r.at(v)));
      assert.is(meaning(less(p.x, q.x), v), Number(p.at(v) < q.at(v)));
    }),
    seeded,
  );
});
test("a stride is how far an index moves, everywhere or inside aligned groups of lanes", () => {
  const b = item(vars, 1);
  fc.assert(
    fc.property(pair, values, fc.constantFrom(2, 4, 8, 16), ({ x }, v, lanes) => {
      const at = (n: number): number => meaning(x, new Map([...v, [b, n]]));
      const [all, group] = [stride(x, b), laneStride(x, b, lanes)];
      for (let n = 0; n < 64; n++) {
        if (all !== null) assert.is(at(n), at(0) + all * n);
        const first = n - (n % lanes);
        if (group !== null) assert.is(at(n), at(first) + group * (n - first));
      }
    }),
    seeded,
  );
});
test("a sum is split by what its terms are multiples of, in any order", () => {
  const [n, j, one] = [index("n", 0, 192, 64), index("j", 0, 63), index("one", 0, 0)];
  const split = add(mul(div(add(n, j), 32), num(4096)), mod(add(n, j), 32));
  assert.equal(laneStride(split, j, 16), 1);
  assert.equal(laneStride(div(add(n, j), 32), j, 16), 0);
  assert.equal(laneStride(mod(add(n, j), 12), j, 16), null);
  assert.equal(show(div(add(mul(one, num(128)), j), 2)), "j / 2");
  const rest = mod(index("k", 0, 1024, 64), 256);
  assert.equal(show(div(add(rest, j), 256)), "0");
  assert.equal(show(mod(add(rest, j), 256)), "k % 256 + j");
});
test("constants are a sum's last term, and quotients and remainders of one index meet", () => {
  const [k, j] = [index("k", 0, 4095), index("j", 0, 15)];
  const texts = [
    [add(num(3), add(j, num(4))), "j + 7"],
    [sub(add(num(3), j), num(5)), "j - 2"],
    [sub(add(k, num(7)), add(k, num(3))), "4"],
    [sub(add(add(k, j), num(7)), k), "j + 7"],
    [div(div(k, 32), 16), "k / 512"],
    [div(add(j, num(70)), 16), "(j + 6) / 16 + 4"],
    [mod(add(j, num(64)), 16), "j"],
    [add(mul(mod(div(k, 32), 16), num(32)), mod(k, 32)), "k % 512"],
    [add(mul(div(k, 512), num(512)), add(mul(mod(div(k, 32), 16), num(32)), mod(k, 32))), "k"],
    [add(mul(div(add(k, num(3)), 4), num(4)), add(mod(add(k, num(3)), 4), num(2))), "k + 5"],
    [add(mul(div(div(k, 2), 128), num(128)), mod(div(k, 2), 128)), "k / 2"],
    [add(mul(add(div(k, 32), num(3)), num(32)), mod(k, 32)), "k + 96"],
    [add(mul(div(add(k, num(100)), 32), num(32)), mod(add(k, num(100)), 32)), "k + 100"],
    [add(mul(add(div(k, 32), num(3)), num(8)), mod(k, 8)), "(k / 32 + 3) * 8 + k % 8"],
    [add(mul(div(add(mul(k, num(64)), j), 512), num(512)), mod(add(mul(k, num(64)), j), 512)), "k * 64 + j"],
    [mul(add(add(mul(k, num(8)), j), num(2)), num(4)), "k * 32 + j * 4 + 8"],
    [div(mul(k, num(64)), 512), "k / 8"],
    [mod(mul(k, num(64)), 512), "k % 8 * 64"],
    [mod(mul(k, num(48)), 64), "k * 3 % 4 * 16"],
    [div(add(mul(k, num(64)), j), 512), "k / 8"],
    [mod(add(mul(k, num(64)), add(mul(j, num(256)), j)), 512), "(j * 4 + k) % 8 * 64 + j"],
    [sub(num(0), sub(num(0), k)), "k"],
    [sub(j, sub(k, num(3))), "j - k + 3"],
    [sub(j, sub(k, add(j, num(3)))), "j + j - k + 3"],
  ] as const;
  for (const [x, text] of texts) assert.is(show(x), text);
});
test("a block begins at a multiple of its length, so the last one before the end", () => {
  const b = new KernelBuilder("blocks");
  assert.equal(range(b.task("t", 100, 32).at), [0, 96]);
  assert.equal(range(b.task("u", 96, 32).at), [0, 64]);
});
test("an index into a shape and its number in row-major order are each other's inverse", () => {
  const [a, b, , d] = vars;
  if (!a || !b || !d) return assert.unreachable();
  assert.equal(unflatten(flatten([a, b, d], [4, 64, 43]), [4, 64, 43]), [a, b, d]);
  assert.is(flatten(unflatten(b, [2, 4, 8]), [2, 4, 8]), b);
});

/** A kernel that f writes, over x: f32[4] and y: f32[4]. */
function kernel(
  f: (k: KernelBuilder, x: ReturnType<KernelBuilder["param"]>, y: ReturnType<KernelBuilder["param"]>) => void,
): Kernel {
  const k = new KernelBuilder("a test");
  f(k, k.param("x", "f32", [4]), k.param("y", "f32", [4]));
  return k.kernel("test");
}
/** The names of loop variables in emitted text. */
const bound = (k: Kernel): string[] =>
  statements(named(k).body).flatMap((s) =>
    s.s === "par" ? [s.v.name] : s.s === "each" ? s.vs.map((v) => v.name) : [],
  );
test("loop variables have short names again in each body, but not one of a body around it, or of the same", () => {
  const twice = kernel((k, x, y) => {
    k.par(num(4), (i) => k.store(y, [i], load(x, i)));
    k.par(num(4), (i) => k.par(num(2), (j) => k.store(y, [i], load(x, j))));
  });
  assert.equal(bound(twice), ["j", "j", "j1"]);
  const [k, over] = [new KernelBuilder("a test"), { kind: "tile", role: "acc", name: "acc", shape: [4, 4] } as const];
  const vs = [k.variable("j", "index", 0, 3), k.variable("j", "index", 0, 3)];
  assert.equal(bound({ ...twice, body: [{ s: "each", over, vs, valid: [num(4), num(4)], body: [] }] }), ["j", "j1"]);
});
test("the verifier names what a kernel may not do", () => {
  const refuses = (why: RegExp, f: Parameters<typeof kernel>[0]): void => assert.throws(() => verify(kernel(f)), why);
  const outside = index("i", 0, 3);
  verify(kernel((k, x) => k.store(x, [num(3)], f32(0))));
  refuses(/4 is outside axis 0 of x/, (k, x) => k.store(x, [num(4)], f32(0)));
  refuses(/4 is outside axis 0 of y/, (k, x, y) => k.store(x, [num(0)], load(y, num(4))));
  refuses(/i is not bound/, (k, x) => k.store(x, [outside], f32(0)));
  refuses(/x has 1 axes, not 2/, (k, x) => k.store(x, [num(0), num(0)], f32(0)));
  refuses(/is no index/, (k, x, y) => k.store(x, [load(y, num(0))], f32(0)));
  refuses(/z is not declared/, (k) => k.store(new KernelBuilder("other").param("z", "f32", [4]), [num(0)], f32(0)));
  refuses(/mma wants operands/, (k) => {
    const acc = k.tile("acc", "acc", [4, 4]);
    k.mma(acc, [{ kind: "tile", role: "operand", name: "b", shape: [4, 4] }], [acc], [num(4), num(4)]);
  });
});
type Fold = (k: KernelBuilder, x: Buffer) => () => Expr;
const fold =
  (op: ReduceName, n = 4, of = (x: Buffer, j: Expr): Expr => load(x, j)): Fold =>
  (k, x) =>
  () =>
    k.fold(op, op, "f32", num(n), (j) => of(x, j));
test("two folds as one are of one extent, do not read each other, and the second's order is free", () => {
  const both = (a: Fold, b: Fold): Kernel => kernel((k, x) => void k.both(a(k, x), b(k, x)));
  verify(both(fold("sum"), fold("max")));
  assert.throws(() => verify(both(fold("sum"), fold("sum"))), /the second no sum/);
  assert.throws(() => verify(both(fold("sum"), fold("max", 3))), /two folds of one extent/);
  const reads = kernel((k, x) => {
    let sum: Expr = num(0);
    const first = (): Expr => {
      sum = fold("sum")(k, x)();
      return sum;
    };
    k.both(first, fold("max", 4, () => sum)(k, x));
  });
  assert.throws(() => verify(reads), /sum is not bound/);
});
test("barriers stand between a write of a shared tile and its use, and between its use and the next write", () => {
  const k = kernel((b, x) => {
    const t = b.tile("shared", "t", [4]);
    const use = (at: number): void => b.store(x, [num(at)], load(t, num(0)));
    use(0);
    use(1);
    b.store(t, [num(0)], num(1));
    b.store(t, [num(1)], num(2));
  });
  assert.equal(
    insertBarriers(k.body).map((s) => s.s),
    ["tile", "sync", "store", "store", "sync", "store", "sync", "store", "sync"],
  );
});
/** The statements of a finished kernel whose only loop stages what f gives of x, a round's place and its length. */
function staged(from: Expr, to: Expr, f: (k: KernelBuilder, x: Buffer, at: Expr, n: Expr) => Expr): string[] {
  const k = kernel((b, x) =>
    b.for("r", from, to, 2, ({ at, n }) => {
      const value = f(b, x, at, n);
      b.stage("p", [1, 1], [num(1), num(1)], () => value);
      b.store(x, [at], f32(0));
    }),
  );
  return statements(finishKernel(k).body).map((s) => s.s);
}
const firstOf = (_: KernelBuilder, x: Buffer): Expr => load(x, num(0));
test("what no round changes is staged once before the loop, if that has a round", () => {
  const [from, to] = [index("from", 0, 3), index("to", 0, 9)];
  for (const [a, b] of [
    [num(0), num(8)],
    [num(0), to],
    [from, add(from, num(3))],
  ] as const)
    assert.equal(staged(a, b, firstOf), ["stage", "for", "store"]);
  assert.equal(staged(from, to, firstOf), ["if", "stage", "for", "store"]);
  const within = [
    staged(num(0), to, (_, x, at) => load(x, at)),
    staged(num(0), to, (_, x, __, n) => load(x, n)),
    staged(num(0), to, (k, x, at) => k.letHere("t", load(x, at))).filter((s) => s !== "let"),
    staged(num(0), to, (k) => load(k.tile("acc", "sum", [1]), num(0))).filter((s) => s !== "tile"),
  ];
  assert.equal(within, [
    ["for", "stage", "store"],
    ["for", "stage", "store"],
    ["for", "stage", "store"],
    ["for", "stage", "store"],
  ]);
});
/** How a kernel that f writes, along j, uses x; `store` is to y. */
function accessAlong(
  f: (k: KernelBuilder, x: Expr, store: (at: Expr, value: Expr) => void, j: Expr) => void,
): ReturnType<typeof accessOf> {
  const k = kernel((b, x, y) => b.par(num(4), (j) => f(b, load(x, j), (at, value) => b.store(y, [at], value), j)));
  return accessOf(k, item(k.params, 0));
}
test("a result may stand where an operand is read at the same element, before it is written", () => {
  assert.is(
    accessAlong((_, x, store, j) => store(j, x)),
    "pointwise",
  );
  assert.is(
    accessAlong((_, x, store, j) => store(sub(num(3), j), x)),
    "read",
  );
  assert.is(
    accessAlong((k, x, store, j) => {
      store(j, f32(0));
      k.letHere("late", x);
    }),
    "read",
  );
  assert.is(
    accessAlong((k, x) => k.letHere("only", x)),
    "read",
  );
  const longer = kernel((k) => {
    const [from, to] = [k.param("from", "f32", [2, 4]), k.param("to", "f32", [3, 4])];
    k.par(num(4), (j) => k.store(to, [num(0), j], load(from, num(0), j)));
  });
  assert.is(accessOf(longer, item(longer.params, 2)), "read");
  assert.is(
    accessAlong((_, x, store, j) => {
      store(j, x);
      store(sub(num(3), j), f32(0));
    }),
    "read",
  );
});
/** How a kernel uses x, whose row `task` (or column, `turned`) it sums up, before or after it stores `extent` elements of it. `next`: it sums another one. */
function accessOfSummed(
  extent: number,
  { late = false, next = 0, turned = false } = {},
): Record<"host" | "cuda", string> {
  const b = new KernelBuilder("summed");
  const place = (row: Expr, j: Expr): Expr[] => (turned ? [j, row] : [row, j]);
  const [x, y] = [b.param("x", "f32", turned ? [4, 5] : [5, 4]), b.param("y", "f32", turned ? [4, 5] : [5, 4])];
  const { at } = b.task("r", 5);
  const sum = (): Expr => b.fold("sum", "sum", "f32", num(4), (j) => load(x, ...place(add(at, num(next)), j)));
  const before = late ? f32(1) : sum();
  b.par(num(extent), (j) => b.store(y, place(at, j), call("mul", "f32", load(x, ...place(at, j)), before)));
  if (late) b.letHere("after", sum());
  const k = b.kernel("summed");
  return { host: accessOf(k, x), cuda: cudaAccess(k, x) };
}
test("a row may stand where the row was that it is made of, if that is summed up before", () => {
  for (const turned of [false, true]) {
    assert.equal(accessOfSummed(4, { turned }), { host: "pointwise", cuda: "read" });
    assert.is(accessOfSummed(4, { turned, late: true }).host, "read");
    assert.is(accessOfSummed(4, { turned, next: 1 }).host, "read");
    assert.is(accessOfSummed(3, { turned }).host, "read");
  }
});
test("on CUDA the statement that reads the operand also writes the result, since threads do not wait for one another", () => {
  const k = kernel((b, x, y) => {
    const z = b.param("z", "f32", [8]);
    b.par(num(8), (j) => b.store(z, [j], load(x, num(0))));
    b.par(num(1), () => b.store(y, [num(0)], f32(1)));
  });
  const [x] = k.params as [Buffer];
  assert.is(accessOf(k, x), "pointwise");
  assert.is(cudaAccess(k, x), "read");
});
test("on CUDA a result does not stand where lanes that share a row read", () => {
  const k = kernel((b, x, y) => {
    const rows = b.param("rows", "f32", [4, 16]);
    b.par(num(4), (j) => {
      const sum = b.fold("sum", "sum", "f32", num(16), (i) => load(rows, j, i));
      b.store(y, [j], call("add", "f32", sum, load(x, j)));
    });
  });
  const [x] = k.params as [Buffer];
  assert.is(accessOf(k, x), "pointwise");
  assert.is(cudaAccess(k, x), "read");
});
test("what is loaded before points are made stands on nothing that they compute", () => {
  const k = kernel((b, x, y) => {
    const acc = b.tile("acc", "acc", [4, 4]);
    b.each(acc, [num(4), num(4)], (_, j) => {
      const to = b.letHere("to", asIndex(load(y, j)));
      b.store(acc, [num(0), j], load(x, to));
    });
  });
  const each = k.body.find((s) => s.s === "each");
  const early = each && earlyLoadsOf(each, item(each.vs, 1), 4);
  assert.equal(
    early?.columnLoads.map((s) => show(s.value)),
    ["y[j]"],
  );
  assert.match(early?.body.flatMap(lines).join("\n") ?? "", /acc\[0, j\] = x\[to\]/);
});
test("a literal is the shortest that is the same f32", () => {
  assert.equal(
    [1 - 0.9, 2 * Math.PI, 3, 2.9999999999, 1e-8, -0, 1e22].map((x) => number(x, true)),
    ["0.1f", "6.2831853f", "3.0f", "3.0f", "1e-8f", "-0.0f", "1e+22f"],
  );
  const finite = fc.double({ min: -3e38, max: 3e38, noNaN: true });
  const near = fc.float({ noNaN: true, noDefaultInfinity: true }).map((x) => x * (1 + 2 ** -24));
  fc.assert(
    fc.property(fc.oneof(finite, near), (x) =>
      assert.is(Math.fround(Number.parseFloat(number(x, true))), Math.fround(x)),
    ),
    seeded,
  );
});
test("blocks of an axis: the last may not be full", () => {
  const k = new KernelBuilder("a test");
  const { n } = k.task("t", 10, 4);
  assert.is(n.e, "var");
  assert.equal(k.task("whole", 8, 4).n, num(4));
  assert.equal(range(plus(k.task("one", 3), num(2))), [2, 4]);
});
test.run();
