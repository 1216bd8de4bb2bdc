// Padded rows that a mask leaves out change nothing: scores, choices, losses, loads, states and gradients are those of the batch without them.
import assert from "node:assert/strict";
import { suite } from "uvu";
import {
  type CompileOptions,
  compile,
  type Handle,
  moe,
  numbers,
  type Outcome,
  type Tensor,
  tensor,
} from "../../runtime/index.ts";
import { assertClose } from "../peer-results.ts";

const { GptBlock } = moe<"GptBlock">`
  import { Attention } from "std/attention"
  import { Block } from "std/models/gpt"
  import { MoE } from "std/moe"
  import { TopKGate } from "std/gates"
  import { SwiGlu } from "std/nn"

  layer GptBlock(D) = Block(D, Attention(D, 1), MoE(D, 2, 4, TopKGate(D, 4, 2), SwiGlu(D, 8)))
`;
const models: Readonly<Record<string, Handle | undefined>> = moe`
  import {
    NaiveGate, SoftmaxGate, TopKGate, NoisyGate, SwitchGate, GShardGate, SinkhornGate, BaseGate, BiasGate, SwipeGate, TopologyGate, DenseToSparseGate,
    ReluGate, TopPGate, ProductKeyGate, HashGate
  } from "std/gates"
  import { MoE, SharedMoE, CopyMoE, ExpertChoice, SoftMoE, GroupedMoE, Depth } from "std/moe"
  import { SwiGlu } from "std/nn"
  import { Attention, LatentAttention } from "std/attention"
  import { Ministral3Attention } from "std/models/dense"
  import { Block, Gemma2Block, Llama4Feed } from "std/models/decoder"
  import { XlBlock } from "std/models/xl"
  import { Sgd } from "std/optim"

  layer Gated(D, K, gate: (f32[...S, D], bool[...S]) -> (f32[...S, K], i32[...S, K])) {
    gate: gate
    train(x: f32[B, T, D], seed: f32[B, T, D], mask: bool[B, T]) {
      let (score, expert) = gate(x, mask)
      loss y = sum(where(expert >= 0, score, 0) * sum(seed, axis: -1, keep: true))
      metric rows_score = where(expert >= 0, score, 0)
      metric rows_expert = expert
      optimize with Sgd()
    }
  }
  layer Mixed(D, mixture: (float[B, T, D], bool[B, T]) -> float[B, T, D]) {
    mixture: mixture
    train(x: f32[B, T, D], seed: f32[B, T, D], mask: bool[B, T]) {
      let y = where(mask[..., new], mixture(x, mask), 0)
      loss y = sum(y * seed)
      metric rows_y = y
      metric idle_y = where(mask[..., new], 0, mixture(x, mask))
      optimize with Sgd()
    }
  }
  layer Hashed(D) {
    gate: HashGate(4)
    forward(x: f32[...S, D], mask: bool[...S]) -> (f32[...S, 1], i32[...S, 1]) {
      let (score, expert) = gate(i32(100 * x[..., 0]), mask)
      return score, expert
    }
  }

  layer Unmasked(D, E) {
    gate: SoftmaxGate(D, E, 1)
    forward(x: f32[...S, D]) -> (f32[...S, 1], i32[...S, 1]) {
      let (score, expert) = gate(x)
      return score, expert
    }
  }
  // A layer that takes positions: real rows are counted, padded ones are at -1.
  layer Placed(D, inner: (float[B, T, D], i32[B, T]) -> float[B, T, D]) {
    inner: inner
    forward(x: float[B, T, D], mask: bool[B, T]) -> float[B, T, D] {
      return inner(x, where(mask, i32(cumsum(f32(mask), axis: 1)) - 1, -1))
    }
  }
  layer Mixture4(D) = MoE(D, 2, 4, TopKGate(D, 4, 2, z: 0.1), SwiGlu(D, 8))
  layer Xl(D) {
    block: XlBlock(D, 1, 4, Mixture4(D), Context: 32)
    param u: float[1, D] = 0
    param w: float[1, D] = 0
    forward(x: float[B, T, D], at: i32[B, T]) -> float[B, T, D] { return block.placed(x, at, u, w) }
  }

  model Naive(D = 6) = Gated(D, 2, NaiveGate(D, 4, 2))
  model Softmax(D = 6) = Gated(D, 2, SoftmaxGate(D, 4, 2))
  model TopK(D = 6) = Gated(D, 2, TopKGate(D, 4, 2, z: 0.1))
  model Noisy(D = 6) = Gated(D, 2, NoisyGate(D, 4, 2))
  model Switch(D = 6) = Gated(D, 1, SwitchGate(D, 4, factor: 1))
  model GShard(D = 6) = Gated(D, 2, GShardGate(D, 4, factor: 1))
  model Sinkhorn(D = 6) = Gated(D, 2, SinkhornGate(D, 4, 2))
  model Base(D = 6) = Gated(D, 1, BaseGate(D, 4))
  model Bias(D = 6) = Gated(D, 2, BiasGate(D, 4, 2, G: 2, rate: 0.1))
  model Swipe(D = 6) = Gated(D, 2, SwipeGate(D, 4, 2, W: 2))
  model Topology(D = 6) = Gated(D, 2, TopologyGate(D, 4, Nodes: 2, part: 0.3))
  model DenseToSparse(D = 6) = Gated(D, 4, DenseToSparseGate(D, 4, threshold: 0.2))
  model Relu(D = 6) = Gated(D, 4, ReluGate(D, 4, 4, start: 0.1))
  model ReluFew(D = 6) = Gated(D, 2, ReluGate(D, 4, 2, start: 0.1, target: 3))
  model TopP(D = 6) = Gated(D, 3, TopPGate(D, 4, 3, p: 0.6, dynamic: 0.1))
  model ProductKey(D = 6) = Gated(D, 4, ProductKeyGate(D, 3, 2, Heads: 2, Q: 4))
  model Hash(D = 6) = Gated(D, 1, Hashed(D))
  model Mixture(D = 6) = Mixed(D, MoE(D, 1, 4, SwitchGate(D, 4, factor: 1), SwiGlu(D, 8)))
  model OneArgument(D = 6) = Mixed(D, MoE(D, 1, 4, Unmasked(D, 4), SwiGlu(D, 8)))
  model Shared(D = 6) = Mixed(D, SharedMoE(D, 2, 4, TopKGate(D, 4, 2), SwiGlu(D, 8), SwiGlu(D, 8)))
  model Copying(D = 6) = Mixed(D, CopyMoE(D, 2, 3, 2, TopKGate(D, 5, 2), SwiGlu(D, 8)))
  model Choice(D = 6) = Mixed(D, ExpertChoice(D, 4, factor: 1.5, expert: SwiGlu(D, 8)))
  model Soft(D = 6) = Mixed(D, SoftMoE(D, 4, P: 2, expert: SwiGlu(D, 8)))
  model Grouped(D = 6) = Mixed(D, GroupedMoE(D, 2, 2, 1, SwiGlu(D, 8)))
  model Decoder(D = 6) = Mixed(D, Placed(D, Block(D, Attention(D, 1), Mixture4(D))))
  model Gemma(D = 6) = Mixed(D, Placed(D, Gemma2Block(D, Attention(D, 1), Mixture4(D))))
  model Gpt(D = 6) = Mixed(D, Placed(D, ${GptBlock}(D)))
  model Llama(D = 6) = Mixed(D, Placed(D, Block(D, Attention(D, 1), Llama4Feed(D, 8, 8, 4, 1))))
  model Ministral(D = 6) = Mixed(D, Placed(D, Ministral3Attention(D, 2, 1, 4, original: 2, growth: 0.5)))
  model Mistral(D = 6) = Mixed(D, Placed(D, LatentAttention(D, 2, 4, 3, 4, 2, 4, original: 2, growth: 0.5)))
  model TransformerXl(D = 6) = Mixed(D, Placed(D, Xl(D)))
  model Depths(D = 6) = Mixed(D, Placed(D, Depth(D, part: 0.4, body: Block(D, Attention(D, 1), Mixture4(D)))))
`;
const D = 6;
/** A batch [B, T], and which of its rows are real: in each sequence equally many, or in a single one here and there. */
const layouts = {
  sequences: { B: 2, T: 9, real: (_: number, t: number) => t < 5 },
  scattered: { B: 1, T: 23, real: (_: number, t: number) => (t * t) % 5 < 2 },
};
type Layout = (typeof layouts)[keyof typeof layouts];
const whereReal = ({ B, T, real }: Layout): boolean[] =>
  Array.from({ length: B * T }, (_, n) => real(Math.floor(n / T), n % T));
/** The real rows of a tensor [B, T, ...]. */
function realRows(t: Tensor, layout: Layout): Tensor {
  const mask = whereReal(layout);
  const width = t.data.length / mask.length;
  const data = numbers(t).filter((_, i) => mask[Math.floor(i / width)]);
  return tensor(t.dtype, [layout.B, data.length / layout.B / width, ...t.shape.slice(2)], data);
}
const inputs = ({ B, T, real }: Layout, kinds = 3): Record<string, Tensor> => {
  const mask = whereReal({ B, T, real });
  // what stands in padded rows is large, so that it would be noticed; rows of few kinds overfill experts
  const rows = (kinds: number): Tensor =>
    tensor(
      "f32",
      [B, T, D],
      Array.from(
        { length: B * T * D },
        (_, i) => (mask[Math.floor(i / D)] ? 2 : 50) * Math.sin(kinds + (i % (kinds * D)) ** 2),
      ),
    );
  return { x: rows(kinds), seed: rows(B * T), mask: tensor("bool", [B, T], mask.map(Number)) };
};
/** The names of these tensors, and each for the real rows alone: of what is per row (`rows_*`, and gradients of inputs) those rows. */
function compared({ losses, metrics, gradients }: Outcome, layout: Layout | null): Map<string, Tensor> {
  const rows = (name: string, t: Tensor): Tensor => (layout && /^rows_|^input\./.test(name) ? realRows(t, layout) : t);
  return new Map([
    ...[...losses].map(([name, x]): [string, Tensor] => [`loss ${name}`, tensor("f64", [], [x])]),
    ...[...metrics, ...gradients]
      .filter(([name]) => !name.startsWith("idle_"))
      .map(([name, t]): [string, Tensor] => [name, rows(name, t)]),
  ]);
}
/** Columns that are unlike one another: else two experts of a gate are always chosen together. */
const wavy = (t: Tensor, seed: number): Tensor => ({ ...t, data: t.data.map((_, i) => Math.sin(seed + 1 + i ** 2)) });
async function outcome(model: Handle | undefined, given: Record<string, Tensor>, options: CompileOptions) {
  const [B = 0, T = 0] = given["x"]?.shape ?? [];
  const program = await compile(model, { ...options, entry: "train", gradients: true, sizes: { B, T } });
  program.load(new Map(program.names.map((key, i) => [key, wavy(program.read(key), i)])));
  const result = await program.run(given);
  const states = program.names.map((name): [string, Tensor] => [name, program.read(name)]);
  program.close();
  return { result, states };
}
async function unchanged(name: string, kind: keyof typeof layouts, options: CompileOptions): Promise<void> {
  const layout = layouts[kind];
  const all = inputs(layout, name === "Base" ? layout.B * layout.T : 3); // its prices hardly part rows of few kinds
  const without = Object.fromEntries(Object.entries(all).map(([key, t]) => [key, realRows(t, layout)]));
  const bar = options.precision === "f64" ? 1e-9 : 1e-5;
  const [padded, bare] = [await outcome(models[name], all, options), await outcome(models[name], without, options)];
  const got = compared(padded.result, layout);
  const expected = compared(bare.result, null);
  assert.deepEqual([...got.keys()], [...expected.keys()]);
  for (const [key, t] of expected) assertClose(key, got.get(key), t, t.dtype === "i32" ? 0 : bar);
  for (const [i, [key, t]] of bare.states.entries()) assertClose(key, padded.states[i]?.[1], t, bar);
  assert.ok([...expected.values()].some((t) => numbers(t).some((x) => x !== 0)));
}

const test = suite("stdlib-padding");
/** While training these draw, and a draw depends on the row's place. */
const drawing = ["Noisy", "Switch", "GShard", "DenseToSparse", "Mixture"];
const names = Object.keys(models).filter(
  (name) => !["Gated", "Mixed", "Hashed", "Unmasked", "Placed", "Mixture4", "Xl"].includes(name),
);
for (const name of names)
  for (const kind of ["sequences", "scattered"] as const) {
    if (name === "Topology" && kind === "scattered") continue; // a row's place says its node
    test(`${name}, ${kind}`, () =>
      unchanged(name, kind, {
        target: "reference",
        precision: "f64",
        evaluates: kind === "sequences" || drawing.includes(name),
      }));
  }
for (const name of ["Mixture", "Choice"])
  test(`${name} on the host`, () =>
    unchanged(name, "scattered", { target: "host", evaluates: drawing.includes(name) }));
for (const name of ["Mixture", "OneArgument"])
  test(`${name}: no expert sees a padded row, so it gets nothing`, async () => {
    const layout = layouts.scattered;
    const { result } = await outcome(models[name], inputs(layout), { target: "reference", evaluates: true });
    const y = numbers(result.metrics.get("idle_y") ?? assert.fail());
    assert.ok(y.length > 0 && y.every((x) => x === 0));
  });
test.run();
