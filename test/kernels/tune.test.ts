import { rejects } from "node:assert/strict";
import { chmodSync, existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { candidatesOn, parseContractionKey, tuningAxes } from "../../compiler/kernel/candidates.ts";
import {
  alignBlocks,
  type Contraction,
  contractionKey,
  hostChoices,
  hostChoicesOf,
  type Schedule,
  tasksOf,
} from "../../compiler/kernel/schedule.ts";
import { clearSchedules, ScheduleCache } from "../../runtime/cache/schedules.ts";
import { toolchain } from "../../runtime/host/toolchain.ts";
import { type MeasureOptions, openMeasuredEntry } from "../../runtime/measure/measured-entry.ts";
import { tune } from "../../runtime/measure/tune.ts";
import { bytesOfTensor } from "../../runtime/tensor.ts";
import { full } from "../full.ts";
import { hasFeature } from "../host/machine.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("tune");
const program = join(project, "examples/one-layer.moe");
const layer = { program, entry: "Layer", set: { D: 40, H: 76, E: 3, K: 2, N: 149 }, gradients: true, threads: 2 };

const shapes: readonly Contraction[] = [
  { op: "dot", m: 1024, n: 1024, k: 1024, groups: 1, operands: 1, pairs: 1, isBf16: false, isLeftTransposed: false },
  { op: "dot", m: 1, n: 1, k: 1, groups: 7, operands: 2, pairs: 1, isBf16: false, isLeftTransposed: false },
  { op: "dot", m: 512, n: 768, k: 4096, groups: 1, operands: 1, pairs: 1, isBf16: true, isLeftTransposed: true },
  {
    op: "dot",
    m: 100,
    n: 768,
    k: 256,
    groups: 1,
    operands: 2,
    pairs: 1,
    isBf16: false,
    codes: "f32",
    isLeftTransposed: false,
  },
  {
    op: "ragged_dot",
    m: 4096,
    n: 256,
    k: 2048,
    groups: 64,
    operands: 2,
    pairs: 1,
    isBf16: true,
    isLeftTransposed: false,
  },
  {
    op: "ragged_outer",
    m: 97,
    n: 31,
    k: 4096,
    groups: 8,
    operands: 1,
    pairs: 1,
    isBf16: false,
    isLeftTransposed: true,
  },
];
test("a contraction is found again from its key; other texts are none", () => {
  for (const c of shapes) assert.equal(parseContractionKey(contractionKey(c)), c);
  for (const bad of ["dot 1 x 2", "matmul 1 x 2 x 3", "dot 1 x 2 x 3, 4 groups; rm", "dot 1 x -2 x 3"])
    assert.is(parseContractionKey(bad), null);
});
test("a weight gradient has tall blocks, of which each side and the depth are varied, and a task for each thread", () => {
  const gradient = { groups: 1, operands: 1, pairs: 1, isLeftTransposed: true } as const;
  for (const isBf16 of [false, true]) {
    const c: Contraction = { op: "dot", m: 512, n: 8192, k: 4096, isBf16, ...gradient };
    const given = hostChoicesOf(64).contraction(c);
    assert.is(given.bm, 258);
    for (const axis of ["bk", "bm", "bn"] as const) assert.ok(candidatesOn(c, given, axis, 64).length > 0, axis);
    for (const [n, threads] of [
      [512, 2],
      [512, 16],
      [2048, 32],
      [8192, 64],
    ] as const)
      assert.ok(tasksOf({ ...c, n }, hostChoicesOf(64, null, threads).contraction({ ...c, n })) >= threads);
  }
});
test("the product by a head's transpose goes by a block of the depth that a task can copy", () => {
  const sizes = { m: 4096, n: 512, k: 8192, groups: 1, operands: 1, pairs: 1, isLeftTransposed: false } as const;
  const blocks = [false, true].map((isBf16) => hostChoicesOf(64).contraction({ op: "dot", isBf16, ...sizes }).bk);
  assert.equal(blocks, [512, 1024]);
});
test("variants change one axis, fit the contraction, and differ from each other", () => {
  for (const c of shapes) {
    const given = hostChoices.contraction(c);
    for (const axis of tuningAxes) {
      const all = candidatesOn(c, given, axis, 16);
      assert.is(new Set(all.map((s) => JSON.stringify(s))).size, all.length);
      for (const s of all) {
        assert.not.equal(s, given);
        assert.ok(s.bn % 16 === 0 && s.bn <= Math.max(16, c.n + 15) && s.bm > 0 && s.bk > 0, JSON.stringify(s));
        if (c.op === "dot") assert.is(s.mc % s.bm, 0);
      }
    }
  }
  assert.ok(
    tuningAxes.every(
      (axis) =>
        candidatesOn(shapes[0] as Contraction, hostChoices.contraction(shapes[0] as Contraction), axis, 16).length > 0,
    ),
  );
});

/** H: of whole runs of 16 columns, whose sums an epilogue makes, or not. */
interface Case {
  readonly isa: string;
  readonly precision: "f32" | "bf16";
  readonly D: number;
  readonly H: number;
}
/** The bytes of all results of a run with one schedule for every contraction. */
async function bits(
  { precision, D, H }: Case,
  schedules: ReadonlyMap<string, Schedule>,
): Promise<{ bytes: Uint8Array[]; used: Map<string, Schedule> }> {
  const trial = await openMeasuredEntry({ ...layer, set: { ...layer.set, D, H }, precision, schedules });
  try {
    const { outputs, gradients } = (await trial.run()).outcome;
    const chosen = trial.plan.kernels.flatMap((k) =>
      k.schedule ? [[k.schedule.shape, k.schedule.choice] as const] : [],
    );
    return {
      bytes: [...outputs, ...gradients.values()].map((t) => bytesOfTensor(t)),
      used: new Map(chosen.map(([shape, choice]) => [shape, choice as unknown as Schedule])),
    };
  } finally {
    trial.close();
  }
}
/** As given, or in whole tiles or words where the products of this machine are. */
const isOf = (given: Schedule, taken: object | undefined): boolean =>
  ([null, "term", "terms", "words"] as const).some((form) => isDeepStrictEqual(alignBlocks(given, form), taken));
const before = process.env;
test.after.each(() => {
  process.env = before;
});
const cases: readonly Case[] = (
  [
    { isa: "native", precision: "f32", D: 48, H: 76 },
    { isa: "native", precision: "bf16", D: 32, H: 64 },
    { isa: "avx2", precision: "f32", D: 32, H: 64 },
    { isa: "portable", precision: "bf16", D: 32, H: 64 },
  ] as const
).filter(({ isa }) => isa !== "avx2" || (hasFeature("avx2") && hasFeature("fma")));
for (const [c, one] of cases.entries())
  test(`no schedule changes a bit of a mixture's results and gradients, ${Object.values(one).join(" ")}`, async () => {
    process.env = { ...before, MOEC_ISA: one.isa };
    const base = await bits(one, new Map());
    assert.ok(
      base.bytes.length >= 6 && base.used.size >= 6,
      `${base.bytes.length} results, ${base.used.size} contractions`,
    );
    assert.ok(base.bytes.every((b) => b.some((x) => x !== 0)));
    const odd: readonly Schedule[] = [
      { bm: 6, bn: 16, bk: 16, mc: 6, stream: true },
      { bm: 13, bn: 80, bk: 127, mc: 26, stream: true },
      { bm: 48, bn: 80, bk: 33, mc: 96, stream: true },
    ];
    // the first case by two of them, each other case by one unless all is asked for
    for (const schedule of full ? odd : c === 0 ? odd.slice(1) : odd.slice(c - 1, c)) {
      const all = new Map([...base.used.keys()].map((shape) => [shape, schedule]));
      const other = await bits(one, all);
      assert.equal(new Set(other.used.keys()), new Set(all.keys()));
      for (const s of other.used.values()) assert.ok(isOf(schedule, s), JSON.stringify(s));
      assert.equal(other.bytes, base.bytes, JSON.stringify(schedule));
    }
  });

test("tuning measures, keeps winners for this machine and threads, and says what it gained", async () => {
  const cache = new ScheduleCache(await toolchain(), 2, temporaryFolder());
  const rounds: string[] = [];
  const round = (axis: string, done: number, of: number): void => void rounds.push(`${axis} ${done}/${of}`);
  const tuned = await tune({ ...layer, runs: 2, axes: ["bm"], cache, round });
  assert.is(tuned.entry, "forward");
  assert.ok(tuned.contractions >= 6 && tuned.measured >= tuned.contractions && rounds.length > 0);
  assert.ok(tuned.secondsBefore > 0 && tuned.secondsAfter > 0);
  for (const s of tuned.shapes) assert.ok(s.secondsAfter < 0.97 * s.secondsBefore);
  assert.equal(new Set(cache.read().keys()), new Set(tuned.shapes.map((s) => s.shape)));
});

/** Schedules by shape of one run of the layer. */
async function chosen(options: Pick<MeasureOptions, "precision" | "schedules">): Promise<Map<string, object>> {
  const trial = await openMeasuredEntry({ ...layer, ...options });
  trial.close();
  return new Map(trial.plan.kernels.flatMap((k) => (k.schedule ? [[k.schedule.shape, k.schedule.choice]] : [])));
}
const schedule: Schedule = { bm: 48, bn: 32, bk: 256, mc: 96, stream: false };
test("products of bf16 are measured and kept by themselves; in f64 nothing is", async () => {
  const cache = new ScheduleCache(await toolchain(), 2, temporaryFolder());
  const [f32, bf16] = [await chosen({}), await chosen({ precision: "bf16" })];
  const short = [...bf16.keys()].filter((shape) => shape.endsWith(", bf16"));
  assert.ok(short.length >= 5 && ![...f32.keys()].some((shape) => short.includes(shape)), short.join("; "));
  const tuned = await tune({ ...layer, precision: "bf16", runs: 1, axes: ["bk"], cache });
  assert.is(tuned.contractions, bf16.size);
  for (const shape of cache.read().keys()) assert.ok(bf16.has(shape), shape);
  const schedules = new Map(short.map((shape) => [shape, schedule]));
  assert.equal(await chosen({ schedules }), f32);
  const taken = await chosen({ schedules, precision: "bf16" });
  for (const shape of short) assert.ok(isOf(schedule, taken.get(shape)), shape);
  await rejects(tune({ ...layer, precision: "f64", cache }), (error: unknown) => error instanceof Problem);
});

test("where a file stands in the cache's place nothing was measured", async () => {
  const file = join(temporaryFolder(), "file");
  writeFileSync(file, "");
  assert.is(new ScheduleCache(await toolchain(), 2, file).read().size, 0);
});
const using = (MOEC_ISA: string) => toolchain({ ...process.env, MOEC_ISA });
test("what was measured is for its instruction set, threads, compiler and device headers", async () => {
  const root = temporaryFolder();
  const [native, portable] = await Promise.all([using("native"), using("portable")]);
  const caches = [
    new ScheduleCache(native, 2, root),
    new ScheduleCache(portable, 2, root),
    new ScheduleCache(native, 1, root),
    new ScheduleCache({ ...native, identity: "another compiler's" }, 2, root),
    new ScheduleCache(native, 2, root, "other headers"),
  ];
  caches[0]?.add(new Map([["dot 1 x 2 x 3", schedule]]));
  assert.equal(
    caches.map((c) => c.read().size),
    [1, 0, 0, 0, 0],
  );
});

test("measured schedules are kept for their user alone, by threads; what is damaged or another's is refused", async () => {
  const root = temporaryFolder();
  const [two, three] = await Promise.all([2, 3].map(async (n) => new ScheduleCache(await toolchain(), n, root)));
  if (!two || !three) throw new Error("no caches");
  assert.is(two.read().size, 0);
  two.add(new Map([["dot 1 x 2 x 3", schedule]]));
  two.add(new Map([["dot 4 x 2 x 3", schedule]]));
  assert.equal([...two.read().keys()], ["dot 1 x 2 x 3", "dot 4 x 2 x 3"]);
  assert.is(three.read().size, 0);
  assert.is(statSync(two.path).mode & 0o777, 0o600);
  const good = readFileSync(two.path, "utf8");
  const refused = (): boolean => {
    try {
      two.read();
      return false;
    } catch (error) {
      return error instanceof Problem;
    }
  };
  for (const bad of [
    "{",
    "[]",
    good.replace('"bm": 48', '"bm": -1'),
    good.replace("dot 4", "dot;4"),
    good.replace('"format": 1', '"format": 2'),
  ]) {
    writeFileSync(two.path, bad);
    assert.ok(refused(), bad);
  }
  writeFileSync(two.path, good);
  chmodSync(two.path, 0o666);
  assert.ok(refused());
  clearSchedules(root);
  assert.is(existsSync(two.path), false);
  two.add(new Map());
  const other = join(root, "other.json");
  writeFileSync(other, good);
  clearSchedules(root);
  three.add(new Map());
  symlinkSync(other, two.path);
  assert.ok(refused());
});
test.run();
