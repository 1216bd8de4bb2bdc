// Embeddings of n-grams: a text read a token at a time, in bf16 too, and packed documents each alone.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { compileProgram, type TargetRequest } from "../../runtime/compile.ts";
import type { Executable, Tensor } from "../../runtime/executable/executable.ts";
import { fromNumbers, numbers, part } from "../../runtime/tensor.ts";
import { assertClose, peerTargets } from "../peer-results.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("ngrams");
const rows = `
  import { NgramEmbedding } from "std/ngrams"
  model M() {
    embed: NgramEmbedding(300, 2, Size: 4, Heads: 2, Shards: 2, end: 7)
    forward(tokens: i32[B, T], at: i32[B, T], since: i32[B, T]) -> i32[B, T, 6] { return embed.rows(tokens, at, since) }
    generate(tokens: i32[B, T], at: i32[B, T], since: i32[B, T]) -> i32[B, T, 6] { return embed.rows(tokens, at, since) }
  }`;
const streams = `
  import { NgramStreams } from "std/ngrams"
  model M() {
    ngrams: NgramStreams(3, 2, 300, 2, Size: 3, Heads: 2, Shards: 2, end: 7, Width: 3, std: 1)
    forward(x: float[B, T, 2, 3], tokens: i32[B, T], at: i32[B, T], since: i32[B, T]) -> float[B, T, 2, 3] { return ngrams(x, tokens, at, since) }
  }`;
type Entries = readonly (readonly [method: string, T: number])[];
async function withModel(
  text: string,
  { target, precision }: Pick<TargetRequest, "target" | "precision">,
  entries: Entries,
  use: (executable: Executable) => Promise<void>,
): Promise<void> {
  const path = join(temporaryFolder(), "ngrams.moe");
  writeFileSync(path, text);
  const { executable } = await compileProgram({
    path,
    sizes: {},
    target,
    precision,
    entries: entries.map(([method, T]) => ({ method, name: `${method}:${T}`, sizes: { B: 1, T } })),
  });
  try {
    await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
    await use(executable);
  } finally {
    executable.close();
  }
}
const ints = (values: readonly number[]): Tensor => fromNumbers("i32", [1, values.length], values);
async function said(executable: Executable, method: string, inputs: Readonly<Record<string, Tensor>>): Promise<Tensor> {
  const { shape } = inputs["tokens"] ?? assert.fail("no tokens");
  const how = { seed: 0, call: 0, step: 0 };
  const { outputs } = await executable.run(`${method}:${shape[1]}`, new Map(Object.entries(inputs)), how);
  return outputs[0] ?? assert.fail("no output");
}
/** Above 256, where bf16 does not hold every whole number, and 7, which ends a text. */
const tokens = [70001, 257, 7, 333, 99999, 99998, 513, 7, 1023];
const places = tokens.map((_, t) => t);

for (const way of peerTargets.map(
  ({ target, precision }) => ({ target, precision: precision === "f32" ? "bf16" : precision }) as const,
))
  test(`a text read a token at a time has the rows that it has whole, ${way.target} ${way.precision}`, () =>
    withModel(
      rows,
      way,
      [
        ["forward", tokens.length],
        ["generate", 1],
      ],
      async (executable) => {
        const since = ints(tokens.map(() => 0));
        const whole = await said(executable, "forward", { tokens: ints(tokens), at: ints(places), since });
        // a neighbour of the first token has other rows, which rounding of tokens would make the same
        const [, ...later] = tokens;
        const other = await said(executable, "forward", { tokens: ints([70002, ...later]), at: ints(places), since });
        for (const t of [0, 1])
          assert.notDeepEqual(numbers(part(other, [0, t])).slice(), numbers(part(whole, [0, t])).slice());
        for (const [t, token] of tokens.entries()) {
          const one = await said(executable, "generate", { tokens: ints([token]), at: ints([t]), since: ints([0]) });
          assert.deepEqual(numbers(part(one, [0])), numbers(part(whole, [0, t])).slice(), `token ${t}`);
        }
      },
    ));
for (const way of peerTargets)
  test(`packed documents are each as alone, ${way.target} ${way.precision}`, () =>
    withModel(
      streams,
      way,
      [9, 1, 5, 3].map((T) => ["forward", T] as const),
      async (executable) => {
        for (const { name, role } of executable.stores) {
          const t = executable.read(name);
          if (role === "parameter" && name.endsWith("conv"))
            executable.write(
              name,
              fromNumbers(
                t.dtype,
                t.shape,
                numbers(t).map((_, i) => Math.sin(i * 1.7)),
              ),
            );
        }
        const begins = [0, 5, 6];
        const x = Array.from({ length: 9 * 6 }, (_, i) => Math.cos(i * 0.9));
        const float = way.precision === "f64" ? "f64" : "f32";
        const of = (from: number, to: number, since: number[]): Promise<Tensor> =>
          said(executable, "forward", {
            x: fromNumbers(float, [1, to - from, 2, 3], x.slice(from * 6, to * 6)),
            tokens: ints(tokens.slice(from, to)),
            at: ints(places.slice(0, to - from)),
            since: ints(since),
          });
        const since = places.map((t) => begins.findLast((begin) => begin <= t) ?? 0);
        const packed = await of(0, 9, since);
        for (const [i, begin] of begins.entries()) {
          const end = begins[i + 1] ?? 9;
          const alone = await of(begin, end, Array(end - begin).fill(0));
          for (let t = begin; t < end; t++)
            assertClose(`position ${t}`, part(packed, [0, t]), part(alone, [0, t - begin]), way.tolerance);
        }
      },
    ));
test.run();
