// Parses a text to a syntax tree. It never throws, whatever the text; errors are in `diagnostics`.
import type { IToken } from "chevrotain";
import type { Diagnostic } from "../diagnostic.ts";
import type { Declaration, Import, Program, Source } from "./ast.ts";
import { balance, type Fault, isConsequence, reportFault } from "./brackets.ts";
import { readDeclaration } from "./declarations.ts";
import { docAbove, type Lexed, lex } from "./lex.ts";
import { type GrammarError, parseDeclaration } from "./recover.ts";
import { helpFor } from "./remedies.ts";
import { splitDeclarations } from "./split.ts";
import { endOf, maxDepth, Text, TooDeep } from "./text.ts";

interface Parsed {
  readonly program: Program;
  readonly diagnostics: readonly Diagnostic[];
}

/** Parses a file. If there are errors, `program` holds whatever could be parsed. */
export function parse(source: Source): Parsed {
  return parseText(new Text(source.text, [], (start, end) => ({ source, start, end })));
}

/** Parses a text that may contain holes. */
export function parseText(text: Text): Parsed {
  const lexed = lex(text);
  const parts = splitDeclarations(lexed.tokens).flatMap((part) => readPart(text, part, lexed));
  const program = {
    imports: parts.filter((part) => "from" in part),
    declarations: parts.filter((part) => "kind" in part),
    span: text.span(0, text.text.length),
  };
  return { program, diagnostics: text.diagnostics.toSorted((a, b) => a.labels[0].span.start - b.labels[0].span.start) };
}

/** Parses one declaration; none if too little of it can be understood. */
function readPart(text: Text, tokens: IToken[], lexed: Lexed): (Declaration | Import)[] {
  try {
    const balanced = balance(text, tokens);
    if (balanced.faults.length > maxFaults) {
      for (const fault of balanced.faults.slice(0, maxFaults)) reportFault(text, fault);
      return [];
    }
    const { cst, errors } = parseDeclaration(balanced.tokens, balanced.faults.filter(isStray).length);
    reportAll(text, tokens, balanced.faults, errors);
    if (!cst) return [];
    const known = text.diagnostics.length;
    const declaration = readDeclaration(text, cst, docAbove(lexed, tokens[0]?.startLine ?? 1));
    // Inserted brackets may be in the wrong place, so errors found between them are dropped.
    if (balanced.faults.length > 0) text.diagnostics.length = known;
    return [declaration];
  } catch (error) {
    if (!(error instanceof TooDeep)) throw error;
    const label = { span: error.span, text: `more than ${maxDepth} levels` };
    text.error("E0107", "nested too deeply", [label], "give parts of it names with `let`, or make functions of them");
    return [];
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
