// Random valid programs as text: layers, mixtures with experts of every kind (mixtures too), gates, losses, states, optimizers. The same seed gives
// the same program.
import type { Weights } from "../../compiler/types/dtype.ts";
import { Draw } from "./random-graph.ts";
import { drawing, mixture, steps, whole } from "./statements.ts";
import { LayerText, type Step } from "./writer.ts";

export interface RandomProgram {
  readonly seed: string;
  /** The name of the model's only layer member, with which all names of its stores begin. */
  readonly name: string;
  readonly text: string;
  /** Sizes of the model's header and of the entry's inputs. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Batches in a step. Default: 1. */
  readonly accumulate?: number;
  /** Whether it is evaluated too; only for a program that is alone in its plan. */
  readonly evaluates?: boolean;
  /** Whether the backward makes the layer's copies again. */
  readonly recompute?: boolean;
  /** How matrices that it does not train are kept. */
  readonly weights?: Weights;
}
export interface Kind {
  /** Whether mixtures are written as loops over all experts, which is what they mean. */
  readonly looped: boolean;
  /** Whether random numbers (keyed by their place in the program) and roundings to bf16 are allowed, which differ between a mixture and a loop. */
  readonly draws: boolean;
  readonly sizes?: keyof typeof sizesOf | "edged";
  /** Default: the layer is no array. */
  readonly copies?: number;
}

const declared = (name: string, w: LayerText): string => `layer ${name}(D, H) {
  ${w.members.join("\n  ")}
  forward(x: float[...S, D]) -> float[...S, D] {
    ${w.lines.join("\n    ")}
    return ${w.result()}
  }
}`;
function rows(name: string, draw: Draw, before: readonly string[]): string {
  const w = new LayerText(draw, before);
  const list = before.length > 0 ? [...steps, mixture, mixture, mixture] : steps.slice(0, -2);
  for (let i = 1 + draw.below(5); i > 0; i--) w.step(draw.of(list));
  if (before.length > 1) w.step(mixture);
  return declared(name, w);
}
function net(draw: Draw, before: readonly string[], list: readonly Step[]): string {
  const w = new LayerText(draw, before);
  for (let i = 2 + draw.below(4); i > 0; i--) w.step(draw.of(list));
  const text = declared("Net", w);
  return text
    .replaceAll("...S", "B, T")
    .replace("forward(x: float[B, T, D])", "forward(x: float[B, T, D], tokens: i32[B, T], at: i32[B, T])");
}
const optimizers = [
  "AdamW(lr: warmup_cosine(peak: 0.01, warm: 2, total: 5))",
  "AdamW(lr: 0.01)",
  "Sgd(lr: 0.1)",
  "AdamW(lr: warmup_stable_decay(peak: 0.01, warm: 2, total: 5, cool: 2), decay: 0, clip: inf)",
  "AdEMAMix(warm: 3, lr: 0.01, beta3: 0.99)",
  "Lion(lr: 0.01)",
  "Lion(lr: inverse_root(peak: 0.01, warm: 2), clip: 1)",
  "Adafactor()",
  "Adafactor(decay: 0.1, clip: 0.5)",
  "Muon()",
  "Muon(clip: 0.5, momentum: 0.5)",
  "Sgd(clip: 0.5)",
  "Sgd(momentum: 0, decay: 0.1)",
];

/**
 * Ranges of sizes: small (the default); larger than a tile's rows and columns, or only slightly; deep enough for several pieces; rows of whole 16
 * bytes; empty.
 */
const sizesOf = {
  small: { D: [1, 2, 3, 4, 5, 8, 16, 17], H: [1, 2, 3, 7, 8, 16, 33], B: [1, 2, 3], T: [1, 2, 4, 5, 9] },
  large: { D: [31, 40, 64, 65], H: [33, 48, 72, 130], B: [1, 2], T: [17, 32, 67] },
  middle: { D: [24, 31, 33], H: [33, 48, 65], B: [1, 2], T: [7, 17] },
  deep: { D: [96, 130, 272], H: [64, 200, 384], B: [2, 4], T: [67, 100, 128] },
  aligned: { D: [8, 16, 24, 72], H: [8, 16, 40, 136], B: [1, 2, 3], T: [1, 5, 17, 67] },
  empty: { D: [0, 1, 4, 16], H: [0, 1, 7], B: [0, 0, 1, 2], T: [0, 1, 1, 5] },
} as const;
/** One of the sizes is just around a block's, the others are small. */
const edges = { D: [63, 65, 129, 257], H: [63, 65, 129, 257], B: [63, 65, 257], T: [63, 65, 127, 129] } as const;
const besides = { D: [1, 2, 3, 4], H: [1, 3, 5], B: [1, 2], T: [1, 3] } as const;
function edged(draw: Draw): Record<string, number> {
  const name = draw.of(["D", "H", "B", "T"] as const);
  return { ...drawnOf(besides, draw), [name]: draw.of<number>(edges[name]) };
}
const drawnOf = (lists: Readonly<Record<string, readonly number[]>>, draw: Draw): Record<string, number> =>
  Object.fromEntries(Object.entries(lists).map(([size, list]) => [size, draw.of<number>(list)]));
/** A model whose only layer member is called `name`, so that several models fit in one plan. */
export function randomProgram(
  seed: string,
  name: string,
  { looped, draws, sizes = "small", copies }: Kind,
): RandomProgram {
  const draw = new Draw(seed);
  const layers = ["L0", "L1", "L2", "L3"].slice(0, 2 + draw.below(3));
  const list = [...steps, mixture, ...whole, ...whole, ...(draws ? drawing : [])];
  const parts = [...layers.map((layer, i) => rows(layer, draw, layers.slice(0, i))), net(draw, layers, list)];
  const chosen = draw.chance(0.5) ? `optimize ${name}_head with ${draw.of([...optimizers, "none"])}\n    ` : "";
  const text = `${library(looped, draws)}
${parts.join("\n")}
model Program(D, H) {
  ${name}: Net(D, H)${copies === undefined ? "" : `[${copies}]`}
  state ${name}_seen: f32[D] = 1
  param ${name}_head: float[D, 11] = normal(std: 0.5)
  train(x: float[B, T, D], tokens: i32[B, T], at: i32[B, T] = range(T)) {
    ${copies === undefined ? `let y = ${name}(x, tokens, at)` : `let y = x\n    for net in ${name} { y = net(y, tokens, at) }`}
    loss square = mean(f32(y - tanh(x)) ** 2)
    loss language = cross_entropy(y @ ${name}_head, tokens)
    metric seen = ${name}_seen
    update ${name}_seen = 0.9 * ${name}_seen + 0.1 * mean(f32(y), axis: [0, 1])
    ${chosen}optimize with ${draw.of(optimizers)}
  }
}
`;
  return { seed, name, text, sizes: sizes === "edged" ? edged(draw) : drawnOf(sizesOf[sizes], draw) };
}
const library = (looped: boolean, draws: boolean): string => `import { normal } from "std/init"
import { Embedding, LayerNorm, RmsNorm, count, dropout, gelu, relu, silu, softplus } from "std/nn"
import { Attention, CrossAttention, LatentAttention } from "std/attention"
import { BaseGate, BiasGate, DenseToSparseGate, GShardGate, HashGate, NaiveGate, NoisyGate, ProductKeyGate, ReluGate } from "std/gates"
import { SinkhornGate, SoftmaxGate, SwipeGate, SwitchGate, TopKGate, TopPGate, TopologyGate, within } from "std/gates"
import { CopyMoE, Depth, ExpertChoice, GroupedMoE, SharedMoE, SoftMoE } from "std/moe"
import { cross_entropy } from "std/loss"
import { inverse_root, warmup_cosine, warmup_stable_decay } from "std/schedule"
import { AdamW, AdEMAMix, Adafactor, Lion, Muon, Sgd } from "std/optim"
fn short(x: float[...S]) -> float[...S] { return ${draws ? "float(bf16(x))" : "x"} }
layer Mix(D, E, K, gate: f32[...S, D] -> (f32[...S, K], i32[...S, K]), experts: (float[...S, D] -> float[...S, D])[E]) {
  gate: gate
  experts: experts
  forward(x: float[...S, D]) -> float[...S, D] {
    let (score, index) = gate(x)
    if ${looped} {
      let y: float[...S, D] = 0
      for expert, e in experts { y = y + sum(where(index == e, score, 0), axis: -1, keep: true) * expert(x) }
      return y
    }
    return sum(score[..., new] * experts[index](x), axis: -2)
  }
}
// By their tokens; the experts are another layer's.
layer Shelf(D, E, experts: (float[...S, D] -> float[...S, D])[E]) { experts: experts }
layer Hashed(D, E, experts: (float[...S, D] -> float[...S, D])[E]) {
  gate: HashGate(E)
  shelf: Shelf(D, E, experts)
  forward(x: float[...S, D], tokens: i32[...S]) -> float[...S, D] {
    let (score, index) = gate(tokens)
    if ${looped} {
      let y: float[...S, D] = 0
      for expert, e in shelf.experts { y = y + sum(where(index == e, score, 0), axis: -1, keep: true) * expert(x) }
      return y
    }
    return sum(score[..., new] * shelf.experts[index](x), axis: -2)
  }
}
// Of a row of its own, one for each choice, one for all, and an integer.
layer Twin(D, inner: float[...S, D] -> float[...S, D]) {
  inner: inner
  param mix: float[D, D] = normal(std: 0.5)
  param table: float[3, D] = normal(std: 0.5)
  forward(x: float[...S, D], y: float[...S, D], t: i32[...S], z: float[D]) -> (float[...S, D], float[...S, D]) {
    let h = inner(x + z)
    return tanh(h @ mix) + y, h * y + table[t]
  }
}
layer Twins(D, E, K, gate: f32[...S, D] -> (f32[...S, K], i32[...S, K]),
            experts: ((float[...S, D], float[...S, D], i32[...S], float[D]) -> (float[...S, D], float[...S, D]))[E]) {
  gate: gate
  experts: experts
  param for_all: float[D] = normal(std: 0.5)
  forward(x: float[...S, D]) -> float[...S, D] {
    let (score, index) = gate(x)
    let each = float(tanh(x)[..., new, :] * (1 + range(K))[:, new])
    let token = i32(x[..., 0] * 3)
    if ${looped} {
      let y: float[...S, D] = 0
      let wide: float[...S, K, D] = x[..., new, :]
      let tokens: i32[...S, K] = token[..., new]
      for expert, e in experts {
        let (a, b) = expert(wide, each, tokens, for_all)
        y = y + sum(where(index == e, score, 0)[..., new] * (a - b), axis: -2)
      }
      return y
    }
    let (a, b) = experts[index[..., new]](x, each[..., new, :], token, for_all)
    return sum(score[..., new, new] * (a - b), axis: [-2, -3])
  }
}
// Every copy sees all rows, each a part of them.
layer Stacked(D, E, stack: (float[...S, D] -> float[...S, D])[E]) {
  stack: stack
  forward(x: float[B, T, D]) -> float[B, T, D] {
    let scale = f32(1 + range(E))[:, new, new, new]
    let each = float(scale * x)
    if ${looped} {
      let y: float[B, T, D] = 0
      for copy, e in stack { y = y + copy(each[e]) / (e + 2) }
      return y
    }
    return sum(stack[:](each) / (scale + 1), axis: 0)
  }
}
// A mean of all batches, and how many there were.
layer Running(D) {
  state mean: float[D] = 1
  state steps: i32 = 0
  forward(x: float[...S, D]) -> float[...S, D] {
    let y = x * mean + float(steps % 3)
    update steps = steps + 1
    update mean = 0.5 * mean + 0.5 * sum(tanh(x), axis: S) / S
    return y - 0.5 * mean
  }
}
// Where a row points says its expert, which may be none (a sum of 1, as of a softmax, is no tie); all its choices but the first are its neighbours.
layer Directions(D, E, K) {
  forward(x: f32[...S, D]) -> (f32[...S, K], i32[...S, K]) {
    let first: i32[...S, K] = i32(floor(sum(x, axis: -1, keep: true) * 1.7 + 0.1))
    let score: f32[...S, K] = sigmoid(x[..., :1])
    return score / (1 + range(K)), first + range(K)
  }
}
// What comes late goes nowhere.
layer Capped(D, E, K) {
  gate: SoftmaxGate(D, E, K)
  forward(x: f32[...S, D]) -> (f32[...S, K], i32[...S, K]) {
    let (score, index) = gate(x)
    return score, within(index, E, ceil(0.8 * S * K / E))
  }
}`;
