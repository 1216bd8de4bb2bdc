// Fills stores of gigabytes with random numbers quickly.
import type { PlanExecutable } from "../runtime/executable/plan-executable.ts";
import { lcg } from "../runtime/measure/lcg.ts";
import { zeros } from "../runtime/tensor.ts";

/** So many numbers are drawn, then repeated. A prime, so that no two rows or experts are equal. */
const period = 1_000_003;
const random = lcg(1);
const uniform = Float32Array.from({ length: period }, () => 2 * random() - 1);

/**
 * Scales weights so that products keep the variance of their input; makes moments non-negative and integers count along the last axis; leaves
 * gradients and inputs (the runtime's own) zero.
 */
export function fill(executable: PlanExecutable): void {
  for (const { name, role, dtype, shape } of executable.stores) {
    if (role === "input" || name.startsWith("gradient.")) continue;
    const tensor = zeros(dtype, shape);
    if (tensor.data instanceof Float32Array) {
      const scale = role === "parameter" && shape.length > 1 ? Math.sqrt(3 / (shape.at(-2) ?? 1)) : 1;
      repeat(
        tensor.data,
        uniform.map((x) => (role === "optimizer" ? Math.abs(x) : x) * scale),
      );
    } else if (tensor.data instanceof Uint16Array) {
      const scale = role === "parameter" && shape.length > 1 ? Math.sqrt(3 / (shape.at(-2) ?? 1)) : 1;
      repeat(tensor.data, toBf16(uniform.map((x) => x * scale)));
    } else tensor.data.forEach((_, i, data) => (data[i] = i % (shape.at(-1) ?? 1)));
    executable.write(name, tensor);
  }
}
/** Truncates f32 to bf16: the upper 16 bits. */
const toBf16 = (numbers: Float32Array): Uint16Array =>
  Uint16Array.from(new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length), (bits) => bits >>> 16);
function repeat<T extends Float32Array | Uint16Array>(to: T, numbers: T): void {
  to.set(numbers.subarray(0, to.length));
  for (let done = period; done < to.length; done *= 2) to.copyWithin(done, 0, Math.min(done, to.length - done));
}
