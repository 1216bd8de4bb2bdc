// Random valid layers on tensors of any shape, as text: transposed, merged and split axes, indices from data and from ranges, masks, integers, loops
// with `put`, functions that call functions, states, and experts whose rows are matrices. The same seed gives the same layer.
import { type Made, product, type Step, Tensors, typeOf } from "./body.ts";
import { bodySteps } from "./body-steps.ts";
import { Draw } from "./random-graph.ts";
import type { Written } from "./written.ts";

/** Statements that are only possible outside of experts. */
const outside: Readonly<Record<string, Step>> = {
  kept(t) {
    const x = t.any();
    if (!x) return null;
    const name = t.name();
    t.members.push(`state ${name}: ${typeOf("f32", x.shape)} = 0.5`);
    const before = t.name();
    t.lines.push(
      `let ${before} = tanh(${name} + ${x.name})`,
      `update ${name} = ${t.draw.of([before, `0.5 * ${name} + ${before}`])}`,
    );
    t.add({ name: before, dtype: "f32", shape: x.shape });
    return { text: `${name} * 0.5 + ${x.name}`, dtype: "f32", shape: x.shape };
  },
  lost(t) {
    const x = t.any();
    if (!x) return null;
    t.lines.push(`loss l${t.name()} = mean(${x.name} ** 2)`);
    return { ...x, text: `${x.name} * 0.5` };
  },
  measured(t) {
    const x = t.any();
    if (!x) return null;
    t.lines.push(`metric m${t.name()} = ${t.draw.of([x.name, `tanh(${x.name})`])}`);
    return null;
  },
  experts: (t) => mixture(t),
};
/** A routed call, or a call of each copy on its own row, of experts with a random body; rows are matrices or vectors. */
function mixture(t: Tensors): Made | null {
  const x = t.any((v) => v.dtype === "float" && v.shape.length >= 2);
  if (!x) return null;
  const { draw } = t;
  const [N = 0, ...row] = x.shape;
  const [own, body] = [draw.chance(0.25), t.inner()];
  const name = `Body${t.name()}`;
  const given = body.add({ name: "x", dtype: "float", shape: row });
  for (let i = 3 + draw.below(5); i > 0; i--) body.step(inBodies);
  const results = body.results();
  const made = results.find((v) => v.dtype === "float" && product(v.shape) <= 200) ?? given;
  const type = typeOf("float", row);
  t.layers.push(
    ...body.layers,
    `layer ${name}() {
  param own: float = 1
  ${body.members.join("\n  ")}
  forward(x: ${type}) -> ${typeOf("float", made.shape)} {
    ${body.lines.join("\n    ")}
    return ${made.name} * own
  }
}`,
  );
  const E = own ? N : 1 + draw.below(4);
  const member = t.name();
  t.members.push(`${member}: ${name}()[${E}]`);
  if (own) return { text: `${member}[:](${x.name})`, dtype: "float", shape: [N, ...made.shape] };
  const K = 1 + draw.below(2);
  const index = t.name();
  const flat = `${"sum(".repeat(row.length)}sin(${x.name})${", axis: -1)".repeat(row.length)}`;
  const chosen = draw.of([`i32(floor(abs(${flat}) * 7))`, `range(${N})`]);
  t.lines.push(`let ${index} = (${chosen}[:, new] + range(${K})) % ${E + 1} - ${draw.below(2)}`);
  return { text: `${member}[${index}](${x.name})`, dtype: "float", shape: [N, K, ...made.shape] };
}
const inBodies: readonly Step[] = Object.values(bodySteps);
const everywhere: readonly Step[] = [...inBodies, ...Object.values(outside), mixture];

const library = `import { normal } from "std/init"
fn upright(x: float[...S, M, N]) -> float[...S, N, M] { return transpose(x, -1, -2) }
fn normed(x: float[...S, N]) -> float[...S, N] { return x * rsqrt(mean(x * x, axis: -1, keep: true) + 0.1) }
fn across(x: float[...S, M, N]) -> float[...S, M, N] { return upright(normed(upright(x))) }
fn both(x: float[...S, N]) -> (float[...S, N], float[...S]) {
  let y = normed(x)
  return y - max(y, axis: -1, keep: true), sum(y * softmax(x), axis: -1)
}
fn mixed(x: float[...S, M, N], rate = 1) -> float[...S, M, N] {
  let (y, z) = both(x)
  let w = across(y) * rate
  return w + sigmoid(z)[..., new]
}`;
/** The layer's name is `Written`, its entry `forward`. */
export function randomWritten(seed: string, length = 14): Written {
  const draw = new Draw(seed);
  const t = new Tensors(draw);
  const inputs = [
    t.add({ name: "a", dtype: "float", shape: t.shape(3) }),
    t.add({ name: "b", dtype: draw.of(["float", "f32"]), shape: t.shape(2) }),
    t.add({ name: "c", dtype: "float", shape: t.shape(1) }),
    t.add({ name: "i", dtype: "i32", shape: t.shape(1) }),
  ];
  for (let i = 0; i < length; i++) t.step(everywhere);
  const results = t.results();
  const types = results.map((v) => typeOf(v.dtype, v.shape));
  const text = `${library}
${t.layers.join("\n")}
layer Written() {
  ${t.members.join("\n  ")}
  forward(${inputs.map((v) => `${v.name}: ${typeOf(v.dtype, v.shape)}`).join(", ")}) -> (${types.join(", ")}) {
    ${t.lines.join("\n    ")}
    return ${results.map((v) => v.name).join(", ")}
  }
}
`;
  return { text, declaration: "Written", sizes: {} };
}
