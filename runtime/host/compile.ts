// Compiles a plan's kernels. Kernels that the cache lacks are dealt to a few units of like length, so that the header's cost is shared
// and all cores work; the cache knows each kernel by its own text, so a unit's other kernels stay found when one of them changes.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { Bug } from "../../compiler/diagnostic.ts";
import { type Family, families, familyText } from "../../compiler/emit/shared.ts";
import { unit as unitText } from "../../compiler/emit/unit.ts";
import { onFile } from "../../compiler/on-file.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import type { ExecuteOptions } from "../plan-executable.ts";
import { hash, type KernelCache } from "./cache.ts";
import type { Toolchain } from "./toolchain.ts";

export interface Built {
  /** Paths of shared libraries. */
  readonly libraries: readonly string[];
  /** For each kernel, its library. */
  readonly kernels: readonly { readonly name: string; readonly library: number }[];
}
interface Keyed {
  readonly kernel: PlanKernel;
  readonly key: string;
}
const execute = promisify(execFile);

export async function buildKernels(
  plan: { readonly kernels: readonly PlanKernel[]; readonly header: string },
  tools: Toolchain,
  cache: KernelCache,
  jobs: number,
  compiling: ExecuteOptions["compiling"] = () => {},
): Promise<Built> {
  const around = hash([unitText(plan.header, []), tools.identity].join("\0"));
  const keyed = plan.kernels.map((kernel) => ({ kernel, key: hash([kernel.name, kernel.text, around].join("\0")) }));
  const paths = new Map(keyed.map(({ key }) => [key, cache.find(key)]));
  const missing = keyed.filter(({ key }) => paths.get(key) === null);
  if (missing.length > 0) compiling(missing.length);
  await inParallel(deal(missing, 2 * jobs), jobs, async (unit) => {
    const library = await compileUnit(unit, plan.header, tools);
    const path = cache.put(
      library,
      unit.map((k) => k.key),
    );
    for (const { key } of unit) paths.set(key, path);
  });
  const libraries = [...new Set(paths.values())].filter((path) => path !== null);
  const kernels = keyed.map(({ kernel, key }) => ({
    name: kernel.name,
    library: libraries.indexOf(paths.get(key) ?? ""),
  }));
  return { libraries, kernels };
}

/** Families stay together. Longest first, each to the unit that is shortest so far. */
function deal(kernels: readonly Keyed[], most: number): readonly (readonly Keyed[])[] {
  const keyOfKernel = new Map(kernels.map((keyed) => [keyed.kernel, keyed]));
  const all = families(kernels.map((k) => k.kernel)).map((family) => ({ family, length: lengthOf(family) }));
  const units = Array.from({ length: Math.min(most, all.length) }, () => ({ length: 0, kernels: new Array<Keyed>() }));
  for (const { family, length } of all.toSorted((a, b) => b.length - a.length)) {
    const unit = units.reduce((a, b) => (b.length < a.length ? b : a));
    unit.length += length;
    unit.kernels.push(...family.flatMap((kernel) => keyOfKernel.get(kernel) ?? []));
  }
  return units.map((unit) => unit.kernels);
}
/** In characters: a contraction has a register tile for each number of rows, and takes the compiler as long as so much other text. */
const tiles = 3000;
const lengthOf = (family: Family): number =>
  familyText(family).length + tiles * [...(family[0]?.text.matchAll(/\bmma\b/g) ?? [])].length;
/** The bytes of a shared library. The source of a unit that does not compile is kept. */
async function compileUnit(unit: readonly Keyed[], header: string, tools: Toolchain): Promise<Buffer> {
  for (const { kernel } of unit)
    if (!/^[a-z_]\w*$/i.test(kernel.name)) throw new Bug(`\`${kernel.name}\` cannot name a kernel`);
  const temporary = resolve(tmpdir()); // absolute: the compiler must not take it for a flag
  const folder = onFile(temporary, "write in", () => mkdtempSync(join(temporary, "moec-")));
  const source = join(folder, "kernels.cpp");
  const library = join(folder, "kernels.so");
  const text = unitText(
    header,
    unit.map((k) => k.kernel),
  );
  onFile(source, "write", () => writeFileSync(source, text));
  const [program, ...args] = tools.command;
  try {
    await execute(program, [...args, ...tools.flags, "-w", source, "-o", library], {
      maxBuffer: 2 ** 26,
      env: { ...process.env, TMPDIR: folder },
    });
  } catch (error) {
    const log = error instanceof Error && "stderr" in error ? String(error.stderr) : String(error);
    throw new Bug(
      `generated kernels do not compile; their source is ${source}\n${log.split("\n").slice(0, 30).join("\n")}\n`,
    );
  }
  const bytes = readFileSync(library);
  rmSync(folder, { recursive: true });
  return bytes;
}
async function inParallel<T>(items: readonly T[], jobs: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: jobs }, worker));
}
