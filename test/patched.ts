import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

function put(functions: Partial<typeof fs>): void {
  Object.assign(fs, functions);
  syncBuiltinESMExports();
}
/** Does `work` while functions of Node's `fs` are others, wherever they are imported. */
export async function patched<T>(functions: Partial<typeof fs>, work: () => T | Promise<T>): Promise<T> {
  const names = Object.keys(functions) as (keyof typeof fs)[];
  const before = Object.fromEntries(names.map((name) => [name, fs[name]]));
  put(functions);
  try {
    return await work();
  } finally {
    put(before);
  }
}
/** What the system says of a disk that is full. */
export const full = (): never => {
  throw Object.assign(new Error("no room"), { code: "ENOSPC" });
};
