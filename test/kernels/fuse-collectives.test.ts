// Collectives that are one message: which ones, and where their results may stand.
import { fail } from "node:assert";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fuseCollectives } from "../../compiler/plan/fuse-collectives.ts";
import type { CollectiveOp } from "../../compiler/plan/plan.ts";
import type { VirtualArg, VirtualBuffer, VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { buffer, launch, pointwise, read, write } from "../sequences.ts";

const test = suite("fuse-collectives");
const collective = (
  more: Pick<CollectiveOp, "name"> & Partial<CollectiveOp>,
  args: readonly VirtualArg[],
): VirtualLaunch => ({
  ...launch("none", "", args),
  flops: 3,
  bytes: 5,
  kernel: { dtype: "f32", workers: 2, ...more },
});
const sum = (from: VirtualBuffer, to: VirtualBuffer): VirtualLaunch =>
  collective({ name: "all_reduce", fn: "sum" }, [pointwise(from), write(to)]);
const four = (name: string): VirtualBuffer => buffer(name, [4]);
const made = (launches: readonly VirtualLaunch[]): readonly VirtualLaunch[] =>
  fuseCollectives({ entry: "e", launches, assigns: [], results: [] }).launches;
/** What each launch reads and writes when collectives are one message, and in which place of what it reads a sum may stand. */
const fused = (...launches: VirtualLaunch[]): string[] =>
  made(launches).map(({ args }) =>
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
/** How many values each message has, of sums of so many numbers. */
const operands = (...lengths: readonly number[]): number[] =>
  made(lengths.map((n, i) => sum(buffer(`x${i}`, [n]), buffer(`y${i}`, [n])))).map(({ args }) => args.length / 2);
test("a message has one large value at most, and 2 MiB of small ones", () => {
  const [small, large] = [2 ** 16, 2 ** 16 + 16]; // 256 KiB, and more
  assert.equal(operands(...Array<number>(9).fill(small)), [8, 1]);
  assert.equal(operands(large, large), [1, 1]);
  assert.equal(operands(small, large, large), [2, 1]);
});
/** The operands and results, FLOPs and bytes of each message, of three values of different dtypes. */
const ofEachDtype = (name: "all_gather" | "all_reduce"): (readonly [number, number, number])[] => {
  const each = (["f32", "i32", "bf16"] as const).map((dtype, i) =>
    collective({ name, dtype }, [read(buffer(`x${i}`, [4], { dtype })), write(buffer(`y${i}`, [4], { dtype }))]),
  );
  return made(each).map(({ args, flops, bytes }) => [args.length, flops, bytes]);
};
test("numbers of any dtype are moved together, and summed with those of their own; the work of all is counted", () => {
  assert.equal(ofEachDtype("all_gather"), [[6, 9, 15]]);
  assert.equal(ofEachDtype("all_reduce").length, 3);
});
test.run();
