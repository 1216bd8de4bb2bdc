// A trained model in TypeScript: texts that come and go while others are written, on an Executable that counts and on an imported model.
import assert from "node:assert/strict";
import { once } from "node:events";
import { cpSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { suite } from "uvu";
import { Problem } from "../compiler/diagnostic.ts";
import { serve } from "../examples/serve.ts";
import type { Executable, Outcome, RunContext, Tensor } from "../runtime/executable.ts";
import type { OpenedModel } from "../runtime/generation/compile-generate.ts";
import { generate } from "../runtime/generation/generate.ts";
import { TextModel } from "../runtime/generation/text-model.ts";
import { importModel } from "../runtime/import/import-model.ts";
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
} from "../runtime/index.ts";
import { copyProgram, readProgram } from "../runtime/program.ts";
import { writeCheckpoint } from "../runtime/storage/checkpoint.ts";
import { writeConfig } from "../runtime/storage/run-folder.ts";
import { allInMemory } from "../runtime/storage/stored-tensor.ts";
import { fromNumbers } from "../runtime/tensor.ts";
import { copyTokenizerFiles, selectCodec } from "../runtime/tokenizer/select-codec.ts";
import { type ChatTemplate, codecs, type Prompt } from "../runtime/tokens.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const test = suite("text-model");

/** The next token is one more than the last, from a to z; `busy`: how many rows each call had; `numbers`: what keyed its random numbers. */
class Alphabet implements Executable {
  readonly stores = [];
  readonly bytes = null;
  readonly entries = ["generate:1", "generate:8"];
  readonly busy: number[] = [];
  readonly numbers: number[] = [];
  milliseconds = 1;
  failing: Error | null = null;
  closed = 0;
  read = (): Tensor => fromNumbers("i32", [0], []);
  write(): void {}
  close(): void {
    this.closed += 1;
  }
  async run(_: string, inputs: ReadonlyMap<string, Tensor>, { call }: RunContext): Promise<Outcome> {
    await new Promise((done) => setTimeout(done, this.milliseconds));
    this.numbers.push(call);
    if (this.failing) throw this.failing;
    const { shape: [rows = 0, T = 0] = [], data: at = [] } = inputs.get("at") ?? {};
    const newest = Array.from({ length: rows }, (_, r) =>
      Array.from(at.slice(r * T, (r + 1) * T)).findLastIndex((p) => p >= 0),
    );
    this.busy.push(newest.filter((t) => t >= 0).length);
    const tokens = inputs.get("tokens")?.data ?? [];
    const next = newest.map((t, r) => (t < 0 ? 0 : 97 + ((Number(tokens[r * T + t]) - 96) % 26)));
    return { outputs: [fromNumbers("i32", [rows], next)], losses: new Map(), metrics: new Map(), gradients: new Map() };
  }
}
function alphabet(batch: number, more: Partial<OpenedModel> = {}) {
  const executable = new Alphabet();
  const report = { timings: {}, choices: {} } as unknown as OpenedModel["report"];
  const model = {
    executable,
    report,
    codec: codecs.bytes,
    sampling: [],
    context: 40,
    vocabulary: 256,
    step: 0,
    ...more,
  };
  return { executable, model: new TextModel(model, batch, 0) };
}
async function all(pieces: AsyncIterable<string>): Promise<string> {
  let text = "";
  for await (const piece of pieces) text += piece;
  return text;
}
async function assertProblem(made: Promise<unknown>, says: RegExp): Promise<void> {
  await assert.rejects(made, (e: unknown) => e instanceof Problem && says.test(`${e.message} ${e.help}`));
}

test("texts that are asked for while others are written join them, and wait where there is no place", async () => {
  const { model, executable } = alphabet(2);
  const long = model.generate("a", { tokens: 30 });
  assert.equal((await long.next()).value, "b");
  const others = ["x", "mm", "k", "f"].map((prompt) => all(model.generate(prompt, { tokens: 3 })));
  assert.deepEqual(await Promise.all(others), ["yza", "nop", "lmn", "ghi"]);
  assert.equal(await all(long), "cdefghijklmnopqrstuvwxyzabcde");
  assert.equal(Math.max(...executable.busy), 2);
  assert.equal(
    executable.busy.reduce((a, b) => a + b, 0),
    30 + 4 * 3,
  );
  await model.close();
});
const template: ChatTemplate = (messages, opens) => messages.map((m) => m.content).join("") + (opens ? "k" : "?");
test("a conversation is answered after what its template makes of it", async () => {
  const { documents } = codecs.bytes;
  const { model } = alphabet(1, { codec: { ...codecs.bytes, documents: documents && { ...documents, template } } });
  assert.equal(await all(model.generate([{ role: "user", content: "c" }], { tokens: 3 })), "lmn");
  await model.close();
});
test("who stops reading, or aborts, gives the place up; the others write on", async () => {
  const { model, executable } = alphabet(1);
  for await (const piece of model.generate("a", { tokens: 40 })) if (piece === "d") break;
  const aborting = new AbortController();
  let text = "";
  for await (const piece of model.generate("f", { tokens: 40, signal: aborting.signal })) {
    text += piece;
    if (text === "gh") aborting.abort();
  }
  assert.match(text, /^ghi?$/);
  assert.equal(await all(model.generate("f", { signal: AbortSignal.abort() })), "");
  assert.equal(await all(model.generate("q", { tokens: 2 })), "rs");
  assert.ok(executable.busy.length < 20);
  // one that waits, too
  const first = model.generate("a", { tokens: 20 });
  await first.next();
  const waits = new AbortController();
  const second = all(model.generate("b", { signal: waits.signal }));
  waits.abort();
  assert.equal(await second, "");
  assert.equal((await all(first)).length, 19);
  await model.close();
});
test("a text that is asked for when the one before has ended begins with the chance that one began with", async () => {
  for (const endToken of [null, 100]) {
    const { model, executable } = alphabet(2, { codec: { ...codecs.bytes, endToken } });
    executable.milliseconds = 20; // more than a signal may wait
    for (const _ of [1, 2, 3]) assert.match(await all(model.generate("a", { tokens: 3 })), /^bcd?$/);
    assert.deepEqual(executable.numbers, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    await model.close();
  }
});
test("a text ends at its end, which is not given out, unless it is to go on", async () => {
  const { model } = alphabet(3, { codec: { ...codecs.bytes, endToken: 101 } });
  assert.equal(await all(model.generate("a", { tokens: 8 })), "bcd");
  assert.equal(await all(model.generate("a", { tokens: 8, pastEnd: true })), "bcdefghi");
  const numbers: number[] = [];
  for await (const token of model.tokens(Int32Array.of(98), { tokens: 9 })) numbers.push(token);
  assert.deepEqual(numbers, [99, 100]);
  await model.close();
});
test("a prompt in token numbers is the asker's own again at once, though its text waits", async () => {
  const { model } = alphabet(1);
  const first = model.generate("a", { tokens: 9 });
  await first.next();
  const prompt = [98];
  const waits = model.tokens(prompt, { tokens: 1 });
  const next = waits.next();
  prompt[0] = 110;
  await all(first);
  assert.deepEqual(await next, { done: false, value: 99 });
  await model.close();
});
test("what fails ends all texts, and the next one is written; closing ends them quietly", async () => {
  const { model, executable } = alphabet(1);
  executable.failing = new Problem("no memory", "take less");
  const failed = ["a", "b"].map((prompt) => assertProblem(all(model.generate(prompt)), /no memory/));
  await Promise.all(failed);
  executable.failing = null;
  assert.equal(await all(model.generate("a", { tokens: 2 })), "bc");
  const open = ["a", "b"].map((prompt) => model.generate(prompt, { tokens: 40 }));
  assert.equal((await open[0]?.next())?.value, "b");
  const rests = open.map((text) => all(text));
  await Promise.all([model.close(), model.close()]);
  assert.ok((await Promise.all(rests)).every((text) => text.length < 39));
  assert.equal(executable.closed, 1);
  await assertProblem(all(model.generate("a")), /the model is closed/);
});
test("what is asked for wrongly is said, and takes no place", async () => {
  const { model, executable } = alphabet(1, { sampling: ["top_k"], vocabulary: 120 });
  const wrong: [unknown, AskOptions | undefined, RegExp][] = [
    [5, {}, /the prompt is 5/],
    ["a", { tokens: 0 }, /option tokens is 0.*from 1/],
    ["a", { temperature: -1 }, /temperature is -1/],
    ["a", { topP: 2 }, /topP is 2.*from 0 to 1/],
    ["a", { topP: 0.5 }, /takes no `top_p`.*leave `--top-p P` \(in TypeScript `topP`\) out/],
    ["a", { tokens: 60 }, /the model has 40 positions/],
    ["z", {}, /token 122/],
    ["a", { pastEnd: 1 as never }, /pastEnd is 1/],
  ];
  for (const [prompt, options, says] of wrong)
    await assertProblem(all(model.generate(prompt as string, options)), says);
  for (const prompt of [[], [1.5], [-1], "ab", 7])
    await assertProblem(model.tokens(prompt as never).next(), /the prompt/);
  assert.deepEqual(executable.busy, []);
  await model.close();
  await assertProblem(openModel(7 as never), /the model is 7 give the folder/);
  await assertProblem(openModel(temporaryFolder(), { batch: 0 }), /batch is 0/);
  await assertProblem(
    openModel("a/model.moe", { parameters: new Map() } as OpenOptions),
    /a program.*\{ file: "a\/model.moe" \}/,
  );
  await assertProblem(openModel(temporaryFolder()), /config\.json/);
});

const hf = join(import.meta.dirname, "peers", "hf", "qwen3_moe");
test("a model without `generate` is told how to get it", async () => {
  const out = join(temporaryFolder(), "run");
  await importModel({ folder: hf, out, context: 32 });
  writeFileSync(
    join(out, "model.moe"),
    "model Imported() { forward(tokens: i32[B, T]) -> i32[B, T] { return tokens } }",
  );
  const says = /has no method `generate`.*add it there, and to your program if that is a run's copy: generate\(tokens/s;
  await assertProblem(openModel(out, { ids: true }), says);
});

test("an imported model: alone, together and by the command a text is the same; chance too, alone", async () => {
  const out = join(temporaryFolder(), "run");
  await importModel({ folder: hf, out, context: 32 });
  const prompts = ["5 6", "7", "1 2 3 4 5 6 7 8 9", "39 0"];
  const wanted = prompts.map(() => "");
  for await (const { prompt, text } of generate({ folder: out, prompts, tokens: 9, temperature: 0, ids: true }))
    wanted[prompt] += text;
  const model = await openModel(out, { ids: true, batch: 3 });
  const write = (prompt: string, options: AskOptions): Promise<string> =>
    all(model.generate(prompt, { tokens: 9, temperature: 0, ...options }));
  assert.deepEqual(await Promise.all(prompts.map((prompt) => write(prompt, {}))), wanted);
  for (const [i, prompt] of prompts.entries()) assert.equal(await write(prompt, {}), wanted[i]);
  assert.equal(await write("5 6", { temperature: 1, topK: 1 }), wanted[0]);
  const drawn = await write("5 6", { temperature: 2 });
  assert.equal(await write("5 6", { temperature: 2 }), drawn);
  assert.notEqual(drawn, wanted[0]);

  const server = serve(model).listen(0, "localhost");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const answers = prompts.slice(0, 2).map(async (prompt) => {
    const answer = await fetch(`http://localhost:${port}/?prompt=${encodeURIComponent(prompt)}`);
    return answer.text();
  });
  for (const text of await Promise.all(answers)) assert.match(text, /^( \d+)+$/);
  const refused = await fetch(`http://localhost:${port}/?prompt=Call`);
  assert.deepEqual([refused.status, await refused.text()], [400, "`Call` is not a token number\n"]);
  const odd = await fetch(`http://localhost:${port}//?prompt=7`); // a path that is no path of a URL
  assert.match(await odd.text(), /^( \d+)+$/);
  server.close();
  await model.close();
});

/** `second` is for training only, and the gates have states. */
const lm = `
  import { Embedding, Linear, RmsNorm, SwiGlu } from "std/nn"
  import { Attention } from "std/attention"
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
const target = "reference";
const words = join(import.meta.dirname, "peers", "texts", "words");
/** The path of `lm` in a file. */
function lmFile(): string {
  const path = join(temporaryFolder(), "lm.moe");
  writeFileSync(path, lm);
  return path;
}
/** Tokens of which each follows from the last, so that a few steps teach which. */
function* batches(V: number, steps: number): Generator<{ tokens: Tensor; targets: Tensor }> {
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
async function savedRun(file: string, parameters: ReadonlyMap<string, Tensor>, tokenizer?: string): Promise<string> {
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
