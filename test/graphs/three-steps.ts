// What tests of quantised weights have in common: three training steps, and how near numbers are.
import * as assert from "uvu/assert";
import { type Handle, type Inputs, numbers, type Tensor, type TrainOptions, train } from "../../runtime/index.ts";

/** Losses of three steps on one batch, and all parameters after them. */
export async function threeSteps(model: Handle | undefined, batch: Inputs, options: Omit<TrainOptions, "batches">) {
  const losses: number[] = [];
  let parameters: ReadonlyMap<string, Tensor> = new Map();
  for await (const { loss, program } of train(model, { threads: 2, ...options, batches: [batch, batch, batch] })) {
    losses.push(loss);
    parameters = program.parameters();
  }
  return { losses, parameters, of: (name: string) => numbers(parameters.get(name) as Tensor) };
}
/** To so much of the largest number. */
export function near(got: ArrayLike<number>, want: ArrayLike<number>, what: string, error: number): void {
  assert.is(got.length, want.length);
  const scale = Math.max(1e-6, ...Array.from(want, Math.abs));
  for (let i = 0; i < want.length; i++)
    assert.ok(
      Math.abs((got[i] ?? Number.NaN) - (want[i] ?? 0)) <= error * scale,
      `${what}, ${i}: ${got[i]}, not ${want[i]}`,
    );
}
