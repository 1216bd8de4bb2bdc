// Random small decoders with a past (cached keys and values), and random ways to feed them sequences: in chunks, in batch rows that are sometimes
// idle and are reused.
import { Draw } from "./random-graph.ts";

export interface RandomDecoder {
  readonly text: string;
  readonly context: number;
  /** `rows`: of a batch; `lengths`: the numbers of tokens (T) that a call may have. */
  readonly rows: number;
  readonly lengths: readonly number[];
  readonly sequences: readonly (readonly number[])[];
  readonly calls: readonly Call[];
}
/** One call of `generate`. For each batch row: which sequence it continues, and with how many tokens; null if it is idle. */
export interface Call {
  readonly length: number;
  readonly rows: readonly ({ readonly sequence: number; readonly tokens: number } | null)[];
}
const V = 11;
/** Masks of queries at position `q` and keys at `k`; the causal mask is added. */
const masks = [
  "true",
  "q - k < 5",
  "q - k < 50",
  "(q - k < 9 || k < 3)",
  "(q - k) % 3 != 1",
  "div(q, 7) == div(k, 7)",
  "(k % 2 == q % 2 || k > q - 4)",
  "q - 2 * k > -20",
];
const positions = ["rope(X, at)", "X"];

const look = (name: string, draw: Draw): string => {
  const turned = draw.of(positions);
  const bias = draw.chance(0.3) ? ", alibi(at, seen, Heads)" : "";
  return `layer ${name}(D, Heads, Groups, A, C, Context) {
  query: Linear(D, Heads * A, std: 0.5)
  key: Linear(D, Groups * A, std: 0.5)
  value: Linear(D, Groups * C, std: 0.5)
  output: Linear(Heads * C, D, std: 0.5)
  past: Past(Context)
  forward(x: float[B, T, D], at: i32[B, T]) -> float[B, T, D] {
    let own = split(query(x), Heads)
    let made = split(key(x), Groups)
    let (keys, values, seen) = past(${turned.replace("X", "made")}, split(value(x), Groups), at)
    let q = at[:, :, new]
    let k = seen[:, new]
    let mask = k >= 0 && k <= q && ${draw.of(masks)}
    return output(merge(attend(${turned.replace("X", "own")}, keys, values, mask${bias})))
  }
}`;
};
const library = [
  "Attention(D, 2, Groups: 1, A: 4, Context: N, window: 5, stretch: 4, original: 8, sunk: true)",
  "Attention(D, 4, Groups: 2, A: 2, Context: N, normed: true, biased: true, cap: 2)",
  "Attention(D, 2, A: 3, Context: N, sloped: true)",
  "LatentAttention(D, 2, 5, 4, 4, 2, 3, Context: N)",
];
/** Draws a decoder. `all`: its mixture uses all experts, so that rounding cannot change the choice of experts. */
export function randomDecoder(seed: string, all = false): RandomDecoder {
  const draw = new Draw(seed);
  const context = draw.of([7, 16, 33, 47, 49, 64, 65, 97, 130]);
  const groups = draw.of([1, 2]);
  const made = `(D, ${groups * draw.of([1, 2, 3])}, ${groups}, ${draw.of([2, 4, 16])}, ${draw.of([1, 3, 16])}, ${context})`;
  const layers = Array.from({ length: 1 + draw.below(2) }, (_, i) => `Look${i}`);
  const own = layers.map((name) =>
    draw.chance(0.3) ? draw.of(library).replace("N", String(context)) : `${name}${made}`,
  );
  const mixed = draw.chance(0.6);
  const K = all ? 3 : 2;
  const steps = layers.map(
    (name, i) => `x = x + ${name.toLowerCase()}(norms[${i}](x), at)${mixed ? "\n    x = x + mixture(norm(x))" : ""}`,
  );
  const text = `import { Embedding, Linear, RmsNorm, SwiGlu } from "std/nn"
import { Attention, LatentAttention, Past, alibi, attend, merge, rope, split } from "std/attention"
import { SoftmaxGate } from "std/gates"
import { MoE } from "std/moe"
${layers.map((name) => look(name, draw)).join("\n")}
model Decoder(V = ${V}, D = ${draw.of([4, 8, 17])}) {
  embed: Embedding(V, D, std: 1)
  ${layers.map((name, i) => `${name.toLowerCase()}: ${own[i]}`).join("\n  ")}
  norms: RmsNorm(D)[${layers.length}]
  norm: RmsNorm(D)
  ${mixed ? `mixture: MoE(D, ${K}, 3, SoftmaxGate(D, 3, ${K}), SwiGlu(D, 5))` : ""}
  logits(tokens: i32[B, T], at: i32[B, T]) -> float[B, T, V] {
    let x = embed(tokens)
    ${steps.join("\n    ")}
    return embed.logits(norm(x))
  }
  forward(tokens: i32[B, T]) -> float[B, T, V] {
    let at: i32[B, T] = range(T)
    return logits(tokens, at)
  }
  generate(tokens: i32[B, T], at: i32[B, T]) -> float[B, T, V] { return logits(tokens, at) }
}`;
  const rows = 1 + draw.below(4);
  const lengths = [1, draw.of([3, 9, 16, 64])];
  const sequences = Array.from({ length: rows + draw.below(3) }, () =>
    Array.from({ length: 1 + draw.below(context) }, () => draw.below(V)),
  );
  return { text, context, rows, lengths, sequences, calls: callsOf(draw, rows, lengths, sequences) };
}
/** Draws calls until all tokens of all sequences have been fed. */
function callsOf(
  draw: Draw,
  rows: number,
  lengths: readonly number[],
  sequences: readonly (readonly number[])[],
): Call[] {
  const left = sequences.map((s) => s.length);
  const waiting = [...sequences.keys()];
  const held: (number | null)[] = Array.from({ length: rows }, () => null);
  const calls: Call[] = [];
  while (left.some((n) => n > 0)) {
    const length = draw.of(lengths);
    const call = held.map((before, row) => {
      const sequence =
        before !== null && (left[before] ?? 0) > 0 ? before : draw.chance(0.8) ? waiting.shift() : undefined;
      held[row] = sequence ?? before;
      if (sequence === undefined || draw.chance(0.2)) return null;
      const tokens = Math.min(length, left[sequence] ?? 0, draw.chance(0.5) ? length : 1 + draw.below(length));
      left[sequence] = (left[sequence] ?? 0) - tokens;
      return { sequence, tokens };
    });
    calls.push({ length, rows: call });
  }
  return calls;
}
