// Random right programs, as text, the same for the same seed: layers of rows, experts of every kind (mixtures too), gates, losses, states, optimizers.
import { Draw } from "./growing.ts";

export interface RandomProgram {
  readonly seed: string;
  /** Of its only member: what all its stores' names begin with. */
  readonly name: string;
  readonly text: string;
  /** Of the model's header and of the entry's types. */
  readonly sizes: Readonly<Record<string, number>>;
}
export interface Kind {
  /** Mixtures as loops over all their experts: what they mean. */
  readonly looped: boolean;
  /** Whether there are random numbers: they are keyed by their place in the program. */
  readonly draws: boolean;
}

type Width = "D" | "H" | "1";
interface Variable {
  readonly name: string;
  readonly width: Width;
}
/** One statement of rows: an expression, and the width of its rows. */
type Step = (w: Writer) => readonly [expression: string, width: Width];

/** What a layer is written into. */
class Writer {
  readonly draw: Draw;
  readonly members: string[] = [];
  readonly lines: string[] = [];
  /** Layers of rows that are declared before. */
  readonly layers: readonly string[];
  readonly #variables: Variable[] = [{ name: "x", width: "D" }];
  readonly #read = new Set<Variable>();
  #count = 0;
  constructor(draw: Draw, layers: readonly string[]) {
    this.draw = draw;
    this.layers = layers;
  }
  /** A later one sooner than an early one. */
  any(width?: Width): Variable {
    const fits = this.#variables.filter((v) => width === undefined || v.width === width);
    const found = this.draw.of(fits.slice(-3));
    this.#read.add(found);
    return found;
  }
  has = (width: Width): boolean => this.#variables.some((v) => v.width === width);
  /** One of the same width, where there is one; else one that stretches. */
  beside = ({ width }: Variable): string =>
    this.draw.chance(0.2) && this.has("1") ? this.any("1").name : this.any(width).name;
  name = (): string => `v${this.#count++}`;
  param(type: string, init = "normal(std: 0.5)"): string {
    const name = this.name();
    this.members.push(`param ${name}: ${type} = ${init}`);
    return name;
  }
  member(layer: string): string {
    const name = this.name();
    this.members.push(`${name}: ${layer}`);
    return name;
  }
  step(step: Step): void {
    const [expression, width] = step(this);
    const name = this.name();
    this.lines.push(`let ${name} = ${expression}`);
    this.#variables.push({ name, width });
  }
  /** All that nothing has read. */
  result(): string {
    const rows = this.#variables.filter((v) => !this.#read.has(v));
    const terms = rows.map(({ name, width }) => (width === "D" ? name : `mean(${name}, axis: -1, keep: true)`));
    return ["0.1 * x", ...terms].join(" + ");
  }
  layer = (): string => `${this.draw.of(this.layers)}(D, ${this.draw.of(["H", "H", "D", "3"])})`;
}

const points = ["tanh", "sigmoid", "silu", "gelu", "sin", "cos", "abs", "relu", "softplus", "erf", "floor", "detach"];
const pairs = ["a + b", "a - b", "a * b", "maximum(a, b)", "minimum(a, b)", "where(a > b, a, b)", "a / (1 + abs(b))"];
const widths = ["D", "H"] as const;
const steps: readonly Step[] = [
  (w) => {
    const x = w.any();
    return [`${w.draw.of(points)}(${x.name})`, x.width];
  },
  (w) => {
    const x = w.any();
    const [a, b] = w.draw.chance(0.5) ? [x.name, w.beside(x)] : [w.beside(x), x.name];
    return [w.draw.of(pairs).replaceAll(/\b[ab]\b/g, (side) => (side === "a" ? a : b)), x.width];
  },
  ...[0, 0].map(
    (): Step => (w) => {
      const [x, to] = [w.any(), w.draw.of([...widths, "1"] as const)];
      return [`tanh(${x.name} @ ${w.param(`float[${x.width}, ${to}]`)})`, to];
    },
  ),
  (w) => {
    const x = w.any();
    return [
      `${x.name} ${w.draw.of(["+", "*", "-"])} ${w.param(`${w.draw.of(["float", "f32"])}[${x.width}]`)}`,
      x.width,
    ];
  },
  (w) => {
    const x = w.any();
    return [`${w.draw.of(["sum", "mean", "max", "min", "logsumexp"])}(${x.name}, axis: -1, keep: true)`, "1"];
  },
  (w) => {
    const x = w.any();
    return [`${w.member(`${w.draw.of(["RmsNorm", "LayerNorm"])}(${x.width})`)}(${x.name})`, x.width];
  },
  (w) => {
    const x = w.any();
    const masked = w.draw.chance(0.3) ? `, where: ${x.name} < 0.8` : "";
    return [w.draw.chance(0.5) ? `softmax(${x.name}${masked})` : `cumsum(${x.name}, axis: -1)`, x.width];
  },
  (w) => {
    const x = w.any();
    const [kept, index] = [w.name(), w.name()];
    w.lines.push(`let (${kept}, ${index}) = ${w.draw.chance(0.5) ? `sort(${x.name})` : `top_k(${x.name}, 1)`}`);
    const width = w.lines.at(-1)?.includes("sort") === true ? x.width : "1";
    return [w.draw.chance(0.3) ? `${kept} * float(${index} % 3)` : kept, width];
  },
  (w) => {
    const [x, to] = [w.any(), w.draw.of(widths)];
    return [`${w.param(`float[5, ${to}]`)}[i32(${x.name}[..., 0] * 4)]`, to];
  },
  (w) => {
    const [x, y] = [w.any(), w.any()];
    const outer = `tanh(${x.name})[..., new] * ${y.name}[..., new, :]`;
    return w.draw.chance(0.5)
      ? [`sum(${outer}, axis: -1)`, x.width]
      : [`mean(softmax(${outer}, axis: -2), axis: -2)`, y.width];
  },
  (w) => {
    const [x, to] = [w.any(), w.draw.of(widths)];
    const rows = `${x.name}[..., new] * ${w.param(`float[${to}]`)}`;
    return [`(${x.name}[..., new, :] @ tanh(${rows}))[..., 0, :]`, to];
  },
  (w) => {
    const [x, y, to] = [w.any(), w.any(), w.draw.of(widths)];
    const wide = `concat([${x.name}, float(${y.name})], axis: -1)`;
    return [`tanh(${wide} @ ${w.param(`float[${x.width} + ${y.width}, ${to}]`)})`, to];
  },
  (w) => {
    const [name, x] = [w.name(), w.any("D").name];
    const blocks = w.member(`${w.layer()}[2]`);
    w.lines.push(`let ${name}: float[...S, D] = ${x}`, `for each in ${blocks} { ${name} = ${name} + each(${name}) }`);
    return [name, "D"];
  },
  (w) => [`${w.member(w.layer())}(${w.any("D").name})`, "D"],
];
/** Of rows whose layer may be an expert of others. */
const mixture: Step = (w) => {
  const [E, K] = mixed(w.draw);
  const gate = w.draw.of([`SoftmaxGate(D, ${E}, ${K})`, `SoftmaxGate(D, ${E}, ${K})`, `Directions(D, ${E}, ${K})`]);
  return [`${w.member(`Mix(D, ${E}, ${K}, ${gate}, ${experts(w, E)})`)}(${w.any("D").name})`, "D"];
};
/** Of all rows of a batch. */
const whole: readonly Step[] = [
  ...["TopKGate(D, E, K)", "Capped(D, E, K)", "BiasGate(D, E, K)"].map(
    (gate): Step =>
      (w) => {
        const [E, K] = mixed(w.draw);
        const made = gate.replace("E", String(E)).replace("K)", `${K})`);
        return [`${w.member(`Mix(D, ${E}, ${K}, ${made}, ${experts(w, E)})`)}(${w.any("D").name})`, "D"];
      },
  ),
  (w) => [`${w.member(`Stacked(D, 3, ${w.layer()}[3])`)}(${w.any("D").name})`, "D"],
  (w) => [`${w.member(`Attention(D, 1, A: 4, Context: 16)`)}(${w.any("D").name}, at)`, "D"],
  (w) => [`${w.member(`Embedding(11, D, std: 1)`)}(tokens) + ${w.any("D").name}`, "D"],
  (w) => {
    const x = w.any();
    return [`cumsum(${x.name}, axis: 1) / T`, x.width];
  },
  (w) => {
    const x = w.any();
    return [`${x.name} - mean(${x.name}, axis: ${w.draw.of(["0", "1", "[0, 1]"])}, keep: true)`, x.width];
  },
];
const drawing: readonly Step[] = [
  (w) => {
    const [E] = mixed(w.draw);
    return [
      `${w.member(`Mix(D, ${E + 1}, 1, NoisyGate(D, ${E + 1}, 1), ${experts(w, E + 1)})`)}(${w.any("D").name})`,
      "D",
    ];
  },
  (w) => [`dropout(${w.any("D").name}, 0.3)`, "D"],
  (w) => [`${w.member(`ExpertChoice(D, 2, 1, ${w.layer()})`)}(${w.any("D").name})`, "D"],
  (w) => [`${w.member(`SoftMoE(D, 2, 2, ${w.layer()})`)}(${w.any("D").name})`, "D"],
  (w) => [`${w.member(`GroupedMoE(D, 2, 3, 2, ${w.layer()})`)}(${w.any("D").name})`, "D"],
];

/** How many experts, and how many a row. */
function mixed(draw: Draw): [E: number, K: number] {
  const E = draw.of([1, 2, 3, 3, 4, 5]);
  return [E, Math.min(E, draw.of([1, 2, 2, 3]))];
}
/** Of one layer, or of several. */
function experts(w: Writer, E: number): string {
  if (E === 1 || w.draw.chance(0.75)) return `${w.layer()}[${E}]`;
  const first = 1 + w.draw.below(E - 1);
  return `[${w.layer()}[${first}], ${w.layer()}[${E - first}]]`;
}

const declared = (name: string, w: Writer): string => `layer ${name}(D, H) {
  ${w.members.join("\n  ")}
  forward(x: float[...S, D]) -> float[...S, D] {
    ${w.lines.join("\n    ")}
    return ${w.result()}
  }
}`;
function rows(name: string, draw: Draw, before: readonly string[]): string {
  const w = new Writer(draw, before);
  const list = before.length > 0 ? [...steps, mixture, mixture, mixture] : steps.slice(0, -2);
  for (let i = 1 + draw.below(5); i > 0; i--) w.step(draw.of(list));
  if (before.length > 1) w.step(mixture);
  return declared(name, w);
}
function net(draw: Draw, before: readonly string[], list: readonly Step[]): string {
  const w = new Writer(draw, before);
  for (let i = 2 + draw.below(4); i > 0; i--) w.step(draw.of(list));
  const text = declared("Net", w);
  return text
    .replaceAll("...S", "B, T")
    .replace("forward(x: float[B, T, D])", "forward(x: float[B, T, D], tokens: i32[B, T], at: i32[B, T])");
}
const optimizers = ["AdamW(lr: 0.01)", "Sgd(lr: 0.1)", "Lion(lr: 0.01)", "Adafactor()", "Muon()", "Sgd(clip: 0.5)"];

/** A model whose only member is named `name`, so that several fit into one plan. */
export function randomProgram(seed: string, name: string, { looped, draws }: Kind): RandomProgram {
  const draw = new Draw(seed);
  const layers = ["L0", "L1", "L2", "L3"].slice(0, 2 + draw.below(3));
  const list = [...steps, mixture, ...whole, ...whole, ...(draws ? drawing : [])];
  const parts = [...layers.map((layer, i) => rows(layer, draw, layers.slice(0, i))), net(draw, layers, list)];
  const chosen = draw.chance(0.5) ? `optimize ${name}_head with ${draw.of(optimizers)}\n    ` : "";
  const text = `${library(looped)}
${parts.join("\n")}
model Program(D, H) {
  ${name}: Net(D, H)
  state ${name}_seen: f32[D] = 1
  param ${name}_head: float[D, 11] = normal(std: 0.5)
  train(x: float[B, T, D], tokens: i32[B, T], at: i32[B, T] = range(T)) {
    let y = ${name}(x, tokens, at)
    loss square = mean(f32(y - tanh(x)) ** 2)
    loss language = cross_entropy(y @ ${name}_head, tokens)
    metric seen = ${name}_seen
    update ${name}_seen = 0.9 * ${name}_seen + 0.1 * mean(f32(y), axis: [0, 1])
    ${chosen}optimize with ${draw.of(optimizers)}
  }
}
`;
  const sizes = { D: draw.of([2, 3, 4, 5, 8, 16, 17]), H: draw.of([1, 2, 3, 7, 8, 16, 33]), B: draw.of([1, 2, 3]) };
  return { seed, name, text, sizes: { ...sizes, T: draw.of([1, 2, 4, 5, 9]) } };
}
const library = (looped: boolean): string => `import { normal } from "std/init"
import { Embedding, LayerNorm, RmsNorm, count, dropout, gelu, relu, silu, softplus } from "std/nn"
import { Attention } from "std/attention"
import { BiasGate, NoisyGate, SoftmaxGate, TopKGate, within } from "std/gates"
import { ExpertChoice, GroupedMoE, SoftMoE } from "std/moe"
import { cross_entropy } from "std/loss"
import { AdamW, Adafactor, Lion, Muon, Sgd } from "std/optim"
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
