// Damages programs at random; the same seed gives the same damage.
import { lexer } from "../../grammar/tokens.ts";
import { lcg } from "../../runtime/measure/lcg.ts";

type Mutation = (text: string, below: (n: number) => number) => string;
/** The start and end of a random token. */
function token(text: string, below: (n: number) => number): [number, number] {
  const { tokens } = lexer().tokenize(text);
  const found = tokens[below(tokens.length)];
  return found ? [found.startOffset, found.startOffset + found.image.length] : [0, 0];
}
const splice = (text: string, [start, end]: [number, number], by: string): string =>
  text.slice(0, start) + by + text.slice(end);
const oddities = [
  "(",
  ")",
  "[",
  "]",
  "{",
  "}",
  ";",
  '"',
  "'",
  "`",
  "\\",
  "\0",
  "é",
  "日",
  "\u{1F600}",
  "\uE000",
  "\uD800",
  "//",
  "/*",
  "1e999",
  "...",
  "->",
  "**",
];

const nests = [["(", ")"], ["[", "]"], ["{", "}"], ["-"], ["f(", ")"], ["if a { ", " }"], ["a + "]];

export const mutations: readonly Mutation[] = [
  (text, below) => splice(text, token(text, below), ""),
  (text, below) => {
    const [start, end] = token(text, below);
    return splice(text, [end, end], ` ${text.slice(start, end)}`);
  },
  (text, below) => {
    const [a, b] = [token(text, below), token(text, below)].toSorted((x, y) => x[0] - y[0]);
    if (!a || !b || a[1] > b[0]) return text;
    return text.slice(0, a[0]) + text.slice(...b) + text.slice(a[1], b[0]) + text.slice(...a) + text.slice(b[1]);
  },
  (text, below) => {
    const at = below(text.length);
    return splice(text, [at, at + below(3)], oddities[below(oddities.length)] ?? "");
  },
  (text, below) => text.slice(0, below(text.length)),
  (text, below) => {
    const [start, end] = token(text, below);
    const [open = "", close = ""] = nests[below(nests.length)] ?? [];
    const levels = 1 + below(3000);
    return splice(text, [start, end], open.repeat(levels) + text.slice(start, end) + close.repeat(below(2) * levels));
  },
];

/** Replaces a token by another of its kind: most such programs parse, but have another meaning, or none. */
const swap =
  (kind: RegExp, others: readonly string[] = []): Mutation =>
  (text, below) => {
    const found = lexer()
      .tokenize(text)
      .tokens.filter((t) => kind.test(t.image));
    const [into, from] = [found[below(found.length)], found[below(found.length)]];
    if (!into || !from) return text;
    const by = [from.image, ...others][below(1 + others.length)] ?? "";
    return splice(text, [into.startOffset, into.startOffset + into.image.length], by);
  };
/** Repeats or deletes a line. */
const line: Mutation = (text, below) => {
  const lines = text.split("\n");
  const at = below(lines.length);
  lines.splice(at, 1, ...Array<string>(2 * below(2)).fill(lines[at] ?? ""));
  return lines.join("\n");
};
/** Damage that concerns the checker rather than the parser. */
export const semanticMutations: readonly Mutation[] = [
  swap(/^[A-Z]\w*$/),
  swap(/^[a-z]\w*$/),
  swap(/^\w+$/, ["training", "step", "inf"]),
  swap(/^\d/, ["0", "-1", "1e300", "3", "2.5", "1000000007"]),
  swap(/^[-+*/%@<>=&|]+$/, ["+", "@", "%", "**", "&&"]),
  line,
];

export function* mutants(
  programs: readonly { readonly text: string }[],
  count: number,
  list: readonly Mutation[] = mutations,
  seed = 20261125,
): Generator<string> {
  const next = lcg(seed);
  const below = (n: number): number => Math.floor(next() * n);
  for (let i = 0; i < count; i++) {
    let text = programs[below(programs.length)]?.text ?? "";
    for (let k = below(3); k >= 0; k--) text = list[below(list.length)]?.(text, below) ?? text;
    yield text;
  }
}
