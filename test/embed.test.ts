// A program in one's own TypeScript: runs at once, what is given wrongly, what is asked at the wrong time.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type CallOptions,
  type CompileOptions,
  compile,
  type Inputs,
  moe,
  type Outcome,
  Problem,
  type Program,
  type Tensor,
  type TrainOptions,
  tensor,
  tensorOf,
  toNested,
  train,
  writeSafetensors,
} from "../runtime/index.ts";
import { refuses } from "./refuses.ts";

const test = suite("embed");
const { Twice, First, Sized, Fit } = moe<"Twice" | "First" | "Sized" | "Fit">`
  import { Sgd } from "std/optim"
  layer Twice(D) {
    param w: float[D] = 2
    forward(x: float[N, D], scale: f32 = 1) -> float[N, D] { return scale * w * x }
  }
  layer First(D) { forward(x: float[N, D], y: float[N, D]) -> float[N, D] { return 2 * x } }
  layer Sized(D) {
    param w: float[D, D] = 1
    forward(x: float[N, D]) -> float[N, D] {
      for i in 0:40 { x = x @ w / D }
      return x
    }
  }
  model Fit(D) {
    param w: float[D] = 2
    train(x: float[N, D]) {
      loss square = mean(w * x * x)
      optimize with Sgd(lr: 1e-2)
    }
  }
`;
const targets = ["host", "reference"] as const;
const sizes = { D: 4, N: 2 };
const filled = (x: number, n = 8): Float32Array => new Float32Array(n).fill(x);
async function compiled<T>(options: CompileOptions, use: (program: Program) => Promise<T>, from = Twice): Promise<T> {
  const program = await compile(from, { sizes, threads: 2, ...options });
  try {
    return await use(program);
  } finally {
    program.close();
  }
}
test("training ends at a loss that is no number, as the command does", async () => {
  for (const accumulate of [1, 2]) {
    const batches = [1, 1, Number.NaN, 1].map((x) => ({ x: filled(x) }));
    let steps = 0;
    const all = async (): Promise<void> => {
      const options = { batches, sizes, target: "reference", accumulate } as const;
      for await (const { step } of train(Fit, options)) steps = step;
    };
    const after = 2 / accumulate;
    await refuses(all, `the loss \`square\` is NaN at step ${after + 1}`, "learning rate");
    assert.is(steps, after);
  }
});
test("train evaluates a held-out batch with the parameters of each step, and learns nothing", async () => {
  const { Held } = moe<"Held">`
    import { Sgd } from "std/optim"
    model Held(D) {
      param w: float[D] = 2
      train(x: float[N, D]) {
        loss square = mean(w * x * x)
        if training { loss decay = mean(w * w) }
        optimize with Sgd(lr: 1e-2)
      }
    }`;
  const shared = { sizes, target: "reference" } as const;
  const evaluated = await compile(Held, { ...shared, entry: "train", evaluates: true });
  for await (const { program } of train(Held, { ...shared, batches: [{ x: filled(1) }, { x: filled(1) }] })) {
    evaluated.load(new Map(program.names.map((name) => [name, program.read(name)])));
    const w = program.read("w");
    for (let call = 0; call < 2; call++)
      assert.equal(
        [...(await evaluated.run({ x: filled(2) })).losses],
        [["square", Math.fround(4 * (w.data[0] ?? 0))]],
      );
    assert.equal(evaluated.read("w"), w);
  }
  evaluated.close();
  await refuses(() => compile(Held, { evaluates: true, sizes }), "forward does not evaluate", 'entry: "train"');
});
const first = async (program: Program, x: Float32Array): Promise<number | undefined> =>
  (await program.run({ x })).outputs[0]?.data[0];

for (const target of targets)
  test(`runs at once each give their own results, on ${target}`, () =>
    compiled({ target }, async (program) => {
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
  compiled(
    { sizes: { D: 128, N: 256 } },
    async (program) => {
      const x = filled(0, 256 * 128);
      const runs = [1, 2, 3, 4].map((i) => first(program, x.fill(i)));
      assert.equal(await Promise.all(runs), [1, 2, 3, 4]);
    },
    Sized,
  ));
test("eight programs run at once", async () => {
  const programs = await Promise.all(
    Array.from({ length: 8 }, (_, i) => compile(Sized, { sizes: { D: 64, N: 64 }, threads: 1 + (i % 2) })),
  );
  const results = await Promise.all(
    programs.flatMap((program, i) => [1, 2, 3].map((k) => first(program, filled(i * k, 4096)))),
  );
  assert.equal(
    results,
    programs.flatMap((_, i) => [i, 2 * i, 3 * i]),
  );
  for (const program of programs) program.close();
});

for (const target of targets) {
  test(`a program is closed after the runs that were asked for before, on ${target}`, async () => {
    const program = await compile(Twice, { sizes, target });
    await first(program, filled(1));
    const runs = [1, 2].map((i) => first(program, filled(i)));
    program.close();
    program.close();
    await refuses(() => first(program, filled(1)), "is closed", "compile it again");
    assert.equal(await Promise.all(runs), [2, 4]);
    for (const use of [() => program.read("w"), () => program.load(new Map())])
      await refuses(use, "is closed", "compile it again");
    assert.equal(program.names, ["w"]);
  });
  test(`parameters are neither read nor set while a run lasts, on ${target}`, () =>
    compiled({ target }, async (program) => {
      await first(program, filled(1));
      const w: Tensor = { dtype: "f32", shape: [4], data: filled(3, 4) };
      for (const use of [() => program.load(new Map([["w", w]])), () => program.read("w")]) {
        const run = first(program, filled(1));
        await refuses(use, "is running", "await");
        assert.is(await run, 2);
      }
      program.load(new Map([["w", w]]));
      assert.equal(program.read("w"), w);
      assert.is(await first(program, filled(1)), 3);
    }));
  test(`inputs that do not fit are refused by a rejected promise, on ${target}`, () =>
    compiled({ target }, async (program) => {
      const wrong: [inputs: unknown, message: string, help: string][] = [
        [undefined, "no object of names", "by name"],
        [new Map([["x", filled(1)]]), "no object of names", "by name"],
        [{}, "input x of forward is missing", "reads x"],
        [{ X: filled(1) }, "no input X", "reads x"],
        [{ x: filled(1), scale: filled(1, 1) }, "no input scale", "`given`"],
        [{ x: undefined }, "x is given undefined", "typed array"],
        [{ x: filled(1, 7) }, "Float32Array(7) was given", "Float32Array of 8"],
        [{ x: new Float64Array(8) }, "Float64Array(8) was given", "Float32Array of 8"],
        [{ x: [1, 2] }, "Array(2) was given", "Float32Array of 8"],
        [{ x: null }, "x is given null", "typed array"],
      ];
      const tensors: [tensor: unknown, message: string, help: string][] = [
        [{ dtype: "f32", shape: [4, 2], data: filled(1) }, "x is f32[2, 4], and f32[4, 2]", "of that type"],
        [{ dtype: "f64", shape: [2, 4], data: new Float64Array(8) }, "f64[2, 4] was given", "of that type"],
        [{ dtype: "f32", shape: [2, 4], data: filled(1, 7) }, "Float32Array(7) was given", "Float32Array of 8"],
        [{ dtype: "f32", shape: [2, 4], data: new Float64Array(4) }, "Float64Array(4) was given", "Float32Array of 8"],
        [{ dtype: "f32", shape: [2, 4], data: new Int32Array(8) }, "Int32Array(8) was given", "Float32Array of 8"],
        [{ dtype: "f32", shape: ["2", 4], data: filled(1) }, "x is no tensor", "make one"],
      ];
      for (const [inputs, message, help] of [...wrong, ...tensors.map(([x, m, h]) => [{ x }, m, h] as const)]) {
        const run = program.run(inputs as Inputs);
        await refuses(() => run, message, help);
      }
      await refuses(() => program.run({ x: filled(1) }, { step: 0.5 }), "the step is 0.5", "whole number");
      const old = 3 as unknown as CallOptions;
      await refuses(() => program.run({ x: filled(1) }, old), "are 3", "object of them");
      const short: Tensor = { dtype: "f32", shape: [4], data: filled(1, 3) };
      await refuses(() => program.load(new Map([["w", short]])), "w is f32[4], and Float32Array(3)", "of 4 elements");
      const bare = new Map([["w", filled(1, 4)]]) as unknown as Map<string, Tensor>;
      await refuses(() => program.load(bare), "w is no tensor", "make one");
      const record = { w: short } as unknown as Map<string, Tensor>;
      await refuses(() => program.load(record), "are no Map", "new Map");
      assert.is(await first(program, filled(1)), 2);
    }));
  test(`an input that the entry does not read may be left out, on ${target}`, () =>
    compiled({ target }, async (program) => assert.is(await first(program, filled(1)), 2), First));
  test(`cotangents that are not given are 1 in bf16 too, on ${target}`, () =>
    compiled({ target, gradients: true, precision: "bf16" }, async (program) => {
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
    await compiled(
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
test("of a large model's parameters a wrong name is told those most like it", async () => {
  const { Deep } = moe<"Deep">`
    import { SwiGlu } from "std/nn"
    layer Deep(D) {
      blocks: SwiGlu(D, D)[20]
      forward(x: float[N, D]) -> float[N, D] {
        for block in blocks { x = block(x) }
        return x
      }
    }`;
  const wrong = new Map([["blocks.7.gate_proj.weight", tensor("f32", [1], [0])]]);
  const load = async (program: Program): Promise<void> => program.load(wrong);
  await refuses(
    () => compiled({ target: "reference" }, load, Deep),
    "nothing is named blocks.7.gate_proj.weight",
    "of 60 parameters those most like it are blocks.7.gate.weight, blocks.7.up.weight, blocks.7.down.weight, ",
  );
});
test("inputs and cotangents in f32 of a program in f64 are taken as they are", () =>
  compiled({ target: "reference", gradients: true, precision: "f64" }, async (program) => {
    const x: Tensor = { dtype: "f32", shape: [2, 4], data: filled(0.1) };
    const given = await program.run({ x: filled(0.1), "cotangent.0": filled(1) });
    const same = await program.run({ x });
    assert.equal(given.outputs, same.outputs);
    assert.is(given.outputs[0]?.data[0], 2 * Math.fround(0.1));
    assert.equal(given.gradients, same.gradients);
  }));
for (const target of targets) {
  const x = filled(1);
  const all = async (options: Partial<TrainOptions>): Promise<number> => {
    let steps = 0;
    for await (const { step } of train(Fit, { batches: [], sizes, target, ...options })) steps = step;
    return steps;
  };
  test(`batches are added up by names of inputs alone, on ${target}`, async () => {
    assert.is(await all({ batches: [{ x }, { x }, { x }], accumulate: 2 }), 1);
    const none = [undefined, 3, { x }] as unknown as TrainOptions["batches"][];
    for (const batches of none) await refuses(() => all({ batches }), "cannot be iterated", "a list");
    await refuses(() => all({ batches: [{ x }, { x: filled(1, 4) }] }), "Float32Array(4) was given", "of 8");
  });
  test(`a loop that is left ends its batches, and its program after a run that lasts, on ${target}`, async () => {
    let ended = false;
    function* endless() {
      try {
        for (;;) yield { x };
      } finally {
        ended = true;
      }
    }
    const left: [Program, Promise<Outcome>][] = [];
    for await (const { step, program } of train(Fit, { batches: endless(), sizes, target })) {
      if (step < 3) continue;
      left.push([program, program.run({ x }, { step })]);
      break;
    }
    assert.ok(ended);
    for (const [program, run] of left) {
      assert.equal([...(await run).losses.keys()], ["square"]);
      await refuses(() => program.read("w"), "is closed", "compile it again");
    }
  });
}
for (const target of targets) {
  const x = filled(1);
  test(`a training that is aborted ends with the step that has begun, and asks for no batch after it, on ${target}`, async () => {
    let asked = 0;
    const stop = new AbortController();
    function* batches() {
      for (;;) {
        asked += 1;
        if (asked === 5) stop.abort(); // in the midst of the third step
        yield { x };
      }
    }
    const steps: number[] = [];
    const options = { batches: batches(), accumulate: 2, sizes, target, signal: stop.signal };
    for await (const { step } of train(Fit, options)) steps.push(step);
    assert.equal([steps, asked], [[1, 2, 3], 6]);
    for await (const { step } of train(Fit, options)) steps.push(step);
    assert.equal([steps, asked], [[1, 2, 3], 6], "one that was aborted before has no step");
  });
  test(`a run whose signal was aborted before its turn is rejected, and the others are not, on ${target}`, () =>
    compiled({ target }, async (program) => {
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
  compiled(
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
  return compiled(options, abortedWithCopies, Product);
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
test("elements in shared memory", () =>
  compiled({}, async (program) =>
    assert.is(await first(program, new Float32Array(new SharedArrayBuffer(32)).fill(5)), 10),
  ));

test("of tensors that do not all fit none is set", () =>
  compiled({ target: "reference" }, async (program) => {
    const good = ["w", tensor("f32", [4], [1, 2, 3, 4])] as const;
    for (const bad of [
      ["v", good[1]],
      ["w.0", good[1]],
    ] as const)
      await refuses(() => program.load(new Map([good, bad])), bad[0], "w");
    assert.is(await first(program, filled(1)), 2);
  }));
test("what is asked for is worded for TypeScript too", async () => {
  const asked: [options: object, help: string][] = [
    [{ sizes: { N: 2 } }, "sizes: { D: VALUE }"],
    [{ sizes: { D: 4 } }, "sizes: { N: 128 }"],
    [{ sizes: { D: 1.5, N: 2 } }, "sizes: { D: 8 }"],
    [{ precision: "f64", target: "host" }, 'target: "reference"'],
    [{ tf32: true }, 'target: "cuda"'],
  ];
  for (const [options, help] of asked) {
    const error = await compile(Twice, { sizes, target: "reference", ...options }).catch((e: unknown) => e);
    assert.match(error instanceof Problem ? error.help : String(error), help);
  }
  const program = await compile(Twice, { sizes, target: "reference" });
  const wide = new Map([["w", tensor("f32", [3], [1, 2, 3])]]);
  await refuses(() => program.load(wide), "gives f32[3] for `w`", "sizes: { NAME: VALUE }");
});
test("options that nothing can work with are refused", async () => {
  const wrong: [options: object, message: string, help: string][] = [
    ...[0, -1, 1.5, Number.NaN, 1e6].map((threads): [object, string, string] => [
      { threads },
      `${threads} threads`,
      "from 1 to 1024",
    ]),
    ...[1.5, Number.NaN, 2 ** 40].map((seed): [object, string, string] => [{ seed }, "the seed is", "whole number"]),
    [{ precision: "f16" }, "no precision f16", "f32, bf16, f64"],
    [{ sizes: { D: "4", N: 2 } }, 'D is given "4"', "a number"],
    [{ given: ["skale"] }, "forward has no input skale", "scale"],
    [{ entry: "forwards" }, "no method forwards", "forward"],
    [{ entry: 3 }, "entry is 3", "name of a method"],
    [{ given: "scale" }, 'given is "scale"', "a list"],
    [{ threads: [2] }, "threads is a list", "a whole number"],
    [{ seed: 1n }, "seed is a bigint", "a whole number"],
    [{ gradients: "yes" }, 'gradients is "yes"', "true or false"],
    [{ sizes: { D: 2 ** 53, N: 2 } }, "D is a size, and 9007199254740992 is not", "D: 8"],
    [{ sizes: { D: null, N: 2 } }, "D is given null", "a number"],
  ];
  for (const [options, message, help] of wrong)
    await refuses(() => compile(Twice, { sizes, target: "reference", ...options }), message, help);
  const no = ["Twice", {}] as unknown as (typeof Twice)[];
  for (const source of no) await refuses(() => compile(source), "no declaration", "`moe`");
  await refuses(() => compile({ file: 0 } as never), "the file is 0", "its path");
  await refuses(() => compile(Twice, null as never), "options of compile are null", "an object");
});
test("a list of sizes is of a spread, and holds sizes", async () => {
  const { Any } = moe<"Any">`layer Any(D) { forward(x: float[...S, D]) -> float[...S, D] { return 2 * x } }`;
  for (const S of [["x"], [-1], [1.5], [Number.NaN], null, [undefined]])
    await refuses(() => compile(Any, { sizes: { D: 2, S } as never }), "S is a list of sizes", "whole numbers");
  const lists = { D: 4, N: [2, 3] };
  const why = await compile(Twice, { sizes: lists, target: "reference" }).then(() => "", String);
  assert.match(why, "not a list");
});
test("a bool is 0 or 1, and the step of an update a whole number", async () => {
  const { Count } = moe<"Count">`layer Count() { forward(on: bool[N]) -> i32 { return sum(on) } }`;
  const options = { sizes: { N: 2 }, target: "reference" } as const;
  await compiled(
    options,
    async (program) => {
      await refuses(() => program.run({ on: Uint8Array.of(1, 255) }), "on holds 255", "1 or 0");
      await refuses(() => program.update(0.5), "the step is 0.5", "whole number");
    },
    Count,
  );
});
test("a tensor of what is none", async () => {
  const wrong: [make: () => unknown, message: string, help: string][] = [
    [() => tensor("f32", [2], [1]), "f32[2], and 1 numbers were given", "2 numbers"],
    [() => tensor("f32", [2], undefined as never), "undefined was given", "2 numbers"],
    [() => tensor("f16" as never, [2], [1, 2]), 'the dtype is "f16"', "f32"],
    [() => tensor("f32", 2 as never, [1, 2]), "the shape is 2", "[2, 3]"],
    [() => tensor("f32", [-1], []), "the shape is [-1]", "[2, 3]"],
    [() => tensor("f32", [2 ** 40], []), "does not fit", "at most"],
    [() => tensor("f32", [1], ["a"] as never), 'holds "a"', "numbers"],
    [() => tensorOf("f32", [3n], "x"), "x holds a bigint", "numbers"],
    [() => toNested(filled(1) as never), "no tensor", "make one"],
    [() => writeSafetensors("x", new Map([["w", filled(1)]]) as never), "w is no tensor", "make one"],
  ];
  for (const [make, message, help] of wrong) await refuses(make, message, help);
});
test.run();
