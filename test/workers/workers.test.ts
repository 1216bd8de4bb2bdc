// What the runtime does for several processes that train together; workers-train.test.ts starts them.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Layout, Step } from "../../compiler/plan/plan.ts";
import { fnv1a } from "../../compiler/types/numbers.ts";
import { type Compiled, commonRequest, prepareRequest } from "../../runtime/compile.ts";
import { DeviceFailed } from "../../runtime/executable/executable.ts";
import { isaOf } from "../../runtime/host/backend.ts";
import { cores } from "../../runtime/machine.ts";
import type { RunConfig } from "../../runtime/storage/run-folder.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import { compileOnWorkers } from "../../runtime/workers/compile-on-workers.ts";
import { sampledHash } from "../../runtime/workers/sharded-executable.ts";
import {
  requireDivisibleBatch,
  requireEqualRuns,
  requireEqualSharing,
  requireFiles,
  requireSharing,
} from "../../runtime/workers/train-distributed.ts";
import { OtherWorkerFailed, singleWorker, Workers } from "../../runtime/workers/workers.ts";
import { FakeExecutable } from "../fake-executable.ts";
import { alike, changing, four, saying, two } from "./fake-workers.ts";

const test = suite("workers");

/** Says a text of its own length where bytes are gathered. */
const sayingText =
  (text: string) =>
  (own: Uint8Array): Uint8Array => {
    if (own.length !== 24) return Buffer.from(text.padEnd(own.length, "\0"));
    return saying(0, Buffer.from(own).readDoubleLE(8), text.length)();
  };
function thrown(what: () => unknown): Problem {
  try {
    what();
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

test("an error of one worker is all others', at what they do next; who fails first in their order says why", () => {
  const failed = saying(1, 0, 0);
  const { workers: right, say } = changing(0);
  say(failed);
  assert.instance(
    thrown(() => right.anyWorker("to stop", false)),
    OtherWorkerFailed,
  );
  assert.instance(
    thrown(() => right.anyWorker("to stop", false)),
    OtherWorkerFailed,
  ); // nothing is waited for again
  const own = new Error("mine");
  for (const [rank, other, says] of [
    [0, failed, true],
    [1, failed, false],
    [1, saying(0, 7, 0), true],
  ] as const) {
    const { workers, say: tell } = changing(rank);
    tell(other);
    const error = workers.reportFailure(own);
    assert.is(error === own, says, `${rank}`);
    if (!says) assert.instance(error, OtherWorkerFailed);
    assert.is(workers.reportFailure(own), own); // told once
  }
});
test("workers that do different things, or have different options, are told apart", () => {
  const { workers, say } = changing(0);
  say((own) => {
    if (own.length === 24) return saying(0, 7, 0)();
    return Buffer.from("read x".padEnd(own.length, "\0"));
  });
  const apart = thrown(() => workers.gatherNumbers("run train", 0));
  assert.match(apart.message, "worker 1 is at `read x`, worker 0 at `run train`");
  const { workers: others, say: tell } = changing(0);
  tell((own) => Buffer.from(Buffer.from(own).toString("latin1").replace("book", "cook"), "latin1"));
  const unlike = thrown(() => others.requireEqual({ "--seed": "0", "--data": "book" }));
  assert.match(unlike.message, "worker 1 has another --data than worker 0: cook, not book");
  tell((own) => Buffer.from(Buffer.from(own).toString("latin1").replace('"2"', '"1"'), "latin1"));
  const spreading = thrown(() => requireEqualSharing({ expertParallel: 2 }, others));
  assert.match(
    spreading.message,
    /another `--expert-parallel` \(in TypeScript `expertParallel`\) than worker 0: 1, not 2/,
  );
});
test("bytes of other lengths come as they are; an option that only another worker has is one too", () => {
  for (const [own, other] of [
    ["abc", "defghij"],
    ["abcdefg", "h"],
  ] as const) {
    const { workers, say } = changing(0);
    say(sayingText(other));
    const all = workers.gatherBytes("texts", Buffer.from(own));
    assert.equal(
      all.map((bytes) => Buffer.from(bytes).toString()),
      [own, other],
    );
  }
  const { workers, say } = changing(0);
  say(sayingText('{"--seed":"0","--size D":"8"}'));
  const unlike = thrown(() => workers.requireEqual({ "--seed": "0" }));
  assert.match(unlike.message, "worker 1 has another --size D than worker 0: 8, not none");
});
test("of the workers of a machine those that see the same GPUs share them", () => {
  const others = four(1, () => Buffer.from("GPU-b".padEnd(16, "b")));
  assert.equal(others.localRank("GPUs", "GPU-a".padEnd(16, "a")), { index: 1, count: 2 });
});
test("threads are those of the worker that has least; who is bound to other cores shares none", () => {
  const least = two(0, (own) => {
    const isThreads = own.length === 24 && Buffer.from(own).readDoubleLE(8) === fnv1a("threads");
    return isThreads ? saying(0, fnv1a("threads"), 0.5)() : own;
  });
  assert.is(least.threads, 0.5);
  const bound = two(0, (own) =>
    own.length === 24
      ? own
      : Buffer.from(String(Buffer.from(own)).replace(/\n.*/, (all) => "\n".padEnd(all.length, "9"))),
  );
  assert.is(bound.threads, cores());
});
/** How many cores of this process's launcher are idle if both workers may use those of a list. */
function idleBeside(list: string): number {
  const say = sayingText(`${"another machine".repeat(9)}\n${list}`);
  const allGather = (own: Uint8Array): Uint8Array => Uint8Array.from(Buffer.concat([say(own), say(own)]));
  const before = process.env["OMPI_COMM_WORLD_SIZE"];
  process.env["OMPI_COMM_WORLD_SIZE"] = "2";
  try {
    return new Workers({ rank: 0, size: 2, allGather, abort: () => {}, finalize: () => {} }).idle;
  } finally {
    if (before === undefined) delete process.env["OMPI_COMM_WORLD_SIZE"];
    else process.env["OMPI_COMM_WORLD_SIZE"] = before;
  }
}
test("cores of the launcher that no worker may use are idle; those of a range are counted with its ends", () => {
  const all = idleBeside("");
  assert.is(all - idleBeside("9000-9000,9002"), Math.min(all, 2));
});
const hashOf = (fill: number, n = 100_000, step = 1): number =>
  sampledHash([fromNumbers("i32", [n], new Float64Array(n).fill(fill))], [3, step]);
test("a sampled hash sees each byte of a number, how many there are, and the integers", () => {
  const all = [hashOf(0), ...[0, 8, 16, 24].map((bit) => hashOf(2 ** bit)), hashOf(0, 99_999), hashOf(0, 100_000, 2)];
  assert.is(new Set(all).size, all.length);
});
test("a process that ends without an error says so to those that go on; within an entry, or with an error, it ends them", async () => {
  let told: string[] = [];
  const ending = (other: (own: Uint8Array) => Uint8Array = alike): Workers => {
    told = [];
    const [abort, finalize] = [(code: number) => void told.push(`abort ${code}`), () => void told.push("finalize")];
    let now = alike;
    const allGather = (own: Uint8Array): Uint8Array => Uint8Array.from(Buffer.concat([own, now(own)]));
    const all = new Workers({ rank: 0, size: 2, allGather, abort, finalize });
    now = other;
    return all;
  };
  ending().atExit(0);
  assert.equal(told, ["finalize"]);
  const goesOn = ending((own) => (own.length === 24 ? saying(0, 7, 0)() : Buffer.from("run x".padEnd(96, "\0"))));
  assert.match(thrown(() => goesOn.atExit(0)).message, "worker 1 is at `run x`, worker 0 at `the end of the process`");
  ending().atExit(3);
  assert.equal(told, ["abort 3"]);
  const inside = ending(() => {
    throw new Error("they are in the entry, and answer nothing");
  });
  void inside.runEntry(() => new Promise(() => {}));
  const own = new Error("mine");
  assert.is(inside.reportFailure(own), own);
  inside.atExit(0);
  assert.equal(told, ["abort 1"]);
  for (const [error, then] of [
    [new Problem("a shape", "another"), "finalize"],
    [new Error("MPI_Waitall"), "abort 1"],
    [new DeviceFailed("NCCL_REMOTE_ERROR", "another"), "abort 1"],
  ] as const) {
    const failing = ending();
    await failing.runEntry(() => Promise.reject(error)).catch(() => {});
    failing.atExit(0);
    assert.equal(told, [then]);
  }
});
/** What a worker tells the others of a plan whose only sum lies so, and is done so. */
async function toldOf(
  layout: Layout,
  say = alike,
  how: Pick<Extract<Step, { kind: "collective" }>, "beside"> = {},
): Promise<string> {
  const buffer = { name: "slope", dtype: "f32", shape: [16, 128], layout, offset: 0, bytes: 8192 };
  const collective = { op: { name: "all_reduce", dtype: "f32", fn: "sum" }, args: [0, 0] };
  const plan = { entries: [{ name: "train", steps: [{ kind: "collective", collective, ...how }] }], buffers: [buffer] };
  const told: string[] = [];
  const listening = two(0, (own) => (told.push(Buffer.from(own).toString("latin1")), say(own)));
  const made = { executable: new FakeExecutable(), plan, report: {} } as unknown as Compiled;
  const request = { ...commonRequest({}, listening), sizes: {}, entries: [] };
  await compileOnWorkers(
    () => load({ name: "empty", text: "" }),
    request,
    () => Promise.resolve(made),
  );
  return told.find((text) => text.includes('"plan"')) ?? "";
}
test("workers of another moec, or of a CPU that makes other products, are told apart", async () => {
  const features = ["AVX2", "AVX512F", "AVX512BF16", "AMX_BF16"];
  const known = [0, 1, 2, 3, 4].map((n) => isaOf({ features: features.slice(0, n) }));
  assert.equal(known, ["portable", "avx2", "avx512", "avx512bf16", "amx"]);
  assert.is(isaOf({ features: ["ARM_FEATURE_FMA", "ARM_NEON"] }), "arm64");
  for (const [name, help] of [
    ["version", /the same moec/],
    ["build", /the same moec/],
    ["MOEC_ISA", /set MOEC_ISA for all/],
  ] as const) {
    const other = (own: Uint8Array): Uint8Array =>
      Buffer.from(
        Buffer.from(own)
          .toString("latin1")
          .replace(new RegExp(`"${name}":".`), `"${name}":"?`),
        "latin1",
      );
    const error = await toldOf({ kind: "rows", pitch: 128 }, other).then(
      () => null,
      (e: unknown) => e,
    );
    assert.instance(error, Problem);
    assert.match((error as Problem).message, `worker 1 has another ${name} than worker 0: ?`);
    assert.match((error as Problem).help, help);
  }
});
test("what workers do together must lie alike: a sum of panels of 64 and of 16 columns would be one of strangers", async () => {
  const [wide, narrow] = [await toldOf({ kind: "panels", width: 64 }), await toldOf({ kind: "panels", width: 16 })];
  assert.match(wide, /SHA-256/);
  assert.is.not(wide, narrow);
});
test("a sum that is beside on one worker only is refused: the one would make MPI_Iallgather, the other MPI_Allgather", async () => {
  const layout = { kind: "rows", pitch: 128 } as const;
  const [waited, begun] = [await toldOf(layout), await toldOf(layout, alike, { beside: true })];
  assert.match(begun, /SHA-256/);
  assert.is.not(waited, begun);
});
type Run = Parameters<typeof requireEqualRuns>[0];
const config: RunConfig = {
  model: "GptMoE",
  sizes: { B: 4, T: 8 },
  steps: 6,
  seed: 0,
  precision: "f32",
  data: { files: ["a"], hash: "1", bytes: 9 },
};
const upcycling = (upcycle: boolean): Run["params"] => ({ path: "a", tensors: new Map(), upcycle });
const given: Run = {
  program: load({ name: "empty", text: "" }),
  config,
  folder: "runs/a",
  params: upcycling(false),
  saveEvery: 100,
  evaluateEvery: 0,
  patience: null,
};
/** What a worker says that is to train this. */
function saidOf(run: Run): Uint8Array[] {
  const all: Uint8Array[] = [];
  const { workers, say } = changing(0);
  say((own) => (all.push(own), own));
  requireEqualRuns(run, workers);
  return all;
}
test("workers that would train or save otherwise are told apart by the option", () => {
  const others: Readonly<Record<string, Partial<Run>>> = {
    program: { program: load({ name: "other", text: "layer Other(D) { }" }) },
    "--seed": { config: { ...config, seed: 1 } },
    "--steps": { config: { ...config, steps: 7 } },
    "--keep-best": { config: { ...config, keepBest: true } },
    "--save-every": { saveEvery: 7 },
    "--evaluate-every": { evaluateEvery: 7 },
    "--patience": { patience: 2 },
    "--out": { folder: "runs/b" },
    "--params": { params: null },
    "--upcycle": { params: upcycling(true) },
  };
  for (const [name, other] of Object.entries(others)) {
    const said = saidOf({ ...given, ...other }).values();
    const { workers, say } = changing(0);
    say((own) => said.next().value ?? own);
    const apart = thrown(() => requireEqualRuns(given, workers));
    assert.match(apart.message, `worker 1 has another ${name} than worker 0`);
  }
});
test("what MOEC_DEBUG asks for is printed by the first worker alone", async () => {
  const [write, before] = [process.stderr.write.bind(process.stderr), process.env["MOEC_DEBUG"]];
  let said = "";
  process.stderr.write = (text) => ((said += String(text)), true);
  process.env["MOEC_DEBUG"] = "1";
  try {
    for (const rank of [0, 1]) {
      const asked = { sizes: {}, precision: "f32", target: "host", entries: [], schedules: new Map() } as const;
      const { observer } = await prepareRequest({ ...asked, world: two(rank) });
      observer.onPass({ pass: `of ${rank}`, start: 0, seconds: 1 });
    }
  } finally {
    process.stderr.write = write;
    if (before === undefined) delete process.env["MOEC_DEBUG"];
    else process.env["MOEC_DEBUG"] = before;
  }
  assert.match(said, /^of 0 +1000.0 ms\n$/);
});
const isOnOther = (i: number): boolean => i % 31 === 0 || i === 69;
test("what is true on any worker is true on all", () => {
  const own = Array.from({ length: 70 }, (_, i) => i % 9 === 0);
  let said = 0;
  const third = two(0, (bytes) => {
    const [failed = 0, what = 0] = bytes.length === 24 ? new Float64Array(bytes.slice().buffer) : [];
    if (what !== fnv1a("flags")) return bytes;
    const flags = Array.from({ length: 32 }, (_, i) => Number(isOnOther(32 * said + i)) << i);
    said += 1;
    return saying(
      failed,
      what,
      flags.reduce((a, b) => a | b),
    )();
  });
  const wanted = own.map((flag, i) => flag || isOnOther(i));
  assert.equal(third.anyOf("flags", own), wanted);
  assert.is(said, 3);
  assert.equal(singleWorker.anyOf("flags", own), own);
  const last = Array.from({ length: 33 }, (_, i) => i === 32);
  assert.equal(two(0).anyOf("flags", last), last);
});
test("a batch that cannot be dealt, and what is piped in, are refused", () => {
  requireDivisibleBatch(6, two(0));
  assert.match(thrown(() => requireDivisibleBatch(7, two(0))).help, "--batch 6 or 8");
  assert.match(thrown(() => requireDivisibleBatch(1, two(0))).help, /--batch 2$/);
  assert.match(thrown(() => requireFiles(["/dev/stdin"], two(0))).message, "piped");
  requireFiles(["/dev/stdin"], singleWorker);
  assert.match(thrown(() => requireSharing({ room: 1.5 }, singleWorker)).message, "room is of several workers");
  assert.match(
    thrown(() => requireSharing({ expertParallel: 1 }, singleWorker)).message,
    "spread of experts is of several",
  );
  assert.match(
    thrown(() => requireSharing({ shardOptimizer: true }, singleWorker)).message,
    "a sharded optimizer is of several workers",
  );
  assert.match(
    thrown(() => requireSharing({ shardParameters: true }, singleWorker)).message,
    "a division of parameters is of several workers",
  );
  assert.match(
    thrown(() => requireSharing({ shadow: 1 }, singleWorker)).message,
    "shadowed experts is of several workers",
  );
  requireSharing({ shardOptimizer: false }, singleWorker);
  requireSharing({ room: 1.5, expertParallel: 2, shardOptimizer: true }, two(0));
  requireSharing({ expertParallel: 3 }, { size: 6 });
  for (const expertParallel of [4, 0, -2, 1.5, 12])
    assert.is(thrown(() => requireSharing({ expertParallel }, { size: 6 })).help, "spread them over 1, 2, 3 or 6");
  requireSharing({ tensorParallel: 2, expertParallel: 3 }, { size: 6 });
  for (const tensorParallel of [4, 0, 1.5])
    assert.is(thrown(() => requireSharing({ tensorParallel }, { size: 6 })).help, "share them by 1, 2, 3 or 6");
  const halved = { tensorParallel: 2 };
  assert.match(thrown(() => requireSharing({ ...halved, expertParallel: 2 }, { size: 6 })).message, "3 groups of 2");
  requireDivisibleBatch(3, { size: 6 }, halved);
  requireSharing({ contextParallel: 3, tensorParallel: 2, expertParallel: 3 }, { size: 6 });
  requireDivisibleBatch(1, { size: 6 }, { ...halved, contextParallel: 3 });
  for (const contextParallel of [4, 6, 0, 1.5])
    assert.is(thrown(() => requireSharing({ ...halved, contextParallel }, { size: 6 })).help, "share them by 1 or 3");
  assert.match(
    thrown(() => requireSharing({ contextParallel: 2, expertParallel: 4 }, { size: 8 })).message,
    "4 of 2 workers",
  );
  assert.match(
    thrown(() => requireDivisibleBatch(3, { size: 6 }, { contextParallel: 3 })).message,
    "2 groups of 3 workers",
  );
  assert.match(thrown(() => requireDivisibleBatch(4, { size: 6 }, halved)).help, "--batch 3 or 6");
});

test.run();
