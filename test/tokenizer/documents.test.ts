// Documents of JSON lines, and conversations, beside the texts and offsets of Python's transformers. How those were made: scripts/peers/chats.py.

import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TokenText } from "../../runtime/storage/token-text.ts";
import { encodePrompt } from "../../runtime/tokenizer/chat.ts";
import { openTokenizer } from "../../runtime/tokenizer/codec.ts";
import { type Codec, codecs, type Message, tokenOf } from "../../runtime/tokens.ts";
import {
  evaluationBatches,
  opening,
  readDataset,
  requireEnough,
  requireKnown,
  trainingBatch,
} from "../../runtime/training/data.ts";
import { evaluate } from "../../runtime/training/evaluate.ts";
import { assertProblem, rejectedProblem } from "../assert-problem.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { last, losses, small } from "../training-runs.ts";
import { encoded as encodedBytes } from "./encoded.ts";

const test = suite("documents");
const peers = join(project, "test/peers");
interface Chats {
  readonly tokens: Readonly<Record<string, string>>;
  readonly templates: Readonly<Record<string, string>>;
  readonly cases: readonly {
    readonly template: string;
    readonly messages: readonly Message[];
    readonly prompt: string;
    readonly tokens: Readonly<Record<string, readonly (readonly number[])[]>>;
  }[];
}
const chats = JSON.parse(readFileSync(join(peers, "chats.json"), "utf8")) as Chats;
const folder = temporaryFolder();

/** A folder with one of the tiny tokenizers and a chat template, in the one place or the other. */
function withTemplate(name: string, template: string | undefined, place: "config" | "named" | "file"): string {
  const at = join(
    folder,
    `${name}-${Object.keys(chats.templates).find((t) => chats.templates[t] === template)}-${place}`,
  );
  mkdirSync(at, { recursive: true });
  copyFileSync(join(peers, "texts", name, "tokenizer.json"), join(at, "tokenizer.json"));
  const named = [
    { name: "tool_use", template: "no" },
    { name: "default", template },
  ];
  const { eos_token: content } = chats.tokens;
  const inConfig = place === "file" ? "{{ 'the file goes first' }}" : place === "named" ? named : template;
  const config = { ...chats.tokens, eos_token: { content }, add_bos_token: true, chat_template: inConfig };
  writeFileSync(join(at, "tokenizer_config.json"), JSON.stringify(config));
  if (place === "file" && template) writeFileSync(join(at, "chat_template.jinja"), template);
  return at;
}
const places = ["config", "named", "file"] as const;
const encoded = async (codec: Codec, lines: string, path = "a.jsonl"): Promise<number[]> => [
  ...(await encodedBytes(codec, new TextEncoder().encode(lines), path)),
];

for (const name of ["gpt2", "llama"])
  test(`${name}: conversations are the tokens of Python's text, and the loss counts the replies'`, async () => {
    for (const [i, { template, messages, prompt, tokens }] of chats.cases.entries()) {
      const place = places[i % places.length] ?? "config";
      const codec = await openTokenizer(withTemplate(name, chats.templates[template], place));
      assert.equal(await encoded(codec, JSON.stringify({ messages, id: i })), tokens[name]?.flat(), `${template} ${i}`);
      assert.equal(encodePrompt(codec, messages.slice(0, -1)), codec.documents?.encode(prompt, ""), `${template} ${i}`);
    }
  });
const unseen = (tokens: readonly number[]): number[] => tokens.map((t) => ~t);
test("of a prompt and its completion the loss counts the completion, of a text all", async () => {
  const codec = await openTokenizer(withTemplate("gpt2", undefined, "config"));
  const [end] = codec.encode("<|end|>").slice(1);
  const own = (text: string): readonly number[] => codec.documents?.encode(text, "") ?? [];
  const lines = '{"prompt": "Call me", "completion": " Ishmael."}\n\n  \r\n{"text": "Some years"}\n';
  const ids = [...unseen([end ?? -1]), ...unseen(own("Call me")), ...own(" Ishmael."), end];
  assert.equal(await encoded(codec, lines), [...ids, end, ...own("Some years"), end]);
  const bytes = unseen([...new TextEncoder().encode("né=")]);
  assert.equal(await encoded(codecs.bytes, '{"prompt": "né=", "completion": "4"}', "A.NDJSON"), [...bytes, 52, 10]);
  assert.equal(await encoded(codecs.bytes, '{"text": ""}', "a.jsonl"), [10]);
  assert.equal(
    await encoded(codecs.bytes, '{"text": ""}', "a.json"),
    [...new TextEncoder().encode('{"text": ""}')],
    "a text",
  );
});
test("a token that begins in the prompt and ends in the completion counts", async () => {
  const codec = await openTokenizer(withTemplate("gpt2", undefined, "config"));
  const whole = codec.documents?.encode("some years", "") ?? [];
  const cut = (await encoded(codec, '{"prompt": "some yea", "completion": "rs"}')).slice(1, -1);
  assert.equal(cut.map(tokenOf), whole);
  const before = codec.documents?.encode("some yea", "") ?? [];
  const same = whole.findIndex((t, i) => t !== before[i]);
  assert.ok(same < before.length, "the cut is inside a token");
  assert.equal(
    cut.findIndex((t) => t >= 0),
    same,
  );
});
test("many lines are encoded like each alone, with progress", async () => {
  const lines = Array.from({ length: 4000 }, (_, i) =>
    JSON.stringify({ prompt: `${i} `.repeat(i % 30), completion: "é" }),
  );
  const all = new TextEncoder().encode(lines.join("\n"));
  const told: number[] = [];
  const alone: number[] = [];
  for (const line of lines) alone.push(...(await encoded(codecs.bytes, line)));
  const found = await encodedBytes(codecs.bytes, all, "a.jsonl", { encoding: (done, of) => told.push(done / of) });
  assert.equal([...found], alone);
  const says = `a.jsonl, line ${lines.length + 1} is not a JSON object`;
  assert.is((await rejectedProblem(() => encoded(codecs.bytes, `${lines.join("\n")}\nno`))).message, says);
  assert.ok(
    told.length > 3 && told[0] === 0 && told.every((done, i) => done < 1 && (i === 0 || done > (told[i - 1] ?? 1))),
  );
});

const messages = [{ role: "user", content: "Who?" }];
const replies = (...roles: string[]): string =>
  JSON.stringify({ messages: roles.map((role) => ({ role, content: "a" })) });
const wrong: readonly [lines: string, message: string, help: string][] = [
  ['{"text": "a"}\nno', "a.jsonl, line 2 is not a JSON object", "messages"],
  ['\n\n["a"]', "line 3 is not a JSON object", "completion"],
  ['{"prompt": "a"}', "line 1: completion", "completion"],
  ['{"txt": "a"}', "line 1: text", "text"],
  ['{"messages": [{"role": "user"}]}', "messages.0.content", "content"],
  [JSON.stringify({ messages }), "line 1 is a conversation", "--tokenizer"],
];
test("a wrong line is named, with what lines may be", async () => {
  for (const [lines, message, help] of wrong) await assertProblem(() => encoded(codecs.bytes, lines), message, help);
  await assertProblem(
    () => encodedBytes(codecs.bytes, Uint8Array.of(0x22, 0xff), "a.jsonl"),
    "a.jsonl is not UTF-8",
    "iconv",
  );
  await assertProblem(() => encoded(codecs.ids, '{"text": "5"}'), "documents, not token numbers", "--ids");
  await assertProblem(() => encodePrompt(codecs.bytes, messages), "the prompt is a conversation", "--tokenizer");
  await assertProblem(() => encodePrompt(codecs.ids, messages), "the model's tokens are numbers", "5 12 7");
  const inst = await openTokenizer(withTemplate("gpt2", chats.templates["inst"], "config"));
  await assertProblem(
    () => encoded(inst, replies("user", "user", "assistant")),
    "roles must alternate",
    "plain prompt",
  );
  await assertProblem(
    () => encoded(inst, replies("user")),
    "line 1 has no message of the assistant",
    "leave the line out",
  );
  for (const [template, says, help] of [
    [
      "{% for m in messages %}{{ m.content }}{% endfor %}{{ 'assistant: ' if add_generation_prompt }}",
      "otherwise than",
      "completion",
    ],
    ["{% for m in messages %}", "fails", "plain prompt"],
    ["{% for i in range(100000000) %}{% for j in range(100000000) %}{% endfor %}{% endfor %}", "no end after", "--ids"],
  ] as const) {
    const at = join(folder, says.split(" ").join("-"));
    mkdirSync(at);
    copyFileSync(join(peers, "texts", "gpt2", "tokenizer.json"), join(at, "tokenizer.json"));
    writeFileSync(join(at, "chat_template.jinja"), template);
    const codec = await openTokenizer(at, says === "no end after" ? 300 : undefined);
    await assertProblem(() => encoded(codec, replies("user", "assistant")), says, help);
  }
});

/** Sums: a prompt of two digits, and what they are together. */
const sums = Array.from({ length: 300 }, (_, i) => {
  const [a, b] = [i % 5, Math.floor(i / 5) % 5];
  return JSON.stringify({ prompt: `${a}+${b}=`, completion: String(a + b) });
}).join("\n");
test("what the loss does not count is no target, in training and in evaluation", async () => {
  const data = join(folder, "sums.jsonl");
  writeFileSync(data, sums);
  const text = await readDataset([data], codecs.bytes, {}, null);
  const plain = Int32Array.from(text.all.read(), tokenOf);
  assert.is(String.fromCharCode(...plain.subarray(0, 12)), "0+0=0\n1+0=1\n");
  const [B, T] = [3, 20];
  for (const batch of [trainingBatch(text, B, T, 7), ...evaluationBatches(text.all, B, T)]) {
    let count = 0;
    for (let i = 0; i < B * T; i++) {
      const [token, target] = [batch.tokens.data[i] ?? -1, batch.targets.data[i] ?? -2];
      const counts = token === "=".charCodeAt(0) || (i % T > 0 && batch.tokens.data[i - 1] === "=".charCodeAt(0));
      if (counts && target >= 0) count += 1;
      if (i % T > 0) assert.ok(counts || target === -1, `${i}: ${token} ${target}`);
    }
    assert.ok(Math.abs(batch.count - count) <= B, "all but what follows the cuts of rows");
  }
  assert.equal(
    opening({ ...text, training: new TokenText([Int32Array.of(65, ~10, 66)]) }),
    [10],
    "what is read is known, too",
  );
  requireKnown(text, 62);
  assert.throws(() => requireKnown(text, 61), "holds the token 61");
  writeFileSync(data, `${'{"text": ""}\n'.repeat(20)}${JSON.stringify({ prompt: "a".repeat(400), completion: "" })}`);
  const unheard = {
    ...(await readDataset([data], codecs.bytes, {}, null)),
    heldOut: new TokenText([Int32Array.of(~1, ~2, ~3)]),
  };
  assert.throws(() => requireEnough(unheard, 2, 4), "nothing of the held-out 3 bytes");
});
test("a run of documents is trained and evaluated on completions, and answers prompts of messages", async () => {
  const [data, out, program] = ["more.jsonl", "run", "small.moe"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(data, sums);
  writeFileSync(program, small(300, 8));
  const tokenizer = withTemplate("gpt2", chats.templates["chatml"], "file");
  const options = {
    program,
    data: [data],
    out,
    tokenizer,
    steps: 4,
    batch: 4,
    length: 16,
    target: "reference",
  } as const;
  const all = await losses(options);
  assert.ok(all.every(Number.isFinite));
  const text = await readDataset([data], await openTokenizer(out), {}, null);
  const found = await evaluate({ folder: out, data: [data], target: "reference" });
  assert.is(found.targets, [...text.all.read(1)].filter((t) => t >= 0).length);
  assert.is(found.bitsPerByte, undefined);
  assert.ok((found.perplexity ?? 0) > 1);
  assert.is(last(out).state.tokenizer, "tokenizer");
});
test.run();
