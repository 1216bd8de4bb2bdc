// Checks that a random program's training, when interrupted and resumed from checkpoints with other numbers of threads, gives the bits of an
// uninterrupted one.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { readCheckpoint } from "../../runtime/storage/checkpoint.ts";
import { openTraining } from "../../runtime/training/train.ts";
import type { TrainOptions } from "../../runtime/training/train-options.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { inFull } from "../training-runs.ts";
import { type HostMode, withIsa } from "./host-modes.ts";
import { type RandomProgram, randomProgram } from "./programs.ts";
import { Draw } from "./random-graph.ts";

export interface Resumed extends RandomProgram {
  readonly batch: number;
  readonly length: number;
  readonly steps: number;
  /** The steps after which it is interrupted, in order. */
  readonly breaks: readonly number[];
}
/** A random program that trains on text. */
export function randomRun(seed: string): Resumed {
  const draw = new Draw(`${seed}, its run`);
  const program = randomProgram(seed, "p", { looped: false, draws: true });
  const { B: batch = 1, T: length = 1, ...sizes } = program.sizes;
  const steps = 2 + draw.below(4);
  const breaks = Array.from({ length: steps - 1 }, (_, i) => i + 1).filter(() => draw.chance(0.6));
  const text = program.text.replace(
    /train\(x: .*\n/,
    `train(tokens: i32[B, T], targets: i32[B, T]) {
    let at: i32[B, T] = range(T)
    let tokens = tokens % 11
    let x = p_embed(tokens)
`,
  );
  const accumulate = draw.of([1, 1, 2, 3]);
  return {
    ...program,
    text: text.replace("  state p_seen", "  p_embed: Embedding(11, D, std: 1)\n  state p_seen"),
    sizes,
    batch,
    length,
    steps,
    breaks,
    accumulate,
  };
}
const root = temporaryFolder();
const data = join(root, "data.txt");
let runs = 0;

export async function checkResumed(run: Resumed, { precision, isa, threads }: HostMode): Promise<void> {
  const { text, sizes, batch, length, steps, breaks, accumulate = 1 } = run;
  const program = join(root, "run.moe");
  writeFileSync(program, text);
  writeFileSync(data, Buffer.from(Array.from({ length: 300 }, (_, i) => (i * i * 7 + i) % 251)));
  const given = { program, data: [data], set: sizes, batch, length, accumulate, precision, seed: 5, saveEvery: 0 };
  const [whole, parts] = [join(root, `${runs++}`), join(root, `${runs++}`)];
  const ends = await withIsa(isa, async () => {
    const end = await trained({ ...given, steps, out: whole, threads: threads[0] });
    for (const [i, until] of [...breaks, steps].entries()) {
      const how = { threads: threads[(i + 1) % threads.length], resume: i > 0, evaluateEvery: i % 2 };
      const cut = await trained({ ...given, ...how, steps: until, out: parts });
      if (cut !== null || until === steps) return [end, cut];
    }
    return [end];
  });
  // A break saves, which finds parameters that are not finite a step before the loss that they give.
  if (ends[1]?.startsWith("the parameter ")) assert.is.not(ends[0], null);
  else assert.is(ends[1], ends[0]);
  if (ends[0] !== null) return;
  const [one, other] = [whole, parts].map((out) =>
    inFull(readCheckpoint(join(out, "checkpoints", `step-00000${steps}`))),
  );
  for (const part of ["model", "training"] as const)
    for (const [name, tensor] of one?.[part] ?? [])
      assert.equal(other?.[part].get(name)?.data, tensor.data, `${name}, with breaks after ${breaks.join(", ")}`);
}
/** Trains to the end; returns null, or the message if numbers were no longer finite. */
async function trained(options: TrainOptions): Promise<string | null> {
  const training = await openTraining(options);
  try {
    for await (const _ of training.steps());
    return null;
  } catch (error) {
    if (error instanceof Problem && /NaN|Infinity|finite/.test(error.message)) return error.message;
    throw error;
  } finally {
    training.close();
  }
}
