// Token numbers in NumPy's file format (numpy.org/neps/nep-0001-npy-format): np.save("ids.npy", ids).
import { readSync } from "node:fs";
import { Problem } from "../../compiler/diagnostic.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import { withOpen } from "../storage/files.ts";
import { FileTokens, isNumberFormat } from "../storage/token-text.ts";

export const isNumpy = (path: string): boolean => /\.npy$/i.test(path);

/** The numbers of a file, in which they stay. */
export function openNumpy(path: string): FileTokens {
  const { header, end } = withFileErrors(path, "read", () => withOpen(path, "r", (file) => readHeader(path, file)));
  const type = /'descr': *'([^']*)'/.exec(header)?.[1] ?? "a structure";
  const shape = /'shape': *(\([\d, ]*\))/.exec(header)?.[1] ?? "()";
  const length = /^\((\d+),\)$/.exec(shape)?.[1];
  if (!isNumberFormat(type) || length === undefined)
    throw new Problem(
      `${path} holds ${type} of shape ${shape}`,
      "token numbers are one row of whole numbers: np.save(path, ids.astype(np.uint32).ravel())",
    );
  return FileTokens.ofNumbers(path, { format: type, at: end, length: Number(length) });
}
/** The text that describes the array, and where it ends. */
function readHeader(path: string, file: number): { readonly header: string; readonly end: number } {
  const start = Buffer.alloc(mostHeader);
  const bytes = start.subarray(0, readSync(file, start, 0, mostHeader, 0));
  const wide = (bytes[6] ?? 0) > 1; // the format's version
  const from = wide ? 12 : 10;
  if (bytes.length < from || bytes.toString("latin1", 0, 6) !== "\x93NUMPY")
    throw new Problem(`${path} is no file of NumPy's`, "write it by np.save, or give it another name if it is text");
  const end = from + (wide ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8));
  return { header: bytes.toString("latin1", from, end), end };
}
/** In bytes; of an array of numbers it is 128. */
const mostHeader = 1024;
