// Training in one's own TypeScript, by `train` and `fit`: what a step takes and gives, how it ends, goes on, and is refused.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  compile,
  type FitOptions,
  fit,
  type Inputs,
  moe,
  type Outcome,
  type Program,
  readSafetensors,
  type Source,
  type Tensor,
  type TrainedStep,
  type TrainOptions,
  tensor,
  train,
  writeSafetensors,
  zeros,
} from "../../runtime/index.ts";
import { assertProblem } from "../assert-problem.ts";
import { Fit, filled, sizes, Twice, targets } from "../embed-programs.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("embed-training");
test("training ends at a loss that is no number, as the command does", async () => {
  for (const accumulate of [1, 2]) {
    const batches = [1, 1, Number.NaN, 1].map((x) => ({ x: filled(x) }));
    let steps = 0;
    const all = async (): Promise<void> => {
      const options = { batches, sizes, target: "reference", accumulate } as const;
      for await (const { step } of train(Fit, options)) steps = step;
    };
    const after = 2 / accumulate;
    await assertProblem(all, `the loss \`square\` is NaN at step ${after + 1}`, /lower the learning rate/);
    assert.is(steps, after);
  }
});
test("a first loss that is no number is not blamed on the learning rate", async () => {
  const options = { batches: [{ x: filled(Number.NaN) }], sizes, target: "reference" } as const;
  await assertProblem(
    () => train(Fit, options).next(),
    "NaN at step 1",
    /nothing was learned before it: look at the data/,
  );
});
const { Masked } = moe<"Masked">`
  import { masked_mean } from "std/loss"
  import { Sgd } from "std/optim"
  model Masked(N = 2) {
    param w: f32[N] = 2
    train(x: f32[N], mask: bool[N] = true) {
      loss a = masked_mean(w * x, mask)
      optimize with Sgd(lr: 1)
    }
  }
`;
test("an input with a default is in the batches where `given` names it", async () => {
  const batch = { x: Float32Array.of(1, 3), mask: Uint8Array.of(0, 1) };
  const [target, batches] = ["reference" as const, [batch, batch]];
  const trained = await fit(Masked, { batches, given: ["mask"], target, accumulate: 2 });
  assert.equal([...(trained.get("w")?.data ?? [])], [2, -1]);
  await assertProblem(() => fit(Masked, { batches, target }), "batch 1: train has no input mask", /`given`/);
  await assertProblem(() => fit(Masked, { batches, given: ["musk"], target }), "train has no input musk", "mask");
});
const { Idle, Deaf, Frozen } = moe<"Idle" | "Deaf" | "Frozen">`
  import { SwiGlu } from "std/nn"
  import { AdamW } from "std/optim"
  import { normal } from "std/init"
  // its scores choose, and weigh nothing
  model Idle(D = 2, E = 3) {
    param gate: f32[D, E] = normal()
    experts: SwiGlu(D, 4)[E]
    unused: SwiGlu(D, 4)
    train(x: float[N, D]) {
      let (_, index) = top_k(x @ gate, 1)
      loss a = mean(experts[index](x) ** 2)
      optimize with AdamW()
    }
  }
  model Frozen(D = 2) {
    unused: SwiGlu(D, 4)
    train(x: float[N, D]) {
      loss a = mean(x)
      optimize with none
    }
  }
  model Deaf(D = 2) {
    param w: f32[D, D] = 1
    train(x: float[N, D]) {
      loss a = detach(sum(x @ w))
      optimize with AdamW()
    }
  }
`;
test("parameters that no loss depends on are named; where that is all of them, nothing is trained", async () => {
  const batches = [{ x: zeros("f32", [3, 2]) }];
  for (const accumulate of [1, 2]) {
    const options = { batches: [...batches, ...batches], target: "reference", accumulate } as const;
    for await (const { program } of train(Idle, options))
      assert.equal(program.report.unreached, ["gate", "unused.gate.weight", "unused.up.weight", "unused.down.weight"]);
    for await (const { program } of train(Noisy, { ...options, sizes: { D: 2 } }))
      assert.equal(program.report.unreached, []);
    for await (const { program } of train(Frozen, options)) assert.equal(program.report.unreached, []);
  }
  await assertProblem(
    () => train(Deaf, { batches, target: "reference" }).next(),
    "no loss of `train` depends on a parameter that is trained",
    /`detach`, .* have none/,
  );
});
const { Noisy } = moe<"Noisy">`
  import { MoE } from "std/moe"
  import { NoisyGate } from "std/gates"
  import { SwiGlu } from "std/nn"
  import { AdamW } from "std/optim"
  model Noisy(D) {
    moe: MoE(D, 2, 3, NoisyGate(D, 3, 2), SwiGlu(D, 8))
    state seen: f32 = 0
    train(x: float[N, D]) {
      let y = moe(x) - x
      loss square = mean(y * y)
      update seen = seen + mean(x)
      optimize with AdamW(lr: 1e-2 / (1 + step))
    }
  }`;
for (const target of targets)
  for (const accumulate of [1, 2])
    test(`training goes on from a file with the same bits, on ${target}, ${accumulate} batches a step`, async () => {
      const shared = { sizes, target, accumulate, seed: 3 };
      const batches = Array.from({ length: 10 * accumulate }, (_, i) => ({
        x: filled(0).map((_, j) => Math.sin(3 * i + j)),
      }));
      const file = join(temporaryFolder(), "state.safetensors");
      const last = async (options: Omit<TrainOptions, keyof typeof shared>): Promise<Map<string, Tensor>> => {
        let state = new Map<string, Tensor>();
        for await (const { step, program } of train(Noisy, { ...shared, ...options })) {
          state = program.state();
          if (step !== 6 || options.from) continue;
          writeSafetensors(file, state);
          const ofExperts = new Map([...state].filter(([name]) => name.includes("experts")));
          for (const given of [state, ofExperts])
            await assertProblem(() => program.load(given), "nothing is named", "what `parameters()` or `fit` returned");
        }
        return state;
      };
      const straight = await last({ batches });
      const from = { step: 6, state: readSafetensors(file) };
      assert.equal(await last({ batches: batches.slice(6 * accumulate), from }), straight);
      const earlier = { step: 5, state: from.state };
      assert.not.equal(await last({ batches: batches.slice(6 * accumulate), from: earlier }), straight);
      await assertProblem(() => last({ batches, from: { ...from, step: -1 } }), "from.step is -1", "step: 100");
      await assertProblem(
        () => last({ batches, from: { ...from, state: new Map() } }),
        "no optimizer state",
        "program",
      );
      const less = new Map([...from.state].filter(([name]) => !name.endsWith(".m")));
      await assertProblem(() => last({ batches, from: { ...from, state: less } }), "the state has no", "program");
      const more = new Map([...from.state, ["other", tensor("f32", [1], [0])]]);
      await assertProblem(() => last({ batches, from: { ...from, state: more } }), "nothing is named other", "tensors");
      await assertProblem(() => last({ batches, from, parameters: new Map() }), "two beginnings", "leave one");
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
    evaluated.load(program.parameters());
    assert.equal([...program.parameters().keys()], program.names);
    const w = program.read("w");
    for (let call = 0; call < 2; call++)
      assert.equal(
        [...(await evaluated.run({ x: filled(2) })).losses],
        [["square", Math.fround(4 * (w.data[0] ?? 0))]],
      );
    assert.equal(evaluated.read("w"), w);
  }
  evaluated.close();
  await assertProblem(() => compile(Held, { evaluates: true, sizes }), "forward does not evaluate", 'entry: "train"');
});
for (const target of targets) {
  const x = filled(1);
  const all = async (options: Partial<TrainOptions>): Promise<number> => {
    let steps = 0;
    for await (const { step } of train(Fit, { batches: [], sizes, target, ...options })) steps = step;
    return steps;
  };
  test(`batches are added up by names of inputs alone, on ${target}`, async () => {
    assert.is(await all({ batches: [{ x }, { x }, { x }], accumulate: 2 }), 1);
    const unlike = { batches: [{ x }], weight: () => -1 };
    await assertProblem(() => all(unlike), "the weight of batch 1 is -1", "from 0");
    const none = [undefined, 3, { x }] as unknown as TrainOptions["batches"][];
    for (const batches of none) await assertProblem(() => all({ batches }), "cannot be iterated", "a list");
    const shorter = { batches: [{ x }, { x: filled(1, 4) }] };
    await assertProblem(
      () => all(shorter),
      /^batch 2: x is .*Float32Array\(4\) was given/,
      /of 8 elements; if it is a smaller last batch/,
    );
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
      await assertProblem(() => program.read("w"), "is closed", "compile it again");
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
}
const { Layered } = moe<"Layered">`
  import { Sgd } from "std/optim"
  layer Scaled(D) {
    param w: float[D] = 2
    forward(x: float[N, D]) -> float[N, D] { loss size = mean(w) return w * x }
  }
  model Layered(D, Scale = 1) {
    first: Scaled(D)
    second: Scaled(D)
    train(x: float[N, D]) {
      loss size = mean(second(first(x)))
      optimize with Sgd(lr: 1e-2)
    }
  }`;
/** The state after all steps. */
async function stateOf(options: TrainOptions): Promise<Map<string, Tensor>> {
  let state = new Map<string, Tensor>();
  for await (const { program } of train(Layered, options)) state = program.state();
  return state;
}
const rows = (n: number): Inputs => ({ x: tensor("f32", [n, 3], new Float32Array(3 * n).fill(1)) });
for (const target of targets) {
  test(`\`fit\` returns what the last step left, and losses are by path, on ${target}`, async () => {
    const options = { batches: Array.from({ length: 5 }, () => rows(2)), accumulate: 2, sizes: { D: 3, N: 2 }, target };
    const seen: [number, Map<string, Tensor>][] = [];
    const onStep = async ({ step, losses, program }: TrainedStep): Promise<void> => {
      assert.equal([...losses.keys()].toSorted(), ["first.size", "second.size", "size"]);
      await Promise.resolve();
      seen.push([step, program.parameters()]);
    };
    const parameters = await fit(Layered, { ...options, onStep });
    assert.equal(
      seen.map(([step]) => step),
      [1, 2],
    );
    assert.equal(parameters, seen.at(-1)?.[1]);
    assert.not.equal(parameters, seen[0]?.[1]);
    const stop = new AbortController();
    const until = await fit(Layered, { ...options, signal: stop.signal, onStep: () => stop.abort() });
    assert.equal(until, seen[0]?.[1]);
    const nothing: Partial<FitOptions>[] = [
      { batches: [] },
      { batches: [rows(2)] },
      { signal: AbortSignal.abort() },
      { batches: [rows(2)], from: { step: 7, state: await stateOf(options) } },
    ];
    for (const less of nothing)
      await assertProblem(() => fit(Layered, { ...options, ...less }), "no step was done", "give 2 batches");
    const onStepOfOther = "log" as unknown as () => void;
    await assertProblem(() => fit(Layered, { ...options, onStep: onStepOfOther }), "onStep is", "a function");
  });
  test(`tensors of the first batch give the sizes that have no default, on ${target}`, async () => {
    assert.equal((await fit(Layered, { batches: [rows(2), rows(2)], target })).get("first.w")?.shape, [3]);
    await assertProblem(
      () => fit(Layered, { batches: [rows(2), rows(4)], target }),
      "x is f32[2, 3], and f32[4, 3] was given",
      "that type",
    );
    await assertProblem(
      () => fit(Layered, { batches: [rows(2)], sizes: { D: 4 }, target }),
      "x is f32[2, 4], and f32[2, 3] was given",
      "that type",
    );
    await assertProblem(
      () => fit(Layered, { batches: [{ x: tensor("f32", [6], new Float32Array(6)) }], target }),
      "x has the shape [6]",
      "float[N, D]",
    );
    await assertProblem(
      () => fit(Layered, { batches: [{ x: tensor("f32", [6], filled(1, 6)) }], sizes: { D: 3, N: 2 }, target }),
      "batch 1: x is f32[2, 3], and f32[6] was given",
      "that type",
    );
    const bare = await fit(Layered, { batches: [{ x: new Float32Array(6) }], target }).catch((error: unknown) => error);
    assert.match(String(bare), "E0407");
  });
}
test("a wrong program is found before the first batch, wrong sizes too where all are given", async () => {
  const { Wrong } = moe<"Wrong">`
    import { Sgd } from "std/optim"
    model Wrong(D) {
      param w: float[D] = 1
      train(x: float[N, D]) {
        loss size = mean(x + missing)
        optimize with Sgd(lr: 1e-2)
      }
    }`;
  let asked = 0;
  function* none(): Generator<Inputs> {
    asked += 1;
    yield* [];
  }
  const error = async (source: Source, options: Omit<TrainOptions, "batches">): Promise<string> => {
    try {
      for await (const _ of train(source, { ...options, batches: none() })) continue;
    } catch (error) {
      return String(error);
    }
    return "nothing";
  };
  for (const given of [{}, { sizes: { D: 3, N: 2 } }]) assert.match(await error(Wrong, given), "`missing`");
  assert.match(await error(Layered, { sizes: { D: 3, N: 2, Q: 1 } }), "no size or value Q");
  assert.match(await error(Twice, {}), "has no method train");
  assert.is(asked, 0);
  assert.is(await error(Layered, { sizes: { D: 3 } }), "nothing");
  assert.is(await error(Layered, { sizes: { D: 3, N: 2 }, target: "reference" }), "nothing");
  assert.is(asked, 2);
});
test.run();
