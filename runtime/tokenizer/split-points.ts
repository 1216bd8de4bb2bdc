// Finds where a text may be cut so that its parts, encoded separately, give the same tokens as the whole.
//
// A cut is made between a letter a to z and a following blank. It is safe if
// - the normalizer maps each character independently of what is beyond a letter or a blank;
// - the pre-tokenizer's expressions have no lookaround (except `\s+(?!\S)`, which looks ahead from blanks), and no match can contain a letter and a
//   later blank, so that a match with the letter ends at the cut, whether or not the text does;
// - one of these expressions matches every letter, so that a piece does end there.
// A tokenizer that writes a prefix before each text (as SentencePiece does) is cut at a single blank, which the next part's prefix replaces.
import type { Part, TokenizerJson } from "./file.ts";
import { partsOf, replacementOf } from "./pre-tokenizer.ts";

/** `at` matches where the first part ends; the second begins `skip` characters after that. Null instead: no cut is safe. */
export interface SplitPoints {
  readonly at: RegExp;
  readonly skip: 0 | 1;
}
const letters = "abcdefghijklmnopqrstuvwxyz".split("");

export function splitPointsOf(
  { normalizer, added_tokens: added, model }: TokenizerJson,
  pre: Part | null,
): SplitPoints | null {
  const crosses = added.some((t) => t["lstrip"] === true || t["rstrip"] === true || /(?:^|[a-z])\s/i.test(t.content));
  const known = new Set(Array.isArray(model.vocab) ? model.vocab.map(([t]) => t) : Object.keys(model.vocab));
  // adjacent characters that the vocabulary lacks become one unknown token, even across a cut
  if (crosses || !letters.every((c) => known.has(c))) return null;
  const [normal, stages] = [flat(normalizer, "normalizers"), flat(pre, "pretokenizers")];
  return prefixedSplitPoints(normal, stages, model) ?? plainSplitPoints(normal, stages);
}
/** The steps of nested Sequences in one list. */
const flat = (part: Part | null, key: string): Part[] =>
  part === null ? [] : part.type === "Sequence" ? partsOf(part, key).flatMap((p) => flat(p, key)) : [part];

const local = new Set("NFC NFD NFKC NFKD Lowercase StripAccents BertNormalizer Precompiled".split(" "));
const replaced = ({ pattern }: Part): unknown => (pattern as { String?: unknown } | undefined)?.String;
const isLocal = (part: Part): boolean =>
  local.has(part.type) ||
  (part.type === "Replace" && replaced(part) !== undefined && String(replaced(part)).length === 1);

function plainSplitPoints(normal: readonly Part[], stages: readonly Part[]): SplitPoints | null {
  const patterns = stages.map(patternOf);
  if (!normal.every(isLocal) || patterns.includes(null)) return null;
  const blanks = ["\n", " "].filter((b) => patterns.every((p) => p === "" || neverSpans(p ?? "", b)));
  const covers = patterns.some((p) => p !== null && p !== "" && letters.every((c) => matchesWhole(p, c, false)));
  return blanks.length > 0 && covers ? { at: new RegExp(`(?<=[a-z])[${blanks.join("")}]`, "g"), skip: 0 } : null;
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
/** Whether no match can contain a letter and, later, the blank. Conservative: false if an alternative has an atom for each, in that order. */
function neverSpans(pattern: string, blank: string): boolean {
  const source = pattern.replaceAll(String.raw`\s+(?!\S)`, String.raw`\s+`);
  if (/\(\?(?!i?:)/.test(source)) return false;
  let [letter, depth] = [false, 0];
  for (const [atom] of source.matchAll(atoms)) {
    if (unsupportedAtoms.test(atom)) return false;
    if (atom.startsWith("(")) depth += 1;
    else if (atom === ")") depth -= 1;
    else if (atom === "|")
      letter &&= depth > 0; // inside a group, alternatives are treated as a sequence
    else if (!/^(?:[*+?]|\{\d.*\})$/.test(atom)) {
      letter ||= letters.some((c) => matchesWhole(atom, c, true) || matchesWhole(atom, c.toUpperCase(), true));
      if (letter && matchesWhole(atom, blank, true)) return false;
    }
  }
  return depth === 0;
}
/** Whether an expression matches all of a text; `unknown` if JavaScript cannot parse it. */
function matchesWhole(pattern: string, text: string, unknown: boolean): boolean {
  try {
    return new RegExp(`^(?:${pattern.replaceAll("(?i:", "(?:")})$`, "u").test(text);
  } catch {
    return unknown;
  }
}

/** Cuts for SentencePiece-like tokenizers, which write blanks as ▁ and put one before each text. */
function prefixedSplitPoints(
  normal: readonly Part[],
  stages: readonly Part[],
  model: TokenizerJson["model"],
): SplitPoints | null {
  const at = /(?<=[a-z]) (?=[a-z])/g;
  const [first, second, ...more] = normal;
  const byNormalizer =
    first?.type === "Prepend" &&
    second?.type === "Replace" &&
    replaced(second) === " " &&
    more.length === 0 &&
    stages.length === 0;
  const [meta, splits, ...others] = stages;
  const byStage =
    meta?.type === "Metaspace" && meta["prepend_scheme"] !== "never" && others.length === 0 && normal.every(isLocal);
  const mark = byNormalizer ? String(second["content"]) : byStage ? replacementOf(meta) : "";
  if (mark === "" || (byNormalizer && first["prepend"] !== mark)) return null;
  return (byStage && splits !== undefined) || neverMergesMark(model, mark) ? { at, skip: 1 } : null;
}
/** Whether no merge joins a letter with a following mark. */
const neverMergesMark = (model: TokenizerJson["model"], mark: string): boolean =>
  model.type === "BPE" &&
  !model.merges.some((m) => {
    const [left = "", right = ""] = typeof m === "string" ? m.split(" ", 2) : m;
    return /[a-z]$/.test(left) && right.startsWith(mark);
  });

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
function lastCut(text: string, { at, skip }: SplitPoints, from: number): number {
  let last = -1;
  const search = new RegExp(at.source, "g");
  search.lastIndex = from;
  for (let found = search.exec(text); found; found = search.exec(text))
    if (found.index + skip < text.length - 1) last = found.index; // not at the very end: the next piece may change whether this is a cut
  return last;
}
