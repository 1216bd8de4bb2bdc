// Stores that are kept as codes: shown as the numbers that they stand for, saved as codes, and given these back.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { dequantised } from "../../runtime/codes.ts";
import type { Codes, Executable, StoreInfo, Tensor } from "../../runtime/executable/executable.ts";
import { quantisedSummary, withQuantisedStores } from "../../runtime/executable/quantised.ts";
import { savedTensors } from "../../runtime/storage/checkpoint.ts";
import { writeFlushed } from "../../runtime/storage/files.ts";
import { NamedTensors, writeStored } from "../../runtime/storage/names.ts";
import { openSafetensors, openWithCodes, safetensorsChunks } from "../../runtime/storage/safetensors.ts";
import {
  allInMemory,
  asKept,
  inMemory,
  type StoredTensor,
  type StoredTensors,
} from "../../runtime/storage/stored-tensor.ts";
import { fromNumbers, numbers, part, zeros } from "../../runtime/tensor.ts";
import { FakeExecutable } from "../fake-executable.ts";
import { generator } from "../graphs.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("quantised-stores");

type Kept = Pick<StoreInfo, "dtype" | "shape" | "quantised" | "stack" | "name" | "role" | "saved">;
const parameter = { role: "parameter", saved: true } as const;
const prepared = { role: "prepared", stack: 0, saved: false } as const;
/** What a compiler makes of experts in 4 bits, of a table in 8, and of a vector, and the values of these. */
const stores: readonly Kept[] = [
  {
    ...parameter,
    name: "a.*.w",
    stack: 1,
    dtype: "i8",
    shape: [2, 32, 3],
    quantised: { code: "fp4", dtype: "bf16", axes: [1], scales: "a.*.w scales" },
  },
  {
    ...parameter,
    name: "t",
    stack: 0,
    dtype: "i8",
    shape: [4, 5],
    quantised: { code: "int8", dtype: "f32", axes: [1], scales: "t scales" },
  },
  { ...parameter, name: "b", stack: 0, dtype: "f32", shape: [3] },
  { ...prepared, name: "a.*.w scales", dtype: "bf16", shape: [2, 2, 3] },
  { ...prepared, name: "t scales", dtype: "f32", shape: [4, 1] },
];
/** It has no parts, as the interpreter, or writes some. */
function opened({ parts }: { readonly parts: boolean }) {
  const held = new Map(stores.map(({ name, dtype, shape }) => [name, zeros(dtype, shape)]));
  const written: string[] = [];
  const write = (name: string, value: Tensor): void => {
    const { dtype, shape } = held.get(name) as Tensor;
    assert.equal([value.dtype, value.shape], [dtype, shape]);
    written.push(name);
    held.set(name, value);
  };
  const writePart = (name: string, index: readonly number[], value: () => Tensor): void => {
    const whole = held.get(name) as Tensor;
    const t = value();
    assert.equal([t.dtype, t.shape], [whole.dtype, whole.shape.slice(index.length)]);
    whole.data.set(t.data, (index[0] ?? 0) * t.data.length);
    written.push(`${name} ${index.join()}`);
  };
  const read = (name: string): Tensor => held.get(name) as Tensor;
  const inner = Object.assign(new FakeExecutable(), { stores, read, write, ...(parts ? { writePart } : {}) });
  return { held, written, executable: withQuantisedStores(inner) };
}
const draw = generator("quantised stores");
const random = (...shape: number[]): Tensor =>
  fromNumbers(
    "f32",
    shape,
    Array.from({ length: shape.reduce((x, y) => x * y, 1) }, () => 2 * draw() - 1),
  );

const near = (got: Tensor, want: Tensor, error: number): void =>
  numbers(got).forEach((x, i) => assert.ok(Math.abs(x - (want.data[i] ?? 0)) <= error, `${i}: ${x}`));
test("a store of codes has the shape of its numbers, is written as these, and is read", () => {
  const { executable, held } = opened({ parts: true });
  assert.equal(
    executable.stores.map(({ name, dtype, shape }) => [name, dtype, shape]),
    [
      ["a.*.w", "f32", [2, 64, 3]],
      ["t", "f32", [4, 5]],
      ["b", "f32", [3]],
    ],
  );
  const [w, t] = [random(2, 64, 3), random(4, 5)];
  executable.write("a.*.w", w);
  executable.write("t", t);
  const whole = executable.read("a.*.w");
  near(whole, w, 0.2);
  near(executable.read("t"), t, 1 / 127);
  held.set("a.*.w", zeros("i8", [2, 32, 3]));
  executable.writePart?.("a.*.w", [1], () => part(w, [1]));
  assert.equal(part(executable.read("a.*.w"), [1]), part(whole, [1]));
  assert.throws(() => executable.write("a.*.w", random(2, 32, 3)), /\[2, 64, 3\]/);
  assert.is(
    quantisedSummary(executable.stores),
    "94.3 % of the parameters in 4 bits, 4.9 % in 8: 264 B in place of 860 B",
  );
});

const path = join(temporaryFolder(), "codes.safetensors");
/** The tensors of an executable, in a file and back. */
function throughFile(executable: Executable): StoredTensors {
  writeFlushed(path, safetensorsChunks(asKept(savedTensors(executable).model)));
  return openSafetensors(path);
}
function give(executable: Executable, tensors: StoredTensors): void {
  const named = new NamedTensors(tensors, path);
  for (const store of executable.stores) {
    const value = named.take(store);
    assert.ok(value, store.name);
    writeStored(executable, store, value);
  }
}
/** Codes that numbers would not get: there is a smaller scale for them. */
const given: Codes = {
  code: "fp4",
  codes: { dtype: "i8", shape: [2, 32, 3], data: new Int8Array(192).map((_, i) => (i % 2 === 0 ? 0x35 : 0x2d)) },
  scales: { dtype: "bf16", shape: [2, 2, 3], data: new Uint16Array(12).map((_, i) => 0x3f00 + 128 * i) },
};
for (const parts of [true, false])
  test(`files have the codes of each copy, and a store of such codes gets them as they are, ${parts ? "copy by copy" : "whole"}`, () => {
    const { executable } = opened({ parts });
    executable.write("t", random(4, 5));
    executable.writeCodes?.("a.*.w", [], () => given);
    const tensors = throughFile(executable);
    assert.equal(
      [...openWithCodes(path)].map(([name, t]) => [name, "code" in t ? t.code : t.dtype, t.shape]),
      [
        ["a.0.w", "u8", [32, 3]],
        ["a.0.w scales", "bf16", [2, 3]],
        ["a.1.w", "u8", [32, 3]],
        ["a.1.w scales", "bf16", [2, 3]],
        ["t", "i8", [4, 5]],
        ["t scales", "f32", [4, 1]],
        ["b", "f32", [3]],
      ],
    );
    const other = opened({ parts });
    give(other.executable, tensors);
    assert.equal(other.executable.readCodes?.("a.*.w"), given);
    assert.equal(other.executable.readCodes?.("t"), executable.readCodes?.("t"));
    const copies = ["a.*.w 0", "a.*.w scales 0", "a.*.w 1", "a.*.w scales 1"];
    assert.equal(other.written.slice(0, -3), parts ? copies : ["a.*.w", "a.*.w scales"]);
    assert.equal(executable.read("a.*.w"), dequantised(given));
  });
test("one tensor of all copies is kept as codes too; other numbers, and codes of another kind, are quantised", () => {
  const w = dequantised(given);
  const kept = { code: "fp4", codes: inMemory(given.codes), scales: inMemory(given.scales) } as const;
  const others = allInMemory(
    new Map([
      ["t", random(4, 5)],
      ["b", random(3)],
    ]),
  );
  const codesOf = (value: StoredTensor): Codes | undefined => {
    const { executable } = opened({ parts: true });
    give(executable, new Map([...others, ["a.w", value]]));
    assert.equal(executable.read("a.*.w"), w);
    return executable.readCodes?.("a.*.w");
  };
  assert.equal(codesOf({ ...inMemory(w), kept }), given);
  assert.not.equal(codesOf(inMemory(w)), given);
  assert.not.equal(codesOf({ ...inMemory(w), kept: { ...kept, code: "int8" } }), given);
});
test("where no codes stand for a tensor alone it is numbers: a part of a stack that shares its scales, a stack of which one copy is no codes", () => {
  const codes: Tensor = { dtype: "i8", shape: [2, 3, 4], data: new Int8Array(24).map((_, i) => i) };
  const scales = fromNumbers("f32", [1, 1, 4], [1, 2, 4, 8]);
  const kept = { code: "int8", codes: inMemory(codes), scales: inMemory(scales) } as const;
  const numbersOf = dequantised({ code: "int8", codes, scales });
  const own = { code: "int8", codes: inMemory(part(codes, [0])), scales: inMemory(part(scales, [0])) } as const;
  const [first, second] = [0, 1].map((i) => inMemory(part(numbersOf, [i]))) as [StoredTensor, StoredTensor];
  for (const [tensors, name, stack] of [
    [{ "a.w": { ...inMemory(numbersOf), kept } }, "a.1.w", 0],
    [{ "a.0.w": { ...first, kept: own }, "a.1.w": second }, "a.*.w", 1],
  ] as const) {
    const want = stack === 0 ? part(numbersOf, [1]) : numbersOf;
    const found = new NamedTensors(new Map(Object.entries(tensors)), path).take({ ...want, name, stack });
    assert.equal([found?.kept, found?.read()], [undefined, want]);
  }
});
test("copies that are vectors are written together: a part of a store has two axes or more", () => {
  const said: string[] = [];
  const write = (name: string): unknown => said.push(name);
  const writePart = (name: string, index: readonly number[]): unknown => said.push(`${name} ${index.join()}`);
  const executable = Object.assign(new FakeExecutable(), { write, writePart });
  for (const shape of [[2], [2, 3], [2, 3, 4]])
    writeStored(
      executable,
      { ...parameter, name: "a.*.b", stack: 1, dtype: "f32", shape },
      inMemory(zeros("f32", shape)),
    );
  assert.equal(said, ["a.*.b", "a.*.b", "a.*.b 0", "a.*.b 1"]);
});
test.run();
