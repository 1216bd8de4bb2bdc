// CUDA: finds lines of memory (positions, sums of rows) that `each` bodies inside a pipelined loop read, and stages them in shared memory with the
// loop's operands; lines that do not change in the loop are staged once before it. So those bodies never wait for global memory.
import { item } from "../../item.ts";
import {
  address,
  dependsOn,
  load,
  num,
  same,
  stride,
  subexpressions,
  substitute,
  typeOf,
  variable,
  withLoads,
} from "../../kernel/expr.ts";
import type { Buffer, Expr, Kernel, Load, Stmt, StmtOf, Tile } from "../../kernel/ir.ts";
import { statements, writtenBuffers } from "../../kernel/passes.ts";
import { canPipeline } from "./pipeline.ts";
import { isInAlignedGroups } from "./shared-tile.ts";

/** The kernel with such lines staged. */
export function stageLines(k: Kernel): Kernel {
  const after = k.body.findIndex((s, i) => s.s === "stage" && k.body[i + 1]?.s !== "stage") + 1;
  if (after === 0) return k;
  const lines = new Lines(k);
  const body = lines.visit(k.body);
  return { ...k, body: [...body.slice(0, after), ...lines.once, ...body.slice(after)] };
}
type Loop = StmtOf<"for">;
type Stage = StmtOf<"stage">;
const [row, column] = [variable("i"), variable("j")];
/** Elements of one asynchronous copy (16 bytes). */
const copyElements = 4;

class Lines {
  /** Lines that are copied once per task. */
  readonly once: Stage[] = [];
  #count = 0;
  readonly #changing: ReadonlySet<Buffer>;
  readonly #grid: ReadonlySet<Expr>;

  constructor(k: Kernel) {
    this.#changing = writtenBuffers(k);
    this.#grid = new Set(k.grid.map(({ v }) => v));
  }
  visit(list: readonly Stmt[]): Stmt[] {
    return list.map((s): Stmt => {
      if (s.s === "for" && canPipeline(s)) return this.#loop(s);
      return s.s === "for" || s.s === "if" ? { ...s, body: this.visit(s.body) } : s;
    });
  }
  #loop(loop: Loop): Stmt {
    const own: Stage[] = [];
    const points = (s: Stmt): Stmt => {
      if (s.s === "if") return { ...s, body: s.body.map(points) };
      if (s.s !== "each") return s;
      const read = (x: Load): Expr => this.#element(x, s, loop, own) ?? x;
      return { ...s, body: s.body.map((t) => ("value" in t ? { ...t, value: withLoads(t.value, read) } : t)) };
    };
    const body = loop.body.map(points);
    return { ...loop, body: [...body, ...own] };
  }
  /** The element of a staged line that replaces a load; null if the load is not one of a line. */
  #element({ from, at }: Load, s: StmtOf<"each">, loop: Loop, own: Stage[]): Expr | null {
    if (from.kind !== "buffer" || !["f32", "i32"].includes(from.dtype) || this.#changing.has(from)) return null;
    const place = address(from, at);
    const along = s.vs.findIndex((v) => dependsOn(place, v));
    const v = s.vs[along];
    if (!v || stride(place, v) !== 1 || !isInAlignedGroups(place, v, copyElements)) return null;
    const { axis } = loop;
    const valid = item(s.valid, along);
    // a loop of one round begins at 0, so that the address does not depend on it
    const moves = dependsOn(place, axis.v) || (axis.n.e === "var" && dependsOn(valid, axis.n));
    const inside = boundIn(loop);
    const isKnown = (y: Expr): boolean => y === v || (moves ? y.e === "var" && !inside.has(y) : this.#grid.has(y));
    const n = item(s.over.shape, along);
    if (!variablesAndLoads(place).every(isKnown) || (moves && (stride(place, axis.v) !== 1 || axis.step !== n)))
      return null;
    const value = load(from, ...at.map((x) => substitute(x, v, column)));
    return load(this.#line(value, from.name, n, moves ? axis.n : valid, moves ? own : this.once), num(0), v);
  }
  #line(value: Load, of: string, n: number, valid: Expr, among: Stage[]): Tile {
    const known = among.find((s) => same(s.value, value));
    if (known) return known.tile;
    const name = `${of}_line${this.#count++ || ""}`;
    const tile: Tile = { kind: "tile", role: "line", name, shape: [1, n], type: typeOf(value) };
    among.push({ s: "stage", tile, vs: [row, column], valid: [num(1), valid], body: [], value });
    return tile;
  }
}
const boundBy = (s: Stmt): readonly Expr[] => (s.s === "let" ? [s.v] : s.s === "each" ? s.vs : []);
const boundIn = ({ axis, body }: Loop): Set<Expr> => new Set([axis.n, ...statements(body).flatMap(boundBy)]);
/** The variables and loads in an address. */
const variablesAndLoads = (x: Expr): Expr[] => subexpressions(x).filter((y) => y.e === "var" || y.e === "load");
