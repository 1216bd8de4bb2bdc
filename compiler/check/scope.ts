// Names in sight, and what is known of the body that is being evaluated.
import type { Value } from "../graph/node.ts";
import type * as ast from "../syntax/ast.ts";
import type { Element, Instance, Val } from "./values.ts";

/** One body being evaluated: a method, a function, a header. */
export interface Frame {
  /** What `float` means here. */
  float: Element;
  readonly role: "layer" | "function" | "optimizer" | "header";
  /** The layer whose body this is. */
  readonly instance: Instance | null;
  /** The method or function, for states, recursion and errors. */
  readonly body: ast.Method | ast.Declaration | null;
  /** The calls that led here: keys random numbers. */
  readonly site: string;
  /** Inside a routed call or over a stack: what a row's random numbers are counted from. */
  readonly lane: Lane | null;
  /** What is declared to be returned. */
  readonly result: readonly ast.TypeExpr[];
  returned: Val | null;
  /** Iterations of the loops around, for `site`. */
  round: string;
}
export interface Lane {
  readonly kind: "routed" | "each";
  readonly base: Value;
}

export class Scope {
  readonly frame: Frame;
  readonly parent: Scope | null;
  private readonly names = new Map<string, Val | (() => Val)>();

  constructor(frame: Frame, parent: Scope | null) {
    this.frame = frame;
    this.parent = parent;
  }
  /** A block inside this one. */
  inner(): Scope {
    return new Scope(this.frame, this);
  }
  /** The same names, seen from another body. */
  within(frame: Frame): Scope {
    return new Scope(frame, this);
  }
  set(name: string, value: Val | (() => Val)): void {
    this.names.set(name, value);
  }
  has(name: string): boolean {
    return this.names.has(name);
  }
  /** The innermost scope that has `name`. */
  holder(name: string): Scope | null {
    return this.names.has(name) ? this : (this.parent?.holder(name) ?? null);
  }
  own(name: string): Val | undefined {
    const found = this.names.get(name);
    return typeof found === "function" ? found() : found;
  }
  get(name: string): Val | undefined {
    return this.holder(name)?.own(name);
  }
  /** All names in sight, nearest first. */
  all(): string[] {
    return [...this.names.keys(), ...(this.parent?.all() ?? [])];
  }
}
