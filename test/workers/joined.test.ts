// What workers do together in small pieces, as one step of the plan.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fuseCollectives } from "../../compiler/plan/fuse-collectives.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import { printPlan } from "../../compiler/plan/print.ts";
import { isKernel, type Sequence, type VirtualBuffer, type VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { buffer, launch, pointwise, read, write } from "../sequences.ts";

const test = suite("joined");

const whole = (name: string, shape: readonly number[] = [16]): VirtualBuffer => buffer(name, shape);
const makes = (to: VirtualBuffer, ...from: readonly VirtualBuffer[]): VirtualLaunch =>
  launch(`make_${to.name}`, "", [...from.map(read), write(to)]);
const sums = (from: VirtualBuffer, to: VirtualBuffer, fn: "sum" | "max" = "sum"): VirtualLaunch => ({
  ...makes(to),
  kernel: { name: "all_reduce", dtype: "f32", fn, workers: 2 },
  args: [pointwise(from), write(to)],
  bytes: 100,
});
const sends = (from: VirtualBuffer, offsets: VirtualBuffer, to: VirtualBuffer): VirtualLaunch => ({
  ...makes(to),
  kernel: { name: "exchange", dtype: "f32", workers: 2, rows: 16, length: 16 },
  args: [read(from), read(offsets), write(to)],
});
const sequence = (launches: readonly VirtualLaunch[], results: readonly VirtualBuffer[]): Sequence => ({
  entry: "e",
  launches,
  assigns: [],
  results: results.map((of) => ({ role: "output", name: of.name, buffer: of })),
});
const shown = (s: Sequence): string[] =>
  s.launches.map(({ kernel, args }) => `${kernel.name} ${args.map((a) => a.buffer.name).join(" ")}`);

test("sums that need nothing of one another are one, after all that they need and before all that needs them", () => {
  const [a, b, c, d] = [whole("a"), whole("b"), whole("c"), whole("d")];
  const [e, f, g, h] = [whole("e"), whole("f"), whole("g"), whole("h")];
  const given = sequence(
    [makes(a), sums(a, b), makes(c, b), makes(d), sums(d, e), makes(f, e), sums(f, g), sums(d, h, "max")],
    [c, g, h],
  );
  assert.equal(shown(fuseCollectives(given)), [
    "make_a a",
    "make_d d",
    "all_reduce a d b e",
    "make_c b c",
    "make_f e f",
    "all_reduce f g",
    "all_reduce d h",
  ]);
  assert.is(fuseCollectives(given).launches[2]?.bytes, 200);
  const alone = sequence([makes(a), sums(a, b)], [b]);
  assert.is(fuseCollectives(alone), alone);
});
test("large operands stay two, and small ones are joined to one of them; no more wait than a message's worth", () => {
  const [large, small] = [[65537], [65536]];
  const launches = [large, small, large].flatMap((shape, i) => {
    const [x, y] = [whole(`x${i}`, shape), whole(`y${i}`, shape)];
    return [makes(x), sums(x, y)];
  });
  const steps = shown(fuseCollectives(sequence(launches, []))).filter((step) => step.startsWith("all"));
  assert.equal(steps, ["all_reduce x0 x1 y0 y1", "all_reduce x2 y2"]);
  const many = Array.from({ length: 9 }, (_, i) => sums(whole(`x${i}`, small), whole(`y${i}`, small)));
  const parts = fuseCollectives(
    sequence(
      many.flatMap((s) => [makes((s.args[0] as { buffer: VirtualBuffer }).buffer), s]),
      [],
    ),
  );
  assert.equal(
    parts.launches.map(({ args }) => args.length).filter((n) => n > 1),
    [16, 2],
  );
});
/** The sums of operands of these sizes, each made before it is summed. */
function sumsOf(sizes: readonly number[]): string[] {
  const launches = sizes.flatMap((size, i) => {
    const [x, y] = [whole(`x${i}`, [size]), whole(`y${i}`, [size])];
    return [makes(x), sums(x, y)];
  });
  return shown(fuseCollectives(sequence(launches, []))).filter((step) => step.startsWith("all"));
}
test("a large operand is no part of what small ones may wait for; what is joined last is joined on", () => {
  const huge = 2 ** 20;
  assert.equal(sumsOf([huge, 1]), ["all_reduce x0 x1 y0 y1"]);
  assert.equal(sumsOf([1, huge, 1, huge]), ["all_reduce x0 x1 x2 y0 y1 y2", "all_reduce x3 y3"]);
  assert.equal(sumsOf([1, huge, huge, 1]), ["all_reduce x0 x1 y0 y1", "all_reduce x2 x3 y2 y3"]);
});
test("of two kinds, each of which needs a result of the other, one is joined", () => {
  const [a, b, c, d] = [whole("a"), whole("b"), whole("c"), whole("d")];
  const [p, q, r, s] = [whole("p"), whole("q"), whole("r"), whole("s")];
  const given = [makes(a), makes(b), sums(a, p), sums(b, q, "max"), makes(c, q), sums(c, r), makes(d, p)];
  const steps = shown(fuseCollectives(sequence([...given, sums(d, s, "max")], [r, s])));
  const joined = ["all_reduce b q", "all_reduce a c p r", "all_reduce d s"];
  assert.equal(
    steps.filter((step) => step.startsWith("all")),
    joined,
  );
});
const inHalves = (of: VirtualLaunch): VirtualLaunch =>
  isKernel(of.kernel) ? of : { ...of, kernel: { ...of.kernel, dtype: "bf16" } };
test("sums of several dtypes are not one, exchanges are; work adds up", () => {
  const [a, b, offsets, p, q] = ["a", "b", "offsets", "p", "q"].map((name) => whole(name)) as [
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
    VirtualBuffer,
  ];
  const both = (one: VirtualLaunch, other: VirtualLaunch): readonly VirtualLaunch[] =>
    fuseCollectives(
      sequence([makes(a), makes(b), makes(offsets), { ...one, flops: 3 }, { ...inHalves(other), flops: 4 }], [p, q]),
    ).launches.slice(3);
  assert.is(both(sums(a, p), sums(b, q)).length, 2);
  assert.equal(
    both(sends(a, offsets, p), sends(b, offsets, q)).map(({ flops }) => flops),
    [7],
  );
});
test("exchanges along one routing are one, of another they are not", () => {
  const [x, y, one, other] = [whole("x"), whole("y"), whole("one"), whole("other")];
  const to = ["p", "q", "r"].map((n) => whole(n));
  const given = [makes(x), makes(y), makes(one), makes(other)];
  for (const [from, by, result] of [
    [x, one, to[0]],
    [y, one, to[1]],
    [y, other, to[2]],
  ] as const)
    given.push(sends(from, by, result as VirtualBuffer));
  assert.equal(shown(fuseCollectives(sequence(given, to))).slice(4), ["exchange x y one p q", "exchange y other r"]);
});
test("a joined sum is made in place of its own operand only: that of another is still to be read", () => {
  const [a, b, sumOfA, sumOfB] = [whole("a"), whole("b"), whole("sum of a"), whole("sum of b")];
  const plan = planMemory([sequence([makes(a), makes(b), sums(a, sumOfA), sums(b, sumOfB)], [a, sumOfA, sumOfB])], [], {
    target: "host",
    header: "",
  });
  const at = (name: string): number | undefined => plan.buffers.find((x) => x.name === name)?.offset;
  assert.match(printPlan(plan), "all_reduce_sum(a, b, sum of a, sum of b), all workers");
  assert.is(at("sum of b"), at("b"));
  assert.is.not(at("sum of a"), at("b"));
});
test.run();
