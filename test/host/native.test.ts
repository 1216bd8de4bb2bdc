import { readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import type { Layout } from "../../compiler/plan/plan.ts";
import type { Sequence, VirtualBuffer } from "../../compiler/plan/sequence.ts";
import { bytesOf, type DType, dtypes } from "../../compiler/types/dtype.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { repeatOrRun, type Tensor } from "../../runtime/executable/executable.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { hashOfSources } from "../../runtime/native/sources.js";
import { native, requireCurrent } from "../../runtime/native.ts";
import { fromNumbers, zeros } from "../../runtime/tensor.ts";
import { problem } from "../assert-problem.ts";
import { project } from "../project.ts";
import { buffer, header, launch, ofStore, pointwise, read, storeOf, write } from "../sequences.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("native");
const cache = new KernelCache(temporaryFolder());
const at = { seed: 1, call: 2, step: 3 };
const tensor = (shape: readonly number[], f: (i: number) => number): Tensor => {
  const { data } = zeros("f32", shape);
  return { dtype: "f32", shape, data: data.map((_, i) => f(i)) };
};

/** y = 2x in 37 tasks, then the sum of y in one, then w += the sum: each needs all of the one before. `flops`: of the first. */
function chain(rows: number, flops = 0) {
  const w = ofStore(buffer("w", [1]));
  const x = ofStore(buffer("train/x", [rows, 16]));
  const [y, sum, next] = [buffer("y", [rows, 16]), buffer("sum", [1]), buffer("next", [1])];
  const sequence: Sequence = {
    entry: "train",
    launches: [
      {
        ...launch(
          "twice",
          "for (int j = 0; j < 16; j++) b[t * 16 + j] = 2 * a[t * 16 + j];",
          [pointwise(x), write(y)],
          rows,
        ),
        flops,
      },
      launch("total", `b[0] = 0; for (int j = 0; j < ${rows * 16}; j++) b[0] += a[j];`, [read(y), write(sum)]),
      launch("grow", "scratch[t] = a[0]; c[0] = scratch[0] + b[0];", [read(sum), pointwise(w), write(next)]),
    ],
    assigns: [{ store: "w", from: next }],
    results: [
      { role: "output", name: "0", buffer: y },
      { role: "loss", name: "total", buffer: sum },
    ],
  };
  return planMemory([sequence], [storeOf(w), storeOf(x, "input")], { target: "host", header });
}

for (const [threads, flops] of [1, 2, 3].flatMap((n) => [0, 1e6].map((m) => [n, m] as const))) {
  test(`a chain of launches on ${threads} threads, the first ${flops > 0 ? "shared" : "small"}`, async () => {
    const executable = await hostExecutable(chain(37, flops), { threads, cache, poison: true });
    for (let call = 1; call <= 200; call++) {
      const { outputs, losses } = await executable.run("train", new Map([["x", tensor([37, 16], (i) => i % 7)]]), at);
      assert.is(losses.get("total"), 2 * Array.from({ length: 37 * 16 }, (_, i) => i % 7).reduce((a, b) => a + b));
      assert.is(executable.read("w").data[0], call * (losses.get("total") ?? Number.NaN));
      assert.equal(outputs[0]?.data[591], 2 * (591 % 7));
    }
    executable.close();
  });
}

test("each thread's scratch begins in its page where arrays do not", async () => {
  const places = buffer("places", [64]);
  const step = {
    ...launch("place", "scratch[0] = t; a[t] = (unsigned long)scratch % 4096;", [write(places)], 64),
    flops: 1e9,
  };
  const results = [{ role: "output" as const, name: "0", buffer: places }];
  const plan = planMemory([{ entry: "e", launches: [step], assigns: [], results }], [], { target: "host", header });
  const executable = await hostExecutable(plan, { threads: 3, cache });
  const { outputs } = await executable.run("e", new Map(), at);
  assert.equal(new Set(outputs[0]?.data), new Set([1024]));
  executable.close();
});
/**
 * Launches of so many tasks each; a task reads what all tasks of the launch before wrote. Of no tasks: they stand beside the chain. Every other one is
 * said to be so long that its tasks are taken one by one.
 */
function links(tasks: readonly number[]) {
  const most = Math.max(...tasks);
  const given = ofStore(buffer("e/x", [most, 16]));
  let before = given;
  const launches = tasks.map((n, i) => {
    const next = buffer(`y${i}`, [n, 16]);
    const body = `int s = 0; for (int i = 0; i < ${before.shape[0]}; i++) s += (int)a[i * 16]; b[t * 16] = (3 * s + t + ${i}) % 1009;`;
    const made = launch(`link${i}`, body, [read(before), write(next)], n);
    if (n > 0) before = next;
    return { ...made, flops: n > 4 ? ([1e6, 1e9][i % 2] ?? 0) : 0, bytes: 64 };
  });
  const results = [{ role: "output" as const, name: "0", buffer: before }];
  return planMemory([{ entry: "e", launches, assigns: [], results }], [storeOf(given, "input")], {
    target: "host",
    header,
  });
}
test("launches wait for all of the one before, shared, small and empty ones in turn, on up to five threads", async () => {
  const tasks = [3, 40, 1, 2, 5, 0, 64, 7, 1, 0, 2, 33, 1, 6];
  const plan = links(tasks);
  for (const threads of [1, 2, 3, 5]) {
    const executable = await hostExecutable(plan, { threads, cache });
    for (let call = 0; call < 100; call++) {
      let row = Array.from({ length: 64 }, (_, i) => (i * call) % 13);
      const x = tensor([64, 16], (i) => row[i / 16] ?? 0);
      for (const [i, n] of tasks.entries()) {
        const sum = row.reduce((a, b) => a + b);
        if (n > 0) row = Array.from({ length: n }, (_, t) => (3 * sum + t + i) % 1009);
      }
      const { outputs } = await executable.run("e", new Map([["x", x]]), at);
      assert.equal(
        row.map((_, t) => outputs[0]?.data[t * 16]),
        row,
      );
    }
    executable.close();
  }
});

const layouts = (cols: number): readonly Layout[] => [
  { kind: "rows", pitch: cols },
  { kind: "rows", pitch: cols + 5 },
  { kind: "panels", width: 64 },
  { kind: "panels", width: 3 },
];
const shapes = [[], [1], [17], [3, 1], [5, 67], [2, 3, 64], [3, 2, 5, 7], [0], [4, 0]];
/** So large in f32 that threads share it. */
const large = [3, 70, 1300];

/** Where an element lies by the layouts' own words. */
function addressOf(shape: readonly number[], layout: Layout, i: number): number {
  const cols = shape.at(-1) ?? 1;
  const rows = shape.at(-2) ?? 1;
  const [row, c] = [Math.floor(i / cols), i % cols];
  if (layout.kind === "rows") return row * layout.pitch + c;
  const panel = Math.floor(row / rows) * Math.ceil(cols / layout.width) + Math.floor(c / layout.width);
  return (panel * rows + (row % rows)) * layout.width + (c % layout.width);
}
function raw(shape: readonly number[], layout: Layout, dtype: DType) {
  const cols = shape.at(-1) ?? 1;
  const pitch = layout.kind === "rows" ? layout.pitch : layout.width;
  const rows = shape.at(-2) ?? 1;
  const outer = shape.slice(0, -2).reduce((a, b) => a * b, 1);
  const floor = outer * rows * (layout.kind === "rows" ? pitch : Math.ceil(cols / pitch) * pitch);
  const width = bytesOf[dtype];
  return {
    size: floor,
    buffer: { offset: 0, bytes: floor * width, width, outer, rows, cols, pitch, panels: layout.kind === "panels" },
  };
}

test("layouts hold what they say, and come back; padding is zero", () => {
  const { Executor } = native();
  for (const dtype of dtypes) {
    for (const shape of dtype === "f32" ? [...shapes, large] : shapes) {
      for (const layout of layouts(shape.at(-1) ?? 1)) {
        const { size, buffer } = raw(shape, layout, dtype);
        const whole = { ...buffer, outer: 1, rows: 1, cols: size, pitch: size, panels: false };
        const executor = new Executor({
          bytes: Math.max(4096, buffer.bytes),
          threads: 2,
          scratch: 0,
          buffers: [buffer, whole],
          libraries: [],
          kernels: [],
          entries: [],
        });
        executor.fill(0, Math.max(4096, buffer.bytes), 0xff);
        const data = zeros(dtype, shape).data.map((_, i) => 1 + (i % 100));
        executor.write(0, data);
        const memory = zeros(dtype, [size]).data;
        executor.read(1, memory);
        const expected = zeros(dtype, [size]).data;
        data.forEach((value, i) => {
          expected[addressOf(shape, layout, i)] = value;
        });
        assert.equal(memory, expected, `${dtype}[${shape.join()}] ${JSON.stringify(layout)}`);
        const matrix = buffer.rows * buffer.cols;
        if (matrix > 0) executor.fill(0, Math.max(4096, buffer.bytes), 0xff);
        for (let i = 0; i < buffer.outer; i++) executor.writePart(0, data.slice(i * matrix, (i + 1) * matrix), i);
        executor.read(1, memory);
        assert.equal(memory, expected, "by parts");
        const back = zeros(dtype, shape).data;
        executor.read(0, back);
        assert.equal(back, data);
        const one = zeros(dtype, [matrix]).data;
        for (let i = 0; i < buffer.outer; i++) {
          executor.readPart(0, one, i);
          assert.equal(one, data.slice(i * matrix, (i + 1) * matrix));
        }
        executor.close();
      }
    }
  }
});

test("errors are messages", async () => {
  const { Executor } = native();
  const spec = { bytes: 64, threads: 2, scratch: 0, buffers: [], libraries: [], kernels: [], entries: [{ steps: [] }] };
  const floats = { offset: 0, bytes: 64, width: 4, outer: 1, rows: 1, cols: 16, pitch: 16, panels: false };
  assert.throws(() => new Executor({ ...spec, libraries: ["/nowhere.so"] }), /cannot load kernels.*nowhere/);
  assert.throws(() => new Executor({ ...spec, buffers: [{ ...floats, offset: 64 }] }), /does not fit/);
  assert.throws(() => new Executor({ ...spec, bytes: 2 ** 50 }), /cannot get .* bytes/);
  const executor = new Executor({ ...spec, buffers: [floats] });
  assert.throws(() => executor.write(0, new Float32Array(15)), /60 bytes is given for a buffer of 64/);
  for (const [elements, first] of [
    [15, 0],
    [16, 1],
    [32, 0],
    [16, -1],
  ] as const)
    assert.throws(() => executor.writePart(0, new Float32Array(elements), first), /is not of whole matrices/);
  assert.throws(() => executor.read(7, new Float32Array(15)), /range/);
  assert.throws(() => executor.run(1, false), /range/);
  executor.close();
  assert.throws(() => executor.read(0, new Float32Array(16)), /closed/);
});

test("an entry that took little time is run at once", async () => {
  const { Executor } = native();
  const executor = new Executor({
    bytes: 64,
    threads: 2,
    scratch: 0,
    buffers: [],
    libraries: [],
    kernels: [],
    entries: [{ steps: [] }],
  });
  let [run, tries] = [executor.run(0, false), 0];
  assert.instance(run, Promise);
  while (run instanceof Promise && tries++ < 99) {
    assert.ok((await run).finished);
    run = executor.run(0, false);
  }
  assert.not.instance(run, Promise);
  executor.close();
});

const threadsAlive = (): number => readdirSync("/proc/self/task").length;
test("executors that nobody closes are collected before much memory is held, and their threads with it", async () => {
  const { Executor } = native();
  if (process.platform !== "linux") return;
  const spec = { bytes: 2 ** 26, threads: 2, scratch: 0, buffers: [], libraries: [], kernels: [], entries: [] };
  const before = threadsAlive();
  for (let i = 0; i < 60; i++) {
    assert.instance(new Executor(spec), Executor);
    await new Promise((done) => setTimeout(done, 1));
  }
  assert.ok(threadsAlive() - before < 45, `${threadsAlive() - before} threads`); // of 60; when V8 collects is its own affair
});

/** An entry whose result fits its input; `workers`: whose result is as many times as long, that of worker w with a factor of 3 + w. */
function feed(workers = 1) {
  const names = ["e/to", "e/next", "$key", "from"];
  const [to, next, key, from] = names.map((name, i) => {
    const made = buffer(name, [i < 3 ? 2 : 2 * workers], { dtype: "i32" });
    return i < 3 ? ofStore(made) : made;
  }) as [VirtualBuffer, VirtualBuffer, VirtualBuffer, VirtualBuffer];
  const own = "((i32*)a)[i % 2] + ((i32*)b)[i % 2] + ((i32*)c)[1]";
  const body = `for (int i = 0; i < ${2 * workers}; i++) ((i32*)d)[i] = (3 + i / 2) * ${own};`;
  const sequence: Sequence = {
    entry: "e",
    launches: [launch("feed", body, [read(to), read(next), read(key), write(from)])],
    assigns: [],
    results: [{ role: "output", name: "0", buffer: from }],
  };
  const inputs = [to, next, key].map((b) => ({
    ...storeOf(b, "input"),
    ...(b === to ? { shards: [{ axis: 0, parts: workers, stride: 1 }] } : {}),
  }));
  return planMemory([sequence], inputs, { target: "host", header });
}
test("an entry is run again and again: its result is its input, and what counts goes up", async () => {
  const executable = await hostExecutable(feed(), { threads: 2, cache });
  const given = new Map(
    Object.entries({ to: [1, 2], next: [5, -1] }).map(([name, data]) => [name, fromNumbers("i32", [2], data)]),
  );
  const repeat = (times: number, within: number) =>
    repeatOrRun(executable, { times, within, beside: within, to: "to", next: "next" }, "e", given, {
      seed: 1,
      call: 40,
      step: 0,
    });
  const endless = repeat(1e12, 1e12);
  executable.cancel();
  await endless.then(
    () => assert.unreachable(),
    (error: unknown) => assert.match(String(error), /cancelled/),
  );
  const expected: number[] = [];
  for (let [n, x, y] = [0, 1, 2]; n < 9; n++) expected.push((x = 3 * x + 45 + 2 * n), (y = 3 * y + 39 + n));
  for (const times of [9, 1, 3]) assert.equal([...(await repeat(times, 1e4))], expected.slice(0, 2 * times));
  assert.equal([...(await repeat(9, 0))], expected.slice(0, 2));
  executable.close();
});

test("a worker whose input is a part of the result is fed its own part", async () => {
  const executable = await hostExecutable(feed(3), { threads: 1, cache });
  const given = new Map(["to", "next"].map((name) => [name, fromNumbers("i32", [2], [1, 2])]));
  const how = { times: 4, within: 1e4, beside: 1e4, to: "to", next: "next" };
  const all = await repeatOrRun(executable, how, "e", given, { ...at, rank: 4 });
  const expected: number[] = [];
  for (let [n, x, y] = [0, 1, 2]; n < 4; n++, [x, y] = expected.slice(-4, -2) as [number, number])
    for (const factor of [3, 4, 5]) expected.push(factor * x + 3 + 2 * n, factor * y + 4 + 2 * n);
  assert.equal([...all], expected);
  executable.close();
});

test("what is repeated on another thread may go on for longer than what JavaScript waits for", async () => {
  const executable = await hostExecutable(feed(), { threads: 2, cache });
  const given = new Map(["to", "next"].map((name) => [name, fromNumbers("i32", [2], [1, 2])]));
  const how = { times: 9, within: 0, beside: 1e4, to: "to", next: "next" };
  const runs: number[] = [];
  do runs.push((await repeatOrRun(executable, how, "e", given, at)).length / 2);
  while (runs.at(-1) === 9 && runs.length < 99);
  assert.is(runs[0], 9);
  assert.is(runs.at(-1), 1);
  executable.close();
});

/** How many threads of this process may use one core only, as Linux says. */
function threadsOfOneCore(): number {
  const tasks = "/proc/self/task";
  const about = readdirSync(tasks).map((id) => readFileSync(join(tasks, id, "status"), "utf8"));
  return about.filter((text) => /^Cpus_allowed_list:\t\d+$/m.test(text)).length;
}
test("threads that are as many as cores have one each while an entry is repeated, and all afterwards", async () => {
  const threads = availableParallelism();
  if (process.platform !== "linux" || threads < 2) return;
  const executable = await hostExecutable(feed(), { threads, cache });
  const given = new Map([
    ["to", fromNumbers("i32", [2], [1, 2])],
    ["next", fromNumbers("i32", [2], [5, -1])],
  ]);
  const how = { times: 1e12, within: 1e12, beside: 1e12, to: "to", next: "next" };
  const running = repeatOrRun(executable, how, "e", given, at).catch(() => null);
  for (let i = 0; i < 500 && threadsOfOneCore() < threads; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  const found = threadsOfOneCore();
  executable.cancel();
  await running;
  assert.is(found, threads);
  assert.is(threadsOfOneCore(), 0);
  executable.close();
});

test("a run can be cancelled, and nothing is touched while it lasts", async () => {
  const [x, y] = [ofStore(buffer("x", [1])), buffer("y", [1])];
  const slow = "for (volatile int i = 0; i < 20000000; i++); b[0] = a[0];";
  const launches = [
    launch("slow", slow, [read(x), write(y)]),
    ...Array.from({ length: 99 }, () => launch("slow", slow, [read(x), write(y)])),
  ];
  const sequence: Sequence = {
    entry: "main",
    launches,
    assigns: [],
    results: [{ role: "output", name: "0", buffer: y }],
  };
  const plan = planMemory([sequence], [storeOf(x)], { target: "host", header });
  const profiles: number[] = [];
  const executable = await hostExecutable(plan, {
    threads: 2,
    cache,
    profile: (_, times) => profiles.push(times.wall.length),
  });
  const running = executable.run("main", new Map(), at);
  assert.throws(() => executable.read("x"), /running/);
  assert.throws(() => executable.close(), /running/);
  executable.cancel();
  const error = await running.then(
    () => null,
    (e: unknown) => e,
  );
  assert.match(String(error), /main was cancelled/);
  assert.equal(profiles, [100]);
  executable.close();
});

test("a run reports the time of each step", async () => {
  const times: Float64Array[] = [];
  const executable = await hostExecutable(chain(5), {
    threads: 2,
    cache,
    profile: (_, t) => times.push(t.wall, t.busy),
  });
  await executable.run("train", new Map([["x", tensor([5, 16], () => 1)]]), at);
  executable.close();
  assert.is(times.length, 2);
  for (const of of times) {
    assert.is(of.length, 3);
    assert.ok(of.every((t) => t > 0 && t < 1e9));
  }
});

test("what a user gives wrongly is a problem", async () => {
  const executable = await hostExecutable(chain(5), { threads: 1, cache });
  const fails = async (entry: string, inputs: Map<string, Tensor>, message: RegExp): Promise<void> => {
    const error = await executable.run(entry, inputs, at).then(
      () => null,
      (e: unknown) => e,
    );
    assert.ok(error instanceof Problem && message.test(error.message), String(error));
  };
  const x = tensor([5, 16], () => 1);
  await fails("nothing", new Map(), /no entry nothing/);
  await fails("train", new Map(), /input x of train is missing/);
  await fails("train", new Map([["x", tensor([16, 5], () => 1)]]), /x is f32\[5, 16\], and f32\[16, 5\] was given/);
  const wide: Tensor = { ...x, data: new Float64Array(80) };
  await fails("train", new Map([["x", wide]]), /x is f32\[5, 16\], and Float64Array\(80\) was given/);
  await fails(
    "train",
    new Map([
      ["x", x],
      ["z", x],
    ]),
    /train has no input z/,
  );
  executable.close();
});

test("an addon that is older than its sources is refused, one that was made of the same is not", () => {
  const [sources, file] = [temporaryFolder(), join(temporaryFolder(), "moec.node")];
  const source = join(sources, "pool.cpp");
  for (const path of [source, file]) writeFileSync(path, "// one\n");
  const made = { ...native(), sources: hashOfSources(sources) };
  const { sources: _, ...before } = made;
  writeFileSync(join(sources, "install.js"), "");
  utimesSync(file, 10, 10);
  assert.is(requireCurrent(made, file, sources), made, "newer by its time only, as in a copy");
  assert.match(problem(() => requireCurrent(before, file, sources)).message, "older than moec");
  writeFileSync(source, "// two\n");
  assert.match(problem(() => requireCurrent(made, file, sources)).help, "npm run install");
  utimesSync(source, 9, 9);
  assert.is(requireCurrent(made, file, sources), made, "older by its time: not read");
  assert.is(requireCurrent(made, file, join(sources, "none")), made, "a package without sources");
});
test("the addon knows what it was made of", () => {
  assert.is(native().sources, hashOfSources(join(project, "runtime/native")));
});
test.run();
