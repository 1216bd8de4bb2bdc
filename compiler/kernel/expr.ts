// Scalar expressions of the kernel IR: constructors that simplify, addresses of buffer elements, and analyses (ranges, known divisors, strides) for
// builders and emitters.
import { item } from "../item.ts";
import { gcd, product } from "../types/numbers.ts";
import type { Buffer, Expr, Load, Num, Op, Scalar, Tile, Var } from "./ir.ts";

export const num = (value: number, type: Scalar = "index"): Num => ({ e: "num", value, type });
export const f32 = (value: number): Num => num(value, "f32");
export const i32 = (value: number): Num => num(value, "i32");
export const bool = (value: boolean): Num => num(value ? 1 : 0, "bool");
export const load = (from: Buffer | Tile, ...at: readonly Expr[]): Load => ({ e: "load", from, at });
export const call = (op: string, type: Scalar, ...args: readonly Expr[]): Expr => ({ e: "op", op, type, args });
const index = (op: string, ...args: readonly Expr[]): Expr => call(op, "index", ...args);

/** A new variable, with what is known of its values. */
export const variable = (name: string, type: Scalar = "index", lo = 0, hi = Infinity, divisor = 1): Var => ({
  e: "var",
  name,
  type,
  lo,
  hi,
  divisor,
});

/** The type of an expression; a loaded element of bf16 is an f32. */
export function typeOf(x: Expr): Scalar {
  if (x.e !== "load") return x.type;
  if (x.from.kind === "tile") return x.from.type ?? (x.from.role === "shared" ? "i32" : "f32");
  return scalarOf(x.from.dtype);
}
export function scalarOf(dtype: Buffer["dtype"]): Scalar {
  return dtype === "i32" || dtype === "bool" ? dtype : "f32";
}
export const isNum = (x: Expr): x is Num => x.e === "num";
const is = (x: Expr, value: number): boolean => x.e === "num" && x.value === value;

const isOp = (x: Expr, op: string): x is Op => x.e === "op" && x.op === op;
/** The two arguments of a binary operation. */
const pair = (x: Op): [Expr, Expr] => [item(x.args, 0), item(x.args, 1)];

/** Whether two expressions are structurally equal. */
export function same(a: Expr, b: Expr): boolean {
  if (a === b) return true;
  if (a.e === "num" && b.e === "num") return a.value === b.value && a.type === b.type;
  if (a.e === "load" && b.e === "load") return a.from === b.from && sameAll(a.at, b.at);
  return a.e === "op" && b.e === "op" && a.op === b.op && sameAll(a.args, b.args);
}
export const sameAll = (a: readonly Expr[], b: readonly Expr[]): boolean =>
  a.length === b.length && a.every((x, i) => same(x, item(b, i)));

/** The sum of two indices, with constants folded into a last term and `x / c * c + x % c` made x. */
export function add(a: Expr, b: Expr): Expr {
  const [x, m] = splitConstant(a);
  const [y, n] = splitConstant(b);
  const [z, more] = splitConstant(sumOfTwo(x, y));
  return plusConstant(z, m + n + more);
}
function sumOfTwo(a: Expr, b: Expr): Expr {
  if (is(a, 0)) return b;
  if (is(b, 0)) return a;
  return recombineDivMod(a, b) ?? index("+", a, b);
}
/** An index as the sum of a term and a constant. */
export function splitConstant(x: Expr): readonly [Expr, number] {
  if (isNum(x)) return [num(0), x.value];
  if (!isOp(x, "+") && !isOp(x, "-")) return [x, 0];
  const [a, b] = pair(x);
  return isNum(b) ? [a, isOp(x, "+") ? b.value : -b.value] : [x, 0];
}
function plusConstant(x: Expr, n: number): Expr {
  if (is(x, 0)) return num(n);
  if (n === 0) return x;
  return n > 0 ? index("+", x, num(n)) : index("-", x, num(-n));
}
/** x / c * c + x % c = x, (x / c + n) * c + x % c = x + n * c, and x / c % b * c + x % c = x % (b * c), also between other terms. */
function recombineDivMod(a: Expr, b: Expr): Expr | null {
  if (isOp(b, "+")) {
    const [first, more] = pair(b);
    const x = recombineDivMod(a, first);
    return x && add(x, more);
  }
  if (isOp(a, "+")) {
    const [more, last] = pair(a);
    const x = recombineDivMod(last, b);
    return x && add(more, x);
  }
  if (!isOp(a, "*")) return null;
  if (isOp(b, "*")) {
    const f = coefficient(b);
    const [x, y] = [exactQuotient(a, f), exactQuotient(b, f)];
    const z = f > 1 && x && y ? recombineDivMod(x, y) : null;
    return z && mul(z, num(f));
  }
  if (!isOp(b, "%")) return null;
  const [[high, c], [x, d]] = [pair(a), pair(b)];
  if (!same(c, d) || !isNum(c)) return null;
  const [whole, more] = splitConstant(high);
  if (isQuotient(whole, x, c)) return add(x, num(more * c.value));
  if (!isOp(high, "%")) return null;
  const [quotient, n] = pair(high);
  return isNum(n) && isQuotient(quotient, x, c) ? mod(x, n.value * c.value) : null;
}
const isQuotient = (q: Expr, x: Expr, c: Num): boolean => same(q, div(x, c.value));
export function sub(a: Expr, b: Expr): Expr {
  const [x, m] = splitConstant(a);
  const [y, n] = splitConstant(b);
  if (is(y, 0)) return plusConstant(x, m - n);
  if (isOp(y, "-")) {
    const [p, q] = pair(y);
    return plusConstant(sub(add(x, q), p), m - n);
  }
  const rest = withoutTerms(summands(x), summands(y));
  if (rest) return plusConstant(sumOf([num(0), ...rest]), m - n);
  return is(x, 0) ? index("-", num(m - n), y) : plusConstant(index("-", x, y), m - n);
}
/** The terms without those taken away; null unless all of these are among them. */
function withoutTerms(terms: readonly Expr[], taken: readonly Expr[]): readonly Expr[] | null {
  return taken.reduce<readonly Expr[] | null>((rest, term) => {
    const at = rest?.findIndex((t) => same(t, term)) ?? -1;
    return rest && at >= 0 ? rest.toSpliced(at, 1) : null;
  }, terms);
}
export function mul(a: Expr, b: Expr): Expr {
  if (isNum(a) && isNum(b)) return num(a.value * b.value);
  if (isNum(a)) return mul(b, a);
  if (is(b, 0)) return b;
  if (is(b, 1)) return a;
  if (isNum(b) && isOp(a, "*")) {
    const [x, c] = pair(a);
    if (isNum(c)) return mul(x, num(c.value * b.value));
  }
  if (isNum(b) && isOp(a, "+") && summands(a).some((x) => isOp(x, "*")))
    return add(mul(item(a.args, 0), b), mul(item(a.args, 1), b));
  return index("*", a, b);
}
/**
 * Integer division of x >= 0, simplified where ranges and known divisors allow it: (64 q + j) / 64 = q for 0 <= j < 64, 64 q / 512 = q / 8. c is 0
 * only for an empty axis, whose loops never run: then the result does not matter.
 */
export function div(x: Expr, c: number): Expr {
  if (c === 0) return num(0);
  if (isNum(x)) return num(Math.floor(x.value / c));
  if (c === 1) return x;
  if (isOp(x, "/")) {
    const [y, d] = pair(x);
    if (isNum(d)) return div(y, d.value * c);
  }
  const [term, n] = splitConstant(x);
  if (n >= c && range(term)[0] >= 0) return add(div(plusConstant(term, n % c), c), num(Math.floor(n / c)));
  const { high } = split(x, c);
  if (isNum(high)) return num(Math.floor(high.value / c));
  const factor = gcd(coefficient(high), c);
  const reduced = factor > 1 ? exactQuotient(high, factor) : null;
  return reduced ? div(reduced, c / factor) : index("/", high, num(c));
}
/** The largest number that divides each term of x by its constant factor; 0 for x = 0. */
function coefficient(x: Expr): number {
  if (isNum(x)) return Math.abs(x.value);
  const [a, b] = x.e === "op" ? [x.args[0], x.args[1]] : [];
  if (!a || !b) return 1;
  if (isOp(x, "*")) return isNum(b) ? Math.abs(b.value) : 1;
  return isOp(x, "+") ? gcd(coefficient(a), coefficient(b)) : 1;
}
/** x / c if c is known to divide each term of x, else null. */
function exactQuotient(x: Expr, c: number): Expr | null {
  if (isNum(x)) return x.value % c === 0 ? num(x.value / c) : null;
  if (isOp(x, "*")) {
    const [a, b] = pair(x);
    return isNum(b) && b.value % c === 0 ? mul(a, num(b.value / c)) : null;
  }
  if (!isOp(x, "+")) return null;
  const [a, b] = pair(x).map((y) => exactQuotient(y, c));
  return a && b ? add(a, b) : null;
}
/** The remainder of integer division of x >= 0, simplified as in `div`. */
export function mod(x: Expr, c: number): Expr {
  if (c === 0) return num(0);
  if (isNum(x)) return num(x.value % c);
  if (c === 1) return num(0);
  const [term, n] = splitConstant(x);
  if (n >= c && range(term)[0] >= 0) return mod(plusConstant(term, n % c), c);
  const { high, low } = split(x, c);
  if (knownDivisor(high) % c === 0) return low;
  const factor = gcd(coefficient(high), c);
  const reduced = factor > 1 ? exactQuotient(high, factor) : null;
  if (reduced) return add(mul(mod(reduced, c / factor), num(factor)), low);
  return high === x ? index("%", x, num(c)) : add(mod(high, c), low);
}
const below = (x: Expr, limit: number): boolean => range(x)[0] >= 0 && range(x)[1] < limit;
/** Splits x = high + low so that adding low to high never carries past a multiple of c: then x / c = high / c. */
function split(x: Expr, c: number): { readonly high: Expr; readonly low: Expr } {
  if (below(x, c)) return { high: num(0), low: x };
  const all = summands(x);
  const terms = all
    .filter((t) => !below(t, 1))
    .toSorted((a, b) => (knownDivisor(b) || Infinity) - (knownDivisor(a) || Infinity));
  for (let n = terms.length - 1; n > 0; n--) {
    const [high, low] = [sumOf(terms.slice(0, n)), sumOf(terms.slice(n))];
    if (below(low, gcd(knownDivisor(high), c))) return { high, low };
  }
  return { high: terms.length < all.length ? sumOf(terms) : x, low: num(0) };
}
/** The terms of a sum; `sumOf` adds terms up again. */
export const summands = (x: Expr): Expr[] => (isOp(x, "+") ? x.args.flatMap(summands) : [x]);
export const sumOf = (terms: readonly Expr[]): Expr => terms.reduce((a, b) => add(a, b));
export function min(a: Expr, b: Expr): Expr {
  if (range(a)[1] <= range(b)[0]) return a;
  return range(b)[1] <= range(a)[0] ? b : index("min", a, b);
}
export function max(a: Expr, b: Expr): Expr {
  if (range(a)[0] >= range(b)[1]) return a;
  return range(b)[0] >= range(a)[1] ? b : index("max", a, b);
}
/** a < b for indices, a constant where their ranges decide it. */
export function less(a: Expr, b: Expr): Expr {
  if (range(a)[1] < range(b)[0] || range(b)[0] === Infinity) return bool(true);
  if (range(a)[0] >= range(b)[1]) return bool(false);
  return call("lt", "bool", a, b);
}
/** a == b for indices. */
export function equals(a: Expr, b: Expr): Expr {
  if (same(a, b)) return bool(true);
  return isNum(a) && isNum(b) ? bool(false) : call("eq", "bool", a, b);
}
export function and(a: Expr, b: Expr): Expr {
  if (isNum(a)) return a.value === 0 ? a : b;
  if (isNum(b)) return b.value === 0 ? b : a;
  return call("and", "bool", a, b);
}
export function or(a: Expr, b: Expr): Expr {
  if (isNum(a)) return a.value === 0 ? b : a;
  if (isNum(b)) return b.value === 0 ? a : b;
  return call("or", "bool", a, b);
}
/** `within`: the condition 0 <= i < size. `clamp`: i limited to that range. With the size Infinity, i is known to be below the axis's. */
export const within = (i: Expr, size: number): Expr =>
  and(range(i)[0] >= 0 ? bool(true) : call("ge", "bool", i, num(0)), less(i, num(size)));
export const clamp = (i: Expr, size: number): Expr => min(max(i, num(0)), num(Math.max(0, size - 1)));
/** i - from limited to 0 <= .. < to - from, for what is read only within. Of blocks that divide both ends, only the block's number is limited. */
export function clampBetween(i: Expr, from: number, to: number): Expr {
  const { high, low } = split(i, gcd(from, to));
  const block = isNum(high) ? 1 : gcd(knownDivisor(high), gcd(from, to));
  if (block <= 1) return clamp(sub(i, num(from)), to - from);
  return add(min(max(sub(high, num(from)), num(0)), num(to - from - block)), low);
}
/** i < size, asked of i's whole blocks if they divide the size. */
export function isBefore(i: Expr, size: number): Expr {
  const { high, low } = split(i, size);
  return isNum(high) || isNum(low) ? less(i, num(size)) : less(high, num(size));
}
export function select(cond: Expr, a: Expr, b: Expr): Expr {
  if (isNum(cond)) return cond.value === 0 ? b : a;
  return same(a, b) ? a : call("select", typeOf(a), cond, a, b);
}
/** `asValue` converts an index to an i32 value of the program, `asIndex` converts back. */
export const asValue = (x: Expr): Expr => (isNum(x) ? i32(x.value) : call("value", "i32", x));
export function asIndex(x: Expr): Expr {
  if (isNum(x)) return num(x.value);
  if (typeOf(x) === "index") return x;
  return isOp(x, "value") ? item(x.args, 0) : index("index", x);
}

export const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to;

/** The largest number known to divide x; 0 for x = 0. */
export function knownDivisor(x: Expr): number {
  if (x.e === "num") return Math.abs(x.value);
  if (x.e === "var") return x.divisor;
  if (x.e === "load") return 1;
  const [a, b] = [x.args[0], x.args[1]];
  if (!a || !b) return 1;
  if (x.op === "*") return knownDivisor(a) * knownDivisor(b);
  if (x.op === "%") return isNum(b) ? gcd(knownDivisor(a), b.value) : 1;
  return ["+", "-", "min", "max"].includes(x.op) ? gcd(knownDivisor(a), knownDivisor(b)) : 1;
}
type Range = readonly [lo: number, hi: number];
export const unknownRange: Range = [-Infinity, Infinity];
/** The least and the largest value that an index can have, as far as the ranges of its variables tell. */
export function range(x: Expr): Range {
  if (x.e === "num") return [x.value, x.value];
  if (x.e === "var") return [x.lo, x.hi];
  if (x.e === "load") return unknownRange;
  const [p, q] = [x.args[0], x.args[1]];
  const a = p && p.e !== "load" ? range(p) : unknownRange;
  const b = q && q.e !== "load" ? range(q) : unknownRange;
  switch (x.op) {
    case "+":
      return [a[0] + b[0], a[1] + b[1]];
    case "-":
      return [a[0] - b[1], a[1] - b[0]];
    case "*":
      return a[0] >= 0 && b[0] >= 0 ? [a[0] * b[0], a[1] * b[1]] : unknownRange;
    case "/":
      return a[0] >= 0 && b[0] > 0 ? [Math.floor(a[0] / b[1]), Math.floor(a[1] / b[0])] : unknownRange;
    case "%":
      return [0, b[1] - (knownDivisor(x) || b[1])];
    case "min":
      return [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
    case "max":
      return [Math.max(a[0], b[0]), Math.max(a[1], b[1])];
    case "value":
    case "index":
      return a;
    case "select":
      return hull(b, x.args[2] && x.args[2].e !== "load" ? range(x.args[2]) : unknownRange);
    default:
      return unknownRange;
  }
}
const hull = (a: Range, b: Range): Range => [Math.min(a[0], b[0]), Math.max(a[1], b[1])];
export const children = (x: Expr): readonly Expr[] => (x.e === "load" ? x.at : x.e === "op" ? x.args : []);
export const dependsOn = (x: Expr, v: Var): boolean => x === v || children(x).some((y) => dependsOn(y, v));
/** x and all its subexpressions. */
export function subexpressions(x: Expr): Expr[] {
  const found: Expr[] = [];
  const visit = (y: Expr): void => {
    found.push(y);
    children(y).forEach(visit);
  };
  visit(x);
  return found;
}
/** x with v replaced by `by`, simplified again. */
export function substitute(x: Expr, v: Var, by: Expr): Expr {
  if (x === v) return by;
  if (x.e === "load") return load(x.from, ...x.at.map((y) => substitute(y, v, by)));
  if (x.e !== "op") return x;
  return withArguments(
    x,
    x.args.map((y) => substitute(y, v, by)),
  );
}
/** The operation on other arguments; index arithmetic is simplified again. */
function withArguments({ op, type }: Op, args: readonly Expr[]): Expr {
  const [a, b] = args;
  if (type !== "index" || args.length !== 2 || !a || !b) return call(op, type, ...args);
  if (op === "+") return add(a, b);
  if (op === "-") return sub(a, b);
  if (op === "*") return mul(a, b);
  if (op === "/" && isNum(b)) return div(a, b.value);
  if (op === "%" && isNum(b)) return mod(a, b.value);
  return call(op, type, a, b);
}
/** The same, with limits, comparisons and choices that the ranges of the arguments decide. */
function decided(x: Op, args: readonly Expr[]): Expr {
  const [a, b, c] = args;
  if (!a || !b) return withArguments(x, args);
  if (x.op === "and") return and(a, b);
  if (x.op === "or") return or(a, b);
  if (x.op === "select" && c) return select(a, b, c);
  if (typeOf(a) !== "index") return withArguments(x, args);
  if (x.op === "min") return min(a, b);
  if (x.op === "max") return max(a, b);
  if (x.op === "lt") return less(a, b);
  if (x.op === "ge" && range(a)[0] >= range(b)[1]) return bool(true);
  return x.op === "ge" && range(a)[1] < range(b)[0] ? bool(false) : withArguments(x, args);
}
/** x with another index in the place of `from`, and what that decides. */
export function replace(x: Expr, from: Expr, to: Expr): Expr {
  if (same(x, from)) return to;
  if (x.e !== "load" && x.e !== "op") return x;
  const args = children(x).map((y) => replace(y, from, to));
  if (args.every((y, i) => y === children(x)[i])) return x;
  return x.e === "load" ? load(x.from, ...args) : decided(x, args);
}
/** Simplifies expressions by what is known of an index in them: lo <= index < end. */
export function knowing(index: Expr, lo: number, end: number): (x: Expr) => Expr {
  const known = variable("_known", "index", lo, end - 1, knownDivisor(index));
  return (x) => replace(replace(x, index, known), known, index);
}
/** x with its loads replaced, except those in the branches of a `select`: what an untaken branch reads may not exist. */
export function withLoads(x: Expr, by: (x: Load) => Expr): Expr {
  if (x.e === "load") return by(x);
  if (x.e !== "op") return x;
  return call(x.op, x.type, ...x.args.map((y, i) => (x.op === "select" && i > 0 ? y : withLoads(y, by))));
}
/** By how much x grows when v grows by one; null if that is not a constant. */
export function stride(x: Expr, v: Var): number | null {
  if (!dependsOn(x, v)) return 0;
  if (x === v) return 1;
  if (x.e !== "op" || x.args.length !== 2) return null;
  const [p, q] = pair(x);
  const [a, b] = [stride(p, v), stride(q, v)];
  if (a === null || b === null) return null;
  if (x.op === "+") return a + b;
  if (x.op === "-") return a - b;
  if (x.op !== "*") return null;
  return isNum(q) ? a * q.value : isNum(p) ? b * p.value : null;
}
/** The offset of buffer[at] in elements. */
export function address(b: Pick<Buffer, "shape" | "layout">, at: readonly Expr[]): Expr {
  const rank = b.shape.length;
  if (rank === 0) return num(0);
  const rows = rank > 1 ? item(b.shape, rank - 2) : 1;
  const [r, c] = [rank > 1 ? item(at, rank - 2) : num(0), item(at, rank - 1)];
  const outer = at
    .slice(0, Math.max(0, rank - 2))
    .reduce<Expr>((x, y, d) => add(mul(x, num(item(b.shape, d))), y), num(0));
  if (b.layout.kind === "rows") return add(mul(add(mul(outer, num(rows)), r), num(b.layout.pitch)), c);
  const { width } = b.layout;
  const panels = Math.ceil(item(b.shape, rank - 1) / width);
  const panel = add(mul(outer, num(panels)), div(c, width));
  return add(mul(add(mul(panel, num(rows)), r), num(width)), mod(c, width));
}
/** The stride of x over an aligned group of `lanes` consecutive values of v: 1 if contiguous, 0 if all are equal, null if not constant. */
export function laneStride(x: Expr, v: Var, lanes: number): number | null {
  if (!dependsOn(x, v)) return 0;
  const [base, lane] = [variable("_base", "index", 0, Infinity, lanes), variable("_lane", "index", 0, lanes - 1)];
  return stride(substitute(x, v, add(base, lane)), lane);
}
/** The elements that a buffer takes up in memory, padding included. */
export function footprint(b: Pick<Buffer, "shape" | "layout">): number {
  const cols = b.shape.at(-1) ?? 1;
  const outer = product(b.shape.slice(0, -1));
  return outer * (b.layout.kind === "rows" ? b.layout.pitch : roundUp(cols, b.layout.width));
}
/** `unflatten`: the index into `shape` of an element, given its number in row-major order. `flatten`: the reverse. */
export function unflatten(x: Expr, shape: readonly number[]): Expr[] {
  const at: Expr[] = [];
  let rest = x;
  for (let d = shape.length - 1; d > 0; d--) {
    const size = item(shape, d);
    at.unshift(mod(rest, size));
    rest = div(rest, size);
  }
  return shape.length === 0 ? [] : [rest, ...at];
}
export const flatten = (at: readonly Expr[], shape: readonly number[]): Expr =>
  at.reduce<Expr>((x, y, d) => add(mul(x, num(item(shape, d))), y), num(0));
