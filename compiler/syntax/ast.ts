// The syntax tree of a program. Later stages know programs only in this form.
import type { Element } from "../types/dtype.ts";

/** The text that spans refer to: a `.moe` file, or the TypeScript file that contains a template. */
export interface Source {
  readonly name: string;
  readonly text: string;
}
/** Offsets into `source.text`, end exclusive. */
export interface Span {
  readonly source: Source;
  readonly start: number;
  readonly end: number;
}
interface Node {
  readonly span: Span;
}
export interface Name extends Node {
  readonly name: string;
}

/** A whole file or template. */
export interface Program extends Node {
  readonly imports: readonly Import[];
  readonly declarations: readonly Declaration[];
}
/** `import { a, b } from "std/nn"`. A path that begins with `./` or `../` is relative to the importing file. */
export interface Import extends Node {
  readonly names: readonly Name[];
  readonly from: string;
  readonly fromSpan: Span;
}

export type Declaration = Layer | Alias | Fn | Optimizer;
interface Declared extends Node {
  readonly name: Name;
  readonly header: readonly HeaderParam[];
  /** The comment lines directly above the declaration, without `//`. */
  readonly doc: string;
}
/** `layer Name(...) { ... }` or `model Name(...) { ... }`. */
export interface Layer extends Declared {
  readonly kind: "layer" | "model";
  readonly body: readonly MemberOrIf[];
}
/** `layer Name(...) = Other(...)`, `model Name(...) = Other(...)`, with or without a body. */
export interface Alias extends Declared {
  readonly kind: "alias";
  readonly of: "layer" | "model";
  readonly value: Expr;
  readonly body: readonly MemberOrIf[];
}
/** `fn name(...) -> T { ... }`. The header holds tensor parameters, sizes and values, in any order. */
export interface Fn extends Declared {
  readonly kind: "fn";
  readonly result: readonly TypeExpr[];
  readonly body: readonly Stmt[];
}
/** `optimizer Name(...) { apply(...) {...} helper(...) -> T {...} }`; there may be several `apply`. */
export interface Optimizer extends Declared {
  readonly kind: "optimizer";
  readonly methods: readonly Method[];
}

/**
 * One item of a header: `D`, `H = 4 * D`, `rate = 0`, `act: float[...S] -> float[...S] = silu`, `x: float[N, D]`, `...S` (`spread`).
 * Without a type, a capital name is a size and a lower-case name a value. With an arrow type it is a layer or function (an array of them if the
 * arrow has `[L]` after it); with a tensor type, an argument.
 */
export interface HeaderParam extends Node {
  readonly name: Name;
  readonly spread: boolean;
  readonly type: TypeExpr | ArrowType | null;
  readonly default: Expr | null;
}

export type MemberOrIf = Member | MemberIf;
/** `if biased { param bias: ... } else { ... }` around members. */
export interface MemberIf extends Node {
  readonly kind: "if";
  readonly cond: Expr;
  readonly then: readonly MemberOrIf[];
  readonly else: readonly MemberOrIf[];
}
export type Member = Param | State | SubLayer | Method;
/** `param weight: float[In, Out] = normal()`. */
export interface Param extends Node {
  readonly kind: "param";
  readonly name: Name;
  readonly type: TypeExpr;
  readonly init: Expr;
}
/** `state bias: f32[E] = 0`, as a member or as a statement in a method. */
export interface State extends Node {
  readonly kind: "state";
  readonly name: Name;
  readonly type: TypeExpr;
  readonly init: Expr;
}
/** `up: Linear(D, H)`, `blocks: Block(D)[L]`, `feed: feed`. */
interface SubLayer extends Node {
  readonly kind: "sublayer";
  readonly name: Name;
  readonly value: Expr;
}
/** `forward(x: float[...S, D], at: i32[B, T] = range(T)) -> (A, B) { ... }`; `result` is empty if there is no arrow. */
export interface Method extends Node {
  readonly kind: "method";
  readonly name: Name;
  readonly params: readonly HeaderParam[];
  readonly result: readonly TypeExpr[];
  readonly body: readonly Stmt[];
}

/** `float[...S, D]`. A scalar has no axes; the spread, if there is one, comes first. */
export interface TypeExpr extends Node {
  readonly kind: "tensor";
  readonly dtype: Element;
  readonly spread: Name | null;
  readonly axes: readonly Expr[];
}
/** `(A, B) -> (C, D)`; `array` is the L in `(A -> B)[L]`, an array of layers. */
export interface ArrowType extends Node {
  readonly kind: "arrow";
  readonly params: readonly TypeExpr[];
  readonly result: readonly TypeExpr[];
  readonly array: Expr | null;
}

export type Stmt =
  | (Node & {
      readonly kind: "let";
      readonly names: readonly Pattern[];
      readonly type: TypeExpr | null;
      readonly value: Expr;
    })
  | (Node & { readonly kind: "set"; readonly name: Name; readonly value: Expr })
  | (Node & { readonly kind: "return"; readonly values: readonly Expr[] })
  | (Node & {
      readonly kind: "if";
      readonly cond: Expr;
      readonly then: readonly Stmt[];
      readonly else: readonly Stmt[];
    })
  | (Node & {
      readonly kind: "for";
      readonly name: Name;
      readonly index: Name | null;
      readonly over: Expr | Range;
      readonly body: readonly Stmt[];
    })
  | (Node & { readonly kind: "loss" | "metric" | "update"; readonly name: Name; readonly value: Expr })
  | State
  | (Node & { readonly kind: "optimize"; readonly selectors: readonly Selector[]; readonly with: Expr | null })
  | (Node & { readonly kind: "expr"; readonly value: Expr });
/** A name in `let (a, _) = ...`; null stands for `_`. A plain `let` has one. */
export type Pattern = Name | null;
/** `for i in 0:rounds`. */
export interface Range extends Node {
  readonly kind: "range";
  readonly from: Expr;
  readonly to: Expr;
}
/** `blocks.feed.experts` or `LoraLinear.a`. */
export interface Selector extends Node {
  readonly path: readonly Name[];
}

type UnaryOp = "-" | "!";
export type BinaryOp = "+" | "-" | "*" | "/" | "%" | "**" | "@" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "&&" | "||";
export type Expr =
  | (Node & { readonly kind: "number"; readonly value: number })
  | (Node & { readonly kind: "bool"; readonly value: boolean })
  | (Node & { readonly kind: "name"; readonly name: string })
  | (Node & { readonly kind: "unary"; readonly op: UnaryOp; readonly value: Expr })
  | (Node & {
      readonly kind: "binary";
      readonly op: BinaryOp;
      readonly left: Expr;
      readonly right: Expr;
      readonly opSpan: Span;
    })
  | (Node & { readonly kind: "call"; readonly callee: Expr; readonly args: readonly Arg[] })
  | (Node & { readonly kind: "member"; readonly object: Expr; readonly name: Name })
  | (Node & { readonly kind: "index"; readonly object: Expr; readonly items: readonly IndexItem[] })
  /** `[a, b]`: sizes for `reshape`, tensors for `concat`, axes, or an array of layers. An item may be a spread `...S`. */
  | (Node & { readonly kind: "list"; readonly items: readonly (Expr | Spread)[] })
  /** A hole `${...}` with another template's declaration, `Template.holes[index]`. Holes with numbers, booleans or dtypes become those. */
  | (Node & { readonly kind: "hole"; readonly index: number });
export interface Spread extends Node {
  readonly kind: "spread";
  readonly name: Name;
}
export interface Arg extends Node {
  readonly name: Name | null;
  readonly value: Expr;
}
/** An item inside `x[...]`: an expression, a slice `a:b` (either end may be missing), `...`, or `new`. */
export type IndexItem =
  | Expr
  | (Node & { readonly kind: "slice"; readonly from: Expr | null; readonly to: Expr | null })
  | (Node & { readonly kind: "ellipsis" })
  | (Node & { readonly kind: "new" });
