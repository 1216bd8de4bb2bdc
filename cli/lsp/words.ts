// What the text alone tells of a word: what a keyword means, and what a name stands for where there is no tree, in a declaration that cannot be parsed.
import type { Loaded } from "../../compiler/check/index.ts";
import type * as ast from "../../compiler/syntax/ast.ts";
import { Dot, declarationWords, Import, lexer, Name } from "../../grammar/tokens.ts";
import type { Analysis } from "./analysis.ts";

interface Keyword {
  readonly code: string;
  readonly doc: string;
}
const optimize = {
  code: "optimize SELECTOR, ... with OPTIMIZER",
  doc: "a selector is a member's path (`blocks.feed.experts`: in every block) or a layer's name",
};
const branch = { code: "if c { } else if d { } else { }", doc: "`c` is a compile-time condition" };
const loop = { code: "for x in array { }", doc: "unrolled" };
const importing = {
  code: 'import { a, b } from "std/nn"',
  doc: "imports declarations of the standard library. A path that begins with `./` or `../` is a file",
};
/** As GRAMMAR.md has them, which a test asserts. */
export const keywords: Readonly<Record<string, Keyword>> = {
  import: importing,
  from: importing,
  layer: { code: "layer Name(header) { members }", doc: "owns parameters; has methods" },
  model: { code: "model Name(header) { members }", doc: "a layer whose methods can be compiled as entries" },
  fn: { code: "fn name(header) -> type { statements }", doc: "owns nothing" },
  optimizer: { code: "optimizer Name(header) { methods }", doc: "steps parameters" },
  param: { code: "param weight: float[In, Out] = normal()", doc: "a parameter and its initial value" },
  state: { code: "state name: type = init", doc: "a variable that persists between calls, without a gradient" },
  let: { code: "let x = e", doc: "a new name, until its block ends; it may shadow an older one" },
  return: { code: "return a, b", doc: "the results of a method or function" },
  if: branch,
  else: branch,
  for: loop,
  in: loop,
  optimize,
  with: optimize,
  new: { code: "new", doc: "a new axis of size 1" },
  true: { code: "true", doc: "" },
  false: { code: "false", doc: "" },
  loss: {
    code: "loss name = scalar",
    doc: "is added to the training loss, wherever it stands; losses with the same name are reported as one sum",
  },
  metric: {
    code: "metric name = tensor",
    doc: "is reported each step under the path of its layer (`blocks.0.gate.load`) and has no effect",
  },
  update: {
    code: "update name = e",
    doc: "assigns a state: later statements read the new value, earlier ones the old",
  },
};

interface Token {
  readonly word: string;
  readonly span: ast.Span;
}
/** The word at an offset; at its end too. None after a dot, where it is a member. */
export function wordAt(source: ast.Source, offset: number): Token | null {
  const { tokens } = lexer().tokenize(source.text);
  const i = tokens.findIndex(
    (t) => t.startOffset <= offset && offset <= t.startOffset + t.image.length && isWord(t.image),
  );
  const [before, token] = [tokens[i - 1], tokens[i]];
  if (!token || before?.tokenType === Dot) return null;
  const { image: word, startOffset: start } = token;
  return { word, span: { source, start, end: start + word.length } };
}
const isWord = (image: string): boolean => /^[A-Za-z_]/.test(image);

/** Where the name at an offset is declared, where the tree does not tell: it is in a declaration that cannot be parsed (`parsed` false), or names one. */
export function declarationByText({ loaded }: Analysis, offset: number, parsed: boolean): ast.Span | null {
  const found = wordAt(loaded.main.program.span.source, offset);
  const declared = found && loaded.main.names.get(found.word);
  if (declared) return parsed ? null : declared.ast.name.span;
  return found && declared === null ? lostDeclaration(loaded, found.word) : null;
}
/** In the file, or in those that it imports. */
function lostDeclaration({ main, modules }: Loaded, word: string): ast.Span | null {
  const sources = [main, ...modules.filter((m) => m !== main)].map(({ program }) => program.span.source);
  for (const source of sources) {
    const { tokens } = lexer().tokenize(source.text);
    const name = tokens.find(({ tokenType, image }, i) => {
      const keyword = tokens[i - 1]?.tokenType;
      return tokenType === Name && image === word && keyword !== undefined && declares.has(keyword);
    });
    if (name) return { source, start: name.startOffset, end: name.startOffset + word.length };
  }
  return null;
}
const declares = new Set(declarationWords.filter((word) => word !== Import));
