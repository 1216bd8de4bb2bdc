// Epilogue fusion on the host: the `each` after an `mma` can run on each register tile as soon as it is done, while it is in the caches.
import { Bug } from "../diagnostic.ts";
import { item } from "../item.ts";
import { add, address, children, dependsOn, laneStride, substitute, variable } from "../kernel/expr.ts";
import type { Axis, Buffer, Expr, Stmt, StmtOf, Tile, Var } from "../kernel/ir.ts";
import { loads, stores, tilesOf } from "../kernel/passes.ts";

export interface Epilogue {
  readonly mma: StmtOf<"mma">;
  /** The loop whose last statement the `mma` is; null if it is in none. */
  readonly loop: Axis | null;
  readonly lets: readonly Stmt[];
  readonly each: StmtOf<"each">;
  /** How many statements after the first are covered. */
  readonly covered: number;
}
/**
 * The `each` after an `mma`, or after a loop of them, if it reads no tiles but its own elements of the accumulators and only stores to memory; else
 * null.
 */
export function epilogueOf(list: readonly Stmt[], at: number): Epilogue | null {
  const s = list[at];
  const mma = s?.s === "for" ? s.body.at(-1) : s;
  if (s === undefined || mma?.s !== "mma") return null;
  const rest = list.slice(at + 1);
  const next = rest.findIndex((t) => t.s !== "let");
  const each = rest[next];
  if (each?.s !== "each" || each.vs.length !== 2 || !mma.acc.includes(each.over)) return null;
  if (each.body.some((t) => t.s !== "let" && t.s !== "store")) return null;
  const { reads, writes } = tilesOf(each.body, "acc", "row", "shared");
  if (writes.size > 0 || [...reads].some((t) => !mma.acc.includes(t))) return null;
  return { mma, loop: s.s === "for" ? s.axis : null, lets: rest.slice(0, next), each, covered: next + 1 };
}

/** An `each` whose columns count from the first column of a register tile, which lies in one panel of all that is in panels. */
interface TileEach {
  readonly each: StmtOf<"each">;
  readonly first: Var;
  /** The columns of a panel; null if nothing that is touched lies in panels. */
  readonly panel: number | null;
}
export function withinTile(each: StmtOf<"each">): TileEach {
  const [i, j] = [item(each.vs, 0), item(each.vs, 1)];
  const panel = panelIn(each.body);
  const first = variable("_col", "index", 0, Infinity, panel ?? 16);
  const column: Var = { ...j, hi: panel === null ? j.hi : panel - 1 };
  const here = (x: Expr): Expr => substitute(x, j, add(first, column));
  const body = each.body.map((s) => {
    if (s.s === "let") return { ...s, value: here(s.value) };
    if (s.s === "store") return { ...s, at: s.at.map(here), value: here(s.value) };
    throw new Bug(`points of an accumulator with a ${s.s} in them`);
  });
  return { each: { ...each, vs: [i, column], body }, first, panel };
}
function panelIn(body: readonly Stmt[]): number | null {
  const touched = [...stores(body).map((s) => s.to), ...loads(body).map((x) => x.from)];
  const [width] = touched.flatMap((b) => (b.kind === "buffer" && b.layout.kind === "panels" ? [b.layout.width] : []));
  return width ?? null;
}

interface PrefetchTarget {
  readonly buffer: Buffer;
  readonly at: readonly Expr[];
}
/** Rows of memory that an epilogue reads or writes at addresses that are known before it runs, so that they can be prefetched. */
export function prefetchTargets({ vs, body }: StmtOf<"each">): PrefetchTarget[] {
  const [i, j] = [item(vs, 0), item(vs, 1)];
  const of = (buffer: Buffer | Tile, at: readonly Expr[]): PrefetchTarget[] => {
    if (buffer.kind !== "buffer" || at.some((y) => isComputed(y, body))) return [];
    const where = address(buffer, at);
    return dependsOn(where, i) && laneStride(where, j, 4) === 1 ? [{ buffer, at }] : [];
  };
  return [
    ...stores(body).flatMap((s) => (s.stream ? [] : of(s.to, s.at))),
    ...loads(body).flatMap((x) => of(x.from, x.at)),
  ];
}
/** Whether x depends on what the statements compute, or on a load. */
const isComputed = (x: Expr, body: readonly Stmt[]): boolean =>
  x.e === "load" || body.some((s) => s.s === "let" && s.v === x) || children(x).some((y) => isComputed(y, body));
