// Functions with a corner, or parts that meet, at 0: their slopes there are PyTorch's (2.15); softplus and its slope over all floats.
import assert from "node:assert/strict";
import { suite } from "uvu";
import { compile, moe, numbers, tensor } from "../../runtime/index.ts";

const { Slopes, Softplus } = moe<"Slopes" | "Softplus">`
  import { relu, relu_squared, silu, gelu, gelu_tanh, softplus, root_softplus, soft_cap } from "std/nn"

  fn with_zero(x: float[N]) -> float[2, N] {
    let zero: float[N] = 0
    return concat([zero[new], x[new]], axis: 0)
  }
  layer Slopes() {
    forward(x: float[16, N]) -> float[N] {
      let leaky = maximum(0.01 * x[8], x[8])
      let elu = where(x[9] > 0, x[9], expm1(minimum(x[9], 0)))
      let mish = x[10] * tanh(softplus(x[10]))
      let log_sigmoid = -softplus(-x[11])
      return relu(x[0]) + relu_squared(x[1]) + abs(x[2]) + silu(x[3]) + gelu(x[4]) + gelu_tanh(x[5]) + softplus(x[6]) + root_softplus(x[7])
        + leaky + elu + mish + log_sigmoid + soft_cap(x[12], 30) + log1p(x[13]) + logsumexp(with_zero(x[14]), axis: 0) + max(with_zero(x[15]), axis: 0)
    }
  }
  layer Softplus() { forward(x: float[N]) -> float[N] { return softplus(x) } }`;
const known = [0, 0, 0, 0.5, 0.5, 0.5, 0.5, 0.30028060219661246, 0.01, 1, 0.6, 0.5, 1, 1, 0.5, 0.5];
const ways = [
  { target: "reference", precision: "f64", bar: 1e-15 },
  { target: "host", precision: "f32", bar: 4 * 2 ** -24 },
] as const;
const test = suite("stdlib-slopes");
for (const { target, precision, bar } of ways) {
  test(`slopes at 0, ${target}`, async () => {
    const program = await compile(Slopes, { target, precision, sizes: { N: 3 }, gradients: true });
    const zeros = known.flatMap(() => [0, -0, 0]);
    const { gradients } = await program.run({ x: tensor(precision, [known.length, 3], zeros) });
    for (const [i, is] of numbers(gradients.get("input.x") ?? assert.fail()).entries()) {
      const slope = known[Math.floor(i / 3)] ?? Number.NaN;
      assert.ok(Math.abs(is - slope) <= bar, `${Math.floor(i / 3)}: ${is}, not ${slope}`);
    }
    program.close();
  });
  test(`softplus and its slope, ${target}`, async () => {
    const sizes = [100, 88, 40, 20, 17.3, 16, 6.9, 2, 1, 0.5, 0.3, 1e-3, 1e-8, 1e-40, 3e38, Number.POSITIVE_INFINITY];
    const at = sizes.flatMap((x) => [x, -x]).map(Math.fround);
    const program = await compile(Softplus, { target, precision, sizes: { N: at.length }, gradients: true });
    const { outputs, gradients } = await program.run({ x: tensor(precision, [at.length], at) });
    const [values, slopes] = [outputs[0], gradients.get("input.x")].map((t) => numbers(t ?? assert.fail()));
    const tiny = precision === "f32" ? 2 ** -148 : 0; // a denormal's last digit, twice
    for (const [i, x] of at.entries()) {
      const e = Math.exp(-Math.abs(x));
      const [value, slope] = [Math.max(x, 0) + Math.log1p(e), x < 0 ? e / (1 + e) : 1 / (1 + e)];
      for (const [is = Number.NaN, y] of [[values?.[i], value] as const, [slopes?.[i], slope] as const])
        assert.ok(is === y || Math.abs(is - y) <= bar * y + tiny, `at ${x}: ${is}, not ${y}`);
    }
    program.close();
  });
}
test.run();
