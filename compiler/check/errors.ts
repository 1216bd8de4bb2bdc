// How the checker reports errors: a Failure is thrown where an error is found, and caught by the statement around it (`guard`).
import type { Code } from "../codes.ts";
import type { Diagnostic, Label } from "../diagnostic.ts";
import type { Name, Span } from "../syntax/ast.ts";
import { localArgumentName } from "../syntax/help.ts";

export class Failure extends Error {
  /** null: the cause has been reported already. */
  readonly diagnostic: Diagnostic | null;
  constructor(diagnostic: Diagnostic | null) {
    super(diagnostic ? `${diagnostic.code}: ${diagnostic.message}` : "reported already");
    this.diagnostic = diagnostic;
  }
}
export interface DiagnosticText {
  readonly help: string;
  /** The text next to the caret. */
  readonly label?: string;
  readonly also?: readonly Label[];
  readonly notes?: readonly string[];
}
export const diagnostic = (code: Code, message: string, span: Span, words: DiagnosticText): Diagnostic => ({
  code,
  message,
  labels: [{ span, text: words.label ?? "" }, ...(words.also ?? [])],
  notes: words.notes ?? [],
  help: words.help,
});
export function fail(code: Code, message: string, span: Span, words: DiagnosticText): never {
  throw new Failure(diagnostic(code, message, span, words));
}
export const declaredTwice = (name: Name, first: Name, help = "rename or remove one"): Diagnostic =>
  diagnostic("E0302", `\`${name.name}\` is declared twice`, name.span, {
    also: [{ span: first.span, text: "first here" }],
    help,
  });
/** An error for each name that stands twice in a list of names declared together; null is `_`. */
export function duplicates(names: readonly (Name | null)[]): Diagnostic[] {
  const seen = new Map<string, Name>();
  return names.flatMap((name) => {
    const first = name && seen.get(name.name);
    if (name && !first) seen.set(name.name, name);
    return name && first ? [declaredTwice(name, first)] : [];
  });
}
/** Gives up on an expression that depends on something already reported, without a second error. */
export function absorb(): never {
  throw new Failure(null);
}

export const textOf = (span: Span): string => span.source.text.slice(span.start, span.end);
/** How errors call result `i` of `count`; `of`: the name of what returns it. */
export function resultText(i: number, count: number, of?: string): string {
  const which = count === 1 ? "result" : `${["first", "second", "third"][i] ?? `${i + 1}th`} result`;
  return `the ${which}${of === undefined ? "" : ` of \`${of}\``}`;
}
/** The source text of a span, to be quoted in a help; `otherwise` if it is long. */
export function quoted(span: Span, otherwise = "x"): string {
  const text = textOf(span);
  return text.length <= 30 && !text.includes("\n") ? text : otherwise;
}
/** The same in front of an index: in brackets unless it is a name, a call or an index. */
export function quotedOperand(span: Span): string {
  const text = quoted(span);
  return /^(\([^()]*\)|[\w.]+)(\([^()]*\)|\[[^[\]]*\])*$/.test(text) ? text : `(${text})`;
}

/** The candidate nearest to `name` by edit distance, ignoring case; null if none is near. One letter is near only to itself in the other case. */
export function nearest(name: string, candidates: Iterable<string>): string | null {
  let best: string | null = null;
  let least = Math.min(name.length, Math.max(1, Math.floor(name.length / 3)) + 1);
  for (const c of candidates) {
    const [a, b] = [name.toLowerCase(), c.toLowerCase()];
    const [short, long] = a.length < b.length ? [a, b] : [b, a];
    const begins = a !== b && short.length > 2 && 2 * short.length >= long.length && long.startsWith(short);
    const d = begins ? 1 : distance(a, b);
    if (d < least) [best, least] = [c, d];
  }
  return best;
}
/** The remedy for a name of a layer's header in the body of an alias. */
export const passOnHelp = (name: string): string =>
  `the layer's header is not seen here: have \`${name}\` in that of the alias, too, and pass it on, or write its value`;
/** The remedy for a named argument that does not exist. */
export function argumentHelp(name: string, names: readonly string[]): string {
  const here = localArgumentName(name, names);
  return here === undefined ? didYouMean(name, names, `it takes ${names.join(", ") || "none"}`) : `write \`${here}\``;
}
/** What stands under the first of the arguments that are too many. */
export const tooManyLabel = (many: number): string => (many === 1 ? "one too many" : `the first of ${many} too many`);
export const didYouMean = (name: string, candidates: Iterable<string>, otherwise: string): string => {
  const near = nearest(name, candidates);
  return near === null ? otherwise : `did you mean \`${near}\`?`;
};
/** Whether a longer name may be another that is misspelt: by one letter, or by two that have changed places; `forward2` is a name of its own. */
export function isSlip(name: string, meant: string): boolean {
  if (name.length < 5 || name.startsWith(meant) || meant.startsWith(name)) return false;
  return distance(name, meant) <= (lettersOf(name) === lettersOf(meant) ? 2 : 1);
}
const lettersOf = (name: string): string => name.split("").toSorted().join("");
/** The Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const kept = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(kept, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
