/** Programs with syntax errors, by kind; the goldens have the reported errors. */
export const faulty: Readonly<Record<string, string>> = {
  expected: `layer A(D,, H) {
  param weight: float[D D] = 0
  w Linear(D, H)
  forward(x: float[...S, D]) -> float[...S, D] {
    let y = x @
    let z = = 3
    if y = z { x += 1 }
    for i in 0..3 { y = x }
    return y
  }
}
class B(D) { }
fn f(x: float[N]) { return x }
fn g(x: float[N]) -> float[N] { let = 3 return x }
layer C(D) {
  forward(x: float[D]) -> float[D] { let (a, b): f32[D] = x  param w: f32 = 0  return x }
}
model M(layer, D) {
  w: Linear(D, D) = 3
  train(x: float[D]) {
    loss = 3
    loss language cross_entropy(x)
    (x)
    optimize w AdamW()
    return x
  }
}
`,
  signs: `import { a } from "std/nn
/* not a
   comment */
# nor this
fn f(x: float[N]) -> float[N] {
  let y = x;
  let é = y & y
  return y
}
`,
  unclosed: `layer A(D) {
  forward(x: float[...S, D) -> float[...S, D] {
    let y = (x @ weight
    let z = y +
    return y
  }
}

layer B(D) {
  forward(x: float[D]) -> float[D] {
    if training {
      x = x + 1
    return x
  }
}

layer C(D) {
  up: Linear(D, D)
  forward(x: float[D]) -> float[D] { return up(x) }

layer E(D) { }
`,
  stray: `fn f(x: float[N]) -> float[N] { return x } }
fn g(x: float[N]) -> float[N] { return (x)) }
`,
  comparisons: `fn f(x: float[N]) -> bool[N] {
  return 0 <= x < 1 == 2
}
`,
  types: `fn f(x: f16[N], y: f32[N, ...S], z: (f32[N], f32), a: f32 -> (f32 -> f32), b: (f32)[N]) -> float[N] {
  return x
}
`,
  deep: `fn f(x: float[N]) -> float[N] { return ${"(".repeat(300)}x${")".repeat(300)} }
fn g(x: float[N]) -> float[N] { return ${"x + ".repeat(300)}x }
fn h(x: float[N]) -> float[N] { return ${"- ".repeat(300)}x }
fn i(x: float[N]) -> float[N] { return x${".x".repeat(300)} }
fn j(x: float[N]) -> float[N] { ${"if true { x = 1 } else ".repeat(300)} { x = 2 } }
`,
  effects: `fn f(x: float[N]) -> float[N] {
  const y = x
  x == 2
  return x
}
`,
  numbers: `layer A(D = 2x, E = 1e999, F = 1_000, G = 0.5, H = 2e-3) { }
`,
  arguments: `layer A() = f(axis: 1, x)
`,
  optimizers: `optimizer O() {
  state m: f32 = 0
  apply(param: f32) { optimize }
}
`,
  wide: `\tfn f(ö: float[N]) -> float[N] { return "日本語" ** = x }
fn g(${Array.from({ length: 30 }, (_, i) => `argument${i}: float[N]`).join(", ")} more) -> f32 { return 1 }
`,
};
