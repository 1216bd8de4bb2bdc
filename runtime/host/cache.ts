// Compiled kernels and finished plans on disk. A library is a file named by the hash of its content; a key is a small file that names the
// library which holds a kernel. So one library serves many kernels, each is found on its own, and a damaged file is never loaded. A plan is
// text below the hash of that text.
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { isCode, onFile } from "../../compiler/on-file.ts";
import { makeFolder, writeWhole } from "../files.ts";

interface CacheStats {
  readonly folder: string;
  readonly files: number;
  readonly bytes: number;
  readonly limit: number;
}
const gibibyte = 2 ** 30;
const hour = 3_600_000;
const ours = /^[0-9a-f]{64}\.(so|key|plan|[0-9a-f]{16}\.part)$/;
export const hash = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** `MOEC_CACHE`, or the user's folder for caches. */
export function cacheFolder(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const own = environment["MOEC_CACHE"];
  if (own !== undefined && own !== "") return own;
  const system = process.platform === "darwin" ? join(homedir(), "Library", "Caches") : join(homedir(), ".cache");
  return join(environment["XDG_CACHE_HOME"] || system, "moec");
}

export class KernelCache {
  readonly folder: string;
  readonly #limit: number;
  /** Libraries that this process has seen whole. */
  readonly #whole = new Set<string>();

  /** Makes the folder, for this user only; a folder of or for others is refused. `limit` in bytes. */
  constructor(root: string = cacheFolder(), limit: number = gibibyte) {
    this.folder = join(root, "kernels");
    this.#limit = limit;
    try {
      makeFolder(this.folder, 0o700);
    } catch (cause) {
      throw unkept(cause);
    }
    const found = fs.statSync(this.folder);
    const doubt = distrust(found);
    if (doubt !== null)
      throw new Problem(`the cache ${this.folder} ${doubt}: what it holds could be anybody's code`, remedy);
    if ((found.mode & 0o777) !== 0o700) fs.chmodSync(this.folder, 0o700); // a disk that is read-only takes no change
  }

  /** The library that holds the kernel of this key; null if there is none, or not a whole one. */
  find(key: string): string | null {
    const name = this.#read(`${key}.key`)?.toString("utf8") ?? "";
    if (!/^[0-9a-f]{64}$/.test(name)) return null;
    if (!this.#isWhole(name)) return null;
    this.#touch(`${key}.key`);
    return join(this.folder, `${name}.so`);
  }
  /** Keeps a library under all its kernels' keys, and drops what was used longest ago if that is too much. */
  put(library: Uint8Array, keys: readonly string[]): string {
    const name = hash(library);
    this.#write(`${name}.so`, library);
    for (const key of keys) this.#write(`${key}.key`, name);
    this.#prune(`${name}.so`);
    return join(this.folder, `${name}.so`);
  }
  /** The text (a plan, code for a GPU) that was kept under this key; null if there is none, or not a whole one. */
  findText(key: string): string | null {
    const [sum, text] = halves(this.#read(`${key}.plan`)?.toString("utf8") ?? "");
    if (hash(text) !== sum) return null;
    this.#touch(`${key}.plan`);
    return text;
  }
  putText(key: string, text: string): void {
    this.#write(`${key}.plan`, `${hash(text)}\n${text}`);
    this.#prune(`${key}.plan`);
  }
  stats(): CacheStats {
    const files = this.#files();
    return { folder: this.folder, files: files.length, bytes: total(files), limit: this.#limit };
  }
  clear(): void {
    this.#whole.clear();
    for (const { name } of this.#files()) onFile(join(this.folder, name), "remove", () => this.#remove(name));
  }

  /** Reads a library only when this process first sees it. */
  #isWhole(name: string): boolean {
    if (this.#whole.has(name) && this.#touch(`${name}.so`)) return true;
    const data = this.#read(`${name}.so`);
    if (data === null || hash(data) !== name) return false;
    this.#whole.add(name);
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
      const doubt = distrust(found);
      if (doubt !== null) throw new Problem(`${join(this.folder, name)} ${doubt}`, remedy);
      return found.isFile() ? fs.readFileSync(file) : null;
    } finally {
      fs.closeSync(file);
    }
  }
  /** Others see the whole file or none. */
  #write(name: string, data: string | Uint8Array): void {
    const part = join(this.folder, `${name.slice(0, 64)}.${randomBytes(8).toString("hex")}.part`);
    try {
      writeWhole(part, [typeof data === "string" ? Buffer.from(data) : data], 0o600);
      onFile(part, "write", () => fs.renameSync(part, join(this.folder, name)));
    } catch (cause) {
      fs.rmSync(part, { force: true });
      throw unkept(cause);
    }
  }
  /** Oldest first; never the file just written, nor one that another process may be writing. */
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
  /** False if another process has dropped the file since. */
  #touch(name: string): boolean {
    const now = new Date();
    try {
      fs.utimesSync(join(this.folder, name), now, now);
      return true;
    } catch (error) {
      return !isCode(error, "ENOENT");
    }
  }
}
const remedy = "set MOEC_CACHE to a folder of your own, or remove this one";
/** Kernels are run from their files, so there is no doing without. */
const unkept = (cause: unknown): unknown =>
  cause instanceof Problem
    ? new Problem(
        `the cache of kernels cannot be kept: ${cause.message}`,
        `${cause.help}; MOEC_CACHE names another folder`,
        {
          cause,
        },
      )
    : cause;
/** The first line, of 64 characters, and the rest. */
const halves = (text: string): readonly [string, string] => [text.slice(0, 64), text.slice(65)];
const total = (files: readonly { readonly bytes: number }[]): number =>
  files.reduce((sum, file) => sum + file.bytes, 0);
/** Why a file or folder may hold what another user wrote; null if it cannot. */
export function distrust({ uid, mode }: { readonly uid: number; readonly mode: number }): string | null {
  if (uid !== process.getuid?.()) return "belongs to another user";
  return (mode & 0o022) === 0 ? null : "can be written by others";
}
