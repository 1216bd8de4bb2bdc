// Errors are values. A program's errors carry a code, spans and a remedy; `Problem` is what every other failure of the tool throws.
import type { Code } from "./codes.ts";
import { memoize } from "./memoize.ts";
import type { Source, Span } from "./syntax/ast.ts";

/** A part of the source that an error points at; the first label is where the caret stands. */
export interface Label {
  readonly span: Span;
  readonly text: string;
}
/** `code`: a key of the table in codes.ts. `notes`: what the two sides are and where they come from. `help`: what to do. */
export interface Diagnostic {
  readonly code: Code;
  readonly message: string;
  readonly labels: readonly [Label, ...Label[]];
  readonly notes: readonly string[];
  readonly help: string;
}

/** 1-based; columns count UTF-16 units, as editors do. */
interface Position {
  readonly line: number;
  readonly column: number;
}
export function position(source: Source, offset: number): Position {
  const before = source.text.slice(0, offset);
  const start = before.lastIndexOf("\n") + 1;
  let line = 1;
  for (let at = before.indexOf("\n"); at >= 0; at = before.indexOf("\n", at + 1)) line++;
  return { line, column: offset - start + 1 };
}

/** `file:line`. */
export const locationText = memoize(
  ({ source, start }: Span): string => `${source.name}:${position(source, start).line}`,
);

/** Any other failure that the user can fix: the message says what is wrong, with the file and key, `help` what to do. Shown without a stack. */
export class Problem extends Error {
  readonly help: string;
  constructor(message: string, help: string, options?: ErrorOptions) {
    super(message, options);
    this.help = help;
    this.name = "Problem";
  }
}
/** A defect of moec itself: names the pass, if a pass is guilty. */
export class Bug extends Error {
  constructor(message: string) {
    super(`${message} (a defect of moec, not of your program: please report it)`);
    this.name = "Bug";
  }
}
