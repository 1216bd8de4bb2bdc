// What follows an mma can run on each register tile as soon as it is done, while it is in the caches.
import { address, children, dependsOn, item, laneStride } from "../kernel/expr.ts";
import type { Axis, Buffer, Expr, Stmt, StmtOf, Tile } from "../kernel/ir.ts";
import { tilesOf, walk, walkExprs } from "../kernel/passes.ts";

export interface Follower {
  readonly mma: StmtOf<"mma">;
  /** That the mma stands in, as the last statement. */
  readonly loop: Axis | null;
  readonly lets: readonly Stmt[];
  readonly each: StmtOf<"each">;
  /** Statements after the first that it stands for. */
  readonly taken: number;
}
/** The points that follow an mma or a loop of them, if they need no more than the accumulators' own elements and change memory only. */
export function followerOf(list: readonly Stmt[], at: number): Follower | null {
  const s = list[at];
  const mma = s?.s === "for" ? s.body.at(-1) : s;
  if (s === undefined || mma?.s !== "mma") return null;
  const rest = list.slice(at + 1);
  const next = rest.findIndex((t) => t.s !== "let");
  const each = rest[next];
  if (each?.s !== "each" || each.vs.length !== 2 || !mma.acc.includes(each.over)) return null;
  const { reads, writes } = tilesOf(each.body, "acc", "row", "shared");
  if (writes.size > 0 || [...reads].some((t) => !mma.acc.includes(t))) return null;
  return { mma, loop: s.s === "for" ? s.axis : null, lets: rest.slice(0, next), each, taken: next + 1 };
}

interface Reached {
  readonly b: Buffer;
  readonly at: readonly Expr[];
  readonly written: boolean;
}
/** Rows of memory that the points of an accumulator read and write, where that is known before they are made. */
export function reached({ vs, body }: StmtOf<"each">): Reached[] {
  const [i, j] = [item(vs, 0), item(vs, 1)];
  const found: Reached[] = [];
  const note = (b: Buffer | Tile, at: readonly Expr[], written: boolean): void => {
    if (b.kind !== "buffer" || at.some((y) => isMade(y, body))) return;
    const where = address(b, at);
    if (dependsOn(where, i) && laneStride(where, j, 4) === 1) found.push({ b, at, written });
  };
  walk(body, (s) => s.s === "store" && !s.stream && note(s.to, s.at, true));
  walkExprs(body, (x) => x.e === "load" && note(x.from, x.at, false));
  return found;
}
/** Whether x depends on what the statements compute, or read. */
const isMade = (x: Expr, body: readonly Stmt[]): boolean =>
  x.e === "load" || body.some((s) => s.s === "let" && s.v === x) || children(x).some((y) => isMade(y, body));
