// Models that also read images or sound: config.json has that of the text model within, and the text model's weights are some of all.
import { Problem } from "../../compiler/diagnostic.ts";
import type { Family } from "./family.ts";

/** Names that begin with `root` in a model of the family begin with `at` in the larger one. */
interface Place {
  readonly root: string;
  readonly at: string;
}
const outer = (name: string): string => name.slice(0, name.lastIndexOf(".", name.length - 2) + 1);
/** What a dotted name begins with, from nothing on. */
const above = (name: string): string[] => (name === "" ? [""] : [...above(outer(name)), name]);
const isNamedSo = ({ root, at }: Place): boolean => at === root || at.endsWith(`.${root}`);
const depth = (name: string): number => name.split(".").length;

/** The embedding tells the place; of several that which stands least deep. */
function placeOf(family: Family, names: readonly string[]): Place | undefined {
  const embeddings = Object.entries(family.names).flatMap(([theirs, ours]) =>
    ours === "embed.weight" || (Array.isArray(ours) && ours[0] === "embed.weight") ? [theirs] : [],
  );
  const places = embeddings.flatMap((theirs) => {
    const root = outer(outer(theirs));
    const own = theirs.slice(root.length);
    const found = names.filter((name) => name.startsWith(own) || name.includes(`.${own}`));
    return found.map((name) => ({ root, at: name.slice(0, name.lastIndexOf(own)) }));
  });
  return places.toSorted((a, b) => depth(a.at) - depth(b.at) || Number(isNamedSo(b)) - Number(isNamedSo(a)))[0];
}

/** The family of a text model that is a part of a larger one, whose weights have these names; undefined: they are not there. */
export function within(family: Family, weights: readonly string[] | undefined, folder: string): Family {
  const place = weights ? placeOf(family, weights) : { root: "", at: "" };
  if (!place)
    throw new Problem(
      `${folder} has no embedding of the text model: the weights have other names than ${family.model}'s`,
      "the weights are not all of what config.json says, or are of another model",
    );
  const { root, at } = place;
  const beside = isNamedSo(place) ? at.slice(0, at.length - root.length) : ""; // the head stands beside `model`
  const calledBlocks = weights?.some((name) => name.startsWith(`${at}blocks.`)) ?? false; // as transformers 5 writes Kimi K2.5
  const own = (theirs: string): string => (calledBlocks ? theirs.replace(/^layers\./, "blocks.") : theirs);
  const placed = (theirs: string): string =>
    theirs.startsWith(root) ? at + own(theirs.slice(root.length)) : beside + theirs;
  const names = Object.fromEntries(Object.entries(family.names).map(([theirs, ours]) => [placed(theirs), ours]));
  return {
    ...family,
    names,
    ignoredPrefixes: (count) => (family.ignoredPrefixes?.(count) ?? []).map(placed),
    otherPart: otherPart(place, Object.keys(names)),
  };
}
/** Which other part a weight is of; where parts stand among those of the text model, these are known by their names. */
function otherPart({ root, at }: Place, own: readonly string[]): (name: string) => string | undefined {
  const parts = above(at);
  const partOf = (name: string): string => {
    const before = parts.findLast((one) => name.startsWith(one)) ?? "";
    return before + (name.slice(before.length).split(".")[0] ?? "");
  };
  const known = new Set(own.map(partOf));
  const isApart = at !== root && at !== "";
  return (name) => {
    const part = partOf(name);
    return known.has(part) || (isApart && name.startsWith(at)) ? undefined : part;
  };
}
