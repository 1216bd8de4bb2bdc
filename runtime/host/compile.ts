// Compiles a plan's kernels. Kernels that are not cached are divided into a few translation units of about equal length, so that the header is parsed
// few times and all cores work. The cache key is of each kernel's own text, so changing one leaves the others of its unit cached.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Bug } from "../../compiler/diagnostic.ts";
import { type Family, families, familyOf, familyText, type Source } from "../../compiler/emit/shared.ts";
import { unit as unitText } from "../../compiler/emit/unit.ts";
import { onFile } from "../../compiler/on-file.ts";
import { inParallel } from "../parallel.ts";
import type { ExecuteOptions } from "../plan-executable.ts";
import { hash, type KernelCache } from "./cache.ts";
import { runCompiler } from "./compiler.ts";
import type { Toolchain } from "./toolchain.ts";

export interface Built {
  /** Paths of the shared libraries. */
  readonly libraries: readonly string[];
  /** For each kernel of the plan, the index of its library. */
  readonly kernels: readonly { readonly name: string; readonly library: number }[];
}
interface Keyed {
  readonly kernel: Source;
  readonly key: string;
}
export const buildKernels = (
  plan: { readonly kernels: readonly Source[]; readonly header: string },
  tools: Toolchain,
  cache: KernelCache,
  jobs: number,
  compiling?: ExecuteOptions["compiling"],
): Promise<Built> => new KernelBuild(plan.header, tools, cache, jobs).finish(plan.kernels, compiling);

/** Compiles the kernels of one plan. It starts on some as soon as `soon` reports them, because making the plan uses only one core. */
export class KernelBuild {
  readonly #header: string;
  readonly #tools: Toolchain;
  readonly #cache: KernelCache;
  readonly #jobs: number;
  readonly #around: string;
  readonly #stop = new AbortController();
  readonly #told = new Set<string>();
  readonly #begun: { readonly keys: ReadonlySet<string>; readonly done: Promise<string> }[] = [];
  #next = new Gathered();

  constructor(header: string, tools: Toolchain, cache: KernelCache, jobs: number) {
    [this.#header, this.#tools, this.#cache, this.#jobs] = [header, tools, cache, jobs];
    this.#around = hash([unitText(header, []), tools.identity].join("\0"));
  }
  /** Reports a kernel that the plan will have. */
  soon(kernel: Source): void {
    const free = this.#begun.length < this.#jobs - 1;
    if (!free || this.#told.has(kernel.name)) return;
    this.#told.add(kernel.name);
    const keyed = this.#keyed(kernel);
    if (this.#cache.find(keyed.key) === null) this.#next.add(keyed);
    if (this.#next.length >= worthwhile) this.#begin();
  }
  /** Stops the compilers that are running; their results are not needed. */
  abandon(): void {
    this.#stop.abort();
  }
  #begin(): void {
    const unit = this.#next.kernels;
    const done = this.#compiled(unit);
    done.catch(() => undefined); // the error is reported by `finish`, unless making the plan fails first
    this.#begun.push({ keys: new Set(unit.map((k) => k.key)), done });
    this.#next = new Gathered();
  }
  async finish(kernels: readonly Source[], compiling: ExecuteOptions["compiling"] = () => {}): Promise<Built> {
    const keyed = kernels.map((kernel) => this.#keyed(kernel));
    const begun = (key: string): boolean => this.#begun.some(({ keys }) => keys.has(key));
    const paths = new Map(keyed.map(({ key }) => [key, begun(key) ? null : this.#cache.find(key)]));
    const missing = keyed.filter(({ key }) => paths.get(key) === null);
    if (missing.length > 0) compiling(missing.length);
    const units = deal(
      missing.filter(({ key }) => !begun(key)),
      2 * this.#jobs + this.#begun.length, // the units begun early are about half done
    );
    const works = [
      ...this.#begun.map(({ keys, done }) => ({ keys, done: () => done })),
      ...units.map((unit) => ({ keys: unit.map((k) => k.key), done: () => this.#compiled(unit) })),
    ];
    await inParallel(works, this.#jobs, async ({ keys, done }) => {
      const path = await done();
      for (const key of keys) paths.set(key, path);
    });
    const libraries = [...new Set(paths.values())].filter((path) => path !== null);
    return {
      libraries,
      kernels: keyed.map(({ kernel, key }) => ({
        name: kernel.name,
        library: libraries.indexOf(paths.get(key) ?? ""),
      })),
    };
  }
  #keyed(kernel: Source): Keyed {
    return { kernel, key: hash([kernel.name, kernel.text, this.#around].join("\0")) };
  }
  /** Compiles a unit and puts it in the cache; returns the library's path. */
  async #compiled(unit: readonly Keyed[]): Promise<string> {
    const library = await compileUnit(unit, this.#header, this.#tools, this.#stop.signal);
    return this.#cache.put(
      library,
      unit.map((k) => k.key),
    );
  }
}
/** The length of a unit to begin early, in characters as `lengthOf` counts them: about a fifth of the kernels of a medium-sized program. */
const worthwhile = 40_000;
class Gathered {
  readonly kernels: Keyed[] = [];
  readonly #families = new Set<string>();
  length = 0;

  add(keyed: Keyed): void {
    const family = familyOf(keyed.kernel);
    if (!this.#families.has(family)) this.length += lengthOf([keyed.kernel]);
    this.#families.add(family);
    this.kernels.push(keyed);
  }
}

/**
 * A unit should have at least this many characters of its own kernels; with fewer, compiling the header (and what families share) once more takes
 * longer.
 */
const least = 20_000;
/** Divides kernels into units: families (kernels that differ only in numbers) stay together; longest first, each to the shortest unit so far. */
function deal(kernels: readonly Keyed[], most: number): readonly (readonly Keyed[])[] {
  const keyOfKernel = new Map(kernels.map((keyed) => [keyed.kernel, keyed]));
  const all = families(kernels.map((k) => k.kernel)).map((family) => ({ family, length: lengthOf(family) }));
  const worth = Math.ceil(all.reduce((sum, { length }) => sum + length, 0) / least);
  const count = Math.min(most, worth, all.length);
  const units = Array.from({ length: count }, () => ({ length: 0, kernels: new Array<Keyed>() }));
  for (const { family, length } of all.toSorted((a, b) => b.length - a.length)) {
    const unit = units.reduce((a, b) => (b.length < a.length ? b : a));
    unit.length += length;
    unit.kernels.push(...family.flatMap((kernel) => keyOfKernel.get(kernel) ?? []));
  }
  return units.map((unit) => unit.kernels);
}
/** What an `mma` costs the compiler, in characters of other text that take as long: it instantiates a register tile for each number of rows. */
const tiles = 3000;
const lengthOf = (family: Family): number =>
  familyText(family).length + tiles * [...(family[0]?.text.matchAll(/\bmma\b/g) ?? [])].length;
/** Compiles one translation unit; returns the shared library's bytes. If it does not compile, its source is kept for the error message. */
async function compileUnit(
  unit: readonly Keyed[],
  header: string,
  tools: Toolchain,
  stop: AbortSignal,
): Promise<Buffer> {
  for (const { kernel } of unit)
    if (!/^[a-z_]\w*$/i.test(kernel.name)) throw new Bug(`\`${kernel.name}\` cannot name a kernel`);
  const temporary = resolve(tmpdir()); // an absolute path, so that the compiler cannot take it for a flag
  const folder = onFile(temporary, "write in", () => mkdtempSync(join(temporary, "moec-")));
  const source = join(folder, "kernels.cpp");
  const library = join(folder, "kernels.so");
  const text = unitText(
    header,
    unit.map((k) => k.kernel),
  );
  try {
    onFile(source, "write", () => writeFileSync(source, text));
    await runCompiler(tools, source, library, stop);
    const bytes = readFileSync(library);
    rmSync(folder, { recursive: true });
    return bytes;
  } catch (error) {
    if (!(error instanceof Bug)) rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}
