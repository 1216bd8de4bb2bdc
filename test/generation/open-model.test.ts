// A trained program of one's own in TypeScript, opened with parameters in memory, beside the run that holds the same.
import assert from "node:assert/strict";
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { generate } from "../../runtime/generation/generate.ts";
import type { TextModel } from "../../runtime/generation/text-model.ts";
import {
  type AskOptions,
  compile,
  fit,
  moe,
  type OpenOptions,
  type OpenProgramOptions,
  openModel,
  tensor,
  train,
} from "../../runtime/index.ts";
import { type Prompt } from "../../runtime/tokens.ts";
import { command } from "../command.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { batches, lmFile, savedRun, words } from "./lm-run.ts";
import { all, assertProblem } from "./texts.ts";

const test = suite("open-model");
const target = "reference";

const write = (model: TextModel, prompt: Prompt, options: AskOptions): Promise<string> =>
  all(model.generate(prompt, { tokens: 6, ...options }));
for (const [unit, given] of [
  ["bytes", {}],
  ["words", { tokenizer: words }],
] as const)
  test(`what \`fit\` returns generates the texts in ${unit} that a run of it does`, async () => {
    const [file, sizes] = [lmFile(), { V: unit === "bytes" ? 256 : 160, D: 8 }];
    const parameters = await fit({ file }, { batches: batches(sizes.V, 3), sizes, target });
    const run = await openModel(await savedRun(file, parameters, given.tokenizer), { target, batch: 2 });
    const own = await openModel({ file }, { parameters, sizes, target, batch: 2, ...given });
    assert.equal(own.context, 40);
    for (const options of [{ temperature: 0 }, { temperature: 2, topP: 0.9 }, { temperature: 2, topK: 3 }])
      assert.equal(await write(own, "the ship", options), await write(run, "the ship", options));
    const likeliest = await write(own, "the ship", { temperature: 0 });
    assert.equal(await write(own, "the ship", { topK: 1 }), likeliest);
    assert.notEqual(await write(own, "the ship", { temperature: 2 }), likeliest);
    const together = (model: TextModel): Promise<string[]> =>
      Promise.all(["the ship", "a", "whale and sea"].map((prompt) => write(model, prompt, { temperature: 0 })));
    assert.deepEqual(await together(own), await together(run));
    assert.equal(await write(own, "a", { signal: AbortSignal.abort() }), "");
    await Promise.all([run.close(), own.close()]);
  });
test("a conversation is answered as the text that the chat template makes of it", async () => {
  const [file, sizes] = [lmFile(), { V: 160, D: 8 }];
  const parameters = await fit({ file }, { batches: batches(sizes.V, 3), sizes, target });
  const tokenizer = join(temporaryFolder(), "words");
  cpSync(words, tokenizer, { recursive: true });
  const says = "{% for m in messages %}{{ m.role + ' ' + m.content + ' ' }}{% endfor %}";
  writeFileSync(join(tokenizer, "chat_template.jinja"), `${says}{{ 'assistant' if add_generation_prompt }}`);
  const folder = await savedRun(file, parameters, tokenizer);
  const model = await openModel(folder, { target, batch: 2 });
  const conversation = [
    { role: "system", content: "some money" },
    { role: "user", content: "the ship" },
  ];
  const options = { tokens: 6, temperature: 0 };
  const expected = await write(model, "system some money user the ship assistant", options);
  assert.equal(await write(model, conversation, options), expected);
  let text = "";
  for await (const piece of generate({ folder, prompts: [conversation], target, ...options })) text += piece.text;
  assert.equal(text, expected);
  const questions = join(tokenizer, "questions.jsonl");
  const [reply, other] = [
    { role: "assistant", content: "a" },
    { role: "user", content: "a" },
  ];
  const asked = [conversation.slice(1), [...conversation.slice(1), reply], [...conversation.slice(1), other]];
  const lines = [{ prompt: "the ship" }, ...asked.map((messages) => ({ messages }))];
  writeFileSync(questions, lines.map((line) => JSON.stringify(line)).join("\n"));
  const flags = ["--system", "some money", "--temperature", "0", "--target", target, "--json"];
  const { stdout, stderr } = command(["generate", folder, "--prompts", questions, ...flags]);
  const said = stdout.match(/"text":("(?:[^"\\]|\\.)*")/g)?.map((found) => JSON.parse(found.slice(7)));
  const full = await write(model, conversation, { tokens: 16, temperature: 0 }); // all that the prompt leaves room for
  const [less = "", ...others] = said ?? []; // the longest prompt leaves the least room, so its text ends first
  assert.deepEqual(others, [full, full, full], stderr);
  assert.ok(less.length < full.length, stdout);
  for (const wrong of [[], [{ role: "user" }], 5, [conversation]])
    await assertProblem(write(model, wrong as unknown as string, {}), /the prompt is (a list|5).*role: "user"/);
  await model.close();
});
test("a template's model generates the likeliest tokens of its `forward`, and those that it was taught", async () => {
  const { Taught } = moe<"Taught">`
    import { Embedding, Linear } from "std/nn"
    import { Attention } from "std/attention"
    import { cross_entropy } from "std/loss"
    import { AdamW } from "std/optim"
    import { newest, sample } from "std/sample"
    model Taught(V, D) {
      embed: Embedding(V, D, std: 1)
      attention: Attention(D, 2, Context: 12)
      head: Linear(D, V)
      hidden(tokens: i32[B, T], at: i32[B, T] = range(T)) -> float[B, T, D] { let x = embed(tokens) return x + attention(x, at) }
      forward(tokens: i32[B, T]) -> float[B, T, V] { return head(hidden(tokens)) }
      train(tokens: i32[B, T], targets: i32[B, T]) {
        loss language = cross_entropy(forward(tokens), targets)
        optimize with AdamW(lr: 3e-2)
      }
      generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B]) -> i32[B] {
        return sample(head(newest(hidden(tokens, at), at)), temperature)
      }
    }`;
  const sizes = { V: 11, D: 8 };
  const parameters = await fit(Taught, { batches: batches(11, 30), sizes, target });
  const forward = await compile(Taught, { sizes: { ...sizes, B: 1, T: 12 }, target });
  forward.load(parameters);
  const tokens = [2, 7];
  while (tokens.length < 12) {
    const padded = Int32Array.from({ length: 12 }, (_, t) => tokens[t] ?? 0);
    const { outputs } = await forward.run({ tokens: padded });
    const logits = Array.from(outputs[0]?.data ?? []).slice(11 * (tokens.length - 1), 11 * tokens.length);
    tokens.push(logits.indexOf(Math.max(...logits)));
  }
  forward.close();
  assert.deepEqual(tokens, [2, 7, 0, 1, 4, 2, 7, 0, 1, 4, 2, 7]);
  const model = await openModel(Taught, { parameters, sizes, target, ids: true });
  assert.equal(await all(model.generate("2 7", { tokens: 10, temperature: 0 })), " 0 1 4 2 7 0 1 4 2 7");
  await assertProblem(all(model.generate("2 7", { topP: 0.5 })), /takes no `top_p`/);
  await model.close();
});
test("parameters that are not all of the model's, and options that do not fit it, are refused", async () => {
  const [file, sizes] = [lmFile(), { V: 160, D: 8 }];
  const options = { batches: batches(sizes.V, 1), sizes, target } as const;
  let [parameters, state] = [new Map<string, Tensor>(), new Map<string, Tensor>()];
  for await (const { program } of train({ file }, options))
    [parameters, state] = [program.parameters(), program.state()];
  const without = (...names: string[]): Map<string, Tensor> =>
    new Map([...parameters].filter(([name]) => !names.includes(name)));
  const bias = "blocks.0.feed.gate.bias";
  const others = [...parameters.keys()].slice(1);
  const wrong: [Partial<OpenProgramOptions>, RegExp][] = [
    [{ parameters: undefined as never }, /the parameters are no Map/],
    [{ parameters: Object.fromEntries(parameters) as never }, /the parameters are no Map/],
    [{ parameters: without("head.weight") }, /the parameters lack head.weight give all that `fit` returned/],
    [
      { parameters: without(...others) },
      new RegExp(`the parameters lack ${others[0]} and ${others.length - 1} others`),
    ],
    [{ parameters: without(bias, bias.replace("0", "1")) }, /lack blocks.0.feed.gate.bias and 1 other /],
    [{ parameters: new Map([...parameters, ["bias", tensor("f32", [1], [0])]]) }, /nothing is named `bias`/],
    [{ parameters: state }, /nothing is named .* it is optimizer state: .*what `parameters\(\)` or `fit` returned/],
    [{ sizes: { ...sizes, D: 4 } }, /f32\[160, 8\].*f32\[160, 4\]/],
    [{ sizes: { ...sizes, B: 2 } }, /B of `generate` follows from the prompts.*`sizes: \{ B: VALUE \}`\) out.*`batch`/],
    [{ tokenizer: words, ids: true }, /`ids: true`.* are two kinds/],
    [{ tokenizer: 5 as never }, /tokenizer is 5.*the path of a tokenizer.json/],
    [{ tokenizer: join(words, "none") }, /none/],
    [{ step: 0.5 }, /the step is 0.5/],
    [{ seed: 0.5 }, /the seed is 0.5/],
    [{ given: ["top_k"] } as object, /given is no option of openModel of a program/],
  ];
  for (const [more, says] of wrong)
    await assertProblem(openModel({ file }, { parameters, sizes, target, ...more }), says);
  const small = await fit({ file }, { ...options, batches: batches(20, 1), sizes: { ...sizes, V: 20 } });
  const tight = { parameters: small, sizes: { ...sizes, V: 20 }, target, tokenizer: words } as const;
  await assertProblem(
    openModel({ file }, tight),
    /the tokenizer's numbers are 0 to 159, and the model's tokens are 0 to 19/,
  );
  const folder = await savedRun(file, parameters, words);
  await assertProblem(
    openModel(folder, { parameters } as OpenOptions),
    /parameters is no option of openModel of a folder/,
  );
  await assertProblem(openModel(undefined, { parameters }), /the model is undefined/);
});
test("a program without `generate` is told how to get it; one that reads `step` is told how many it has had", async () => {
  const { Without, Steps } = moe<"Without" | "Steps">`
    model Without() { forward(tokens: i32[B, T]) -> i32[B, T] { return tokens } }
    model Steps() { generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B]) -> i32[B] { return 0 * at[:, 0] + step } }`;
  const parameters = new Map<string, Tensor>();
  await assertProblem(openModel(Without, { parameters, target }), /has no method `generate`.*generate\(tokens/);
  const model = await openModel(Steps, { parameters, target, ids: true, step: 7 });
  assert.equal(await all(model.generate("1", { tokens: 3 })), " 7 7 7");
  await model.close();
});
test.run();
