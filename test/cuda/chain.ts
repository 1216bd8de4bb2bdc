// Plans whose kernels are those of the fake CUDA driver (libcuda.cpp).
import { planMemory } from "../../compiler/plan/memory.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import type { Sequence, VirtualArg, VirtualLaunch } from "../../compiler/plan/sequence.ts";
import type { Variants } from "../../runtime/cuda/variants.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import { buffer, ofStore, pointwise, read, storeOf, write } from "../sequences.ts";

export const rows = 37;
export const shape = { threads: 64, shared: 512, wide: false };
/** A launch of one of the fake driver's kernels. */
const launch = (name: string, args: readonly VirtualArg[], tasks = 1, threads = shape.threads): VirtualLaunch => ({
  kernel: { name, text: name, origins: [`model.moe:${name.length}`], scratch: 0, launch: { ...shape, threads } },
  args,
  tasks,
  flops: 0,
  bytes: 0,
  phase: "forward",
});
/** A plan of three launches: y = 2x, the sum of y, then w += the sum, which is written to a temporary and copied to the store. */
export function chainPlan(threads?: number): Plan {
  const [w, x] = [ofStore(buffer("w", [1])), ofStore(buffer("train/x", [rows, 16]))];
  const [y, sum, next] = [buffer("y", [rows, 16]), buffer("sum", [1]), buffer("next", [1])];
  const sequence: Sequence = {
    entry: "train",
    launches: [
      launch("twice", [pointwise(x), write(y)], rows, threads),
      launch("total", [read(y), write(sum)]),
      launch("grow", [read(sum), read(w), write(next)]),
    ],
    assigns: [{ store: "w", from: next }],
    results: [
      { role: "output", name: "0", buffer: y },
      { role: "loss", name: "total", buffer: sum },
    ],
  };
  return planMemory([sequence], [storeOf(w), storeOf(x, "input")], { target: "cuda", header: "" });
}
export const image = (name: string): { cubin: Buffer } => ({ cubin: Buffer.from(`${name}\0`) });
export const inputs = new Map([
  [
    "x",
    fromNumbers(
      "f32",
      [rows, 16],
      Array.from({ length: rows * 16 }, (_, i) => i % 7),
    ),
  ],
]);
/** The same plan, where kernel `twice` has a variant with this name, and the code to load for it. */
export function chainPlanWithVariant(name: string): { readonly plan: Plan; readonly variants: Variants } {
  const plain = chainPlan();
  const variant = { name, text: "", launch: shape, maps: [], writes: [1] };
  const kernels = plain.kernels.map((k) => (k.name === "twice" ? { ...k, variant } : k));
  const at = kernels.findIndex((k) => k.name === "twice");
  return { plan: { ...plain, kernels }, variants: new Map([[at, { variant, code: image(name) }]]) };
}
