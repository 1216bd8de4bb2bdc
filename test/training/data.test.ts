import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Problem } from "../../compiler/diagnostic.ts";
import { sha256 } from "../../runtime/storage/files.ts";
import { TokenText } from "../../runtime/storage/token-text.ts";
import { selectCodec } from "../../runtime/tokenizer/select-codec.ts";
import { type Codec, codecs } from "../../runtime/tokens.ts";
import {
  type CountedLosses,
  countedLosses,
  type Dataset,
  evaluationBatches,
  opening,
  readDataset,
  requireEnough,
  requireKnown,
  shuffledBatch,
  targetsOf,
  trainingBatch,
  vocabularyOf,
} from "../../runtime/training/data.ts";
import { problem, rejectedProblem } from "../assert-problem.ts";
import { datasetOfBytes } from "../training-runs.ts";

const test = suite("data");
const counting = (n: number): Uint8Array => Uint8Array.from({ length: n }, (_, i) => i % 251);
/** Each token is there once. */
const datasetOf = (n: number): Dataset => {
  const all = new TokenText([Int32Array.from({ length: n }, (_, i) => i)]);
  return { ...datasetOfBytes(counting(n)), all, training: all.subarray(0, 0.95 * n), heldOut: all.subarray(0.95 * n) };
};
const rows = (data: ArrayLike<number>, T: number): number[][] =>
  Array.from({ length: data.length / T }, (_, b) => Array.from(data).slice(b * T, (b + 1) * T));

test("the last 5% is held out, at most 2^20 tokens, and the hash is of all bytes", () => {
  const text = datasetOfBytes(counting(1000));
  assert.is(text.training.length, 950);
  assert.is(text.heldOut.length, 50);
  assert.is(text.hash.length, 64);
  const long = datasetOfBytes(new Uint8Array(2 ** 25));
  assert.equal([long.heldOut.length, long.training.length], [2 ** 20, 2 ** 25 - 2 ** 20]);
  assert.is.not(text.hash, datasetOfBytes(counting(999)).hash);
});

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
test("a sample, and an empty prompt, begins with a line end where the text has one, else as the text that is held out", async () => {
  const lines = datasetOfBytes(bytes(`a line\n${"more of it ".repeat(9)}`));
  assert.equal([opening(lines), lines.codec], [[10], codecs.bytes]);
  const plain = datasetOfBytes(bytes("never an end ".repeat(9)));
  const first = [plain.heldOut.read()[0]];
  assert.equal([opening(plain), plain.codec.encode(""), plain.codec.config], [first, first, { opening: first }]);
  const mute: Codec = { ...codecs.bytes, encode: () => [] };
  assert.equal(opening({ ...lines, codec: mute }), [lines.heldOut.read()[0]]); // a tokenizer that makes nothing of a line end
  const again = await selectCodec({}, { folder: "", config: plain.codec.config });
  assert.equal([again.encode(""), again.encode("\n")], [first, [10]]);
});
test("row b reads stream b and goes on where it stood; targets are the bytes after", () => {
  const text = datasetOfBytes(counting(1000));
  const [B, T] = [3, 7];
  const stream = Math.floor(950 / B);
  for (let step = 0; step < 40; step++) {
    const { tokens, targets, count } = trainingBatch(text, B, T, step);
    assert.equal(tokens.shape, [B, T]);
    assert.is(count, B * T);
    for (let b = 0; b < B; b++) {
      const from = b * stream + step * T;
      assert.equal(rows(tokens.data, T)[b], Array.from(text.training.read(from, from + T)));
      assert.equal(rows(targets.data, T)[b], Array.from(text.training.read(from + 1, from + T + 1)));
    }
  }
});

test("at a stream's end it begins again, without a byte of the next stream", () => {
  const text = datasetOfBytes(Uint8Array.from({ length: 200 }, (_, i) => Math.floor(i / 95)));
  for (let step = 0; step < 200; step++) {
    const { tokens, targets } = trainingBatch(text, 2, 7, step); // 7 and 88 have no common factor: each place is once the first
    for (const data of [tokens.data, targets.data])
      assert.equal(rows(data, 7), [Array.from({ length: 7 }, () => 0), Array.from({ length: 7 }, () => 1)]);
  }
});

test("a stream's rows begin at each of its places in turn, and the last reads to the stream's end", () => {
  const text = datasetOf(200);
  const first = Array.from({ length: 88 }, (_, step) => trainingBatch(text, 2, 7, step).tokens.data[0] ?? -1);
  assert.equal(
    first.toSorted((a, b) => a - b),
    [...first.keys()],
  );
});
test("rows are shuffled as they always were: a run that an earlier moec began goes on with the same", () => {
  const text = datasetOf(200);
  const read = (step: number): number[] => [...shuffledBatch(text, 3, 4, step, 5).tokens.data];
  const first = [0, 40].map((step) => read(step).filter((_, i) => i % 4 === 0));
  assert.equal(first, [
    [156, 20, 92],
    [169, 45, 97],
  ]);
});

const alike = (a: readonly number[], b: readonly number[]): number => a.filter((crop, i) => crop === b[i]).length;
test("shuffled rows are crops of the training text: each once an epoch, in an order that seed and epoch decide", () => {
  const [n, B, T] = [1000, 6, 7];
  const text = datasetOf(n);
  const places = (step: number, seed: number): number[] => {
    const { tokens, targets, count } = shuffledBatch(text, B, T, step, seed);
    assert.equal([tokens.shape, count], [[B, T], B * T]);
    return rows(tokens.data, T).map((row, b) => {
      const from = text.training.read().indexOf(row[0] ?? -1);
      assert.equal(row, [...text.training.read(from, from + T)]);
      assert.equal(rows(targets.data, T)[b], [...text.training.read(from + 1, from + T + 1)]);
      return from;
    });
  };
  const crops = Math.floor((text.training.length - 1) / T) - 1;
  const read = (seed: number): number[] => Array.from({ length: crops }, (_, step) => places(step, seed)).flat();
  const epochs = [0, 0, 1].map((seed) => rows(read(seed), crops));
  assert.equal([epochs[0]?.length, epochs[1]], [B, epochs[0]]);
  const orders = epochs.slice(1).flatMap((those) =>
    those.map((epoch) => {
      const cut = Math.min(...epoch);
      const order = epoch.map((from) => (from - cut) / T);
      assert.equal(
        order.toSorted((a, b) => a - b),
        [...order.keys()],
      );
      return { cut, order };
    }),
  );
  assert.ok(new Set(orders.map(({ cut }) => cut)).size > B);
  // By chance a crop is where it was in another order, or follows the same one, about once.
  for (const [i, { order }] of orders.entries()) {
    assert.ok(
      alike(
        order.slice(1),
        order.map((crop) => crop + 1),
      ) < 8,
    );
    for (const other of orders.slice(0, i)) assert.ok(alike(order, other.order) < 8);
  }
});
test("text for one row is enough to shuffle", () => {
  const text = datasetOfBytes(counting(200)); // 190 to train
  const { tokens } = shuffledBatch(text, 3, 189, 5, 0);
  assert.equal(
    rows(tokens.data, 189),
    Array.from({ length: 3 }, () => [...text.training.read(0, 189)]),
  );
  requireEnough(text, 3, 189, true);
  const { message, help } = problem(() => requireEnough(text, 3, 190, true));
  assert.is(message, "the data has 200 bytes, and --length 190 needs 202");
  assert.match(help, "lower --length to at most 189, or");
  assert.match(problem(() => requireEnough(text, 1, 2 ** 27 - 1)).message, `needs ${2 ** 27 + 2 ** 20}`);
});

test("each held-out byte but the first is a target exactly once, whatever B and T", () => {
  for (const [n, B, T] of [
    [1000, 3, 7],
    [400, 1, 1],
    [400, 16, 128],
    [997, 4, 5],
    [40, 7, 3],
  ] as const) {
    const text = datasetOfBytes(Uint8Array.from({ length: n }, (_, i) => i % 256));
    const seen: number[] = [];
    let counted = 0;
    for (const { tokens, targets, count } of evaluationBatches(text.heldOut, B, T)) {
      counted += count;
      for (let i = 0; i < B * T; i++) {
        const target = targets.data[i] ?? -1;
        if (target < 0) continue;
        assert.is(target, ((tokens.data[i] ?? 0) + 1) % 256);
        seen.push(target);
      }
    }
    assert.is(counted, text.heldOut.length - 1);
    const expected = [...text.heldOut.read(1)];
    assert.equal(
      seen.toSorted((a, b) => a - b),
      expected.toSorted((a, b) => a - b),
    );
  }
});

test("too little data says what to lower", () => {
  requireEnough(datasetOfBytes(counting(10_000)), 16, 128);
  const refusal = (n: number): Problem => problem(() => requireEnough(datasetOfBytes(counting(n)), 16, 128));
  assert.match(refusal(1000).help, "--batch to at most 7");
  assert.match(refusal(1000).help, "--length to at most 58");
  requireEnough(datasetOfBytes(counting(1000)), 7, 128);
  requireEnough(datasetOfBytes(counting(1000)), 16, 58);
  assert.match(refusal(0).help, "more data");
  assert.not.match(refusal(20).help, "--length"); // a row of no token
  const tight = (n: number, B: number, T: number) => (): void => requireEnough(datasetOfBytes(counting(n)), B, T);
  for (const [n, B, T] of [
    [22, 2, 9], // 20 to train
    [21, 1, 1], // two held out
  ] as const) {
    tight(n, B, T)();
    assert.match(problem(tight(n - 1, B, T)).message, `needs ${n}`);
  }
});

test("files of held-out text leave all of the data to train on, and are checked as it is", async () => {
  const folder = mkdtempSync(join(tmpdir(), "moec-held-out-"));
  const [data, held] = ["data.txt", "held.txt"].map((name) => join(folder, name)) as [string, string];
  const read = (content: string) => (
    writeFileSync(held, content), readDataset([data], codecs.ids, { heldOut: [held] })
  );
  writeFileSync(data, Array.from({ length: 40 }, (_, i) => i).join(" "));
  const text = await read("1 2 50");
  assert.equal([text.training.length, [...text.heldOut.read()]], [40, [1, 2, 50]]);
  assert.equal(text.heldOutFiles, { files: [held], bytes: 6, hash: sha256("1 2 50") });
  requireEnough(text, 4, 9); // 40 to train
  requireKnown(text, 51);
  assert.match(problem(() => requireKnown(text, 50)).message, "the held-out text");
  assert.match(problem(() => requireEnough(text, 4, 10)).message, "needs 44");
  const short = await read("7");
  assert.match(problem(() => requireEnough(short, 4, 9)).help, "--held-out");
});

test("token numbers are read with blanks or commas between, from several files", async () => {
  const folder = mkdtempSync(join(tmpdir(), "moec-ids-"));
  const files = [join(folder, "a.txt"), join(folder, "b.txt")] as const;
  writeFileSync(files[0], "5 12,7\n\n0\t999999999");
  writeFileSync(files[1], "\r\n50256 1\n");
  const text = await readDataset(files, codecs.ids);
  assert.equal([...text.all.read()], [5, 12, 7, 0, 999999999, 50256, 1]);
  assert.equal([text.bytes, text.codec.unit, countedLosses(text)], [19 + 10, "token", null]);
  assert.is(text.hash, sha256("5 12,7\n\n0\t999999999\r\n50256 1\n"));
  assert.match(problem(() => requireEnough(text, 4, 8)).message, "7 tokens");
  const refusal = (content: string): Promise<Problem> => (
    writeFileSync(files[1], content), rejectedProblem(() => readDataset(files, codecs.ids))
  );
  for (const [content, word] of [
    ["1 2 Call me", "Call"],
    ["1 -2", "-2"],
    ["1234567890", "1234567890"],
    ["12x 3", "12x"],
    ["1.5", "1.5"],
  ] as const)
    assert.match((await refusal(content)).message, `b.txt: \`${word}\` is not a token number`);
  rmSync(folder, { recursive: true });
});

const losses = (bytes: Uint8Array): CountedLosses =>
  countedLosses(datasetOfBytes(bytes)) ?? { unigram: Number.NaN, bigram: Number.NaN };
const near = (x: number, y: number): void => assert.ok(Math.abs(x - y) < 0.01, `${x}, not ${y}`);
test("a unigram model's held-out loss is the entropy of a byte, a bigram model's that given the one before it", () => {
  const alternating = losses(Uint8Array.from({ length: 4001 }, (_, i) => i % 2));
  near(alternating.unigram, Math.log(2));
  near(alternating.bigram, 0);
  // 00 01 10 11 equally often: the last byte says nothing of the next.
  near(losses(Uint8Array.from({ length: 4001 }, (_, i) => [0, 0, 1, 1][i % 4] ?? 0)).bigram, Math.log(2));
  const uneven = losses(Uint8Array.from({ length: 4001 }, (_, i) => Number(i % 4 === 0)));
  near(uneven.unigram, 0.25 * Math.log(4) + 0.75 * Math.log(4 / 3));
  near(uneven.bigram, 0.75 * (Math.log(3 / 2) * (2 / 3) + Math.log(3) / 3));
  assert.ok(Object.values(losses(counting(1000))).every(Number.isFinite));
  const same = losses(new Uint8Array(22)); // of 20 zeros, and so 19 pairs of them; then one more
  assert.ok(Math.abs(same.unigram + Math.log(20.01 / (20 + 2.56))) < 1e-12, String(same.unigram));
  assert.ok(Math.abs(same.bigram + Math.log(19.01 / (19 + 2.56))) < 1e-12, String(same.bigram));
});
test("of pairs whole ones are held out: the last one, where that alone is more than 5%", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "moec-pairs-")), "pairs.jsonl");
  writeFileSync(path, '{"prompt": "a", "completion": "b"}\n'.repeat(3)); // four tokens each, with the line ends
  const { training, heldOut, heldOutStarts } = await readDataset([path], codecs.bytes, { pairs: true }, null);
  assert.equal([training.length, heldOut.length, [...(heldOutStarts ?? [])]], [8, 4, [0]]);
  writeFileSync(path, '{"prompt": "a", "completion": "b"}\n');
  const alone = await readDataset([path], codecs.bytes, { pairs: true }, null);
  assert.throws(() => requireEnough(alone, 1, 4), /too few pairs to hold one out/);
});
test("of documents that are told apart, the first token of each is no target, and each token knows where its own begins", () => {
  const [tokens, starts] = [new TokenText([Int32Array.from({ length: 10 }, (_, i) => i)]), Float64Array.of(0, 3, 7)];
  const read = [...evaluationBatches(tokens, 2, 3, starts)].map((b) =>
    [b.tokens, b.targets, b.since].map((t) => rows(t?.data ?? [], 3)),
  );
  assert.equal(read, [
    [
      [
        [0, 1, 2],
        [5, 6, 7],
      ],
      [
        [1, 2, -1],
        [6, -1, 8],
      ],
      [
        [0, 0, 0],
        [0, 0, 2],
      ],
    ],
    [
      [
        [3, 4, 0],
        [8, 0, 0],
      ],
      [
        [4, 5, -1],
        [9, -1, -1],
      ],
      [
        [0, 0, 0],
        [0, 0, 0],
      ],
    ],
  ]);
  assert.equal([targetsOf(tokens, starts), targetsOf(tokens, null)], [7, 9]);
});
test("the vocabulary is the smaller of those that a step reads from and predicts", () => {
  assert.is(vocabularyOf({ "train/tokens": 9, "train/targets": 5 }, "train"), 5);
  assert.is(vocabularyOf({ "other/tokens": 3 }, "train"), undefined);
});
test.run();
