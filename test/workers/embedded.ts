// Training in TypeScript by each of the workers that test/workers-train.test.ts starts; worker 0 prints what it gave.
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import { moe, numbers, train, workers } from "../../runtime/index.ts";

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
/** Each worker draws other batches. */
async function drawnApart(): Promise<string> {
  try {
    for await (const _ of train(Noisy, { ...shared, batches: [batch(workers().rank)] })) continue;
  } catch (error) {
    return (error as Error).message;
  }
  return "nothing is wrong";
}
if (argv[1] === fileURLToPath(import.meta.url)) {
  const given = { ...(await trained()), apart: await drawnApart() };
  if (workers().rank === 0) console.log(JSON.stringify(given));
}
