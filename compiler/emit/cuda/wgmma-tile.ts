// An operand of wgmma: its layout in shared memory, and how it is copied there. A box of a tensor comes by TMA; gathered rows, and groups of rows
// that end in the middle of a tensor, are copied by the producers by 16 bytes. An operand that is computed or unaligned rules the sm_90a variant out.
import { item } from "../../item.ts";
import { add, address, dependsOn, isNum, mul, num, stride, sub, substitute } from "../../kernel/expr.ts";
import type { Axis, Expr, Kernel, Load, StmtOf, Tile, Var } from "../../kernel/ir.ts";
import type { TensorMapBox } from "../../plan/plan.ts";
import type { Emitter } from "../emitter.ts";
import { past } from "../literal.ts";
import type { BufferLoad } from "../operand-layout.ts";
import {
  addressLambda,
  directLoadOf,
  emitRowIndexLoads,
  isInAlignedGroups,
  type MemoryOrder,
  memoryOrderOf,
  precomputedRows,
  rowIndexOf,
  withRowIndex,
} from "./shared-tile.ts";

/**
 * A slab is a block of operand rows of 64 elements (128 bytes). `half`: the bytes of half an operand with 256 columns, or of a whole one with 128.
 */
export const slab = { bytes: 128, columns: 64, half: 128 * 128 };
/** The most rows, or columns, of the result that one box brings. */
const maxBoxRows = 128;
/** `depthVariable`: the variable along the depth. `depth`: how much of it is valid. */
interface WgmmaTileLayout extends MemoryOrder {
  readonly from: BufferLoad;
  readonly depthVariable: Var;
  readonly depth: Expr;
  /** Whether each row in memory is one step of the depth (MN-major), not all of it (K-major). */
  readonly isMnMajor: boolean;
}
function wgmmaTileLayoutOf(s: StmtOf<"stage">, isLeft: boolean): WgmmaTileLayout | null {
  const from = directLoadOf(s, "bf16");
  if (!from) return null;
  const order = memoryOrderOf(s, from, 8);
  const d = isLeft ? 1 : 0;
  return { ...order, from, depthVariable: s.vs[d], depth: s.valid[d], isMnMajor: order.row === s.vs[d] };
}

/** The TMA box that holds half of the operand, and the index of its element at [row, col]; null if the operand is no box. */
function boxOf(f: WgmmaTileLayout, loop: Axis): { readonly box: number[]; readonly at: readonly Expr[] } | null {
  const { from: buffer, at } = f.from;
  const rank = buffer.shape.length;
  if (buffer.layout.kind !== "rows" || rank < 2 || rank > 4 || buffer.layout.pitch % 8 !== 0) return null;
  const box = at.map((x, a) => {
    const [r, c] = [stride(x, f.row), stride(x, f.col)];
    if (a === rank - 1) return r === 0 && c === 1 ? slab.columns : 0;
    return c !== 0 || r === null || r > 1 ? 0 : r === 1 ? Math.min(f.R, maxBoxRows) : 1;
  });
  const rows = box.slice(0, -1).filter((n) => n > 1).length;
  if (box.includes(0) || rows !== 1 || !endsWithTensor(f, loop)) return null;
  return { box, at };
}
/**
 * Whether nothing but zeros is read beyond the valid depth: every round is full, or the depth ends where the tensor does. (Beyond the valid rows and
 * columns anything may be read: those results are not stored.)
 */
function endsWithTensor({ from, depthVariable, depth }: WgmmaTileLayout, { v, to }: Axis): boolean {
  if (isNum(depth)) return depth.value === slab.columns;
  if (!isNum(to)) return false;
  const axis = from.at.findIndex((x) => dependsOn(x, depthVariable));
  const end = substitute(substitute(item(from.at, axis), depthVariable, num(0)), v, to);
  return isNum(end) && end.value === from.from.shape[axis];
}

/**
 * The text of one operand: its declaration at the top of the kernel, what producers compute before the loop (`bind`), and their loads in it
 * (`loadBox`, `copy`).
 */
export class WgmmaTile {
  readonly tile: Tile;
  readonly isLeft: boolean;
  readonly bytes: number;
  /** The indices of its halves, each of 128 rows or columns of the result: [0], or [0, 1]. */
  readonly halves: readonly number[];
  /** Its tensor map if it comes by TMA; else null. */
  readonly map: TensorMapBox | null;
  readonly #layout: WgmmaTileLayout;
  readonly #e: Emitter;
  readonly #box: ReturnType<typeof boxOf>;
  /** How far a round of the loop moves the address; null if that is not constant. */
  readonly #step: number | null;
  #rowIndex: Load | null = null;

  private constructor(s: StmtOf<"stage">, isLeft: boolean, f: WgmmaTileLayout, loop: Axis, e: Emitter) {
    [this.tile, this.isLeft, this.#layout, this.#e] = [s.tile, isLeft, f, e];
    this.bytes = f.R * f.C * 2;
    this.halves = this.bytes > slab.half ? [0, 1] : [0];
    this.#box = boxOf(f, loop);
    this.map = this.#box && { arg: e.kernel.params.indexOf(f.from.from), box: this.#box.box };
    this.#step = stride(address(f.from.from, f.from.at), loop.v);
  }
  /** The operand; null if a stage cannot be one. */
  static of(s: StmtOf<"stage">, isLeft: boolean, loop: Axis, e: Emitter): WgmmaTile | null {
    const f = wgmmaTileLayoutOf(s, isLeft);
    if (!f || f.R % 64 !== 0 || f.C % slab.columns !== 0) return null;
    return isInAlignedGroups(address(f.from.from, f.from.at), f.col, 8) ? new WgmmaTile(s, isLeft, f, loop, e) : null;
  }
  /** Whether another operand has the same layout and is loaded in the same way, so that it can use this one's memory. */
  isLike(other: WgmmaTile): boolean {
    const [a, b] = [this.#layout, other.#layout];
    const inShape = a.R === b.R && a.C === b.C && a.isMnMajor === b.isMnMajor;
    return inShape && (this.map === null) === (other.map === null);
  }
  declaration(place: number): string {
    const { from, row, R, C, isMnMajor } = this.#layout;
    const pitch = this.#box ? 0 : stride(address(from.from, from.at), row);
    return `WgmmaTile<${R}, ${C}, ${isMnMajor ? "MN_MAJOR" : "K_MAJOR"}, ${pitch ?? 0}> ${this.tile.name}(${past("smem", place)});`;
  }
  /** What the producers compute before the loop. */
  bind(a: Axis): void {
    if (this.#box) return;
    if (this.#step === null) return this.#bindGather(a);
    const start = this.#pointer((x) => substitute(x, a.v, a.from));
    this.#e.line(`${this.tile.name}.bind(${precomputedRows(this.#e, this.#layout, a)}, ${start});`);
  }
  #bindGather(a: Axis): void {
    this.#rowIndex = rowIndexOf(this.#layout.from, this.#layout.row, a);
    this.#loadRowIndices(a, a.from);
  }
  /** Loads the row indices of the round that begins at `start`. */
  #loadRowIndices(a: Axis, start: Expr): void {
    if (this.#rowIndex) emitRowIndexLoads(this.#e, this.tile, { ...this.#layout, rowIndex: this.#rowIndex }, a, start);
  }
  /** Loads half of the current round into stage s by TMA; one thread does it. */
  loadBox(half: number, full: string, map: string): void {
    if (!this.#box) return;
    const { row, col, isMnMajor } = this.#layout;
    const first = num(half * maxBoxRows);
    const [i, j] = isMnMajor ? [num(0), first] : [first, num(0)];
    const at = this.#box.at.toReversed().map((x) => this.#e.expr(substitute(substitute(x, row, i), col, j)));
    this.#e.line(`${this.tile.name}.load_box<${half}>(s, ${full}, &${map}, ${at.join(", ")});`);
  }
  /** Copies the current round into stage s; all producers take part. */
  copy(a: Axis): void {
    if (this.#box) return;
    const { rows, cols } = this.#layout;
    const [e, tile] = [this.#e, this.tile];
    const guards = `${e.expr(rows)}, ${e.expr(cols)}`;
    if (this.#step !== null)
      return e.line(`${tile.name}.load(s, ${e.expr(mul(sub(a.v, a.from), num(this.#step)))}, ${guards});`);
    if (!this.#rowIndex) return e.line(`${tile.name}.load(s, ${guards}, ${this.#pointer((x) => x)});`);
    e.line(`${tile.name}.gather(s, ${guards}, ${this.#pointer((x) => withRowIndex(x, this.#rowIndex), "row_index")});`);
    this.#loadRowIndices(a, add(a.v, num(a.step)));
  }
  #pointer(replace: (x: Expr) => Expr, row = this.#layout.row.name): string {
    return addressLambda(this.#e, this.#layout, replace, row);
  }
}
/** The name of the n-th tensor map, after the parameter that it describes. */
export const mapName = (k: Kernel, map: TensorMapBox, n: number): string => `${item(k.params, map.arg).name}_map${n}`;
