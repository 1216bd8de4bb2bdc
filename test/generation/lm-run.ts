// A small language model in a file, what it is trained on, and the folder of a run of it.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { tensor } from "../../runtime/index.ts";
import { copyProgram, readProgram } from "../../runtime/program.ts";
import { writeCheckpoint } from "../../runtime/storage/checkpoint.ts";
import { writeConfig } from "../../runtime/storage/run-folder.ts";
import { allInMemory } from "../../runtime/storage/stored-tensor.ts";
import { copyTokenizerFiles, selectCodec } from "../../runtime/tokenizer/select-codec.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

/** `second` is for training only, and the gates have states. */
const lm = `
  import { Embedding, Linear, RmsNorm, SwiGlu } from "std/nn"
  import { Attention } from "std/attention"
  import { Mamba } from "std/mamba"
  import { MoE } from "std/moe"
  import { BiasGate } from "std/gates"
  import { cross_entropy } from "std/loss"
  import { AdamW } from "std/optim"
  import { newest, sample } from "std/sample"
  layer Block(D, Context) {
    norm: RmsNorm(D)
    attention: Attention(D, 2, Context: Context)
    feed: MoE(D, 2, 3, BiasGate(D, 3, 2), SwiGlu(D, 6))
    forward(x: float[B, T, D], at: i32[B, T]) -> float[B, T, D] { let y = x + attention(norm(x), at) return y + feed(y) }
  }
  model Lm(V, D, Context = 40) {
    embed: Embedding(V, D, std: 0.3)
    blocks: Block(D, Context)[2]
    head: Linear(D, V)
    second: Linear(D, V)
    hidden(tokens: i32[B, T], at: i32[B, T] = range(T)) -> float[B, T, D] {
      let x = embed(tokens)
      for block in blocks { x = block(x, at) }
      return x
    }
    forward(tokens: i32[B, T]) -> float[B, T, V] { return head(hidden(tokens)) }
    train(tokens: i32[B, T], targets: i32[B, T]) {
      let x = hidden(tokens)
      loss language = cross_entropy(head(x), targets)
      loss second = cross_entropy(second(x), tokens)
      optimize with AdamW(lr: 3e-2)
    }
    generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B], top_p: f32[B] = 1, top_k: i32[B] = 0) -> i32[B] {
      return sample(head(newest(hidden(tokens, at), at)), temperature, top_p, top_k)
    }
  }`;
/** A tokenizer of 160 words. */
export const words = join(project, "test/peers/texts/words");
const attention = "Attention(D, 2, Context: Context)";
/** The path of a file with the model. `mixing`: what is in place of its attention. */
export function lmFile(mixing = attention): string {
  const path = join(temporaryFolder(), "lm.moe");
  writeFileSync(path, lm.replace(attention, mixing));
  return path;
}
/** Tokens of which each follows from the last, so that a few steps teach which. */
export function* batches(V: number, steps: number): Generator<{ tokens: Tensor; targets: Tensor }> {
  const [B, T] = [4, 8];
  for (let step = 0; step < steps; step++) {
    const rows = Array.from({ length: B }, (_, r) => {
      const row = [(step * B + r) % V];
      while (row.length <= T) row.push((3 * (row.at(-1) ?? 0) + 1) % V);
      return row;
    });
    const cut = (from: number) => rows.flatMap((row) => row.slice(from, from + T));
    yield { tokens: tensor("i32", [B, T], cut(0)), targets: tensor("i32", [B, T], cut(1)) };
  }
}
/** The folder of a run with these parameters. */
export async function savedRun(
  file: string,
  parameters: ReadonlyMap<string, Tensor>,
  tokenizer?: string,
): Promise<string> {
  const folder = join(temporaryFolder(), "run");
  const codec = await selectCodec({ tokenizer }, null);
  const sizes = { V: codec.vocabularySize ?? 256, D: 8 };
  const data = { files: [], bytes: 0, hash: "", position: 0 };
  copyProgram(readProgram(file), folder);
  copyTokenizerFiles(codec, folder);
  writeConfig(folder, { ...codec.config, model: "Lm", sizes, steps: 3, seed: 0, precision: "f32", data });
  const state = { step: 3, sizes, random: { seed: 0, call: 3 }, data, tokenizer: codec.name };
  writeCheckpoint(folder, state, { model: allInMemory(parameters), training: new Map() });
  return folder;
}
