// Collectives that are one message: which ones, and where their results may stand.
import { fail } from "node:assert";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fuseCollectives } from "../../compiler/plan/fuse-collectives.ts";
import type { CollectiveOp } from "../../compiler/plan/plan.ts";
import type { VirtualArg, VirtualBuffer, VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { buffer, launch, pointwise, read, write } from "../sequences.ts";

const test = suite("fuse-collectives");
const collective = (more: Omit<CollectiveOp, "dtype" | "workers">, args: readonly VirtualArg[]): VirtualLaunch => ({
  ...launch("none", "", args),
  kernel: { dtype: "f32", workers: 2, ...more },
});
const sum = (from: VirtualBuffer, to: VirtualBuffer): VirtualLaunch =>
  collective({ name: "all_reduce", fn: "sum" }, [pointwise(from), write(to)]);
const four = (name: string): VirtualBuffer => buffer(name, [4]);
/** What each launch reads and writes when collectives are one message, and in which place of what it reads a sum may stand. */
const fused = (...launches: VirtualLaunch[]): string[] =>
  fuseCollectives({ entry: "e", launches, assigns: [], results: [] }).launches.map(({ args }) =>
    args.map((a) => a.buffer.name + (a.aliasedOutput ? `=${a.aliasedOutput.name}` : "")).join(" "),
  );
test("sums are one message, but for one that needs another's result; and exchanges by the same offsets", () => {
  const [x, y, z, a, b, c] = [four("x"), four("y"), four("z"), four("a"), four("b"), four("c")];
  const next = launch("next", "", [read(a), write(z)]);
  assert.equal(fused(sum(x, a), next, sum(y, b), sum(z, c)), ["x=a y=b a b", "a z", "z c"]);
  const by = ["one", "other"].map((name) => buffer(name, [2, 3], { dtype: "i32" }));
  const exchange = (from: VirtualBuffer, n: number, to: VirtualBuffer): VirtualLaunch =>
    collective({ name: "exchange", back: false, rows: 4, length: 4 }, [
      read(from),
      read(by[n] ?? fail("it exists")),
      write(to),
    ]);
  assert.equal(fused(exchange(x, 0, a), exchange(y, 1, b), exchange(z, 1, c)), ["x one a", "y z other b c"]);
});
test.run();
