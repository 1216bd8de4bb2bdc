import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

function put(functions: Partial<typeof fs>): void {
  Object.assign(fs, functions);
  syncBuiltinESMExports();
}
/** Runs `work` while functions of Node's `fs` are replaced, in all modules that import them. */
export async function withPatchedFs<T>(functions: Partial<typeof fs>, work: () => T | Promise<T>): Promise<T> {
  const names = Object.keys(functions) as (keyof typeof fs)[];
  const before = Object.fromEntries(names.map((name) => [name, fs[name]]));
  put(functions);
  try {
    return await work();
  } finally {
    put(before);
  }
}
/** Throws the system's error for a full disk. */
export const full = (): never => {
  throw Object.assign(new Error("no room"), { code: "ENOSPC" });
};
