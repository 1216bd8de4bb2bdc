// The disk cache of compiled kernels and finished plans. A library is stored in a file named by its content's hash, and for each of its kernels a
// small `.key` file names that library; so kernels are found one by one, and a damaged file is never loaded. A plan (or GPU code) is text below its
// own hash.
import { sha256 } from "../storage/files.ts";
import { CacheFolder, type CacheStats, cacheFolder, gibibyte } from "./folder.ts";

export class KernelCache {
  readonly folder: string;
  readonly #files: CacheFolder;
  /** Names of libraries whose content this process has verified. */
  readonly #verified = new Set<string>();

  /** `limit` is in bytes. */
  constructor(root: string = cacheFolder(), limit: number = gibibyte) {
    this.#files = new CacheFolder("kernels", root, limit, { room: limit / 8 });
    this.folder = this.#files.path;
  }

  /** The path of the library that holds the kernel with this key; null if there is none or it is damaged. */
  find(key: string): string | null {
    const name = this.#files.readText(`${key}.key`);
    if (!/^[0-9a-f]{64}$/.test(name)) return null;
    if (!this.#isIntact(name)) return null;
    this.#files.touch(`${key}.key`);
    return this.#files.pathOf(`${name}.so`);
  }
  /** Stores a library under the keys of all its kernels, and deletes the least recently used files if the cache is over its limit. */
  put(library: Uint8Array, keys: readonly string[]): string {
    const name = sha256([library]);
    this.#files.write(`${name}.so`, [library]);
    for (const key of keys) this.#files.write(`${key}.key`, [Buffer.from(name)]);
    this.#files.prune(`${name}.so`);
    return this.#files.pathOf(`${name}.so`);
  }
  /** The text (a plan, GPU code) stored under this key; null if there is none or it is damaged. */
  findText(key: string): string | null {
    const [sum, text] = halves(this.#files.readText(`${key}.plan`));
    if (sha256(text) !== sum) return null;
    this.#files.touch(`${key}.plan`);
    return text;
  }
  putText(key: string, text: string): void {
    this.#files.write(`${key}.plan`, [Buffer.from(`${sha256(text)}\n${text}`)]);
    this.#files.prune(`${key}.plan`);
  }
  stats(): CacheStats {
    return this.#files.stats();
  }
  clear(): void {
    this.#verified.clear();
    this.#files.clear();
  }

  /** Verifies a library's hash the first time that this process uses it. */
  #isIntact(name: string): boolean {
    if (this.#verified.has(name) && this.#files.touch(`${name}.so`)) return true;
    const data = this.#files.read(`${name}.so`);
    if (data === null || sha256([data]) !== name) return false;
    this.#verified.add(name);
    return this.#files.touch(`${name}.so`);
  }
}
/** The hash in the first line (64 characters), and the text after it. */
const halves = (text: string): readonly [string, string] => [text.slice(0, 64), text.slice(65)];
