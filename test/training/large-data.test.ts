// Data that stays in its files, of which only what is asked for is read: the same tokens and batches as in memory.
import fs from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Problem } from "../../compiler/diagnostic.ts";
import { TokenCache, tokenFolder } from "../../runtime/cache/tokens.ts";
import { lcg } from "../../runtime/measure/lcg.ts";
import { sha256 } from "../../runtime/storage/files.ts";
import { bytesOfFile, FileTokens, type Part, TokenText } from "../../runtime/storage/token-text.ts";
import { openTokenizer } from "../../runtime/tokenizer/codec.ts";
import { type Codec, codecs } from "../../runtime/tokens.ts";
import {
  type Batch,
  countedLosses,
  type Dataset,
  evaluationBatches,
  opening,
  pairsOf,
  readDataset,
  requireKnown,
  shuffledBatch,
  targetsOf,
  trainingBatch,
} from "../../runtime/training/data.ts";
import { evaluate } from "../../runtime/training/evaluate.ts";
import { pairBatches } from "../../runtime/training/pairs.ts";
import { problem, rejectedProblem } from "../assert-problem.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { encoded } from "../tokenizer/encoded.ts";
import { losses, small } from "../training-runs.ts";

const test = suite("large data");
const folder = temporaryFolder();
const file = (name: string, content: string | Uint8Array): string => {
  fs.writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const leastKept = 2 ** 18;

test("any cut of parts in memory and in files is what it is of one array", () => {
  const random = lcg(5);
  const below = (n: number): number => Math.floor(n * random());
  for (let round = 0; round < 60; round++) {
    const all: number[] = [];
    const parts = Array.from({ length: 1 + below(5) }, (_, i): Part => {
      const numbers = Array.from({ length: below(4) * below(9) }, () => below(256));
      all.push(...numbers);
      const bytes = Uint8Array.from(numbers);
      const held = round % 2 ? Int32Array.from(numbers) : bytes;
      if (below(2)) return held;
      const path = file(`${i}`, Buffer.from(held.buffer));
      return round % 2
        ? FileTokens.ofNumbers(path, { format: "kept", at: 0, length: held.length })
        : FileTokens.ofBytes(path);
    });
    const text = new TokenText(parts);
    assert.equal([text.length, [...text.read()], text.isBytes], [all.length, all, round % 2 === 0 || all.length < 0]);
    for (let i = 0; i < 20; i++) {
      const from = below(all.length + 1);
      const to = from + below(all.length - from + 1);
      const cut = text.subarray(from, to);
      assert.equal([...text.read(from, to)], all.slice(from, to));
      assert.equal(
        [cut.length, [...cut.read()], [...cut.read(0, 1)]],
        [to - from, all.slice(from, to), all.slice(from, to).slice(0, 1)],
      );
      const pieces = [...cut.pieces(1 + below(7))];
      assert.equal(
        pieces.flatMap((piece) => [...piece]),
        all.slice(from, to),
      );
      const token = below(256);
      assert.is(cut.includes(token), all.slice(from, to).includes(token));
    }
  }
});
test("a file that changes while it is read is told, and one that is replaced or deleted is read on", () => {
  const path = file("changing", "abcdef");
  const tokens = FileTokens.ofBytes(path);
  const last = tokens.subarray(4, 6);
  const read = (): string => String.fromCharCode(...last.read());
  assert.is(read(), "ef");
  fs.writeFileSync(`${path}.new`, "ABCDEF");
  fs.renameSync(`${path}.new`, path);
  assert.is(read(), "ef");
  const again = FileTokens.ofBytes(path);
  fs.appendFileSync(path, "G");
  assert.match(problem(() => again.read()).message, "changing was changed while it was read");
  fs.rmSync(path);
  assert.is(read(), "ef");
});

/** All that a run reads of its data. */
function uses(text: Dataset, vocabulary: number): unknown[] {
  const batches: Batch[] = text.pairs
    ? [...pairBatches(pairsOf(text, "all"), 3, 64, 64), ...pairBatches(pairsOf(text, "heldOut"), 3, 64, 64)]
    : [
        ...[0, 1, 1000].flatMap((step) => [trainingBatch(text, 3, 17, step), shuffledBatch(text, 3, 17, step, 2)]),
        ...evaluationBatches(text.heldOut.subarray(0, 500), 2, 11, text.heldOutStarts),
      ];
  requireKnown(text, vocabulary);
  const refused = problem(() => requireKnown(text, 40)).message;
  const of = [text.all, text.training, text.heldOut].map((part) => sha256([Int32Array.from(part.read())]));
  const counts = [targetsOf(text.all, text.starts), targetsOf(text.heldOut, text.heldOutStarts)];
  return [
    of,
    batches,
    refused,
    counts,
    text.hash,
    text.bytes,
    text.codec.name === "ids" ? [] : opening(text),
    countedLosses(text),
    text.codec.config,
  ];
}
const line = (i: number): string => JSON.stringify({ prompt: `${i} + ${i} = `, completion: String(2 * i) });
const lines = (n: number): string => Array.from({ length: n }, (_, i) => line(i)).join("\n");
const prose = (n: number): string => Array.from({ length: n }, (_, i) => `The ${i}th whale blew.\n`).join("");
const numbers = (n: number): string => Array.from({ length: n }, (_, i) => (i * i) % 501).join(" ");
const gpt2 = join(project, "test/peers/texts/gpt2");
const tokenizer = await openTokenizer(gpt2);
const cases: [string, Codec, string[], { apart?: boolean; pairs?: boolean }][] = [
  ["bytes", codecs.bytes, [prose(900), "", prose(30)], {}],
  ["documents of bytes", codecs.bytes, [lines(9000), prose(300)], { apart: true }],
  ["pairs", codecs.bytes, [lines(900), lines(8000)], { pairs: true }],
  ["token numbers", codecs.ids, [numbers(99), numbers(90_000)], {}],
  ["a tokenizer", tokenizer, [prose(300), prose(13_000)], { apart: true }],
];
for (const [name, codec, texts, how] of cases) {
  test(`${name}: the same in memory, in files, and in files that an earlier run has encoded`, async () => {
    const json = how.pairs || name.startsWith("documents");
    const files = texts.map((text, i) => file(`${i}.${json && text.startsWith("{") ? "jsonl" : "txt"}`, text));
    const [root, vocabulary] = [temporaryFolder(), codec.vocabularySize ?? 512];
    const cache = (): TokenCache => new TokenCache("build", () => tokenFolder(root));
    const wanted = uses(await readDataset(files, codec, how, null), vocabulary);
    for (const own of [cache(), cache(), null])
      assert.equal(uses(await readDataset(files, codec, { ...how, inMemory: false }, own), vocabulary), wanted);
    const kept =
      codec === codecs.bytes && !json ? 0 : files.filter((path) => fs.statSync(path).size >= leastKept).length;
    assert.is(tokenFolder(root).stats().files, kept);
    const given = { heldOut: files.slice(0, 1), ...how };
    assert.equal(
      uses(await readDataset(files.slice(1), codec, { ...given, inMemory: false }, cache()), vocabulary),
      uses(await readDataset(files.slice(1), codec, given, null), vocabulary),
    );
  });
}
/** A file as np.save writes it. `version` 2 and 3 have a longer header. */
function npy(
  type: string,
  data: ArrayBufferView,
  shape = `(${data.byteLength / Number(type.slice(2))},)`,
  version = 1,
): Buffer {
  const start = version > 1 ? 12 : 10;
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': ${shape}, }`;
  const header = Buffer.from(`${text.padEnd(128 - start - 1)}\n`);
  const size = Buffer.alloc(start - 8);
  if (version > 1) size.writeUInt32LE(header.length);
  else size.writeUInt16LE(header.length);
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return Buffer.concat([Buffer.from(`\x93NUMPY${String.fromCharCode(version)}\0`, "latin1"), size, header, bytes]);
}
test("token numbers of NumPy's types are those of the text, in memory and in the file", async () => {
  const all = Array.from({ length: 500 }, (_, i) => (i * i) % 251);
  const text = file("same.txt", all.join(" "));
  const made: [string, ArrayBufferView][] = [
    ["|u1", Uint8Array.from(all)],
    ["<u2", Uint16Array.from(all)],
    ["<u4", Uint32Array.from(all)],
    ["<i4", Int32Array.from(all)],
    ["<i8", BigInt64Array.from(all, BigInt)],
  ];
  const of = async (path: string, how: { inMemory?: boolean }): Promise<unknown[]> => {
    const read = await readDataset([path, text], codecs.ids, how, null);
    return uses({ ...read, hash: "", bytes: 0 }, 251);
  };
  const wanted = await of(text, {});
  for (const [type, data] of made)
    for (const version of [1, 2, 3]) {
      const path = file("numbers.npy", npy(type, data, undefined, version));
      for (const inMemory of [true, false]) assert.equal(await of(path, { inMemory }), wanted, type);
      const { hash, bytes } = await readDataset([path], codecs.ids, {}, null);
      assert.equal([hash, bytes], [sha256([fs.readFileSync(path)]), fs.statSync(path).size]);
    }
});
test("a file that NumPy has written is read, by a tokenizer too, whose numbers they are", async () => {
  const header = "\x93NUMPY\x01\x00v\x00{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }";
  const path = file("own.npy", Buffer.from(`${header.padEnd(127)}\n\x05\x00\x0c\x00P\xc4`, "latin1"));
  for (const codec of [codecs.ids, tokenizer])
    assert.equal([...(await readDataset([path], codec, {}, null)).all.read()], [5, 12, 50256]);
});
test("a run with a tokenizer is trained and evaluated on its numbers as on the text", async () => {
  const [text, program] = [file("prose.txt", prose(60)), file("small.moe", small(tokenizer.vocabularySize ?? 0, 4))];
  const ids = file("prose.npy", npy("<i4", await encoded(tokenizer, fs.readFileSync(text))));
  const out = join(folder, "run");
  const how = { program, tokenizer: gpt2, steps: 3, batch: 2, length: 8, target: "reference" } as const;
  const wanted = await losses({ ...how, data: [text], out: join(folder, "of-text") });
  assert.equal(await losses({ ...how, data: [ids], out }), wanted);
  const of = async (...data: string[]) => evaluate({ folder: out, data, target: "reference" });
  const [{ bitsPerByte, ...found }, { bitsPerByte: ofText, ...other }] = [await of(ids), await of(text)];
  assert.equal(found, other);
  assert.is(bitsPerByte, undefined);
  assert.ok(Number(ofText) > 0);
  assert.is((await of(text, ids)).bitsPerByte, undefined);
});
function refused(content: string | Uint8Array, codec: Codec = codecs.ids): Promise<Problem> {
  const path = file("wrong.npy", content);
  return rejectedProblem(async () => requireKnown(await readDataset([path], codec, { inMemory: false }, null), 1000));
}
test("what is no row of token numbers is told", async () => {
  const one = Uint16Array.of(1, 2, 3, 4);
  assert.match((await refused("5 12 7")).message, "wrong.npy is no file of NumPy's");
  assert.match((await refused(npy("<f4", Float32Array.of(1)))).message, "wrong.npy holds <f4 of shape (1,)");
  assert.match((await refused(npy(">u2", one))).help, "np.save(path, ids.astype(np.uint32).ravel())");
  assert.match((await refused(npy("<u2", one, "(2, 2)"))).message, "of shape (2, 2)");
  assert.match((await refused(npy("<u2", one, "()"))).message, "of shape ()");
  assert.match((await refused(npy("<u2", one, "(5,)"))).message, "ends before its last number");
  assert.match((await refused(npy("<i4", Int32Array.of(3, -1)))).message, "holds -1, which is no token number");
  assert.match((await refused(npy("<i8", BigInt64Array.of(2n ** 32n)))).message, "holds 4294967296, which");
  assert.match((await refused(npy("<u2", one), codecs.bytes)).help, "the tokenizer that made them");
});
test("encoded data is larger than the cache: all of it is kept while it is used, and read after it is deleted", async () => {
  const root = temporaryFolder();
  const files = [1, 2, 3].map((i) => file(`${i}.txt`, numbers(90_000 + i)));
  const read = (): Promise<Dataset> =>
    readDataset(files, codecs.ids, { inMemory: false }, new TokenCache("build", () => tokenFolder(root, 500_000)));
  const wanted = [...(await readDataset(files, codecs.ids, {}, null)).all.read()];
  const text = await read();
  const { path } = tokenFolder(root);
  const names = fs.readdirSync(path);
  assert.is(names.length, 3);
  assert.equal([...(await read()).all.read()], wanted);
  assert.equal(fs.readdirSync(path), names);
  await new TokenCache("build", () => tokenFolder(root, 500_000)).encodeFile(
    codecs.ids,
    bytesOfFile(file("4.txt", numbers(90_004))),
    "4.txt",
    { inMemory: false },
  );
  assert.is(tokenFolder(root).stats().files, 1);
  assert.equal([...text.all.read()], wanted);
});
test("encoded data that is damaged is encoded again; where nothing can be kept it stays in memory", async () => {
  const root = temporaryFolder();
  const path = file("some.txt", numbers(90_000));
  const told: string[] = [];
  const read = async (at = root): Promise<number[]> => {
    const how = { inMemory: false, warn: (line: string) => told.push(line) };
    const text = await readDataset([path], codecs.ids, how, new TokenCache("build", () => tokenFolder(at)));
    return [...text.all.read()];
  };
  const wanted = await read();
  const kept = join(tokenFolder(root).path, fs.readdirSync(tokenFolder(root).path)[0] ?? "");
  const good = fs.readFileSync(kept);
  for (const bad of [
    good.subarray(4),
    good.subarray(1),
    Buffer.alloc(0),
    Buffer.concat([Buffer.of(9, 9, 9, 9), good.subarray(4)]),
  ]) {
    fs.writeFileSync(kept, bad);
    assert.equal(await read(), wanted);
    assert.ok(fs.readFileSync(kept).equals(good));
  }
  assert.is(told.length, 0);
  assert.equal(await read(file("in-the-way", "")), wanted);
  assert.match(told.join(), "some.txt are made anew at the next start: ");
});
test.run();
