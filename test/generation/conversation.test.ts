// Conversations with a trained model: what is read again and what is not, and the command.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { suite } from "uvu";
import { linesOf } from "../../cli/commands/chat.ts";
import type { Outcome, RunContext, Tensor } from "../../runtime/executable/executable.ts";
import type { OpenedModel } from "../../runtime/generation/compile-generate.ts";
import { Conversation, openConversation } from "../../runtime/generation/conversation.ts";
import { fit, type Message, openModel } from "../../runtime/index.ts";
import { type ChatTemplate, codecs } from "../../runtime/tokens.ts";
import { main } from "../command.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { batches, lmFile, savedRun, words } from "./lm-run.ts";
import { Memory } from "./memory.ts";
import { all, assertProblem } from "./texts.ts";

const test = suite("conversation");
const target = "reference";
const sizes = { V: 160, D: 8 };

/** The folder of a run whose tokenizer has a chat template. */
async function chatRun(mixing?: string): Promise<string> {
  const file = lmFile(mixing);
  const tokenizer = join(temporaryFolder(), "words");
  cpSync(words, tokenizer, { recursive: true });
  const says = "{% for m in messages %}{{ m.role + ' ' + m.content + ' ' }}{% endfor %}";
  writeFileSync(join(tokenizer, "chat_template.jinja"), `${says}{{ 'assistant' if add_generation_prompt }}`);
  return savedRun(file, await fit({ file }, { batches: batches(sizes.V, 3), sizes, target }), tokenizer);
}
const said = ["the ship", "a whale"];
for (const mixing of ["Attention(D, 2, Context: Context)", "Attention(D, 2, Context: Context, window: 5)", "Mamba(D)"])
  test(`replies by ${mixing} are those to the whole conversation`, async () => {
    const folder = await chatRun(mixing);
    const conversation = await openConversation(folder, { tokens: 3, temperature: 0, target });
    const model = await openModel(folder, { target, batch: 1 });
    const before: Message[] = [];
    for (const content of said) {
      const reply = await all(conversation.say(content));
      before.push({ role: "user", content });
      assert.equal(reply, await all(model.generate(before, { tokens: 3, temperature: 0 })));
      before.push({ role: "assistant", content: reply });
      assert.deepEqual(conversation.messages, before);
      assert.equal(conversation.tokens, 3);
    }
    conversation.restart();
    assert.deepEqual(conversation.messages, []);
    assert.equal(await all(conversation.say(said[0] ?? "")), before[1]?.content);
    await model.close();
    conversation.close();
  });
test("a reply that is stopped, or not read on, stands as far as it was given out", async () => {
  const conversation = await openConversation(await chatRun(), { temperature: 0, target });
  const stopping = new AbortController();
  let reply = "";
  for await (const piece of conversation.say("the ship", stopping.signal)) {
    reply += piece;
    stopping.abort();
  }
  for await (const piece of conversation.say("a")) {
    assert.equal(conversation.messages.at(-1)?.content, reply);
    reply = piece;
    break;
  }
  assert.equal(conversation.messages.at(-1)?.content, reply);
  conversation.close();
});
test("what does not fit any more is refused, and was not said", async () => {
  const conversation = await openConversation(await chatRun(), { tokens: 20, temperature: 0, target });
  await all(conversation.say("the ship"));
  assert.equal(conversation.tokens, 20);
  const { messages } = conversation;
  await assertProblem(all(conversation.say("a whale")), /the conversation has \d+ tokens, and the model 40 positions/);
  assert.deepEqual(conversation.messages, messages);
  conversation.restart();
  assert.notEqual(await all(conversation.say("a whale")), "");
  conversation.close();
  const file = lmFile();
  const parameters = await fit({ file }, { batches: batches(256, 1), sizes: { V: 256, D: 8 }, target });
  await assertProblem(openConversation(await savedRun(file, parameters)), /has no chat template/);
});
const template: ChatTemplate = (messages) => messages.map(({ content }) => content).join(" ");
function talking(executable: Memory, stop: readonly string[] = []): Conversation {
  const { documents } = codecs.bytes;
  const codec = { ...codecs.bytes, documents: documents && { ...documents, template } };
  const model = { executable, codec, sampling: [], context: 99, source: null, step: 0 } as unknown as OpenedModel;
  return new Conversation(model, { tokens: 2, temperature: 0, stop });
}
test("a reply that is stopped before it says anything is an empty one", async () => {
  const reply = await all(talking(new Memory(1)).say("a"));
  const conversation = talking(new Memory(1), [reply.slice(0, 1)]);
  assert.equal(await all(conversation.say("a")), "");
  assert.deepEqual(conversation.messages, [
    { role: "user", content: "a" },
    { role: "assistant", content: "" },
  ]);
});
test("what fills all positions is answered with one token; one token more is refused, and was not said", async () => {
  const full = talking(new Memory(1));
  await all(full.say("a".repeat(99)));
  assert.equal(full.tokens, 1);
  const long = talking(new Memory(1));
  const refused = /the conversation has 100 tokens, and the model 99 positions/;
  await assertProblem(all(long.say("a".repeat(100))), refused);
  assert.deepEqual(long.messages, []);
});
test("each reply is drawn with random numbers of its own", async () => {
  const memory = new Memory(1);
  const run = memory.run.bind(memory);
  const seeds = new Set<number>();
  const seeing = (entry: string, inputs: ReadonlyMap<string, Tensor>, { seed }: RunContext): Promise<Outcome> => {
    seeds.add(seed);
    return run(entry, inputs);
  };
  const conversation = talking(Object.assign(memory, { run: seeing }));
  for (const content of ["a", "b", "c"]) await all(conversation.say(content));
  assert.equal(seeds.size, 3);
});
test("what was asked when a reply failed was not said", async () => {
  const executable = new Memory(1);
  const conversation = talking(executable);
  await all(conversation.say("a"));
  const { messages } = conversation;
  const run = executable.run.bind(executable);
  let [runs, given] = [0, ""];
  executable.run = (...asked) => (runs++ === 0 ? run(...asked) : Promise.reject(new Error("lost")));
  const reply = async (): Promise<void> => {
    for await (const piece of conversation.say("b")) given += piece;
  };
  await assert.rejects(reply, /lost/);
  assert.notEqual(given, "");
  assert.deepEqual(conversation.messages, messages);
  executable.run = run;
  const before = executable.calls.length;
  await all(conversation.say("bc"));
  assert.equal(executable.calls[before]?.at[0]?.[0], 0, "all is read again");
  conversation.close();
});
test("the command answers the lines that are piped in, and /new begins another conversation", async () => {
  const folder = await chatRun();
  const chat = (input: string, ...flags: string[]) => {
    const given = [main, "chat", folder, "--target", target, "--temperature", "0", "--tokens", "3", ...flags];
    return spawnSync(process.execPath, given, { input, encoding: "utf8" });
  };
  const { stdout, stderr, status } = chat("the ship\n\n/new\nthe ship\na whale\n");
  assert.equal(status, 0, stderr);
  const [first, again, other, end] = stdout.split("\n");
  assert.equal(first, again);
  assert.ok(first && other && end === "", stdout);
  const [record, next] = chat("the ship\na whale", "--json")
    .stdout.split("\n")
    .slice(0, 2)
    .map((line) => JSON.parse(line));
  assert.deepEqual([record.text, record.prompt, record.tokens], [first, [{ role: "user", content: "the ship" }], 3]);
  assert.equal(next.prompt.length, 3);
  for (const long of [chat("the ship\n".repeat(9)), chat("the ship", "--system", "the ship ".repeat(9))]) {
    assert.equal(long.status, 1);
    assert.match(long.stderr, /40 positions/);
  }
});
test("on a terminal each key is echoed once, and lines that are pasted are said one after another", async () => {
  const [input, output] = [new PassThrough(), new PassThrough()].map((s) => Object.assign(s, { isTTY: true }));
  assert.ok(input && output);
  const lines = linesOf(input as never, output);
  const said = async (typed: string): Promise<string | void> => {
    input.write(typed);
    return (await lines.next()).value;
  };
  assert.deepEqual(
    [await said("the ship\ra whale\rthe"), await said(""), await said(" sea\r")],
    ["the ship", "a whale", "the sea"],
  );
  let echoed = "";
  output.on("data", (keys) => {
    echoed += keys;
  });
  assert.equal(await said("four\r"), "four");
  assert.equal(echoed.split("four").length, 2);
  assert.equal(await said("\u0004"), undefined);
});

test.run();
