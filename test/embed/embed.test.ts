// A program in one's own TypeScript: runs at once, ends, and what is asked at the wrong time.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import type { CompileReport } from "../../runtime/compile.ts";
import { Program } from "../../runtime/embed/compiled-program.ts";
import { type CompileOptions, compile, moe, type Tensor, tensor } from "../../runtime/index.ts";
import { assertProblem } from "../assert-problem.ts";
import { First, filled, first, Sized, sizes, Twice, targets, withCompiled } from "../embed-programs.ts";
import { FakeExecutable } from "../fake-executable.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("embed");
for (const target of targets)
  test(`runs at once each give their own results, on ${target}`, () =>
    withCompiled({ target }, async (program) => {
      const all = Array.from({ length: 20 }, (_, i) => i + 1);
      for (let round = 0; round < 3; round++) {
        const results = await Promise.all(all.map((i) => first(program, filled(i))));
        assert.equal(
          results,
          all.map((i) => 2 * i),
        );
      }
    }));
test("runs of some milliseconds follow one another, and read their inputs before they return", () =>
  withCompiled(
    { sizes: { D: 128, N: 256 } },
    async (program) => {
      const x = filled(0, 256 * 128);
      const runs = [1, 2, 3, 4].map((i) => first(program, x.fill(i)));
      assert.equal(await Promise.all(runs), [1, 2, 3, 4]);
    },
    Sized,
  ));
test("a text is a program, with its name in errors, and imports relative to that", async () => {
  const text = "layer Twice(D) { forward(x: float[N, D]) -> float[N, D] { return 2 * x } }";
  const two = `${text} layer Same(D) { forward(x: float[N, D]) -> float[N, D] { return x } }`;
  for (const source of [{ text }, { text: two, name: "a.moe", declaration: "Twice" }])
    await withCompiled(
      { target: "reference" },
      async (program) => assert.is(await first(program, filled(3)), 6),
      source,
    );
  const wrong = { text: text.replace("return", "retrun"), name: "mine.moe" };
  const why = await compile(wrong, { sizes }).then(() => "", String);
  assert.match(why, "--> mine.moe:1:");
  const folder = temporaryFolder();
  writeFileSync(join(folder, "twice.moe"), text);
  const importing = `import { Twice } from "./twice.moe"
    layer Own(D) { twice: Twice(D) forward(x: float[N, D]) -> float[N, D] { return twice(x) } }`;
  const placed = { text: importing, name: join(folder, "own.moe") };
  await withCompiled({ target: "reference" }, async (program) => assert.is(await first(program, filled(3)), 6), placed);
});
const sized = (i: number): Promise<Program> => compile(Sized, { sizes: { D: 64, N: 64 }, threads: 1 + (i % 2) });
test("eight programs run at once", async () => {
  const one = await sized(0); // the others find its kernels
  const programs = [one, ...(await Promise.all([1, 2, 3, 4, 5, 6, 7].map(sized)))];
  const results = await Promise.all(
    programs.flatMap((program, i) => [1, 2, 3].map((k) => first(program, filled(i * k, 4096)))),
  );
  assert.equal(
    results,
    programs.flatMap((_, i) => [i, 2 * i, 3 * i]),
  );
  for (const program of programs) program.close();
});

test("memory is freed once the runs that were asked for have ended, though the last one fails", async () => {
  const executable = new FakeExecutable({
    before: (_, step) => {
      assert.is(executable.closed, false);
      if (step === 2) throw new Problem("no memory", "take less");
    },
  });
  const program = new Program(executable, { choices: {} } as CompileReport, "train", 0);
  const runs = [1, 2].map((step) => program.run({}, { step }));
  program.close();
  assert.is(executable.closed, false);
  const ends = await Promise.allSettled(runs);
  assert.equal(
    ends.map(({ status }) => status),
    ["fulfilled", "rejected"],
  );
  assert.ok(executable.closed);
  const idle = new FakeExecutable();
  new Program(idle, { choices: {} } as CompileReport, "train", 0).close();
  assert.ok(idle.closed);
});
for (const target of targets) {
  test(`a program is closed after the runs that were asked for before, on ${target}`, async () => {
    const program = await compile(Twice, { sizes, target });
    await first(program, filled(1));
    const runs = [1, 2].map((i) => first(program, filled(i)));
    program.close();
    program.close();
    await assertProblem(() => first(program, filled(1)), "is closed", "compile it again");
    assert.equal(await Promise.all(runs), [2, 4]);
    for (const use of [() => program.read("w"), () => program.load(new Map())])
      await assertProblem(use, "is closed", "compile it again");
    assert.equal(program.names, ["w"]);
  });
  test(`a program says which inputs it takes, on ${target}`, async () => {
    const x = ["x", { dtype: "f32", shape: [2, 4] }];
    await withCompiled({ target }, async ({ inputs }) => assert.equal([...inputs], [x]));
    await withCompiled({ target, given: ["scale"] }, async ({ inputs }) =>
      assert.equal([...inputs], [x, ["scale", { dtype: "f32", shape: [] }]]),
    );
  });
  test(`parameters are neither read nor set while a run lasts, on ${target}`, () =>
    withCompiled({ target }, async (program) => {
      await first(program, filled(1));
      const w: Tensor = { dtype: "f32", shape: [4], data: filled(3, 4) };
      for (const use of [() => program.load(new Map([["w", w]])), () => program.read("w")]) {
        const run = first(program, filled(1));
        await assertProblem(use, "is running", "await");
        assert.is(await run, 2);
      }
      program.load(new Map([["w", w]]));
      program.restore(program.state(), 0); // of a program without an optimizer
      assert.equal(program.read("w"), w);
      assert.is(await first(program, filled(1)), 3);
    }));
  test(`an input that the entry does not read may be left out, on ${target}`, () =>
    withCompiled({ target }, async (program) => assert.is(await first(program, filled(1)), 2), First));
  test(`cotangents that are not given are 1 in bf16 too, on ${target}`, () =>
    withCompiled({ target, gradients: true, precision: "bf16" }, async (program) => {
      const { gradients } = await program.run({ x: filled(3) });
      assert.equal(
        [...(gradients.get("input.x")?.data ?? [])],
        Array.from({ length: 8 }, () => 0x4000),
      );
    }));
}
for (const target of targets)
  test(`gradients of an array of layers have the names of its parameters, on ${target}`, async () => {
    const { Experts } = moe<"Experts">`
      import { Linear } from "std/nn"
      layer Experts(D, E) {
        experts: Linear(D, 1)[E]
        forward(x: float[N, D], index: i32[N]) -> float[N, 1] { return experts[index](x) }
      }`;
    const options: CompileOptions = { target, gradients: true, sizes: { D: 2, E: 2, N: 2 } };
    await withCompiled(
      options,
      async (program) => {
        const { gradients } = await program.run({ x: Float32Array.of(1, 2, 3, 4), index: Int32Array.of(1, 0) });
        assert.equal([...gradients.keys()].toSorted(), [...program.names, "input.x"]);
        assert.equal(gradients.get("experts.0.weight"), tensor("f32", [2, 1], [3, 4]));
        assert.equal(gradients.get("experts.1.weight"), tensor("f32", [2, 1], [1, 2]));
      },
      Experts,
    );
  });
test("a loss beside outputs: it and those of floats have gradients, of parameters and inputs alone", async () => {
  const { Both } = moe<"Both">`
    layer Both(D) {
      param w: float[D] = 2
      state held: float[D] = 3
      forward(x: float[N, D]) -> (float[N, D], i32[N]) {
        loss square = sum(w * w)
        return held * w * x, range(N)
      }
    }`;
  await withCompiled(
    { target: "reference", gradients: true },
    async (program) => {
      const whole = { x: filled(1), "cotangent.1": new Int32Array(2) };
      await assertProblem(() => program.run(whole), "has no input cotangent.1", "x, cotangent.0");
      const { gradients } = await program.run({ x: filled(1), "cotangent.0": filled(5) });
      assert.equal([...gradients.keys()], ["w", "input.x"]);
      assert.equal(gradients.get("w")?.data, filled(2 * 5 * 3 + 2 * 2, 4));
      assert.equal(gradients.get("input.x")?.data, filled(5 * 3 * 2));
    },
    Both,
  );
});
test("inputs and cotangents in f32 of a program in f64 are taken as they are", () =>
  withCompiled({ target: "reference", gradients: true, precision: "f64" }, async (program) => {
    const x: Tensor = { dtype: "f32", shape: [2, 4], data: filled(0.1) };
    const given = await program.run({ x: filled(0.1), "cotangent.0": filled(1) });
    const same = await program.run({ x });
    assert.equal(given.outputs, same.outputs);
    assert.is(given.outputs[0]?.data[0], 2 * Math.fround(0.1));
    assert.equal(given.gradients, same.gradients);
  }));
for (const target of targets) {
  const x = filled(1);
  test(`a run whose signal was aborted before its turn is rejected, and the others are not, on ${target}`, () =>
    withCompiled({ target }, async (program) => {
      const stop = new AbortController();
      const runs = [{}, { signal: stop.signal }, {}].map((options) => program.run({ x }, options));
      stop.abort(new Error("enough"));
      const ends = await Promise.allSettled(runs);
      assert.equal(
        ends.map((end) => (end.status === "fulfilled" ? end.value.outputs[0]?.data[0] : String(end.reason))),
        [2, "Error: enough", 2],
      );
    }));
}
test("a run on the host ends before its next kernel when it is aborted", () =>
  withCompiled(
    { sizes: { D: 256, N: 2048 } },
    async (program) => {
      const x = filled(1, 256 * 2048);
      const stop = new AbortController();
      const run = program.run({ x }, { signal: stop.signal });
      stop.abort();
      const error = await run.catch((reason: unknown) => reason);
      assert.is((error as Error).name, "AbortError");
      assert.is(await first(program, x), 1);
    },
    Sized,
  ));
test("a run that first makes copies of parameters in bf16 is rejected when it is aborted meanwhile", () => {
  const { Product } = moe<"Product">`
    import { Sgd } from "std/optim"
    model Product(D) {
      param w: float[D, D] = 1
      train(x: float[N, D]) {
        loss mean = mean(f32(x @ w))
        optimize with Sgd(lr: 0)
      }
    }`;
  const options = { sizes: { D: 64, N: 2 }, entry: "train", precision: "bf16" } as const;
  return withCompiled(options, abortedWithCopies, Product);
});
async function abortedWithCopies(program: Program): Promise<void> {
  const x = filled(1, 128);
  const written = (): void => program.load(new Map([["w", program.read("w")]]));
  written();
  assert.is((await program.run({ x })).losses.get("mean"), 64);
  written(); // and now it is known that the copies take little time
  const stop = new AbortController();
  const run = program.run({ x }, { signal: stop.signal });
  stop.abort(new Error("enough"));
  assert.is(String(await run.catch((reason: unknown) => reason)), "Error: enough");
  assert.is((await program.run({ x })).losses.get("mean"), 64);
}
for (const target of targets)
  test(`timers have their turn among short runs, on ${target}`, () =>
    withCompiled({ target }, async (program) => {
      const begun = process.cpuUsage(); // of time that others take, nothing is known
      let ticks = 0;
      const timer = setInterval(() => (ticks += 1), 1);
      while (process.cpuUsage(begun).user < 2e5) await first(program, filled(1));
      clearInterval(timer);
      assert.ok(ticks >= 8, `${ticks} times in 200 ms`);
    }));
test("elements in shared memory", () =>
  withCompiled({}, async (program) =>
    assert.is(await first(program, new Float32Array(new SharedArrayBuffer(32)).fill(5)), 10),
  ));

test.run();
