// Remedies for tokens that the parser did not expect.
import type { IToken } from "chevrotain";
import { reservedWords, Str } from "../../grammar/tokens.ts";
import { foreignHelp, nameHelp } from "./help.ts";

/** A syntax error: what was expected, the token found, and all tokens before it. */
interface ErrorSite {
  readonly wanted: string;
  readonly token: IToken | undefined;
  readonly all: readonly IToken[];
}
/** Applies if all conditions match: `token` the unexpected token, `before` and `second` the two before it, `wanted` what was expected. */
interface Remedy {
  readonly token?: RegExp;
  readonly before?: RegExp;
  readonly second?: RegExp;
  readonly wanted?: RegExp;
  readonly when?: (at: ErrorSite) => boolean;
  readonly help: string | ((at: ErrorSite) => string);
}
const last = ({ all }: ErrorSite, back = 1): string => all.at(-back)?.image ?? "";

/** The foreign `while` or `elif` on this line, whose block an unexpected `{` opens; "" if there is none. */
const blockWord = ({ token, all }: ErrorSite): string =>
  all.findLast((t) => /^(while|elif)$/.test(t.image) && t.startLine === token?.startLine)?.image ?? "";
/** Whether the tokens before are an unfinished `let (a, b`. */
const isLetOfSeveral = ({ all }: ErrorSite): boolean => {
  const open = all.findLastIndex((t) => t.image === "(");
  return all[open - 1]?.image === "let" && !all.slice(open).some((t) => t.image === ")");
};
/** The name of the member that stands before, if it is written `name: ...`, as a layer is; else undefined. */
function layerBefore({ all }: ErrorSite): string | undefined {
  let depth = 0; // of brackets, from the end
  for (const [i, { image }] of [...all.entries()].toReversed()) {
    if (/^[)\]}]$/.test(image)) depth++;
    else if (/^[([{]$/.test(image) && depth-- === 0) return undefined;
    else if (image === ":" && depth === 0)
      return /^(param|state)$/.test(all[i - 2]?.image ?? "") ? undefined : all[i - 1]?.image;
  }
  return undefined;
}
const isText = ({ token }: ErrorSite): boolean => token?.tokenType === Str;
const isReserved = ({ token }: ErrorSite): boolean => token !== undefined && reservedWords.includes(token.tokenType);

/** The first matching entry is used. */
const remedies: readonly Remedy[] = [
  {
    token: /^\($/,
    wanted: /`=`$/,
    second: /^(loss|metric)$/,
    help: (at) => `it has a name: \`${last(at, 2)} name = ${last(at)}(...)\``,
  },
  {
    when: ({ token, all }) => /^(import|from)$/.test((all[0] ?? token)?.image ?? ""),
    help: 'names are imported as they are called: `import { Linear, silu } from "std/nn"`',
  },
  {
    when: ({ token, all }) => all.some((t) => t.image === "lambda" && t.startLine === token?.startLine),
    help: () => foreignHelp("lambda") ?? "",
  },
  { token: /^,$/, wanted: /`=`$/, help: "several results stand in brackets: `let (a, b) = ...`" },
  {
    token: /^let$/,
    wanted: /`}`$/,
    help: "`let` is for methods; a size made of others stands in the header: `layer Name(D, H = 4 * D)`",
  },
  {
    token: /^:$/,
    wanted: /`\)`/,
    when: isLetOfSeveral,
    help: (at) => `a type follows: \`let (v, index) = ...\`, then \`let ${last(at)}: float[N, K] = ${last(at)}\``,
  },
  { token: /^"[-+]?inf(inity)?"$/i, when: isText, help: "infinity is `inf`, or `-inf`" },
  { when: isText, help: (at) => nameHelp(last(at, 2)) ?? "a text stands only after `from`" },
  { token: /^=$/, before: /^[-+*/%@]$/, help: (at) => `write \`x = x ${last(at)} ...\`` },
  {
    token: /^=$/,
    wanted: /`,`/,
    before: /^\w+$/,
    help: (at) => `an argument is named with \`:\`, as in \`${last(at)}: 1\`; to compare, write \`==\``,
  },
  { token: /^=$/, wanted: /`{`|`,`/, help: "to compare, write `==`" },
  {
    token: /^=$/,
    before: /^]$/,
    wanted: /statement/,
    help: "elements are not set one by one: choose with `where(condition, a, b)`, or set rows, `x = put(x, index, rows, axis: a)`",
  },
  {
    token: /^for$/,
    wanted: /`]`/,
    help: "a list is not made by a loop: an array of layers is `Block(D)[L]`, and a `for` of a method sets a variable turn by turn",
  },
  {
    token: /^with$/,
    wanted: /statement/,
    help: "`with` belongs to `optimize`; a value without a gradient is `detach(x)`",
  },
  { before: /^\.\.\.$/, wanted: /a name/, help: "the axes in front have a name: `float[...S, D]`" },
  { token: /^,$/, wanted: /`{`$/, help: "several results stand in brackets: `-> (float[N, D], i32[N])`" },
  {
    wanted: /`=`$/,
    when: ({ all }) => all.findLast((t) => /^(param|let|loss|metric|update)$/.test(t.image))?.image === "param",
    help: "say what it begins with: `= normal()`, `= 0`",
  },
  {
    token: /^:$/,
    wanted: /`]`/,
    help: "a slice is `a:b` and has no step: every second row is `x[2 * range(N / 2)]`",
  },
  {
    token: /^]$/,
    before: /^\[$/,
    help: "nothing stands in the brackets: leave them out (`f32` has no axes), or say what belongs there",
  },
  {
    token: /^\($/,
    before: /^for$/,
    help: "a loop names the layer, then its number, without brackets: `for block, i in blocks`",
  },
  {
    token: /^else$/,
    wanted: /`{`$/,
    help: "write `where(condition, a, b)` for tensors, or `if condition { return a } else { return b }` where it is known when compiling",
  },
  {
    token: /^,$/,
    wanted: /^expected `\)`$/,
    help: "brackets hold one value: several results are `return a, b`, and a list is `[a, b]`",
  },
  { token: /^\.$/, wanted: /an expression|an argument/, help: "a number begins with a digit: `0.5`" },
  { token: /^\.$/, before: /^\.$/, help: "a range is `a:b`, without `b` itself" },
  { before: /^\.$/, second: /^\d+$/, help: "a number ends with a digit: `1.0`" },
  {
    wanted: /a name/,
    when: isReserved,
    help: ({ token }) => `\`${token?.image}\` is a word of the language: choose another name`,
  },
  { wanted: /`->`$/, help: "a function says what it returns: `fn f(x: float[N]) -> float[N] { ... }`" },
  {
    wanted: /^expected `\(`$/,
    help: "brackets stand behind the name, also with nothing in them: `model Name() { ... }`",
  },
  { wanted: /^expected `,`/, help: "put a `,` between two items, or close the bracket" },
  { wanted: /an expression|an argument/, help: "a value stands here: a name, a number, a call, `(...)` or `[...]`" },
  {
    wanted: /`:` or `\(` after/,
    before: /^(param|state)$/,
    help: (at) => `the word stands first: \`${last(at)} ${last(at, 3)}: float[N] = ...\``,
  },
  {
    wanted: /`:` or `\(` after/,
    help: "a member is `name: Layer(...)`, a method is `name(x: float[N]) -> float[N] { ... }`",
  },
  {
    token: /^=$/,
    wanted: /a method or `}`$/,
    when: (at) => layerBefore(at) !== undefined,
    help: (at) => `a variable is \`param ${layerBefore(at)}: float[N] = ...\`, or \`state\` if it is not trained`,
  },
  { wanted: /a method or `}`$/, help: "a member is `name: Layer(...)`, `param`, `state`, `if` or a method" },
  {
    wanted: /statement/,
    help: "a statement is a call or begins with `let`, `name =`, `return`, `if`, `for`, `loss`, `metric`, `state`, `update` or `optimize`",
  },
  { wanted: /`with`$/, help: "say what trains: `optimize embed, blocks.feed with AdamW(lr: 1e-3)`, or `with none`" },
  { wanted: /`{`$/, help: "a body stands in braces" },
  { wanted: /`in`$/, help: "a loop is `for x in array`, `for x, i in array` or `for i in 0:n`" },
  { wanted: /`:`$/, help: "a variable says its type: `param weight: float[In, Out] = normal()`" },
  { wanted: /a type$/, help: "a type is `float[...S, D]`, `f32`, or in a header `A -> B`" },
  { wanted: /`=`$/, help: "a value follows: `name = value`" },
  {
    wanted: /`import`, `layer`/,
    before: /^\)$/,
    when: ({ all }) => /^(layer|model)$/.test(all[0]?.image ?? ""),
    help: "what is added to a layer, or replaced in it, stands in braces: `model A() = B() { train(...) { ... } }`",
  },
  { wanted: /`import`, `layer`/, help: "outside of declarations there is nothing else" },
];

const fits = (r: Remedy, at: ErrorSite): boolean =>
  (r.token?.test(at.token?.image ?? "") ?? true) &&
  (r.before?.test(last(at)) ?? true) &&
  (r.second?.test(last(at, 2)) ?? true) &&
  (r.wanted?.test(at.wanted) ?? true) &&
  (r.when?.(at) ?? true);

export function helpFor(wanted: string, token: IToken | undefined, all: readonly IToken[]): string {
  const at = { wanted, token, all };
  const block = token?.image === "{" ? blockWord(at) : "";
  const word = foreignHelp(token?.image ?? "") ?? foreignHelp(last(at)) ?? foreignHelp(block);
  if (word !== null) return word;
  const help = remedies.find((r) => fits(r, at))?.help ?? "the rules are in grammar/GRAMMAR.md";
  return typeof help === "string" ? help : help(at);
}
