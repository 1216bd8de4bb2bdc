// Parses a text to a syntax tree. It never throws, whatever the text; errors are in `diagnostics`.
import type { IToken } from "chevrotain";
import type { Diagnostic } from "../diagnostic.ts";
import type { Declaration, Fn, Import, Method, Program, Source, Span } from "./ast.ts";
import { balance, type Fault, isConsequence, reportFault } from "./brackets.ts";
import { readDeclaration } from "./declarations.ts";
import { docAbove, type Lexed, lex } from "./lex.ts";
import { type GrammarError, parseDeclaration } from "./recover.ts";
import { helpFor } from "./remedies.ts";
import { modulesImported, namesDeclared, splitDeclarations } from "./split.ts";
import { endOf, maxDepth, Text, TooDeep } from "./text.ts";

interface Parsed {
  /** If there are errors: the imports and declarations that others can rely on. */
  readonly program: Program;
  readonly diagnostics: readonly Diagnostic[];
  /** Text with errors: what a checker would say there may be their consequence. */
  readonly faulty: readonly Span[];
  /** Names that text missing in `program` declares or imports, or may have been meant to. */
  readonly lost: ReadonlySet<string>;
  /** The paths of modules from which such text may have been meant to import. */
  readonly lostModules: readonly string[];
}

/** Parses a file. */
export function parse(source: Source): Parsed {
  return parseText(new Text(source.text, [], (start, end) => ({ source, start, end })));
}

/** Parses a text that may contain holes. */
export function parseText(text: Text): Parsed {
  const lexed = lex(text);
  const read = splitDeclarations(lexed.tokens).map((tokens) => ({ tokens, node: readPart(text, tokens, lexed) }));
  const diagnostics = text.diagnostics.toSorted((a, b) => a.labels[0].span.start - b.labels[0].span.start);
  let judged = 0;
  const parts = read.map((part): JudgedPart => {
    const span = text.span(part.tokens[0]?.startOffset ?? 0, endOf(part.tokens.at(-1) as IToken));
    const first = judged;
    while ((diagnostics[judged]?.labels[0].span.start ?? Number.POSITIVE_INFINITY) < span.end) judged++;
    const faulty = diagnostics.slice(first, judged).map((d) => bodyAround(part.node, d)?.span ?? span);
    return { ...part, faulty, sound: !faulty.includes(span) };
  });
  const nodes = parts.flatMap(({ node, sound }) => (sound && node ? [node] : []));
  const program = {
    imports: nodes.filter((node) => "from" in node),
    declarations: nodes.filter((node) => "kind" in node),
    span: text.span(0, text.text.length),
  };
  const unsound = parts.flatMap(({ tokens, sound }) => (sound ? [] : [tokens]));
  const lost = new Set(unsound.flatMap(namesDeclared));
  const lostModules = unsound.flatMap(modulesImported);
  return { program, diagnostics, faulty: parts.flatMap((part) => part.faulty), lost, lostModules };
}
interface JudgedPart {
  readonly tokens: readonly IToken[];
  readonly node: Declaration | Import | null;
  /** Where the errors are: in a body, else the whole part. */
  readonly faulty: readonly Span[];
  /** Whether what others see of the declaration is as it is written. */
  readonly sound: boolean;
}
/** The method or function in whose body an error is; an error before the body's `{` may be of its result's type. */
const bodyAround = (node: JudgedPart["node"], { code, labels: [{ span }] }: Diagnostic): Method | Fn | undefined =>
  brackets.has(code)
    ? undefined
    : bodiesIn(node).find(
        (body) => contains(body.span, span) && span.source.text.slice(headEnd(body), span.start).includes("{"),
      );
const contains = (outer: Span, inner: Span): boolean => outer.start <= inner.start && inner.end <= outer.end;
/** Codes of unmatched brackets, which may have been mended at the wrong place. */
const brackets: ReadonlySet<string> = new Set(["E0103", "E0104"]);
function bodiesIn(node: JudgedPart["node"]): readonly (Method | Fn)[] {
  if (!node || "from" in node) return [];
  if (node.kind === "fn") return [node];
  return node.kind === "optimizer" ? node.methods : node.body.filter((m) => m.kind === "method");
}
const headEnd = (body: Method | Fn): number =>
  (body.result.at(-1) ?? (body.kind === "fn" ? body.header : body.params).at(-1) ?? body.name).span.end;

/** Parses one declaration; null if too little of it can be understood. */
function readPart(text: Text, tokens: IToken[], lexed: Lexed): Declaration | Import | null {
  try {
    const balanced = balance(text, tokens);
    if (balanced.faults.length > maxFaults) {
      for (const fault of balanced.faults.slice(0, maxFaults)) reportFault(text, fault);
      return null;
    }
    const { cst, errors } = parseDeclaration(balanced.tokens, balanced.faults.filter(isStray).length);
    reportAll(text, tokens, balanced.faults, errors);
    if (!cst) return null;
    const known = text.diagnostics.length;
    const declaration = readDeclaration(text, cst, docAbove(lexed, tokens[0]?.startLine ?? 1));
    // Inserted brackets may be in the wrong place, so errors found between them are dropped.
    if (balanced.faults.length > 0) text.diagnostics.length = known;
    return declaration;
  } catch (error) {
    if (!(error instanceof TooDeep)) throw error;
    const label = { span: error.span, text: `more than ${maxDepth} levels` };
    text.error("E0107", "nested too deeply", [label], "give parts of it names with `let`, or make functions of them");
    return null;
  }
}
/** With more unmatched brackets than this, nothing between them can be understood. */
const maxFaults = 20;
/** A superfluous `}`. If the grammar reports an error too, a `{` is more likely missing. */
const isStray = (fault: Fault): boolean => fault.token.image === "}";

function reportAll(
  text: Text,
  tokens: readonly IToken[],
  faults: readonly Fault[],
  errors: readonly GrammarError[],
): void {
  for (const fault of faults) if (!isStray(fault) || errors.length === 0) reportFault(text, fault);
  for (const error of errors) {
    const odd = [error.token?.startLine, error.before.at(-1)?.endLine].some((line) => text.invalidLines.has(line ?? 0));
    const at = error.token?.startOffset ?? text.text.length;
    if (!odd && !faults.some((fault) => isConsequence(text, tokens, fault, at))) report(text, error);
  }
}
function report(text: Text, { message, token, before: all, leading }: GrammarError): void {
  const before = all.at(-1);
  const wanted = message.replace(/, found .*$/s, "");
  const end = before ? endOf(before) : 0;
  const behind = text.span(Math.max(0, end - 1), end);
  const help = helpFor(wanted, token, all);
  if (!token) return text.error("E0101", message, [{ span: behind, text: `${wanted} after this` }], help);
  const acrossLines = !leading && before !== undefined && before.endLine !== token.startLine;
  const after = acrossLines ? [{ span: behind, text: "after this" }] : [];
  text.error("E0101", message, [{ span: text.tokenSpan(token), text: wanted }, ...after], help);
}
