import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { product } from "../../compiler/types/numbers.ts";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { readInto, splitBytes } from "../../runtime/storage/files.ts";
import { NamedTensors, namesHelp, splitStacked } from "../../runtime/storage/names.ts";
import {
  openSafetensors,
  readSafetensors,
  safetensorsChunks,
  writeSafetensors,
} from "../../runtime/storage/safetensors.ts";
import { allInMemory, derived, inMemory, type StoredTensor } from "../../runtime/storage/stored-tensor.ts";
import {
  convert,
  firstNonFinite,
  fromBf16,
  fromNested,
  fromNumbers,
  numbers,
  part,
  toBf16,
  toNested,
  transposed,
} from "../../runtime/tensor.ts";

const test = suite("safetensors");
const folder = mkdtempSync(join(tmpdir(), "moec-safetensors-"));
const path = join(folder, "t.safetensors");
test.after(() => rmSync(folder, { recursive: true }));

/** A file with this header text and data. */
function file(header: string, data: Uint8Array = new Uint8Array(0), length = Buffer.byteLength(header)): string {
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(length));
  writeFileSync(path, Buffer.concat([size, Buffer.from(header), data]));
  return path;
}
function refuses(action: () => unknown, ...words: readonly string[]): void {
  try {
    action();
  } catch (error) {
    assert.instance(error, Problem);
    for (const word of words) assert.match((error as Problem).message, word);
    assert.ok((error as Problem).help.length > 0);
    return;
  }
  assert.unreachable(`nothing was thrown; wanted ${words.join(", ")}`);
}
const entry = (dtype: string, shape: readonly number[], begin: number, end: number): string =>
  JSON.stringify({ dtype, shape, data_offsets: [begin, end] });

test("what is written is read, in every dtype, also empty and without axes", () => {
  const tensors = new Map<string, Tensor>([
    ["a", fromNumbers("f32", [2, 3], [1, -2, 3.5, 0, Number.POSITIVE_INFINITY, 1e-40])],
    ["b.0.weight", fromNumbers("f64", [], [Math.PI])],
    ["c", fromNumbers("i32", [3], [-(2 ** 31), 2 ** 31 - 1, 0])],
    ["d", fromNumbers("bool", [1, 3], [1, 0, 1])],
    ["e", fromNumbers("bf16", [2], [1.5, -3])],
    ["empty", fromNumbers("f32", [0, 7], [])],
    ['ö "{', fromNumbers("f32", [1], [7])],
  ]);
  writeSafetensors(path, tensors);
  const read = readSafetensors(path);
  assert.equal([...read.keys()].toSorted(), [...tensors.keys()].toSorted());
  for (const [name, t] of tensors) assert.equal(read.get(name), t);
  writeSafetensors(path, new Map());
  assert.is(readSafetensors(path).size, 0);
});

test("a part beyond 4 GiB is read alone", () => {
  const [rows, width] = [5 * 2 ** 22 + 1, 256];
  const bytes = rows * width;
  const header = `{"x":${entry("BOOL", [rows, 2, width / 2], 0, bytes)}}`;
  file(header);
  const at = openSync(path, "r+");
  ftruncateSync(at, 8 + header.length + bytes); // sparse: takes no room
  writeSync(at, Uint8Array.of(1), 0, 1, 8 + header.length + bytes - 1);
  closeSync(at);
  const x = openSafetensors(path).get("x") as StoredTensor;
  assert.equal(x.read([rows - 1, 1]), fromNumbers("bool", [width / 2], new Uint8Array(width / 2).fill(1, -1)));
  assert.equal(x.read([rows - 1, 0]), fromNumbers("bool", [width / 2], new Uint8Array(width / 2)));
});
test("an array is read and written in pieces of any size", () => {
  const want = Int32Array.from({ length: 7 }, (_, i) => i * 1e8);
  for (const atOnce of [1, 3, 27, 28, 29]) {
    writeFileSync(path, Buffer.concat([...splitBytes(want.subarray(1), atOnce)]));
    const at = openSync(path, "r");
    assert.equal(readInto(new Int32Array(5), at, 4, atOnce), want.subarray(2));
    refuses(() => readInto(new Int32Array(6), at, 4, atOnce), "became shorter");
    closeSync(at);
  }
});

const wide = (...values: bigint[]): Uint8Array => new Uint8Array(BigInt64Array.from(values).buffer);
test("I64 is read as i32 where it fits", () => {
  const two = file(`{"x":${entry("I64", [2], 0, 16)}}`, wide(-5n, 7n));
  assert.equal([...numbers(readOne(two))], [-5, 7]);
  const x = openSafetensors(two).get("x");
  assert.equal([x?.dtype, x?.read([1])], ["i32", fromNumbers("i32", [], [7])]);
  refuses(() => readSafetensors(file(`{"x":${entry("I64", [1], 0, 8)}}`, wide(2n ** 31n))), path, "`x`", "2147483648");
});
test("F16 is read as f32", () => {
  const x = openSafetensors(file(`{"x":${entry("F16", [2], 0, 4)}}`, Uint8Array.of(0x00, 0xbe, 0x01, 0x00))).get("x");
  assert.equal(x?.read(), fromNumbers("f32", [2], [-1.5, 2 ** -24]));
  assert.equal([x?.dtype, x?.read([1])], ["f32", fromNumbers("f32", [], [2 ** -24])]);
});
test("a stack of large matrices is read and written one at a time, another tensor at once", () => {
  const [large, small] = [
    [3, 256, 256],
    [3, 255, 256],
  ].map((shape) =>
    fromNumbers(
      "f32",
      shape,
      Float64Array.from({ length: product(shape) }, (_, i) => i),
    ),
  );
  writeSafetensors(path, new Map(Object.entries({ large, small } as Record<string, Tensor>)));
  const stored = openSafetensors(path);
  const parts = [...stored.values()].map((t) => [...t.parts()].map(({ data }) => data.length));
  assert.equal(parts, [[65536, 65536, 65536], [3 * 255 * 256]]);
  assert.equal(Buffer.concat([...safetensorsChunks(stored)]), readFileSync(path));
});
const readOne = (from: string): Tensor => [...readSafetensors(from).values()][0] ?? fromNumbers("f32", [0], []);

test("every fault is a Problem that names the file, and the tensor", () => {
  const four = new Uint8Array(4);
  const good = entry("F32", [1], 0, 4);
  const faults: [string, Uint8Array, string[], number?][] = [
    ["{}", four, ["4 bytes at its end"]],
    [`{"x":${good}}`, new Uint8Array(3), ["`x`", "byte 4 of 3"]],
    [`{"x":${entry("F32", [1], 4, 8)}}`, new Uint8Array(8), ["`x`", "begins at byte 4"]],
    [`{"x":${good},"y":${entry("F32", [1], 2, 6)}}`, new Uint8Array(6), ["`y`", "begins at byte 2"]],
    [`{"x":${good},"x":${good}}`, four, ["`x`", "twice"]],
    [`{"x":${good},"\\u0078":${good}}`, four, ["`x`", "twice"]],
    [`{"x":${entry("F8_E5M2", [4], 0, 4)}}`, four, ["`x`", "F8_E5M2"]],
    [`{"x":${entry("F8_E4M3", [4], 0, 4)}}`, four, ["`x`", "F8_E4M3"]],
    [`{"x":${entry("F32", [2], 0, 4)}}`, four, ["`x`", "4 bytes", "takes 8"]],
    [`{"x":${entry("F32", [-1], 0, 4)}}`, four, ["`x`", "shape"]],
    [`{"x":${entry("F32", [2 ** 52, 2 ** 52], 0, 4)}}`, four, ["`x`"]],
    [`{"x":${entry("F32", [1], 4, 0)}}`, four, ["`x`"]],
    [`{"x":${entry("F32", [1], 0, 8)}}`, new Uint8Array(8), ["`x`", "8 bytes", "takes 4"]],
    [`{"x":{"dtype":"F32","shape":[1],"data_offsets":[0]}}`, four, ["`x`", "data_offsets"]],
    [`{"x":7}`, four, ["`x`"]],
    [`{"__metadata__":{"a":1}}`, new Uint8Array(0), ["__metadata__"]],
    ["[1]", new Uint8Array(0), ["object"]],
    ["nonsense", new Uint8Array(0), ["JSON"]],
    ["", new Uint8Array(0), ["JSON"]],
    ["", new Uint8Array(0), ["is no safetensors file"], 2 ** 40],
    [`{"x":${entry("BOOL", [1], 0, 1)}}`, Uint8Array.of(2), ["`x`", "BOOL"]],
    [` {"x":${good}}`, four, ["object"]],
    ["{}", new Uint8Array(0), ["its header says it is 100"], 100],
    ["{}", new Uint8Array(0), ["its header says it is 3"], 3],
    ["{}", new Uint8Array(0), ["limit"], 2 ** 40],
  ];
  for (const [header, data, words, length] of faults)
    refuses(() => readSafetensors(file(header, data, length)), path, ...words);
  const text = Buffer.from(`{"\xff":${good}}`, "latin1"); // no UTF-8
  refuses(() => readSafetensors(file("", Buffer.concat([text, four]), text.length)), path, "JSON");
  writeFileSync(path, "short");
  refuses(() => readSafetensors(path), path, "5 bytes");
  writeFileSync(path, '{ "embed.weight": [1, 2] }');
  refuses(() => readSafetensors(path), `${path} is no safetensors file`);
  refuses(() => readSafetensors(join(folder, "none")), "none", "no such file");
});

/** A file of codes, from -3 on, of this shape, and of what is called their scales. */
function coded(shape: readonly number[], scales: readonly [dtype: string, shape: readonly number[], data: Uint8Array]) {
  const count = product(shape);
  const [dtype, by, data] = scales;
  const codes = Int8Array.from({ length: count }, (_, i) => i - 3);
  const header = `{"w":${entry("I8", shape, 0, count)},"w scales":${entry(dtype, by, count, count + data.length)}}`;
  return file(header, Buffer.concat([Buffer.from(codes.buffer), data]));
}
const f32s = (...all: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(all).buffer);
test("codes are multiplied by the scales beside them, which must be those of columns", () => {
  const read = (...[shape, scales]: Parameters<typeof coded>): unknown => {
    const all = readSafetensors(coded(shape, scales));
    assert.equal([...all.keys()], ["w"]);
    return [...(all.get("w") as Tensor).data];
  };
  assert.equal(read([2, 3], ["F32", [1, 3], f32s(1, 2, 3)]), [-3, -4, -3, 0, 2, 6]);
  assert.equal(read([2, 3], ["F32", [2, 1], f32s(1, 10)]), [-3, -2, -1, 0, 10, 20]);
  assert.equal(read([2, 1, 2], ["F32", [1, 1, 1], f32s(2)]), [-6, -4, -2, 0]);
  const second = openSafetensors(coded([2, 1, 2], ["F32", [1, 1, 1], f32s(2)]))
    .get("w")
    ?.read([1]);
  assert.equal([...(second?.data ?? [])], [-2, 0]);
  const wrong: Parameters<typeof coded>[1][] = [
    ["F32", [3, 1], f32s(1, 2, 3)],
    ["F32", [3], f32s(1, 2, 3)],
    ["BF16", [1, 3], new Uint8Array(6)],
    ["U8", [1, 3], new Uint8Array(3)],
  ];
  for (const scales of wrong)
    refuses(() => readSafetensors(coded([2, 3], scales)), path, "`w scales`", "cannot be scales of `w`");
  refuses(() => readSafetensors(coded([2, 2, 2], ["F32", [1, 2, 1], f32s(1, 2)])), path, "`w scales`", "f32[1, 2, 1]");
  refuses(() => readSafetensors(file(`{"w":${entry("I8", [4], 0, 4)}}`, new Uint8Array(4))), path, "`w`", "I8");
  const own = file(`{"w":${entry("F32", [1], 0, 4)},"w scales":${entry("F32", [1], 4, 8)}}`, f32s(5, 6));
  assert.equal([...readSafetensors(own).keys()], ["w", "w scales"]);
});
test("an array of which one copy is codes and another is numbers is kept as numbers", () => {
  const header = [
    `"up.0.w":${entry("I8", [1, 2], 0, 2)}`,
    `"up.0.w scales":${entry("F32", [1, 2], 4, 12)}`,
    `"up.1.w":${entry("F32", [1, 2], 12, 20)}`,
    `"pad":${entry("BF16", [1], 2, 4)}`,
  ];
  const data = Buffer.concat(
    [Int8Array.of(1, -2), new Uint8Array(2), f32s(3, 4), f32s(5, 6)].map((x) => Buffer.from(x.buffer)),
  );
  const named = new NamedTensors(openSafetensors(file(`{${header.join()}}`, data)), "f");
  const taken = named.take({ name: "up.*.w", dtype: "f32", shape: [2, 1, 2], stack: 1 });
  assert.equal([taken?.kept, ...(taken?.read().data ?? [])], [undefined, 3, -8, 5, 6]);
});
/** A file of bytes of two codes: 0.5 and 6, -0 and -6; and of what is called their scales. */
function codedInPairs(dtype: string, by: readonly number[], data: Uint8Array): string {
  const codes = Uint8Array.from({ length: 64 }, (_, i) => (i % 2 === 0 ? 0x71 : 0xf8));
  const header = `{"w":${entry("U8", [32, 2], 0, 64)},"w scales":${entry(dtype, by, 64, 64 + data.length)}}`;
  return file(header, Buffer.concat([codes, data]));
}
test("bytes of two codes of 4 bits are multiplied by the scales beside them, one for each 16 bytes of a column", () => {
  const scales = Uint8Array.of(0x80, 0x3f, 0, 0x40, 0x80, 0x40, 0, 0xbf); // 1, 2, 4, -0.5
  const w = openSafetensors(codedInPairs("BF16", [2, 2], scales)).get("w") as StoredTensor;
  assert.equal([w.dtype, w.shape, w.kept?.code, w.kept?.codes.shape], ["f32", [64, 2], "fp4", [32, 2]]);
  const all = [...w.read().data];
  assert.equal(all.slice(0, 4), [0.5, -0, 6, -12]);
  assert.equal(all.slice(64, 68), [2, 0, 24, 3]);
  const wrong: [string, number[]][] = [
    ["BF16", [1, 2]],
    ["BF16", [2, 1]],
    ["BF16", [4]],
    ["BF16", [1, 2, 2]],
    ["F32", [2, 2]],
    ["U8", [2, 2]],
  ];
  for (const [dtype, by] of wrong) {
    const data = new Uint8Array(product(by) * (dtype === "F32" ? 4 : dtype === "U8" ? 1 : 2));
    refuses(
      () => readSafetensors(codedInPairs(dtype, by, data)),
      path,
      "`w scales`",
      "cannot be scales of `w`, u8[32, 2]",
    );
  }
  refuses(() => readSafetensors(file(`{"w":${entry("U8", [4], 0, 4)}}`, new Uint8Array(4))), path, "`w`", "U8");
});
test("an empty tensor may stand before or after the one that begins where it does", () => {
  const [full, empty] = [`"x":${entry("F32", [1], 0, 4)}`, `"y":${entry("F32", [0], 0, 0)}`];
  for (const header of [`{${full},${empty}}`, `{${empty},${full}}`])
    assert.is(readSafetensors(file(header, new Uint8Array(4))).size, 2);
});
const openFiles = (): number => readdirSync("/proc/self/fd").length;
if (process.platform === "linux")
  test("a file is open only while it is read", () => {
    writeSafetensors(path, new Map([["x", fromNumbers("f32", [1], [1])]]));
    const before = openFiles();
    for (let i = 0; i < 3; i++) openSafetensors(path).get("x")?.read();
    assert.is(openFiles(), before);
  });
test("a header ends at a multiple of 8 bytes, as the format's own writer does, so that tensors can be mapped", () => {
  for (const name of ["a", "ab", "abc", "abcd", "abcde"]) {
    const [head] = safetensorsChunks(allInMemory(new Map([[name, fromNumbers("f32", [1], [0])]])));
    assert.is((head?.byteLength ?? 1) % 8, 0, name);
  }
});
test("copies of an array of layers have their own names in files, or are stacked", () => {
  const store = { name: "blocks.*.up.*.w", dtype: "f32", shape: [2, 3, 1], stack: 2 } as const;
  const whole = fromNumbers("f32", [2, 3, 1], [0, 1, 2, 3, 4, 5]);
  const parts = new Map(splitStacked(store.name, whole));
  assert.equal([...parts.keys()].slice(0, 4), [
    "blocks.0.up.0.w",
    "blocks.0.up.1.w",
    "blocks.0.up.2.w",
    "blocks.1.up.0.w",
  ]);
  const spelled: ReadonlyMap<string, Tensor>[] = [
    parts,
    new Map([["blocks.up.w", whole]]),
    new Map(
      [0, 1].map((b) => [
        `blocks.${b}.up.w`,
        fromNumbers(
          "f32",
          [3, 1],
          [0, 1, 2].map((i) => 3 * b + i),
        ),
      ]),
    ),
    new Map([0, 1, 2].map((u) => [`blocks.up.${u}.w`, fromNumbers("f64", [2, 1], [u, 3 + u])])),
  ];
  for (const tensors of spelled) {
    const named = new NamedTensors(allInMemory(tensors), "f");
    assert.equal(named.take(store)?.read(), whole);
    for (const index of [[1], [1, 2], [1, 2, 0]]) assert.equal(named.take(store)?.read(index), part(whole, index));
    assert.equal(named.unread(), []);
  }
  assert.is(new NamedTensors(new Map(), "f").take(store), null);
  const halves = new NamedTensors(allInMemory(new Map([["up.scale", fromNumbers("bf16", [2], [1, 2])]])), "f");
  const scalars = { name: "up.*.scale", dtype: "f32", shape: [2], stack: 1 } as const;
  assert.equal(halves.take(scalars)?.read(), fromNumbers("f32", [2], [1, 2]));
});

test("copies that lack, are too many, twice or of another shape are named", () => {
  const store = { name: "up.*.w", dtype: "f32", shape: [2, 1], stack: 1 } as const;
  const one = fromNumbers("f32", [1], [1]);
  const take = (tensors: Record<string, Tensor>): unknown =>
    new NamedTensors(allInMemory(new Map(Object.entries(tensors))), "f").take(store);
  refuses(() => take({ "up.0.w": one }), "up.1.w");
  refuses(() => take({ "up.0.w": one, "up.1.w": fromNumbers("f32", [2], [1, 2]) }), "up.1.w", "[2]", "[1]");
  refuses(() => take({ "up.0.w": one, "up.w": fromNumbers("f32", [2, 1], [1, 2]) }), "twice");
  refuses(() => take({ "up.w": fromNumbers("f32", [1, 1], [1]) }), "holds no copy 1");
  refuses(() => take({ "up.w": fromNumbers("f32", [2, 1, 1], [1, 2]) }), "gives f32[1, 1] for `up.0.w`");
  const half = new NamedTensors(allInMemory(new Map([["n", fromNumbers("f32", [1], [0.5])]])), "f");
  refuses(() => half.take({ name: "n", dtype: "i32", shape: [1], stack: 0 }), "0.5"); // before it is read
  const halves = new NamedTensors(allInMemory(new Map([["a.n", fromNumbers("f32", [2], [1, 0.5])]])), "f");
  refuses(() => halves.take({ name: "a.*.n", dtype: "i32", shape: [2], stack: 1 }), "0.5");
  const named = new NamedTensors(
    allInMemory(
      new Map([
        ["up.w", fromNumbers("f32", [3, 1], [1, 2, 3])],
        ["other", one],
      ]),
    ),
    "f",
  );
  named.take(store);
  assert.equal(named.unread(), ["up.w (2 of its 3 copies)", "other"]);
});

test("advice for an unknown name lists all of few names, of many those that end alike first", () => {
  const few = Array.from({ length: 18 }, (_, i) => `other.${i}`);
  assert.is(namesHelp("names", "q.weight", few), `the names are ${few.join(", ")}`);
  const renamed = ["ffn.gate.weight", "ffn.up.weight", "ffn.down.weight"];
  assert.is(
    namesHelp("names", "mlp.up.weight", renamed),
    `most like it is \`ffn.up.weight\`; the names are ${renamed.join(", ")}`,
  );
  const many = [...few, "blocks.0.q.bias", "model.blocks.own.q.weight"];
  const help = namesHelp("names", "blocks.0.q.weight", many);
  assert.match(help, "of 20 names those most like it are model.blocks.own.q.weight, blocks.0.q.bias, other.0,");
});
test("every bf16 is the f32 that it stands for", () => {
  const halves: Tensor = { dtype: "bf16", shape: [65536], data: Uint16Array.from({ length: 65536 }, (_, i) => i) };
  const { data } = convert(halves, "f32");
  const one = convert(halves, "f64").data;
  for (let i = 0; i < data.length; i++)
    assert.ok(Object.is(data[i], fromBf16(i)) && Object.is(one[i], data[i]), `${i}`);
});
test("matrices of any size are transposed", () => {
  for (const [of, rows, columns] of [
    [1, 1, 70],
    [2, 33, 65],
    [3, 32, 64],
    [2, 0, 3],
    [2, 3, 0],
  ] as const) {
    const x = fromNumbers(
      "f32",
      [of, rows, columns],
      Array.from({ length: of * rows * columns }, (_, i) => i),
    );
    const t = transposed(x);
    assert.equal(t.shape, [of, columns, rows]);
    x.data.forEach((value, i) => {
      const [matrix, r, c] = [Math.floor(i / (rows * columns)), Math.floor(i / columns) % rows, i % columns];
      assert.is(t.data[(matrix * columns + c) * rows + r], value);
    });
  }
});
test("of what is turned when it is read, a part is that of the turned whole: a matrix of a stack, or a row of one", () => {
  const stack = fromNumbers(
    "f32",
    [2, 2, 3],
    Float64Array.from({ length: 12 }, (_, i) => i),
  );
  const turned = derived(inMemory(stack), [2, 3, 2], transposed);
  for (const index of [[], [1], [1, 2]]) assert.equal(turned.read(index), part(transposed(stack), index));
});
test("numbers are rounded to the nearest bf16, ties to even", () => {
  for (const [x, y] of [
    [1, 1],
    [1 + 2 ** -8, 1],
    [1 + 3 * 2 ** -8, 1 + 2 ** -6],
    [3.4e38, Number.POSITIVE_INFINITY],
    [-0.1, -0.10009765625],
  ] as const)
    assert.is(fromBf16(toBf16(x)), y);
  assert.ok(Number.isNaN(fromBf16(toBf16(Number.NaN))));
  assert.is(firstNonFinite(fromNumbers("bf16", [3], [1, 2, Number.NaN])), 2);
  assert.is(firstNonFinite(fromNumbers("bf16", [3], [1, -Infinity, Number.NaN])), 1);
  assert.is(firstNonFinite(fromNumbers("f32", [2], [1, 2])), -1);
  assert.is(firstNonFinite(fromNumbers("f32", [2], [1, Infinity])), 1);
});

test("nested arrays and tensors", () => {
  const nested = [
    [1, 2],
    [3, "NaN"],
  ];
  assert.equal(toNested(fromNested("f32", nested, "x")), nested);
  assert.equal(toNested(fromNested("bool", [true, false], "x")), [true, false]);
  assert.equal(fromNested("i32", [], "x").shape, [0]);
  refuses(() => fromNested("f32", [[1, 2], [3]], "x"), "x is ragged");
  refuses(() => fromNested("f32", [1, null], "x"), "x holds null");
  refuses(() => fromNested("i32", [0.5], "x"), "0.5");
});
test.run();
