// Mixtures inside mixtures and stacks, as texts, against loops over all their experts: values and gradients in the interpreter.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compile, type Handle, moe } from "../../runtime/index.ts";
import { splitStacked } from "../../runtime/storage/names.ts";
import { numbers } from "../../runtime/tensor.ts";
import { filled } from "../graphs.ts";

const test = suite("nested");
const program = (looped: boolean) => moe<"Three" | "Stacked" | "Fixed" | "Shared" | "Handed">`
import { normal } from "std/init"

layer Leaf(D) {
  param weight: float[D, D] = normal(std: 0.6)
  param table: float[5, D] = normal()
  forward(x: float[...S, D]) -> float[...S, D] { return tanh(x @ weight) + table[i32(x[..., 0] * 9)] }
}
layer Experts(D, E, expert: float[...S, D] -> float[...S, D]) {
  experts: expert[E]
  forward(x: float[...S, D], index: i32[...S]) -> float[...S, D] {
    if ${looped} {
      let out: float[...S, D] = 0
      for e, i in experts { out = where((index == i)[..., new], e(x), out) }
      return out
    }
    return experts[index](x)
  }
}
layer Mixture(D, E, K, expert: float[...S, D] -> float[...S, D]) {
  param gate: float[D, E] = normal(std: 1)
  experts: Experts(D, E, expert)
  forward(x: float[...S, D]) -> float[...S, D] {
    let (score, index) = top_k(softmax(x @ gate), K)
    let each: float[...S, K, D] = x[..., new, :]
    return sum(score[..., new] * experts(each, index), axis: -2)
  }
}
// Of each expert, all rows go to one of its own experts, which nothing of a row says; and to some that it has not, which give nothing.
layer Same(D, E) {
  param order: f32 = 1
  experts: Experts(D, E, Leaf(D))
  forward(x: float[...S, D]) -> float[...S, D] {
    let own: i32[...S] = i32(order * 1.5)
    let known: i32[...S] = 2
    return experts(x, own) + experts(x, known) + experts(x, own + E) + experts(x, own - E)
  }
}
layer Three(D, E) {
  outer: Mixture(D, E, 2, Mixture(D, E, 3, Mixture(D, E, 2, Leaf(D))))
  forward(x: float[N, D]) -> float[N, D] { return outer(x) }
}
layer Stacked(D, E) {
  stack: Mixture(D, E, 2, Mixture(D, E, 2, Leaf(D)))[2]
  forward(x: float[N, D]) -> float[N, D] {
    let both: float[2, N, D] = x
    if ${looped} { return stack[0](x) - stack[1](x) }
    let y = stack[:](both)
    return y[0] - y[1]
  }
}
// One row for all its choices, and experts without parameters.
layer Plain(D) {
  forward(x: float[...S, D]) -> float[...S, D] { return tanh(x) }
}
layer OneRow(D, E, K, expert: float[...S, D] -> float[...S, D]) {
  param gate: float[D, E] = normal(std: 1)
  experts: expert[E]
  forward(x: float[...S, D]) -> float[...S, D] {
    let (score, index) = top_k(softmax(x @ gate), K)
    if ${looped} {
      let y: float[...S, D] = 0
      for each, e in experts { y = y + sum(where(index == e, score, 0), axis: -1, keep: true) * each(x) }
      return y
    }
    return sum(score[..., new] * experts[index](x), axis: -2)
  }
}
layer Shared(D, E) {
  outer: OneRow(D, E, 2, OneRow(D, E, 3, OneRow(D, E, 2, Plain(D))))
  forward(x: float[N, D]) -> float[N, D] { return outer(x) }
}
// An outer expert hands matrices of its own, and one made of its row, to the inner ones.
layer Taking(D) {
  param weight: float[3, D, D] = normal(std: 0.6)
  forward(x: float[...S, D], own: float[D, D], made: float[...S, D, D], heads: float[3, D, D]) -> float[...S, D] {
    let wide = tanh(x[..., new, new, :] @ weight) @ heads
    let row = own[i32(x[..., 0] * 9) % D]
    return row * (x @ own) + tanh(x[..., new, :] @ made)[..., 0, :] + sum(wide, axis: -3)[..., 0, :]
  }
}
layer Handing(D, E) {
  param own: float[D, D] = normal(std: 0.6)
  param heads: float[3, D, D] = normal(std: 0.6)
  param gate: float[D, E] = normal(std: 1)
  experts: Taking(D)[E]
  forward(x: float[...S, D]) -> float[...S, D] {
    let (score, index) = top_k(softmax(x @ gate), 3)
    let made = tanh(x)[..., new] * x[..., new, :]
    if ${looped} {
      let y: float[...S, D] = 0
      for each, e in experts {
        y = y + sum(where(index == e, score, 0), axis: -1, keep: true) * each(x, own, made, heads)
      }
      return y
    }
    return sum(score[..., new] * experts[index](x, own, made, heads), axis: -2)
  }
}
layer Handed(D, E) {
  outer: OneRow(D, E, 2, Handing(D, E))
  forward(x: float[N, D]) -> float[N, D] { return outer(x) }
}
layer Fixed(D, E) {
  outer: Mixture(D, E, 2, Same(D, E))
  stack: Same(D, E)[2]
  forward(x: float[N, D]) -> float[N, D] {
    let both: float[2, N, D] = x
    if ${looped} { return outer(x) + stack[0](x) - stack[1](x) }
    let y = stack[:](both)
    return outer(x) + y[0] - y[1]
  }
}`;
const [routed, looped] = [program(false), program(true)];

const [N, D, E] = [7, 4, 3];
/** Results and gradients by name, those of copies by the copy's. */
async function ran(layer: Handle | undefined): Promise<Map<string, number[]>> {
  const made = await compile(layer, { target: "reference", precision: "f64", gradients: true, sizes: { N, D, E } });
  const own = made.names.map((name) => [name, filled(name, "f64", made.read(name).shape)] as const);
  made.load(new Map(own.map(([name, { shape, data }]) => [name, { dtype: "f64", shape, data }])));
  const { outputs, gradients } = await made.run({ x: filled("x", "f64", [N, D]).data });
  const all = [...outputs.map((t, i) => [`result ${i}`, t] as const), ...gradients];
  return new Map(all.flatMap(([name, t]) => splitStacked(name, t)).map(([name, t]) => [name, [...numbers(t)]]));
}
for (const name of ["Three", "Stacked", "Fixed", "Shared", "Handed"] as const)
  test(`as a loop: ${name}`, async () => {
    const [got, want] = [await ran(routed[name]), await ran(looped[name])];
    assert.ok(got.size > 4);
    for (const [which, values] of got) {
      const off = values.map((x, i) => Math.abs(x - (want.get(which)?.[i] ?? 0)));
      assert.ok(Math.max(...off) < 1e-9, `${which} is ${Math.max(...off)} off`);
    }
  });
test.run();
