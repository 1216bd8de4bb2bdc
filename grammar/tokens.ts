// The words and signs of the language. Reserved words are names only after a dot or before an argument's colon;
// contextual ones (`loss`, `state`, `param`, ...) are ordinary names wherever the grammar does not ask for the word.
import { createToken, type ITokenConfig, Lexer, type TokenType } from "chevrotain";

/** The category of everything that may follow a dot: names and reserved words. */
export const Word: TokenType = createToken({ name: "Word", pattern: Lexer.NA, label: "a name" });
export const Name: TokenType = createToken({
  name: "Name",
  pattern: /[A-Za-z_]\w*/,
  label: "a name",
  categories: [Word],
});

const word = (text: string, category: TokenType): TokenType =>
  createToken({
    name: `${text.charAt(0).toUpperCase()}${text.slice(1)}`,
    pattern: text,
    label: `\`${text}\``,
    longer_alt: Name,
    categories: [category],
  });
const reserved = (text: string): TokenType => word(text, Word);
const contextual = (text: string): TokenType => word(text, Name);

export const Import: TokenType = reserved("import");
export const LayerWord: TokenType = reserved("layer");
export const ModelWord: TokenType = reserved("model");
export const Fn: TokenType = reserved("fn");
export const OptimizerWord: TokenType = reserved("optimizer");
export const Let: TokenType = reserved("let");
export const Return: TokenType = reserved("return");
export const If: TokenType = reserved("if");
export const Else: TokenType = reserved("else");
export const For: TokenType = reserved("for");
export const In: TokenType = reserved("in");
export const With: TokenType = reserved("with");
export const New: TokenType = reserved("new");
export const True: TokenType = reserved("true");
export const False: TokenType = reserved("false");
/** Keywords that begin a declaration. */
export const declarationWords: readonly TokenType[] = [Import, LayerWord, ModelWord, Fn, OptimizerWord];
export const reservedWords: readonly TokenType[] = [
  ...declarationWords,
  Let,
  Return,
  If,
  Else,
  For,
  In,
  With,
  New,
  True,
  False,
];

export const From: TokenType = contextual("from");
export const ParamWord: TokenType = contextual("param");
export const StateWord: TokenType = contextual("state");
export const Loss: TokenType = contextual("loss");
export const Metric: TokenType = contextual("metric");
export const Update: TokenType = contextual("update");
export const Optimize: TokenType = contextual("optimize");
export const contextualWords: readonly TokenType[] = [From, ParamWord, StateWord, Loss, Metric, Update, Optimize];

/** The text that replaces the hole `${...}` of a template before parsing: its index between two private-use characters. */
export const holeText = (index: number): string => `\uE000${index}\uE001`;
export const Hole: TokenType = createToken({ name: "Hole", pattern: /\uE000\d+\uE001/, label: "a hole" });

/** Digits directly followed by letters are one token, so that `2x` is an error instead of two tokens. */
export const Num: TokenType = createToken({
  name: "Num",
  pattern: /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\w*/,
  label: "a number",
});
export const Str: TokenType = createToken({ name: "Str", pattern: /"[^"\n]*"/, label: "a text in double quotes" });

const sign = (name: string, text: string, more: Partial<ITokenConfig> = {}): TokenType =>
  createToken({ name, pattern: text, label: `\`${text}\``, ...more });
/** The category of infix operators; precedence is resolved in the next stage. */
export const Binary: TokenType = createToken({ name: "Binary", pattern: Lexer.NA, label: "an operator" });
/** The category of prefix operators. */
export const Prefix: TokenType = createToken({ name: "Prefix", pattern: Lexer.NA, label: "`-` or `!`" });
const operator = (name: string, text: string): TokenType => sign(name, text, { categories: [Binary] });

export const Arrow: TokenType = sign("Arrow", "->");
export const Dots: TokenType = sign("Dots", "...");
export const Eq: TokenType = sign("Eq", "=");
export const LPar: TokenType = sign("LPar", "(");
export const RPar: TokenType = sign("RPar", ")");
export const LSquare: TokenType = sign("LSquare", "[");
export const RSquare: TokenType = sign("RSquare", "]");
export const LCurly: TokenType = sign("LCurly", "{");
export const RCurly: TokenType = sign("RCurly", "}");
export const Comma: TokenType = sign("Comma", ",");
export const Colon: TokenType = sign("Colon", ":");
export const Dot: TokenType = sign("Dot", ".");

const operators: readonly TokenType[] = [
  operator("Power", "**"),
  operator("EqEq", "=="),
  operator("NotEq", "!="),
  operator("LessEq", "<="),
  operator("MoreEq", ">="),
  operator("AndAnd", "&&"),
  operator("OrOr", "||"),
  operator("Less", "<"),
  operator("More", ">"),
  operator("Plus", "+"),
  sign("Minus", "-", { categories: [Binary, Prefix] }),
  operator("Times", "*"),
  operator("Divide", "/"),
  operator("Modulo", "%"),
  operator("MatMul", "@"),
  sign("Not", "!", { categories: [Prefix] }),
];

const skipped: readonly TokenType[] = [
  createToken({ name: "Space", pattern: /\s+/, group: Lexer.SKIPPED }),
  createToken({ name: "Comment", pattern: /\/\/[^\n]*/, group: "comments" }),
  createToken({
    name: "BlockComment",
    pattern: /\/\*(?:[^*]|\*(?!\/))*(?:\*\/)?/,
    group: "foreign",
    line_breaks: true,
  }),
];

export const tokens: TokenType[] = [
  ...skipped,
  ...reservedWords,
  ...contextualWords,
  Name,
  Word,
  Hole,
  Num,
  Str,
  Arrow,
  Dots,
  ...operators,
  Eq,
  LPar,
  RPar,
  LSquare,
  RSquare,
  LCurly,
  RCurly,
  Comma,
  Colon,
  Dot,
  Binary,
  Prefix,
];
let made: Lexer | undefined;
/** Made on first use, because that takes a while. A test validates its definition. */
export const lexer = (): Lexer => (made ??= new Lexer(tokens, { positionTracking: "full", skipValidations: true }));
