// The benchmarks' code paths on tiny shapes: what they count and the form of what they say, never how fast it is.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { adamw, attention, type Case, dense, groups, moe, norm } from "../../bench/cases.ts";
import { measureGenerate } from "../../bench/generate.ts";
import { type Figure, measure } from "../../bench/measure.ts";
import { findPython } from "../../bench/peers.ts";
import { Subject } from "../../bench/subject.ts";
import { measureWorkers } from "../../bench/workers.ts";
import { fmaCeiling, memoryCeiling } from "../../runtime/host/ceiling.ts";
import { mpirun, skipped } from "../../scripts/mpirun.ts";
import { benchWorker } from "../command.ts";

const test = suite("bench");
const moved = 2 ** 22;
const quick = { threads: 2, times: 1, seconds: 0, python: null, precision: "f32", moved } as const;

function checkForm(figure: Figure, c: Case): void {
  const { seconds, rate, ceiling, share, ...named } = JSON.parse(JSON.stringify(figure)) as Figure;
  const unit = c.mix ? "GB/s" : "GFLOP/s";
  assert.equal(named, { name: c.name, shape: c.shape, pass: figure.pass, unit, peers: [] });
  const work = c.work[figure.pass] ?? Number.NaN;
  assert.ok(seconds > 0 && ceiling > 0);
  assert.ok(Math.abs(rate / ((work / seconds) * 1e-9) - 1) < 1e-9);
  assert.ok(Math.abs(share / (rate / ceiling) - 1) < 1e-9);
}
const tiny: readonly Case[] = [
  moe("SwiGluMoE", 19, 24, 16, 5, 2),
  moe("GeluMoE", 19, 24, 16, 5, 2),
  dense(7, 33, 19),
  norm("Centred", 5, 67),
  adamw(9, 33),
  attention(1, 3, 11, 8),
];
for (const c of tiny) {
  test(`${c.name} ${c.shape.join(" x ")}: figures of each pass, and a row for each launch`, async () => {
    const tables: string[] = [];
    const measured = await measure(c, { ...quick, kernels: (table) => tables.push(table) });
    const figures = measured.map((m) => m.figure);
    assert.ok(measured.every((m) => m.busySeconds > 0));
    assert.equal(
      figures.map((f) => f.pass),
      Object.keys(c.work),
    );
    for (const figure of figures) checkForm(figure, c);
    assert.is(tables.length, 1);
    assert.not.match(tables[0] ?? "", /NaN|undefined/);
    const [forward, step] = [figures.find((f) => f.pass === "forward"), figures.find((f) => f.pass === "step")];
    if (forward && step) assert.ok(forward.seconds < step.seconds, "a step holds its forward");
  });
}
test("a model that writes: bytes of what is active, the share of their reading, a row for each launch", async () => {
  const [set, tables] = [{ V: 256, D: 16, H: 8, L: 2, Heads: 2, E: 4, K: 1, Context: 16 }, [] as string[]];
  const options = {
    threads: 2,
    times: 1,
    tokens: 3,
    moved,
    precision: "f32" as const,
    kernels: (table: string): void => void tables.push(table),
  };
  const written = await measureGenerate({ name: "tiny", set, batch: 2 }, options);
  const dense = 4 * (256 * 16 + 2 * (4 * 16 * 16 + 16 * 4 + 2 * 16) + 16);
  const experts = 4 * 2 * 4 * 3 * 16 * 8;
  assert.is(written.parameters, dense + experts);
  assert.ok(Math.abs(written.active - dense - experts * (1 - 0.75 ** 2)) < 1e-6);
  assert.ok(Math.abs(written.tokensPerSecond * written.seconds - 2) < 1e-9);
  for (const { share, ceiling } of [written, written.memory])
    assert.ok(Math.abs(share - written.active / written.seconds / ceiling / 1e9) < 1e-9);
  assert.match(tables[0] ?? "", /ragged_dot/);
  assert.not.match(tables[0] ?? "", /NaN|undefined/);
});
test("two workers: their share of one process, what each sends, and who waits", async () => {
  if (!mpirun) return skipped("the benchmark of workers");
  const [D, H, L, E, K, tokens] = [16, 8, 1, 2, 1, 2 * 5];
  const c = { name: "tiny", set: { V: 256, D, H, L, Heads: 2, E, K, Context: 8 }, B: 2, T: 5, workers: 2 };
  const options = { precision: "f32" as const, times: 1, warm: 1, steps: 2 };
  const { share, tokensPerSecond, alone, sent, moving, waiting, collectives } = await measureWorkers(
    c,
    options,
    "README.md",
    benchWorker,
  );
  assert.ok(Math.abs(share / (tokensPerSecond / alone) - 1) < 1e-9 && alone > 0);
  assert.ok(moving > 0 && waiting >= 0 && moving + waiting < tokens / tokensPerSecond);
  assert.ok(collectives >= 1 + 4 + 1, "offsets, two exchanges there and two back, a sum of gradients");
  const least = 256 * D * 4 + (4 * ((tokens / 2) * K * D * 4)) / 2; // the embedding's gradient, half of all rows four times
  assert.ok(sent > least && sent < 2 * least, `${sent} bytes, ${least} at least`);
});
async function bytesOfDense(precision: "f32" | "bf16"): Promise<number> {
  const subject = await Subject.open(dense(32, 64, 64), { target: "host", threads: 2, precision });
  subject.close();
  assert.equal(subject.entry.results, [], "nothing is handed to JavaScript");
  return subject.entry.steps.reduce((sum, s) => sum + (s.kind === "launch" ? s.launch.bytes : 0), 0);
}
test("an empty MOEC_PYTHON names no interpreter", () => {
  assert.is(findPython({ ...process.env, MOEC_PYTHON: "" }), findPython({ ...process.env, MOEC_PYTHON: "python3" }));
});
test("in bf16 a layer reads and writes half of the bytes", async () =>
  assert.is(await bytesOfDense("bf16"), (await bytesOfDense("f32")) / 2));
test("every case that a name stands for counts work", () => {
  for (const c of Object.values(groups).flat()) assert.ok(Object.values(c.work).every((n) => n > 1e6));
});
test("ceilings are found through the executor", async () => {
  for (const ceiling of [
    await fmaCeiling(1, 0.001),
    await memoryCeiling(1, { reads: 1, writes: 1, updates: 1 }, moved),
  ]) {
    await ceiling.sample();
    assert.ok(ceiling.best > 0.1 && ceiling.best < 1e5, `${ceiling.best} ${ceiling.unit}`);
    ceiling.close();
  }
});

test.run();
