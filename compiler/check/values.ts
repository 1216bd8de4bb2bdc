// What an expression stands for, while checking and while elaborating, and the names in sight: the same kinds in both modes.
import type { Mapped, Value } from "../graph/node.ts";
import type * as ast from "../syntax/ast.ts";
import type { DType } from "../types/dtype.ts";
import type { Size, Sym } from "../types/size.ts";
import type { Type } from "../types/type.ts";

export type Element = DType | "float";
/** A number known when compiling. null: known then, but not while checking. */
export type Num = number | Sym | null;

export interface Module {
  readonly name: string;
  readonly program: ast.Program;
  /** What the names of the module stand for: its declarations and its imports; null: an import that went wrong. */
  readonly names: Map<string, Declared | null>;
  /** The declarations in the holes of a template. */
  readonly holes: ReadonlyMap<number, Declared>;
}
/** A declaration, with the module whose names it sees. */
export interface Declared<D extends ast.Declaration = ast.Declaration> {
  readonly ast: D;
  readonly module: Module;
}

/** A layer yet to be made: its declaration and its header's values. */
export interface Maker {
  readonly decl: Declared<ast.Layer>;
  readonly header: Scope;
  /** The aliases it was made through, which selectors of `optimize` may name too. */
  readonly aliases: readonly string[];
  /** Where its header is filled in. */
  readonly at: ast.Span;
}
/** A layer or function that a header promises: only its arrow is known. */
export interface Abstract {
  readonly name: string;
  readonly arrow: ast.ArrowType;
  /** Where the arrow's sizes are looked up. */
  readonly scope: Scope;
}
/** What a member makes: a layer, a function (a layer without parameters), or what a header promises. */
export interface Makeable {
  readonly of:
    | { readonly kind: "layer"; readonly maker: Maker }
    | { readonly kind: "fn"; readonly fn: Callable }
    | { readonly kind: "abstract"; readonly abstract: Abstract };
  /** The arrow types it was passed through, the latest first. */
  readonly arrows: readonly Abstract[];
}
/** An array of layers yet to be made: `items`, one after the other, `times` times. */
export interface Makers {
  readonly times: Size;
  readonly items: readonly (Makeable | Makers)[];
}

/** One tensor that a layer keeps. `type` is what `read` gives. */
export interface Slot {
  readonly type: Type;
  read(): Value;
  /** At `where` in the program. */
  write(value: Value, where: ast.Span): void;
}
/** Where a layer's tensors come from: gives the slot called `name` below the layer. */
export type Storage = (name: string, spec: SlotSpec) => Slot;
export interface SlotSpec {
  readonly role: "parameter" | "state";
  /** Of one copy, as it is stored. */
  readonly type: Type;
  readonly stack: readonly number[];
  readonly init: ast.Expr;
  /** Where `init` is evaluated: the layer's header. */
  readonly scope: Scope;
  readonly owner: Owner;
  readonly where: ast.Span;
}
/** The layers around a parameter, outermost first, with the path from each to the parameter: what selectors look at. */
export type Owner = readonly { readonly names: readonly string[]; readonly path: string }[];

export interface Instance {
  readonly path: string;
  readonly make: Makeable;
  readonly members: ReadonlyMap<string, () => Val>;
  /** The names its methods see: members, methods, header, module. */
  readonly scope: Scope;
}
/** An array of made layers. */
export interface Instances {
  readonly length: Size;
  /** Elaborating: all of them, made on demand. Checking: one of each kind, with `at` any of those. */
  readonly kinds: readonly Instance[];
  at(i: number): Instance;
  /** All of them, as their tensors are stored: one that stands for all of a stack. */
  stored(): readonly Instance[];
  /** Equal neighbours: how many, and how to make one whose tensors are those of all of them, each mapped by `lane`. */
  readonly runs: readonly Run[];
}
export interface Run {
  readonly start: number;
  readonly count: number;
  make(through: (all: Slot) => Slot): Instance;
}

export type Callable =
  | { readonly kind: "declared"; readonly decl: Declared<ast.Fn> }
  | { readonly kind: "builtin"; readonly name: string }
  | { readonly kind: "method"; readonly instance: Instance; readonly method: ast.Method }
  | { readonly kind: "helper"; readonly scope: Scope; readonly method: ast.Method }
  | { readonly kind: "abstract"; readonly abstract: Abstract }
  | { readonly kind: "through"; readonly arrow: Abstract; readonly fn: Callable };

export type Val =
  | { readonly kind: "tensor"; readonly value: Value }
  /** `whole`: stays an i32 beside i32; other numbers make floats. `loose`: a header value, which may be a boolean or a scalar too. */
  | { readonly kind: "number"; readonly value: Num; readonly whole: boolean; readonly loose?: boolean }
  | { readonly kind: "bool"; readonly value: boolean | null }
  | { readonly kind: "spread"; readonly name: string; readonly axes: readonly Size[] }
  | { readonly kind: "list"; readonly items: readonly Val[] }
  | { readonly kind: "tuple"; readonly items: readonly Val[] }
  | { readonly kind: "fn"; readonly fn: Callable }
  | { readonly kind: "declaration"; readonly decl: Declared }
  | { readonly kind: "maker"; readonly make: Makeable }
  | { readonly kind: "makers"; readonly makers: Makers }
  | {
      readonly kind: "slot";
      readonly slot: Slot;
      readonly dtype: Element;
      readonly name: string;
      readonly state: boolean;
    }
  | { readonly kind: "layer"; readonly layer: Instance; readonly others: readonly Instance[] }
  | { readonly kind: "layers"; readonly layers: Instances }
  /** `experts[:]` (`index` null) and `experts[index]`, before they are called. */
  | { readonly kind: "picked"; readonly layers: Instances; readonly index: Value | null }
  | { readonly kind: "optimizer"; readonly decl: Declared<ast.Optimizer>; readonly header: Scope }
  | { readonly kind: "none" }
  | { readonly kind: "error" };

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
  /** What the leaves of the body are for all rows; `base` is one of them. */
  readonly bind: ReadonlyMap<Value, Mapped>;
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
  /** The module's. */
  root(): Scope {
    return this.parent?.root() ?? this;
  }
  /** All names in sight, nearest first. */
  all(): string[] {
    return [...this.names.keys(), ...(this.parent?.all() ?? [])];
  }
}

export const tensor = (value: Value): Val => ({ kind: "tensor", value });
export const number = (value: Num, whole: boolean): Val => ({ kind: "number", value, whole });
export const bool = (value: boolean | null): Val => ({ kind: "bool", value });
export const errorVal: Val = { kind: "error" };
export const results = (values: readonly Val[]): Val => {
  const [only, ...more] = values;
  return only === undefined ? { kind: "none" } : more.length === 0 ? only : { kind: "tuple", items: values };
};
export const resultList = (v: Val): readonly Val[] => (v.kind === "none" ? [] : v.kind === "tuple" ? v.items : [v]);

/** What a value is, in an error's words. */
export const kindText: Readonly<Record<Val["kind"], string>> = {
  tensor: "a tensor",
  number: "a number",
  bool: "a boolean",
  spread: "sizes",
  list: "a list",
  tuple: "several results",
  fn: "a function",
  declaration: "a declaration without its header",
  maker: "a layer yet to be made",
  makers: "an array of layers yet to be made",
  slot: "a tensor",
  layer: "a layer",
  layers: "an array of layers",
  picked: "layers picked from an array",
  optimizer: "an optimizer",
  none: "no value",
  error: "an error",
};
