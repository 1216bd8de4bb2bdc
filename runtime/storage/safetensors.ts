// The safetensors format: 8 bytes of header length, a JSON header `{ name: { dtype, shape, data_offsets } }`, then the data, without holes.
// https://huggingface.co/docs/safetensors: little-endian, row-major, offsets from the end of the header.
import { fstatSync } from "node:fs";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { dtypeOfScales, shapeOfNumbers } from "../../compiler/graph/codes.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { allWeights, bytesOf, type DType, type Weights } from "../../compiler/types/dtype.ts";
import { product } from "../../compiler/types/numbers.ts";
import { axesOfScales, dequantised } from "../codes.ts";
import type { Tensor } from "../executable/executable.ts";
import { noBit, placeOf, requireElements, requireMap, showShape, widenF16, zeros } from "../tensor.ts";
import { readInto, splitBytes, withOpen, writeUserFile } from "./files.ts";
import { isJsonObject } from "./json.ts";
import {
  allInMemory,
  type Code,
  codesInFiles,
  computed,
  type FileTensor,
  isCodes,
  partsOf,
  readAll,
  type StoredCodes,
  type StoredTensor,
  scalesOf,
} from "./stored-tensor.ts";

/** The limit of the format's own reader, in bytes. */
const headerLimit = 100_000_000;
const brace = "{".charCodeAt(0);
type Named = Exclude<DType, "i8">;
const names: Readonly<Record<Named, string>> = { f32: "F32", f64: "F64", bf16: "BF16", i32: "I32", bool: "BOOL" };
const nameOf = ({ dtype, fileCode = "i8" }: FileTensor): string =>
  dtype === "i8" ? codeNames[fileCode] : names[dtype];
/** Pairs of 32 bits, the lower first, are numbers of 64 where a file shall have those. */
const typeOf = (t: FileTensor): { readonly dtype: string; readonly shape: readonly number[] } =>
  t.areWords ? { dtype: convertedNames.i64, shape: t.shape.slice(0, -1) } : { dtype: nameOf(t), shape: t.shape };
/** Numbers that become those of a dtype of ours when they are read. */
const convertedNames = { i64: "I64", f16: "F16" } as const;
export const codeNames: Readonly<Record<Code, string>> = {
  u8: "U8",
  i8: "I8",
  e4m3: "F8_E4M3",
  e8m0: "F8_E8M0",
};
type Converted = keyof typeof convertedNames;
const becomes: Readonly<Record<Converted, DType>> = { i64: "i32", f16: "f32" };
type FileType = Named | Converted | Code;
const bytesIn: Readonly<Record<FileType, number>> = { ...bytesOf, i64: 8, f16: 2, u8: 1, e4m3: 1, e8m0: 1 };
const fileTypes: ReadonlyMap<string, FileType> = new Map(
  Object.entries({ ...names, ...convertedNames, ...codeNames }).map(([type, name]) => [name, type as FileType]),
);
const isCode = (type: FileType): type is Code => Object.hasOwn(codeNames, type);

interface Item {
  readonly name: string;
  readonly type: FileType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** Where a file holds a tensor. `version`: that of the file whose header says so. */
interface Source extends Omit<Item, "begin" | "end"> {
  readonly path: string;
  readonly held: number | undefined;
  readonly version: string;
  readonly position: number;
}

/** A whole file in chunks: the header, padded to 8 bytes, then each tensor's data in the given order. Reads one tensor at a time, or a part of one. */
export function* safetensorsChunks(
  tensors: ReadonlyMap<string, FileTensor>,
  metadata: Record<string, string> = {},
): Generator<Uint8Array> {
  const header = new Map<string, unknown>(Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : []);
  let offset = 0;
  for (const [name, t] of tensors) {
    if (name === "__metadata__")
      throw new Problem("safetensors files keep the name `__metadata__` for themselves", "rename the parameter");
    const end = offset + product(t.shape) * bytesOf[t.dtype];
    header.set(name, { ...typeOf(t), data_offsets: [offset, end] });
    offset = end;
  }
  // Object.fromEntries, unlike assigning, also keeps a tensor called `__proto__`.
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const head = new Uint8Array(8 + Math.ceil(json.byteLength / 8) * 8).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(head.byteLength - 8), true);
  head.set(json, 8);
  yield head;
  for (const t of tensors.values()) for (const { data } of t.parts()) yield* splitBytes(data);
}

/** Writes tensors by name to a file, which `readSafetensors` and PyTorch read. */
export function writeSafetensors(path: string, tensors: ReadonlyMap<string, Tensor>): void {
  requireMap("the tensors", tensors);
  for (const [name, tensor] of tensors) requireElements(name, tensor);
  writeUserFile(path, safetensorsChunks(allInMemory(tensors)));
}

/** All tensors of a file, by name; I64 is converted to i32, F16 to f32. Any error is a Problem that names the file and the tensor. */
export const readSafetensors = (path: string): Map<string, Tensor> => readAll(openSafetensors(path));
/** The same, of which only the header is read yet. `held`: the open file, which stays open as long as tensors are read; else each read opens it. */
export function openSafetensors(path: string, held?: number): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  const all = openWithCodes(path, held);
  const scales = new Set([...all].flatMap(([name, t]) => (isCodes(t) ? [scalesOf(name)] : [])));
  for (const [name, t] of all) {
    if (scales.has(name)) continue;
    const [by, code] = [all.get(scalesOf(name)), isCodes(t) ? codeOfFile(t) : undefined];
    if (!isCodes(t)) tensors.set(name, t);
    else if (code === undefined || !by) throw notNumbers(path, name, codeNames[t.code]);
    else if (areScalesOf(code, t, by)) tensors.set(name, multiplied(code, t, by));
    else throw noScales(path, name, { code, codes: t, scales: by });
  }
  return tensors;
}
const codeOfFile = (t: StoredCodes): Weights | undefined => allWeights.find((w) => codesInFiles[w] === t.code);
const areScalesOf = (
  code: Weights,
  { shape }: StoredCodes,
  scales: StoredTensor | StoredCodes,
): scales is StoredTensor =>
  !isCodes(scales) && scales.dtype === dtypeOfScales[code] && axesOfScales(code, shape, scales.shape) !== null;
/** The numbers that codes stand for. */
function multiplied(code: Weights, file: StoredCodes, scales: StoredTensor): StoredTensor {
  const axes = axesOfScales(code, file.shape, scales.shape) ?? [];
  const read: StoredTensor["read"] = (index = []) => ({
    dtype: "i8",
    shape: file.shape.slice(index.length),
    data: new Int8Array(file.read(index).buffer),
  });
  const codes: StoredTensor = { dtype: "i8", shape: file.shape, read, parts: () => partsOf(file.shape, read) };
  const numbers = computed("f32", shapeOfNumbers(file.shape, { code, axes }), (index = []) => {
    const by = scales.read(index.map((n, axis) => (scales.shape[axis] === 1 ? 0 : n)));
    return dequantised({ code, codes: codes.read(index), scales: by });
  });
  return { ...numbers, kept: { code, codes, scales } };
}
/** The same of a file that may hold codes. */
export function openWithCodes(path: string, held?: number): Map<string, StoredTensor | StoredCodes> {
  return withFile(path, held, (file) => {
    const found = fstatSync(file);
    if (found.isFIFO())
      throw new Problem(
        `${path} is a pipe, and safetensors are read from a file`,
        "write it to a file first; `moec run --input -` reads JSON from stdin",
      );
    const { size } = found;
    const version = versionOf(file);
    const items = readHeader(path, file, size);
    const base = size - (items.at(-1)?.end ?? 0);
    return new Map(
      items.map((item) => [item.name, stored({ ...item, path, held, version, position: base + item.begin })]),
    );
  });
}
/** Differs if the file was replaced or written to. */
function versionOf(file: number): string {
  const { dev, ino, size, mtimeNs } = fstatSync(file, { bigint: true });
  return [dev, ino, size, mtimeNs].join();
}
function withFile<T>(path: string, held: number | undefined, read: (file: number) => T): T {
  return withFileErrors(path, "read", () => (held === undefined ? withOpen(path, "r", read) : read(held)));
}
function stored(source: Source): StoredTensor | StoredCodes {
  const { path, held, version, type, shape, position } = source;
  const reader =
    <T>(part: (shape: readonly number[], file: number, position: number) => T) =>
    (index: readonly number[] = []): T => {
      const inner = shape.slice(index.length);
      const at = position + placeOf(shape, index) * product(inner) * bytesIn[type];
      return withFile(path, held, (file) => {
        if (versionOf(file) !== version)
          throw new Problem(`${path} was written to while it was read`, "try again when nothing writes it");
        return part(inner, file, at);
      });
    };
  if (isCode(type))
    return { code: type, shape, read: reader((inner, file, at) => readInto(new Uint8Array(product(inner)), file, at)) };
  const dtype = type === "i64" || type === "f16" ? becomes[type] : type;
  const read = reader((inner, file, at) => readPart(source, zeros(dtype, inner), file, at));
  const inShape = (other: readonly number[], first = 0): StoredTensor =>
    stored({ ...source, shape: other, position: position + first * bytesIn[type] }) as StoredTensor;
  const made = { dtype, shape, read, parts: () => partsOf(shape, read), inShape };
  if (type !== "i64") return made;
  return { ...made, words: stored({ ...source, type: "i32", shape: [...shape, 2] }) as StoredTensor };
}

const broken = (path: string, what: string): Problem =>
  new Problem(
    `${path} is not a safetensors file that moec can read: ${what}`,
    "write the file again, or take another copy of it",
  );
const notNumbers = (path: string, name: string, type: unknown): Problem =>
  new Problem(
    `${path}: \`${name}\` has dtype ${JSON.stringify(type)}`,
    `convert it to one of ${[...Object.values(names), ...Object.values(convertedNames)].join(", ")}; quantised weights are read with the config.json beside them: give the folder of both${type === codeNames.i8 || type === codeNames.u8 ? `; those of moec stand beside their scales, \`${scalesOf(name)}\`` : ""}`,
  );
const noScales = (
  path: string,
  name: string,
  { code, codes, scales }: { code: Weights; codes: StoredCodes; scales: StoredTensor | StoredCodes },
): Problem =>
  new Problem(
    `${path}: \`${scalesOf(name)}\` is ${isCodes(scales) ? scales.code : scales.dtype}${showShape(scales.shape)}, which cannot be scales of \`${name}\`, ${codes.code}${showShape(codes.shape)}`,
    `${wantedScales[code]}; or take another copy of the file`,
  );
const wantedScales: Readonly<Record<Weights, string>> = {
  int8: "give f32 scales of as many axes, of length 1 along those of a column, which stand in a row: [1, N] of [K, N]",
  fp4: "give bf16 scales, one for each 16 bytes of a column, which have 32 codes: [K, N] of [16 K, N]",
};
const brokenItem = (path: string, name: string, what: string): Problem => broken(path, `\`${name}\` ${what}`);

/** Reads the header. Returns its tensors in the order of their data, which must cover the file without gaps or overlaps. */
function readHeader(path: string, file: number, size: number): Item[] {
  if (size < 8) throw broken(path, `it has ${pluralize(size, "byte")}, and the header's length alone takes 8`);
  const length = new DataView(readInto(new Uint8Array(8), file, 0).buffer).getBigUint64(0, true);
  if (length > headerLimit) {
    if (readInto(new Uint8Array(Math.min(1, size - 8)), file, 8)[0] !== brace)
      throw new Problem(`${path} is no safetensors file`, "give one: a header of JSON stands behind its first 8 bytes");
    throw broken(path, `its header says it is ${length} bytes long; the limit is ${headerLimit}`);
  }
  const data = size - 8 - Number(length);
  if (data < 0) throw broken(path, `its header says it is ${length} bytes long, and the file has ${size}`);
  const items = parseHeader(path, readInto(new Uint8Array(Number(length)), file, 8));
  let end = 0;
  for (const item of items) {
    if (item.begin !== end)
      throw brokenItem(
        path,
        item.name,
        `begins at byte ${item.begin} of the data, and the one before it ends at ${end}`,
      );
    if (item.end > data) throw brokenItem(path, item.name, `ends at byte ${item.end} of ${data}`);
    end = item.end;
  }
  if (end !== data)
    throw broken(
      path,
      `${pluralize(data - end, "byte")} at its end ${data - end === 1 ? "belongs" : "belong"} to no tensor`,
    );
  return items;
}

function parseHeader(path: string, bytes: Uint8Array): Item[] {
  let header: unknown;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    header = JSON.parse(text);
  } catch {
    throw broken(path, "its header is not JSON");
  }
  if (!isJsonObject(header) || !text.startsWith("{")) throw broken(path, "its header is not a JSON object");
  const twice = repeatedKey(text);
  if (twice !== null) throw brokenItem(path, twice, "occurs twice");
  checkMetadata(path, header["__metadata__"]);
  return Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, value]) => itemOf(path, name, value))
    .toSorted((a, b) => a.begin - b.begin || a.end - b.end);
}
function checkMetadata(path: string, metadata: unknown): void {
  if (metadata === undefined) return;
  if (!isJsonObject(metadata) || Object.values(metadata).some((x) => typeof x !== "string"))
    throw broken(path, "its __metadata__ is not an object of strings");
}

const isCount = (x: unknown): x is number => Number.isSafeInteger(x) && (x as number) >= 0;

function itemOf(path: string, name: string, value: unknown): Item {
  if (!isJsonObject(value)) throw brokenItem(path, name, "is not described by an object");
  const { dtype: written, shape, data_offsets: offsets } = value;
  const type = fileTypes.get(String(written));
  if (type === undefined) throw notNumbers(path, name, written);
  if (!Array.isArray(shape) || !shape.every(isCount)) throw brokenItem(path, name, "has no valid shape");
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw brokenItem(path, name, "has no valid data_offsets");
  const [begin = 0, end = 0] = offsets;
  const bytes = product(shape) * bytesIn[type];
  if (end - begin !== bytes)
    throw brokenItem(
      path,
      name,
      `has ${pluralize(end - begin, "byte")}, and ${String(written)}${showShape(shape)} takes ${bytes}`,
    );
  return { name, type, shape, begin, end };
}

/** Reads from an open file, at a position, what is part of a tensor: all of `t`. */
function readPart({ path, name, type }: Source, t: Tensor, file: number, position: number): Tensor {
  const { length } = t.data;
  if (type === "i64") narrow(readInto(new BigInt64Array(length), file, position), t.data, `${path}: \`${name}\``);
  else if (type === "f16") widenF16(readInto(new Uint16Array(length), file, position), t.data);
  else readInto(t.data, file, position);
  if (type === "bool" && noBit(t.data) !== undefined)
    throw brokenItem(path, name, "is BOOL and holds bytes other than 0 and 1");
  return t;
}
function narrow(wide: BigInt64Array, to: Tensor["data"], what: string): void {
  for (const [i, x] of wide.entries()) {
    if (BigInt.asIntN(32, x) !== x)
      throw new Problem(
        `${what} holds ${x}, which is not a 32-bit integer`,
        "moec's integers are i32: give smaller ones",
      );
    to[i] = Number(x);
  }
}

/** A key that occurs twice in the outermost object, or null; JSON.parse would silently take the last. `text` must be valid JSON. */
function repeatedKey(text: string): string | null {
  const seen = new Set<string>();
  let depth = 0;
  for (const [token, string] of text.matchAll(/("(?:[^"\\]|\\.)*")\s*:|"(?:[^"\\]|\\.)*"|[{}[\]]/gs)) {
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    else if (depth === 1 && string !== undefined) {
      const key = JSON.parse(string) as string;
      if (seen.has(key)) return key;
      seen.add(key);
    }
  }
  return null;
}
