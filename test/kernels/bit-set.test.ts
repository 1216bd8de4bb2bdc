// Sets of small numbers, and orders of long chains, which regions and plans are made with.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { isConstantAlong } from "../../compiler/lower/constant-axis.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { BitSet } from "../../compiler/regions/bit-set.ts";
import { topologicalOrder } from "../../compiler/topological-order.ts";
import { type } from "../../compiler/types/type.ts";

const test = suite("bit set");
const most = 2100;
/** Multiples of `n`, as a set of bits and as it is defined. */
function multiples(n: number): [BitSet, Set<number>] {
  const [bits, plain] = [new BitSet(), new Set<number>()];
  for (let i = 0; i < most; i += n) {
    bits.add(i);
    plain.add(i);
  }
  return [bits, plain];
}
const members = (set: BitSet): number[] => Array.from({ length: most }, (_, i) => i).filter((i) => set.has(i));

test("a union has the members of both, says whether there are new ones, and leaves the other as it is", () => {
  for (const [m, n] of [
    [3, 5],
    [4, 2],
    [2, 4],
    [1500, 1],
    [1, 1500],
  ] as const) {
    const [[a, x], [c, y]] = [multiples(m), multiples(n)];
    assert.is(
      a.addAll(c),
      [...y].some((i) => !x.has(i)),
      `${m} ${n}`,
    );
    assert.equal(
      members(a),
      members(c)
        .concat([...x].filter((i) => !y.has(i)))
        .toSorted((i, j) => i - j),
    );
    assert.not.ok(a.addAll(c));
    a.add(1);
    assert.equal(members(c), [...y]);
  }
  const [some, more] = [new BitSet(), new BitSet()];
  for (const n of [0, 2000]) some.add(n);
  for (const n of [31, 2000]) more.add(n);
  assert.ok(some.addAll(more) && some.has(31)); // in the first block alone
  const empty = new BitSet();
  assert.not.ok(empty.addAll(new BitSet()) || empty.has(31));
});
test("an order has each item after what it needs, near the given order, whatever the length of a chain", () => {
  const needs = new Map([
    [0, [3, 1]],
    [3, [2]],
  ]);
  assert.equal(
    topologicalOrder([0, 1, 2, 3], (i) => needs.get(i) ?? []),
    [2, 3, 1, 0],
  );
  const chain = topologicalOrder([0], (i) => (i < 1e5 ? [i + 1] : []));
  assert.equal([chain.length, chain[0], chain.at(-1)], [100_001, 100_000, 0]);
});
test("a sum of thousands is constant along an axis if each of its terms is", () => {
  const g = new GraphBuilder(ops);
  const along = (last: number[]): boolean => {
    let sum = b.broadcast(g, b.param(g, `x${last.join()}`, type("f32", last)), [8, 4], [...last.keys()]);
    const terms = Array.from({ length: 5000 }, (_, i) =>
      b.broadcast(g, b.param(g, `y${i}`, type("f32", [8])), [8, 4], [0]),
    );
    for (const term of terms) sum = b.add(g, sum, term);
    const isConstant = isConstantAlong(sum, 1) && !isConstantAlong(sum, 0);
    assert.ok(terms.every((term) => isConstantAlong(term, 1))); // also those of a sum that is not
    return isConstant;
  };
  assert.equal([along([8]), along([8, 4])], [true, false]);
});
test.run();
