// Training by several processes: what the runtime does for them, and, where there is an mpirun, that they make what one process makes.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../compiler/diagnostic.ts";
import type { Layout } from "../compiler/plan/plan.ts";
import { checkpointSteps, newestCheckpoint } from "../runtime/checkpoint.ts";
import { begin, type Compiled, compileTogether } from "../runtime/compile.ts";
import { DeviceFailed, hiddenInput } from "../runtime/executable.ts";
import { instructionsOf } from "../runtime/host/backend.ts";
import { dealing, spread } from "../runtime/spread.ts";
import { fromNumbers, numbers } from "../runtime/tensor.ts";
import { requireDealt, requireFiles, requireShared, requireSharing } from "../runtime/train-together.ts";
import { alone, Elsewhere, type Wire, Workers } from "../runtime/workers.ts";
import { command, root as home, main } from "./command.ts";
import { FakeExecutable } from "./fake-executable.ts";
import { mpirun, skipped } from "./mpirun.ts";
import { type Given, trained } from "./workers/embedded.ts";

const test = suite("workers");
const root = mkdtempSync(join(tmpdir(), "moec-workers-"));
test.after(() => rmSync(root, { recursive: true }));

const alike = (own: Uint8Array): Uint8Array => own;
/** Worker `rank` of two, where the other says what `other` makes of what this one says. */
function two(rank: number, other: (own: Uint8Array) => Uint8Array = alike): Workers {
  const wire: Wire = {
    rank,
    size: 2,
    allGather: (own) => new Uint8Array(Buffer.concat(rank === 0 ? [own, other(own)] : [other(own), own])),
    abort: () => {},
    finalize: () => {},
  };
  return new Workers(wire);
}
/** Worker `rank` of four who say the same, but for the last two: these say `other`. */
function four(rank: number, other: (own: Uint8Array) => Uint8Array = alike): Workers {
  const allGather = (own: Uint8Array): Uint8Array =>
    Uint8Array.from(
      Buffer.concat([own, own, ...[own, own].map((bytes) => (bytes.length === 16 ? other(bytes) : bytes))]),
    );
  return new Workers({ rank, size: 4, allGather, abort: () => {}, finalize: () => {} });
}
/** The other as this one, from here on as said. */
function changing(rank: number): { workers: Workers; say: (other: (own: Uint8Array) => Uint8Array) => void } {
  let now = alike;
  return { workers: two(rank, (own) => now(own)), say: (other) => (now = other) };
}
const saying =
  (...numbers: readonly number[]) =>
  (): Uint8Array =>
    new Uint8Array(Float64Array.from(numbers).buffer);
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
    thrown(() => right.some("to stop", false)),
    Elsewhere,
  );
  assert.instance(
    thrown(() => right.some("to stop", false)),
    Elsewhere,
  ); // nothing is waited for again
  const own = new Error("mine");
  for (const [rank, other, says] of [
    [0, failed, true],
    [1, failed, false],
    [1, saying(0, 7, 0), true],
  ] as const) {
    const { workers, say: tell } = changing(rank);
    tell(other);
    const error = workers.failed(own);
    assert.is(error === own, says, `${rank}`);
    if (!says) assert.instance(error, Elsewhere);
    assert.is(workers.failed(own), own); // told once
  }
});
test("workers that do different things, or have different options, are told apart", () => {
  const { workers, say } = changing(0);
  say((own) => {
    if (own.length === 24) return saying(0, 7, 0)();
    return Buffer.from("read x".padEnd(own.length, "\0"));
  });
  const apart = thrown(() => workers.numbers("run train", 0));
  assert.match(apart.message, "worker 1 is at `read x`, worker 0 at `run train`");
  const { workers: others, say: tell } = changing(0);
  tell((own) => Buffer.from(Buffer.from(own).toString("latin1").replace("book", "cook"), "latin1"));
  const unlike = thrown(() => others.requireAlike({ "--seed": "0", "--data": "book" }));
  assert.match(unlike.message, "worker 1 has another --data than worker 0: cook, not book");
  tell((own) => Buffer.from(Buffer.from(own).toString("latin1").replace('"2"', '"1"'), "latin1"));
  const spreading = thrown(() => requireSharing({ expertParallel: 2 }, others));
  assert.match(
    spreading.message,
    /another `--expert-parallel` \(in TypeScript `expertParallel`\) than worker 0: 1, not 2/,
  );
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
  const inside = ending();
  void inside.within(() => new Promise(() => {}));
  inside.atExit(0);
  assert.equal(told, ["abort 1"]);
  for (const [error, then] of [
    [new Problem("a shape", "another"), "finalize"],
    [new Error("MPI_Waitall"), "abort 1"],
    [new DeviceFailed("NCCL_REMOTE_ERROR", "another"), "abort 1"],
  ] as const) {
    const failing = ending();
    await failing.within(() => Promise.reject(error)).catch(() => {});
    failing.atExit(0);
    assert.equal(told, [then]);
  }
});
/** What a worker tells the others of a plan whose only sum lies so. */
async function toldOf(layout: Layout, say = alike): Promise<string> {
  const buffer = { name: "slope", dtype: "f32", shape: [16, 128], layout, offset: 0, bytes: 8192 };
  const collective = { together: { name: "all_reduce", dtype: "f32", fn: "sum" }, args: [0, 0] };
  const plan = { entries: [{ name: "train", steps: [{ kind: "collective", collective }] }], buffers: [buffer] };
  const told: string[] = [];
  const listening = two(0, (own) => (told.push(Buffer.from(own).toString("latin1")), say(own)));
  const made = { executable: new FakeExecutable(), plan, report: {} } as unknown as Compiled;
  await compileTogether(listening, "host", () => Promise.resolve(made));
  return told.find((text) => text.includes('"plan"')) ?? "";
}
test("workers of another moec, or of a CPU that makes other products, are told apart", async () => {
  const features = ["AVX2", "AVX512F", "AVX512BF16", "AMX_BF16"];
  const known = [0, 1, 2, 3, 4].map((n) => instructionsOf({ features: features.slice(0, n) }));
  assert.equal(known, ["portable", "avx2", "avx512", "avx512bf16", "amx"]);
  for (const [name, help] of [
    ["version", /the same moec/],
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
test("what MOEC_DEBUG asks for is printed by the first worker alone", async () => {
  const [write, before] = [process.stderr.write.bind(process.stderr), process.env["MOEC_DEBUG"]];
  let said = "";
  process.stderr.write = (text) => ((said += String(text)), true);
  process.env["MOEC_DEBUG"] = "1";
  try {
    for (const rank of [0, 1]) {
      const asked = { sizes: {}, precision: "f32", target: "host", entries: [], schedules: new Map() } as const;
      const { observer } = await begin({ ...asked, together: two(rank) });
      observer.after({ pass: `of ${rank}`, start: 0, seconds: 1 });
    }
  } finally {
    process.stderr.write = write;
    if (before === undefined) delete process.env["MOEC_DEBUG"];
    else process.env["MOEC_DEBUG"] = before;
  }
  assert.match(said, /^of 0 +1000.0 ms\n$/);
});
test("the executable of one of several is that of the whole: its own rows go in, all come out", async () => {
  const inner = new FakeExecutable();
  const stores = inner.stores.map((s) => (s.name.startsWith("experts") ? { ...s, shape: [1, 4], split: 2 } : s));
  const held = new Map([["experts.*.up.weight", fromNumbers("f32", [1, 4], [0, 0, 0, 0])]]);
  const local = Object.assign(Object.create(inner) as FakeExecutable, {
    stores,
    read: (name: string) => held.get(name) ?? inner.read(name),
    write: (name: string, t: ReturnType<typeof fromNumbers>) => void held.set(name, t),
  });
  const whole = spread(local, two(1));
  assert.equal(whole.stores.find((s) => s.split)?.shape, [2, 4]);
  const all = fromNumbers("f32", [2, 4], [1, 2, 3, 4, 5, 6, 7, 8]);
  whole.write("experts.*.up.weight", all);
  assert.equal([...numbers(held.get("experts.*.up.weight") ?? all)], [5, 6, 7, 8]);
  assert.equal([...numbers(whole.read("experts.*.up.weight"))], [5, 6, 7, 8, 5, 6, 7, 8]); // the other says the same
  assert.throws(() => whole.write("experts.*.up.weight", fromNumbers("f32", [1, 4], [1, 2, 3, 4])), /\[2, 4\]/);
  assert.is(spread(inner, alone), inner);
  assert.is(dealing(whole.stores, two(0), 6), "2 workers: batch 6 = 2 x 3; 2 experts spread, 1 each");
  assert.is(
    dealing(inner.stores, { size: 3 }, 6),
    "3 workers: batch 6 = 3 x 2; 2 experts on each worker: no more than 1 divides both 2 and 3",
  );
  const grouped = spread(
    local,
    four(3, () => new Uint8Array(16)),
  );
  grouped.write("experts.*.up.weight", all);
  assert.equal([...numbers(held.get("experts.*.up.weight") ?? all)], [5, 6, 7, 8]);
  assert.equal([...numbers(grouped.read("experts.*.up.weight"))], [5, 6, 7, 8, 5, 6, 7, 8]); // of the first two
  assert.is(
    dealing(whole.stores, { size: 4 }, 8),
    "4 workers: batch 8 = 4 x 2; 2 experts spread over 2, 1 each, in 2 groups",
  );
  assert.is(dealing(inner.stores, { size: 4 }, 8, 1), "4 workers: batch 8 = 4 x 2; 2 experts on each worker");
  assert.equal(hiddenInput("$rank", { seed: 0, call: 0, step: 0, rank: 1 })?.data, Int32Array.of(1));
});
const crowding = (): never => {
  throw new Error("NO_ROOM: worker 1 is sent 9 rows, and has room for 8");
};
test("more rows than there is room for are a Problem, which all find: none has to end the others", async () => {
  const all = two(0);
  const run = spread(new FakeExecutable({ before: crowding }), all).run("evaluate", new Map(), {
    seed: 0,
    call: 0,
    step: 0,
  });
  const error = await run.catch((e: unknown) => e);
  assert.instance(error, Problem);
  assert.match((error as Problem).message, /^worker 1 is sent 9 rows/);
  all.atExit(0);
});
test("a batch that cannot be dealt, and what is piped in, are refused", () => {
  requireDealt(6, two(0));
  assert.match(thrown(() => requireDealt(7, two(0))).help, "--batch 6 or 8");
  assert.match(thrown(() => requireDealt(1, two(0))).help, /--batch 2$/);
  assert.match(thrown(() => requireFiles(["/dev/stdin"], two(0))).message, "piped");
  requireFiles(["/dev/stdin"], alone);
  assert.match(thrown(() => requireShared({ room: 1.5 }, alone)).message, "room is of several workers");
  assert.match(thrown(() => requireShared({ expertParallel: 1 }, alone)).message, "spread of experts is of several");
  requireShared({ room: 1.5, expertParallel: 2 }, two(0));
  requireShared({ expertParallel: 3 }, { size: 6 });
  for (const expertParallel of [4, 0, -2, 1.5, 12])
    assert.is(thrown(() => requireShared({ expertParallel }, { size: 6 })).help, "spread them over 1, 2, 3 or 6");
});

const launched = { OMPI_COMM_WORLD_SIZE: "2", OMPI_COMM_WORLD_RANK: "0", MOEC_LIBMPI: "/none/libmpi.so" };
test("under mpirun other commands are refused, and training names the MPI that is missing", () => {
  const env = { ...process.env, ...launched };
  const doctor = command(["doctor"], env);
  assert.match(doctor.stderr, "2 processes were started, and `moec doctor` runs in one");
  assert.is(doctor.status, 1);
  assert.is(command(["--version"], env).status, 0);
  const train = command(["train", "examples/gpt-moe.moe", "--data", "README.md"], env);
  assert.match(train.stderr, "MOEC_LIBMPI");
  assert.is(train.status, 1);
  const second = command(["--version"], { ...env, OMPI_COMM_WORLD_RANK: "1" });
  assert.equal([second.status, second.stdout], [0, ""]);
});

const text = join(root, "text.txt");
writeFileSync(text, "It was the best of times, it was the worst of times. ".repeat(20));
const tiny = ["V=128", "D=8", "H=8", "L=1", "Heads=2", "E=4", "Context=32"].flatMap((size) => ["--set", size]);
const small = ["--batch", "6", "--length", "8", "--accumulate", "2", "--steps", "6", "--threads", "1", "--json"];
const launcher = mpirun ?? [];
interface Ended {
  readonly losses: readonly number[];
  readonly held: readonly number[];
  readonly code: number | null;
  readonly said: string;
}
/** A process for each of `each`, with those arguments of node; `then` gets the launcher, or the only process, when step `at` is done. */
async function started(
  each: readonly (readonly string[])[],
  at = 0,
  then?: (run: ChildProcess) => void,
): Promise<Ended> {
  const all = each.flatMap((args, i) => [...(i > 0 ? [":"] : []), "-n", "1", process.execPath, ...args]);
  const [file = "", ...args] = each.length === 1 ? all.slice(2) : [...launcher, ...all];
  const run = spawn(file, args, { cwd: home, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<number | null>((done) => run.on("close", done));
  let said = "";
  run.stderr.on("data", (data: Buffer) => (said += data.toString()));
  const [losses, held]: [number[], number[]] = [[], []];
  for await (const line of createInterface(run.stdout)) {
    const { step, loss, held_out } = JSON.parse(line) as { step?: number; loss?: number; held_out?: number };
    if (loss !== undefined) losses.push(loss);
    if (held_out !== undefined) held.push(held_out);
    if (step === at && loss !== undefined) then?.(run);
  }
  return { losses, held, code: await ended, said };
}
/** `moec train` by as many workers as lists of flags. */
const train = (
  folder: string,
  each: readonly (readonly string[])[],
  ...then: [number?, ((run: ChildProcess) => void)?]
) =>
  started(
    each.map((flags) => [
      main,
      "train",
      "examples/gpt-moe.moe",
      "--data",
      text,
      "--out",
      folder,
      ...tiny,
      ...small,
      ...flags,
    ]),
    ...then,
  );
const workers = (n: number, ...flags: readonly string[]): (readonly string[])[] =>
  Array.from({ length: n }, () => flags);
const folder = (name: string): string => join(root, name);

/** To so much of the largest number. */
function requireNear(name: string, of: ArrayLike<number>, as: ArrayLike<number>, bound: number): void {
  const most = bound * Math.max(0, ...Array.from(as, Math.abs));
  const near = Array.from(as, (x, i) => Math.abs(x - (of[i] ?? Number.NaN)) <= most);
  assert.ok(
    of.length === as.length && near.every(Boolean),
    `${name}: ${Array.from(of).join()} for ${Array.from(as).join()}`,
  );
}
function requireSameRun(one: string, other: string): void {
  const [a, b] = [one, other].map((name) => newestCheckpoint(folder(name), () => {}));
  assert.equal(b?.state, a?.state);
  for (const part of ["model", "training"] as const) {
    assert.equal([...(b?.[part].keys() ?? [])], [...(a?.[part].keys() ?? [])]);
    for (const [name, t] of a?.[part] ?? []) {
      requireNear(name, numbers(b?.[part].get(name) ?? t), numbers(t), 1e-4);
    }
  }
}
function requireSameLosses(of: Ended, as: Ended): void {
  assert.is(of.code, 0, of.said);
  for (const part of ["losses", "held"] as const) {
    assert.is(of[part].length, as[part].length, of.said);
    requireNear(part, of[part], as[part], 1e-5);
  }
}
const inTheWay = (): void => writeFileSync(join(folder("full"), "checkpoints"), "no folder");
function second(run: ChildProcess): number {
  const children = readFileSync(`/proc/${run.pid}/task/${run.pid}/children`, "utf8").trim().split(" ");
  return Number(children.at(-1));
}
const bits = (name: string): Buffer[] =>
  ["model", "training"].map((part) =>
    readFileSync(join(folder(name), "checkpoints", "step-000006", `${part}.safetensors`)),
  );

if (!mpirun) skipped("training by several processes");
else {
  test("two workers train what one does, to rounding; with other threads the same bits, and another number of them goes on", async () => {
    const often = ["--evaluate-every", "3"];
    const alone = await train(folder("one"), workers(1, ...often));
    requireSameLosses(await train(folder("two"), workers(2, ...often)), alone);
    requireSameRun("one", "two");
    for (const [name, n, ...flags] of [
      ["mixed", 2, "--steps", "2", "--room", "1.9"],
      ["mixed", 1, "--steps", "4", "--resume"],
      ["mixed", 2, "--steps", "6", "--resume"],
      ["threads", 2, "--steps", "3", "--threads", "2"],
      ["threads", 2, "--resume", "--threads", "2"],
    ] as const) {
      const { code, said } = await train(folder(name), workers(n, ...flags));
      assert.is(code, 0, said);
    }
    requireSameRun("one", "mixed");
    assert.equal(bits("threads"), bits("two"));
  });
  test("four workers in two groups train what one does; whoever goes on, in other groups or alone, and again with the same bits", async () => {
    const sizes = ["--batch", "4", "--set", "E=6"];
    const alone = await train(folder("of one"), workers(1, ...sizes));
    requireSameLosses(await train(folder("grouped"), workers(4, ...sizes)), alone);
    requireSameRun("of one", "grouped");
    for (const [name, n, ...flags] of [
      ["regrouped", 4, "--steps", "2", "--room", "1.9"],
      ["regrouped", 4, "--steps", "4", "--resume", "--expert-parallel", "1"],
      ["regrouped", 1, "--resume"],
      ["again", 4, "--steps", "3", "--expert-parallel", "2"],
      ["again", 4, "--resume"],
    ] as const) {
      const { code, said: why } = await train(folder(name), workers(n, ...sizes, ...flags));
      assert.is(code, 0, why);
    }
    requireSameRun("of one", "regrouped");
    assert.equal(bits("again"), bits("grouped"));
  });
  test("`train` in TypeScript, by three workers that share no experts; other batches on one are refused", async () => {
    const args = [...launcher, "-n", "3", process.execPath, "--import", "tsx", "test/workers/embedded.ts"];
    const [file = "", ...more] = args;
    const { stdout, stderr } = spawnSync(file, more, { cwd: home, encoding: "utf8" });
    const { losses, state, apart } = JSON.parse(stdout || JSON.stringify(stderr)) as Given & { readonly apart: string };
    const alone = await trained();
    requireNear("losses", losses, alone.losses, 1e-5);
    assert.equal(Object.keys(state), Object.keys(alone.state));
    for (const [name, all] of Object.entries(alone.state)) requireNear(name, state[name] ?? [], all, 1e-4);
    assert.match(apart, "worker 1 has other inputs of train than worker 0");
  });
  test("a signal to any worker: all end, and the run is saved", async () => {
    const endless = workers(2, "--steps", "1000000", "--save-every", "0");
    const { code, said, losses } = await train(folder("stopped"), endless, 3, (run) =>
      process.kill(second(run), "SIGTERM"),
    );
    assert.is(code, 0, said);
    const [last = 0] = checkpointSteps(folder("stopped"));
    assert.match(said, `stopped at step ${last}; saved in`);
    assert.is(losses.length, last);
  });
  test("what is wrong on one worker, or on all, is said once, and all end", async () => {
    const wrong: [string, (readonly string[])[], RegExp][] = [
      [
        "seeds",
        [
          ["--seed", "1"],
          ["--seed", "2"],
        ],
        /worker 1 has another --seed than worker 0: 2, not 1/,
      ],
      ["room", [["--room", "1.5"], []], /worker 1 has another `--room` .* than worker 0: none, not 1.5/],
      ["batch", workers(2, "--batch", "7"), /--batch 7 cannot be dealt to 2 workers/],
      ["params", [[], ["--params", "none.safetensors"]], /none.safetensors/],
      ["full", workers(2, "--steps", "1000000", "--save-every", "500"), /checkpoints/],
    ];
    for (const [name, each, message] of wrong) {
      const { code, said } = await train(folder(name), each, 3, inTheWay);
      assert.ok(code !== 0, said);
      assert.match(said, message);
      assert.is(said.match(/error:/g)?.length, 1, said);
    }
  });
}

test.run();
