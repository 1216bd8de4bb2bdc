// The kinds of statements in the layers of random programs.
import type { Draw } from "./random-graph.ts";
import type { LayerText, Step } from "./writer.ts";

const points = "tanh expm1 sigmoid silu gelu sin cos abs relu softplus erf floor detach".split(" ");
const pairs = ["a + b", "a - b", "a * b", "maximum(a, b)", "minimum(a, b)", "where(a > b, a, b)", "a / (1 + abs(b))"];
/** Expressions for integers, booleans, indices and new axes: of rows `a` (of width `A`) and `b` (of width `W`), with the width of `a`. */
const others = [
  "float(div(i32(a * 4.3), 3) + i32(a * 7.1) % -3) / 4",
  "float(i32(a * 5.3) % 4 - div(i32(a * 6.7), -2)) / 4",
  "where((a > 0.1) && !(a > 0.9) || a < -0.7, a, 0.5)",
  "a * float(sum(b > 0.2, axis: -1, keep: true))",
  "abs(a) ** 1.5 - a ** 2",
  "(a % 0.75) * 2 - a % -0.875",
  "short(a) - f32(0.5 * a)",
  "concat([a[..., 1:], a[..., :1]], axis: -1)",
  "concat([a[..., :1] * 0.5, a[..., 1:]], axis: -1)",
  "put(a, i32(b * 2.9), tanh(b), axis: -1)",
  "take(b, i32(a * 2.9), axis: -1)",
  "a - scatter(sin(b), i32(b * 2.9), A, axis: -1)",
  "maximum(relu(a), relu(-a * 0.5)) - minimum(a, a)",
  "a + max(relu(b), axis: -1, keep: true)",
  "a * sum(transpose(b[..., new] * sin(b)[..., new, :], -1, -2)[..., 0, :], axis: -1, keep: true)",
  "sum(reshape(a[..., new] * sigmoid(b)[..., new, :], [...S, A * W]), axis: -1, keep: true) * a",
  "a - mean(a[..., new, :] * float(range(3))[:, new], axis: [-2, -1], keep: false)[..., new]",
];
const widths = ["D", "H"] as const;
/** Statements on single rows. */
export const steps: readonly Step[] = [
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
  ...[0, 0, 0].map(
    (): Step => (w) => {
      const [a, b] = [w.any(), w.any()];
      const of: Readonly<Record<string, string>> = { a: a.name, b: b.name, A: a.width, W: b.width };
      return [w.draw.of(others).replaceAll(/\b[abAW]\b/g, (word) => of[word] ?? word), a.width];
    },
  ),
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
    const blocks = w.member(repeated(w));
    w.lines.push(`let ${name}: float[...S, D] = ${x}`, `for each in ${blocks} { ${name} = ${name} + each(${name}) }`);
    return [name, "D"];
  },
  (w) => [`${w.member(w.layer())}(${w.any("D").name})`, "D"],
];
/** An array of layers: copies, a list, or a repeated list. */
function repeated(w: LayerText): string {
  if (w.draw.chance(0.5)) return `${w.layer()}[2]`;
  return w.draw.chance(0.5) ? `[${w.layer()}, ${w.layer()}[2]]` : `[${w.layer()}, ${w.layer()}][2]`;
}
/** A mixture whose gate looks at single rows, so that its layer may itself be an expert. */
export const mixture: Step = (w) => {
  if (w.draw.chance(0.25)) return twins(w);
  const [E, K] = mixed(w.draw);
  const gate = w.draw.of([`SoftmaxGate(D, ${E}, ${K})`, `SoftmaxGate(D, ${E}, ${K})`, `Directions(D, ${E}, ${K})`]);
  return [`${w.member(`Mix(D, ${E}, ${K}, ${gate}, ${experts(w, E)})`)}(${w.any("D").name})`, "D"];
};
/** A mixture whose experts have several arguments, one of them an integer, and several results. */
const twins: Step = (w) => {
  const [E, K] = mixed(w.draw);
  const made = `Twins(D, ${E}, ${K}, Directions(D, ${E}, ${K}), Twin(D, ${w.layer()})[${E}])`;
  return [`${w.member(made)}(${w.any("D").name})`, "D"];
};
/** A gate that looks at all rows, and the numbers of experts (E) and choices (K) that it requires. */
interface Gate {
  readonly text: string;
  readonly E?: number;
  readonly K?: number | "E";
}
const gates: readonly Gate[] = [
  { text: "TopKGate(D, E, K)" },
  { text: "TopKGate(D, E, K, renormalised: false, z: 0.01)" },
  { text: "Capped(D, E, K)" },
  { text: "BiasGate(D, E, K, soft: true, renormalised: false)" },
  { text: "BiasGate(D, E, K, G: 3, Open: 2, scale: 2)", E: 6, K: 2 },
  { text: "NaiveGate(D, E, K, biased: true)" },
  { text: "SinkhornGate(D, E, K)" },
  { text: "BaseGate(D, E, rounds: 3)", K: 1 },
  { text: "SwipeGate(D, E, K, W: 2)", E: 4, K: 2 },
  { text: "TopologyGate(D, E, Nodes: 2, part: 0.5)", E: 4, K: 2 },
  { text: "ReluGate(D, E, K, target: 1, start: 0.1)" },
  { text: "TopPGate(D, E, K, p: 0.6)" },
  { text: "ProductKeyGate(D, 2, 2, Heads: 2, Q: 3)", E: 4, K: 4 },
];
const drawingGates: readonly Gate[] = [
  { text: "NoisyGate(D, E, K)", E: 4, K: 2 },
  { text: "NoisyGate(D, E, K)", E: 2, K: 1 },
  { text: "SwitchGate(D, E, factor: 1.1, jitter: 0.1)", K: 1 },
  { text: "GShardGate(D, E, factor: 1.2)", E: 3, K: 2 },
  { text: "DenseToSparseGate(D, E, steps: 3, threshold: 0.2)", K: "E" },
];
const gated =
  (gate: Gate): Step =>
  (w) => {
    const [some, few] = mixed(w.draw);
    const E = gate.E ?? some;
    const K = gate.K === "E" ? E : (gate.K ?? few);
    const text = gate.text.replace("D, E", `D, ${E}`).replace(", K", `, ${K}`);
    return [`${w.member(`Mix(D, ${E}, ${K}, ${text}, ${experts(w, E)})`)}(${w.any("D").name})`, "D"];
  };
const attentions = [
  "Attention(D, 1, A: 4, Context: 16)",
  "Attention(D, 2, Groups: 1, A: 4, Context: 16, window: 3, stretch: 4, original: 8, sunk: true)",
  "Attention(D, 4, Groups: 2, A: 2, Context: 16, normed: true, biased: true, cap: 2)",
  "Attention(D, 2, A: 3, Context: 16, sloped: true)",
  "LatentAttention(D, 2, 5, 4, 4, 2, 3, Context: 16)",
  "LatentAttention(D, 2, 5, 4, 4, 2, 3, Context: 16, Top: 2, IndexHeads: 3, IndexWidth: 4)",
  "LatentAttention(D, 2, 5, 4, 4, 2, 3, Context: 16, query_gated: true)",
];
/** State that an entry keeps between calls: the last rows, as in Transformer-XL, or the result of a recurrence. */
const remembered: Step = (w) => {
  const [kept, all, x, taps] = [w.name(), w.name(), w.any("D").name, w.param("float[3, D]")];
  const init = w.draw.of(["0", "0.5"]);
  if (w.draw.chance(0.5)) {
    w.lines.push(
      `state ${kept}: float[B, 2, D] = ${init}`,
      `let ${all} = concat([${kept}, ${x}], axis: 1)`,
      `update ${kept} = ${w.draw.of(["detach", "tanh"])}(${all}[:, T:])`,
    );
    return [`${all}[:, :T] * ${taps}[0] + ${all}[:, 1:T + 1] * ${taps}[1] + ${all}[:, 2:] * ${taps}[2]`, "D"];
  }
  w.lines.push(
    `state ${kept}: ${w.draw.of(["float", "f32"])}[B, D] = ${init}`,
    `let ${all} = tanh(${kept} * ${taps}[0] + ${x}[:, T - 1] * ${taps}[1])`,
    `update ${kept} = ${all}`,
  );
  return [`${w.draw.of([kept, all])}[:, new] * ${taps}[2] + ${x}`, "D"];
};
/** Statements on all rows of a batch. */
export const whole: readonly Step[] = [
  ...gates.map(gated),
  (w) => [`${w.member(`Hashed(D, 3, ${experts(w, 3)})`)}(${w.any("D").name}, tokens)`, "D"],
  (w) => {
    const copies = `CopyMoE(D, 2, 3, 2, TopKGate(D, 5, 2), ${w.layer()})`;
    const made = w.draw.of([copies, `SharedMoE(D, 2, 3, TopKGate(D, 3, 2), ${w.layer()}, ${w.layer()})`]);
    return [`${w.member(made)}(${w.any("D").name})`, "D"];
  },
  (w) => [`${w.member(`Stacked(D, 3, ${w.layer()}[3])`)}(${w.any("D").name})`, "D"],
  (w) => [`${w.member(w.draw.of(attentions))}(${w.any("D").name}, at)`, "D"],
  (w) => [`${w.member(`Depth(D, 0.6, ${w.draw.of(attentions)})`)}(${w.any("D").name}, at)`, "D"],
  (w) => [`${w.member("CrossAttention(D, 2, A: 4, Groups: 1)")}(${w.any("D").name}, ${w.any("D").name}, at)`, "D"],
  (w) => [`${w.member(`Embedding(11, D, std: 1)`)}(tokens) + ${w.any("D").name}`, "D"],
  (w) => {
    const [name, x] = [w.name(), w.any("D").name];
    const taps = w.param("float[3, D]");
    w.lines.push(
      `let gap: float[B, 2, D] = 0`,
      `let line = concat([gap, ${x}], axis: 1)`,
      `let ${name}: float[B, T, D] = 0`,
      `for i in 0:3 { ${name} = ${name} + line[:, i:T + i] * ${taps}[i] }`,
    );
    return [name, "D"];
  },
  remembered,
  (w) => [`${w.member("Running(D)")}(${w.any("D").name})`, "D"],
  (w) => {
    const [name, x] = [w.name(), w.any("D").name];
    w.lines.push(
      `let ${name}: float[B, T, D] = ${x}`,
      `for each in ${w.member("Running(D)[2]")} { ${name} = each(${name}) }`,
    );
    return [name, "D"];
  },
  (w) => [`concat([${w.any("D").name}[:, 1:], ${w.any("D").name}[:, :1]], axis: 1)`, "D"],
  (w) => [`put(${w.any("D").name}, tokens % T, tanh(${w.any("D").name}), axis: 1)`, "D"],
  (w) => {
    const x = w.any("D").name;
    return [`transpose(tanh(transpose(${x}, 1, 2) @ transpose(transpose(${x}, 0, 1), 0, 1)), 1, 2)[:, :1] + ${x}`, "D"];
  },
  (w) => {
    const x = w.any();
    return [`cumsum(${x.name}, axis: 1) / T`, x.width];
  },
  (w) => {
    const x = w.any();
    return [`${x.name} - mean(${x.name}, axis: ${w.draw.of(["0", "1", "[0, 1]"])}, keep: true)`, x.width];
  },
];
export const drawing: readonly Step[] = [
  ...drawingGates.map(gated),
  (w) => [`dropout(${w.any("D").name}, 0.3)`, "D"],
  (w) => {
    const x = w.any();
    return [`${x.name} * uniform([B, T, 1]) + 0.1 * gaussian([B, T, ${x.width}])`, x.width];
  },
  (w) => [`${w.member(`ExpertChoice(D, 2, 1, ${w.layer()})`)}(${w.any("D").name})`, "D"],
  (w) => [`${w.member(`SoftMoE(D, 2, 2, ${w.layer()})`)}(${w.any("D").name})`, "D"],
  (w) => [`${w.member(`GroupedMoE(D, 2, 3, 2, ${w.layer()})`)}(${w.any("D").name})`, "D"],
];

/** Draws the number of experts (E) and of choices for each row (K). */
function mixed(draw: Draw): [E: number, K: number] {
  const E = draw.of([1, 2, 3, 3, 4, 5]);
  return [E, Math.min(E, draw.of([1, 2, 2, 3]))];
}
/** An array of E experts, of one layer or of two. */
function experts(w: LayerText, E: number): string {
  if (E === 1 || w.draw.chance(0.75)) return `${w.layer()}[${E}]`;
  const first = 1 + w.draw.below(E - 1);
  return `[${w.layer()}[${first}], ${w.layer()}[${E - first}]]`;
}
