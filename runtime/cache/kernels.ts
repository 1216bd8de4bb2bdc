// The disk cache of compiled kernels and finished plans. A library is stored in a file named by its content's hash, and for each of its kernels a
// small `.key` file names that library; so kernels are found one by one, and a damaged file is never loaded. A plan (or GPU code) is text below its
// own hash.
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { hasErrorCode, withFileErrors } from "../../compiler/file-errors.ts";
import { makeFolder, sha256, writeFlushed } from "../storage/files.ts";

interface CacheStats {
  readonly folder: string;
  readonly files: number;
  readonly bytes: number;
  readonly limit: number;
}
const gibibyte = 2 ** 30;
const hour = 3_600_000;
const ours = /^[0-9a-f]{64}\.(so|key|plan|[0-9a-f]{16}\.part)$/;

/** `MOEC_CACHE`, or moec's folder in the user's cache folder. */
export function cacheFolder(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const own = environment["MOEC_CACHE"];
  if (own !== undefined && own !== "") return own;
  const system = process.platform === "darwin" ? join(homedir(), "Library", "Caches") : join(homedir(), ".cache");
  return join(environment["XDG_CACHE_HOME"] || system, "moec");
}

export class KernelCache {
  readonly folder: string;
  readonly #limit: number;
  /** Names of libraries whose content this process has verified. */
  readonly #verified = new Set<string>();

  /** Makes the folder with mode 0700. One that belongs to, or can be written by, another user is a Problem. `limit` is in bytes. */
  constructor(root: string = cacheFolder(), limit: number = gibibyte) {
    this.folder = join(root, "kernels");
    this.#limit = limit;
    try {
      makeFolder(this.folder, 0o700);
    } catch (cause) {
      throw cacheWriteProblem(cause);
    }
    const found = fs.statSync(this.folder);
    const doubt = untrustedReason(found);
    if (doubt !== null)
      throw new Problem(`the cache ${this.folder} ${doubt}: what it holds could be anybody's code`, remedy);
    if ((found.mode & 0o777) !== 0o700) fs.chmodSync(this.folder, 0o700); // only if needed: a read-only disk would refuse it
  }

  /** The path of the library that holds the kernel with this key; null if there is none or it is damaged. */
  find(key: string): string | null {
    const name = this.#read(`${key}.key`)?.toString("utf8") ?? "";
    if (!/^[0-9a-f]{64}$/.test(name)) return null;
    if (!this.#isIntact(name)) return null;
    this.#touch(`${key}.key`);
    return join(this.folder, `${name}.so`);
  }
  /** Stores a library under the keys of all its kernels, and deletes the least recently used files if the cache is over its limit. */
  put(library: Uint8Array, keys: readonly string[]): string {
    const name = sha256([library]);
    this.#write(`${name}.so`, library);
    for (const key of keys) this.#write(`${key}.key`, name);
    this.#prune(`${name}.so`);
    return join(this.folder, `${name}.so`);
  }
  /** The text (a plan, GPU code) stored under this key; null if there is none or it is damaged. */
  findText(key: string): string | null {
    const [sum, text] = halves(this.#read(`${key}.plan`)?.toString("utf8") ?? "");
    if (sha256(text) !== sum) return null;
    this.#touch(`${key}.plan`);
    return text;
  }
  putText(key: string, text: string): void {
    this.#write(`${key}.plan`, `${sha256(text)}\n${text}`);
    this.#prune(`${key}.plan`);
  }
  stats(): CacheStats {
    const files = this.#files();
    return { folder: this.folder, files: files.length, bytes: total(files), limit: this.#limit };
  }
  clear(): void {
    this.#verified.clear();
    for (const { name } of this.#files()) withFileErrors(join(this.folder, name), "remove", () => this.#remove(name));
  }

  /** Verifies a library's hash the first time that this process uses it. */
  #isIntact(name: string): boolean {
    if (this.#verified.has(name) && this.#touch(`${name}.so`)) return true;
    const data = this.#read(`${name}.so`);
    if (data === null || sha256([data]) !== name) return false;
    this.#verified.add(name);
    return this.#touch(`${name}.so`);
  }
  #read(name: string): Buffer | null {
    let file: number;
    try {
      file = fs.openSync(join(this.folder, name), fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
    } catch {
      return null; // never made, or just dropped by another process
    }
    try {
      const found = fs.fstatSync(file);
      const doubt = untrustedReason(found);
      if (doubt !== null) throw new Problem(`${join(this.folder, name)} ${doubt}`, remedy);
      return found.isFile() ? fs.readFileSync(file) : null;
    } finally {
      fs.closeSync(file);
    }
  }
  /** Writes atomically, so that other processes see the whole file or none. */
  #write(name: string, data: string | Uint8Array): void {
    const part = join(this.folder, `${name.slice(0, 64)}.${randomBytes(8).toString("hex")}.part`);
    try {
      writeFlushed(part, [typeof data === "string" ? Buffer.from(data) : data], 0o600);
      withFileErrors(part, "write", () => fs.renameSync(part, join(this.folder, name)));
    } catch (cause) {
      fs.rmSync(part, { force: true });
      throw cacheWriteProblem(cause);
    }
  }
  /**
   * Deletes least recently used files until the cache is within its limit; never the file just written, nor one that another process may still be
   * writing.
   */
  #prune(keep: string): void {
    const files = this.#files().toSorted((a, b) => a.used - b.used);
    let bytes = total(files);
    for (const { name, used, bytes: size } of files) {
      const part = name.endsWith(".part");
      const stale = part && used < Date.now() - hour;
      if (name === keep || (part ? !stale : bytes <= this.#limit)) continue;
      this.#remove(name);
      bytes -= size;
    }
  }
  #files(): readonly { readonly name: string; readonly bytes: number; readonly used: number }[] {
    return fs.readdirSync(this.folder).flatMap((name) => {
      const stat = ours.test(name) ? fs.statSync(join(this.folder, name), { throwIfNoEntry: false }) : undefined;
      return stat === undefined ? [] : [{ name, bytes: stat.size, used: stat.mtimeMs }];
    });
  }
  #remove(name: string): void {
    fs.rmSync(join(this.folder, name), { force: true, recursive: true });
  }
  /** Marks a file as used now. False if another process has deleted it. */
  #touch(name: string): boolean {
    const now = new Date();
    try {
      fs.utimesSync(join(this.folder, name), now, now);
      return true;
    } catch (error) {
      return !hasErrorCode(error, "ENOENT");
    }
  }
}
const remedy = "set MOEC_CACHE to a folder of your own, or remove this one";
/** An error of writing the cache, with advice. It is fatal: kernels are loaded from these files. */
const cacheWriteProblem = (cause: unknown): unknown =>
  cause instanceof Problem
    ? new Problem(
        `the cache of kernels cannot be kept: ${cause.message}`,
        `${cause.help}; MOEC_CACHE names another folder`,
        {
          cause,
        },
      )
    : cause;
/** The hash in the first line (64 characters), and the text after it. */
const halves = (text: string): readonly [string, string] => [text.slice(0, 64), text.slice(65)];
const total = (files: readonly { readonly bytes: number }[]): number =>
  files.reduce((sum, file) => sum + file.bytes, 0);
/** Why another user may have written this file or folder; null if none can have. */
export function untrustedReason({ uid, mode }: { readonly uid: number; readonly mode: number }): string | null {
  if (uid !== process.getuid?.()) return "belongs to another user";
  return (mode & 0o022) === 0 ? null : "can be written by others";
}
