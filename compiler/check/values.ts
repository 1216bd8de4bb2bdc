// The values of expressions, and scopes. Checking and elaboration use the same kinds of values.
import type { Mapped, Value } from "../graph/node.ts";
import type * as ast from "../syntax/ast.ts";
import type { Element } from "../types/dtype.ts";
import type { Size, Sym } from "../types/size.ts";
import type { Type } from "../types/type.ts";
import type { Condition } from "./conditions.ts";

/** A number known at compile time; null: elaboration will know it, but checking does not. */
export type Num = number | Sym | null;

export interface Module {
  readonly name: string;
  readonly program: ast.Program;
  /** Declarations and imports, by name; null: an import that could not be resolved. */
  readonly names: Map<string, Declared | null>;
  /** The declarations given in a template's holes, by index. */
  readonly holes: ReadonlyMap<number, Declared>;
}
/** A declaration, with the module whose names it can use. */
export interface Declared<D extends ast.Declaration = ast.Declaration> {
  readonly ast: D;
  readonly module: Module;
}

/** A layer or alias with its header filled in. */
interface Part {
  readonly ast: ast.Layer | ast.Alias;
  readonly header: Scope;
}
/** A layer yet to be made. */
export interface Maker {
  /** The layer, then the aliases that led to it, each with what it adds; selectors of `optimize` may use all their names. */
  readonly parts: readonly [Part, ...Part[]];
  /** Where the header is filled in. */
  readonly at: ast.Span;
}
/** A layer or function passed in a header, of which only the arrow type is known. */
export interface ArrowParam {
  readonly name: string;
  readonly arrow: ast.ArrowType;
  /** The scope in which the arrow's sizes are looked up. */
  readonly scope: Scope;
}
/** What can become a member: a layer, a function (a layer without parameters), or one known by its arrow type only. */
export interface Makeable {
  readonly of:
    | { readonly kind: "layer"; readonly maker: Maker }
    | { readonly kind: "fn"; readonly fn: Callable }
    | { readonly kind: "abstract"; readonly abstract: ArrowParam };
  /** The arrow types that it was passed for, the latest first. */
  readonly arrows: readonly ArrowParam[];
}
/** An array of layers yet to be made: the sequence `items`, repeated `times` times. */
export interface Makers {
  readonly times: Size;
  readonly items: readonly (Makeable | Makers)[];
}

/** A tensor that a layer keeps: a parameter or state. `type` is that of the value that `read` returns. */
export interface Slot {
  readonly type: Type;
  read(): Value;
  /** `span`: the place in the program that writes, for errors. */
  write(value: Value, span: ast.Span): void;
}
/** Gives the tensors of a layer: the slot called `name` within it. */
export type Storage = (name: string, spec: SlotSpec) => Slot;
export interface SlotSpec {
  readonly role: "parameter" | "state";
  /** The type of one copy, as it is stored. */
  readonly type: Type;
  /** The dtype in which the program reads it, and it is stored if nothing trains it. */
  readonly read: Element;
  /** The leading axes that the arrays around add, outermost first. */
  readonly stack: readonly number[];
  readonly init: ast.Expr;
  /** The scope in which `init` is evaluated: the layer's header. */
  readonly scope: Scope;
  readonly owner: Owner;
  readonly span: ast.Span;
}
/** The layers that contain a parameter, outermost first, each with its names and the path to the parameter; selectors match against these. */
export type Owner = readonly { readonly names: readonly string[]; readonly path: string }[];

/** A layer that has been made. */
export interface Instance {
  readonly path: string;
  readonly make: Makeable;
  readonly members: ReadonlyMap<string, () => Val>;
  /** The names that the methods of its last part see: members and methods of all parts, then the part's own header and module. */
  readonly scope: Scope;
}
/** An array of layers that has been made. */
export interface Instances {
  readonly length: Size;
  /** While checking: one instance of each different layer, `at` giving any of them. While elaborating: empty, and `at` makes them on demand. */
  readonly kinds: readonly Instance[];
  at(i: number): Instance;
  /** While checking: which of `kinds` layer `i` is; null: it is not known. */
  kindOf(i: number): Instance | null;
  /** The instances to visit in order to reach all stores: all layers or, for a stack, one that stands for all copies. */
  stored(): readonly Instance[];
  /** While elaborating: whether one store has each parameter of all. There is one run, then. */
  readonly stack: boolean;
  /** While elaborating: the member that is this array, if it could be a stack and is none; else null. */
  readonly unstacked: ast.Member | null;
  /** Runs of consecutive equal layers. */
  readonly runs: readonly Run[];
}
/**
 * A run of equal layers. `make` gives one instance that stands for all of them; `through` maps each slot that holds all copies to the slot of one.
 */
export interface Run {
  readonly start: number;
  readonly count: number;
  make(through: (all: Slot) => Slot): Instance;
}

export type Callable =
  | { readonly kind: "declared"; readonly decl: Declared<ast.Fn> }
  | { readonly kind: "builtin"; readonly name: string }
  | { readonly kind: "method"; readonly instance: Instance; readonly scope: Scope; readonly method: ast.Method }
  | { readonly kind: "helper"; readonly scope: Scope; readonly method: ast.Method }
  | { readonly kind: "abstract"; readonly abstract: ArrowParam }
  | { readonly kind: "through"; readonly arrow: ArrowParam; readonly fn: Callable };

export type Val =
  | { readonly kind: "tensor"; readonly value: Value }
  /**
   * `whole`: an integer, which stays i32 next to i32. `loose`: the value of a header name, which may also be a boolean or a scalar tensor. `text`: what
   * conditions call it, if it is unknown.
   */
  | {
      readonly kind: "number";
      readonly value: Num;
      readonly whole: boolean;
      readonly loose?: boolean;
      readonly text?: string | undefined;
    }
  /** `when`: where it is true, if it is unknown. */
  | { readonly kind: "bool"; readonly value: boolean | null; readonly when?: Condition | undefined }
  | { readonly kind: "spread"; readonly name: string; readonly axes: readonly Size[] }
  /** `spans`: where each item is written, of a list that is. */
  | { readonly kind: "list"; readonly items: readonly Val[]; readonly spans?: readonly ast.Span[] }
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
  /**
   * `others`: while checking, of an element of an array, its other layers, which are called alike: it may be one of them unless its number says that it is
   * `layer` (`isKnown`).
   */
  | {
      readonly kind: "layer";
      readonly layer: Instance;
      readonly others: readonly Instance[];
      readonly isKnown?: boolean;
    }
  | { readonly kind: "layers"; readonly layers: Instances }
  /** `experts[:]` (`index` null) or `experts[index]`, before the call. `within`: the members of each that are meant, `up` of `experts[:].up`. */
  | {
      readonly kind: "picked";
      readonly layers: Instances;
      readonly index: Value | null;
      readonly within: readonly ast.Name[];
    }
  | { readonly kind: "optimizer"; readonly decl: Declared<ast.Optimizer>; readonly header: Scope }
  | { readonly kind: "none" }
  | { readonly kind: "error" };

/** One activation of a body: a method, a function or a header. */
export interface Frame {
  /** What `float` means in this body. */
  float: Element;
  readonly role: "layer" | "function" | "optimizer" | "header";
  /** The layer that the body belongs to. */
  readonly instance: Instance | null;
  /** The method or declaration being evaluated; used for names of states, recursion and errors. */
  readonly body: ast.Method | ast.Declaration | null;
  /** The chain of calls that led here, which keys random numbers. */
  readonly site: string;
  /** Set inside a routed call, or in a body mapped over a stack; null elsewhere. */
  readonly lane: Lane | null;
  /** The declared types of the results. */
  readonly result: readonly ast.TypeExpr[];
  returned: Val | null;
  /** The iterations of the loops around the current statement, as part of `site`. */
  iterations: string;
}
/** Set for a body elaborated for one row of a routed call, or one layer of a stack. `base`: the row's number, which keys its random numbers. */
export interface Lane {
  readonly kind: "routed" | "each";
  readonly base: Value;
  /** What the leaves of the body become for all rows; `base` is one of them. */
  readonly bind: ReadonlyMap<Value, Mapped>;
}

/** The names visible at one point; blocks, bodies and modules are nested scopes. */
export class Scope {
  readonly frame: Frame;
  readonly parent: Scope | null;
  readonly #names = new Map<string, Val | (() => Val)>();

  constructor(frame: Frame, parent: Scope | null) {
    this.frame = frame;
    this.parent = parent;
  }
  /** The scope of a block inside this one. */
  inner(): Scope {
    return new Scope(this.frame, this);
  }
  /** A scope with the same names, for the body `frame`. */
  within(frame: Frame): Scope {
    return new Scope(frame, this);
  }
  set(name: string, value: Val | (() => Val)): void {
    this.#names.set(name, value);
  }
  has(name: string): boolean {
    return this.#names.has(name);
  }
  /** The innermost scope that defines `name`. */
  holder(name: string): Scope | null {
    return this.#names.has(name) ? this : (this.parent?.holder(name) ?? null);
  }
  own(name: string): Val | undefined {
    const found = this.#names.get(name);
    return typeof found === "function" ? found() : found;
  }
  get(name: string): Val | undefined {
    return this.holder(name)?.own(name);
  }
  /** The outermost scope, that of the module. */
  root(): Scope {
    return this.parent?.root() ?? this;
  }
  /** All visible names, innermost first. */
  all(): string[] {
    return [...this.#names.keys(), ...(this.parent?.all() ?? [])];
  }
}

export const tensor = (value: Value): Val => ({ kind: "tensor", value });
export const number = (value: Num, whole: boolean): Val => ({ kind: "number", value, whole });
export const bool = (value: boolean | null, when?: Condition): Val => ({ kind: "bool", value, when });
export const errorVal: Val = { kind: "error" };
export const results = (values: readonly Val[]): Val => {
  const [only, ...more] = values;
  return only === undefined ? { kind: "none" } : more.length === 0 ? only : { kind: "tuple", items: values };
};
export const resultList = (v: Val): readonly Val[] => (v.kind === "none" ? [] : v.kind === "tuple" ? v.items : [v]);

/** The kind of a value, in the words of error messages. */
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
