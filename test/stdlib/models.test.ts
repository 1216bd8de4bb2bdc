// Every model of the standard library trains, small; Transformer-XL's memory stands for the segments before.

import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import { compileProgram } from "../../runtime/compile.ts";
import type { Executable, Tensor } from "../../runtime/executable/executable.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { full } from "../full.ts";
import { libraryModels } from "../library-models.ts";
import { assertClose, peerTargets } from "../peer-results.ts";
import { project } from "../project.ts";

const test = suite("models");
const folder = join(project, "stdlib/models");

interface Model {
  readonly file: string;
  readonly sizes: Readonly<Record<string, number>>;
  /** Where its learning rate is at its height. */
  readonly step: number;
  /** The host if not given. */
  readonly target?: "reference" | "host";
}
const decoder = (sizes: Model["sizes"]): Model => ({ file: "decoder", sizes, step: 2000 });
/** Of few kernels that those of the others are not. */
const like = (sizes: Model["sizes"]): Model => ({ ...decoder(sizes), target: "reference" });
/** Of more of them, so that MOEC_TEST=full compiles it. */
const near = (sizes: Model["sizes"]): Model => (full ? decoder(sizes) : like(sizes));
/** Three blocks with a DeltaNet, and one with attention. */
const hybrid = {
  V: 19,
  D: 8,
  H: 6,
  L: 4,
  Heads: 2,
  Groups: 1,
  A: 4,
  part: 0.5,
  Chunk: 4,
  Context: 8,
  Keys: 1,
  Values: 2,
  KeyWidth: 3,
  ValueWidth: 2,
};
/** Of Mamba-2. */
const state = { V: 19, StateHeads: 2, StateWidth: 4, States: 3 };
const models: Readonly<Record<string, Model>> = {
  Gpt: { file: "gpt", sizes: { V: 19, D: 8, L: 1, Heads: 2, Context: 8, Steps: 1000 }, step: 20 },
  GptMoE: { file: "gpt", sizes: { V: 19, D: 8, H: 6, L: 1, Heads: 2, E: 3, K: 2, Context: 8, Steps: 1000 }, step: 20 },
  TransformerXl: { file: "xl", sizes: { V: 19, D: 8, H: 6, L: 1, Heads: 2, E: 3, K: 2, M: 4, rate: 0 }, step: 1 },
  Mixtral: decoder({ V: 19, D: 8, H: 6, L: 1, Heads: 4, Groups: 2, E: 3, K: 2, Context: 8, window: 5 }),
  Olmoe: near({ V: 19, D: 8, H: 6, L: 1, Heads: 2, E: 4, K: 3, Context: 8 }),
  Qwen3Moe: near({ V: 19, D: 8, H: 6, L: 1, Heads: 2, Groups: 1, A: 6, E: 4, K: 2, Context: 8 }),
  Qwen2Moe: near({ V: 19, D: 8, H: 6, F: 5, L: 1, Heads: 2, Groups: 1, E: 4, K: 2, Context: 8 }),
  Glm4Moe: near({ V: 19, D: 8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, Groups: 1, A: 8, E: 4, K: 2, Context: 8 }),
  Aria: like({ V: 19, D: 8, H: 6, L: 1, Heads: 2, E: 4, K: 2, Context: 8 }),
  GraniteMoe: decoder({ V: 19, D: 8, H: 6, L: 1, Heads: 2, Groups: 1, E: 4, K: 2, Context: 8, soft: 1 }),
  GraniteMoeShared: like({ V: 19, D: 8, F: 5, H: 6, L: 1, Heads: 2, Groups: 1, E: 4, K: 2, Context: 8, soft: 1 }),
  GraniteMoeHybrid: {
    ...decoder({
      ...state,
      D: 8,
      F: 5,
      H: 6,
      L: 3,
      Heads: 2,
      Groups: 1,
      E: 4,
      K: 2,
      Context: 8,
      soft: 1,
      Attentions: 1,
      First: 1,
    }),
    file: "granite",
  },
  NemotronH: {
    ...like({
      ...state,
      D: 8,
      H: 6,
      F: 5,
      L: 5,
      Pairs: 1,
      Short: 1,
      Long: 0,
      Heads: 2,
      Groups: 1,
      A: 4,
      StateGroups: 1,
      E: 4,
      K: 2,
      R: 3,
      Context: 8,
    }),
    file: "nemotron",
  },
  FlexOlmo: like({ V: 19, D: 8, H: 6, L: 1, Heads: 2, Groups: 1, E: 4, K: 2, Context: 8 }),
  SolarOpen: like({ V: 19, D: 8, H: 6, L: 1, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Context: 8 }),
  Llama4: decoder({ V: 19, D: 8, F: 10, H: 6, L: 4, Heads: 2, Groups: 1, A: 4, E: 3, Step: 2, Context: 8, chunk: 4 }),
  Gemma2: like({
    V: 19,
    D: 8,
    H: 6,
    L: 2,
    Heads: 4,
    Groups: 2,
    A: 4,
    Context: 8,
    window: 4,
    scalar: 5,
    cap: 2,
    last: 9,
  }),
  Gemma4: {
    ...like({
      V: 19,
      D: 8,
      F: 6,
      H: 5,
      L: 2,
      Every: 2,
      Heads: 2,
      Groups: 1,
      A: 4,
      FarGroups: 1,
      FarA: 8,
      E: 4,
      K: 2,
      Context: 8,
      window: 4,
    }),
    file: "gemma4",
  },
  Cohere2Moe: {
    ...like({
      V: 19,
      D: 8,
      F: 6,
      H: 5,
      L: 4,
      Dense: 1,
      Every: 2,
      Full: 1,
      Heads: 2,
      Groups: 1,
      A: 4,
      E: 4,
      K: 2,
      Shared: 1,
      Context: 8,
      window: 4,
      soft: 1,
    }),
    file: "cohere2",
  },
  Mistral4: like({
    V: 19,
    D: 8,
    F: 10,
    H: 6,
    L: 2,
    Dense: 1,
    Heads: 2,
    E: 4,
    K: 2,
    Q: 6,
    R: 5,
    A: 3,
    P: 4,
    C: 2,
    Context: 8,
  }),
  Dbrx: like({ V: 19, D: 8, H: 6, L: 1, Heads: 2, Groups: 1, E: 4, K: 2, Context: 8 }),
  LongcatFlash: {
    ...like({
      V: 19,
      D: 8,
      F: 10,
      H: 6,
      L: 1,
      Heads: 2,
      E: 3,
      Copies: 2,
      K: 2,
      Q: 6,
      R: 5,
      A: 3,
      P: 4,
      C: 2,
      Context: 8,
    }),
    file: "longcat",
  },
  MiMoV2Flash: {
    ...like({
      V: 19,
      D: 8,
      F: 6,
      H: 5,
      L: 2,
      Every: 2,
      Heads: 2,
      Groups: 1,
      NearGroups: 2,
      A: 6,
      C: 4,
      P: 4,
      NearP: 2,
      E: 4,
      K: 2,
      Context: 8,
      window: 4,
    }),
    file: "windowed",
  },
  GraniteMoeSwa: {
    ...like({
      V: 19,
      D: 8,
      F: 5,
      H: 6,
      L: 3,
      Every: 2,
      Full: 2,
      Heads: 2,
      Groups: 1,
      E: 4,
      K: 2,
      Context: 8,
      window: 4,
      soft: 1,
    }),
    file: "windowed",
  },
  Mellum: {
    ...like({
      V: 19,
      D: 8,
      H: 6,
      L: 2,
      First: 1,
      Full: 1,
      Heads: 2,
      Groups: 1,
      A: 6,
      E: 4,
      K: 2,
      Context: 8,
      window: 4,
    }),
    file: "windowed",
  },
  GptOss: like({ V: 19, D: 8, H: 6, L: 2, Heads: 4, Groups: 2, A: 4, E: 4, K: 2, Context: 8, window: 4 }),
  Llama: like({ V: 19, D: 8, H: 6, L: 1, Heads: 4, Groups: 2, Context: 8, stretch: 8, original: 40 }),
  Mistral: like({ V: 19, D: 8, H: 6, L: 1, Heads: 4, Groups: 2, Context: 8, window: 5 }),
  Qwen2: like({ V: 19, D: 8, H: 6, L: 1, Heads: 4, Groups: 2, Context: 8 }),
  Qwen3: like({ V: 19, D: 8, H: 6, L: 1, Heads: 2, Groups: 1, A: 6, Context: 8 }),
  MiniMaxM2: like({ V: 19, D: 8, H: 6, L: 1, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Context: 8 }),
  Dots1: like({ V: 19, D: 8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, Groups: 1, E: 4, K: 2, Context: 8 }),
  DeepSeekV2: like({
    V: 19,
    D: 8,
    F: 10,
    H: 6,
    L: 2,
    Dense: 1,
    Heads: 2,
    E: 4,
    K: 2,
    R: 5,
    A: 3,
    P: 4,
    C: 2,
    Context: 8,
  }),
  HunYuanMoE: like({ V: 19, D: 8, H: 6, L: 1, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Context: 8 }),
  Ernie45Moe: like({ V: 19, D: 8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, Groups: 1, E: 4, K: 2, Context: 8 }),
  Qwen3Next: { ...decoder({ ...hybrid, F: 5, E: 3, K: 2 }), file: "qwen3_next" },
  Qwen35Moe: { ...like({ ...hybrid, F: 5, E: 3, K: 2 }), file: "qwen3_next" },
  Qwen35: { ...like(hybrid), file: "qwen3_next" },
  ExaoneMoe: {
    ...like({ V: 19, D: 8, F: 6, H: 5, L: 4, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Context: 8, window: 4 }),
    file: "windowed",
  },
  Afmoe: {
    ...like({ V: 19, D: 8, F: 6, H: 5, L: 4, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Context: 8, window: 4 }),
    file: "windowed",
  },
  Lfm2: { ...like({ V: 19, D: 8, F: 6, L: 7, Twos: 1, Ones: 0, Heads: 2, Groups: 1, Context: 8 }), file: "lfm2" },
  Lfm2Moe: {
    ...decoder({
      V: 19,
      D: 8,
      F: 10,
      H: 6,
      L: 7,
      Dense: 1,
      Threes: 0,
      Heads: 2,
      Groups: 1,
      E: 4,
      K: 2,
      Context: 8,
    }),
    file: "lfm2",
  },
  PhiMoE: {
    ...like({ V: 19, D: 8, H: 6, L: 1, Heads: 4, Groups: 2, E: 4, Context: 8, original: 4, jitter: 0.2 }),
    file: "phi",
  },
  DeepSeekV3: decoder({
    V: 19,
    D: 8,
    F: 10,
    H: 6,
    L: 2,
    Dense: 1,
    Heads: 2,
    E: 4,
    K: 2,
    G: 2,
    Open: 1,
    Q: 6,
    R: 5,
    A: 3,
    P: 4,
    C: 2,
    Context: 8,
  }),
};

async function open(name: string, { file, sizes, target = "host" }: Model): Promise<Executable> {
  const { executable, report } = await compileProgram({
    path: join(folder, `${file}.moe`),
    declaration: name,
    sizes,
    target,
    precision: "f32",
    entries: [{ method: "train", name: "train", sizes: { B: 2, T: 8 } }],
  });
  assert.deepEqual(report.unreached, []);
  await executable.run("init", new Map(), { seed: 5, call: 0, step: 0 });
  return executable;
}
/** All parameters as they begin. */
async function initial(name: string, { file, sizes }: Model, std: number): Promise<Map<string, Tensor>> {
  const { executable } = await compileProgram({
    path: join(folder, `${file}.moe`),
    declaration: name,
    sizes: { ...sizes, std },
    target: "reference",
    precision: "f32",
    entries: [{ method: "forward", name: "forward", sizes: { B: 2, T: 8 } }],
  });
  await executable.run("init", new Map(), { seed: 5, call: 0, step: 0 });
  const parameters = executable.stores.filter((s) => s.role === "parameter");
  return new Map(parameters.map((s) => [s.name, executable.read(s.name)]));
}
const ints = (values: readonly number[], T = 8): Tensor => fromNumbers("i32", [2, T], values);
const text = Array.from({ length: 18 }, (_, i) => (i * i * 5 + 3) % 19);
const batch = new Map([
  ["tokens", ints([...text.slice(0, 8), ...text.slice(9, 17)])],
  ["targets", ints([...text.slice(1, 9), ...text.slice(10, 18)])],
]);

test("every model of the library is here", () => assert.deepEqual(Object.keys(models).toSorted(), libraryModels()));

/** Matrices that do not begin with the model's `std`: routers and convolutions. */
const ownStd = /(feed|moe)\.gate\.weight$|conv$/;
for (const [name, model] of Object.entries(models).filter(([, { file }]) => file !== "xl"))
  test(`every matrix of ${name} begins with its std`, async () => {
    const [narrow, wide] = [await initial(name, model, 0.02), await initial(name, model, 0.5)];
    for (const [store, x] of wide) {
      if (x.shape.length - store.split("*").length < 1 || ownStd.test(store)) continue;
      const small = numbers(narrow.get(store) ?? x);
      assert.ok(
        numbers(x).every((y, i) => y !== 0 && Math.abs(y - 25 * (small[i] ?? 0)) < 1e-5),
        store,
      );
    }
  });

for (const [name, model] of Object.entries(models))
  test(`${name} learns a batch by heart, a little with each step`, async () => {
    const executable = await open(name, model);
    try {
      const losses: number[] = [];
      for (let i = 0; i < 12; i++) {
        const { losses: found } = await executable.run("train", batch, { seed: 0, call: i, step: model.step + i });
        losses.push(found.get("language") ?? Number.NaN);
      }
      const [first = Number.NaN] = losses;
      assert.ok(Math.abs(first - Math.log(19)) < 0.1, `it begins at ${first}`);
      assert.ok(
        losses.every((loss, i) => i === 0 || loss < (losses[i - 1] ?? 0)),
        losses.join(" "),
      );
      assert.ok((losses.at(-1) ?? Number.NaN) < first - 0.02, losses.join(" "));
    } finally {
      executable.close();
    }
  });

const xl = { V: 7, D: 6, H: 5, L: 2, Heads: 2, E: 3, K: 2, M: 8, rate: 0 };
const streams = [0, 1].map((s) => Array.from({ length: 13 }, (_, i) => (i * i * 2 + 3 * s) % 7));
/** Tokens from .. from + T of both streams. */
const segment = (from: number, T: number): Tensor =>
  ints(
    streams.flatMap((s) => s.slice(from, from + T)),
    T,
  );
/** Of one shape [B, T, V]: the rows from .. from + T of each stream. */
function rows(t: Tensor, from: number, T: number): Tensor {
  const [B = 0, all = 0, V = 0] = t.shape;
  const data = Array.from({ length: B }, (_, b) =>
    Array.from(numbers(t).slice((b * all + from) * V, (b * all + from + T) * V)),
  );
  return fromNumbers(t.dtype, [B, T, V], data.flat());
}
for (const { target, precision, tolerance } of peerTargets)
  test(`Transformer-XL: three segments with memory are one long sequence, ${target} ${precision}`, async () => {
    const { executable } = await compileProgram({
      path: join(folder, "xl.moe"),
      declaration: "TransformerXl",
      sizes: xl,
      target,
      precision,
      entries: [12, 4].map((T) => ({ method: "forward", name: `forward:${T}`, sizes: { B: 2, T } })),
    });
    const logits = async (from: number, T: number): Promise<Tensor | undefined> =>
      (await executable.run(`forward:${T}`, new Map([["tokens", segment(from, T)]]), { seed: 0, call: 0, step: 0 }))
        .outputs[0];
    try {
      const begin = () => executable.run("init", new Map(), { seed: 2, call: 0, step: 0 });
      await begin();
      const whole = await logits(0, 12);
      assert.ok(whole);
      await begin();
      for (const from of [0, 4, 8])
        assertClose(`from ${from}`, await logits(from, 4), rows(whole, from, 4), tolerance / 100);
    } finally {
      executable.close();
    }
  });

const segments = (from: number) =>
  new Map([
    ["tokens", segment(from, 4)],
    ["targets", segment(from + 1, 4)],
  ]);
/** The loss of a segment for which `u` is `second`, after one for which it was `first`; and its gradients. */
async function after(executable: Executable, first: Tensor, second: Tensor) {
  const at = { seed: 0, call: 0, step: 0 };
  await executable.run("init", new Map(), { seed: 2, call: 0, step: 0 });
  for (const { name, role } of executable.stores) {
    const t = executable.read(name);
    const wide = numbers(t).map((x) => (name.includes("norm") ? x : 20 * x));
    if (role === "parameter") executable.write(name, fromNumbers(t.dtype, t.shape, wide));
  }
  executable.write("u", first);
  await executable.run("train", segments(0), at);
  executable.write("u", second);
  const { losses, gradients } = await executable.run("train", segments(4), at);
  return { loss: losses.get("language") ?? Number.NaN, gradients };
}
const u = (by: number): Tensor => fromNumbers("f64", [2, 3], [0.5 + by, -0.3, 0.2, 0.7, 0.1, -0.6]);
test("Transformer-XL: the gradient stops at the memory", async () => {
  const { executable } = await compileProgram({
    path: join(folder, "xl.moe"),
    declaration: "TransformerXl",
    sizes: xl,
    target: "reference",
    precision: "f64",
    entries: [{ method: "train", name: "train", sizes: { B: 2, T: 4 }, gradients: true }],
  });
  const step = 1e-5;
  const slope = async (inMemory: number): Promise<number> => {
    const [low, high] = [
      await after(executable, u(-step * inMemory), u(-step)),
      await after(executable, u(step * inMemory), u(step)),
    ];
    return (high.loss - low.loss) / (2 * step);
  };
  const { gradients } = await after(executable, u(0), u(0));
  const [by = Number.NaN] = numbers(gradients.get("u") ?? u(0));
  const [stopped, through] = [await slope(0), await slope(1)];
  executable.close();
  assert.ok(Math.abs(by) > 1e-6 && Math.abs(by - stopped) < 1e-4 * Math.abs(by), `${by}, by differences ${stopped}`);
  assert.ok(Math.abs(by - through) > 1e-3 * Math.abs(by), `${by}, through the memory too ${through}`);
});
test.run();
