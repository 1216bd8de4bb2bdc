// Separates the loads of an `each` body from its computation, so that loads for some elements can be issued before stores of others (CUDA's
// `each_prefetched`).
import { address, children, dependsOn, laneStride, load, same, typeOf, variable, withLoads } from "../kernel/expr.ts";
import type { Expr, Load, Stmt, StmtOf, Var } from "../kernel/ir.ts";
import { loads } from "../kernel/passes.ts";

/**
 * Loads that depend on nothing that the body computes: `rowLoads`, those that are the same for a whole row; `columnLoads`, those that vary along it.
 * `body`: everything else.
 */
interface EarlyLoads {
  readonly rowLoads: readonly StmtOf<"let">[];
  readonly columnLoads: readonly StmtOf<"let">[];
  readonly body: readonly Stmt[];
}
/**
 * Null if the body has statements other than `let` and `store`, if no load varies along v, or if one that does is the same for `lanes` neighbours: only
 * loads of vectors are left out where v is beyond the last column.
 */
export function earlyLoadsOf({ body }: StmtOf<"each">, v: Var, lanes: number): EarlyLoads | null {
  if (!body.every((s) => s.s === "let" || s.s === "store")) return null;
  const found = new Loads(body);
  const rest = body.flatMap((s) => found.without(s));
  const differing = (list: readonly Stmt[]): Expr[] =>
    loads(list)
      .flatMap(({ from, at }) => (from.kind === "buffer" ? address(from, at) : []))
      .filter((at) => dependsOn(at, v));
  if (differing(found.lets).length === 0) return null;
  if (differing(body).some((at) => laneStride(at, v, lanes) === 0)) return null;
  const along = new Set<Expr>([v]);
  const varies = (x: Expr): boolean => along.has(x) || children(x).some(varies);
  for (const s of found.lets) if (varies(s.value)) along.add(s.v);
  return {
    rowLoads: found.lets.filter((s) => !along.has(s.v)),
    columnLoads: found.lets.filter((s) => along.has(s.v)),
    body: rest,
  };
}
class Loads {
  readonly lets: StmtOf<"let">[] = [];
  /** Variables that hold computed values, not early loads. */
  readonly #computed: Set<Expr>;

  constructor(body: readonly Stmt[]) {
    this.#computed = new Set(body.flatMap((s) => (s.s === "let" ? [s.v] : [])));
  }
  /** A statement with its loads replaced by variables; none if it only named a load. */
  without(s: Stmt): Stmt[] {
    if (s.s === "let" && this.#isEarly(s.value)) {
      this.#computed.delete(s.v);
      this.lets.push(s);
      return [];
    }
    return s.s === "let" || s.s === "store" ? [{ ...s, value: this.#rest(s.value) }] : [s];
  }
  #isEarly(x: Expr): boolean {
    return x.e === "load" && x.from.kind === "buffer" && x.at.every((y) => this.#isKnown(y));
  }
  #isKnown(x: Expr): boolean {
    if (x.e === "load") return this.#isEarly(x);
    return x.e === "op" ? x.args.every((y) => this.#isKnown(y)) : !this.#computed.has(x);
  }
  #rest(x: Expr): Expr {
    const early = (y: Load): Expr =>
      this.#isEarly(y) ? this.#named(y) : load(y.from, ...y.at.map((z) => this.#rest(z)));
    return withLoads(x, early);
  }
  #named(x: Load): Var {
    const before = this.lets.find((s) => same(s.value, x));
    if (before) return before.v;
    const v = variable(`${x.from.name}_${this.lets.length}`, typeOf(x), -Infinity);
    this.lets.push({ s: "let", v, value: x });
    return v;
  }
}
