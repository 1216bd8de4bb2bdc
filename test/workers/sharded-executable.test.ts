// The executable of one of several workers, which is that of the whole to who uses it: parts of stores, of inputs, and runs in one call.
import { setTimeout } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { shapeOfCodes, shapeOfNumbers, shapeOfScales } from "../../compiler/graph/codes.ts";
import { fnv1a } from "../../compiler/types/numbers.ts";
import {
  type Codes,
  type Executable,
  hiddenInput,
  type Repeat,
  repeatOrRun,
  type StoreInfo,
  type Tensor,
} from "../../runtime/executable/executable.ts";
import { writeStored } from "../../runtime/storage/names.ts";
import { computed } from "../../runtime/storage/stored-tensor.ts";
import { bytesOfTensor, fromNumbers, numbers, part, zeros } from "../../runtime/tensor.ts";
import { shardedExecutable } from "../../runtime/workers/sharded-executable.ts";
import { shardingSummary } from "../../runtime/workers/sharding-summary.ts";
import { singleWorker, Workers } from "../../runtime/workers/workers.ts";
import { assertProblem } from "../assert-problem.ts";
import { FakeExecutable } from "../fake-executable.ts";
import { changing, four, saying, two } from "./fake-workers.ts";

const test = suite("sharded-executable");

const firstAxis = [{ axis: 0, parts: 2, stride: 1 }];
test("the executable of one of several is that of the whole: its own rows go in, all come out", async () => {
  const inner = new FakeExecutable();
  const stores = inner.stores.map((s) =>
    s.name.startsWith("experts") ? { ...s, shape: [1, 4], shards: firstAxis } : s,
  );
  const held = new Map([["experts.*.up.weight", fromNumbers("f32", [1, 4], [0, 0, 0, 0])]]);
  const local = Object.assign(Object.create(inner) as FakeExecutable, {
    stores,
    read: (name: string) => held.get(name) ?? inner.read(name),
    write: (name: string, t: ReturnType<typeof fromNumbers>) => void held.set(name, t),
  });
  const whole = shardedExecutable(local, two(1));
  assert.equal(whole.stores.find((s) => s.shards)?.shape, [2, 4]);
  const all = fromNumbers("f32", [2, 4], [1, 2, 3, 4, 5, 6, 7, 8]);
  whole.write("experts.*.up.weight", all);
  assert.equal([...numbers(held.get("experts.*.up.weight") ?? all)], [5, 6, 7, 8]);
  assert.equal([...numbers(whole.read("experts.*.up.weight"))], [5, 6, 7, 8, 5, 6, 7, 8]); // the other says the same
  assert.throws(() => whole.write("experts.*.up.weight", fromNumbers("f32", [1, 4], [1, 2, 3, 4])), /\[2, 4\]/);
  assert.is(shardedExecutable(inner, singleWorker), inner);
  assert.is(shardingSummary(whole.stores, two(0), 6), "2 workers: batch 6 = 2 x 3; 2 experts spread, 1 each");
  assert.match(shardingSummary(whole.stores, two(0), 1), "2 workers: batch 1, all of it on each; 2 experts");
  const shared = shardingSummary(whole.stores, two(0), 1, { contextParallel: 2 });
  assert.match(shared, "2 workers: 1 x 2, batch 1; tokens of each sequence shared by 2; 2 experts spread");
  const alone = shardingSummary(whole.stores, two(0), 4, { tensorParallel: 2 });
  assert.match(alone, "2 workers: 1 x 2, batch 4, all of it on each; ");
  assert.is(
    shardingSummary(inner.stores, { size: 3 }, 6),
    "3 workers: batch 6 = 3 x 2; 2 experts on each worker: no more than 1 divides both 2 and 3",
  );
  const grouped = shardedExecutable(
    local,
    four(3, () => new Uint8Array(16)),
  );
  grouped.write("experts.*.up.weight", all);
  assert.equal([...numbers(held.get("experts.*.up.weight") ?? all)], [5, 6, 7, 8]);
  assert.equal([...numbers(grouped.read("experts.*.up.weight"))], [5, 6, 7, 8, 5, 6, 7, 8]); // of the first two
  assert.is(
    shardingSummary(whole.stores, { size: 4 }, 8),
    "4 workers: batch 8 = 4 x 2; 2 experts spread over 2, 1 each, in 2 groups",
  );
  assert.is(
    shardingSummary(inner.stores, { size: 4 }, 8, { expertParallel: 1 }),
    "4 workers: batch 8 = 4 x 2; 2 experts on each worker",
  );
  const moment = {
    name: "norm.m",
    role: "optimizer",
    dtype: "f32",
    shape: [6],
    stack: 0,
    saved: true,
    shards: firstAxis,
  } as const;
  assert.is(shardingSummary([moment], two(0), 6), "2 workers: batch 6 = 2 x 3; each steps its part of what all have");
  const matrix = { ...moment, name: "up.weight", role: "parameter", shape: [6, 4] } as const;
  const divided = { shardParameters: true };
  const { shards: _, ...undivided } = matrix;
  const others = [undivided, { ...matrix, shape: [6] }];
  assert.is(
    shardingSummary([matrix, ...others], two(0), 6, divided),
    "2 workers: batch 6 = 2 x 3; each keeps and steps its part of 1 of 2 matrices",
  );
  assert.match(
    shardingSummary([matrix, ...others], { size: 4 }, 8, { ...divided, tensorParallel: 2 }),
    "1 of 2 matrices shared by 2; each keeps and steps its part of 0 of 2 matrices",
  );
  assert.equal(hiddenInput("$rank", { seed: 0, call: 0, step: 0, rank: 1 })?.data, Int32Array.of(1));
});
const fp4 = { code: "fp4", axes: [1] } as const;
/** Codes of 4 bits whose bytes are 0, 1, 2... */
function counted(shape: readonly number[]): Codes {
  const [codes, scales] = [zeros("i8", shape), zeros("bf16", shapeOfScales(shapeOfNumbers(shape, fp4), fp4))];
  for (const { data } of [codes, scales]) data.forEach((_, i) => (data[i] = i % 128));
  return { code: "fp4", codes, scales };
}
/** Two workers' executables of a store of experts [2, 64, 2] in 4 bits, of which each has a part along an axis. */
function withCodes(axis: number): Executable[] {
  const quantised = { ...fp4, dtype: "f32", scales: "w scales" } as const;
  const shape = [2, 64, 2].map((n, i) => (i === axis ? n / 2 : n));
  const empty = (): Codes => counted(shapeOfCodes(shape, quantised));
  const held = [empty(), empty()];
  const both = (what: "codes" | "scales"): Buffer => Buffer.concat(held.map((of) => bytesOfTensor(of[what])));
  return held.map((own, rank) => {
    const inner = new FakeExecutable();
    const store = { ...(inner.stores[1] as StoreInfo), shape, quantised, shards: [{ axis, parts: 2, stride: 1 }] };
    const writeCodes: Executable["writeCodes"] = (_, index, codes) => {
      const given = codes();
      for (const what of ["codes", "scales"] as const)
        own[what].data.set(given[what].data, (index[0] ?? 0) * given[what].data.length);
    };
    const allGather = (bytes: Uint8Array): Uint8Array => {
      const what = (["codes", "scales"] as const).find((name) => own[name].data.byteLength === bytes.length);
      return new Uint8Array(what ? both(what) : Buffer.concat([bytes, bytes]));
    };
    return shardedExecutable(
      Object.assign(Object.create(inner) as FakeExecutable, { stores: [store], readCodes: () => own, writeCodes }),
      new Workers({ rank, size: 2, allGather, abort: () => {}, finalize: () => {} }),
    );
  });
}
test("codes are those of the whole: each worker writes its experts, rows or columns, and reads all", () => {
  const all = counted([2, 32, 2]);
  const { name } = new FakeExecutable().stores[1] as StoreInfo;
  for (const axis of [0, 1, 2]) {
    const [whole, apart] = [withCodes(axis), withCodes(axis)];
    for (const one of whole) one.writeCodes?.(name, [], () => all);
    for (const one of apart)
      for (const i of [1, 0])
        one.writeCodes?.(name, [i], () => ({ ...all, codes: part(all.codes, [i]), scales: part(all.scales, [i]) }));
    for (const one of [...whole, ...apart]) assert.equal(one.readCodes?.(name), all, `axis ${axis}`);
  }
});
/** What each of four workers holds of a matrix once all have written `all`; each then reads the whole. */
function heldByFour(shards: NonNullable<StoreInfo["shards"]>, all: Tensor, shape: readonly number[]): number[][] {
  const parts = new Map<number, Tensor>();
  const held = (rank: number): Uint8Array => bytesOfTensor(parts.get(rank) as Tensor);
  const gather = (rank: number, own: Uint8Array): Uint8Array => {
    const isPart = parts.size === 4 && Buffer.compare(own, held(rank)) === 0;
    return new Uint8Array(Buffer.concat([0, 1, 2, 3].map((r) => (isPart ? held(r) : own))));
  };
  const of = (rank: number): Executable => {
    const inner = new FakeExecutable();
    const stores = [{ ...(inner.stores[0] as StoreInfo), name: "w", shape, shards }];
    const own = {
      stores,
      read: () => parts.get(rank),
      write: (_: string, t: Tensor) => void parts.set(rank, t),
    };
    return shardedExecutable(
      Object.assign(Object.create(inner) as FakeExecutable, own),
      new Workers({ rank, size: 4, allGather: (b) => gather(rank, b), abort: () => {}, finalize: () => {} }),
    );
  };
  for (const rank of [0, 1, 2, 3]) of(rank).write("w", all);
  assert.equal([...numbers(of(3).read("w"))], [...numbers(all)]);
  return [0, 1, 2, 3].map((r) => [...numbers(parts.get(r) as Tensor)]);
}
test("of a matrix in columns, whose rows two groups share too, each worker writes its part, and reads the whole", () => {
  const shards = [
    { axis: 1, parts: 2, stride: 1 },
    { axis: 0, parts: 2, stride: 2 },
  ];
  const all = fromNumbers("f32", [2, 4, 1], [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.equal(heldByFour(shards, all, [1, 2, 1]), [
    [1, 2],
    [3, 4],
    [5, 6],
    [7, 8],
  ]);
});
test("of columns in pieces a worker has its part of each, and of that part its group's", () => {
  const pieces = { axis: 1, parts: 2, stride: 1, pieces: [2, 1] };
  const all = fromNumbers("f32", [2, 12], [...Array(24).keys()]);
  assert.equal(heldByFour([pieces, { axis: 0, parts: 2, stride: 2 }], all, [1, 6]), [
    [0, 1, 2, 3, 8, 9],
    [4, 5, 6, 7, 10, 11],
    [12, 13, 14, 15, 20, 21],
    [16, 17, 18, 19, 22, 23],
  ]);
  assert.equal(heldByFour([pieces, { axis: 1, parts: 2, stride: 2 }], all, [2, 3]), [
    [0, 1, 2, 12, 13, 14],
    [4, 5, 6, 16, 17, 18],
    [3, 8, 9, 15, 20, 21],
    [7, 10, 11, 19, 22, 23],
  ]);
});
test("of a model that is too large for one, a worker reads its own part", () => {
  const inner = new FakeExecutable();
  const stack = { name: "e.*.w", role: "parameter", dtype: "f32", shape: [2, 3, 5], stack: 1, saved: true } as const;
  const written: (readonly number[])[] = [];
  const writePart = (store: string, index: readonly number[], value: () => Tensor): void => {
    assert.is(store, "e.*.w");
    written.push([...index, ...numbers(value())]);
  };
  const parts = Object.assign(Object.create(inner) as FakeExecutable, {
    stores: [{ ...stack, shards: firstAxis }],
    writePart,
  });
  const read: number[] = [];
  const stored = computed("f32", [4, 3, 5], ([i = -1] = []) => {
    read.push(i);
    return fromNumbers("f32", [1], [10 * i]);
  });
  for (const rank of [1, 0]) {
    const own = shardedExecutable(parts, two(rank));
    for (const store of own.stores) writeStored(own, store, stored);
  }
  assert.equal(read, [2, 3, 0, 1]);
  assert.equal(written, [
    [0, 20],
    [1, 30],
    [0, 0],
    [1, 10],
  ]);
});
/** How many runs come of each call of `repeat` on worker 0, where a run takes `each` milliseconds; the other worker says `others`. */
async function runsOf(
  each: readonly number[],
  others = (own: number): number => own,
  repeats = true,
  given: Partial<Repeat> = {},
): Promise<number[]> {
  const made: number[] = [];
  const inner = Object.assign(new FakeExecutable(), {
    repeat: async ({ times }: Repeat) => {
      const end = performance.now() + times * (each[made.length] ?? 0);
      while (performance.now() < end) await setTimeout(end - performance.now()); // a timer may be early
      return new Int32Array(times);
    },
  });
  const asked = fnv1a("repeat generate:1");
  const other = (own: Uint8Array): Uint8Array => {
    const said = own.length === 24 ? new Float64Array(own.slice().buffer) : [];
    return said[1] === asked ? saying(0, asked, others(said[2] ?? 0))() : own;
  };
  const whole = shardedExecutable(repeats ? inner : new FakeExecutable(), two(0, other));
  const how = { times: 1000, within: 50, beside: 1000, to: "tokens", next: "at", ...given };
  for (const _ of each)
    made.push((await repeatOrRun(whole, how, "generate:1", new Map(), { seed: 0, call: 0, step: 0 })).length);
  return made;
}
test("a batch that counts otherwise on another worker, or is of another step, is refused", async () => {
  const { workers, say } = changing(0);
  const whole = shardedExecutable(new FakeExecutable(), workers);
  const tokens = fromNumbers("i32", [2, 1], [1, 2]);
  const at = { seed: 0, call: 0, step: 0, weight: 0.25 };
  const run = (other: Partial<typeof at>) =>
    whole.run("train", new Map(Object.entries({ tokens, targets: tokens })), { ...at, ...other });
  const said: Uint8Array[] = [];
  say((own) => (said.push(own), own));
  await run({});
  for (const other of [{}, { weight: 0.5 }, { seed: 1 }, { call: 1 }, { step: 1 }]) {
    const before = said.values();
    say((own) => before.next().value ?? own);
    const ran = run(other);
    if (Object.keys(other).length === 0) await ran;
    else await assertProblem(() => ran, "worker 1 has other inputs of train", "same order");
  }
});
test("workers make as many runs in a call as the slowest has time for, by the last call; one where one looks at each", async () => {
  const [first, second = 0, third = 0] = await runsOf([20, 2, 0]);
  assert.is(first, 1);
  assert.ok(second >= 1 && second <= 50, `${second} of 20 ms in 1000`);
  assert.ok(third > second && third <= 500, `${third} of 2 ms in 1000`);
  assert.equal(await runsOf([2, 2], (own) => Math.min(2, own)), [1, 2]);
  assert.equal(await runsOf([2, 2], () => 1), [1, 1]);
  assert.equal(await runsOf([2, 2], () => 50, false), [1, 1]);
  assert.equal(await runsOf([2, 2], undefined, true, { times: 2, within: 0, beside: 1e9 }), [1, 2]);
});
const crowding = (): never => {
  throw new Error("NO_ROOM: worker 1 is sent 9 rows, and has room for 8");
};
test("more rows than there is room for are a Problem, which all find: none has to end the others", async () => {
  const all = two(0);
  const run = shardedExecutable(new FakeExecutable({ before: crowding }), all).run("evaluate", new Map(), {
    seed: 0,
    call: 0,
    step: 0,
  });
  const error = await run.catch((e: unknown) => e);
  assert.instance(error, Problem);
  assert.match((error as Problem).message, /^worker 1 is sent 9 rows/);
  all.atExit(0);
});
test.run();
