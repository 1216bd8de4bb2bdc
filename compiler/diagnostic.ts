// Errors are values. A program's errors carry a code, spans and a remedy; `Problem` is what every other failure of the tool throws.
import type { Code } from "./codes.ts";
import type { Span } from "./syntax/ast.ts";

/** A part of the source that an error points at; the first label is where the caret stands. */
export interface Label {
  readonly span: Span;
  readonly text: string;
}
/** `code` is a row of the table in codes.ts. `notes`: what the two sides are and where they come from. `help`: what to do. */
export interface Diagnostic {
  readonly code: Code;
  readonly message: string;
  readonly labels: readonly [Label, ...Label[]];
  readonly notes: readonly string[];
  readonly help: string;
}

/** Thrown with all that was found wrong in a program. */
export class ProgramError extends Error {
  readonly diagnostics: readonly Diagnostic[];
  constructor(diagnostics: readonly Diagnostic[]) {
    super(diagnostics.map((d) => `${d.code}: ${d.message}`).join("\n"));
    this.diagnostics = diagnostics;
    this.name = "ProgramError";
  }
}
/** Anything else a user can mend: what is wrong, with the file and the key, and the remedy. Never shown with a stack. */
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
