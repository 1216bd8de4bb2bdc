// The elementwise functions of the ops `unary` and `binary`. To add one, add a row here and its name in attrs.ts.
import { halfToEven } from "../graph/array.ts";
import type { Builder, Value } from "../graph/node.ts";
import { type DType, type Element, isFloat } from "../types/dtype.ts";
import { remainder } from "../types/numbers.ts";
import type { BinaryName, UnaryName } from "./attrs.ts";
import * as b from "./build.ts";

interface Scalar {
  /** The dtype of the result, given that of the operands; null if the function is not defined for it. */
  readonly resultDType: (t: Element) => Element | null;
  /** Cost relative to an addition. */
  readonly flops: number;
}
export interface Unary extends Scalar {
  /** Documentation of the language's function of this name; if absent, the language has no such function. */
  readonly doc?: string;
  /**
   * When the function is applied to a number at compile time: is the result an integer always ("yes"), only if the argument is ("as given"), or not
   * known to be one (absent)?
   */
  readonly integral?: "yes" | "as given";
  /** Defined for positive numbers alone, which tests then give it. */
  readonly positive?: true;
  /** `NAME_short_` of math.hpp is faster, and precise enough for a bf16 result. */
  readonly short?: true;
  /** The function in f64. `t` is the operand's dtype: i32 wraps. */
  readonly eval: (x: number, t: DType) => number;
  /** The gradient of x, given dy, that of y = f(x); null if it is zero everywhere. */
  readonly vjp: (g: Builder, dy: Value, x: Value, y: Value) => Value | null;
}
interface Binary extends Scalar {
  readonly eval: (x: number, y: number, t: DType) => number;
  readonly vjp: (g: Builder, dz: Value, x: Value, y: Value, z: Value) => readonly [Value | null, Value | null];
}

const float = (t: Element): Element | null => (isFloat(t) ? t : null);
const numeric = (t: Element): Element | null => (t === "bool" ? null : t);
const ordered = (t: Element): Element | null => (t === "bool" ? null : "bool");
const anyToBool = (): Element => "bool";
const bool = (t: Element): Element | null => (t === "bool" ? t : null);
const whole = (t: Element): Element | null => (t === "i32" ? t : null);

const zeroGradient = (): null => null;
const zeroGradients = (): readonly [null, null] => [null, null];

export const unaries: Readonly<Record<UnaryName, Unary>> = {
  neg: { resultDType: numeric, flops: 1, eval: (x, t) => (t === "i32" ? -x | 0 : -x), vjp: (g, dy) => b.neg(g, dy) },
  not: { resultDType: bool, flops: 1, eval: (x) => 1 - x, vjp: zeroGradient },
  exp: { doc: "e to the x", resultDType: float, flops: 10, eval: Math.exp, vjp: (g, dy, _, y) => b.mul(g, dy, y) },
  expm1: {
    doc: "exp(x) - 1, precise for small x",
    resultDType: float,
    flops: 12,
    eval: Math.expm1,
    vjp: (g, dy, x) => b.mul(g, dy, b.exp(g, x)),
  },
  log: {
    doc: "The natural logarithm",
    resultDType: float,
    positive: true,
    flops: 10,
    eval: Math.log,
    vjp: (g, dy, x) => b.div(g, dy, x),
  },
  log1p: {
    doc: "log(1 + x), precise for small x",
    resultDType: float,
    positive: true,
    flops: 12,
    eval: Math.log1p,
    vjp: (g, dy, x) => b.div(g, dy, b.add(g, x, 1)),
  },
  sqrt: {
    doc: "The square root",
    resultDType: float,
    positive: true,
    flops: 4,
    eval: Math.sqrt,
    vjp: (g, dy, _, y) => b.div(g, b.mul(g, dy, 0.5), y),
  },
  rsqrt: {
    doc: "1 / sqrt(x)",
    resultDType: float,
    positive: true,
    flops: 4,
    eval: (x) => 1 / Math.sqrt(x),
    vjp: (g, dy, x, y) => b.div(g, b.mul(g, b.mul(g, dy, -0.5), y), x),
  },
  sin: {
    doc: "The sine, of radians",
    resultDType: float,
    flops: 15,
    eval: Math.sin,
    vjp: (g, dy, x) => b.mul(g, dy, b.cos(g, x)),
  },
  cos: {
    doc: "The cosine, of radians",
    resultDType: float,
    flops: 15,
    eval: Math.cos,
    vjp: (g, dy, x) => b.neg(g, b.mul(g, dy, b.sin(g, x))),
  },
  tanh: {
    doc: "The hyperbolic tangent",
    resultDType: float,
    flops: 12,
    short: true,
    eval: Math.tanh,
    vjp: (g, dy, _, y) => b.mul(g, dy, b.sub(g, 1, b.mul(g, y, y))),
  },
  sigmoid: {
    doc: "1 / (1 + exp(-x))",
    resultDType: float,
    flops: 12,
    short: true,
    eval: (x) => 1 / (1 + Math.exp(-x)),
    vjp: (g, dy, _, y) => b.mul(g, dy, b.mul(g, y, b.sub(g, 1, y))),
  },
  erf: {
    doc: "The error function",
    resultDType: float,
    flops: 15,
    short: true,
    eval: erf,
    vjp: (g, dy, x) => b.mul(g, dy, b.mul(g, 2 / Math.sqrt(Math.PI), b.exp(g, b.neg(g, b.mul(g, x, x))))),
  },
  abs: {
    doc: "The magnitude",
    resultDType: numeric,
    flops: 1,
    integral: "as given",
    eval: (x, t) => (t === "i32" ? Math.abs(x) | 0 : Math.abs(x)),
    vjp: (g, dy, x) => b.mul(g, dy, b.sign(g, x)),
  },
  sign: { doc: "-1, 0 or 1", resultDType: numeric, flops: 1, integral: "yes", eval: Math.sign, vjp: zeroGradient },
  floor: { doc: "Rounded down", resultDType: float, flops: 1, integral: "yes", eval: Math.floor, vjp: zeroGradient },
  ceil: { doc: "Rounded up", resultDType: float, flops: 1, integral: "yes", eval: Math.ceil, vjp: zeroGradient },
  round: {
    doc: "Rounded to the nearest; halves to even",
    resultDType: float,
    flops: 1,
    integral: "yes",
    eval: halfToEven,
    vjp: zeroGradient,
  },
  // Random bits to a float in [0, 1): the top 24 bits, so that the result is exact in f32 and never 1.
  unit: {
    resultDType: (t) => (t === "i32" ? "f32" : null),
    flops: 2,
    eval: (x) => (x >>> 8) / 2 ** 24,
    vjp: zeroGradient,
  },
};

export const binaries: Readonly<Record<BinaryName, Binary>> = {
  add: {
    resultDType: numeric,
    flops: 1,
    eval: (x, y, t) => (t === "i32" ? (x + y) | 0 : x + y),
    vjp: (_, dz) => [dz, dz],
  },
  sub: {
    resultDType: numeric,
    flops: 1,
    eval: (x, y, t) => (t === "i32" ? (x - y) | 0 : x - y),
    vjp: (g, dz) => [dz, b.neg(g, dz)],
  },
  mul: {
    resultDType: numeric,
    flops: 1,
    eval: (x, y, t) => (t === "i32" ? Math.imul(x, y) : x * y),
    vjp: (g, dz, x, y) => [b.mul(g, dz, y), b.mul(g, dz, x)],
  },
  div: {
    resultDType: float,
    flops: 4,
    eval: (x, y) => x / y,
    vjp(g, dz, _, y, z) {
      const dx = b.div(g, dz, y);
      return [dx, b.neg(g, b.mul(g, dx, z))];
    },
  },
  // Rounds down, so that x = idiv(x, y) * y + rem(x, y); 0 if y is 0.
  idiv: { resultDType: whole, flops: 4, eval: (x, y) => Math.floor(x / y) | 0, vjp: zeroGradients },
  // Takes the sign of y; 0 if y is 0.
  rem: {
    resultDType: numeric,
    flops: 4,
    eval: remainder,
    vjp: (g, dz, x, y) => [dz, b.neg(g, b.mul(g, dz, b.floor(g, b.div(g, x, y))))],
  },
  pow: {
    resultDType: float,
    flops: 30,
    eval: Math.pow,
    // For x <= 0, log(1) = 0 is used in place of log(x): the gradient of y is then 0. That of x is 0 for y = 0, at x = 0 too.
    vjp(g, dz, x, y, z) {
      const base = b.where(g, b.gt(g, x, 0), x, 1);
      const slope = b.mul(g, y, b.pow(g, x, b.sub(g, y, 1)));
      const dx = b.where(g, b.eq(g, y, 0), 0, slope);
      return [b.mul(g, dz, dx), b.mul(g, dz, b.mul(g, z, b.log(g, base)))];
    },
  },
  max: {
    resultDType: numeric,
    flops: 1,
    eval: (x, y) => Math.max(x, y),
    vjp: (g, dz, x, y) => selectGradient(g, dz, b.ge(g, x, y)),
  },
  min: {
    resultDType: numeric,
    flops: 1,
    eval: (x, y) => Math.min(x, y),
    vjp: (g, dz, x, y) => selectGradient(g, dz, b.le(g, x, y)),
  },
  eq: { resultDType: anyToBool, flops: 1, eval: (x, y) => Number(x === y), vjp: zeroGradients },
  ne: { resultDType: anyToBool, flops: 1, eval: (x, y) => Number(x !== y), vjp: zeroGradients },
  lt: { resultDType: ordered, flops: 1, eval: (x, y) => Number(x < y), vjp: zeroGradients },
  le: { resultDType: ordered, flops: 1, eval: (x, y) => Number(x <= y), vjp: zeroGradients },
  gt: { resultDType: ordered, flops: 1, eval: (x, y) => Number(x > y), vjp: zeroGradients },
  ge: { resultDType: ordered, flops: 1, eval: (x, y) => Number(x >= y), vjp: zeroGradients },
  and: { resultDType: bool, flops: 1, eval: (x, y) => x & y, vjp: zeroGradients },
  or: { resultDType: bool, flops: 1, eval: (x, y) => x | y, vjp: zeroGradients },
};

/** Passes the gradient to the left operand where `left` is true, else to the right one. If both are equal, the left one gets it. */
function selectGradient(g: Builder, dz: Value, left: Value): readonly [Value, Value] {
  return [b.where(g, left, dz, 0), b.where(g, left, 0, dz)];
}
/** 2 / sqrt(pi) exp(-x^2) sum x (2 x^2)^n / (1 3 5 .. (2n + 1)): all terms have the same sign, so nothing cancels (Abramowitz and Stegun 7.1.6). */
function erf(x: number): number {
  if (Number.isNaN(x) || Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let total = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    total += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * total;
}
