// Divides kernels into translation units that take about equally long to compile, so that the header is parsed few times and all cores work.
import { type Family, families, familyOf, familyText, type Source } from "../../compiler/emit/families.ts";
import { item } from "../../compiler/item.ts";

/** What an `mma` costs the compiler, and the register tiles of a kind, in characters of other text that take as long. */
const mmaCost = 1000;
const tilesCost = 2500;
/** A unit should have at least this cost; with less, compiling the header (and what families share) once more takes longer. */
const minUnitCost = 20_000;

/** Kernels that are compiled together. Kernels of a family cost no more than one, and those that use register tiles of one kind share them. */
export class Unit<K extends Source> {
  readonly kernels: K[] = [];
  readonly #families = new Set<string>();
  readonly #kinds = new Set<string>();
  cost = 0;

  /** What a family, or more of one, would add. */
  costOf(family: readonly K[]): number {
    const first = item(family, 0);
    if (this.#families.has(familyOf(first))) return 0;
    const kinds = tileKinds(first).filter((kind) => !this.#kinds.has(kind));
    return familyText(family).length + mmaCost * matches(first, /\bmma\b/g).length + tilesCost * kinds.length;
  }
  add(family: readonly K[]): void {
    const first = item(family, 0);
    this.cost += this.costOf(family);
    this.#families.add(familyOf(first));
    for (const kind of tileKinds(first)) this.#kinds.add(kind);
    this.kernels.push(...family);
  }
}
/** Divides kernels into at most so many units: the longest family first, each to the unit that then costs least. */
export function packUnits<K extends Source>(kernels: readonly K[], most: number): readonly (readonly K[])[] {
  const known = new Map<Source, K>(kernels.map((kernel) => [kernel, kernel]));
  const own = (family: Family): readonly K[] => family.flatMap((kernel) => known.get(kernel) ?? []);
  const all = families(kernels).map((family) => ({ family: own(family), cost: new Unit<K>().costOf(own(family)) }));
  const byCost = Math.ceil(all.reduce((sum, { cost }) => sum + cost, 0) / minUnitCost);
  const units = Array.from({ length: Math.min(most, byCost, all.length) }, () => new Unit<K>());
  for (const { family } of all.toSorted((a, b) => b.cost - a.cost)) {
    const after = units.map((unit) => ({ unit, cost: unit.cost + unit.costOf(family) }));
    after.reduce((a, b) => (b.cost < a.cost ? b : a)).unit.add(family);
  }
  return units.map((unit) => unit.kernels);
}
/** The kinds of register tiles that a kernel uses, as far as its text tells: how left operands lie, and how wide accumulators are. */
function tileKinds(kernel: Source): string[] {
  const widths = matches(kernel, /Acc<\d+, (\d+)>/g);
  return [...new Set(matches(kernel, /\b(Rows|pack_\w*micro_panels|transposed)\b/g))].flatMap((left) =>
    [...new Set(widths)].map((width) => `${left} ${width}`),
  );
}
const matches = ({ text }: Source, pattern: RegExp): string[] =>
  [...text.matchAll(pattern)].map(([all, part]) => part ?? all);
