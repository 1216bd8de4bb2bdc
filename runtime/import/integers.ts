// Weights of whole numbers of few bits, in bf16: (q - zero) * scale, rounded once. A group of inputs shares an output's scale and zero.
import { fromTo, product } from "../../compiler/types/numbers.ts";
import { computed, type StoredTensor } from "../storage/stored-tensor.ts";
import { numbers, showShape, toBf16, zeros } from "../tensor.ts";
import { asCodes, asFloats, matrixOf, type Placed, requireShape, unfit, wordsOf } from "./placed.ts";

/** What a file has of one matrix. */
interface IntegerParts {
  readonly codes: Placed;
  readonly scales: Placed;
  readonly zeros?: Placed | undefined;
  /** The group of each input. */
  readonly order?: Placed | undefined;
  /** [outputs, inputs] */
  readonly shape?: Placed | undefined;
}
/** Inputs that share a scale; "row": all of an output; "matrix": all. */
export type Group = number | "row" | "matrix";

/** compressed-tensors: codes [outputs, words of inputs], scales [outputs, groups], zeros [words of outputs, groups]; without zeros, the middle code is 0. */
export function packedRows(parts: IntegerParts, bits: number, group: Group): StoredTensor {
  const { codes, zeros, order } = parts;
  const [rows, words] = oneMatrix(codes);
  const columns = inputsOf(parts, bits);
  const groups = groupsOf(columns, group);
  requireScales(parts, group, [rows, groups]);
  if (zeros) requireShape(zeros, codes, [wordsFor(rows, bits), groups]);
  return inBf16([rows, columns], () => ({
    codes: unpacked(wordsOf(codes), { bits, n: columns, lines: rows, wide: words }),
    zeros: zeros && unpackedDown(wordsOf(zeros), { bits, n: rows, lines: groups }),
    ...scalesOf(parts, bits),
    ...placesByRows(rows, groupOfInputs(columns, group, sorted(order)), group),
  }));
}
/** Of what was not sorted compressed-tensors has groups of -1. */
const sorted = (order: Placed | undefined): Placed | undefined =>
  order && wordsOf(order).includes(-1) ? undefined : order;
/** The same of whole bytes: codes [outputs, inputs]. */
export function plainRows(parts: IntegerParts, group: Group): StoredTensor {
  const [rows, columns] = oneMatrix(parts.codes);
  const codes = asCodes(parts.codes, "i8");
  requireScales(parts, group, [rows, groupsOf(columns, group)]);
  return inBf16([rows, columns], () => ({
    codes: codes.read().map((byte) => byte ^ 128),
    zeros: undefined,
    ...scalesOf(parts, 8),
    ...placesByRows(rows, groupOfInputs(columns, group), group),
  }));
}
/** GPTQ: codes [words of inputs, outputs], scales [groups, outputs], zeros [groups, words of outputs] less `less`. Its result is [inputs, outputs]. */
export function gptq(parts: IntegerParts, bits: number, group: Group, less: number): StoredTensor {
  const { codes, order, zeros } = parts;
  const [words, columns] = oneMatrix(codes);
  const rows = Math.floor((words * 32) / bits);
  const groups = groupsOf(rows, group);
  const wide = requireByInputs(parts, bits, [groups, columns]);
  const mask = 2 ** bits - 1;
  return inBf16([rows, columns], () => ({
    codes: unpackedDown(wordsOf(codes), { bits, n: rows, lines: columns }),
    zeros:
      zeros && unpacked(wordsOf(zeros), { bits, n: columns, lines: groups, wide }).map((zero) => (zero + less) & mask),
    ...scalesOf(parts, bits),
    ...placesByColumns(groupOfInputs(rows, group, order), columns),
  }));
}
/** AWQ: codes [inputs, words of outputs], else as GPTQ, of 4 bits. Of each eight outputs a word has the even ones first. */
export function awq(parts: IntegerParts, group: Group): StoredTensor {
  const { codes, zeros } = parts;
  const [rows, words] = oneMatrix(codes);
  const columns = words * 8;
  const groups = groupsOf(rows, group);
  const wide = requireByInputs(parts, 4, [groups, columns]);
  const inOrder = (of: Placed, lines: number): Uint8Array =>
    evenFirst(unpacked(wordsOf(of), { bits: 4, n: columns, lines, wide }));
  return inBf16([rows, columns], () => ({
    codes: inOrder(codes, rows),
    zeros: zeros && inOrder(zeros, groups),
    ...scalesOf(parts, 4),
    ...placesByColumns(groupOfInputs(rows, group), columns),
  }));
}

const wordsFor = (n: number, bits: number): number => Math.ceil((n * bits) / 32);
const groupsOf = (inputs: number, group: Group): number => (typeof group === "number" ? Math.ceil(inputs / group) : 1);
function oneMatrix(codes: Placed): readonly [rows: number, columns: number] {
  if (codes.t.shape.length > 2) throw unfit(`${codes.place} is ${showShape(codes.t.shape)}, and no matrix`);
  return matrixOf(codes);
}
/** As many as is said, else as the words of a row hold. */
function inputsOf({ codes, shape }: IntegerParts, bits: number): number {
  const [rows, words] = oneMatrix(codes);
  if (!shape) return Math.floor((words * 32) / bits);
  const [outputs, inputs = 0, ...more] = wordsOf(shape);
  if (outputs === rows && inputs > 0 && wordsFor(inputs, bits) === words && more.length === 0) return inputs;
  throw unfit(`${shape.place} says [${wordsOf(shape).join(", ")}]; ${codes.place} is ${showShape(codes.t.shape)}`);
}
function requireScales({ codes, scales }: IntegerParts, group: Group, shape: readonly number[]): void {
  if (group !== "matrix") requireShape(scales, codes, shape);
  else if (product(scales.t.shape) !== 1) requireShape(scales, codes, [1]);
  asFloats(scales);
}
/** Returns the words of a row of zeros. */
function requireByInputs(parts: IntegerParts, bits: number, [groups, outputs]: readonly [number, number]): number {
  const wide = wordsFor(outputs, bits);
  requireScales(parts, "row", [groups, outputs]);
  if (parts.zeros) requireShape(parts.zeros, parts.codes, [groups, wide]);
  return wide;
}

/** `n` numbers of `bits` bits in each line of words, the first in the lowest bits; one may begin in a word and end in the next. */
interface Packed {
  readonly bits: number;
  readonly n: number;
  readonly lines: number;
}
/** Of lines that are rows of `wide` words. */
function unpacked(words: Int32Array, { bits, n, lines, wide }: Packed & { readonly wide: number }): Uint8Array {
  const all = new Uint8Array(lines * n);
  for (let line = 0; line < lines; line++)
    for (let i = 0; i < n; i++) all[line * n + i] = bitsAt(words, line * wide, 1, i * bits, bits);
  return all;
}
/** Of lines that are columns. */
function unpackedDown(words: Int32Array, { bits, n, lines }: Packed): Uint8Array {
  const all = new Uint8Array(lines * n);
  for (let i = 0; i < n; i++)
    for (let line = 0; line < lines; line++) all[i * lines + line] = bitsAt(words, line, lines, i * bits, bits);
  return all;
}
/** The bits from `bit` on of words from `from` on, `step` apart. */
function bitsAt(words: Int32Array, from: number, step: number, bit: number, bits: number): number {
  const [at, shift] = [from + (bit >>> 5) * step, bit & 31];
  const low = (words[at] ?? 0) >>> shift;
  const all = shift + bits > 32 ? low | ((words[at + step] ?? 0) << (32 - shift)) : low;
  return all & ((1 << bits) - 1);
}
const evenOdd = [0, 2, 4, 6, 1, 3, 5, 7];
function evenFirst(packed: Uint8Array): Uint8Array {
  const all = new Uint8Array(packed.length);
  for (let i = 0; i < all.length; i++) all[(i & ~7) + (evenOdd[i & 7] ?? 0)] = packed[i] ?? 0;
  return all;
}

/** The group of each input. */
function groupOfInputs(inputs: number, group: Group, order?: Placed): Int32Array {
  const groups = groupsOf(inputs, group);
  if (!order)
    return Int32Array.from({ length: inputs }, (_, i) => (typeof group === "number" ? Math.floor(i / group) : 0));
  const all = wordsOf(order);
  if (all.length !== inputs || all.some((g) => g < 0 || g >= groups))
    throw unfit(`${order.place} has not one of ${groups} groups for each of ${inputs} inputs`);
  return all;
}
/** A matrix of a file, [rows, columns]. The scale of an element is at `rowAt` of its row plus `columnAt` of its column, and so is its zero. */
interface Whole {
  readonly codes: Uint8Array;
  readonly scales: Float64Array;
  readonly zeros: Uint8Array | undefined;
  /** The zero where there are none. */
  readonly middle: number;
  readonly rowAt: Int32Array;
  readonly columnAt: Int32Array;
}
const scalesOf = ({ scales }: IntegerParts, bits: number): Pick<Whole, "scales" | "middle"> => ({
  scales: numbers(asFloats(scales).read()),
  middle: 2 ** (bits - 1),
});
type Places = Pick<Whole, "rowAt" | "columnAt">;
const placesByRows = (rows: number, groupOf: Int32Array, group: Group): Places => {
  const apart = group === "matrix" ? 0 : groupsOf(groupOf.length, group);
  return { rowAt: Int32Array.from({ length: rows }, (_, r) => r * apart), columnAt: groupOf };
};
const placesByColumns = (groupOf: Int32Array, columns: number): Places => ({
  rowAt: groupOf.map((g) => g * columns),
  columnAt: Int32Array.from(fromTo(0, columns)),
});
const inBf16 = (shape: readonly [number, number], read: () => Whole): StoredTensor =>
  computed("bf16", shape, () => {
    const t = zeros("bf16", shape);
    scaleCodes(read(), t.data);
    return t;
  });
function scaleCodes({ codes, scales, zeros, middle, rowAt, columnAt }: Whole, to: { [at: number]: number }): void {
  let at = 0;
  for (const row of rowAt)
    for (const column of columnAt) {
      const zero = zeros ? (zeros[row + column] ?? 0) : middle;
      to[at] = toBf16(((codes[at] ?? 0) - zero) * (scales[row + column] ?? Number.NaN));
      at += 1;
    }
}
