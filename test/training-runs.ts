// Helpers for tests of training runs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Tensor } from "../runtime/executable/executable.ts";
import { type Checkpoint, newestCheckpoint } from "../runtime/storage/checkpoint.ts";
import { sha256 } from "../runtime/storage/files.ts";
import { readAll } from "../runtime/storage/stored-tensor.ts";
import { TokenText } from "../runtime/storage/token-text.ts";
import { codecs, oneDocument } from "../runtime/tokens.ts";
import { type Dataset, datasetOf } from "../runtime/training/data.ts";
import type { TrainStep } from "../runtime/training/loop.ts";
import { openTraining } from "../runtime/training/train.ts";
import type { TrainOptions } from "../runtime/training/train-options.ts";

/** Trains a model and yields each step. */
export async function* train(options: TrainOptions): AsyncGenerator<TrainStep, void> {
  const training = await openTraining(options);
  try {
    yield* training.steps(options.signal);
  } finally {
    training.close();
  }
}
/** The losses of all steps, or up to step `until`. */
export async function losses(options: TrainOptions, until = Number.POSITIVE_INFINITY): Promise<number[]> {
  const stop = new AbortController();
  const all: number[] = [];
  for await (const { step, loss } of train({ ...options, signal: stop.signal })) {
    all.push(loss);
    if (step === until) stop.abort();
  }
  return all;
}
/** The data of a file of these bytes. */
export function datasetOfBytes(bytes: Uint8Array): Dataset {
  const { tokens, starts } = oneDocument(bytes);
  const from = { files: [], bytes: bytes.length, hash: sha256([bytes]) };
  return datasetOf({ ...from, tokens: new TokenText([tokens]), starts }, codecs.bytes, null);
}
interface ReadCheckpoint extends Omit<Checkpoint, "model" | "training" | "close"> {
  readonly model: ReadonlyMap<string, Tensor>;
  readonly training: ReadonlyMap<string, Tensor>;
}
/** A checkpoint with all its tensors in memory, closed. */
export function inFull({ model, training, close, ...rest }: Checkpoint): ReadCheckpoint {
  try {
    return { ...rest, model: readAll(model), training: readAll(training) };
  } finally {
    close();
  }
}
export const last = (run: string): ReadCheckpoint => inFull(newestCheckpoint(run, () => undefined) ?? assert.fail());

const demo = readFileSync(join(import.meta.dirname, "..", "examples", "gpt-moe.moe"), "utf8");
/** The demo's program without its method `generate`, whose kernels take a third of the time to compile, and which training does not run. */
export const withoutText: string = demo.replace(/\n {2}generate\([\s\S]*?\n {2}\}\n/, "");
assert.ok(withoutText.length < demo.length);

/** A program: a model with vocabulary V and one hidden layer of width D. */
export const small = (V: number, D: number): string => `import { Embedding, Linear } from "std/nn"
import { cross_entropy } from "std/loss"
import { AdamW } from "std/optim"
model Small(V = ${V}, D = ${D}, Steps = 2) {
  embed: Embedding(V, D)
  mix: Linear(D, D)
  forward(tokens: i32[B, T]) -> float[B, T, V] { return embed.logits(tanh(mix(embed(tokens)))) }
  train(tokens: i32[B, T], targets: i32[B, T]) {
    loss language = cross_entropy(forward(tokens), targets)
    optimize with AdamW(lr: 0.01)
  }
}
`;
