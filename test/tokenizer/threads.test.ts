// A file that is encoded in threads has the tokens, and the errors, that it has on one.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { openTokenizer } from "../../runtime/tokenizer/codec.ts";
import { encodeFile } from "../../runtime/tokenizer/encode-file.ts";
import { readTokenizer } from "../../runtime/tokenizer/file.ts";
import { threadsOf } from "../../runtime/tokenizer/threads.ts";
import { type Bytes, type Codec, joinDocuments } from "../../runtime/tokens.ts";
import { assertProblem } from "../assert-problem.ts";
import { encodingThread } from "../command.ts";
import { project } from "../project.ts";

const test = suite("encoding threads");
const texts = join(project, "test/peers/texts");
const opened = async (name: string, script: URL = encodingThread): Promise<Codec> => {
  const at = join(texts, name);
  return {
    ...(await openTokenizer(at)),
    openThreads: threadsOf({ file: readTokenizer(at), timeLimit: 30_000 }, script),
  };
};
/** As large as a file for three threads, and read in pieces of `most` bytes: characters are cut. */
function bytesOf(text: string | Uint8Array, most = 4999): Bytes {
  const bytes = Buffer.from(text);
  const pieces = function* (): Generator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += most) yield bytes.subarray(at, at + most);
  };
  return { length: 3 << 23, pieces };
}
async function encode(
  codec: Codec,
  file: Bytes,
  threads: number,
  path = "a.txt",
): Promise<{ tokens: number[]; starts: number[] }> {
  const parts = [];
  for await (const part of encodeFile(codec, file, path, { threads })) parts.push(part);
  const { tokens, starts } = joinDocuments(parts);
  return { tokens: [...tokens], starts: [...starts] };
}
const words = "Call me Ishmael. 12 of\r\nthem\twere né 🐳中文 שלום<|end|> \u0301e'll  \n\n ΑΣ ".split(/(?<= )/);
const prose = Array.from({ length: 9000 }, (_, i) => words[(i * i + (i >> 3)) % words.length]).join("");

for (const name of readdirSync(texts))
  test(`${name}: a text, and lines, on any number of threads`, async () => {
    const codec = await opened(name);
    const text = name === "merged" ? prose.slice(0, 9000) : prose; // nothing shows where it may be cut
    const whole = await encode(codec, bytesOf(text), 1);
    const plain = codec.encode(text);
    assert.deepEqual(whole.tokens.slice(0, plain.length), plain);
    assert.deepEqual(whole.starts, [0]);
    for (const threads of [2, 3]) assert.deepEqual(await encode(codec, bytesOf(text, 70_001), threads), whole);
    const lines = Array.from({ length: 700 }, (_, i) => {
      const prompt = text.slice(i, i + (i % 200));
      return JSON.stringify(i % 3 ? { text: `${prompt} them\n` } : { prompt, completion: "é" });
    });
    const documents = await encode(codec, bytesOf(lines.join("\r\n")), 1, "a.jsonl");
    assert.equal(documents.starts.length, lines.length);
    assert.deepEqual(await encode(codec, bytesOf(`${lines.join("\n")}\n`, 777), 3, "a.jsonl"), documents);
  });
test("the first error of the file is told, with the line's number", async () => {
  const codec = await opened("gpt2");
  const line = `${JSON.stringify({ text: "a whale ".repeat(99) })}\n`;
  const wrong = bytesOf(`${line.repeat(500)}{"txt": 1}\n${line.repeat(5)}{}\n${line.repeat(200)}\xff`);
  for (const threads of [1, 3])
    await assertProblem(() => encode(codec, wrong, threads, "a.jsonl"), "a.jsonl, line 501: text", "completion");
  const latin = bytesOf(Buffer.concat([Buffer.from(prose), Buffer.of(0xff), Buffer.from(prose)]));
  for (const threads of [1, 3]) await assertProblem(() => encode(codec, latin, threads), "a.txt is not UTF-8", "iconv");
});
test("a thread that throws, or ends, ends the encoding", async () => {
  for (const [script, says] of [
    ["throw new Error('no memory')", /no memory/],
    ["process.exit(3)", /ended with 3/],
  ] as const) {
    const codec = await opened("gpt2", new URL(`data:text/javascript,${encodeURIComponent(script)}`));
    await assert.rejects(encode(codec, bytesOf(prose), 2), says);
  }
});
test.run();
