// Random valid layers on tensors of any shape, as text: transposed, merged and split axes, indices from data and from ranges, masks, integers, loops
// with `put`, functions that call functions, states, and experts whose rows are matrices. The same seed gives the same layer.
import { type Step, Tensors, typeOf } from "./body.ts";
import { mixture } from "./body-mixtures.ts";
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
  noisy(t) {
    const x = t.any();
    const shape = x && `[${x.shape.join(", ")}]`;
    return x && { ...x, text: t.draw.of([`${x.name} * uniform(${shape})`, `${x.name} + 0.1 * gaussian(${shape})`]) };
  },
};
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
/** The layer's name is `Written`, its entries `forward` and in some cases `other`, which share its members. */
export function randomWritten(seed: string, length = 14): Written {
  const draw = new Draw(seed);
  const first = new Tensors(draw);
  const methods = [method("forward", first, length)];
  if (draw.chance(0.4)) methods.push(method("other", first.beside(), length >> 1));
  const bodies = methods.map(({ t }) => t);
  const text = `${library}
${bodies.flatMap((t) => t.layers).join("\n")}
layer Written() {
  ${bodies.flatMap((t) => t.members).join("\n  ")}
${methods.map((m) => m.text()).join("\n")}
}
`;
  return { text, declaration: "Written", sizes: {}, entries: methods.map((m) => m.name) };
}
function method(
  name: string,
  t: Tensors,
  length: number,
): { readonly name: string; readonly t: Tensors; readonly text: () => string } {
  const inputs = [
    t.add({ name: "a", dtype: "float", shape: t.shape(3) }),
    t.add({ name: "b", dtype: t.draw.of(["float", "f32"]), shape: t.shape(2) }),
    t.add({ name: "c", dtype: "float", shape: t.shape(1) }),
    t.add({ name: "i", dtype: "i32", shape: t.shape(1) }),
  ];
  for (let i = 0; i < length; i++) t.step(everywhere);
  const results = t.results();
  const types = results.map((v) => typeOf(v.dtype, v.shape));
  return {
    name,
    t,
    text: () => `  ${name}(${inputs.map((v) => `${v.name}: ${typeOf(v.dtype, v.shape)}`).join(", ")}) -> (${types.join(", ")}) {
    ${t.lines.join("\n    ")}
    return ${results.map((v) => v.name).join(", ")}
  }`,
  };
}
