// Checks that a random decoder generates the same tokens with many in one call of the addon, with one in each call, and with any number of threads.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type CompileRequest, compileProgram } from "../../runtime/compile.ts";
import type { Executable } from "../../runtime/executable/executable.ts";
import { type GenerateRequest, generateBatch } from "../../runtime/generation/batch.ts";
import { generateEntries } from "../../runtime/generation/generate-entries.ts";
import { readProgram } from "../../runtime/program.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { randomDecoder } from "./decoders.ts";
import { type HostMode, withIsa } from "./host-modes.ts";
import { Draw } from "./random-graph.ts";

export interface Generated {
  readonly text: string;
  readonly rows: number;
  readonly requests: readonly GenerateRequest[];
}
export function randomRequests(seed: string): Generated {
  const draw = new Draw(`${seed}, its wishes`);
  const { text, context, rows, sequences } = randomDecoder(seed);
  const requests = sequences.map((prompt): GenerateRequest => {
    const tokens = 1 + draw.below(context + 1 - prompt.length);
    return { prompt, tokens, temperature: draw.of([0, 0.7, 2]), topP: draw.of([1, 0.8]), topK: draw.of([0, 1, 4]) };
  });
  const generate = `generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B], top_p: f32[B] = 1, top_k: i32[B] = 0) -> i32[B] {
    return sample(newest(logits(tokens, at), at), temperature, top_p, top_k)
  }`;
  const written = text.replace(/generate\(.*/, generate);
  return { text: `import { newest, sample } from "std/sample"\n${written}`, rows, requests };
}
const file = join(temporaryFolder(), "writes.moe");

export async function checkGenerated(
  { text, rows, requests }: Generated,
  { precision, isa, threads }: HostMode,
): Promise<void> {
  writeFileSync(file, text);
  const entries = generateEntries(readProgram(file), "Decoder", { rows, sampling: ["top_p", "top_k"] });
  const request: CompileRequest = { path: file, declaration: "Decoder", sizes: {}, entries, target: "host", precision };
  const all: number[][][] = [];
  await withIsa(isa, async () => {
    for (const [i, n] of threads.entries()) {
      const { executable } = await compileProgram({ ...request, threads: n });
      try {
        all.push(await written(i === 1 ? oneByOne(executable) : executable, rows, requests));
      } finally {
        executable.close();
      }
    }
  });
  for (const [i, texts] of all.entries())
    assert.equal(texts, all[0], `${threads[i]} threads${i === 1 ? ", one by one" : ""}`);
  assert.equal(
    all[0]?.map((tokens) => tokens.length),
    requests.map(({ tokens }) => tokens),
  );
}
async function written(
  executable: Executable,
  rows: number,
  requests: readonly GenerateRequest[],
): Promise<number[][]> {
  await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
  const texts = requests.map((): number[] => []);
  for await (const { request, token } of generateBatch(executable, requests, { rows, seed: 4, step: 0 }))
    texts[request]?.push(token);
  return texts;
}
const oneByOne = (executable: Executable): Executable => ({
  stores: executable.stores,
  entries: executable.entries,
  bytes: executable.bytes,
  read: (store) => executable.read(store),
  write: (store, value) => executable.write(store, value),
  run: (...run) => executable.run(...run),
  close: () => executable.close(),
});
