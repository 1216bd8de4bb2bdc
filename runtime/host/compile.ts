// Compiles a plan's kernels. Kernels that are not cached are divided into a few translation units of about equal length, so that the header is parsed
// few times and all cores work. The cache key is of each kernel's own text, so changing one leaves the others of its unit cached.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Bug, Problem } from "../../compiler/diagnostic.ts";
import type { Source } from "../../compiler/emit/families.ts";
import { hostUnit } from "../../compiler/emit/unit.ts";
import { withFileErrors } from "../../compiler/file-errors.ts";
import type { KernelCache } from "../cache/kernels.ts";
import type { ExecuteOptions } from "../executable/plan-executable.ts";
import { inParallel } from "../parallel.ts";
import { sha256 } from "../storage/files.ts";
import { runCompiler } from "./compiler.ts";
import type { Toolchain } from "./toolchain.ts";
import { packUnits, Unit } from "./units.ts";

export interface Built {
  /** Paths of the shared libraries. */
  readonly libraries: readonly string[];
  /** For each kernel of the plan, the index of its library. */
  readonly kernels: readonly { readonly name: string; readonly library: number }[];
}
interface Keyed extends Source {
  readonly key: string;
}
export const buildKernels = (
  plan: { readonly kernels: readonly Source[]; readonly header: string },
  tools: Toolchain,
  cache: KernelCache,
  jobs: number,
  onCompile?: ExecuteOptions["onCompile"],
): Promise<Built> => new KernelBuild(plan.header, tools, cache, jobs).finish(plan.kernels, onCompile);

/** Compiles the kernels of one plan. It starts on some as soon as `enqueue` reports them, because making the plan uses only one core. */
export class KernelBuild {
  readonly #header: string;
  readonly #tools: Toolchain;
  readonly #cache: KernelCache;
  readonly #jobs: number;
  readonly #context: string;
  readonly #stop = new AbortController();
  readonly #enqueued = new Set<string>();
  readonly #early: { readonly keys: ReadonlySet<string>; readonly done: Promise<string> }[] = [];
  #pending = new Unit<Keyed>();

  constructor(header: string, tools: Toolchain, cache: KernelCache, jobs: number) {
    [this.#header, this.#tools, this.#cache, this.#jobs] = [header, tools, cache, jobs];
    this.#context = sha256([hostUnit(header, []), tools.identity].join("\0"));
  }
  /** Reports a kernel that the plan will have. */
  enqueue(kernel: Source): void {
    const free = this.#early.length < this.#jobs - 1;
    if (!free || this.#enqueued.has(kernel.name)) return;
    this.#enqueued.add(kernel.name);
    const keyed = this.#keyed(kernel);
    if (this.#cache.find(keyed.key) === null) this.#pending.add([keyed]);
    if (this.#pending.cost >= earlyUnitCost) this.#start();
  }
  /** Stops the compilers that are running; their results are not needed. */
  cancel(): void {
    this.#stop.abort();
  }
  #start(): void {
    const unit = this.#pending.kernels;
    const done = this.#compiled(unit);
    done.catch(() => undefined); // the error is reported by `finish`, unless making the plan fails first
    this.#early.push({ keys: new Set(unit.map((k) => k.key)), done });
    this.#pending = new Unit();
  }
  async finish(kernels: readonly Source[], onCompile: ExecuteOptions["onCompile"] = () => {}): Promise<Built> {
    const keyed = kernels.map((kernel) => this.#keyed(kernel));
    const begun = (key: string): boolean => this.#early.some(({ keys }) => keys.has(key));
    const paths = new Map(keyed.map(({ key }) => [key, begun(key) ? null : this.#cache.find(key)]));
    const missing = keyed.filter(({ key }) => paths.get(key) === null);
    if (missing.length > 0) onCompile(0, missing.length);
    let compiled = 0;
    const units = packUnits(
      missing.filter(({ key }) => !begun(key)),
      2 * this.#jobs + this.#early.length, // the units begun early are about half done
    );
    const works = [
      ...this.#early.map(({ keys, done }) => ({ keys, done: () => done })),
      ...units.map((unit) => ({ keys: unit.map((k) => k.key), done: () => this.#compiled(unit) })),
    ];
    await inParallel(works, this.#jobs, async ({ keys, done }) => {
      const path = await done();
      for (const key of keys) paths.set(key, path);
      compiled += missing.filter(({ key }) => paths.get(key) === path).length;
      onCompile(compiled, missing.length);
    });
    const libraries = [...new Set(paths.values())].filter((path) => path !== null);
    return {
      libraries,
      kernels: keyed.map(({ name, key }) => ({
        name,
        library: libraries.indexOf(paths.get(key) ?? ""),
      })),
    };
  }
  #keyed({ name, text }: Source): Keyed {
    return { name, text, key: sha256([name, text, this.#context].join("\0")) };
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
/** The cost of a unit to begin early: about a fifth of the kernels of a medium-sized program. */
const earlyUnitCost = 40_000;
/** Compiles a library without kernels. Throws Problem if that fails, as where a part of the compiler is missing. */
export async function requireWorking(tools: Toolchain): Promise<void> {
  try {
    await compileUnit([], "", tools, new AbortController().signal);
  } catch (error) {
    if (!(error instanceof Bug)) throw error;
    throw new Problem(`${tools.command.join(" ")} compiles nothing: ${error.message}`, "name another compiler in CXX");
  }
}
/** Compiles one translation unit; returns the shared library's bytes. If it does not compile, its source is kept for the error message. */
async function compileUnit(
  unit: readonly Keyed[],
  header: string,
  tools: Toolchain,
  stop: AbortSignal,
): Promise<Buffer> {
  for (const { name } of unit) if (!/^[a-z_]\w*$/i.test(name)) throw new Bug(`\`${name}\` cannot name a kernel`);
  const folder = temporaryFolder();
  const source = join(folder, "kernels.cpp");
  const library = join(folder, "kernels.so");
  const text = hostUnit(header, unit);
  try {
    withFileErrors(source, "write", () => writeFileSync(source, text));
    await runCompiler(tools, source, library, stop);
    const bytes = readFileSync(library);
    rmSync(folder, { recursive: true });
    return bytes;
  } catch (error) {
    if (!(error instanceof Bug)) rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}
function temporaryFolder(): string {
  const all = resolve(tmpdir()); // an absolute path, so that the compiler cannot take it for a flag
  try {
    return withFileErrors(all, "write in", () => mkdtempSync(join(all, "moec-")));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    throw new Problem(error.message, `${error.help}; TMPDIR names another folder for temporary files`, {
      cause: error,
    });
  }
}
