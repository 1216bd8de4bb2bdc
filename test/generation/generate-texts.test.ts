// Where texts begin and end: prompts of a file, and texts that stop a text, in any pieces, any batch, and by the command.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { generate, type RunGenerateOptions } from "../../runtime/generation/generate.ts";
import { StopTexts, stopTextsOf } from "../../runtime/generation/stop-texts.ts";
import { openModel } from "../../runtime/index.ts";
import { lcg } from "../../runtime/measure/lcg.ts";
import { conversationOf, readPrompts } from "../../runtime/tokenizer/prompts.ts";
import { codecs } from "../../runtime/tokens.ts";
import { problem } from "../assert-problem.ts";
import { command } from "../command.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { losses } from "../training-runs.ts";
import { all } from "./texts.ts";

const test = suite("generate-texts");
const root = temporaryFolder();

test("a text ends before the first of its stop texts, in whatever pieces it comes; no more is held back than may begin one", () => {
  const next = lcg(7);
  const below = (n: number): number => Math.floor(next() * n);
  const word = (length: number): string => Array.from({ length }, () => "ab"[below(2)]).join("");
  for (let i = 0; i < 3000; i++) {
    const stops = Array.from({ length: below(4) }, () => word(1 + below(4)));
    const text = word(below(12));
    const until = new StopTexts(stops);
    let [made, given, ended] = ["", "", false];
    while (given.length < text.length && !ended) {
      const piece = text.slice(given.length, given.length + 1 + below(3));
      given += piece;
      const { text: more, ends } = until.push(piece);
      made += more;
      ended = ends;
      const cut = Math.min(...stops.map((stop) => given.indexOf(stop)).filter((at) => at >= 0));
      const open = Array.from(given, (_, at) => at).find((at) =>
        stops.some((stop) => stop.startsWith(given.slice(at))),
      );
      assert.equal(ended, cut < Number.POSITIVE_INFINITY, [given, ...stops].join(" "));
      assert.equal(made, given.slice(0, ended ? cut : open), [given, ...stops].join(" "));
    }
    if (!ended) assert.equal(made + until.rest(), text);
  }
});

/** What is written of these token numbers until they say one of the stops. */
function numbersUntil(stops: string[], tokens: number[]): string {
  const [until, decoder] = [stopTextsOf(codecs.ids, stops), codecs.ids.decoder([])];
  let made = "";
  for (const token of tokens) {
    const { text, ends } = until.push(decoder.push(token));
    made += text;
    if (ends) return made;
  }
  return made + until.rest();
}
test("of token numbers, whole ones stop a text", () => {
  assert.equal(numbersUntil(["5"], [57, 15, 5, 1]), " 57 15");
  assert.equal(numbersUntil(["9", "5, 12"], [5, 5, 123, 5, 12, 1]), " 5 5 123");
  assert.equal(numbersUntil(["5 12 7"], [3, 5, 12]), " 3 5 12");
  assert.match(problem(() => stopTextsOf(codecs.ids, ["Q:"])).message, /`Q:` is not a token number/);
});

const out = join(root, "run");
const how = { folder: out, target: "reference", temperature: 0, tokens: 16 } as const;
async function written(options: Partial<RunGenerateOptions>): Promise<{ text: string; tokens: number }[]> {
  const texts = (options.prompts ?? [""]).map(() => ({ text: "", tokens: 0, ended: false }));
  for await (const { prompt, text, tokens, last } of generate({ ...how, ...options })) {
    const made = texts[prompt] ?? assert.fail();
    assert.ok(!made.ended, "nothing comes after the last piece");
    Object.assign(made, { text: made.text + text, tokens, ended: last });
  }
  return texts.map(({ text, tokens, ended }) => (assert.ok(ended), { text, tokens }));
}
test.before(async () => {
  const data = join(root, "text");
  writeFileSync(data, "Call me Ishmael. Some years ago, never mind how long precisely. ".repeat(30));
  const set = { D: 16, H: 16, L: 1, Heads: 2, E: 2, K: 1, Context: 96 };
  const training = { program: "examples/gpt-moe.moe", data: [data], set, batch: 2, length: 32, steps: 30, out };
  await losses(training);
});
const prompts = ["Call", "me", "Some ye", "ago", "how l"];
test("texts stop in any batch, where the next one begins; what they are is cut from the whole ones", async () => {
  const whole = await written({ prompts });
  const stop = [whole[0]?.text.slice(5, 8) ?? "", whole[2]?.text.slice(11, 13) ?? "", "not said"];
  const cut = whole.map(({ text }) => text.slice(0, Math.min(...stop.map((s) => text.indexOf(s) >>> 0))));
  assert.ok(cut.some(({ length }) => length < 16) && stop[0] !== stop[1], JSON.stringify(whole));
  for (const [batch, target] of [
    [1, "reference"],
    [5, "reference"],
    [2, "host"],
  ] as const) {
    const texts = await written({ prompts, stop, batch, target });
    assert.deepEqual(
      texts.map(({ text }) => text),
      cut,
    );
    for (const [i, { tokens }] of texts.entries())
      assert.ok(tokens === 16 || tokens <= (cut[i]?.length ?? 0) + 3, "no token is counted after the end");
  }
  const model = await openModel(out, { target: "reference", batch: 2 });
  const ask = (prompt: string): Promise<string> => all(model.generate(prompt, { tokens: 16, temperature: 0, stop }));
  assert.deepEqual(await Promise.all(prompts.map(ask)), cut);
  const open = [`${whole[1]?.text.at(-1)}not said`];
  assert.deepEqual(await written({ prompts, stop: open }), whole, "what may begin a stop text is given out at the end");
  assert.equal(await all(model.generate("me", { tokens: 16, temperature: 0, stop: open })), whole[1]?.text);
  await assert.rejects(all(model.generate("a", { stop: [""] })), /the option stop is/);
  await assert.rejects(model.tokens([1], { stop: ["a"] } as object).next(), /stop is no option of a text's tokens/);
  await model.close();
});
test("a text begins with the chance of the moment at which the one before stopped, on any target", async () => {
  const drawn = { prompts: prompts.slice(0, 3), temperature: 1, batch: 2 };
  const whole = await written(drawn);
  const stop = [whole[0]?.text.slice(6, 9) ?? ""];
  const cut = await written({ ...drawn, stop });
  assert.equal(cut[0]?.text, whole[0]?.text.slice(0, whole[0].text.indexOf(stop[0] ?? "")));
  assert.ok(!whole[2]?.text.startsWith(cut[2]?.text ?? ""), "it begins with another chance");
  assert.deepEqual(await written({ ...drawn, stop, target: "host" }), cut);
});
test("of prompts that begin alike the later ones are read from there on: other chances, the same likeliest texts", async () => {
  const begins = "Some years ago, never mind how long precisely. Call me Ishmael. Call";
  const asked = { prompts: [`${begins} a`, "me", `${begins} b`], batch: 2 };
  const likeliest = await written(asked);
  assert.deepEqual(await written({ ...asked, prefixes: 1 }), likeliest);
  const [first] = await written({ ...asked, temperature: 1 });
  const drawn = { ...asked, temperature: 1, stop: [first?.text.slice(2, 5) ?? ""] };
  const [anew, kept] = [await written(drawn), await written({ ...drawn, prefixes: 1 })];
  assert.deepEqual(kept.slice(0, 2), anew.slice(0, 2));
  assert.notEqual(kept[2]?.text, anew[2]?.text, "it begins at an earlier call");
});

test("prompts of a file: lines, or documents without their last reply", async () => {
  const [lines, documents] = [join(root, "lines.txt"), join(root, "documents.jsonl")];
  writeFileSync(lines, "one\r\n\n two \n \t\nthree");
  assert.deepEqual(readPrompts(lines), ["one", " two ", "three"]);
  writeFileSync(lines, "\ufeffone"); // as editors of Windows begin a file
  assert.deepEqual(readPrompts(lines), ["one"]);
  writeFileSync(lines, Buffer.from([0x61, 0xe9, 0x0a]));
  assert.match(problem(() => readPrompts(lines)).message, /lines.txt is not UTF-8/);
  const asked = { role: "user", content: "Who?" };
  const replied = { role: "assistant", content: "I." };
  const given = [
    { prompt: "a\nb", completion: "c" },
    { prompt: "d" },
    { messages: [asked, replied, asked, replied] },
    { messages: [asked] },
  ];
  writeFileSync(documents, given.map((line) => JSON.stringify(line)).join("\n\n"));
  assert.deepEqual(readPrompts(documents), ["a\nb", "d", [asked, replied, asked], [asked]]);
  for (const [line, says] of [
    ["{", "line 1 is not a JSON object"],
    ['{"text": "a"}', "prompt"],
    ['{"messages": [{"role": "user"}]}', "messages.0.content"],
    ['{"messages": [{"role": "assistant", "content": "a"}]}', "no message to answer"],
    ["", "has no prompt"],
  ] as const) {
    writeFileSync(documents, line);
    const { message, help } = problem(() => readPrompts(documents));
    assert.ok(message.includes(says) && help.includes('{"prompt": ".."}'), message);
  }
  writeFileSync(lines, "Call\nme\n");
  const flags = ["--target", "reference", "--temperature", "0", "--tokens", "6", "--stop", "q", "--stop", "zz"];
  const { stdout, stderr } = command(["generate", out, "--prompts", lines, ...flags, "--json"]);
  const wanted = await written({ prompts: ["Call", "me"], tokens: 6, stop: ["q", "zz"] });
  const said = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    said.map(({ prompt, text, tokens }) => ({ prompt, text, tokens })),
    wanted.map((text, i) => ({ prompt: ["Call", "me"][i], ...text })),
    stderr,
  );
  const both = command(["generate", out, "--prompts", lines, "--prompt", "a"]);
  assert.match(both.stderr, /'--prompts <file>' cannot be used with option '--prompt <text>'/);
  const nothing = command(["generate", out, "--stop", ""]);
  assert.match(nothing.stderr, /--stop/);
  assert.equal([both.status, nothing.status].join(), "2,2");
});
test("a prompt becomes a conversation, after one message of the system", () => {
  const [system, asked] = [
    { role: "system", content: "Be short." },
    { role: "user", content: "Who?" },
  ];
  assert.deepEqual(conversationOf("Who?"), [asked]);
  assert.deepEqual(conversationOf("Who?", "Be short."), [system, asked]);
  assert.deepEqual(conversationOf([asked, asked], "Be short."), [system, asked, asked]);
  assert.deepEqual(conversationOf([system, asked], "Be long."), [system, asked]);
});
test.run();
