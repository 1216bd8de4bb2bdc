// Training in TypeScript by each of the workers that test/workers/workers-train.test.ts starts; worker 0 prints what it gave.
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import { moe, numbers, type TrainOptions, tensor, train, workers } from "../../runtime/index.ts";

const { Noisy } = moe<"Noisy">`
  import { MoE } from "std/moe"
  import { NoisyGate } from "std/gates"
  import { SwiGlu } from "std/nn"
  import { AdamW } from "std/optim"
  model Noisy(D) {
    moe: MoE(D, 2, 4, NoisyGate(D, 4, 2), SwiGlu(D, 8))
    train(x: float[N, D]) {
      let y = moe(x) - x
      loss square = mean(y * y)
      optimize with AdamW(lr: 1e-2)
    }
  }`;
const { size } = workers();
const shared = { sizes: { N: 6, D: 4 }, seed: 3, ...(size > 1 ? { expertParallel: size } : {}) };
const batch = (i: number): { readonly x: Float32Array } => ({
  x: Float32Array.from({ length: 24 }, (_, j) => Math.sin(3 * i + j)),
});

export interface Given {
  readonly losses: readonly number[];
  readonly state: Readonly<Record<string, readonly number[]>>;
}
export async function trained(): Promise<Given> {
  const losses: number[] = [];
  let state = {};
  for await (const { loss, program } of train(Noisy, { ...shared, batches: [0, 1, 2, 3].map(batch) })) {
    losses.push(loss);
    state = Object.fromEntries([...program.state()].map(([name, t]) => [name, [...numbers(t)]]));
  }
  return { losses, state };
}
/** What is wrong if one worker differs from another: after that no more can be trained. */
const differing: Readonly<Record<string, (rank: number) => TrainOptions>> = {
  batches: (rank) => ({ ...shared, batches: [batch(rank)] }),
  sizes: (rank) => ({ ...shared, sizes: { N: 6, D: 4 + 4 * rank }, batches: [] }),
  seed: (rank) => ({ ...shared, seed: rank, batches: [] }),
  "sizes of tensors": (rank) => ({
    batches: [{ x: tensor("f32", [6 + 3 * rank, 4], new Float32Array(24 + 12 * rank)) }],
  }),
};
async function apart(by: string): Promise<string> {
  try {
    const options = differing[by]?.(workers().rank) ?? { batches: [] };
    for await (const _ of train(Noisy, options)) continue;
  } catch (error) {
    return (error as Error).message;
  }
  return "nothing is wrong";
}
if (argv[1] === fileURLToPath(import.meta.url)) {
  const [, , by = "batches"] = argv;
  if (by === "uncaught" && workers().rank === 1) throw new TypeError("worker 1 has no batches");
  const given = { ...(by === "batches" ? await trained() : {}), apart: await apart(by) };
  if (workers().rank === 0) console.log(JSON.stringify(given));
}
