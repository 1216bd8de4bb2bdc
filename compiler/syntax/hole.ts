import type { DType } from "../types/dtype.ts";
import type { Declaration, Program } from "./ast.ts";

/** A program made by a template; `holes[i]` is what an `Expr` of kind "hole" with index `i` stands for. */
export interface Template extends Program {
  readonly holes: readonly Hole[];
}
/** A declaration of a template: what `compile` takes, and what a hole of another template may hold. */
export interface Handle {
  readonly kind: Declaration["kind"];
  readonly name: string;
  readonly program: Template;
}
/** What `${...}` may hold. */
export type Hole = number | boolean | DType | "float" | Handle;
