// An operand of an mma on CUDA: its layout in shared memory, and how it is copied there. Contiguous, aligned memory is copied asynchronously by 16
// bytes (cp.async); anything else goes through registers. Codes of 8 bits are copied as they are, and widened from there (`CodeTile` on the device).
import { fp4PerByte } from "../../graph/codes.ts";
import { item } from "../../item.ts";
import {
  add,
  address,
  call,
  dependsOn,
  knownDivisor,
  laneStride,
  load,
  mul,
  num,
  same,
  stride,
  sub,
  subexpressions,
  substitute,
  summands,
  sumOf,
  variable,
} from "../../kernel/expr.ts";
import type { Axis, Expr, Kernel, Load, StmtOf, Tile, Var } from "../../kernel/ir.ts";
import { statements } from "../../kernel/passes.ts";
import { memoize } from "../../memoize.ts";
import type { Emitter } from "../emitter.ts";
import { past } from "../literal.ts";
import { type BufferLoad, loadOf } from "../operand-layout.ts";
import { blockOf, type ElementType, operandsOf } from "./block.ts";
import { type Fp4Stages, fp4StagesOf } from "./fp4-tile.ts";

/**
 * What the emitted kernel has needed so far. `shared`: bytes of shared memory. `prologue`: lines at its top. `stageOf`: the stage of an operand that
 * the text currently reads.
 */
interface Needs {
  shared: number;
  /** Shared memory for an accumulator that is a left operand. */
  accBuffer: { readonly at: number; readonly bytes: number } | null;
  readonly prologue: string[];
  /** The call that starts the first loads of a task, if these are started before the results of the task before it are stored. */
  firstLoads: string | null;
  readonly stageOf: Map<Tile, string>;
  /** Operands that are the transpose of another one, and use its memory. */
  readonly transposes: Map<Tile, Tile>;
}
export const needsOf: (e: Emitter) => Needs = memoize(() => ({
  shared: 0,
  accBuffer: null,
  prologue: [],
  firstLoads: null,
  stageOf: new Map(),
  transposes: new Map(),
}));
/** Reserves shared memory and returns its offset. */
export function reserveShared(e: Emitter, bytes: number): number {
  const n = needsOf(e);
  const at = n.shared;
  n.shared += Math.ceil(bytes / 128) * 128;
  return at;
}

/** The load that a staged operand is, if its value is no computation; else null. */
export const directLoadOf = (s: StmtOf<"stage">, element: ElementType | "i8"): BufferLoad | null =>
  s.body.length === 0 ? loadOf(s, element) : null;
/** Whether every n elements along v are contiguous and begin at a multiple of n. */
export const isInAlignedGroups = (at: Expr, v: Var, n: number): boolean =>
  laneStride(at, v, n) === 1 && knownDivisor(substitute(at, v, num(0))) % n === 0;
/**
 * An operand in memory order, R rows of C columns; transposed if its own rows are what is contiguous. `rows` and `cols`: how many of them are valid.
 */
export interface MemoryOrder {
  readonly transposed: boolean;
  readonly row: Var;
  readonly col: Var;
  readonly rows: Expr;
  readonly cols: Expr;
  readonly R: number;
  readonly C: number;
}
/** The memory order of an operand; `lanes`: elements in 16 bytes. */
export function memoryOrderOf(
  { vs, valid, tile }: StmtOf<"stage">,
  from: BufferLoad | null,
  lanes: number,
): MemoryOrder {
  const transposed = from !== null && laneStride(address(from.from, from.at), vs[0], lanes) === 1;
  const [r, c] = transposed ? ([1, 0] as const) : ([0, 1] as const);
  const [R, C] = [item(tile.shape, r), item(tile.shape, c)];
  return { transposed, row: vs[r], col: vs[c], rows: valid[r], cols: valid[c], R, C };
}
const isLine = ({ tile }: StmtOf<"stage">): boolean => tile.role === "line";
interface SharedLayout extends MemoryOrder {
  readonly element: ElementType;
  /** It is copied as codes, and then widened to `element`. */
  readonly isCodes: boolean;
  /** What is copied of an operand of codes of 4 bits: R counts rows of bytes. */
  readonly fp4: Fp4Stages | null;
  /** It is loaded by `load_terms`, two elements at a time, and swizzled for that. */
  readonly byPairs: boolean;
  /** Elements in the 16 bytes of a copy. */
  readonly n: number;
  /** The load that the operand is; null if it is computed. */
  readonly from: BufferLoad | null;
}
function sharedLayoutOf(s: StmtOf<"stage">, e: Emitter): SharedLayout {
  const { elements, codes, inTerms } = operandsOf(e.kernel);
  const element = elements.get(s.tile) ?? (loadOf(s, "bf16") ? "bf16" : "f32");
  const fp4 = fp4Of(s, e);
  const isCodes = codes.has(s.tile) || fp4 !== null;
  const n = isCodes ? 16 : element === "bf16" ? 8 : 4;
  const from = fp4 ? fp4.codes.value : directLoadOf(s, isCodes ? "i8" : element);
  const order = memoryOrderOf(fp4?.codes ?? s, from, n);
  const R = isLine(s) ? 1 : elements.has(s.tile) ? Math.ceil(Math.max(1, order.R) / 16) * 16 : order.R;
  const least = element === "bf16" ? 16 : inTerms.has(s.tile) ? 32 : e.target.tf32 ? 8 : 4; // so that lanes have no bank conflicts
  const C = Math.max(2 ** Math.ceil(Math.log2(Math.max(1, order.C))), least, n);
  const byPairs = inTerms.has(s.tile) && isLeft(s.tile, e.kernel);
  return { ...order, element, isCodes, fp4, byPairs, n, from, R, C };
}
/** The codes and scales of an operand of codes of 4 bits, if they are copied as they are; else null: its numbers are made one by one. */
export function fp4Of(s: StmtOf<"stage">, e: Emitter): Fp4Stages | null {
  const { elements, inTerms } = operandsOf(e.kernel);
  const fp4 = elements.has(s.tile) && !inTerms.has(s.tile) ? fp4StagesOf(s) : null;
  const isRounded = s.value.e === "op" && s.value.op === "bf16";
  if (!fp4 || isRounded !== (elements.get(s.tile) === "bf16")) return null;
  const { from, at } = fp4.codes.value;
  return s.vs.some((v) => isInAlignedGroups(address(from, at), v, 16)) ? fp4 : null;
}
const isLeft = (tile: Tile, k: Kernel): boolean => statements(k.body).some((s) => s.s === "mma" && s.a === tile);
/** Whether two operands are the same memory, one the transpose of the other. */
export function isTransposeOf(s: StmtOf<"stage">, t: StmtOf<"stage">, e: Emitter): boolean {
  const [a, b] = [sharedLayoutOf(s, e), sharedLayoutOf(t, e)];
  if (!a.from || !b.from || a.transposed === b.transposed || a.element !== b.element || a.n !== b.n) return false;
  const like = (x: Expr): Expr => substitute(substitute(x, b.row, a.row), b.col, a.col);
  const inSize = a.R === b.R && a.C === b.C && same(a.rows, b.rows) && same(a.cols, b.cols);
  return inSize && same(a.from, like(b.from));
}
/** Whether two operands have the same layout in shared memory, so that one can take the other's place. */
export function hasSameLayout(s: StmtOf<"stage">, t: StmtOf<"stage">, e: Emitter): boolean {
  const [a, b] = [sharedLayoutOf(s, e), sharedLayoutOf(t, e)];
  const inOrder = a.element === b.element && a.n === b.n && !a.fp4 === !b.fp4 && a.transposed === b.transposed;
  return inOrder && s.tile.shape.join() === t.tile.shape.join();
}
/** The text for an operand in an mma: its current stage. */
export function currentStage(t: Tile, e: Emitter): string {
  const { transposes, stageOf } = needsOf(e);
  const from = transposes.get(t);
  const name = `${(from ?? t).name}[${stageOf.get(from ?? t) ?? "0"}]`;
  return from ? `transposed(${name})` : name;
}
/** The bytes of one stage. */
export function bytesOf(s: StmtOf<"stage">, e: Emitter): number {
  const { R, C, n, fp4 } = sharedLayoutOf(s, e);
  return (R * C * 16) / n + (fp4 ? bytesOf(fp4.scales, e) : 0);
}
/** The bytes of the tiles that codes are widened to, in a loop of `stages` stages; 0 for other operands. */
export function widenedBytes(s: StmtOf<"stage">, stages: number, e: Emitter): number {
  const { isCodes, fp4, element, R, C } = sharedLayoutOf(s, e);
  const numbers = R * C * (fp4 ? fp4PerByte : 1);
  return isCodes ? numbers * (element === "bf16" ? 2 : 4) * (stages > 1 ? 2 : 1) : 0;
}

/** The text of one operand, a `SharedTile` on the device: its declaration at the top of the kernel, what is computed before the loop (`bind`), and the loads in the loop. */
export class SharedTile {
  readonly #s: StmtOf<"stage">;
  readonly #e: Emitter;
  readonly #layout: SharedLayout;
  /** Its address, if it is copied by 16 bytes; else null. */
  readonly #at: Expr | null;
  /** How far a round of the loop moves the address; null if that is not constant. */
  #step: number | null = null;
  /**
   * For rows that are gathered by an index that changes with the loop: the load of that index (done a round ahead of the row), and the part of the
   * address that depends on it.
   */
  #rowIndex: Load | null = null;
  #start: Expr = num(0);
  readonly #sharedOffset: number;
  /** Of codes of 4 bits. */
  readonly #scales: SharedTile | null;

  /** `instead`: the operand of another joined loop whose memory it uses. */
  constructor(s: StmtOf<"stage">, stages: number, e: Emitter, instead: SharedTile | null = null) {
    [this.#s, this.#e, this.#layout] = [s, e, sharedLayoutOf(s, e)];
    const { element, isCodes, fp4, byPairs, n, from, transposed, row, col, R, C } = this.#layout;
    const at = from && address(from.from, from.at);
    this.#at = at && isInAlignedGroups(at, col, n) ? at : null;
    const pitch = (this.#at && stride(this.#at, row)) || 0;
    const bytes = ((R * C * 16) / n) * stages + widenedBytes(s, stages, e);
    this.#sharedOffset = instead ? instead.#sharedOffset : reserveShared(e, bytes);
    const types = [
      element,
      fp4 ? R * fp4PerByte : R,
      C,
      stages,
      blockOf(e.kernel).threads,
      transposed ? "COL_MAJOR" : "ROW_MAJOR",
      pitch,
      ...(byPairs ? ["BY_PAIRS"] : []),
    ].join(", ");
    const name = fp4 ? "Fp4Tile" : isCodes ? "CodeTile" : "SharedTile";
    needsOf(e).prologue.push(`${name}<${types}> ${s.tile.name}(${past("smem", this.#sharedOffset)});`);
    this.#scales = fp4 && new SharedTile(fp4.scales, stages, e, instead ? instead.#scales : null);
  }
  /** Writes what is computed before the loop: addresses that the loop only moves by a constant, or the first row indices. */
  bind(axis: Axis): void {
    this.#scales?.bind(axis);
    this.#step = this.#at && stride(this.#at, axis.v);
    if (this.#step === null) return this.#bindGather(axis);
    const start = this.#pointer((x) => substitute(x, axis.v, axis.from));
    this.#e.line(`${this.#s.tile.name}.bind(${precomputedRows(this.#e, this.#layout, axis)}, ${start});`);
  }
  /**
   * Sets up a gather along the loop: each lane loads the index of one row in 32 and shares it; the rest of an address is the same in all rounds and
   * is computed once.
   */
  #bindGather(a: Axis): void {
    const { from, row, col, R, C, n } = this.#layout;
    const step = blockOf(this.#e.kernel).threads / (C / n);
    const index = from && rowIndexOf(from, row, a);
    if (!this.#at || !index || R % 32 !== 0 || 32 % step !== 0) return;
    const parts = summands(withRowIndex(this.#at, index));
    const starts = parts.filter((x) => dependsOn(x, rowIndexVariable));
    const columns = parts.filter((x) => !dependsOn(x, rowIndexVariable));
    if (starts.some((x) => dependsOn(x, col)) || columns.some((x) => dependsOn(x, a.v) || dependsOn(x, row))) return;
    [this.#rowIndex, this.#start] = [index, sumOf(starts)];
    const column = this.#e.expr(sumOf(columns), 5);
    this.#e.line(`${this.#s.tile.name}.bind_columns([&](ix ${col.name}) { return ${from.from.name} + ${column}; });`);
    this.#loadRowIndices(a, a.from);
  }
  /** Loads the row indices of the round that begins at `start`. */
  #loadRowIndices(a: Axis, start: Expr): void {
    if (this.#rowIndex)
      emitRowIndexLoads(this.#e, this.#s.tile, { ...this.#layout, rowIndex: this.#rowIndex }, a, start);
  }
  load(stage: string, a: Axis | null): void {
    this.#scales?.load(stage, a);
    const { tile, body, value } = this.#s;
    const { row, col, rows, cols, isCodes } = this.#layout;
    const e = this.#e;
    if (!isCodes) needsOf(e).stageOf.set(tile, stage);
    const guards = `${e.expr(rows)}, ${e.expr(cols)}`;
    if (this.#step !== null && a)
      return e.line(`${tile.name}.load(${stage}, ${e.expr(mul(sub(a.v, a.from), num(this.#step)))}, ${guards});`);
    if (this.#rowIndex && a) {
      e.line(
        `${tile.name}.gather(${stage}, ${guards}, [&](ix ${rowIndexVariable.name}) { return ${e.expr(this.#start)}; });`,
      );
      return this.#loadRowIndices(a, add(a.v, num(a.step)));
    }
    if (this.#at) return e.line(`${tile.name}.load(${stage}, ${guards}, ${this.#pointer((x) => x)});`);
    const before = `${tile.name}.fill(${stage}, ${guards}, `;
    e.lambda({ before, params: `ix ${row.name}, ix ${col.name}` }, null, { body, value });
  }
  /** The call that widens the codes of a stage into a tile, which the text then reads; none for other operands. */
  widened(stage: string, tile: string): string[] {
    if (!this.#layout.isCodes) return [];
    needsOf(this.#e).stageOf.set(this.#s.tile, tile);
    const scales = this.#layout.fp4 ? `, ${this.#layout.fp4.scales.tile.name}` : "";
    return [`${this.#s.tile.name}.widen(${stage}, ${tile}${scales});`];
  }
  /** Whether it is widened by what other threads copied too, the scales of codes of 4 bits. */
  get sharesScales(): boolean {
    return this.#scales !== null;
  }
  /** Declares the name by which bodies read the elements of a line. */
  name(stage: string): void {
    const { name } = this.#s.tile;
    if (isLine(this.#s)) this.#e.line(`const auto ${name}_at = ${name}[${stage}].data();`);
  }
  #pointer(replace: (x: Expr) => Expr): string {
    const { from, row, col } = this.#layout;
    return from ? addressLambda(this.#e, { from, col }, replace, row.name) : "";
  }
}
/** A lambda from row and column to the address of an element. */
export const addressLambda = (
  e: Emitter,
  { from, col }: Pick<MemoryOrder, "col"> & { readonly from: BufferLoad },
  replace: (x: Expr) => Expr,
  row: string,
): string => `[&](ix ${row}, ix ${col.name}) { return ${e.pointer(from.from, from.at.map(replace))}; }`;
/** How many rows to compute addresses for before a loop: all, if the number of valid rows varies with the round. */
export const precomputedRows = (e: Emitter, { rows, R }: MemoryOrder, { v, n }: Axis): string =>
  dependsOn(rows, v) || (n.e === "var" && dependsOn(rows, n)) ? String(R) : e.expr(rows);
/** The load of the index by which rows are gathered, if that varies with the row and with the loop and is the only such load; else null. */
export function rowIndexOf({ at }: Load, row: Var, { v }: Axis): Load | null {
  const loads = at.flatMap(subexpressions).filter((y) => y.e === "load");
  const found = loads.filter((y) => y.from.kind === "buffer" && dependsOn(y, row) && dependsOn(y, v));
  const [first] = found;
  return first && found.every((y) => same(y, first)) ? first : null;
}
interface GatheredRows {
  readonly rows: Expr;
  readonly row: Var;
  readonly rowIndex: Load;
}
/** Writes the loads of a tile's row indices for the round that begins at `start`. */
export function emitRowIndexLoads(
  e: Emitter,
  tile: Tile,
  { rows, row, rowIndex }: GatheredRows,
  a: Axis,
  start: Expr,
): void {
  const left = call("min", "index", num(a.step), sub(a.to, start));
  const count = e.expr(a.n.e === "var" ? substitute(rows, a.n, left) : rows);
  e.line(
    `${tile.name}.prefetch_indices(${count}, [&](ix ${row.name}) { return ${e.expr(substitute(rowIndex, a.v, start))}; });`,
  );
}
const rowIndexVariable = variable("row_index", "i32", -Infinity);
/** x with `rowIndexVariable` in place of the load `by`. */
export function withRowIndex(x: Expr, by: Load | null): Expr {
  if (by && same(x, by)) return rowIndexVariable;
  if (x.e === "load") return load(x.from, ...x.at.map((y) => withRowIndex(y, by)));
  return x.e === "op" ? { ...x, args: x.args.map((y) => withRowIndex(y, by)) } : x;
}
