// Rewrites pre-tokenizers that the JavaScript library implements differently from Python's tokenizers, in terms of `Split`, which it implements
// exactly.
import type { Part, TokenizerFile } from "./file.ts";
import { unsupported } from "./file.ts";

/** A `Split` that keeps the matches of an expression and drops everything else. */
const matches = (Regex: string): Part => ({ type: "Split", pattern: { Regex }, behavior: "Removed", invert: true });
const isolated = (Regex: string): Part => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
const before = (p: string): string => `(?:(?!${p})[\\s\\S])`;
/** `Split` with each behavior at matches of a pattern. */
const behaviors: Readonly<Record<string, (p: string) => Part>> = {
  Isolated: isolated,
  Removed: (p) => ({ ...isolated(p), behavior: "Removed" }),
  Contiguous: (p) => isolated(`(?:${p})+`),
  MergedWithPrevious: (p) => matches(`${before(p)}*(?:${p})|${before(p)}+`),
  MergedWithNext: (p) => matches(`(?:${p})${before(p)}*|${before(p)}+`),
};
const gpt2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const punctuation = String.raw`[\p{P}$+<=>^\x60|~]`;
const escapeRegExp = (text: string): string => text.replaceAll(/[^\p{L}\p{N}\s]/gu, String.raw`\$&`);

/** An equivalent pre-tokenizer that the library runs exactly as Python does. Throws Problem for an unknown type. */
export function exactPreTokenizer(part: Part, file: TokenizerFile): Part {
  switch (part.type) {
    case "Sequence":
      return { ...part, pretokenizers: partsOf(part, "pretokenizers").map((p) => exactPreTokenizer(p, file)) };
    case "Whitespace":
      return matches(String.raw`\w+|[^\w\s]+`);
    case "Digits":
      return isolated(part["individual_digits"] === true ? String.raw`\p{N}` : String.raw`\p{N}+`);
    case "Punctuation":
      return splitBehaving(part, punctuation, file);
    case "Metaspace":
      return part["split"] === false
        ? part
        : sequence(
            part,
            splitBehaving({ type: "Split", behavior: "MergedWithNext" }, escapeRegExp(replacementOf(part)), file),
          );
    case "ByteLevel":
      if (part["use_regex"] === false || part["add_prefix_space"] === true) return part;
      return sequence(isolated(gpt2), { ...part, use_regex: false });
    case "Split":
      return split(part, file);
    case "WhitespaceSplit":
    case "BertPreTokenizer":
      return part;
    default:
      throw unsupported(file, `pre_tokenizer: moec does not know the type ${part.type}`);
  }
}
const sequence = (...pretokenizers: readonly Part[]): Part => ({ type: "Sequence", pretokenizers });
export const replacementOf = (part: Part): string =>
  typeof part["replacement"] === "string" ? part["replacement"] : "\u2581";
export const partsOf = (part: Part, key: string): readonly Part[] => (Array.isArray(part[key]) ? part[key] : []);

function splitBehaving(part: Part, pattern: string, file: TokenizerFile): Part {
  const { behavior = "Isolated" } = part;
  const made = typeof behavior === "string" && Object.hasOwn(behaviors, behavior) ? behaviors[behavior] : undefined;
  if (!made) throw unsupported(file, `pre_tokenizer: ${part.type} with the behavior ${JSON.stringify(behavior)}`);
  return made(pattern);
}
function split(part: Part, file: TokenizerFile): Part {
  const { String: text, Regex } = (part["pattern"] ?? {}) as { readonly String?: unknown; readonly Regex?: unknown };
  const pattern = typeof Regex === "string" ? Regex : typeof text === "string" ? escapeRegExp(text) : null;
  if (pattern === null || pattern === "") throw unsupported(file, "pre_tokenizer: a Split without a pattern");
  // Isolated cuts at the same places whether or not it is inverted
  if (part["invert"] !== true || part["behavior"] === "Isolated") return splitBehaving(part, pattern, file);
  if (part["behavior"] === "Removed") return matches(pattern);
  throw unsupported(file, `pre_tokenizer: an inverted Split with the behavior ${JSON.stringify(part["behavior"])}`);
}
/** The steps of nested Sequences in one list. */
export const flat = (part: Part | null, key: string): Part[] =>
  part === null ? [] : part.type === "Sequence" ? partsOf(part, key).flatMap((p) => flat(p, key)) : [part];
export function leftAndRight(merge: string | readonly [string, string]): readonly [string, string] {
  const [left = "", right = ""] = typeof merge === "string" ? merge.split(" ", 2) : merge;
  return [left, right];
}
