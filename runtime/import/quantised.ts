// Quantised weights of released checkpoints. Below the families: what stands in files as codes and scales is one tensor of bf16, under the name that
// the weight has where it is not quantised.
import { Problem } from "../../compiler/diagnostic.ts";
import { openWithCodes } from "../storage/safetensors.ts";
import { isCodes, type StoredTensor } from "../storage/stored-tensor.ts";
import { type Placed, typeName, unfit } from "./placed.ts";
import type { Parts, Quantisation, Way } from "./quantisation.ts";

type Found = ReadonlyMap<string, Placed>;
/** By file, its tensors, where what is quantised is its weight; a weight's scales may be in another file. */
export function openWeights(
  files: readonly string[],
  how: Quantisation | null,
): Map<string, ReadonlyMap<string, StoredTensor>> {
  const read = files.map((file) => ({ file, tensors: openWithCodes(file) }));
  const found = placesOf(read);
  return new Map(
    read.map(({ file, tensors }) => [file, new Map([...tensors.keys()].flatMap((name) => weightOf(name, found, how)))]),
  );
}
/** Where each tensor stands: in one file alone, as nothing says which of several counts. */
function placesOf(
  read: readonly { readonly file: string; readonly tensors: ReadonlyMap<string, Placed["t"]> }[],
): Found {
  const found = new Map<string, Placed & { readonly file: string }>();
  for (const { file, tensors } of read)
    for (const [name, t] of tensors) {
      const other = found.get(name);
      if (other)
        throw new Problem(
          `\`${name}\` is in ${other.file} and in ${file}`,
          "leave it out of one of them, or let transformers write the folder again: save_pretrained(OTHER)",
        );
      found.set(name, { t, file, place: `${file}: \`${name}\`` });
    }
  return found;
}
/** The weight that a tensor is, or holds the codes of; none for scales and what else belongs to codes. */
function weightOf(name: string, found: Found, how: Quantisation | null): [string, StoredTensor][] {
  const is = found.get(name);
  if (!is || how?.dropped.some((end) => name.endsWith(end))) return [];
  const way = how && wayOf(how, name, is, found);
  if (way) return [dequantised(way, is, name, found)];
  const owner = how && ownerOf(how, name, found);
  if (owner === true) return [];
  if (owner)
    throw unfit(`${is.place} belongs to \`${owner}\`, which is ${found.has(owner) ? "not quantised" : "missing"}`);
  if (how && isZeroPoint(how, name, found))
    throw unfit(`${is.place} shifts weights that config.json calls symmetric, as if they had no such zeros`);
  if (isCodes(is.t))
    throw unfit(
      `${is.place} is ${typeName(is)}, which is no ${how ? "quantised weight of this form" : "number: config.json has no quantization_config"}`,
    );
  return [[name, is.t]];
}
/** How codes are read; of several ways the one whose scales are there. */
function wayOf({ ways }: Quantisation, name: string, is: Placed, found: Found): Way | undefined {
  const all = ways.filter((way) => isCodesOf(way, name, is));
  return all.find((way) => found.has(without(name, way.codes) + way.scales)) ?? all[0];
}
function dequantised(way: Way, is: Placed, name: string, found: Found): [string, StoredTensor] {
  const stem = without(name, way.codes);
  const scales = found.get(stem + way.scales);
  if (!scales) throw unfit(`${is.place} is quantised, and no file of the folder has its \`${stem + way.scales}\``);
  const weight = stem + (way.weight ?? "");
  const plain = weight === name ? undefined : found.get(weight);
  if (plain) throw unfit(`${is.place} holds the codes of \`${weight}\`, which ${plain.place} is too`);
  const others = Object.entries(way.others ?? {}).flatMap(([role, end]) => {
    const other = found.get(stem + end);
    return other ? [[role, other]] : [];
  });
  return [weight, way.dequantised({ codes: is, scales, ...(Object.fromEntries(others) as Partial<Parts>) })];
}
/** True: a tensor belongs to codes that are there. Else the name of those to which it should; null if its name is not of such a kind. */
function ownerOf(how: Quantisation, name: string, found: Found): string | true | null {
  const owners = how.ways.flatMap((way) =>
    endsOf(way).flatMap((end) => (name.endsWith(end) ? [{ way, codes: without(name, end) + way.codes }] : [])),
  );
  const there = owners.some(({ way, codes }) => {
    const of = found.get(codes);
    return of && isCodesOf(way, codes, of);
  });
  return there || (owners[0]?.codes ?? null);
}
/** Whether a name is that of zeros beside codes which, by config.json, have none. */
function isZeroPoint({ ways }: Quantisation, name: string, found: Found): boolean {
  const end = "_zero_point";
  if (!name.endsWith(end)) return false;
  return ways.some((way) => {
    const codes = without(name, end) + way.codes;
    const of = found.get(codes);
    return of !== undefined && isCodesOf(way, codes, of);
  });
}
const endsOf = (way: Way): string[] => [way.scales, ...Object.values(way.others ?? {})];
const without = (name: string, end: string): string => name.slice(0, name.length - end.length);
const isCodesOf = (way: Way, name: string, { t }: Placed): boolean =>
  (isCodes(t) ? t.code : t.dtype) === way.code &&
  name.endsWith(way.codes) &&
  !endsOf(way).some((end) => name.endsWith(end));
