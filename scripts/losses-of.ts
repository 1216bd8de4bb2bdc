// Losses of a training, for comparing targets.
import { openTraining } from "../runtime/training/train.ts";
import type { TrainOptions } from "../runtime/training/train-options.ts";

/** The loss of each step, and the held-out loss after the last. Writes nothing. */
export async function lossesOf(options: Omit<TrainOptions, "out">): Promise<number[]> {
  const training = await openTraining({ ...options, out: null });
  try {
    const all: number[] = [];
    for await (const { loss, heldOut } of training.steps()) all.push(loss, ...(heldOut === null ? [] : [heldOut]));
    return all;
  } finally {
    training.close();
  }
}
