// The error that ends whatever needed a right program.
import type { Diagnostic } from "./diagnostic.ts";
import { render } from "./render.ts";

/** Thrown with all errors found in a program; its message shows the first five, with their source. */
export class ProgramError extends Error {
  declare readonly diagnostics: readonly Diagnostic[];
  constructor(diagnostics: readonly Diagnostic[]) {
    super(render(diagnostics, { color: false, width: 120, limit: 5 }).trimEnd());
    // not enumerable: Node would print all fields of all of them below the message of an uncaught error
    Object.defineProperty(this, "diagnostics", { value: diagnostics });
    this.name = "ProgramError";
    this.stack = `${this.name}: ${this.message}`; // where moec threw it says nothing about the program
  }
}
