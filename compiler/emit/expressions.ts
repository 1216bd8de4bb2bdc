// Emits expressions as C++ text, for one element or for a group of lanes.
import { Bug } from "../diagnostic.ts";
import { item } from "../item.ts";
import { address, children, dependsOn, flatten, isNum, laneStride, num, substitute, typeOf } from "../kernel/expr.ts";
import type { Buffer, Expr, Kernel, Load, Op, Prefetch, Tile, Var } from "../kernel/ir.ts";
import { infix } from "../kernel/print.ts";
import { guardOf, unclamped } from "./guard.ts";
import { number } from "./literal.ts";

/** The parts of a target that decide how expressions are written. */
export interface ExpressionTarget {
  /** Epilogues may run on each register tile as soon as its `mma` is done (epilogue.ts). */
  readonly fusesEpilogues?: true;
  /** Lanes may load with any constant stride. */
  readonly stridedLoads: boolean;
  /** Division of a row by one number is the function `div_by_scalar` (by its reciprocal) instead of an operator. */
  readonly reciprocals?: boolean;
  /** "by functions": i32 arithmetic uses functions instead of operators, as this compiler treats signed overflow as undefined. */
  readonly wraps?: "by functions";
}
const wrapping = new Set(["add", "sub", "mul"]);
const functionNames: Readonly<Record<string, string>> = {
  to_f32: "to_f32",
  to_i32: "to_i32",
  number: "mask_to_int",
  mad: "fma_",
  bf16: "round_bf16",
  index: "ix",
};

/**
 * What loads prefetch. `when`: the load is in one of two folds, and prefetches only if the machine runs these apart, or together (see `fold_both` in
 * fold.hpp). `given`: what its body is given, as `ahead`.
 */
export interface PrefetchMode extends Prefetch {
  readonly when?: "apart" | "together";
  readonly given?: true;
}
/** The state and the functions that write expressions. */
export class Expressions<T extends ExpressionTarget> {
  readonly kernel: Kernel;
  readonly target: T;
  /** The variable whose consecutive values are the lanes of a group, and how many lanes; null outside of groups. */
  protected lane: Var | null = null;
  protected lanes = 1;
  /** The group has one element. */
  protected single = false;
  /** What loads prefetch here (`Prefetch`). */
  protected prefetch: PrefetchMode = {};
  protected varying = new Set<Expr>();
  /** Tiles whose element is passed to the body as the parameter `name_`; of other tiles the body reads memory. */
  protected passed = new Set<Tile>();

  constructor(kernel: Kernel, target: T) {
    this.kernel = kernel;
    this.target = target;
  }
  varies(x: Expr): boolean {
    return x === this.lane || this.varying.has(x) || children(x).some((y) => this.varies(y));
  }
  expr(x: Expr, above = 0): string {
    if (x.e === "num") return x.type === "bool" ? String(x.value !== 0) : number(x.value, x.type === "f32");
    if (x.e === "var") return x.name;
    return x.e === "load" ? this.#load(x) : this.#operation(x, above);
  }
  /** An argument of a function whose arguments must all have the same width; `width`: whether that is a group. */
  wide(x: Expr, width: boolean): string {
    return width && !this.varies(x) ? `broadcast(v, ${this.expr(x)})` : this.expr(x);
  }
  #operation(x: Op, above: number): string {
    const wide = this.varies(x);
    const [a, b] = [x.args[0], x.args[1]];
    if (x.op === "over" && this.target.reciprocals)
      return `div_by_scalar(${x.args.map((y) => this.expr(y)).join(", ")})`;
    const wraps = this.target.wraps === "by functions" && x.type === "i32" && a !== undefined && typeOf(a) === "i32";
    const sign = wraps && wrapping.has(x.op) ? undefined : infix[x.op];
    if (sign && a && b && typeOf(a) !== "bool") {
      const text = `${this.expr(a, sign[1])} ${sign[0]} ${this.expr(b, sign[1] + 1)}`;
      return sign[1] < above ? `(${text})` : text;
    }
    if (sign && a && b) return `(mask_to_int(${this.wide(a, wide)}) ${sign[0]} mask_to_int(${this.wide(b, wide)}))`;
    switch (x.op) {
      case "neg":
        return wraps ? `neg_(${this.expr(item(x.args, 0))})` : negated(this.expr(item(x.args, 0), 7));
      case "value":
        return this.#asValue(item(x.args, 0));
      case "high":
        return this.varies(x)
          ? `broadcast(v, i32(${this.expr(item(x.args, 0), 7)} >> 32))`
          : `i32(${this.expr(item(x.args, 0), 7)} >> 32)`;
      case "part":
        return `part_<${this.expr(item(x.args, 1))}>(${this.expr(item(x.args, 0))})`;
      case "select":
        return this.#select(x, above);
      case "threefry":
        return `threefry(${x.args.map((y, i) => (i < 2 ? this.expr(y) : this.wide(y, wide))).join(", ")}).x0`;
      default: {
        // an index is a scalar, the first lane's
        const own = x.type === "index" && x.op !== "index";
        const args = x.args.map((y) => this.wide(y, wide && !own)).join(", ");
        return `${own ? `ix_${x.op}` : (functionNames[x.op] ?? `${x.op}_`)}(${args})`;
      }
    }
  }
  #asValue(x: Expr): string {
    const text = `i32(${this.expr(x)})`;
    if (!this.lane || !this.varies(x)) return text;
    if (this.#isUniform(x)) return `broadcast(v, ${text})`;
    const step = this.#constantStride(x);
    return step === null ? `iota(v, ${text})` : `iota(v, ${text}, ${step})`;
  }
  /** A scalar condition becomes `?:`, so that the other branch is not read; a condition that varies over lanes becomes `where`. */
  #select(x: Op, above: number): string {
    const [cond, a, b] = [item(x.args, 0), item(x.args, 1), item(x.args, 2)];
    const guarded = this.#guardedLoad(x);
    if (guarded !== null) return guarded;
    if (this.varies(cond)) return `where(${this.expr(cond)}, ${this.expr(a)}, ${this.expr(b)})`;
    const wide = x.type !== "index" && this.varies(x);
    const text = `${this.expr(cond, 2)} ? ${this.wide(unclamped(a, cond), wide)} : ${this.wide(b, wide)}`;
    return above > 0 ? `(${text})` : text;
  }
  pointer(b: Buffer, at: readonly Expr[]): string {
    const offset = address(b, at);
    return isNum(offset) && offset.value === 0 ? b.name : `${b.name} + ${this.expr(offset, 5)}`;
  }
  #load(x: Load): string {
    if (x.from.kind === "tile") {
      if (x.from.role === "own") return this.ownElement(x.from, x.at);
      if (x.from.role === "shared") return `${x.from.name}[${this.expr(item(x.at, 0))}]`;
      if (x.from.role === "line") return this.#lineElement(`${x.from.name}_at`, item(x.at, 1));
      return this.passed.has(x.from) ? `${x.from.name}_` : `ld(v, ${this.tilePointer(x.from, x.at)})`;
    }
    const at = address(x.from, x.at);
    if (this.varies(at) && !this.#isUniform(at)) {
      const step = this.#constantStride(at);
      if (step !== null) return `ld_strided<${step}>(v, ${this.pointer(x.from, x.at)})`;
      const more = this.lane && this.isOfRow(x, this.lane) ? this.#prefetchArgument() : "";
      return `ld(v, ${this.pointer(x.from, x.at)}${more})`;
    }
    const text = element(x.from, this.expr(at));
    return this.varies(at) ? `broadcast(v, ${text})` : text;
  }
  /** The last argument of a load, which says at what distance to prefetch; empty if it does not. */
  #prefetchArgument(): string {
    const { prefetchDistance: n, loop, when, given } = this.prefetch;
    if (n === undefined) return "";
    if (given) return ", ahead";
    if (when) return `, prefetch_when_${when}(${n})`;
    if (!loop || !this.lane) return `, ${n}`;
    const count = loop.count === 1 ? [] : [loop.count];
    return `, prefetch_share(${[n, this.lane.name, loop.index, loop.of, ...count].join(", ")})`;
  }
  #lineElement(name: string, at: Expr): string {
    const text = this.expr(at);
    return this.varies(at) ? `ld(v, ${name} + ${text})` : `${name}[${text}]`;
  }
  /** A lane's own number, or the numbers of a group's. */
  protected ownElement({ name, shape }: Tile, at: readonly Expr[]): string {
    return `${name}[${this.expr(flatten(at.slice(0, -1), shape.slice(0, -1)))}]`;
  }
  /** A pointer to an element of an accumulator in memory (host). */
  protected tilePointer(t: Tile, at: readonly Expr[]): string {
    if (!this.target.fusesEpilogues || t.role !== "acc") throw new Bug(`${t.name} is not in memory`);
    return `${t.name}.d[${this.expr(item(at, 0))}] + ${this.expr(item(at, 1), 5)}`;
  }
  /** Whether a load's address also changes with something other than the lane: only such loads prefetch. */
  protected isOfRow({ from, at }: Load, lane: Var): boolean {
    if (from.kind !== "buffer" || this.kernel.locals.includes(from)) return false;
    const x = address(from, at);
    return dependsOn(x, lane) && !isNum(substitute(x, lane, num(0)));
  }
  /** Whether x is one value for a whole group of lanes, though it may differ between groups. */
  #isUniform(x: Expr): boolean {
    return this.lane !== null && laneStride(x, this.lane, this.lanes) === 0;
  }
  #guardedLoad(x: Expr): string | null {
    const { lane, lanes } = this;
    const found = this.single || !this.target.stridedLoads || !lane ? null : guardOf(x, lane, lanes);
    if (!found || !lane) return null;
    const steps = found.strided.map((y) => laneStride(y, lane, lanes));
    return `ld_guarded<${steps.join(", ")}>(v, ${this.pointer(found.from, found.at)}, ${this.expr(found.index)}, ${found.size})`;
  }
  /** The stride of x over lanes, if it is a constant other than 1; else null. */
  #constantStride(x: Expr): number | null {
    if (this.single || this.lane === null) return null;
    const step = laneStride(x, this.lane, this.lanes);
    return step === 1 ? null : step;
  }
}
/** Two minus signs would be a decrement. */
const negated = (text: string): string => (text.startsWith("-") ? `-(${text})` : `-${text}`);
function element(b: Buffer, at: string): string {
  if (b.dtype === "bf16") return `from_bf16(${b.name}[${at}])`;
  if (b.dtype === "i8") return `f32(${b.name}[${at}])`;
  return b.dtype === "bool" ? `(${b.name}[${at}] != 0)` : `${b.name}[${at}]`;
}
