// Tensors that stay in their file or their store until they are needed, so that a model is not in memory twice.
import type { DType, Weights } from "../../compiler/types/dtype.ts";
import { product, sameShape } from "../../compiler/types/numbers.ts";
import type { Codes, Tensor } from "../executable/executable.ts";
import { convert, part, transposed, transposedShape } from "../tensor.ts";

export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Its elements, read anew with each call; with an index of its first axes, those of that part. */
  read(index?: readonly number[]): Tensor;
  /** The same in order, of a stack of large tensors one at a time. */
  parts(): Iterable<Tensor>;
  /** The same elements in another shape, or as many as that has from one on, of which a part is read alone too; absent: it is read whole. */
  readonly inShape?: (shape: readonly number[], first?: number) => StoredTensor;
  /** Of whole numbers that files hold in 64 bits: the same as pairs of 32, the lower first. */
  readonly words?: StoredTensor;
  /** What it is kept as, if that is codes and scales. */
  readonly kept?: KeptCodes;
  /** What it is the transposed of, where that is at hand. */
  readonly turned?: StoredTensor;
}
/** See `Codes`. */
export interface KeptCodes {
  readonly code: Weights;
  readonly codes: StoredTensor;
  readonly scales: StoredTensor;
}
export type StoredTensors = ReadonlyMap<string, StoredTensor>;

/** The name of a tensor's scales in a file that has its codes by its own name. Names in programs contain no space. */
export const scalesOf = (name: string): string => `${name} scales`;
/** A tensor as a file has it; what that calls its dtype, where it is one of codes. */
export type FileTensor = StoredTensor & { readonly fileCode?: Code; readonly areWords?: true };
/** What files call the codes of weights. */
export const codesInFiles: Readonly<Record<Weights, Code>> = { int8: "i8", fp4: "u8" };
/** The tensors of a file that has them as they are kept. */
export const asKept = (tensors: StoredTensors): ReadonlyMap<string, FileTensor> =>
  new Map(
    [...tensors].flatMap(([name, t]): [string, FileTensor][] =>
      t.kept
        ? [
            [name, { ...t.kept.codes, fileCode: codesInFiles[t.kept.code] }],
            [scalesOf(name), t.kept.scales],
          ]
        : [[name, t]],
    ),
  );
/** The codes at an index of the first axes. */
export const codesAt = ({ code, codes, scales }: KeptCodes, index: readonly number[]): Codes => ({
  code,
  codes: codes.read(index),
  scales: scales.read(index),
});
/** Bytes of a file that stand for numbers only together with scales: those of quantised weights. */
export interface StoredCodes {
  readonly code: Code;
  readonly shape: readonly number[];
  read(index?: readonly number[]): Uint8Array;
}
/** What a byte is: a float of 8 bits (sign, 4 bits of exponent, 3 of mantissa), a power of two, a whole number, or what config.json says. */
export type Code = "e4m3" | "e8m0" | "i8" | "u8";
export const isCodes = (t: StoredTensor | StoredCodes): t is StoredCodes => "code" in t;

/** A tensor that `read` gives, whole or the part at an index of its first axes. */
export const storedTensor = (dtype: DType, shape: readonly number[], read: StoredTensor["read"]): StoredTensor => ({
  dtype,
  shape,
  read,
  parts: () => [read()],
});
export const inMemory = (t: Tensor): StoredTensor =>
  storedTensor(t.dtype, t.shape, (index = []) => (index.length === 0 ? t : part(t, index)));
export const allInMemory = (tensors: ReadonlyMap<string, Tensor>): StoredTensors =>
  new Map([...tensors].map(([name, t]) => [name, inMemory(t)]));
export const readAll = (tensors: StoredTensors): Map<string, Tensor> =>
  new Map([...tensors].map(([name, t]) => [name, t.read()]));

/** Reads by a key; what it read last is at hand, and is freed before another is read. */
export function latest<K, T>(read: (key: K) => T, same: (a: K, b: K) => boolean = Object.is): (key: K) => T {
  let last: { readonly key: K; readonly value: T } | undefined;
  return (key) => {
    if (last && same(last.key, key)) return last.value;
    last = undefined;
    last = { key, value: read(key) };
    return last.value;
  };
}
/** What of a stack is read alone: each part of it costs an opened file. */
const smallestPart = 2 ** 16;
export function* partsOf(shape: readonly number[], read: StoredTensor["read"]): Generator<Tensor> {
  const [parts = 0, ...inner] = shape;
  if (inner.length < 2 || product(inner) < smallestPart) return yield read();
  for (let i = 0; i < parts; i++) yield read([i]);
}
/** A tensor that `read` computes, the whole or what is at an index of its leading axes; never less than a matrix (the last two axes). */
export function computed(dtype: DType, shape: readonly number[], read: StoredTensor["read"]): StoredTensor {
  const leading = Math.max(0, shape.length - 2);
  const readPart: StoredTensor["read"] = (index = []) =>
    index.length <= leading ? read(index) : part(read(index.slice(0, leading)), index.slice(leading));
  return { dtype, shape, read: readPart, parts: () => partsOf(shape, readPart) };
}
/** The same elements in another shape. */
export const reshaped = (t: StoredTensor, shape: readonly number[]): StoredTensor =>
  t.inShape?.(shape) ?? computed(t.dtype, shape, (index = []) => part({ ...t.read(), shape }, index));
/** So many rows of a matrix from one on. */
export const rowsFrom = (t: StoredTensor, first: number, rows: number): StoredTensor => {
  const [width = 0] = t.shape.slice(1);
  const shape = [rows, width];
  const own = (): Tensor => {
    const all = t.read();
    return { ...all, shape, data: all.data.slice(first * width, (first + rows) * width) };
  };
  return t.inShape?.(shape, first * width) ?? computed(t.dtype, shape, own);
};
/** What `of` makes of a tensor when it is read. `of` maps the last two axes, so a part of the others is mapped alone. */
export const derived = (t: StoredTensor, shape: readonly number[], of: (t: Tensor) => Tensor): StoredTensor =>
  computed(t.dtype, shape, (index) => of(t.read(index)));
/** With the last two axes exchanged. */
export const turned = (t: StoredTensor): StoredTensor =>
  t.turned ?? { ...derived(t, transposedShape(t.shape), transposed), turned: t };
/** The same where `of` takes some of the columns, so many: of codes it takes those that stand for them. */
export function derivedColumns(t: StoredTensor, columns: number, of: (t: Tensor) => Tensor): StoredTensor {
  const inner = (x: StoredTensor): StoredTensor => derived(x, [...x.shape.slice(0, -1), columns], of);
  if (!t.kept || t.kept.scales.shape.at(-1) !== t.shape.at(-1)) return inner(t);
  return { ...inner(t), kept: { code: t.kept.code, codes: inner(t.kept.codes), scales: inner(t.kept.scales) } };
}
/** What is at an index of a tensor's first axes, in a dtype. It is kept as codes where the scales have these axes too. */
export function partAt(t: StoredTensor, index: readonly number[], dtype: DType): StoredTensor {
  const inner = (of: StoredTensor): StoredTensor =>
    storedTensor(of.dtype, of.shape.slice(index.length), (more = []) => of.read([...index, ...more]));
  const one = inner(t);
  const made = storedTensor(dtype, one.shape, (more) => convert(one.read(more), dtype));
  if (!t.kept || !sameShape(t.kept.scales.shape.slice(0, index.length), t.shape.slice(0, index.length))) return made;
  return { ...made, kept: { code: t.kept.code, codes: inner(t.kept.codes), scales: inner(t.kept.scales) } };
}
