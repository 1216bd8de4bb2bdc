// A mixture of experts in your own TypeScript: written in a template, compiled, called, and trained on batches of your own.
// In a project of your own: from "moec".
import { compile, moe, train } from "../runtime/index.ts";

const hidden = 4 * 16;
const { Ffn, Regression } = moe`
  import { SwiGlu } from "std/nn"
  import { MoE } from "std/moe"
  import { TopKGate } from "std/gates"
  import { AdamW } from "std/optim"

  layer Ffn(D, E = 4, K = 2) {
    moe: MoE(D, K, E, TopKGate(D, E, K), SwiGlu(D, ${hidden}))
    forward(x: float[N, D]) -> float[N, D] { return x + moe(x) }
  }

  model Regression(D) {
    ffn: Ffn(D)
    train(x: float[N, D], y: float[N, D]) {
      let error = ffn(x) - y
      loss square = mean(error * error)
      metric worst = max(abs(error))
      optimize with AdamW(lr: 1e-2)
    }
  }
`;

const [D, N] = [16, 32];
const wave = (seed: number): Float32Array => Float32Array.from({ length: N * D }, (_, i) => Math.sin(seed + i * 1.7));

export async function main(target: "host" | "reference" = "host", log = console.log): Promise<number[]> {
  const program = await compile(Ffn, { entry: "forward", sizes: { D, N }, target });
  const { outputs } = await program.run({ x: wave(0) });
  log(`forward: ${outputs[0]?.dtype}[${outputs[0]?.shape.join(", ")}], ${program.names.length} parameters`);
  program.close();

  const batches = Array.from({ length: 20 }, (_, i) => ({ x: wave(i), y: wave(i).map((v) => v * v) }));
  const losses: number[] = [];
  for await (const { step, losses: named } of train(Regression, { batches, sizes: { D, N }, target })) {
    losses.push(named.get("square") ?? Number.NaN);
    if (step % 5 === 0) log(`step ${step}: square ${named.get("square")?.toFixed(4)}`);
  }
  return losses;
}
if (import.meta.filename === process.argv[1]) await main();
