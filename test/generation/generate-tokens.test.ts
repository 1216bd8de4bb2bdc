// Tokens of one prompt: how it goes in by chunks, what fits the Context, and how bytes become text.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/index.ts";
import { compileGenerate } from "../../runtime/generation/compile-generate.ts";
import { decodeTokens, generateTokens } from "../../runtime/generation/generate.ts";
import { codecs } from "../../runtime/tokens.ts";
import { rejectedProblem } from "../assert-problem.ts";
import { FakeExecutable } from "../fake-executable.ts";

const test = suite("generate-tokens");
async function generated(
  prompt: string,
  tokens: number,
  context: number | null = 64,
): Promise<{ bytes: number[]; fake: FakeExecutable }> {
  const fake = new FakeExecutable();
  const bytes: number[] = [];
  const options = { prompt: codecs.bytes.encode(prompt), tokens, temperature: 0.5, seed: 1, context, step: 0 };
  for await (const byte of generateTokens(fake, options)) bytes.push(byte);
  return { bytes, fake };
}

test("a prompt goes in by chunks, and each token is fed back at the next position", async () => {
  const { bytes, fake } = await generated("abc", 4);
  const expected: number[] = [];
  for (let last = 99, at = 2; expected.length < 4; at++) expected.push((last = (last + at + 1) % 256));
  assert.equal(bytes, expected);
  assert.equal(
    fake.calls.map((c) => c.entry),
    ["generate:64", "generate:1", "generate:1", "generate:1"],
  );
  const at = fake.calls[0]?.inputs.get("at")?.data ?? [];
  assert.equal(Array.from(at).slice(0, 5), [0, 1, 2, -1, -1]);
  assert.is(at.length, 64);
  assert.equal(Array.from(fake.calls[1]?.inputs.get("at")?.data ?? []), [3]);
  assert.is((await generated("", 1)).bytes[0], 11);
});

test("prompts of 64, 65 and 130 bytes take 1, 2 and 3 calls", async () => {
  for (const [n, calls] of [
    [64, ["generate:64"]],
    [65, ["generate:64", "generate:1"]],
    [130, ["generate:64", "generate:64", "generate:64"]],
  ] as const)
    assert.equal(
      (await generated("x".repeat(n), 1, null)).fake.calls.map((c) => c.entry),
      calls,
    );
});

test("what does not fit the Context says how much does", async () => {
  assert.is((await generated("abcd", 61)).bytes.length, 61);
  assert.match(
    (await rejectedProblem(() => generated("abcd", 62))).help,
    "`--tokens N` (in TypeScript `tokens`) to at most 61",
  );
  assert.match(
    (await rejectedProblem(() => generated("x".repeat(65), 1))).help,
    "shorten the prompt to at most 64 tokens",
  );
  assert.match(
    (await rejectedProblem(() => generated("x".repeat(65), 5))).help,
    "shorten the prompt to at most 60 tokens",
  );
  assert.match((await rejectedProblem(() => generated("x".repeat(65), 65))).help, "64 tokens, and lower `--tokens N`");
});

for (const [what, header, members, x, positions] of [
  ["a table", "Most = 9", "place: Embedding(Most, 4)", "embed(tokens) + place(at)", 9],
  ["a table with an offset", "Most = 9", "place: Embedding(Most, 4)", "embed(tokens) + place(at + 2)", 7],
  ["a cache", "Most = 9", "past: Kept(Most)", "embed(tokens) + past(embed(tokens), at)[:, :1]", 9],
  ["the header, where that has less", "Context = 4", "place: Embedding(9, 4)", "embed(tokens) + place(at)", 4],
  ["a table, where that has less", "Context = 40", "place: Embedding(9, 4)", "embed(tokens) + place(at)", 9],
  ["nothing", "Most = 9", "", "embed(tokens)", null],
] as const)
  test(`how many positions a model has is said by ${what}`, async () => {
    const program = load({
      name: "m.moe",
      text: `import { Embedding } from "std/nn" import { newest, sample } from "std/sample"
        layer Kept(Rows) { forward(x: float[B, T, D], at: i32[B, T]) -> float[B, Rows, D] {
          state kept: float[B, Rows, D] = 0 update kept = put(kept, at, x, axis: 1) return kept } }
        model M(${header}) { embed: Embedding(8, 4) ${members}
          generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B]) -> i32[B] {
            return sample(embed.logits(newest(${x}, at)), temperature) } }`,
    });
    const options = { rows: 1, target: "reference" } as const;
    const { executable, context } = await compileGenerate(program, "M", options);
    executable.close();
    assert.is(context, positions);
    const tooMany = async (): Promise<unknown> => compileGenerate(program, "M", { ...options, prompt: 5, tokens: 6 });
    if (context !== null)
      assert.match((await rejectedProblem(tooMany)).message, `the model has ${context} positions, and a prompt of 5`);
  });
async function* cutOff(): AsyncGenerator<number> {
  yield* Buffer.concat([Buffer.from("aé€😀"), Buffer.from([0xc3])]);
}
test("text comes in whole characters", async () => {
  const pieces: string[] = [];
  for await (const piece of decodeTokens(cutOff(), codecs.bytes.decoder([]))) pieces.push(piece);
  assert.equal(pieces, ["a", "é", "€", "😀", "\ufffd"]);
});
test.run();
