// A table of what CUDA kernels use and cost. By NVIDIA's compiler, for three architectures: registers, shared memory, spills, occupancy. By the
// emulator: wavefronts of shared memory and sectors of global memory, relative to the least possible for the same bytes.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { cudaUnit } from "../../compiler/emit/unit.ts";
import type { Graph, NdArray } from "../../compiler/graph/node.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import { backends } from "../../compiler/targets.ts";
import { occupancy } from "../../runtime/cuda/architecture.ts";
import { compileKernels, nvrtcOptions, parseResources } from "../../runtime/cuda/code.ts";
import { variantHeader } from "../../runtime/cuda/variants.ts";
import type { Nvrtc } from "../../runtime/nvrtc.ts";
import { build, mapInPairs } from "../emulator/build.ts";
import { byVariants, loweredForCuda, modulesOf, type Run, runEmulated, variantOf } from "../emulator/sequence.ts";
import { storesOf } from "../graphs.ts";
import { valuesOf } from "../host/compare.ts";
import { kernelOf } from "../sequences.ts";
import { temporaryFolder } from "../temporary-folder.ts";

export const architectures: readonly string[] = ["sm_80", "sm_90a", "sm_100a"];
type Used = ReturnType<typeof parseResources>;
interface Counted {
  readonly wavefronts: Pair;
  readonly sectors: Pair;
}

export const sourceOf = (name: string, graph: Graph, stores?: ReadonlyMap<string, NdArray>): Run => ({
  name,
  sequence: loweredForCuda(graph),
  stores: stores ?? storesOf(valuesOf(graph)),
});

export interface TableOptions {
  readonly architectures: readonly string[];
  readonly only: (kernel: PlanKernel) => boolean;
  /** The device header. Default: that of CUDA without variants. */
  readonly header?: string;
}
const isVariant = (kernel: PlanKernel): boolean => variantOf(kernel) !== null;
/** A table of the wgmma variants of those kernels in the sources that have one. */
export async function tableOfVariants(sources: readonly Run[], nvrtc: Nvrtc): Promise<string> {
  const runs = sources
    .map((s) => ({ ...s, sequence: byVariants(s.sequence) }))
    .filter(({ sequence }) => sequence.launches.some((l) => isVariant(kernelOf(l))));
  const options = { architectures: ["sm_90a"], only: isVariant, header: variantHeader(backends.cuda.header()) };
  return shownTable(await tableOf(runs, nvrtc, options), options);
}
/** One row for each kernel, without those of earlier sources. Fails if a kernel spills or ptxas warns. */
export async function tableOf(
  sources: readonly Run[],
  nvrtc: Nvrtc,
  { architectures, only, header = backends.cuda.header() }: TableOptions,
): Promise<readonly Row[]> {
  const named = new Map<string, { readonly label: string; readonly kernel: PlanKernel }>();
  for (const { name, sequence } of sources) {
    const before = new Map<string, number>();
    for (const kernel of sequence.launches.map(kernelOf)) {
      if (named.has(kernel.name) || !only(kernel)) continue;
      const base = kernel.name.replace(/_[0-9a-f]+(_sm90)?$/, "");
      const n = (before.get(base) ?? 0) + 1;
      before.set(base, n);
      named.set(kernel.name, { label: `${name}: ${base}${n === 1 ? "" : ` ${n}`}`, kernel });
    }
  }
  const kernels = [...named.values()].map((x) => x.kernel);
  const [uses, counts] = [await usesOf(kernels, architectures, header, nvrtc), await countsOf(sources)];
  return [...named.values()].map(({ label, kernel }) => rowOf(label, kernel, uses, counts.get(kernel.name)));
}
export interface Row {
  readonly label: string;
  readonly kernel: PlanKernel;
  readonly cells: readonly string[];
  readonly conflicts: number;
  readonly sectors: number;
}
/** `uses`: what each kernel uses, by architecture. */
function rowOf(
  label: string,
  kernel: PlanKernel,
  uses: ReadonlyMap<string, ReadonlyMap<string, Used>>,
  cost?: Counted,
): Row {
  const { threads = 0, shared: dynamic = 0 } = kernel.launch ?? {};
  const own = [...uses.values()].map((u) => u.get(kernel.name));
  const shared = dynamic + (own[0]?.shared ?? 0);
  const share = [...uses].map(([architecture, u]) =>
    occupancy({ threads, registers: u.get(kernel.name)?.registers ?? 0, shared }, architecture),
  );
  const [conflicts, sectors] = cost ? [ratio(cost.wavefronts), ratio(cost.sectors)] : [Number.NaN, Number.NaN];
  const cells = [
    String(threads),
    String(shared),
    own.map((u) => u?.registers ?? "?").join(" "),
    own.map((u) => u?.spills ?? "?").join(" "),
    share.map((s) => Math.round(100 * (s ?? 0))).join(" "),
    conflicts.toFixed(2),
    sectors.toFixed(2),
  ];
  return { label, kernel, cells, conflicts, sectors };
}
type Pair = readonly [real: number, ideal: number];
const ratio = ([real, ideal]: Pair): number => (ideal === 0 ? 1 : real / ideal);
const plus = (a: Pair, b: Pair = [0, 0]): Pair => [a[0] + b[0], a[1] + b[1]];
const heads = ["kernel", "threads", "shared", "registers", "spills", "occupancy %", "conflicts", "sectors"];
/** Formats rows; the numbers of several architectures are in one cell. */
export function shownTable(rows: readonly Row[], { architectures }: Pick<TableOptions, "architectures">): string {
  const lines = [heads, ...rows.map((r) => [r.label, ...r.cells])];
  const widths = heads.map((_, c) => Math.max(...lines.map((line) => line[c]?.length ?? 0)));
  const text = lines.map((line) =>
    line
      .map((cell, c) => cell.padEnd(widths[c] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return [
    `${architectures.join(", ")}; conflicts and sectors on the emulator, of the least possible`,
    ...text,
    "",
  ].join("\n");
}

/**
 * What each kernel uses, by architecture and kernel name. Kernels are compiled several in a unit, because the header takes time; one that spills is
 * compiled again by itself, as moec does.
 */
async function usesOf(
  kernels: readonly PlanKernel[],
  architectures: readonly string[],
  header: string,
  nvrtc: Nvrtc,
): Promise<ReadonlyMap<string, ReadonlyMap<string, Used>>> {
  const all = new Map(architectures.map((a) => [a, new Map<string, Used>()]));
  const work = unitsOf(kernels).flatMap((unit) =>
    [...all].map(([architecture, uses]) => ({ unit, architecture, uses })),
  );
  await mapInPairs(work, async ({ unit, architecture, uses }) => {
    for (const [name, use] of await usesOfUnit(unit, architecture, header, nvrtc)) {
      assert.is(use.spills, 0, `${name} spills on ${architecture}`);
      assert.equal(use.warnings, [], `${name} on ${architecture}`);
      assert.ok(use.registers > 0, `${name} is not in the log`);
      uses.set(name, use);
    }
  });
  return all;
}
function unitsOf(kernels: readonly PlanKernel[]): PlanKernel[][] {
  const units: PlanKernel[][] = [];
  for (const wide of [false, true]) {
    const some = kernels.filter((k) => (k.launch?.wide ?? false) === wide);
    for (let i = 0; i < some.length; i += 16) units.push(some.slice(i, i + 16));
  }
  return units;
}
async function usesOfUnit(
  unit: readonly PlanKernel[],
  architecture: string,
  header: string,
  nvrtc: Nvrtc,
): Promise<Map<string, Used>> {
  const [first, ...rest] = unit;
  if (!first) return new Map();
  const text = [cudaUnit(header, first), ...rest.map((k) => k.text)].join("\n");
  const { log } = await nvrtc.compile({ name: "unit.cu", text, architecture, options: nvrtcOptions });
  const uses = new Map(unit.map((k) => [k.name, parseResources(k.name, log)]));
  const again = unit.filter((k) => (uses.get(k.name)?.spills ?? 0) > 0);
  const code = await compileKernels(
    { kernels: again, header },
    { architecture, compiler: nvrtc, cache: null, jobs: 1 },
  );
  for (const [i, { name }] of again.entries()) uses.set(name, code[i] ?? parseResources(name, log));
  return uses;
}

/** Wavefronts and sectors of each kernel, summed over all its launches. */
async function countsOf(sources: readonly Run[]): Promise<ReadonlyMap<string, Counted>> {
  await build();
  const kernels = new Map(sources.flatMap((s) => s.sequence.launches.map(kernelOf).map((k) => [k.name, k])));
  const modules = await modulesOf([...kernels.values()]);
  const lines: string[] = [];
  for (let i = 0; i < sources.length; i += 12) lines.push(...(await linesOf(sources.slice(i, i + 12), modules)));
  const sums = new Map<string, Counted>();
  for (const line of lines) {
    const { kernel, wavefronts, sectors } = JSON.parse(line) as Counted & { readonly kernel: string };
    const before = sums.get(kernel);
    sums.set(kernel, {
      wavefronts: plus(wavefronts, before?.wavefronts),
      sectors: plus(sectors, before?.sectors),
    });
  }
  return sums;
}
/** What the emulator counts of each launch of some sources, in one process: it has a limit of time. */
async function linesOf(sources: readonly Run[], modules: readonly string[]): Promise<string[]> {
  const file = join(temporaryFolder(), "counts");
  const outcomes = await runEmulated(sources, modules, { words: `count=${file}`, grid: 4 });
  for (const [i, { findings }] of outcomes.entries()) assert.is(findings, "", sources[i]?.name);
  return readFileSync(file, "utf8").split("\n").filter(Boolean);
}
