// The normal form of sizes against arithmetic on random whole numbers.
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type Atom,
  add,
  atom,
  div,
  equal,
  isSpread,
  mul,
  product,
  type Size,
  show,
  sizeOf,
  spreadAtom,
  sub,
  substitute,
} from "../../compiler/types/size.ts";

const test = suite("sizes");
const atoms = ["A", "B", "C"].map(atom);
type Tree =
  | number
  | { readonly atom: number }
  | { readonly op: "add" | "sub" | "mul"; readonly left: Tree; readonly right: Tree };
const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: "small" },
    fc.integer({ min: -5, max: 9 }),
    fc.record({ atom: fc.nat(2) }),
    fc.record({
      op: fc.constantFrom("add" as const, "sub" as const, "mul" as const),
      left: tie("tree"),
      right: tie("tree"),
    }),
  ),
}));
const ops = { add, sub, mul };
const atomAt = (i: number): Atom => atoms[i] ?? atom("?");
function size(t: Tree): Size {
  if (typeof t === "number") return t;
  return "atom" in t ? sizeOf(atomAt(t.atom)) : ops[t.op](size(t.left), size(t.right));
}
function value(t: Tree, at: readonly number[]): number {
  if (typeof t === "number") return t;
  if ("atom" in t) return at[t.atom] ?? Number.NaN;
  const [x, y] = [value(t.left, at), value(t.right, at)];
  return t.op === "add" ? x + y : t.op === "sub" ? x - y : x * y;
}
const numbers = fc.tuple(
  fc.integer({ min: 1, max: 9 }),
  fc.integer({ min: 1, max: 9 }),
  fc.integer({ min: 1, max: 9 }),
);
const assigned = (s: Size, at: readonly number[]): Size => substitute(s, new Map(atoms.map((a, i) => [a, at[i] ?? 0])));
const seeded = { seed: 7, numRuns: 400 };

test("a size means what its expression means, for all numbers", () => {
  fc.assert(
    fc.property(tree, numbers, (t, at) => assert.is(assigned(size(t), at), value(t, at))),
    seeded,
  );
});
test("equal expressions have one form, and print it", () => {
  fc.assert(
    fc.property(tree, tree, tree, (a, b, c) => {
      const [x, y, z] = [size(a), size(b), size(c)];
      assert.ok(equal(mul(x, add(y, z)), add(mul(z, x), mul(y, x))));
      assert.is(show(mul(x, add(y, z))), show(add(mul(z, x), mul(y, x))));
      assert.ok(equal(sub(x, x), 0));
      assert.ok([mul(x, 0), sub(x, x)].every((zero) => Object.is(zero, 0)));
    }),
    seeded,
  );
});
test("different expressions are equal only where they are the same polynomial", () => {
  fc.assert(
    fc.property(tree, tree, fc.array(numbers, { minLength: 12, maxLength: 12 }), (a, b, many) => {
      if (equal(size(a), size(b))) for (const at of many) assert.is(value(a, at), value(b, at));
    }),
    seeded,
  );
});
test("division by a product is exact and cancels", () => {
  fc.assert(
    fc.property(tree, fc.nat(2), fc.integer({ min: 1, max: 6 }), (t, i, n) => {
      const by = mul(sizeOf(atomAt(i)), n);
      assert.ok(equal(mul(div(size(t), by), by), size(t)));
      assert.ok(equal(div(mul(size(t), by), by), size(t)));
    }),
    seeded,
  );
});
test("division by a sum is a size of its own, the same for the same sides", () => {
  const [a, b] = [sizeOf(atomAt(0)), sizeOf(atomAt(1))];
  assert.ok(equal(div(a, add(a, b)), div(a, add(b, a))));
  assert.not.ok(equal(div(a, add(a, b)), div(b, add(a, b))));
  assert.is(div(add(a, b), add(b, a)), 1);
  const other = sizeOf(atom("A"));
  assert.not.ok(equal(div(a, add(a, 1)), div(other, add(other, 1))), "two atoms of one name are two");
});
test("a spread is one axis, and its product in products", () => {
  const s = spreadAtom("S");
  assert.ok(isSpread(sizeOf(s)));
  assert.is(show(sizeOf(s)), "...S");
  const whole = sizeOf(s.product ?? s);
  assert.ok(equal(product([sizeOf(s), 3]), mul(whole, 3)));
  assert.not.ok(equal(sizeOf(s), whole));
});
const shown = (id: number): string => {
  const [a, b] = ["A", "B"].map((name, i) => sizeOf({ id: id + i, name, product: null }));
  return a && b ? show(add(a, b)) : "";
};
test("sizes are shown in one order, whatever was made before their names", () => {
  for (const id of [8, 9, 98, 99, 999, 9999]) assert.is(shown(id), shown(20), String(id));
});

test.run();
