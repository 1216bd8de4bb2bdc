// The gated delta rule and Mamba's recurrences by chunks against their steps, one after the other, which are the definition; and gradients.
import assert from "node:assert/strict";
import { suite } from "uvu";
import { compile, moe, numbers, type Program, type Tensor, tensor } from "../../runtime/index.ts";
import { assertClose, type PeerTarget, peerTargets } from "../peer-results.ts";

const delta = moe<"Steps" | "Chunks" | "Documents">`
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
  layer Documents(T = 10, Chunk = 4) {
    forward(q: f32[B, G, T, A], k: f32[B, G, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], beta: f32[B, H, T], memory: f32[B, H, A, C],
            weight: f32[B, H, T, C], document: i32[B, T]) -> (f32[B, H, T, C], f32[B, H, A, C]) {
      let (y, s) = delta_chunks(q, k, v, decay, beta, memory, Chunk, document)
      return y * weight, s
    }
  }
`;
/** Each feature of a key fades by itself. */
const kda = moe<"Steps" | "Chunks" | "Documents">`
  import { kda_chunks, kda_step } from "std/kda"

  fn each(decay: f32[B, H, T], A) -> f32[B, H, T, A] { return decay[..., new] * (1 + 0.5 * f32(range(A))) }
  layer Steps(T = 10, G = 4) {
    forward(q: f32[B, H, T, A], k: f32[B, H, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], beta: f32[B, H, T], memory: f32[B, H, A, C],
            weight: f32[B, H, T, C]) -> (f32[B, H, T, C], f32[B, H, A, C]) {
      let all: f32[B, H, T, C] = 0
      let s = memory
      for t in 0:T {
        let (y, now) = kda_step(q[:, :, t], k[:, :, t], v[:, :, t], each(decay, A)[:, :, t], beta[:, :, t], s)
        all = put(all, (range(1) + t)[new, new], y[:, :, new], axis: 2)
        s = now
      }
      return all * weight, s
    }
  }
  layer Chunks(T = 10, G = 4, Chunk = 4) {
    forward(q: f32[B, H, T, A], k: f32[B, H, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], beta: f32[B, H, T], memory: f32[B, H, A, C],
            weight: f32[B, H, T, C]) -> (f32[B, H, T, C], f32[B, H, A, C]) {
      let (y, s) = kda_chunks(q, k, v, each(decay, A), beta, memory, Chunk)
      return y * weight, s
    }
  }
  layer Documents(T = 10, G = 4, Chunk = 4) {
    forward(q: f32[B, H, T, A], k: f32[B, H, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], beta: f32[B, H, T], memory: f32[B, H, A, C],
            weight: f32[B, H, T, C], document: i32[B, T]) -> (f32[B, H, T, C], f32[B, H, A, C]) {
      let (y, s) = kda_chunks(q, k, v, each(decay, A), beta, memory, Chunk, document)
      return y * weight, s
    }
  }
`;
const ssd = moe<"Steps" | "Chunks" | "Documents">`
  import { ssd_chunks, ssd_step } from "std/mamba"

  layer Steps(T = 10) {
    forward(q: f32[B, G, T, A], k: f32[B, G, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], memory: f32[B, H, C, A], weight: f32[B, H, T, C])
        -> (f32[B, H, T, C], f32[B, H, C, A]) {
      let all: f32[B, H, T, C] = 0
      let s = memory
      for t in 0:T {
        let (y, now) = ssd_step(q[:, :, t], k[:, :, t], v[:, :, t], decay[:, :, t], s)
        all = put(all, (range(1) + t)[new, new], y[:, :, new], axis: 2)
        s = now
      }
      return all * weight, s
    }
  }
  layer Chunks(T = 10, Chunk = 4) {
    forward(q: f32[B, G, T, A], k: f32[B, G, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], memory: f32[B, H, C, A], weight: f32[B, H, T, C])
        -> (f32[B, H, T, C], f32[B, H, C, A]) {
      let (y, s) = ssd_chunks(q, k, v, decay, memory, Chunk)
      return y * weight, s
    }
  }
  layer Documents(T = 10, Chunk = 4) {
    forward(q: f32[B, G, T, A], k: f32[B, G, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], memory: f32[B, H, C, A], weight: f32[B, H, T, C],
            document: i32[B, T]) -> (f32[B, H, T, C], f32[B, H, C, A]) {
      let (y, s) = ssd_chunks(q, k, v, decay, memory, Chunk, document)
      return y * weight, s
    }
  }
`;
/** Each head is a channel; the rates of its states depend on an input too, for their gradient. */
const selective = moe<"Steps" | "Chunks" | "Documents">`
  import { selective_chunks, selective_step } from "std/mamba"

  fn channels(x: f32[B, H, T, C]) -> f32[B, T, H] { return transpose(x[..., 0], 1, 2) }
  fn rates(weight: f32[B, H, T, C], A) -> f32[A, H] { return (1 + 0.5 * f32(range(A)))[:, new] * (1 + 0.1 * weight[0, :, 0, 0]) }
  layer Steps(T = 10) {
    forward(q: f32[B, G, T, A], k: f32[B, G, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], memory: f32[B, H, C, A], weight: f32[B, H, T, C])
        -> (f32[B, H, T, C], f32[B, H, C, A]) {
      let all: f32[B, H, T] = 0
      let s = transpose(memory[:, :, 0], 1, 2)
      let v = channels(v)
      for t in 0:T {
        let (y, now) = selective_step(q[:, 0, t], k[:, 0, t], v[:, t], decay[:, :, t], rates(weight, A), s)
        all = put(all, (range(1) + t)[new, new], y[..., new], axis: 2)
        s = now
      }
      let left: f32[B, H, C, A] = transpose(s, 1, 2)[:, :, new]
      return all[..., new] * weight, left
    }
  }
  layer Chunks(T = 10, Chunk = 4) {
    forward(q: f32[B, G, T, A], k: f32[B, G, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], memory: f32[B, H, C, A], weight: f32[B, H, T, C])
        -> (f32[B, H, T, C], f32[B, H, C, A]) {
      let s = transpose(memory[:, :, 0], 1, 2)
      let (y, s) = selective_chunks(q[:, 0], k[:, 0], channels(v), transpose(decay, 1, 2), rates(weight, A), s, Chunk)
      let left: f32[B, H, C, A] = transpose(s, 1, 2)[:, :, new]
      return transpose(y, 1, 2)[..., new] * weight, left
    }
  }
  layer Documents(T = 10, Chunk = 4) {
    forward(q: f32[B, G, T, A], k: f32[B, G, T, A], v: f32[B, H, T, C], decay: f32[B, H, T], memory: f32[B, H, C, A], weight: f32[B, H, T, C],
            document: i32[B, T]) -> (f32[B, H, T, C], f32[B, H, C, A]) {
      let s = transpose(memory[:, :, 0], 1, 2)
      let (y, s) = selective_chunks(q[:, 0], k[:, 0], channels(v), transpose(decay, 1, 2), rates(weight, A), s, Chunk, document)
      let left: f32[B, H, C, A] = transpose(s, 1, 2)[:, :, new]
      return transpose(y, 1, 2)[..., new] * weight, left
    }
  }
`;
type Layer = typeof delta.Steps;
interface Recurrence {
  readonly name: string;
  readonly program: Readonly<Record<"Steps" | "Chunks" | "Documents", Layer>>;
  readonly sizes: {
    readonly B: number;
    readonly G: number;
    readonly H: number;
    readonly A: number;
    readonly C: number;
  };
  /** The memory's axes after those of the heads. */
  readonly memory: "AC" | "CA";
  readonly chunked: readonly { readonly T: number; readonly Chunk: number }[];
}
const first = { T: 10, Chunk: 4 };
const recurrences: readonly Recurrence[] = [
  {
    name: "delta",
    program: delta,
    sizes: { B: 2, G: 1, H: 2, A: 3, C: 2 },
    memory: "AC",
    chunked: [first, { T: 40, Chunk: 32 }], // of 4 by themselves, of 32 by blocks of 16
  },
  {
    name: "kda",
    program: kda,
    sizes: { B: 2, G: 4, H: 4, A: 3, C: 2 },
    memory: "AC",
    chunked: [first, { T: 40, Chunk: 32 }], // the same blocks, of which one sees the other
  },
  {
    name: "ssd",
    program: ssd,
    sizes: { B: 2, G: 2, H: 4, A: 3, C: 2 },
    memory: "CA",
    chunked: [first, { T: 18, Chunk: 16 }],
  },
  {
    name: "selective",
    program: selective,
    sizes: { B: 2, G: 1, H: 4, A: 3, C: 1 },
    memory: "CA",
    chunked: [first, { T: 23, Chunk: 5 }],
  },
];
/** Keys near 1 and steps near 1: what one writes the others overwrite. */
function inputs({ name, sizes, memory }: Recurrence, { precision: dtype }: PeerTarget, T = 10): Record<string, Tensor> {
  const { B, G, H, A, C } = sizes;
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
    ...(name === "delta" || name === "kda" ? { beta: of(5, [B, H, T], (x) => 0.8 + 0.19 * x) } : {}),
    memory: of(6, [B, H, ...(memory === "AC" ? [A, C] : [C, A])], (x) => x),
    weight: of(7, [B, H, T, C], (x) => x),
  };
}
const made = (
  { sizes }: Recurrence,
  layer: Layer,
  { target, precision }: PeerTarget,
  more: Readonly<Record<string, number>> = {},
): Promise<Program> => compile(layer, { sizes: { ...sizes, ...more }, target, precision, gradients: true });

const test = suite("recurrence");
const [exact, host] = peerTargets;
assert.ok(exact && host);
for (const one of recurrences)
  for (const [way, { T, Chunk }] of [
    ...one.chunked.map((c) => [exact, c] as const),
    [host, one.chunked[1] ?? assert.fail()] as const,
  ])
    test(`${one.name}: ${T} steps in chunks of ${Chunk}, and their gradients, ${way.target} ${way.precision}`, async () => {
      const [steps, chunks] = await Promise.all([
        made(one, one.program.Steps, exact, { T }),
        made(one, one.program.Chunks, way, { T, Chunk }),
      ]);
      const [wanted, got] = [await steps.run(inputs(one, exact, T)), await chunks.run(inputs(one, way, T))];
      for (const i of [0, 1]) assertClose(`result ${i}`, got.outputs[i], wanted.outputs[i], way.tolerance);
      assert.equal(wanted.gradients.size, Object.keys(inputs(one, exact)).length);
      for (const [name, t] of wanted.gradients) assertClose(name, got.gradients.get(name), t, 10 * way.tolerance);
      steps.close();
      chunks.close();
    });
for (const one of recurrences)
  test(`${one.name}: gradients are finite differences`, async () => {
    const chunks = await made(one, one.program.Chunks, exact);
    const given = inputs(one, exact);
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
/** A step so large that exp of its decay, and of sums of decays, is no number of f32. */
for (const one of recurrences.slice(1))
  test(`${one.name}: decays beyond what exp holds leave nothing, and no NaN, forward and backward`, async () => {
    const rounded = { ...host, target: "reference" } as const;
    const given = inputs(one, rounded);
    const far = { ...given, decay: tensor("f32", [2, 4, 10], Array(80).fill(-300)) };
    const [steps, chunks] = await Promise.all([
      made(one, one.program.Steps, rounded),
      made(one, one.program.Chunks, rounded),
    ]);
    const [wanted, got] = [await steps.run(far), await chunks.run(far)];
    for (const i of [0, 1]) assertClose(`result ${i}`, got.outputs[i], wanted.outputs[i], rounded.tolerance);
    for (const [name, t] of wanted.gradients) assertClose(name, got.gradients.get(name), t, rounded.tolerance);
    steps.close();
    chunks.close();
  });
for (const one of recurrences)
  test(`${one.name}: what begins anew with each document is what steps are whose memory is gone there`, async () => {
    const { program, sizes } = one;
    const given = inputs(one, exact);
    const starts = [[4, 7], [3]];
    const document = tensor(
      "i32",
      [2, 10],
      starts.flatMap((row) => Array.from({ length: 10 }, (_, t) => row.findLast((start) => start <= t) ?? 0)),
    );
    const decay = numbers(given["decay"] ?? assert.fail());
    for (const [b, row] of starts.entries())
      for (let h = 0; h < sizes.H; h++) for (const t of row) decay[(b * sizes.H + h) * 10 + t] = -1e4; // exp of it is 0
    const [steps, chunks] = await Promise.all([made(one, program.Steps, exact), made(one, program.Documents, exact)]);
    const wanted = await steps.run({ ...given, decay: tensor("f64", [2, sizes.H, 10], decay) });
    const got = await chunks.run({ ...given, document });
    for (const i of [0, 1]) assertClose(`result ${i}`, got.outputs[i], wanted.outputs[i], exact.tolerance);
    for (const [name, t] of wanted.gradients) assertClose(name, got.gradients.get(name), t, exact.tolerance);
    steps.close();
    chunks.close();
  });

test.run();
