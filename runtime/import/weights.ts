// The weights that transformers' `save_pretrained` wrote, in one file or in several with an index, renamed and transposed to ours.
import { Problem } from "../../compiler/diagnostic.ts";
import { product, sameShape, sum } from "../../compiler/types/numbers.ts";
import type { Tensor } from "../executable/executable.ts";
import {
  allInMemory,
  derived,
  derivedColumns,
  partAt,
  reshaped,
  rowsFrom,
  type StoredTensor,
  turned,
} from "../storage/stored-tensor.ts";
import { numbers, sameValues, transposed, transposedShape, zeros } from "../tensor.ts";
import { joined, putStrided, strided } from "./columns.ts";
import type { TransformersModel } from "./config.ts";
import { type Family, type Header, type PackedTensor, type Shard, withNames } from "./family.ts";
import { openWeights } from "./quantised.ts";
import { weightFiles } from "./weight-files.ts";

/** All weights by our names, in our orientation. A name that the family does not have is a Problem. */
export function transformersTensors(model: TransformersModel): Map<string, StoredTensor> {
  const tensors = joined(tensorsApart(model));
  const table = tensors.get(embedding);
  if (model.tied && table && !tensors.has(head)) tensors.set(head, turned(table));
  return tensors;
}
/** The same before those that stand side by side are one, and without a head that is a copy. */
export function tensorsApart(model: TransformersModel): Map<string, StoredTensor> {
  const tensors = new Map(allInMemory(model.lists));
  for (const [file, weights] of weightsByFile(model))
    for (const [name, t] of weights)
      for (const [ours, part] of oursOf(name, t, model, file)) {
        const same = tensors.get(ours);
        if (same && !sameValues(same.read(), part.read())) throw twice(file, name, ours);
        tensors.set(ours, part);
      }
  return tensors;
}
const twice = (file: string, name: string, ours: string): Problem =>
  new Problem(
    `${file}: \`${name}\` and another weight are one in our model, \`${ours}\`, and differ`,
    "write a model of your own in which each has its place (docs/from-pytorch.md)",
  );
/** All weights by their names, without spare ones that the family does not have. */
export function weightsByFile(model: TransformersModel): Map<string, ReadonlyMap<string, StoredTensor>> {
  const all = openWeights(weightFiles(model.folder), model.quantisation);
  const isKnown = (name: string): boolean => Object.hasOwn(model.family.names, starred(name, model.family).key);
  return new Map(
    [...all].map(([file, weights]) => [
      file,
      new Map([...weights].filter(([name, t]) => isKnown(name) || !isSpare(name, t, model))),
    ]),
  );
}
/** Whether a tensor, by their name or ours, is nothing if the model does not have it. */
export const isSpare = (name: string, t: StoredTensor, { quantisation }: TransformersModel): boolean =>
  quantisation?.spare !== undefined && name.endsWith(quantisation.spare) && numbers(t.read()).every((x) => x === 0);
export const [embedding, head] = ["embed.weight", "head.weight"] as const;
/** What one of their tensors is of ours; nothing if it is not read. */
export function oursOf(
  name: string,
  t: StoredTensor,
  model: TransformersModel,
  file: string,
): [name: string, t: StoredTensor][] {
  const ours = renamed(name, model, file);
  if (ours === null) return [];
  if (typeof ours === "string") return [[ours, orient(t)]];
  if ("shard" in ours) return sharded(t, ours, shardsOf(ours, name, model));
  if ("words" in ours) return [[ours.words, t.words ?? t]];
  if ("row" in ours) return [[ours.row, ours.first ? partAt(t, [0], t.dtype) : reshaped(t, [product(t.shape)])]];
  return unpack(t, packingOf(ours, model.header, t.shape), `${file}: \`${name}\``);
}
/** The place of a shard, if it is one of several; how many rows each has, and all have, from what its block is given. */
interface Shards {
  readonly place: number | undefined;
  readonly each: number;
  readonly all: number;
}
function shardsOf({ rows }: Shard, name: string, model: TransformersModel): Shards {
  const { family, header, order = [], kinds = {} } = model;
  const [block, place] = starred(name, family).places.map(Number);
  const kind = kinds[order[block ?? 0] ?? ""];
  return { place, ...rows(typeof kind === "object" ? { ...header, ...kind.gives } : header) };
}
/** Our names of all that theirs is, with the first row of each in theirs, and how many it has. */
function rowsIn({ shard }: Shard, { place, each, all }: Shards): { name: string; first: number; rows: number }[] {
  const rowsAt = (i: number): number => Math.min(each, all - i * each);
  if (place !== undefined) return [{ name: shard, first: 0, rows: rowsAt(place) }];
  return Array.from({ length: Math.ceil(all / each) }, (_, i) => ({
    name: shard.replace("*", String(i)),
    first: i * each,
    rows: rowsAt(i),
  }));
}
/** What has not as many rows as it should stays as it is, which fits nothing. */
function sharded(t: StoredTensor, ours: Shard, shards: Shards): [string, StoredTensor][] {
  const parts = rowsIn(ours, shards);
  if (t.shape[0] !== sum(parts.map(({ rows }) => rows))) return parts.map(({ name }) => [name, t]);
  return parts.map(({ name, first, rows }) => [name, padded(rowsFrom(t, first, rows), shards.each)]);
}
/** With rows of 0 after its own. */
function padded(t: StoredTensor, rows: number): StoredTensor {
  const [own = 0, ...others] = t.shape;
  if (own === rows) return t;
  return derived(t, [rows, ...others], (few) => {
    const all = zeros(few.dtype, [rows, ...others]);
    all.data.set(few.data);
    return all;
  });
}
/** A depthwise convolution, [features, 1, width]. */
const isConvolution = ({ length, 1: one }: readonly number[]): boolean => length === 3 && one === 1;
function orient(t: StoredTensor): StoredTensor {
  const [features = 0, , width = 0] = t.shape;
  if (isConvolution(t.shape)) return turned(reshaped(t, [features, width]));
  return t.shape.length === 2 ? turned(t) : t;
}
/** How a tensor holds several of ours: along its last axis, which is one group or more, in each of which every one of ours has a run. */
interface Packing {
  readonly names: readonly string[];
  readonly transposed: boolean;
  readonly groups: number;
  /** How long the runs are, as parts of a group. */
  readonly shares: readonly number[];
  /** How many matrices stand one below another; null: it is one, or they have an axis of their own. */
  readonly stacked: number | null;
}
function packingOf(into: readonly string[] | PackedTensor, header: Header, shape: readonly number[]): Packing {
  if (!("runs" in into)) {
    const groups = (shape.at(-1) ?? 0) / into.length;
    return { names: into, transposed: false, groups, shares: into.map(() => 1), stacked: null };
  }
  const { runs: names, transposed: turns, shares, groups, stacked } = into;
  const transposed = typeof turns === "function" ? turns(header, shape) : turns;
  const parts = shares?.(header) ?? names.map(() => 1);
  return { names, transposed, groups: groups?.(header) ?? 1, shares: parts, stacked: stacked?.(header) ?? null };
}
/** The shape with an axis for matrices that stand one below another. */
function unstacked({ stacked: n }: Packing, shape: readonly number[], which: string): readonly number[] {
  const [rows = 0, ...others] = shape;
  if (n === null) return shape;
  if (rows % n !== 0) throw new Problem(`${which} has ${rows} rows, for ${n} matrices`, "restore the file");
  return [n, rows / n, ...others];
}
function unpack(t: StoredTensor, packing: Packing, which: string): [string, StoredTensor][] {
  const shape = unstacked(packing, t.shape, which);
  const apart = sameShape(shape, t.shape) ? t : reshaped(t, shape);
  const whole = packing.transposed ? turned(apart) : apart;
  return placesIn(packing, whole.shape.at(-1) ?? 0, which).map(({ name, ...places }) => [
    name,
    derivedColumns(whole, places.width, (x) => strided(x, places)),
  ]);
}
/** Which elements of the last axis each of ours has. */
function placesIn({ names, shares, groups }: Packing, columns: number, which: string) {
  const group = columns / groups;
  const unit = group / sum(shares);
  if (![groups, group, unit].every(Number.isInteger)) {
    const uneven = new Set(shares).size > 1 ? ` in parts of ${shares.join(", ")}` : "";
    throw new Problem(`${which} has ${columns} columns, for ${names.length} matrices${uneven}`, "restore the file");
  }
  return names.map((name, i) => {
    const run = unit * (shares[i] ?? 0);
    return { name, first: unit * sum(shares.slice(0, i)), run, group, width: run * groups };
  });
}
/** The inverse of `oursOf`: their tensor, of this dtype and shape, made of ours, which `take` gives; null if import does not read it. */
export function theirsOf(
  name: string,
  like: StoredTensor,
  {
    model,
    file,
    take,
  }: { readonly model: TransformersModel; readonly file: string; readonly take: (ours: string) => Tensor },
): Tensor | null {
  const { shape } = like;
  const ours = renamed(name, model, file);
  if (ours === null) return null;
  if (typeof ours !== "string") {
    if ("shard" in ours) return joinedRows(like, rowsIn(ours, shardsOf(ours, name, model)), take);
    if ("words" in ours) return take(ours.words);
    if (!("row" in ours)) return pack(like, packingOf(ours, model.header, shape), take);
    return ours.first ? withFirstRow(like.read(), take(ours.row)) : { ...take(ours.row), shape };
  }
  const turns = isConvolution(shape) || shape.length === 2;
  return { ...(turns ? transposed(take(ours)) : take(ours)), shape };
}
type Like = Pick<StoredTensor, "dtype" | "shape">;
function joinedRows({ dtype, shape }: Like, parts: ReturnType<typeof rowsIn>, take: (ours: string) => Tensor): Tensor {
  const [, width = 0] = shape;
  const all = zeros(dtype, shape);
  for (const { name, first, rows } of parts) all.data.set(take(name).data.slice(0, rows * width), first * width);
  return all;
}
function withFirstRow(t: Tensor, row: Tensor): Tensor {
  const data = t.data.slice();
  data.set(row.data);
  return { ...t, data };
}
function pack({ dtype, shape }: Like, packing: Packing, take: (ours: string) => Tensor): Tensor {
  const apart = unstacked(packing, shape, "the tensor");
  const whole = zeros(dtype, packing.transposed ? transposedShape(apart) : apart);
  for (const { name, ...places } of placesIn(packing, whole.shape.at(-1) ?? 0, "the tensor"))
    putStrided(take(name), whole, places);
  return { ...(packing.transposed ? transposed(whole) : whole), shape };
}

export const plainPlace = (block: number): string => `blocks.${block}`;
/** A name with stars for its numbers, and these; `fixed` as in `Family.fixedNumbers`. */
function starred(
  name: string,
  { fixedNumbers: fixed }: Family,
): { readonly key: string; readonly places: readonly string[] } {
  const places: string[] = [];
  const key = name.replaceAll(/(?<=\.|\.expert_|\.shard_)\d+(?=\.)/g, (n, at: number) => {
    if (fixed !== undefined && name.slice(0, at).endsWith(`.${fixed}.`)) return n;
    places.push(n);
    return "*";
  });
  return { key, places };
}
/**
 * What a weight's name becomes: its numbers are replaced by stars for the lookup (`model.layers.*.mlp.experts.*.up_proj.weight`), and filled into our
 * name in the same order.
 */
function renamed(
  name: string,
  { family, header, isIgnored }: TransformersModel,
  file: string,
): Family["names"][string] {
  if (isIgnored(name)) return null;
  const { names, model } = family;
  const { key, places } = starred(name, family);
  const ours = Object.hasOwn(names, key) ? names[key] : undefined;
  if (ours === undefined)
    throw new Problem(
      `${file}: \`${name}\` is nothing that ${model} has`,
      "the model is another one, or has more than its config.json says",
    );
  const placeOf = family.places?.(header) ?? plainPlace;
  const filled = (pattern: string): string => {
    const left = [...places];
    const whole = pattern.replaceAll("*", () => left.shift() ?? "*");
    return whole.replace(/^blocks\.(\d+)/, (_, block) => placeOf(Number(block)));
  };
  return withNames(ours, filled);
}
