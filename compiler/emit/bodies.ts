// Emits statements whose bodies run on SIMD lanes: `par`, folds, prefix sums and ranks; chooses the group of lanes for each body.
import { item } from "../item.ts";
import { knownDivisor } from "../kernel/expr.ts";
import type { Expr, Kernel, Stmt, StmtOf, Tile, Var } from "../kernel/ir.ts";
import { loads } from "../kernel/passes.ts";
import type { DType } from "../types/dtype.ts";
import { type Body, bodyIn, type Piece, piecesOf } from "./body-pieces.ts";
import { Expressions, type ExpressionTarget, type PrefetchMode } from "./expressions.ts";
import { canVectorize, type LaneAccess, touchesOnly } from "./lanes.ts";
import { type StoresApart, storesApart } from "./stores-apart.ts";

export interface Lanes {
  readonly count: number;
  /** The number as text; it may be the name of a constant, and "1" means one element at a time. */
  readonly text: string;
  /** Only for bodies that touch memory of this type alone; any if not given. */
  readonly dtype?: DType;
  /** The body is written once for each of these pieces of the row (body-pieces.ts). */
  readonly pieces?: readonly Piece[];
}
/** What a body runs over: a line of memory, an accumulator, or an accumulator that it only reads (a result to be stored). */
export type BodyKind = "line" | "tile" | "result";
/** Who runs a statement: the whole task, the thread that holds a row, or the one that has the element. */
export type Scope = "task" | "row" | "point";
/** The parts of a target that decide how bodies are written. */
export interface LaneTarget extends ExpressionTarget, LaneAccess {
  /** Groups of lanes that a body may run on, the widest first. A group begins at a multiple of its length. */
  readonly lanes: Readonly<Record<BodyKind, readonly Lanes[]>>;
  /** The most lanes of a group in this kernel, for kernels that are short of registers; no limit if not given. */
  maxLanes?(k: Kernel): number;
  /** Loads can prefetch (`Prefetch`). */
  readonly prefetches: boolean;
  /** Loops over columns of tiles are told if no group of lanes is cut (`Whole`), so that they need no tail. */
  readonly wholes?: true;
  /** Bodies that ask of each element in which piece of a row it lies are written once for each piece. */
  readonly cutsBodies?: true;
  /** There is a device function for two folds in one loop (`fold_both`). */
  readonly foldsBoth?: true;
  /** How many neighbouring lanes share each element of a `par`; null, or not given: a lane has whole elements. */
  lanesPerRow?(s: StmtOf<"par">): number | null;
  /** The device function for a prefix sum that each lane computes for itself. */
  readonly laneScan: string;
}
export const combineNames = { sum: "Sum", max: "Max", min: "Min" } as const;

/** A call whose last argument, or last but those in `after`, is a lambda of `params`. */
interface LambdaCall {
  readonly before: string;
  readonly params: string;
  readonly after?: string;
  /** The lambda is inlined wherever it is called. */
  readonly inlined?: boolean;
}
/** The lines of text, and the statements that walk a line. */
export abstract class Bodies<T extends LaneTarget> extends Expressions<T> {
  readonly lines: string[] = [];
  depth = 0;
  protected scope: Scope = "task";
  /** In a `par` whose elements so many lanes share. */
  #sharing: number | null = null;
  /** The variable whose values count the rounds of the innermost loop. */
  protected round = "task";

  abstract stmts(list: readonly Stmt[]): void;
  line(text: string): void {
    this.lines.push("  ".repeat(this.depth) + text);
  }
  block(open: string, close: string, f: () => void): void {
    this.line(open);
    this.depth++;
    f();
    this.depth--;
    this.line(close);
  }

  /** Lets the loads in what f writes prefetch. */
  protected prefetching({ prefetchDistance, loop, when, given }: PrefetchMode, f: () => void): void {
    if (this.target.prefetches && prefetchDistance !== undefined)
      this.prefetch = { prefetchDistance, ...(loop && { loop }), ...(when && { when }), ...(given && { given }) };
    f();
    this.prefetch = {};
  }
  /**
   * Writes a call with a lambda. With `lane`, the body runs on a group of lanes of that variable; null: on one element, or on the lanes of the code
   * around it.
   */
  lambda(
    { before, params, after = ");", inlined = false }: LambdaCall,
    lane: Var | { readonly v: Var; readonly lanes: Lanes } | null,
    { body, value }: Body,
    scope: Scope = "point",
  ): void {
    const result = (x: Expr): string => `return ${this.wide(x, lane !== null)};`;
    const on = lane && ("v" in lane ? lane : { v: lane, lanes: this.widest("line") });
    const write = (own: Body): void => {
      this.stmts(own.body);
      if (own.value) this.line(result(own.value));
    };
    this.inLanes(on, scope, () => {
      const pieces = on?.lanes.pieces;
      if (value && body.length === 0 && !pieces)
        return this.line(`${before}[&](${params}) { ${result(value)} }${after}`);
      const whole: Body = { body, ...(value && { value }) };
      this.block(`${before}[&](${params}) ${inlined ? "INLINED " : ""}{`, `}${after}`, () =>
        pieces ? this.#inPieces(pieces, whole, write) : write(whole),
      );
    });
  }
  /** Writes a body once for each piece. What varies over the lanes of one may be one number in another. */
  #inPieces(pieces: readonly Piece[], whole: Body, write: (own: Body) => void): void {
    for (const [i, piece] of pieces.entries()) {
      this.varying = new Set();
      const conditions = piece.conditions.map((x) => this.expr(x)).join(" && ");
      this.line(`${i > 0 ? "} else " : ""}${conditions && `if (${conditions}) `}{`);
      this.depth++;
      write(bodyIn(piece, whole));
      this.depth--;
    }
    this.line("}");
  }
  /** Lets what f writes run on a group of lanes of v; null: nothing changes. */
  protected inLanes(lane: { readonly v: Var; readonly lanes: Lanes } | null, scope: Scope, f: () => void): void {
    const outer = [this.lane, this.lanes, this.single, this.varying, this.scope] as const;
    if (lane) [this.lane, this.lanes, this.varying] = [lane.v, lane.lanes.count, new Set()];
    if (lane) this.single = lane.lanes.text === "1";
    this.scope = scope;
    f();
    [this.lane, this.lanes, this.single, this.varying, this.scope] = outer;
  }
  protected passing(tiles: readonly Tile[], f: () => void): void {
    const outer = this.passed;
    this.passed = new Set(tiles);
    f();
    this.passed = outer;
  }
  /** The text of how many columns of a tile a body runs over. (Row kernels keep their tails: without, g++ 12 makes a softmax 5 to 15% slower.) */
  protected extent(x: Expr, { count, text }: Lanes): string {
    const isWhole = this.target.wholes && text !== "1" && knownDivisor(x) % count === 0;
    return isWhole ? `Whole{${this.expr(x)}}` : this.expr(x);
  }
  protected par(s: StmtOf<"par">): void {
    const shared = this.target.lanesPerRow?.(s) ?? null;
    if (shared !== null) return this.#sharedRows(s, shared);
    const lanes = this.#rowLanes(s, { body: s.body });
    const call = `<${lanes.text}>(${this.expr(s.extent)}, `;
    const params = `auto v, ix ${s.v.name}`;
    if (!this.target.prefetches || !s.loop)
      return this.prefetching(s, () => this.lambda({ before: `par${call}`, params }, { v: s.v, lanes }, s));
    const before = `par_back_and_forth${call}${this.round}, ${s.loop.index}, ${s.loop.of}, `;
    this.prefetching({ ...s, given: true }, () =>
      this.lambda({ before, params: `${params}, Prefetch ahead` }, { v: s.v, lanes }, s),
    );
  }
  /** A `par` with several lanes for an element; v: whether a lane is the first of them, which stores. */
  #sharedRows(s: StmtOf<"par">, lanes: number): void {
    const before = `par_shared<${lanes}>(${this.expr(s.extent)}, `;
    this.#sharing = lanes;
    this.lambda({ before, params: `bool v, ix ${s.v.name}` }, null, s, "row");
    this.#sharing = null;
  }
  protected fold(s: StmtOf<"fold">): void {
    const head = `const auto ${s.into.name} = `;
    if (this.lane) {
      // Inside a group of lanes: each lane folds its own.
      const wide = this.varies(s.value) || s.body.some((b) => b.s === "let" && this.varies(b.value));
      if (wide) this.varying.add(s.into);
      const before = `${head}fold_lane<${combineNames[s.op]}>(${this.expr(s.extent)}, `;
      const inlined = s.value.e === "op" && s.value.op === "several"; // GCC would return the numbers through memory
      return this.lambda({ before, params: `ix ${s.v.name}`, inlined }, null, s);
    }
    const lanes = this.foldLanes(s);
    const apart = this.target.prefetches ? storesApart(s) : null;
    if (apart) return this.#storeAndFold(s, apart, lanes);
    const stores = s.body.some((b) => b.s === "store");
    const [name, sharing] = this.#sharing
      ? ["fold_shared", `, ${this.#sharing}`]
      : [stores ? "fold_with_stores" : "fold", ""];
    const open = `${head}${name}<${combineNames[s.op]}, ${lanes.text}${sharing}>(${this.expr(s.extent)}, `;
    this.prefetching(s, () => this.lambda({ before: open, params: `auto v, ix ${s.v.name}` }, { v: s.v, lanes }, s));
  }
  /** A fold beside which another row is stored. */
  #storeAndFold(s: StmtOf<"fold">, { stored, folded }: StoresApart, lanes: Lanes): void {
    const [params, lane] = [`auto v, ix ${s.v.name}, Prefetch ahead`, { v: s.v, lanes }];
    const tensors = new Set(loads(stored).flatMap((x) => (this.isOfRow(x, s.v) ? [x.from] : []))).size;
    const args = [this.expr(s.extent), tensors, this.round].join(", ");
    const before = `const auto ${s.into.name} = store_and_fold<${combineNames[s.op]}, ${lanes.text}>(${args}, `;
    this.prefetching({ ...s, given: true }, () => {
      this.lambda({ before, params, after: "," }, lane, { body: stored });
      this.lambda({ before: "", params }, lane, { body: folded, value: s.value });
    });
  }
  protected foldLanes(s: StmtOf<"fold">): Lanes {
    return this.#rowLanes(s, s, s.into);
  }
  protected moments(s: StmtOf<"moments">): void {
    const lanes = this.#rowLanes(s, s, s.sum);
    const name = `${s.sum.name}_and_${s.squares.name}`;
    const before = `const auto ${name} = moments<${lanes.text}>(${this.expr(s.extent)}, `;
    this.prefetching(s, () => this.lambda({ before, params: `auto v, ix ${s.v.name}` }, { v: s.v, lanes }, s));
    this.line(`const auto ${s.sum.name} = ${name}.sum;`);
    this.line(`const auto ${s.squares.name} = ${name}.squares;`);
  }
  /** Writes two folds as one call if the target has `fold_both` and both run on the same lanes; otherwise one after the other. */
  protected both(folds: readonly StmtOf<"fold">[]): void {
    const [a, b] = [item(folds, 0), item(folds, 1)];
    const lanes = this.foldLanes(a);
    if (!this.target.foldsBoth || this.lane || this.foldLanes(b).text !== lanes.text) return this.stmts(folds);
    const name = `${a.into.name}_and_${b.into.name}`;
    const open = `const auto ${name} = fold_both<${combineNames[a.op]}, ${combineNames[b.op]}, ${lanes.text}>(${this.expr(a.extent)}, `;
    const each = (s: StmtOf<"fold">, when: "apart" | "together", head: string, end: string): void =>
      this.prefetching({ ...s, when }, () =>
        this.lambda(
          { before: head, params: `auto v, ix ${s.v.name}`, after: end },
          { v: s.v, lanes: this.foldLanes(s) },
          s,
        ),
      );
    each(a, "apart", open, ",");
    each(b, "together", "", ");");
    this.line(`const auto ${a.into.name} = ${name}.first;`);
    this.line(`const auto ${b.into.name} = ${name}.second;`);
  }
  protected scan(s: StmtOf<"scan">): void {
    if (this.lane && this.varies(s.value)) this.varying.add(s.sum);
    const type = s.sum.type === "index" ? "ix" : "auto";
    const before = `${this.lane ? this.target.laneScan : "scan"}(${this.expr(s.extent)}, [&](ix ${s.v.name}) { return ${this.expr(s.value)}; }, `;
    this.lambda({ before, params: `ix ${s.v.name}, ${type} ${s.sum.name}` }, null, { body: s.body });
  }
  protected tally({ v, extent, counts, key, rank, body }: StmtOf<"tally">): void {
    const counted = `tally(${this.expr(extent)}, ${counts.name}, [&](ix ${v.name}) { return ix(${this.expr(key)}); }`;
    if (body.length === 0) return this.line(`${counted});`);
    this.lambda({ before: `${counted}, `, params: `ix ${v.name}, ix ${rank.name}` }, null, { body });
  }
  protected widest(kind: BodyKind): Lanes {
    return item(this.target.lanes[kind], 0);
  }
  /**
   * The widest group of lanes for a body: all that the body touches must be contiguous along v, or one value for the group. If none fits, a group of
   * "1".
   */
  lanesFor(v: Var, body: readonly Stmt[], kind: BodyKind = "line"): Lanes {
    const most = this.target.maxLanes?.(this.kernel) ?? Infinity;
    const serves = ({ count, dtype }: Lanes): boolean =>
      count <= most &&
      canVectorize(v, body, count, this.target) &&
      (dtype === undefined || touchesOnly(dtype, v, body));
    const found = this.target.lanes[kind].find(serves);
    return found ?? { ...this.widest(kind), text: "1" };
  }
  /** The same for a loop over a row, which may be cut into pieces. `into`: what its value is folded into. */
  #rowLanes({ v, extent }: Pick<StmtOf<"par">, "v" | "extent">, whole: Body, into = v): Lanes {
    const statements = ({ body, value }: Body): readonly Stmt[] =>
      value ? [...body, { s: "let", v: into, value }] : body;
    const found = this.lanesFor(v, statements(whole));
    if (found.text !== "1" || !this.target.cutsBodies) return found;
    const wide = this.widest("line");
    const block = this.kernel.grid.find(({ n }) => n === extent);
    const pieces = piecesOf({ v, lanes: wide.count, ...(block && { block }) }, whole) ?? [];
    const fits = (p: Piece): boolean => canVectorize(v, statements(bodyIn(p, whole)), wide.count, this.target);
    return pieces.length > 1 && pieces.every(fits) ? { ...wide, pieces } : found;
  }
}
