// The gated delta rule by chunks against its steps, one after the other, which are the definition; what a cache carries on, and gradients.
import assert from "node:assert/strict";
import { suite } from "uvu";
import { compile, moe, numbers, type Program, type Tensor, tensor } from "../../runtime/index.ts";
import { assertClose, type PeerTarget, peerTargets } from "../peer-results.ts";

const { Steps, Chunks } = moe<"Steps" | "Chunks">`
  import { delta_chunks, delta_step } from "std/delta"

  layer Steps(T = 10) {
    forward(q: f32[B, G, T, A], k: f32[B, G, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], beta: f32[B, H, T], memory: f32[B, H, A, C],
            weight: f32[B, H, T, C]) -> (f32[B, H, T, C], f32[B, H, A, C]) {
      let all: f32[B, H, T, C] = 0
      let s = memory
      for t in 0:T {
        let (y, now) = delta_step(q[:, :, t], k[:, :, t], v[:, :, t], decay[:, :, t], beta[:, :, t], s)
        all = put(all, (range(1) + t)[new, new], y[:, :, new], axis: 2)
        s = now
      }
      return all * weight, s
    }
  }
  layer Chunks(T = 10, Chunk = 4) {
    forward(q: f32[B, G, T, A], k: f32[B, G, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], beta: f32[B, H, T], memory: f32[B, H, A, C],
            weight: f32[B, H, T, C]) -> (f32[B, H, T, C], f32[B, H, A, C]) {
      let (y, s) = delta_chunks(q, k, v, decay, beta, memory, Chunk)
      return y * weight, s
    }
  }
`;
const sizes = { B: 2, G: 1, H: 2, A: 3, C: 2 };
const { B, G, H, A, C } = sizes;
/** Keys near 1 and steps near 1: what one writes the others overwrite. */
function inputs({ precision: dtype }: PeerTarget, T = 10): Record<string, Tensor> {
  const of = (at: number, shape: number[], f: (x: number) => number): Tensor =>
    tensor(
      dtype,
      shape,
      Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => f(Math.sin(7.3 * i * i + at))),
    );
  return {
    q: of(1, [B, G, T, A], (x) => x),
    k: of(2, [B, G, T, A], (x) => 0.6 + 0.1 * x),
    v: of(3, [B, H, T, C], (x) => x),
    decay: of(4, [B, H, T], (x) => -0.2 - 0.19 * x),
    beta: of(5, [B, H, T], (x) => 0.8 + 0.19 * x),
    memory: of(6, [B, H, A, C], (x) => x),
    weight: of(7, [B, H, T, C], (x) => x),
  };
}
const made = (
  layer: typeof Steps,
  { target, precision }: PeerTarget,
  more: Readonly<Record<string, number>> = {},
): Promise<Program> => compile(layer, { sizes: { ...sizes, ...more }, target, precision, gradients: true });

const test = suite("delta");
/** Of 4 by themselves, of 32 by blocks of 16. */
const chunked = [
  { T: 10, Chunk: 4 },
  { T: 40, Chunk: 32 },
];
const [exact, host] = peerTargets;
assert.ok(exact && host);
for (const [way, { T, Chunk }] of [
  ...chunked.map((c) => [exact, c] as const),
  [host, chunked[1] ?? assert.fail()] as const,
])
  test(`${T} steps in chunks of ${Chunk}, and their gradients, ${way.target} ${way.precision}`, async () => {
    const [steps, chunks] = await Promise.all([made(Steps, exact, { T }), made(Chunks, way, { T, Chunk })]);
    const [wanted, got] = [await steps.run(inputs(exact, T)), await chunks.run(inputs(way, T))];
    for (const i of [0, 1]) assertClose(`result ${i}`, got.outputs[i], wanted.outputs[i], way.tolerance);
    assert.equal(wanted.gradients.size, 7);
    for (const [name, t] of wanted.gradients) assertClose(name, got.gradients.get(name), t, 10 * way.tolerance);
    steps.close();
    chunks.close();
  });
test("gradients are finite differences", async () => {
  const chunks = await made(Chunks, exact);
  const given = inputs(exact);
  const total = async (x: Record<string, Tensor>): Promise<number> =>
    (await chunks.run(x)).outputs.flatMap((t) => Array.from(numbers(t))).reduce((a, b) => a + b, 0);
  const { gradients } = await chunks.run(given);
  for (const [name, t] of Object.entries(given)) {
    const along = Array.from(numbers(t), (_, i) => Math.cos(3 * i));
    const moved = (by: number): Record<string, Tensor> => ({
      ...given,
      [name]: tensor(
        "f64",
        t.shape,
        Array.from(numbers(t), (x, i) => x + by * (along[i] ?? Number.NaN)),
      ),
    });
    const slope = ((await total(moved(1e-5))) - (await total(moved(-1e-5)))) / 2e-5;
    const found = numbers(gradients.get(`input.${name}`) ?? assert.fail()).reduce(
      (s, x, i) => s + x * (along[i] ?? Number.NaN),
      0,
    );
    assert.ok(Math.abs(slope - found) < 1e-7 * (1 + Math.abs(slope)), `${name}: ${found}, not ${slope}`);
  }
  chunks.close();
});

test.run();
