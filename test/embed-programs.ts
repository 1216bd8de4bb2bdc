// Declarations that tests of the TypeScript interface compile, and helpers to run them.
import { type CompileOptions, compile, moe, type Program, type Source } from "../runtime/index.ts";

export const { Twice, First, Sized, Fit } = moe<"Twice" | "First" | "Sized" | "Fit">`
  import { Sgd } from "std/optim"
  layer Twice(D) {
    param w: float[D] = 2
    forward(x: float[N, D], scale: f32 = 1) -> float[N, D] { return scale * w * x }
  }
  layer First(D) { forward(x: float[N, D], y: float[N, D]) -> float[N, D] { return 2 * x } }
  layer Sized(D) {
    param w: float[D, D] = 1
    forward(x: float[N, D]) -> float[N, D] {
      for i in 0:40 { x = x @ w / D }
      return x
    }
  }
  model Fit(D) {
    param w: float[D] = 2
    train(x: float[N, D]) {
      loss square = mean(w * x * x)
      optimize with Sgd(lr: 1e-2)
    }
  }
`;
export const targets = ["host", "reference"] as const;
export const sizes = { D: 4, N: 2 };
export const filled = (x: number, n = 8): Float32Array => new Float32Array(n).fill(x);
export async function withCompiled<T>(
  options: CompileOptions,
  use: (program: Program) => Promise<T>,
  from: Source = Twice,
): Promise<T> {
  const program = await compile(from, { sizes, threads: 2, ...options });
  try {
    return await use(program);
  } finally {
    program.close();
  }
}
export const first = async (program: Program, x: Float32Array): Promise<number | undefined> =>
  (await program.run({ x })).outputs[0]?.data[0];
