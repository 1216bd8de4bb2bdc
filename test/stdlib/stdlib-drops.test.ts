// Over capacity the right choices are dropped: by priority, then in order; with any number of threads, and the rest computes the same bits.
import assert from "node:assert/strict";
import { suite } from "uvu";
import { type CompileOptions, compile, moe, numbers, type Outcome, tensor } from "../../runtime/index.ts";
import { lcg } from "../../runtime/measure/lcg.ts";

const { Queue, Dropping } = moe<"Queue" | "Dropping">`
  import { SwitchGate, within, dropped } from "std/gates"
  import { SwiGlu } from "std/nn"

  model Queue(E = 7, C = 150) {
    forward(expert: i32[N, K], priority: f32[N, K]) -> (i32[N, K], i32[N, K], i32) {
      let kept = within(expert, E, C, priority)
      return within(expert, E, C), kept, dropped(kept)
    }
  }
  model Dropping(D = 8, E = 5) {
    gate: SwitchGate(D, E, factor: 0.7)
    experts: SwiGlu(D, 16)[E]
    forward(x: f32[N, D]) -> (f32[N, 1], i32[N, 1], i32[N, 1], f32[N, D]) {
      let (score, kept) = gate(x)
      let (_, wanted) = top_k(x @ gate.weight, 1)
      return score, kept, wanted, sum(score[..., new] * experts[kept](x), axis: -2)
    }
  }
`;
const [N, K] = [1501, 2];
const ways: readonly Pick<CompileOptions, "target" | "threads">[] = [
  { target: "reference" },
  ...[1, 2, 3, 8].map((threads) => ({ target: "host" as const, threads })),
];

const draws = (length: number, seed: number): number[] => Array.from({ length }, lcg(seed));
/** All first choices before second ones, each by priority and then in order; every expert takes `capacity`. */
function plain(expert: readonly number[], capacity: number, priority: readonly number[] | null): number[] {
  const [kept, taken] = [[...expert], new Map<number, number>()];
  for (let k = 0; k < K; k++) {
    const places = Array.from({ length: N }, (_, n) => n * K + k);
    if (priority) places.sort((a, b) => (priority[b] ?? 0) - (priority[a] ?? 0) || a - b);
    for (const at of places) {
      const e = expert[at] ?? -1;
      taken.set(e, (taken.get(e) ?? 0) + 1);
      if ((taken.get(e) ?? 0) > capacity) kept[at] = -1;
    }
  }
  return kept;
}
const result = (outcome: Outcome, i: number): number[] => [...numbers(outcome.outputs[i] ?? assert.fail())];

const test = suite("stdlib-drops");
const name = ({ target, threads }: (typeof ways)[number]): string => [target, threads].filter(Boolean).join(" ");
for (const way of ways)
  test(`queues, ${name(way)}`, async () => {
    // an expert that most like, some choices of none, and many equal priorities
    const expert = draws(N * K, 1).map((u) => (u < 0.05 ? -1 : u < 0.5 ? 3 : Math.floor(u * 7)));
    const priority = draws(N * K, 2).map((u) => Math.floor(u * 20) / 20);
    const program = await compile(Queue, { sizes: { N, K }, ...way });
    const inputs = { expert: tensor("i32", [N, K], expert), priority: tensor("f32", [N, K], priority) };
    const outcome = await program.run(inputs);
    program.close();
    const float32 = [...Float32Array.from(priority)];
    const [ordered, best] = [plain(expert, 150, null), plain(expert, 150, float32)];
    assert.deepEqual(result(outcome, 0), ordered);
    assert.deepEqual(result(outcome, 1), best);
    assert.notDeepEqual(ordered, best);
    assert.deepEqual(result(outcome, 2), [best.filter((e) => e < 0).length]);
  });

const outcomes = new Map<string, Outcome>();
for (const way of ways.slice(1))
  test(`a mixture, ${name(way)}`, async () => {
    const program = await compile(Dropping, { sizes: { N }, gradients: true, ...way });
    const x = tensor(
      "f32",
      [N, 8],
      draws(N * 8, 3).map((u, i) => 2 * u - (i % 8 === 0 ? 0 : 1)),
    );
    const outcome = await program.run({ x });
    program.close();
    outcomes.set(name(way), outcome);
    const [score, kept, wanted, y] = [0, 1, 2, 3].map((i) => result(outcome, i)) as [
      number[],
      number[],
      number[],
      number[],
    ];
    const taken = new Map<number, number[]>();
    wanted.forEach((e, n) => taken.set(e, [...(taken.get(e) ?? []), n]));
    const capacity = Math.ceil((0.7 * N) / 5);
    const stays = new Set(
      [...taken.values()].flatMap((rows) =>
        rows.toSorted((a, b) => (score[b] ?? 0) - (score[a] ?? 0) || a - b).slice(0, capacity),
      ),
    );
    assert.ok(stays.size < N, "some are dropped");
    assert.deepEqual(
      kept,
      wanted.map((e, n) => (stays.has(n) ? e : -1)),
    );
    for (let n = 0; n < N; n++)
      assert.equal(
        y.slice(n * 8, n * 8 + 8).some((v) => v !== 0),
        stays.has(n),
        `row ${n}`,
      );
  });
test("the same bits with any number of threads", () => {
  const [first, ...others] = [...outcomes.values()];
  assert.equal(others.length, 3);
  for (const other of others) {
    assert.deepEqual(other.outputs, first?.outputs);
    assert.deepEqual(other.gradients, first?.gradients);
  }
});
test.run();
