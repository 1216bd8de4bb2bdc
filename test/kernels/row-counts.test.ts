// How many rows products are known to have, so that only their register tiles are compiled.
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { countsOf } from "../../compiler/emit/host/row-counts.ts";
import { KernelBuilder } from "../../compiler/kernel/builder.ts";
import { add, num } from "../../compiler/kernel/expr.ts";
import type { Expr } from "../../compiler/kernel/ir.ts";

const test = suite("row-counts");
const sorted = (x: readonly number[] | null): readonly number[] | null => x && x.toSorted((a, b) => a - b);

test("the lengths of blocks, and of blocks in them, are those that a loop has", () => {
  const size = fc.integer({ min: 1, max: 90 });
  fc.assert(
    fc.property(size, size, size, (whole, outer, inner) => {
      const k = new KernelBuilder("");
      const rows = k.task("mc", whole, outer);
      let n: Expr = num(0);
      k.for("m", rows.at, add(rows.at, rows.n), inner, (block) => {
        n = block.n;
      });
      const found = sorted(countsOf(n, k.kernel("k")));
      const want = new Set<number>();
      for (let at = 0; at < whole; at += outer) {
        const end = Math.min(at + outer, whole);
        for (let m = at; m < end; m += inner) want.add(Math.min(inner, end - m));
      }
      assert.equal(found, sorted([...want]));
    }),
    { seed: 5, numRuns: 500 },
  );
});
test("blocks of a range that is only known when it runs", () => {
  const k = new KernelBuilder("");
  const end = k.variable("end", "index", 0, 96, 12);
  const lengths: (readonly number[] | null)[] = [];
  const blocks: Expr[] = [];
  k.for("m", num(0), end, 24, ({ n }) => blocks.push(n));
  k.for("m", num(0), k.variable("any", "index", 0, 96), 24, ({ n }) => blocks.push(n));
  const kernel = k.kernel("k");
  for (const n of blocks) lengths.push(sorted(countsOf(n, kernel)));
  assert.equal(lengths, [[12, 24], null]);
});
test.run();
