// A folder of the disk cache. Its files are named by hashes, private to the user and written atomically; the least recently used are deleted when it
// is over its limit.
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { homedir, userInfo } from "node:os";
import { join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { hasErrorCode, withFileErrors } from "../../compiler/file-errors.ts";
import { makeFolder, writeAll } from "../storage/files.ts";

export interface CacheStats {
  readonly folder: string;
  readonly files: number;
  readonly bytes: number;
  readonly limit: number;
}
export const gibibyte = 2 ** 30;
function bytesOfDisk(path: string): number {
  const { blocks, bsize } = withFileErrors(path, "read", () => fs.statfsSync(path));
  return blocks * bsize;
}
const hour = 3_600_000;
const ours = /^[0-9a-f]{64}\.(so|key|plan|tokens|[0-9a-f]{16}\.part)$/;

/** `MOEC_CACHE`, or moec's folder in the user's cache folder; `home` gives the user's home. */
export function cacheFolder(
  environment: Readonly<Record<string, string | undefined>> = process.env,
  home: () => string = userHome,
): string {
  return environment["MOEC_CACHE"] || join(environment["XDG_CACHE_HOME"] || userCaches(home), "moec");
}
const userHome = (): string => homedir() || userInfo().homedir; // HOME may be set to nothing
function userCaches(home: () => string): string {
  try {
    return process.platform === "darwin" ? join(home(), "Library", "Caches") : join(home(), ".cache");
  } catch (error) {
    // a container may run as a user that the system does not know
    throw new Problem(
      "no folder to cache in: HOME names none, and the system knows no home of this user",
      "name a folder in MOEC_CACHE, or in HOME",
      { cause: error },
    );
  }
}

/** A file that is being written. */
export interface CacheFile {
  add(chunk: Uint8Array): void;
  end(): void;
  close(): void;
}
export class CacheFolder {
  readonly path: string;
  readonly #holds: string;
  readonly #limit: number;
  readonly #room: number;
  /** The bytes of all files when this process last listed them; undefined before that. */
  #listed: number | undefined;
  /** Bytes that this process has written since. */
  #written = 0;

  /**
   * Makes the folder `holds` in `root`, with mode 0700. One that belongs to, or can be written by, another user is a Problem. `limit` and `room` are in
   * bytes: a folder over the limit is emptied until there is as much room. `share`: a share of the disk, which is the limit if it is more.
   */
  constructor(holds: "kernels" | "tokens", root: string, limit: number, { room = 0, share = 0 } = {}) {
    this.path = join(root, holds);
    this.#holds = holds;
    this.#room = room;
    try {
      makeFolder(this.path, 0o700);
    } catch (cause) {
      throw this.#writeProblem(cause);
    }
    this.#limit = Math.max(limit, share > 0 ? Math.floor(share * bytesOfDisk(this.path)) : 0);
    const found = fs.statSync(this.path);
    const doubt = untrustedReason(found);
    if (doubt !== null) throw new Problem(`the cache ${this.path} ${doubt}: what it holds could be anybody's`, remedy);
    if ((found.mode & 0o777) === 0o700) return; // a read-only disk would refuse to change it
    withFileErrors(this.path, "protect", () => fs.chmodSync(this.path, 0o700));
  }

  pathOf(name: string): string {
    return join(this.path, name);
  }
  read(name: string): Uint8Array | null {
    return this.readOpen(name, (file) => fs.readFileSync(file));
  }
  /** Empty if there is no such file. */
  readText(name: string): string {
    return new TextDecoder().decode(this.read(name) ?? undefined);
  }
  /** What `read` makes of an open file of so many bytes; null if there is no such file. One that others own or can write is a Problem. */
  readOpen<T>(name: string, read: (file: number, bytes: number) => T): T | null {
    return readOwn(this.pathOf(name), remedy, {
      read: (file, found) => (found.isFile() ? read(file, found.size) : null),
      unopened: () => null, // never made, or just dropped by another process
    });
  }
  /** Writes atomically, so that other processes see the whole file or none. A power cut may leave a damaged one, which its reader notices. */
  write(name: string, chunks: Iterable<Uint8Array>): void {
    const file = this.begin(name);
    try {
      for (const chunk of chunks) file.add(chunk);
      file.end();
    } finally {
      file.close();
    }
  }
  /** The same for a file whose chunks are not known yet: it has its name from `end` on. Without that, `close` removes it. */
  begin(name: string): CacheFile {
    const part = this.pathOf(`${name.slice(0, 64)}.${randomBytes(8).toString("hex")}.part`);
    const attempt = <T>(work: () => T): T => {
      try {
        return withFileErrors(part, "write", work);
      } catch (cause) {
        throw this.#writeProblem(cause);
      }
    };
    const file = attempt(() => fs.openSync(part, "wx", 0o600));
    return {
      add: (chunk) => attempt(() => writeAll(file, chunk)),
      end: () =>
        attempt(() => {
          this.#written += fs.fstatSync(file).size;
          fs.renameSync(part, this.pathOf(name));
        }),
      close: () => {
        fs.closeSync(file);
        fs.rmSync(part, { force: true });
      },
    };
  }
  /** Marks a file as used now. False if another process has deleted it. */
  touch(name: string): boolean {
    const now = new Date();
    try {
      fs.utimesSync(this.pathOf(name), now, now);
      return true;
    } catch (error) {
      return !hasErrorCode(error, "ENOENT");
    }
  }
  /**
   * Deletes least recently used files if the cache is over its limit; never the file just written, those `used`, nor one that another process may still be writing.
   * Tens of thousands of files take long to list, so a process does it only when what it knows of does not fit; at first, when it has written a
   * 64th of the limit, or a name (which is a hash) that begins with 0, as one in 16 of all processes' files does.
   */
  prune(keep: string, used: ReadonlySet<string> = new Set()): void {
    const isDue =
      this.#listed === undefined
        ? this.#written > this.#limit / 64 || keep.startsWith("0")
        : this.#listed + this.#written > this.#limit;
    if (!isDue) return;
    const files = this.#files().toSorted((a, b) => a.used - b.used);
    let bytes = total(files);
    const most = bytes > this.#limit ? this.#limit - this.#room : bytes;
    for (const { name, used: last, bytes: size } of files) {
      const part = name.endsWith(".part");
      const stale = part && last < Date.now() - hour;
      if (name === keep || used.has(name) || (part ? !stale : bytes <= most)) continue;
      this.#remove(name);
      bytes -= size;
    }
    [this.#listed, this.#written] = [bytes, 0];
  }
  stats(): CacheStats {
    const files = this.#files();
    return { folder: this.path, files: files.length, bytes: total(files), limit: this.#limit };
  }
  clear(): void {
    for (const { name } of this.#files()) withFileErrors(this.pathOf(name), "remove", () => this.#remove(name));
  }
  #files(): readonly { readonly name: string; readonly bytes: number; readonly used: number }[] {
    return fs.readdirSync(this.path).flatMap((name) => {
      const stat = ours.test(name) ? fs.statSync(this.pathOf(name), { throwIfNoEntry: false }) : undefined;
      return stat === undefined ? [] : [{ name, bytes: stat.size, used: stat.mtimeMs }];
    });
  }
  #remove(name: string): void {
    fs.rmSync(this.pathOf(name), { force: true, recursive: true });
  }
  /** An error of writing the cache, with advice. */
  #writeProblem(cause: unknown): unknown {
    if (!(cause instanceof Problem)) return cause;
    const help = `${cause.help}; MOEC_CACHE names another folder`;
    return new Problem(`the cache of ${this.#holds} cannot be kept: ${cause.message}`, help, { cause });
  }
}
const remedy = "set MOEC_CACHE to a folder of your own, or remove this one";
const total = (files: readonly { readonly bytes: number }[]): number =>
  files.reduce((sum, file) => sum + file.bytes, 0);
/**
 * What `read` makes of an open file. One that others own or can write is a Problem. A link is not followed: it cannot be opened, nor can a file that is
 * not there.
 */
export function readOwn<T>(
  path: string,
  help: string,
  use: {
    readonly read: (file: number, found: { readonly size: number; readonly isFile: () => boolean }) => T;
    readonly unopened: (error: unknown) => T;
  },
): T {
  let file: number;
  try {
    file = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  } catch (error) {
    return use.unopened(error);
  }
  try {
    const found = fs.fstatSync(file);
    const doubt = untrustedReason(found);
    if (doubt !== null) throw new Problem(`${path} ${doubt}`, help);
    return use.read(file, found);
  } finally {
    fs.closeSync(file);
  }
}
/** Why another user may have written this file or folder; null if none can have. */
export function untrustedReason({ uid, mode }: { readonly uid: number; readonly mode: number }): string | null {
  if (uid !== process.getuid?.()) return "belongs to another user";
  return (mode & 0o022) === 0 ? null : "can be written by others";
}
