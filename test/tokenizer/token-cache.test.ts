// Encoded texts are kept between runs, and only what is intact and fits the text, the tokenizer and moec is read back.

import * as fs from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { sum } from "../../compiler/types/numbers.ts";
import type { CacheFolder } from "../../runtime/cache/folder.ts";
import { TokenCache, tokenFolder } from "../../runtime/cache/tokens.ts";
import { lcg } from "../../runtime/measure/lcg.ts";
import { sha256 } from "../../runtime/storage/files.ts";
import { bytesInMemory, TokenText } from "../../runtime/storage/token-text.ts";
import { openTokenizer } from "../../runtime/tokenizer/codec.ts";
import { type Codec, codecs, type Encoded, oneDocument } from "../../runtime/tokens.ts";
import { type Dataset, readDataset } from "../../runtime/training/data.ts";
import { assertProblem } from "../assert-problem.ts";
import { command } from "../command.ts";
import { full, withPatchedFs } from "../patch-fs.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { small } from "../training-runs.ts";
import { encoded as tokensOf } from "./encoded.ts";

const test = suite("token cache");
const texts = join(project, "test/peers/texts");
const leastKept = 2 ** 18;
const isSame = (a: Dataset, b: Dataset): boolean => a.hash === b.hash && a.all.read().join() === b.all.read().join();
const pathOf = (folder: CacheFolder): string => folder.pathOf(fs.readdirSync(folder.path)[0] ?? "none");

interface Counted extends Codec {
  /** How many files were encoded. */
  times(): number;
}
/** A codec with the tokens 0, 1, 2, ... for every 1000 bytes. */
function counting(tokenizer = "one"): Counted {
  let times = 0;
  function* encodeText(pieces: Iterable<Uint8Array>): Generator<Encoded> {
    times++;
    const bytes = sum([...pieces].map(({ length }) => length));
    yield oneDocument(Int32Array.from({ length: Math.ceil(bytes / 1000) }, (_, i) => i));
  }
  return { ...codecs.ids, name: "tokenizer", config: { tokenizer }, encodeText, times: () => times };
}
/** What a new cache in `root` makes of a text; `told` are its warnings. */
async function encode(
  root: string,
  codec: Codec,
  text: Uint8Array,
  { compiler = "build", inMemory = true } = {},
): Promise<{ tokens: number[]; told: string }> {
  const told: string[] = [];
  const cache = new TokenCache(compiler, () => tokenFolder(root));
  const how = { warn: (line: string) => told.push(line), inMemory };
  const { tokens } = await cache.encodeFile(codec, bytesInMemory(text), "a.txt", how);
  return { tokens: [...new TokenText([tokens]).read()], told: told.join("\n") };
}
const text = new Uint8Array(leastKept).fill(97);
const expected = [...(await tokensOf(counting(), text))];

test("data has the same tokens without a cache, with an empty one, and with one that holds them", async () => {
  const [root, random] = [temporaryFolder(), lcg(3)];
  const words = "Call me Ishmael. Some years ago - never mind how long; 12 of them\nwere né 🐳".split(" ");
  const files = [0.1, 1.1].map((size, i) => {
    const path = join(root, `${i}.txt`);
    const drawn = Array.from({ length: (size * leastKept) / 4 }, () => words[Math.floor(words.length * random())]);
    fs.writeFileSync(path, drawn.join(" "));
    return path;
  });
  const codec = await openTokenizer(join(texts, "gpt2"));
  const cache = new TokenCache("build", () => tokenFolder(root));
  const encoded: number[] = [];
  const read = (held: TokenCache | null) => readDataset(files, codec, { encoding: (_, of) => encoded.push(of) }, held);
  const plain = await read(null);
  const sizes = files.map((file) => fs.statSync(file).size);
  for (const again of [sizes, sizes.slice(0, 1)]) {
    encoded.length = 0;
    assert.ok(isSame(await read(cache), plain));
    assert.equal([...new Set(encoded)], again, "a short text is encoded each time, a long one once");
  }
  const { length } = await tokensOf(codec, fs.readFileSync(files[1] ?? ""));
  assert.is(tokenFolder(root).stats().bytes, 4 * length + 8 + 64);
});
test("documents and the text of their lines have tokens of their own", async () => {
  const [root, codec] = [temporaryFolder(), await openTokenizer(join(texts, "gpt2"))];
  const lines = Buffer.from('{"prompt": "a", "completion": "b"}\n'.repeat(leastKept / 32));
  const cache = new TokenCache("build", () => tokenFolder(root));
  const read = () =>
    Promise.all(["a.txt", "a.jsonl"].map((path) => cache.encodeFile(codec, bytesInMemory(lines), path, {})));
  const [of, again] = [await read(), await read()];
  assert.equal(
    of.map(({ tokens, starts }) => [new TokenText([tokens]).read().some((token) => token < 0), starts.length]),
    [
      [false, 1],
      [true, leastKept / 32],
    ],
  );
  assert.equal(again, of, "where documents begin is kept too");
  assert.is(tokenFolder(root).stats().files, 2);
});
test("another text, tokenizer or moec has other tokens; token numbers and short texts are not kept", async () => {
  const [root, codec] = [temporaryFolder(), counting()];
  await encode(root, codec, text);
  await encode(root, codec, text);
  assert.is(codec.times(), 1);
  await encode(root, codec, text.with(leastKept - 1, 98));
  await encode(root, codec, text, { compiler: "other build" });
  assert.is(codec.times(), 3);
  const other = counting("two");
  await encode(root, other, text);
  assert.is(other.times(), 1);
  assert.is(tokenFolder(root).stats().files, 4);
  await encode(root, codec, text.subarray(1));
  await encode(root, { ...counting(), config: { ids: true } }, text);
  assert.is(tokenFolder(root).stats().files, 4);
});

test("a file of the format before, which holds tokens alone, is not read", async () => {
  const [root, codec, { node, unicode }] = [temporaryFolder(), counting(), process.versions];
  const tokens = Buffer.from(Int32Array.of(7, 7, 7, 0, 1).buffer);
  const key = ["build", node, unicode, "one", false, sha256([text])];
  tokenFolder(root).write(`${sha256(JSON.stringify(key))}.tokens`, [tokens, Buffer.from(sha256([tokens]))]);
  assert.equal(await encode(root, codec, text), { tokens: expected, told: "" });
  assert.equal([codec.times(), tokenFolder(root).stats().files], [1, 2]);
});

const bytesOf = (path: string, change: (bytes: Buffer) => Uint8Array): void =>
  fs.writeFileSync(path, change(fs.readFileSync(path)));
const flipped = (at: number) => (path: string) =>
  bytesOf(path, (bytes) => bytes.fill((bytes.at(at) ?? 0) ^ 1, at < 0 ? bytes.length + at : at, at + 1 || undefined));
test("a file that is damaged, or that others could have written, is made anew", async () => {
  const root = temporaryFolder();
  const harms: ((path: string) => void)[] = [
    (path) => fs.truncateSync(path, 0),
    (path) => fs.truncateSync(path, 60),
    (path) => bytesOf(path, (bytes) => bytes.subarray(0, -1)),
    (path) => bytesOf(path, (bytes) => bytes.subarray(4)),
    (path) => bytesOf(path, (bytes) => Buffer.concat([bytes, Buffer.alloc(4)])),
    flipped(5),
    flipped(-1),
    (path) => fs.chmodSync(path, 0o620),
    (path) => {
      fs.renameSync(path, join(root, "elsewhere"));
      fs.symlinkSync(join(root, "elsewhere"), path);
    },
  ];
  await encode(root, counting(), text);
  for (const harm of harms) {
    const codec = counting();
    harm(pathOf(tokenFolder(root)));
    for (let i = 0; i < 2; i++) assert.equal(await encode(root, codec, text), { tokens: expected, told: "" });
    assert.is(codec.times(), 1, `${harms.indexOf(harm)}`);
  }
});
const failing = (): never => {
  throw Object.assign(new Error("bad sector"), { code: "EIO" });
};
test("a cache that cannot be written, or read, is told of and ends nothing", async () => {
  const file = join(temporaryFolder(), "file");
  fs.writeFileSync(file, "");
  const ofFile = await encode(file, counting(), text);
  assert.equal(ofFile.tokens, expected);
  assert.match(
    ofFile.told,
    /^the tokens of a\.txt are made anew at the next start: the cache of tokens cannot be kept:/,
  );

  const root = temporaryFolder();
  for (const inMemory of [true, false]) {
    const onFull = await withPatchedFs({ writeSync: full }, () => encode(root, counting(), text, { inMemory }));
    assert.equal(onFull.tokens, expected);
    assert.match(onFull.told, "the disk is full");
    assert.equal(fs.readdirSync(tokenFolder(root).path), []);
  }
  const wrong = text.with(leastKept - 1, 0xff);
  const gpt2 = await openTokenizer(join(texts, "gpt2"));
  await assertProblem(() => encode(root, gpt2, wrong, { inMemory: false }), "is not UTF-8", "iconv");
  assert.equal(fs.readdirSync(tokenFolder(root).path), [], "a half is not kept");

  await encode(root, counting(), text);
  for (const broken of [{ readSync: failing }, { readdirSync: failing, readSync: failing }, { openSync: failing }]) {
    const codec = counting();
    const { tokens } = await withPatchedFs(broken, () => encode(root, codec, text));
    assert.equal([tokens, codec.times()], [expected, 1]);
  }
  fs.rmSync(pathOf(tokenFolder(root)));
  await encode(root, counting(), text);
  const path = pathOf(tokenFolder(root));
  fs.rmSync(path);
  fs.mkdirSync(path);
  const inTheWay = await encode(root, counting(), text);
  assert.equal(inTheWay.tokens, expected);
  assert.match(inTheWay.told, "cannot write");
});
test("the limit is 4 GiB, or a tenth of a large disk", () => {
  const root = temporaryFolder();
  const { blocks, bsize } = fs.statfsSync(root);
  assert.is(tokenFolder(root).stats().limit, Math.max(2 ** 32, Math.floor(0.1 * (blocks * bsize))));
  assert.is(tokenFolder(root, 9).stats().limit, 9);
});
test("over the limit, tokens that were used longest ago go first", async () => {
  const [root, codec] = [temporaryFolder(), counting()];
  const size = 4 * expected.length + 8 + 64;
  const given = [1, 2, 3].map((last) => text.with(0, last));
  /** Whether a text was encoded. Afterwards all files are ten seconds older. */
  const use = async (i: number): Promise<boolean> => {
    const before = codec.times();
    const cache = new TokenCache("build", () => tokenFolder(root, 2 * size));
    await cache.encodeFile(codec, bytesInMemory(given[i] ?? text), "", {});
    const { path } = tokenFolder(root);
    for (const file of fs.readdirSync(path).map((name) => join(path, name))) {
      const used = fs.statSync(file).mtimeMs / 1000 - 10;
      fs.utimesSync(file, used, used);
    }
    return codec.times() > before;
  };
  for (const [i, isEncoded] of [true, true, false, true, false, true].entries())
    assert.is(await use([0, 1, 0, 2, 0, 1][i] ?? 0), isEncoded);
  assert.is(tokenFolder(root).stats().files, 2);
});

test("train and evaluate read what an earlier run has encoded; moec cache shows and empties it", () => {
  const at = temporaryFolder();
  const env = { ...process.env, MOEC_CACHE: join(at, "cache"), MOEC_DEBUG: "" };
  const moec = (...args: string[]): string => {
    const { status, stdout, stderr } = command(args, env);
    assert.is(status, 0, stderr);
    return stdout + stderr;
  };
  const [program, data, run] = ["small.moe", "data.txt", "run"].map((name) => join(at, name)) as [
    string,
    string,
    string,
  ];
  fs.writeFileSync(program, small(160, 4));
  fs.writeFileSync(data, `${"x".repeat(999)} `.repeat(Math.ceil(leastKept / 1000))); // a word of more than 100 letters is one token
  const how = ["--data", data, "--batch", "1", "--length", "8", "--target", "reference"];
  const train = ["train", program, "--tokenizer", join(texts, "words"), "--out", run, ...how];
  assert.match(moec(...train), "the last 14 tokens held out");
  const kept = tokenFolder(env.MOEC_CACHE);
  assert.is(kept.stats().files, 1);
  const tokens = Buffer.from(Int32Array.of(...new Int32Array(50), 50, 1).buffer); // and one document, of 50
  fs.writeFileSync(pathOf(kept), Buffer.concat([tokens, Buffer.from(sha256([tokens]))]));
  assert.match(moec(...train, "--resume", "--steps", "3"), "the last 3 tokens held out");
  assert.match(moec("evaluate", run, ...how, "--json"), '"targets":49');
  const shown = moec("cache", "--json").trim().split("\n");
  const [, { folder, files, bytes }] = shown.map((line) => JSON.parse(line) as Record<string, unknown>) as [
    unknown,
    Record<string, unknown>,
  ];
  assert.equal([folder, files, bytes], [kept.path, 1, 272]);
  assert.match(moec("cache", "--clear"), `${kept.path}: removed 1 file, 272 B`);
  assert.is(kept.stats().files, 0);
});
test.run();
