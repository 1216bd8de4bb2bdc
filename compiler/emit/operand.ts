// An operand of an mma on CUDA: where it lies in shared memory, and how it gets there. Contiguous and aligned memory is copied by 16 bytes,
// asynchronously; anything else goes through registers.
import {
  add,
  address,
  call,
  dependsOn,
  item,
  laneStride,
  load,
  mul,
  multiple,
  num,
  parts,
  same,
  stride,
  sub,
  substitute,
  summands,
  total,
  variable,
} from "../kernel/expr.ts";
import type { Axis, Expr, Load, StmtOf, Tile, Var } from "../kernel/ir.ts";
import { once } from "../once.ts";
import { blockOf, type Element, operandsOf } from "./block.ts";
import { type Direct, loadOf } from "./lies.ts";
import type { Emitter } from "./text.ts";

/** What the text of a kernel has needed so far. `stageOf`: which stage of an operand the text now reads. */
interface Needs {
  shared: number;
  /** Room for an accumulator that is a left operand. */
  held: { readonly at: number; readonly bytes: number } | null;
  readonly prologue: string[];
  /** The call that asks for a task's first loads, where they are asked for before the results of the task before it are written. */
  ahead: string | null;
  readonly stageOf: Map<Tile, string>;
  /** Operands that are others turned, and have no memory of their own. */
  readonly turned: Map<Tile, Tile>;
}
export const needsOf: (e: Emitter) => Needs = once(() => ({
  shared: 0,
  held: null,
  prologue: [],
  ahead: null,
  stageOf: new Map(),
  turned: new Map(),
}));
/** Where so many bytes of shared memory begin. */
export function reserve(e: Emitter, bytes: number): number {
  const n = needsOf(e);
  const at = n.shared;
  n.shared += Math.ceil(bytes / 128) * 128;
  return at;
}

/** A staged operand as the load of an element that it is, or null. */
export const directOf = (s: StmtOf<"stage">, element: Element): Direct | null =>
  s.body.length === 0 ? loadOf(s, element) : null;
/** Whether n elements along v lie together, from a multiple of n on. */
export const inGroups = (at: Expr, v: Var, n: number): boolean =>
  laneStride(at, v, n) === 1 && multiple(substitute(at, v, num(0))) % n === 0;
/** Rows and columns of an operand in the order of memory, R and C of them; transposed where its own rows are what lies together. */
export interface Lie {
  readonly transposed: boolean;
  readonly row: Var;
  readonly col: Var;
  readonly rows: Expr;
  readonly cols: Expr;
  readonly R: number;
  readonly C: number;
}
/** How an operand of `lanes` elements in 16 bytes lies, if it is a load. */
export function lieOf({ vs, valid, tile }: StmtOf<"stage">, from: Direct | null, lanes: number): Lie {
  const transposed = from !== null && laneStride(address(from.from, from.at), vs[0], lanes) === 1;
  const [r, c] = transposed ? ([1, 0] as const) : ([0, 1] as const);
  const [R, C] = [item(tile.shape, r), item(tile.shape, c)];
  return { transposed, row: vs[r], col: vs[c], rows: valid[r], cols: valid[c], R, C };
}
const isLine = ({ tile }: StmtOf<"stage">): boolean => tile.role === "line";
interface Form extends Lie {
  readonly element: Element;
  /** Elements in 16 bytes. */
  readonly n: number;
  /** The load that the operand is, if it is one. */
  readonly from: Direct | null;
}
function formOf(s: StmtOf<"stage">, e: Emitter): Form {
  const { elements, parted } = operandsOf(e.kernel);
  const element = elements.get(s.tile) ?? "f32";
  const n = element === "bf16" ? 8 : 4;
  const from = directOf(s, element);
  const lie = lieOf(s, from, n);
  const R = isLine(s) ? 1 : Math.ceil(Math.max(1, lie.R) / 16) * 16;
  const least = element === "bf16" ? 16 : parted.has(s.tile) ? 32 : e.target.tf32 ? 8 : 4; // so that lanes meet in no bank
  const C = Math.max(2 ** Math.ceil(Math.log2(Math.max(1, lie.C))), least);
  return { ...lie, element, n, from, R, C };
}
/** Whether two operands are the same memory, one being the other transposed. */
export function isTurned(s: StmtOf<"stage">, t: StmtOf<"stage">, e: Emitter): boolean {
  const [a, b] = [formOf(s, e), formOf(t, e)];
  if (!a.from || !b.from || a.transposed === b.transposed || a.element !== b.element) return false;
  const like = (x: Expr): Expr => substitute(substitute(x, b.row, a.row), b.col, a.col);
  const inSize = a.R === b.R && a.C === b.C && same(a.rows, b.rows) && same(a.cols, b.cols);
  return inSize && same(a.from, like(b.from));
}
/** Whether products read two operands alike: one can lie in the place of the other. */
export function alike(s: StmtOf<"stage">, t: StmtOf<"stage">, e: Emitter): boolean {
  const [a, b] = [formOf(s, e), formOf(t, e)];
  return a.element === b.element && a.transposed === b.transposed && s.tile.shape.join() === t.tile.shape.join();
}
/** How an mma names an operand: one stage of it. */
export function staged(t: Tile, e: Emitter): string {
  const { turned, stageOf } = needsOf(e);
  const from = turned.get(t);
  const name = `${(from ?? t).name}[${stageOf.get(from ?? t) ?? "0"}]`;
  return from ? `turned(${name})` : name;
}
/** Of one stage. */
export function bytesOf(s: StmtOf<"stage">, e: Emitter): number {
  const { R, C, n } = formOf(s, e);
  return (R * C * 16) / n;
}

/** Declared at the top of the kernel, bound before its loop, loaded in it. */
export class Operand {
  private readonly s: StmtOf<"stage">;
  private readonly e: Emitter;
  private readonly form: Form;
  /** Its address, where copies of 16 bytes make it. */
  private readonly at: Expr | null;
  /** How far a round of the loop moves it, where that is one constant. */
  private step: number | null = null;
  /** The number that a row is found by, where the loop decides it: it is loaded a round before its row. And where that row begins. */
  private number: Load | null = null;
  private start: Expr = num(0);
  private readonly place: number;

  /** `instead`: the operand whose memory it takes in rounds of its own. */
  constructor(s: StmtOf<"stage">, stages: number, e: Emitter, instead?: Operand) {
    [this.s, this.e, this.form] = [s, e, formOf(s, e)];
    const { element, n, from, transposed, row, col, R, C } = this.form;
    const at = from && address(from.from, from.at);
    this.at = at && inGroups(at, col, n) ? at : null;
    const pitch = (this.at && stride(this.at, row)) || 0;
    this.place = instead?.place ?? reserve(e, bytesOf(s, e) * stages);
    const types = [element, R, C, stages, blockOf(e.kernel).threads, transposed, pitch].join(", ");
    needsOf(e).prologue.push(`Stage<${types}> ${s.tile.name}(smem + ${this.place});`);
  }
  /** Addresses that a loop moves by one constant are computed before it. */
  bind(axis: Axis): void {
    this.step = this.at && stride(this.at, axis.v);
    if (this.step === null) return this.bindNumber(axis);
    const start = this.pointer((x) => substitute(x, axis.v, axis.from));
    this.e.line(`${this.s.tile.name}.bind(${rowsBefore(this.e, this.form, axis)}, ${start});`);
  }
  /** A lane finds where one row in 32 begins; what a thread adds to that is the same in all rounds. */
  private bindNumber(a: Axis): void {
    const { from, row, col, R, C, n } = this.form;
    const step = blockOf(this.e.kernel).threads / (C / n);
    const number = from && numberOf(from, row, a);
    if (!this.at || !number || R % 32 !== 0 || 32 % step !== 0) return;
    const parts = summands(numbered(this.at, number));
    const starts = parts.filter((x) => dependsOn(x, named));
    const columns = parts.filter((x) => !dependsOn(x, named));
    if (starts.some((x) => dependsOn(x, col)) || columns.some((x) => dependsOn(x, a.v) || dependsOn(x, row))) return;
    [this.number, this.start] = [number, total(starts)];
    const column = this.e.expr(total(columns), 5);
    this.e.line(`${this.s.tile.name}.columns([&](ix ${col.name}) { return ${from.from.name} + ${column}; });`);
    this.look(a, a.from);
  }
  /** Fetches the numbers of the round that begins at `start`. */
  private look(a: Axis, start: Expr): void {
    if (this.number) looked(this.e, this.s.tile, { ...this.form, number: this.number }, a, start);
  }
  load(stage: string, a: Axis | null): void {
    const { tile, body, value } = this.s;
    const { row, col, rows, cols } = this.form;
    const { e } = this;
    needsOf(e).stageOf.set(tile, stage);
    const guards = `${e.expr(rows)}, ${e.expr(cols)}`;
    if (this.step !== null && a)
      return e.line(`${tile.name}.load(${stage}, ${e.expr(mul(sub(a.v, a.from), num(this.step)))}, ${guards});`);
    if (this.number && a) {
      e.line(`${tile.name}.gather(${stage}, ${guards}, [&](ix ${named.name}) { return ${e.expr(this.start)}; });`);
      return this.look(a, add(a.v, num(a.step)));
    }
    if (this.at) return e.line(`${tile.name}.load(${stage}, ${guards}, ${this.pointer((x) => x)});`);
    e.lambda(`${tile.name}.put(${stage}, ${guards}, `, `ix ${row.name}, ix ${col.name}`, ");", null, body, value);
  }
  /** Names the elements of a line that points read. */
  name(stage: string): void {
    const { name } = this.s.tile;
    if (isLine(this.s)) this.e.line(`const auto ${name}_at = ${name}[${stage}].elements();`);
  }
  private pointer(replace: (x: Expr) => Expr): string {
    const { from, row, col } = this.form;
    return from ? pointing(this.e, { from, col }, replace, row.name) : "";
  }
}
/** A function of a row, by the name that is given, and a column: where an element lies. */
export const pointing = (
  e: Emitter,
  { from, col }: Pick<Lie, "col"> & { readonly from: Direct },
  replace: (x: Expr) => Expr,
  row: string,
): string => `[&](ix ${row}, ix ${col.name}) { return ${e.pointer(from.from, from.at.map(replace))}; }`;
/** Rows whose beginnings are found before a loop: all, where its rounds have fewer. */
export const rowsBefore = (e: Emitter, { rows, R }: Lie, { v, n }: Axis): string =>
  dependsOn(rows, v) || (n.e === "var" && dependsOn(rows, n)) ? String(R) : e.expr(rows);
/** The one number that rows are found by and that a loop decides, if there is one. */
export function numberOf({ at }: Load, row: Var, { v }: Axis): Load | null {
  const loads = at.flatMap(parts).filter((y) => y.e === "load");
  const found = loads.filter((y) => y.from.kind === "buffer" && dependsOn(y, row) && dependsOn(y, v));
  const [first] = found;
  return first && found.every((y) => same(y, first)) ? first : null;
}
interface Numbered {
  readonly rows: Expr;
  readonly row: Var;
  readonly number: Load;
}
/** Fetches the numbers of a tile's rows in the round that begins at `start`. */
export function looked(e: Emitter, tile: Tile, { rows, row, number }: Numbered, a: Axis, start: Expr): void {
  const left = call("min", "index", num(a.step), sub(a.to, start));
  const count = e.expr(a.n.e === "var" ? substitute(rows, a.n, left) : rows);
  e.line(`${tile.name}.look(${count}, [&](ix ${row.name}) { return ${e.expr(substitute(number, a.v, start))}; });`);
}
const named = variable("number", "i32", -Infinity);
/** x with `number` in place of a load. */
export function numbered(x: Expr, by: Load | null): Expr {
  if (by && same(x, by)) return named;
  if (x.e === "load") return load(x.from, ...x.at.map((y) => numbered(y, by)));
  return x.e === "op" ? { ...x, args: x.args.map((y) => numbered(y, by)) } : x;
}
