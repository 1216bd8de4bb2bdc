import type { Element } from "../types/dtype.ts";
import type { Declaration, Program } from "./ast.ts";

/** The program of a template. `holes[i]` is the value of an `Expr` of kind "hole" with index `i`. */
export interface Template extends Program {
  /** The text, with `holeText(i)` in place of each hole. */
  readonly text: string;
  readonly holes: readonly Hole[];
}
/** A declaration of a template. `compile` takes one, and so do holes of other templates. */
export interface Handle {
  readonly kind: Declaration["kind"];
  readonly name: string;
  readonly program: Template;
}
/** The values that a hole `${...}` can have. */
export type Hole = number | boolean | Element | Handle;
