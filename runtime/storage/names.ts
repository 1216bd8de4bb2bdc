// Names of stores and of tensors in files. A store may hold all copies of an array of layers (`experts.*.up.weight`, with a leading axis for each
// `*`); in files each copy has its own name (`experts.3.up.weight`). Reading also accepts stacked tensors, whose names leave out numbers that are
// leading axes instead.
import { nearest } from "../../compiler/check/errors.ts";
import { copies, spellings, stackedName } from "../../compiler/copies.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { shapeOfScales } from "../../compiler/graph/codes.ts";
import { getOrMake } from "../../compiler/memoize.ts";
import type { CodesOfCopies } from "../../compiler/transform/quantise.ts";
import { isFloat } from "../../compiler/types/dtype.ts";
import { product, sameShape } from "../../compiler/types/numbers.ts";
import { axesOfScales } from "../codes.ts";
import { type Executable, hasWholeCodes, type StoreInfo, type Tensor } from "../executable/executable.ts";
import { part, placeOf, showShape, stacked } from "../tensor.ts";
import { codesAt, type KeptCodes, partAt, type StoredTensor, type StoredTensors } from "./stored-tensor.ts";

interface Named extends Pick<StoreInfo, "name" | "dtype" | "shape" | "stack"> {
  /** What a tensor that does not fit is said to be given for. Default: the name of the copy. */
  readonly purpose?: string;
}

export const stackOf = (name: string): number => name.split("*").length - 1;
/** More copies are one tensor wherever we name them: of a million, the names alone would be 100 MB. */
const mostNames = 2 ** 15;
const areMany = (over: readonly number[]): boolean => product(over) > mostNames;
/** What we call the copies of a store, and where they are in it: as `copies`, or if there are very many all of them by one name. */
export const savedNames = (name: string, over: readonly number[]): [name: string, index: number[]][] =>
  areMany(over) ? [[stackedName(name), []]] : copies(name, over);

/** Advice for a name that does not exist: the nearest, and all names, or, of many, the 12 most like it. */
export function namesHelp(what: string, unknown: string, names: readonly string[]): string {
  const few = 12;
  const meant = nearest(unknown, names);
  if (names.length <= 1.5 * few)
    return `${meant === null ? "" : `most like it is \`${meant}\`; `}the ${what} are ${names.join(", ") || "none"}`;
  const likeness = (name: string): number => similarity(name, unknown) + (name === meant ? 0.5 : 0);
  const near = names.toSorted((a, b) => likeness(b) - likeness(a)).slice(0, few);
  return `of ${names.length} ${what} those most like it are ${near.join(", ")}`;
}
/** A measure of how alike two dotted paths are: the words that they share, of which those at the end count most. */
function similarity(a: string, b: string): number {
  const [x, y] = [a.split("."), b.split(".")];
  const apart = x.toReversed().findIndex((word, i) => word !== y.at(-1 - i));
  return 2 * (apart < 0 ? x.length : apart) + x.filter((word, i) => word === y[i]).length;
}
/** The names of all copies in a store, by `savedNames`. */
export const namesOf = ({ name, shape }: Pick<StoreInfo, "name" | "shape">): string[] =>
  savedNames(name, shape.slice(0, stackOf(name))).map(([copy]) => copy);
/** Splits a stacked tensor into one tensor for each of these names. */
export function splitStacked(name: string, t: Tensor): [string, Tensor][] {
  return savedNames(name, t.shape.slice(0, stackOf(name))).map(([n, index]) => [
    n,
    index.length === 0 ? t : part(t, index),
  ]);
}

/** The tensors of one file, looked up by the names of copies. Records what was used, so that left-over tensors can be reported. */
export class NamedTensors {
  readonly #tensors: StoredTensors;
  readonly #file: string;
  readonly #misfitHelp: string;
  readonly #used = new Map<string, Set<string>>();
  /** Tensors that were used whole, of all copies. */
  readonly #whole = new Set<string>();
  /** The names of arrays of which the file has copies one by one. */
  #apart: ReadonlySet<string> | undefined;

  /** `misfitHelp`: what to do where a tensor has not the shape of its store. */
  constructor(tensors: StoredTensors, file: string, misfitHelp = "give a tensor of that shape") {
    this.#tensors = tensors;
    this.#file = file;
    this.#misfitHelp = misfitHelp;
  }

  /** The value of a store; null if the file has none of its copies, a Problem if it has only some or they do not fit. */
  take(store: Named): StoredTensor | null {
    return this.#takeWhole(store) ?? (this.#hasAny(stackedName(store.name)) ? this.#takeCopies(store) : null);
  }
  /** Whether the file has any copy of this array, by any name. If not, each of a million need not be looked for. */
  #hasAny(whole: string): boolean {
    const apart = this.#namesApart();
    return spellings(whole).some(([name]) => this.#tensors.has(name) || apart.has(name));
  }
  /** All copies, where the file has them as one tensor and in no other way. */
  #takeWhole({ name, dtype, shape, stack }: Named): StoredTensor | null {
    const spelling = stackedName(name);
    const t = this.#tensors.get(spelling);
    if (stack === 0 || !t || !sameShape(t.shape, shape) || this.#hasAnother(spelling)) return null;
    this.#whole.add(spelling);
    const whole = partAt(t, [], dtype);
    if (!isFloat(dtype)) whole.read(); // as in #find
    return whole;
  }
  /** Whether the file gives some copies of this array by another name too. */
  #hasAnother(whole: string): boolean {
    return this.#namesApart().has(whole) || stackedSpellings(whole).some((name) => this.#tensors.has(name));
  }
  #namesApart(): ReadonlySet<string> {
    return (this.#apart ??= new Set([...this.#tensors.keys()].flatMap(stackedSpellings)));
  }
  #takeCopies(store: Named): StoredTensor | null {
    const over = store.shape.slice(0, store.stack);
    const shape = store.shape.slice(store.stack);
    const all = copies(store.name, over);
    const found = all.map(([name]) => this.#find(name, { ...store, shape }));
    const missing = found.findIndex((t) => t === null);
    if (missing >= 0) {
      const has = found.findIndex((t) => t !== null);
      if (has < 0) return null;
      throw new Problem(
        `${this.#file} has \`${all[has]?.[0]}\` but not \`${all[missing]?.[0]}\``,
        "give every copy of the array, or none",
      );
    }
    return joined(
      over,
      found.filter((t) => t !== null),
      { dtype: store.dtype, shape },
    );
  }

  /** Names of tensors that were never used, and of stacked ones of which copies were never used. */
  unread(): string[] {
    return [...this.#tensors].flatMap(([name, t]) => {
      const used = this.#used.get(name);
      if (this.#whole.has(name)) return [];
      if (!used) return [name];
      const axes = [...used][0]?.split(",").filter((x) => x !== "").length ?? 0;
      return used.size === product(t.shape.slice(0, axes))
        ? []
        : [`${name} (${used.size} of its ${product(t.shape.slice(0, axes))} copies)`];
    });
  }

  #find(name: string, { dtype, shape, purpose = `\`${name}\`` }: Omit<Named, "name">): StoredTensor | null {
    const found = spellings(name).filter(([spelling]) => this.#tensors.has(spelling));
    const [first, second] = found;
    if (!first) return null;
    if (second)
      throw new Problem(
        `${this.#file} gives \`${name}\` twice: as \`${first[0]}\` and in \`${second[0]}\``,
        "leave one of them out",
      );
    const [spelling, index] = first;
    const t = this.#tensors.get(spelling);
    if (!t) return null;
    if (index.some((n, axis) => n >= (t.shape[axis] ?? 0)))
      throw new Problem(
        `${this.#file}: \`${spelling}\` is ${t.dtype}${showShape(t.shape)}, which holds no copy ${index.join(", ")}`,
        `give it ${index.length} leading axes, one place for each copy`,
      );
    const inner = t.shape.slice(index.length);
    if (!sameShape(inner, shape))
      throw new Problem(
        `${this.#file}: \`${spelling}\` gives ${t.dtype}${showShape(inner)} for ${purpose}, which is ${dtype}${showShape(shape)}`,
        this.#misfitHelp,
      );
    getOrMake(this.#used, spelling, () => new Set()).add(index.join());
    const value = partAt(t, index, dtype);
    if (!isFloat(dtype)) value.read(); // a number that is no integer is found before anything is set
    return value;
  }
}
/** All copies, in the order of their places in `over`, as one tensor. */
function joined(
  over: readonly number[],
  copiesOfIt: readonly StoredTensor[],
  { dtype, shape }: Pick<StoredTensor, "dtype" | "shape">,
): StoredTensor {
  const read = (index: readonly number[] = []): Tensor => {
    const one = copiesOfIt[placeOf(over, index)];
    if (one && index.length === over.length) return one.read();
    const whole = stacked(dtype, over, shape, eachOf(copiesOfIt));
    return index.length === 0 ? whole : part(whole, index);
  };
  const all = { dtype, shape: [...over, ...shape], read, parts: () => eachOf(copiesOfIt) };
  const kept = keptAlike(copiesOfIt);
  const [first] = kept;
  if (!first) return all;
  const of = (what: "codes" | "scales"): StoredTensor =>
    joined(
      over,
      kept.map((k) => k[what]),
      first[what],
    );
  return { ...all, kept: { code: first.code, codes: of("codes"), scales: of("scales") } };
}
/** What the copies are kept as, if all are codes of one form; else nothing. */
function keptAlike(copiesOfIt: readonly StoredTensor[]): KeptCodes[] {
  const kept = copiesOfIt.flatMap((t) => t.kept ?? []);
  const isAlike = ({ code, codes, scales }: KeptCodes): boolean =>
    code === kept[0]?.code &&
    sameShape(codes.shape, kept[0].codes.shape) &&
    sameShape(scales.shape, kept[0].scales.shape);
  return kept.length === copiesOfIt.length && kept.every(isAlike) ? kept : [];
}
function* eachOf(tensors: Iterable<StoredTensor>): Generator<Tensor> {
  for (const t of tensors) yield t.read();
}

/**
 * Writes the value of a store, where that is possible (and they are not very many) copy by copy, so that only one is in memory besides. What is kept as the codes
 * that the store is kept as is written as these.
 */
export function writeStored(executable: Executable, store: StoreInfo, value: StoredTensor): void {
  const { name, shape, stack } = store;
  const { writeCodes } = executable;
  const kept = writeCodes && value.kept && isKeptAs(store, value.kept) ? value.kept : null;
  const isWhole = stack === 0 || shape.length < stack + 2 || areMany(shape.slice(0, stack)) || !executable.writePart;
  for (const [, index] of isWhole ? [[name, []] as const] : copies(name, shape.slice(0, stack)))
    if (kept) writeCodes?.(name, index, () => codesAt(kept, index));
    else if (isWhole) executable.write(name, value.read());
    else executable.writePart?.(name, index, () => value.read(index));
}
/** Whether codes of a store's numbers have the scales that the store keeps. */
const isKeptAs = (store: StoreInfo, { code, scales }: KeptCodes): boolean => {
  const { shape, quantised: by } = store;
  return by?.code === code && hasWholeCodes(store) && sameShape(scales.shape, shapeOfScales(shape, by));
};

/** Which of a file's tensors are codes. */
export const codesIn = (tensors: StoredTensors): CodesOfCopies =>
  new Map(
    [...tensors].flatMap(([name, { kept }]) => {
      if (!kept) return [];
      const { code, codes, scales } = kept;
      const axes = axesOfScales(code, codes.shape, scales.shape) ?? [];
      return [[name, { code, axes: axes.map((a) => a - codes.shape.length) }] as const];
    }),
  );

interface Copy {
  readonly name: string;
  readonly t: StoredTensor;
  /** Its place among the copies that a spelling stands for. */
  readonly index: readonly number[];
}
/** Tensors of single copies (`experts.3.up`), looked up by any spelling: `experts.up` is all of them, stacked. Records what was used. */
export class Copies {
  readonly #tensors: StoredTensors;
  readonly #bySpelling = new Map<string, Copy[]>();
  readonly #unused: Set<string>;
  /** Of tensors of several copies, which were taken alone. */
  readonly #taken = new Map<string, Set<string>>();

  constructor(tensors: StoredTensors) {
    this.#tensors = tensors;
    this.#unused = new Set(tensors.keys());
    for (const [name, t] of tensors)
      for (const [spelling, index] of spellings(name))
        getOrMake(this.#bySpelling, spelling, () => []).push({ name, t, index });
  }
  has(spelling: string): boolean {
    return this.#bySpelling.has(spelling) || this.#within(spelling) !== undefined;
  }
  /** Null if there are no such copies, or not all. */
  take(spelling: string): Tensor | null {
    const found = this.#bySpelling.get(spelling) ?? [];
    const [first] = found;
    if (!first) return this.#takeWithin(spelling);
    const over = first.index.map((_, axis) => 1 + Math.max(...found.map(({ index }) => index[axis] ?? 0)));
    const place = ({ index }: Copy): number => placeOf(over, index);
    if (found.length !== product(over) || found.some(({ t }) => !sameShape(t.shape, first.t.shape))) return null;
    for (const { name } of found) this.#unused.delete(name);
    const sorted = found.toSorted((a, b) => place(a) - place(b));
    return stacked(first.t.dtype, over, first.t.shape, eachOf(sorted.map(({ t }) => t)));
  }
  /** The tensor of several copies that a copy is a part of, as checkpoints have those of very many layers. */
  #within(copy: string): Copy | undefined {
    return spellings(copy).flatMap(([name, index]) => {
      const t = this.#tensors.get(name);
      return t && index.every((n, axis) => n < (t.shape[axis] ?? 0)) ? [{ name, t, index }] : [];
    })[0];
  }
  #takeWithin(copy: string): Tensor | null {
    const found = this.#within(copy);
    if (!found) return null;
    const { name, t, index } = found;
    const taken = getOrMake(this.#taken, name, () => new Set()).add(index.join());
    if (taken.size === product(t.shape.slice(0, index.length))) this.#unused.delete(name);
    return t.read(index);
  }
  /** Names that no `take` has used, or not all copies of. */
  unused(): string[] {
    return [...this.#unused];
  }
}

const stackedSpellings = (name: string): string[] =>
  spellings(name).flatMap(([spelling, index]) => (index.length > 0 ? [spelling] : []));
