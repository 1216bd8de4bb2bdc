// A trained model in TypeScript: texts that come and go while others are written, on an Executable that counts and on an imported model.
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { suite } from "uvu";
import { Problem } from "../../compiler/diagnostic.ts";
import { serve } from "../../examples/serve.ts";
import type { Executable, Outcome, RunContext, Tensor } from "../../runtime/executable/executable.ts";
import type { OpenedModel } from "../../runtime/generation/compile-generate.ts";
import { generate } from "../../runtime/generation/generate.ts";
import { TextModel } from "../../runtime/generation/text-model.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { type AskOptions, type OpenOptions, openModel } from "../../runtime/index.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import { type ChatTemplate, codecs } from "../../runtime/tokens.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { all, assertProblem } from "./texts.ts";

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
  running = 0;
  closed = 0;
  read = (): Tensor => fromNumbers("i32", [0], []);
  write(): void {}
  close(): void {
    assert.equal(this.running, 0);
    this.closed += 1;
  }
  async run(_: string, inputs: ReadonlyMap<string, Tensor>, { call }: RunContext): Promise<Outcome> {
    this.running += 1;
    await new Promise((done) => setTimeout(done, this.milliseconds));
    this.running -= 1;
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
    source: null,
    vocabulary: 256,
    step: 0,
    ...more,
  };
  return { executable, model: new TextModel(model, batch, 0) };
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
  const longest = { role: "user", content: "c".repeat(39) }; // with what opens the reply as many as there are positions
  assert.equal(await all(model.generate([longest])), "l");
  const longer = { role: "user", content: "c".repeat(40) };
  await assertProblem(
    all(model.generate([longer])),
    /40 positions, and a prompt of 41 tokens with 1 more does not fit/,
  );
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
test("one signal ends any number of texts, without a warning of listeners", async () => {
  const { model } = alphabet(2);
  const warnings: Error[] = [];
  const warned = (warning: Error): void => void warnings.push(warning);
  process.on("warning", warned);
  const stop = new AbortController();
  const texts = Array.from({ length: 12 }, () => all(model.generate("a", { signal: stop.signal })));
  await new Promise((done) => setTimeout(done, 5));
  stop.abort();
  assert.deepEqual((await Promise.all(texts)).slice(2), Array(10).fill(""));
  process.off("warning", warned);
  assert.deepEqual(warnings, []);
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
    ["a", { targetLanguage: "fra_Latn" }, /has no encoder.*leave the languages out/],
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

const hf = join(project, "test/peers/hf/qwen3_moe");
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
  const how = { batch: 3, tokens: 9, temperature: 0, ids: true }; // as many rows as below, for the same kernels
  for await (const { prompt, text } of generate({ folder: out, prompts, ...how })) wanted[prompt] += text;
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

test.run();
