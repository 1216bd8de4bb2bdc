// Builds kernels: a `KernelBuilder` keeps a stack of open scopes, and bodies of statements are callbacks. `let` puts its statement into the outermost
// scope in which all its variables are bound, so that loop-invariant values are computed before the loop.
import { Bug } from "../diagnostic.ts";
import type { ReduceName } from "../graph/node.ts";
import { item } from "../item.ts";
import { foldOf } from "../ops/reduce.ts";
import type { Layout } from "../plan/plan.ts";
import type { DType } from "../types/dtype.ts";
import { gcd } from "../types/numbers.ts";
import {
  add,
  children,
  isNum,
  knownDivisor,
  min,
  mul,
  num,
  range,
  sub,
  typeOf,
  unknownRange,
  variable,
} from "./expr.ts";
import type { Axis, Buffer, Expr, Kernel, Load, OperandForm, Scalar, Stmt, Tile, Var } from "./ir.ts";

/** The layout of row-major memory without padding. */
export const contiguousLayout = (shape: readonly number[]): Extract<Layout, { kind: "rows" }> => ({
  kind: "rows",
  pitch: shape.at(-1) ?? 1,
});
const buffer = (name: string, dtype: DType, shape: readonly number[], layout: Layout): Buffer => ({
  kind: "buffer",
  name,
  dtype,
  shape,
  layout,
});

/** A block of n elements that begins at `at`. */
export interface Block {
  readonly at: Expr;
  readonly n: Expr;
}
/** The index of element i of a block. */
export const plus = (b: Block, i: Expr): Expr => add(b.at, i);

/** The variables that an axis binds: the place, and the length of the block where that is not constant. */
export const boundVariables = ({ v, n }: Axis): Var[] => (n.e === "var" ? [v, n] : [v]);

interface Scope {
  readonly stmts: Stmt[];
  readonly memo: Map<string, Expr>;
  /** Nothing is moved out of this scope: it may not run (the body of an `if`), or is rewritten. */
  readonly guarded: boolean;
}

/** A kernel under construction. */
export class KernelBuilder {
  readonly doc: string;
  readonly #params: Buffer[] = [];
  readonly #locals: Buffer[] = [];
  readonly #grid: Axis[] = [];
  #scopes: Scope[] = [{ stmts: [], memo: new Map(), guarded: false }];
  readonly #names = new Map<string, number>();
  readonly #depths = new Map<Var, number>();
  /** Buffers that the kernel both reads and writes: their loads stay in the scope in which they are written. */
  readonly #mutable = new Set<Buffer>();

  constructor(doc: string) {
    this.doc = doc;
  }
  param(
    name: string,
    dtype: DType,
    shape: readonly number[],
    layout: Layout = contiguousLayout(shape),
    mutable = false,
  ): Buffer {
    const made = buffer(this.uniqueName(name), dtype, shape, layout);
    this.#params.push(made);
    if (mutable) this.#mutable.add(made);
    return made;
  }
  /** `writeOnce`: each element is stored once, before any scope that reads it; so loads may move out of loops. */
  local(name: string, shape: readonly number[], dtype: Buffer["dtype"] = "f32", writeOnce = false): Buffer {
    const made = buffer(this.uniqueName(name), dtype, shape, contiguousLayout(shape));
    this.#locals.push(made);
    if (!writeOnce) this.#mutable.add(made);
    return made;
  }
  uniqueName(name: string): string {
    const n = this.#names.get(name) ?? 0;
    this.#names.set(name, n + 1);
    return n ? `${name}${n}` : name;
  }
  variable(name: string, type: Scalar = "index", lo = 0, hi = Infinity, divisor = 1): Var {
    const v = variable(this.uniqueName(name), type, lo, hi, divisor);
    this.#depths.set(v, this.depth);
    return v;
  }
  get depth(): number {
    return this.#scopes.length - 1;
  }
  #scope(depth: number): Scope {
    return item(this.#scopes, depth);
  }
  push(s: Stmt): void {
    this.#scope(this.depth).stmts.push(s);
  }
  /** The statements that f adds. `vs`: the variables bound by the statement whose body they are. */
  body(vs: readonly Var[], f: () => void, guarded = false): Stmt[] {
    const scope: Scope = { stmts: [], memo: new Map(), guarded };
    this.#scopes.push(scope);
    for (const v of vs) this.#depths.set(v, this.depth);
    f();
    this.#scopes.pop();
    return scope.stmts;
  }
  /** Takes the statements out of the innermost scope; `f` adds others. */
  rewrite(f: (list: readonly Stmt[]) => void): void {
    f(this.#scope(this.depth).stmts.splice(0));
  }
  /** The depth of the outermost scope in which x can be computed. */
  depthOf(x: Expr): number {
    if (x.e === "var") return this.#depths.get(x) ?? 0;
    if (x.e === "load" && (x.from.kind === "tile" || this.#mutable.has(x.from))) return this.depth;
    return Math.max(0, this.#guardDepth(), ...children(x).map((y) => this.depthOf(y)));
  }
  #guardDepth(): number {
    return Math.max(
      0,
      this.#scopes.findLastIndex((s) => s.guarded),
    );
  }
  /** Runs f with only the scopes up to `depth` open. */
  at<T>(depth: number, f: () => T): T {
    const open = this.#scopes;
    this.#scopes = open.slice(0, depth + 1);
    const result = f();
    this.#scopes = open;
    return result;
  }
  let(name: string, value: Expr): Expr {
    if (value.e === "num" || value.e === "var") return value;
    return this.at(this.depthOf(value), () => this.letHere(name, value));
  }
  letHere(name: string, value: Expr): Expr {
    const type = typeOf(value);
    const [lo, hi] = type === "index" ? range(value) : [-Infinity, Infinity];
    const v = this.variable(name, type, lo, hi, type === "index" ? knownDivisor(value) : 1);
    this.push({ s: "let", v, value });
    return v;
  }
  /** The expression that was remembered under this key in a scope that is still open. */
  recall(key: string): Expr | undefined {
    for (let d = this.depth; d >= 0; d--) {
      const known = this.#scope(d).memo.get(key);
      if (known) return known;
    }
    return undefined;
  }
  remember(key: string, x: Expr): void {
    this.#scope(this.depthOf(x)).memo.set(key, x);
  }

  /** An axis of blocks of `step` over [from, to). If the step is known to divide the length, the block length is a constant and needs no guard. */
  #axis(name: string, from: Expr, to: Expr, step: number): Axis {
    const whole = step === 1 || knownDivisor(sub(to, from)) % step === 0;
    const divisor = gcd(knownDivisor(from), step);
    const last = Math.max(0, Math.floor((range(to)[1] - 1) / divisor) * divisor);
    const first = Math.min(Math.max(0, range(from)[0]), last); // a loop that never runs may begin past its end
    const v = this.variable(name, "index", first, last, divisor);
    const n = whole ? num(step) : this.variable(`${name}n`, "index", 1, step, gcd(knownDivisor(sub(to, from)), step));
    return { v, n, from, to, step };
  }
  #addGridAxis(axis: Axis): Block {
    this.#grid.push(axis);
    for (const v of boundVariables(axis)) this.#depths.set(v, 0);
    return { at: axis.v, n: axis.n };
  }
  /** Begins the next part of a kernel, after a barrier: it may read what earlier parts stored, but none of the values that they computed. */
  nextPart(): void {
    if (this.depth > 0) throw new Bug("a part begins inside another");
    this.push({ s: "sync" });
    this.#scope(0).memo.clear();
  }
  /** Adds an axis to the grid. One block is all of [0, extent), whatever the task. */
  task(name: string, extent: number, step = 1): Block {
    const block = this.#addGridAxis(this.#axis(name, num(0), num(extent), step));
    return 0 < extent && extent <= step ? { at: num(0), n: num(extent) } : block;
  }
  /**
   * Adds an axis to the grid whose range [from, to) depends on the axis before it, in blocks of `step`. `most`: the total length of all such ranges.
   */
  ragged(name: string, from: Expr, to: Expr, step: number, most: number): Block {
    const v = this.variable(name, "index", 0, Math.max(0, most - 1));
    return this.#addGridAxis({ v, n: this.variable(`${name}n`, "index", 1, step), from, to, step });
  }
  for(name: string, from: Expr, to: Expr, step: number, f: (b: Block) => void, skip: Axis["skip"] | null = null): void {
    const size = isNum(from) && isNum(to) ? to.value - from.value : Infinity;
    if (size <= 0) return;
    if (size <= step) return f({ at: from, n: sub(to, from) });
    const axis = { ...this.#axis(name, from, to, step), ...(skip ? { skip } : {}) };
    this.push({ s: "for", axis, body: this.body(boundVariables(axis), () => f({ at: axis.v, n: axis.n })) });
  }
  if(cond: Expr, f: () => void): void {
    if (isNum(cond)) return cond.value === 0 ? undefined : f();
    this.push({ s: "if", cond, body: this.body([], f, true) });
  }
  tile(role: Tile["role"], name: string, shape: readonly number[], fill = 0): Tile {
    const tile: Tile = { kind: "tile", role, name: this.uniqueName(name), shape };
    this.push({ s: "tile", tile, fill });
    return tile;
  }
  /** Numbers of each lane of a `par`: [n], in registers, or [rounds, n], in memory. */
  own(name: string, type: Scalar, shape: readonly number[], lane: Var): Tile {
    const tile: Tile = { kind: "tile", role: "own", name: this.uniqueName(name), shape: [...shape, lane.hi + 1], type };
    this.push({ s: "tile", tile, fill: 0 });
    return tile;
  }
  /** An accumulator that is a part of a local buffer, from `at` on. */
  tileIn(name: string, shape: readonly number[], at: Load): Tile {
    const tile: Tile = { kind: "tile", role: "acc", name: this.uniqueName(name), shape };
    this.push({ s: "tile", tile, fill: 0, at });
    return tile;
  }
  stage(
    name: string,
    shape: readonly [number, number],
    valid: readonly [Expr, Expr],
    value: (i: Expr, j: Expr) => Expr,
    form: OperandForm | null = null,
  ): Tile {
    const operand = { kind: "tile", role: "operand", name: this.uniqueName(name), shape } as const;
    const tile: Tile = form ? { ...operand, form } : operand;
    const vs = [this.variable("i", "index", 0, shape[0] - 1), this.variable("j", "index", 0, shape[1] - 1)] as const;
    const [body, result] = this.#bodyAndValue(vs, () => value(...vs));
    this.push({ s: "stage", tile, vs, valid, body, value: result });
    return tile;
  }
  #bodyAndValue(vs: readonly Var[], f: () => Expr): [Stmt[], Expr] {
    let value: Expr = num(0);
    const body = this.body(vs, () => {
      value = f();
    });
    return [body, value];
  }
  mma(a: Tile, b: readonly Tile[], acc: readonly Tile[], valid: readonly [Expr, Expr]): void {
    this.push({ s: "mma", a, b, acc, valid });
  }
  /** acc += a^T @ b, where a is an accumulator. */
  mmaTransposed(a: Tile, b: Tile, acc: Tile, valid: readonly [Expr, Expr]): void {
    this.push({ s: "mma", a, b: [b], acc: [acc], valid, transposed: true });
  }
  each(over: Tile, valid: readonly Expr[], f: (i: Expr, j: Expr) => void): void {
    const vs = over.shape.map((n, d) => this.variable(d === 0 ? "i" : "j", "index", 0, n - 1));
    const body = this.body(vs, () => f(item(vs, 0), vs[1] ?? num(0)));
    this.push({ s: "each", over, vs, valid, body });
  }
  /** `guarded`: nothing moves out of the body. */
  par(extent: Expr, f: (j: Expr) => void, name = "j", prefetchDistance = 0, guarded = false): void {
    const v = this.variable(name, "index", 0, Math.max(0, range(extent)[1] - 1));
    this.push({
      s: "par",
      v,
      extent,
      body: this.body([v], () => f(v), guarded),
      ...(prefetchDistance ? { prefetchDistance } : {}),
    });
  }
  /** A reduction over j < extent. `value` runs once for each j, so it may also store things. */
  fold(name: string, op: ReduceName, type: Scalar, extent: Expr, value: (j: Expr) => Expr, prefetchDistance = 0): Expr {
    const v = this.variable("k", "index", 0, Math.max(0, range(extent)[1] - 1));
    const [body, result] = this.#bodyAndValue([v], () => value(v));
    const into = this.variable(name, type, ...(foldOf(op).picks ? range(result) : unknownRange));
    this.push({
      s: "fold",
      into,
      op,
      v,
      extent,
      body,
      value: result,
      ...(prefetchDistance ? { prefetchDistance } : {}),
    });
    return into;
  }
  /** Two folds as one `both` statement; neither may read the result of the other. */
  both(first: () => Expr, second: () => Expr): readonly [Expr, Expr] {
    const { stmts } = this.#scope(this.depth);
    const before = stmts.length;
    const made = [first(), second()] as const;
    const own = stmts.splice(before);
    stmts.push(...own.filter((s) => s.s !== "fold"), { s: "both", body: own.filter((s) => s.s === "fold") });
    return made;
  }
  foldRows(name: string, op: ReduceName, over: Tile, extent: Expr, value: (i: Expr, j: Expr) => Expr): Tile {
    const into: Tile = { kind: "tile", role: "row", name: this.uniqueName(name), shape: [item(over.shape, 0)] };
    const vs = [
      this.variable("i", "index", 0, item(over.shape, 0) - 1),
      this.variable("j", "index", 0, item(over.shape, 1) - 1),
    ] as const;
    const [body, result] = this.#bodyAndValue(vs, () => value(...vs));
    this.push({ s: "foldrows", into, op, over, vs, extent, body, value: result });
    return into;
  }
  scan(extent: Expr, value: (i: Expr) => Expr, f: (i: Expr, sum: Expr) => void): void {
    const v = this.variable("i", "index", 0, Math.max(0, range(extent)[1] - 1));
    const first = value(v);
    const sum = this.variable("sum", typeOf(first), -Infinity, Infinity);
    this.push({ s: "scan", v, extent, value: first, sum, body: this.body([v, sum], () => f(v, sum)) });
  }
  tally(extent: Expr, counts: Tile, key: (i: Expr) => Expr, f: (i: Expr, rank: Expr) => void): void {
    const v = this.variable("i", "index", 0, Math.max(0, range(extent)[1] - 1));
    const rank = this.variable("rank");
    this.push({ s: "tally", v, extent, counts, key: key(v), rank, body: this.body([v, rank], () => f(v, rank)) });
  }
  store(to: Buffer | Tile, at: readonly Expr[], value: Expr, stream = false): void {
    this.push({ s: "store", to, at, value, stream });
  }
  /** `at`: the index, in `to`, of the run of columns that the element belongs to. */
  storeSum(to: Buffer, at: readonly Expr[], value: Expr, run: number): void {
    this.push({ s: "store", to, at, value, stream: false, run });
  }
  /** The finished kernel. `name` is moec's own and contains nothing of the program. */
  kernel(name: string): Kernel {
    if (this.depth !== 0) throw new Bug(`kernel ${name} has an open scope`);
    return {
      name,
      doc: this.doc,
      params: this.#params,
      locals: this.#locals,
      grid: this.#grid,
      body: this.#scope(0).stmts,
    };
  }
}
/** Block `i` of [0, extent) cut into pieces of `step`. */
export const blockAt = (i: Expr, extent: number, step: number): Block => {
  const at = mul(i, num(step));
  return { at, n: extent % step === 0 ? num(step) : min(num(step), sub(num(extent), at)) };
};
