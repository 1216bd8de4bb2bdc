// Where a text may be cut so that its parts, encoded one by one, are the same tokens as the whole.
//
// A cut is between a letter of a to z and a blank. Nothing then passes over it, and nothing on one side looks at the other, if
// - what the normalizer does to a character does not depend on one beyond a letter or a blank;
// - each expression of the pre-tokenizer looks ahead or back nowhere (but for `\s+(?!\S)`, which looks ahead from blanks), and no match of it
//   can hold a letter and a later blank: then a match that takes the letter ends at the cut, whether or not the text does;
// - one of them matches every letter, so that a piece does end there.
// A tokenizer that writes a prefix before each text (SentencePiece's) is cut at a single blank, and the prefix stands for it.
import { partsOf, replacementOf } from "./exact.ts";
import type { Part, TokenizerJson } from "./file.ts";

/** `at` finds cuts, the second part beginning `skips` characters after the first ends; null: none is safe. */
export interface Cuts {
  readonly at: RegExp;
  readonly skips: 0 | 1;
}
const letters = "abcdefghijklmnopqrstuvwxyz".split("");

export function cutsOf({ normalizer, added_tokens: added, model }: TokenizerJson, pre: Part | null): Cuts | null {
  const crosses = added.some((t) => t["lstrip"] === true || t["rstrip"] === true || /(?:^|[a-z])\s/i.test(t.content));
  const known = new Set(Array.isArray(model.vocab) ? model.vocab.map(([t]) => t) : Object.keys(model.vocab));
  // neighbours that the vocabulary lacks are one unknown token, also over a cut
  if (crosses || !letters.every((c) => known.has(c))) return null;
  const [normal, stages] = [flat(normalizer, "normalizers"), flat(pre, "pretokenizers")];
  return prefixed(normal, stages, model) ?? plain(normal, stages);
}
/** What a Sequence of Sequences does, one after the other. */
const flat = (part: Part | null, key: string): Part[] =>
  part === null ? [] : part.type === "Sequence" ? partsOf(part, key).flatMap((p) => flat(p, key)) : [part];

const local = new Set("NFC NFD NFKC NFKD Lowercase StripAccents BertNormalizer Precompiled".split(" "));
const replaced = ({ pattern }: Part): unknown => (pattern as { String?: unknown } | undefined)?.String;
const isLocal = (part: Part): boolean =>
  local.has(part.type) ||
  (part.type === "Replace" && replaced(part) !== undefined && String(replaced(part)).length === 1);

function plain(normal: readonly Part[], stages: readonly Part[]): Cuts | null {
  const patterns = stages.map(patternOf);
  if (!normal.every(isLocal) || patterns.includes(null)) return null;
  const blanks = ["\n", " "].filter((b) => patterns.every((p) => p === "" || keepsApart(p ?? "", b)));
  const covers = patterns.some((p) => p !== null && p !== "" && letters.every((c) => takes(p, c, false)));
  return blanks.length > 0 && covers ? { at: new RegExp(`(?<=[a-z])[${blanks.join("")}]`, "g"), skips: 0 } : null;
}
/** The expression of a stage, or "" where it cuts nowhere; null of one that writes before its text. */
function patternOf(part: Part): string | null {
  if (part.type === "WhitespaceSplit") return String.raw`\S+`;
  if (part.type === "BertPreTokenizer") return String.raw`[^\s\p{P}]+|\p{P}`;
  if (part.type === "ByteLevel") return part["use_regex"] === false && part["add_prefix_space"] !== true ? "" : null;
  return part.type === "Split" ? (part["pattern"] as { readonly Regex: string }).Regex : null;
}
const atoms = /\\[pP]\{[^}]*\}|\\x\{[^}]*\}|\\.|\[(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\(\?i?:|\{\d*,?\d*\}|[\s\S]/gu;
/** What looks around, or is no plain class: `&&`, classes in classes, a class that begins with its end. */
const unclear = /\(\?(?!i?:)|&&|\[\^?\]|^\[.*(?<!\\)\[|^\\[bBAzZG]$|^[$^]$/;
/** Whether no match holds a letter and, after it, the blank. Taken strictly: an alternative that has atoms for both, in that order, is not. */
function keepsApart(pattern: string, blank: string): boolean {
  const source = pattern.replaceAll(String.raw`\s+(?!\S)`, String.raw`\s+`);
  if (/\(\?(?!i?:)/.test(source)) return false;
  let [letter, depth] = [false, 0];
  for (const [atom] of source.matchAll(atoms)) {
    if (unclear.test(atom)) return false;
    if (atom.startsWith("(")) depth += 1;
    else if (atom === ")") depth -= 1;
    else if (atom === "|")
      letter &&= depth > 0; // in a group, the alternatives count as one after the other
    else if (!/^(?:[*+?]|\{\d.*\})$/.test(atom)) {
      letter ||= letters.some((c) => takes(atom, c, true) || takes(atom, c.toUpperCase(), true));
      if (letter && takes(atom, blank, true)) return false;
    }
  }
  return depth === 0;
}
/** Whether an expression matches a text to its end; `unknown` where JavaScript does not know it. */
function takes(pattern: string, text: string, unknown: boolean): boolean {
  try {
    return new RegExp(`^(?:${pattern.replaceAll("(?i:", "(?:")})$`, "u").test(text);
  } catch {
    return unknown;
  }
}

/** SentencePiece's: a blank is written ▁, and one is put before each text. */
function prefixed(normal: readonly Part[], stages: readonly Part[], model: TokenizerJson["model"]): Cuts | null {
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
  return (byStage && splits !== undefined) || merelyWithin(model, mark) ? { at, skips: 1 } : null;
}
/** Whether no merge joins a letter with a mark after it. */
const merelyWithin = (model: TokenizerJson["model"], mark: string): boolean =>
  model.type === "BPE" &&
  !model.merges.some((m) => {
    const [left = "", right = ""] = typeof m === "string" ? m.split(" ", 2) : m;
    return /[a-z]$/.test(left) && right.startsWith(mark);
  });

/** Parts of a text that comes in pieces, each of about `atLeast` characters and cut where it may be; without cuts, all as one. */
export function* parts(text: Iterable<string>, cuts: Cuts | null, atLeast = 1 << 15): Generator<string> {
  let [rest, searched] = ["", 0];
  for (const piece of text) {
    rest += piece;
    if (cuts === null || rest.length < Math.max(atLeast, searched + 2)) continue;
    const cut = lastCut(rest, cuts, searched);
    searched = rest.length - 2;
    if (cut < 0) continue;
    yield rest.slice(0, cut);
    rest = rest.slice(cut + cuts.skips);
    searched = 0;
  }
  if (rest !== "") yield rest;
}
function lastCut(text: string, { at, skips }: Cuts, from: number): number {
  let last = -1;
  const search = new RegExp(at.source, "g");
  search.lastIndex = from;
  for (let found = search.exec(text); found; found = search.exec(text))
    if (found.index + skips < text.length - 1) last = found.index; // what comes next may belong to it
  return last;
}
