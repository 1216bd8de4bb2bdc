// Sparse upcycling (Komatsuzaki et al. 2023, arXiv 2212.05055): an array of layers that weights lack begins as copies of the nearest layer around it that
// they have. `blocks.*.feed.moe.experts.*.up.weight` is read from `blocks.*.feed.up.weight`: the array's own name and number are left out, and so are the
// names between.
import { copies, spellings } from "../../compiler/copies.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { upcycleFlagText } from "../../compiler/flag-text.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import { product, sameShape } from "../../compiler/types/numbers.ts";
import type { StoreInfo, Tensor } from "../executable/executable.ts";
import { part, stacked } from "../tensor.ts";
import { type NamedTensors, namesOf } from "./names.ts";
import { latest, type StoredTensor, type StoredTensors } from "./stored-tensor.ts";

/** What a store of an array is read from. */
interface Source {
  /** The name of the store that the weights would have; its leading axes are these of the array's store. */
  readonly name: string;
  readonly kept: readonly number[];
  /** The paths, without numbers, of the array and of the layer that its layers are copies of. */
  readonly array: string;
  readonly layer: string;
}
export type Sources = ReadonlyMap<StoreInfo, Source>;
/** Each of the `count` layers of an array is a copy of `layer`; both are paths without numbers. */
export interface CopiedArray {
  readonly array: string;
  readonly layer: string;
  readonly count: number;
}
const showCopies = ({ count, layer }: CopiedArray): string =>
  `${pluralize(count, "copy", "copies")} of ${layer === "" ? "the whole model" : layer}`;
export const tellCopies = (copied: CopiedArray): string => `${copied.array}: ${showCopies(copied)}`;
export const offerToCopy = (copied: CopiedArray): string =>
  `${upcycleFlagText} begins ${copied.array} as ${showCopies(copied)}`;

/** Throws Problem if layers are to be copied, and no weights that have them are given. */
export function requireLayers({
  upcycle,
  params,
}: {
  readonly upcycle?: boolean | undefined;
  readonly params?: string | undefined;
}): void {
  if (upcycle && params === undefined)
    throw new Problem(
      "--upcycle copies layers of --params, which is not given",
      "add --params with the run or the weights of the dense model; a run that began so needs no --upcycle",
    );
}

/** A member of a layer, and its numbers if it is an array: those of one copy, or `*` for all. */
interface Member {
  readonly name: string;
  readonly numbers: readonly string[];
}
const membersOf = (path: string): Member[] =>
  Array.from(path.matchAll(/([^.]+)((?:\.(?:\d+|\*)(?![^.]))*)/g), ([, name = "", numbers = ""]) => ({
    name,
    numbers: numbers.split(".").slice(1),
  }));
const joined = (members: readonly Member[]): string => members.map(({ name }) => name).join(".");

/** What each store is read from that belongs to an array which the weights lack, where they have its layer. */
export function upcycleSources(stores: readonly StoreInfo[], tensors: StoredTensors): Sources {
  const given = [...tensors.keys()].map(membersOf);
  const paths = new Set(given.flatMap((members) => members.map((_, i) => joined(members.slice(0, i + 1)))));
  const whole = new Set(given.map(joined));
  return new Map(
    stores.flatMap((store): [StoreInfo, Source][] => {
      const source = sourceOf(store, paths);
      return source && whole.has(joined(membersOf(source.name))) ? [[store, source]] : [];
    }),
  );
}
/** `paths`: those of all layers and tensors of the weights. Null: no array on the way is lacking. */
function sourceOf({ name }: StoreInfo, paths: ReadonlySet<string>): Source | null {
  const members = membersOf(name);
  const had: Member[] = [];
  let lacked: Member[] = [];
  const kept: number[] = [];
  let axis = 0;
  let array: Pick<Source, "array" | "layer"> | null = null;
  for (const [i, member] of members.entries()) {
    const has = paths.has(joined([...had, ...lacked, member]));
    const axes = member.numbers.filter((number) => number === "*").map(() => axis++);
    if (has) {
      had.push(member);
      kept.push(...axes);
    } else if (member.numbers.length === 0) lacked.push(member);
    else {
      array = { array: joined(members.slice(0, i + 1)), layer: joined(had) };
      lacked = [];
    }
  }
  return array && { name: [...had, ...lacked].flatMap((m) => [m.name, ...m.numbers]).join("."), kept, ...array };
}

const keptAxes = ({ shape }: StoreInfo, { kept }: Source): number[] => kept.map((axis) => shape[axis] ?? 0);
const sourceNames = (store: StoreInfo, source: Source): string[] =>
  copies(source.name, keptAxes(store, source)).map(([name]) => name);
/** The arrays that these stores are of. */
export function copiedArrays(sources: Sources): CopiedArray[] {
  const bySource = new Map<string, CopiedArray>();
  for (const [store, source] of sources) {
    const copiesHere = product(store.shape.slice(0, store.stack)) / product(keptAxes(store, source));
    const { array, layer, name } = source;
    const key = `${array} ${name}`; // several arrays may be copies of one layer
    bySource.set(key, { array, layer, count: (bySource.get(key)?.count ?? 0) + copiesHere });
  }
  return [...new Map([...bySource.values()].map((copied) => [copied.array, copied])).values()];
}
/** The weights that are copied, which are then for nothing else: a router may have the name of a copied layer's matrix. */
export function copiedNames(sources: Sources, tensors: StoredTensors): Set<string> {
  const names = new Set<string>();
  for (const [store, source] of sources)
    for (const copy of sourceNames(store, source))
      for (const [spelling] of spellings(copy)) if (tensors.has(spelling)) names.add(spelling);
  return names;
}
/** A weight that is copied, and is also the name and has the shape of another store, is a Problem: it cannot be told which is meant. */
export function requireOnePurpose(stores: readonly StoreInfo[], sources: Sources, path: string): void {
  const others = stores.filter((s) => !sources.has(s));
  for (const [store, source] of sources) {
    const names = new Set(sourceNames(store, source));
    const fits = (s: StoreInfo): boolean => sameShape(s.shape.slice(s.stack), store.shape.slice(store.stack));
    const other = others.find((s) => fits(s) && namesOf(s).some((name) => names.has(name)));
    if (other)
      throw new Problem(
        `${path}: \`${joined(membersOf(other.name))}\` could be for itself, or for each copy of \`${joined(membersOf(store.name))}\``,
        "call one of these members something else in the program: the other one begins as the weights say",
      );
  }
}
/** The value of a store whose copies are all read from `weights`. Null: they have nothing for it. */
export function takeCopied(store: StoreInfo, source: Source, weights: NamedTensors): StoredTensor | null {
  const { dtype, shape, stack } = store;
  const [over, inner] = [shape.slice(0, stack), shape.slice(stack)];
  const axes = keptAxes(store, source);
  const purpose = `each copy of \`${joined(membersOf(store.name))}\``;
  const one = weights.take({ name: source.name, dtype, shape: [...axes, ...inner], stack: axes.length, purpose });
  if (!one) return null;
  const readOne = latest((index: readonly number[]) => one.read(index), sameShape); // copies of one layer follow one another
  const copyAt = (index: readonly number[]): Tensor => readOne(source.kept.map((axis) => index[axis] ?? 0));
  const parts = function* (): Generator<Tensor> {
    for (const [, index] of copies(store.name, over)) yield copyAt(index);
  };
  const read = (index: readonly number[] = []): Tensor => {
    if (index.length === stack) return copyAt(index);
    const whole = stacked(dtype, over, inner, parts());
    return index.length === 0 ? whole : part(whole, index);
  };
  return { dtype, shape, read, parts };
}
