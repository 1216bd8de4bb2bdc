// Optimizers, schedules, clipping and selectors against 50 steps in PyTorch. How the numbers were made: scripts/peers/optim.py.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import {
  compile,
  type Inputs,
  moe,
  ProgramError,
  readSafetensors,
  type Tensor,
  tensor,
  train,
} from "../../runtime/index.ts";
import { assertClose, given, type PeerTarget, some } from "../peer-results.ts";
import { project } from "../project.ts";

const folder = join(project, "test/peers");
const tensors = readSafetensors(join(folder, "optim.safetensors"));
const names = new Set([...tensors.keys()].filter((k) => k.endsWith(".losses")).map((k) => k.split(".")[0] ?? k));

// PyTorch's own f32 ends up to 1.5e-6 from its f64.
const ways: readonly PeerTarget[] = [
  { target: "reference", precision: "f64", tolerance: 1e-10 },
  { target: "host", precision: "f32", tolerance: 2e-5 },
];

/** Part `i` of `parts` equal ones along the first axis. */
function cut(t: Tensor, i: number, parts: number): Tensor {
  const size = t.data.length / parts;
  return {
    ...t,
    shape: [(t.shape[0] ?? 0) / parts, ...t.shape.slice(1)],
    data: t.data.slice(i * size, (i + 1) * size),
  };
}
/** A batch for each step, or its rows in `parts` batches. */
function* batches(precision: PeerTarget["precision"], parts = 1): Generator<Inputs> {
  const inputs = [...given(some(tensors, "input."), precision)];
  const steps = inputs[0]?.[1].shape[0] ?? 0;
  for (let s = 0; s < steps; s++) {
    const batch = inputs.map(([name, t]): [string, Tensor] => {
      const one = cut(t, s, steps);
      return [name, { ...one, shape: one.shape.slice(1) }];
    });
    for (let i = 0; i < parts; i++)
      yield Object.fromEntries(batch.map(([name, t]) => [name, name === "open" ? t : cut(t, i, parts)]));
  }
}

const test = suite("stdlib-optim");
for (const way of ways)
  for (const declaration of names)
    test(`${declaration}, ${way.target} ${way.precision}`, async () => {
      const { target, precision, tolerance } = way;
      const source = { file: join(folder, "optim.moe"), declaration };
      const program = await compile(source, { entry: "train", sizes: { N: 8 }, target, precision });
      program.load(given(some(tensors, "param."), precision));
      const losses: number[] = [];
      for (const batch of batches(precision))
        losses.push(...(await program.run(batch, { step: losses.length })).losses.values());
      assertClose("losses", tensor("f64", [losses.length], losses), tensors.get(`${declaration}.losses`), tolerance);
      const expected = some(tensors, `${declaration}.after.`);
      assert.deepEqual(program.names.toSorted(), [...expected.keys()].toSorted());
      for (const [name, t] of expected) assertClose(name, program.read(name), t, tolerance);
      program.close();
    });
for (const { target, precision, tolerance } of ways)
  test(`a step from the mean gradients of four batches is one from all their rows, ${target} ${precision}`, async () => {
    const declaration = "AdamWCase";
    const losses: number[] = [];
    const steps = train(
      { file: join(folder, "optim.moe"), declaration },
      {
        batches: batches(precision, 4),
        accumulate: 4,
        parameters: given(some(tensors, "param."), precision),
        sizes: { N: 2 },
        target,
        precision,
      },
    );
    for await (const { step, loss, program } of steps) {
      losses.push(loss);
      if (step < 50) continue;
      for (const [name, t] of some(tensors, `${declaration}.after.`))
        assertClose(name, program.read(name), t, tolerance);
    }
    assertClose("losses", tensor("f64", [losses.length], losses), tensors.get(`${declaration}.losses`), tolerance);
  });
test("a total that some trained parameter has no rule for is an error about the total", async () => {
  const { Model } = moe<"Model">`
    import { Sgd } from "std/optim"
    import { Linear } from "std/nn"
    optimizer Matrices() {
      apply(param: f32[R, C], grad: f32[R, C]) { update param = param - grad / total(sum(grad * grad)) }
    }
    model Model(D = 4) {
      a: Linear(D, D, true)
      train(x: f32[N, D]) {
        loss square = sum(a(x) * a(x))
        optimize a.bias with Sgd()
        optimize with Matrices()
      }
    }
  `;
  const compiling = compile(Model, { entry: "train", sizes: { N: 2 }, target: "reference" });
  await assert.rejects(compiling, (error: unknown) => {
    assert.ok(error instanceof ProgramError);
    assert.equal(error.diagnostics[0]?.code, "E0504");
    assert.match(error.diagnostics[0].message, /does not fit `a.bias`: f32\[4\]/);
    return true;
  });
});
test("what an embedding gives that cannot be, in words; a program is closed as often as one likes", async () => {
  const { A } = moe`layer A(D) {
    forward(x: f32[N, D]) -> f32[N, D] { return 2 * x }
  }`;
  const options = { entry: "forward", sizes: { D: 2, N: 1 }, target: "reference" } as const;
  const program = await compile(A, options);
  await assert.rejects(async () => program.run({ x: "abc" as never }), /^Problem: x is given "abc"$/);
  program.close();
  program.close();
  await assert.rejects(compile(A, { ...options, target: "gpu" as never }), /^Problem: there is no target gpu$/);
  await assert.rejects(
    compile(moe`fn f(x: f32[N]) -> f32[N] { return y }`["f"], { entry: "f", sizes: { N: 1 } }),
    /^ProgramError: error\[E0301\]: nothing is called `y` here\n.*stdlib-optim\.test\.ts:\d+:\d+\n.*\n.*return y [^]* = help: /,
  );
});
test("batches that are left over make no step; accumulate is a whole number", async () => {
  const source = { file: join(folder, "optim.moe"), declaration: "SgdPlain" };
  const options = { batches: batches("f32"), sizes: { N: 8 }, target: "reference" } as const;
  let count = 0;
  for await (const { step } of train(source, { ...options, accumulate: 20 })) count = step;
  assert.equal(count, 2);
  await assert.rejects(train(source, { ...options, accumulate: 0 }).next(), /accumulate is 0/);
});
/** A parameter whose gradient is 1, so that each step is the learning rate. */
const falling = moe<"Cosine" | "Stable" | "Still">`
  import { Adafactor, Sgd } from "std/optim"
  import { warmup_cosine, warmup_stable_decay } from "std/schedule"
  model Cosine() {
    param w: f32 = 0
    train(x: f32[1]) {
      loss fall = w * sum(x)
      optimize with Sgd(lr: warmup_cosine(1, 2, 4, low: 0.25), momentum: 0)
    }
  }
  model Stable() {
    param w: f32 = 0
    train(x: f32[1]) {
      loss fall = w * sum(x)
      optimize with Sgd(lr: warmup_stable_decay(1, 2, 4, 2), momentum: 0)
    }
  }
  model Still() {
    param w: f32 = 0
    train(x: f32[1]) {
      loss fall = w * sum(x)
      optimize with Adafactor(lr: 1)
    }
  }
`;
for (const [name, expected] of [
  ["Cosine", [0.5, 1, 1, 0.625, 0.25, 0.25, 0.25]],
  ["Stable", [0.5, 1, 1, 0.5, 0, 0, 0]],
  ["Still", [0.001]],
] as const)
  test(`${name}: a schedule stays where it ended, and what is 0 learns too`, async () => {
    const batches = expected.map(() => ({ x: Float64Array.of(1) }));
    const steps: number[] = [];
    let before = 0;
    for await (const { program } of train(falling[name], { batches, target: "reference", precision: "f64" })) {
      const [w = Number.NaN] = program.read("w").data;
      steps.push(before - w);
      before = w;
    }
    assert.equal(steps.length, expected.length);
    expected.forEach((rate, i) =>
      assert.ok(Math.abs((steps[i] ?? Number.NaN) - rate) < 1e-9, `step ${i}: ${steps[i]}`),
    );
  });
test("Adafactor: a row and a column without gradients leave their common element as it is", async () => {
  const { Corner } = moe<"Corner">`
    import { Adafactor } from "std/optim"
    model Corner() {
      param w: f32[2, 2] = 1
      train(x: f32[2, 2]) {
        loss fall = sum(w * x)
        optimize with Adafactor(lr: 1)
      }
    }
  `;
  const batches = [1e-3, 1, 1e9].map((x) => ({ x: Float32Array.of(x, 0, 0, 0) }));
  for await (const { program } of train(Corner, { batches, target: "host", precision: "f32" })) {
    const [corner = Number.NaN, ...others] = program.read("w").data;
    assert.ok(corner < 1);
    assert.deepEqual(others, [1, 1, 1]);
  }
});
/** Of a gradient that stays, all running means are the gradient and its square, once they are corrected. */
const steady = moe<"Adam" | "Ademamix" | "Muons">`
  import { AdamW, AdEMAMix, Muon } from "std/optim"
  model Adam() {
    param w: f32[1] = 0
    train(x: f32[1]) {
      loss fall = sum(w * x)
      optimize with AdamW(lr: 1, beta2: 0.9999, decay: 0)
    }
  }
  model Ademamix() {
    param w: f32[1] = 0
    train(x: f32[1]) {
      loss fall = sum(w * x)
      optimize with AdEMAMix(warm: 1, lr: 1, beta2: 0.9999, alpha: 0, decay: 0)
    }
  }
  model Muons() {
    param w: f32[1] = 0
    train(x: f32[1]) {
      loss fall = sum(w * x)
      optimize with Muon(lr: 1, beta2: 0.9999, decay: 0)
    }
  }
`;
for (const name of ["Adam", "Ademamix", "Muons"] as const)
  test(`${name}: the first steps of a slow mean are exact in f32`, async () => {
    const batches = Array.from({ length: 5 }, () => ({ x: Float32Array.of(1) }));
    for await (const { step, program } of train(steady[name], { batches, target: "host", precision: "f32" })) {
      const [w = Number.NaN] = program.read("w").data;
      assert.ok(Math.abs(w + step) < 2e-6 * step, `step ${step}: ${w}`);
    }
  });
test.run();
