// Finds where a text may be cut so that its parts, encoded separately, give the same tokens as the whole.
//
// A cut is made between a letter, of any script, and a following blank. It is safe if
// - the vocabulary has the letter, and the normalizer leaves it and maps each character independently of what is beyond it or a blank;
// - the pre-tokenizer's expressions have no lookaround (except `\s+(?!\S)`, which looks ahead from blanks), and no match can contain such a letter and a
//   later blank, also as the normalizer leaves it, so that a match with the letter ends at the cut, whether or not the text does;
// - one of these expressions matches the letter, so that a piece does end there.
// A tokenizer that writes a prefix before each text (as SentencePiece does) is cut at a single blank, which the next part's prefix replaces.
import { fromTo } from "../../compiler/types/numbers.ts";
import type { Part, TokenizerJson } from "./file.ts";
import { flat, leftAndRight, replacementOf } from "./pre-tokenizer.ts";

/** `at` matches where the first part ends; the second begins `skip` characters after that. Null instead: no cut is safe. */
export interface SplitPoints {
  readonly at: RegExp;
  readonly skip: 0 | 1;
}

export function splitPointsOf(json: TokenizerJson, pre: Part | null): SplitPoints | null {
  const { normalizer, added_tokens: added, model } = json;
  if (added.some((t) => t["lstrip"] === true || t["rstrip"] === true || /(?:^|\p{L})\s/u.test(t.content))) return null;
  const [normal, stages] = [flat(normalizer, "normalizers"), flat(pre, "pretokenizers")];
  const letters = knownLetters(model, stages);
  return (
    prefixedSplitPoints(normal, stages, model, withoutEnds(letters, added)) ?? plainSplitPoints(normal, stages, letters)
  );
}
/** Letters with which no added token begins or ends: at a cut beside one, the blank is a text of its own, which may get a prefix. */
function withoutEnds(letters: readonly string[], added: TokenizerJson["added_tokens"]): string[] {
  const ends = new Set(added.flatMap(({ content }) => [content.at(0), content.at(-1)]));
  return letters.filter((c) => !ends.has(c));
}
/** The letters that the vocabulary has: adjacent characters that it lacks become one unknown token, even across a cut. */
function knownLetters(model: TokenizerJson["model"], stages: readonly Part[]): string[] {
  const known = new Set(Array.isArray(model.vocab) ? model.vocab.map(([t]) => t) : Object.keys(model.vocab));
  const letters = characters(0, 0xffff).join("").match(/\p{L}/gu) ?? []; // of Unicode's basic plane
  if (!stages.some((p) => p.type === "ByteLevel")) return letters.filter((c) => known.has(c));
  return byteCharacters().every((c) => known.has(c)) ? letters : letters.filter((c) => isPlain(c) && known.has(c));
}
const isPlain = (c: string): boolean => /[a-z]/i.test(c);
const characters = (from: number, to: number): string[] => fromTo(from, to + 1).map((c) => String.fromCharCode(c));
/** What ByteLevel writes for the 256 bytes. */
const byteCharacters = (): string[] => [
  ...characters(0x21, 0x7e),
  ...characters(0xa1, 0xac),
  ...characters(0xae, 0x143),
];
const escaped = (c: string): string => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
/** An expression for one of these characters, which are in ascending order. */
function classOf(sorted: readonly string[]): string {
  const ranges: [string, string][] = [];
  for (const c of sorted) {
    const last = ranges.at(-1);
    if (last && last[1].charCodeAt(0) + 1 === c.charCodeAt(0)) last[1] = c;
    else ranges.push([c, c]);
  }
  return `[${ranges.map(([from, to]) => `${escaped(from)}-${escaped(to)}`).join("")}]`;
}

/** What a normalizer that maps each character alone makes of a letter, a blank or a line end. */
const normalized: Readonly<Record<string, (c: string) => string>> = {
  NFC: (c) => c.normalize("NFC"),
  NFD: (c) => c.normalize("NFD"),
  NFKC: (c) => c.normalize("NFKC"),
  NFKD: (c) => c.normalize("NFKD"),
  Lowercase: (c) => c.toLowerCase(),
  StripAccents: (c) => c,
  BertNormalizer: (c) => (/\p{Script=Han}/u.test(c) ? ` ${c} ` : c.toLowerCase().normalize("NFD").replace("\n", " ")),
  Precompiled: (c) => c.normalize("NFKC").replace("\n", " "),
};
const replaced = ({ pattern }: Part): unknown => (pattern as { String?: unknown } | undefined)?.String;
const isLocal = (part: Part): boolean =>
  Object.hasOwn(normalized, part.type) ||
  (part.type === "Replace" && replaced(part) !== undefined && String(replaced(part)).length === 1);
const mapped = (part: Part, c: string): string => {
  if (part.type !== "Replace") return normalized[part.type]?.(c) ?? "";
  const content = replaced(part) === c ? part["content"] : c;
  return typeof content === "string" ? content : "";
};
const leaves = (part: Part, c: string): boolean => mapped(part, c) === c;

function plainSplitPoints(
  normal: readonly Part[],
  stages: readonly Part[],
  known: readonly string[],
): SplitPoints | null {
  const patterns = stages.map(patternOf).filter((p) => p !== "");
  const encodesEarly = stages.slice(0, -1).some((p) => p.type === "ByteLevel"); // later stages see no blanks
  if (!normal.every(isLocal) || patterns.includes(null) || encodesEarly) return null;
  const left = known.filter((c) => normal.every((p) => leaves(p, c)));
  const matched = new Set(patterns.flatMap((p) => left.join("\n").match(compiled(`^(?:${p})$`, "gmu") ?? "\n") ?? []));
  const all = left.filter((c) => matched.has(c));
  for (const letters of [all, all.filter(isPlain)]) {
    const text = letters.join("");
    const blanks = ["\n", " "].filter((blank) => {
      const seen = normal.reduce((c, p) => mapped(p, c), blank);
      return seen.length === 1 && patterns.every((p) => [blank, seen].every((b) => neverSpans(p ?? "", text, b)));
    });
    if (blanks.length > 0 && text !== "")
      return { at: new RegExp(`(?<=${classOf(letters)})[${blanks.join("")}]`, "g"), skip: 0 };
  }
  return null;
}
/** The expression by which a stage splits its text; "" if it does not split; null if it is unknown, or if the stage adds a prefix. */
function patternOf(part: Part): string | null {
  if (part.type === "WhitespaceSplit") return String.raw`\S+`;
  if (part.type === "BertPreTokenizer") return String.raw`[^\s\p{P}]+|\p{P}`;
  if (part.type === "ByteLevel") return part["use_regex"] === false && part["add_prefix_space"] !== true ? "" : null;
  return part.type === "Split" ? (part["pattern"] as { readonly Regex: string }).Regex : null;
}
const atoms = /\\[pP]\{[^}]*\}|\\x\{[^}]*\}|\\.|\[(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\(\?i?:|\{\d*,?\d*\}|[\s\S]/gu;
/** Lookaround, and classes too complex to test: `&&`, nested classes, a class that begins with `]`; also anchors. */
const unsupportedAtoms = /\(\?(?!i?:)|&&|\[\^?\]|^\[.*(?<!\\)\[|^\\[bBAzZG]$|^[$^]$/;
/** Whether no match can contain one of `letters` and, later, the blank. Conservative: false if an alternative has an atom for each, in that order. */
function neverSpans(pattern: string, letters: string, blank: string): boolean {
  const source = pattern.replaceAll(String.raw`\s+(?!\S)`, String.raw`\s+`);
  if (/\(\?(?!i?:)/.test(source)) return false;
  const groups: boolean[] = []; // those that are open, and whether an atom in them matches the blank
  let [letter, closed] = [false, false]; // `closed`: that of the group that has just ended
  for (const [atom] of source.matchAll(atoms)) {
    if (unsupportedAtoms.test(atom)) return false;
    if (letter && closed && /^[*+{]/.test(atom)) return false; // repeated, the letter comes before the blank
    closed = atom === ")" && groups.pop() === true;
    if (atom.startsWith("(")) groups.push(false);
    else if (atom === "|")
      letter &&= groups.length > 0; // inside a group, alternatives are treated as a sequence
    else if (!/^(?:[)*+?]|\{\d.*\})$/.test(atom)) {
      letter ||= !/^[^.\p{L}]$/u.test(atom) && mayMatch(atom, letters);
      if (!mayMatch(atom, blank)) continue;
      if (letter) return false;
      groups.fill(true);
    }
  }
  return groups.length === 0;
}
/** Whether an atom matches one of these characters, in either case; also if JavaScript cannot parse it. */
const mayMatch = (atom: string, characters: string): boolean =>
  ["u", "iu"].some((flags) => compiled(atom, flags)?.test(characters) ?? true);
/** Null if JavaScript cannot parse it. */
function compiled(pattern: string, flags: string): RegExp | null {
  try {
    return new RegExp(pattern.replaceAll("(?i:", "(?:"), flags);
  } catch {
    return null;
  }
}

/** Cuts for SentencePiece-like tokenizers, which write blanks as ▁ and put one before each text. */
function prefixedSplitPoints(
  normal: readonly Part[],
  stages: readonly Part[],
  model: TokenizerJson["model"],
  known: readonly string[],
): SplitPoints | null {
  const [first, second, ...more] = normal;
  const byNormalizer =
    first?.type === "Prepend" &&
    second?.type === "Replace" &&
    replaced(second) === " " &&
    more.length === 0 &&
    stages.length === 0;
  const [meta, splits, ...others] = stages;
  const byStage =
    meta?.type === "Metaspace" &&
    meta["prepend_scheme"] !== "never" &&
    (meta["split"] === false) === (splits === undefined) && // the second stage is its own, which splits at marks
    others.length === 0 &&
    normal.every(isLocal);
  const mark = byNormalizer ? String(second["content"]) : byStage ? replacementOf(meta) : "";
  if (mark === "" || (byNormalizer && first["prepend"] !== mark)) return null;
  const merged = byStage && splits !== undefined ? new Set<string>() : mergedWith(mark, model);
  if (merged === null) return null;
  const letters = known.filter((c) => !merged.has(c) && (byNormalizer || normal.every((p) => leaves(p, c))));
  if (letters.length === 0) return null;
  return { at: new RegExp(`(?<=${classOf(letters)}) (?=${classOf(letters)})`, "g"), skip: 1 };
}
/** The characters that a merge joins with a following mark; null if that is not known. */
const mergedWith = (mark: string, model: TokenizerJson["model"]): Set<string | undefined> | null =>
  model.type === "BPE"
    ? new Set(
        model.merges.flatMap((m) => {
          const [left, right] = leftAndRight(m);
          return right.startsWith(mark) ? [left.at(-1)] : [];
        }),
      )
    : null;

/**
 * Splits a text that arrives in pieces into parts of at least `atLeast` characters, at safe cuts; without cuts, the whole text is one part. `uncut` is
 * called with the length of a part whose end has not been found yet.
 */
export function* splitText(
  text: Iterable<string>,
  cuts: SplitPoints | null,
  uncut: (length: number) => void = () => {},
  atLeast = 1 << 15,
): Generator<string> {
  let [rest, searched] = ["", 0];
  for (const piece of text) {
    rest += piece;
    uncut(rest.length);
    if (cuts === null || rest.length < Math.max(atLeast, searched + 2)) continue;
    const cut = lastCut(rest, cuts, searched);
    searched = rest.length - 2;
    if (cut < 0) continue;
    yield rest.slice(0, cut);
    rest = rest.slice(cut + cuts.skip);
    searched = 0;
  }
  if (rest !== "") yield rest;
}
function lastCut(text: string, cuts: SplitPoints, from: number): number {
  const near = Math.max(from, text.length - nearEnd);
  const last = lastCutFrom(text, cuts, near);
  return last < 0 && near > from ? lastCutFrom(text, cuts, from) : last;
}
/** In characters: most texts have a cut there, and the others are not looked for. */
const nearEnd = 1 << 10;
function lastCutFrom(text: string, { at, skip }: SplitPoints, from: number): number {
  let last = -1;
  const search = new RegExp(at.source, "g");
  search.lastIndex = from;
  for (let found = search.exec(text); found; found = search.exec(text))
    if (found.index + skip < text.length - 1) last = found.index; // not at the very end: the next piece may change whether this is a cut
  return last;
}
