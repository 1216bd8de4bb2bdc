// How a staged operand lies in memory, and what comes after it there.
import { add, address, dependsOn, item, laneStride, multiple, num, stride, substitute } from "../kernel/expr.ts";
import type { Axis, Buffer, Expr, Kernel, Load, Stmt, StmtOf, Tile, Var } from "../kernel/ir.ts";
import { statements } from "../kernel/passes.ts";
import { type DType, dtypes } from "../types/dtype.ts";
import { blocksOf } from "./grid.ts";
import type { Emitter } from "./text.ts";

/** An element of memory. */
export type Direct = Load & { readonly from: Buffer };
/** What a staged operand loads, if it is memory of one of these types. */
export function loadOf({ value }: StmtOf<"stage">, ...dtypes: readonly DType[]): Direct | null {
  const is = value.e === "load" && value.from.kind === "buffer" && dtypes.includes(value.from.dtype);
  return is ? (value as Direct) : null;
}
/** That, where it can be read in place: its strides along both axes. */
export function plain(
  s: StmtOf<"stage">,
  dtype: DType = "f32",
): { readonly load: Direct; readonly strides: readonly [number | null, number | null] } | null {
  const load = loadOf(s, dtype);
  if (!load || s.vs.some((v) => isMade(s, v))) return null;
  const at = address(load.from, load.at);
  return { load, strides: [stride(at, s.vs[0]), stride(at, s.vs[1])] };
}
/** The load of a left operand whose rows are read where they lie. */
export function rowsIn(s: StmtOf<"stage">, dtype?: DType): ReturnType<typeof plain> {
  const direct = plain(s, dtype);
  const [alongX, alongK] = direct?.strides ?? [null, null];
  return alongK === null || (alongX === 1 && alongK !== 1) ? null : direct;
}
/** Whether what a stage computes before its value may depend on v. */
const isMade = ({ body }: StmtOf<"stage">, v: Var): boolean => body.some((b) => b.s !== "let" || dependsOn(b.value, v));
/** The text of a pointer to an element, whose index `replace` changes. */
export const pointer = (e: Emitter, { from, at }: Direct, replace: (y: Expr) => Expr): string =>
  e.pointer(from, at.map(replace));
/** Whether a task is the first of those that read the same: they differ in the columns, which come last. */
export function firstReads(x: Direct, e: Emitter): string {
  const last = e.kernel.grid.at(-1)?.v;
  return !last || x.at.some((y) => dependsOn(y, last)) ? "false" : `${last.name} == 0`;
}
/** Whether a staged operand is a load that moves by one with `v`, from anywhere; or does so inside aligned groups. */
export function isContiguous(s: StmtOf<"stage">, v: Var, dtype: DType = "f32", group?: number): boolean {
  const load = loadOf(s, dtype);
  if (!load || isMade(s, v)) return false;
  const at = address(load.from, load.at);
  return (group === undefined ? stride(at, v) : laneStride(at, v, group)) === 1;
}
/** Rows of one register tile: so few turn an operand that lies along its depth in registers, more read a turned copy. */
const fewRows = 6;
/** Where such an operand begins, if few rows and nothing else are multiplied by it, and how far apart its columns are. */
export function alongDepth(s: StmtOf<"stage">, e: Emitter): { readonly start: string; readonly step: number } | null {
  const [k, x] = s.vs;
  const load = loadOf(s, "f32", "bf16");
  const acc = onlySum(s.tile, e.kernel);
  if (!load || s.body.length > 0 || !acc || item(acc.shape, 0) > fewRows) return null;
  const at = address(load.from, load.at);
  const step = stride(at, x);
  if (stride(at, k) !== 1 || step === null) return null;
  return { start: pointer(e, load, (y) => start(s, y)), step };
}
/** The accumulator of a right operand's only product, if it sums no other. */
function onlySum(tile: Tile, k: Kernel): Tile | null {
  const products = statements(k.body).filter((t) => t.s === "mma");
  const [acc, ...more] = products.find(({ b }) => b.includes(tile))?.acc ?? [];
  if (!acc || more.length > 0) return null;
  return products.filter((t) => t.b.includes(tile) || t.acc.includes(acc)).length === 1 ? acc : null;
}
interface InPanels {
  readonly start: Direct;
  /** Elements from a panel to the next. */
  readonly step: number;
  readonly width: number;
}
/** An operand that is whole panels of a weight, r and c moving along its rows and columns. */
export function panelsOf(s: StmtOf<"stage">, r: Var, c: Var, dtype: DType = "f32"): InPanels | null {
  const load = loadOf(s, dtype);
  if (!load || s.body.length > 0) return null;
  const { layout, shape } = load.from;
  if (layout.kind !== "panels") return null;
  const begin = start(s, load) as Direct;
  const [row, column] = load.at.slice(-2);
  if (!row || !column || stride(row, r) !== 1 || stride(column, c) !== 1) return null;
  if (dependsOn(row, c) || dependsOn(column, r) || load.at.slice(0, -2).some((y) => s.vs.some((v) => dependsOn(y, v))))
    return null;
  const whole = multiple(item(begin.at, begin.at.length - 1)) % layout.width === 0;
  return whole ? { start: begin, step: item(shape, shape.length - 2) * layout.width, width: layout.width } : null;
}
/**
 * Where the right operand that is staged after this one is done with begins: in the next round of its loop, of the next pair, or in the next task, which
 * differs in the last axis that has several.
 */
export function ahead(s: StmtOf<"stage">, e: Emitter): string | null {
  const task = e.kernel.grid.findLast((a) => blocksOf(a) !== 1) ?? e.kernel.grid.at(-1);
  if (!task || s.body.length > 0) return null;
  const { first, next } = othersOf(s, e.kernel);
  const isLike = (t: StmtOf<"stage">): boolean => dtypeOf(t) === dtypeOf(s);
  const after =
    [next ?? first].filter(isLike).map((t) => beginning(t, e, (x) => (next ? x : later(x, task))))[0] ?? null;
  const loop = loopOf(e.kernel.body, s);
  if (!loop || !after) return after;
  const round = pointer(e, s.value as Direct, (x) => later(start(s, x), loop));
  return `${loop.v.name} + ${loop.step} < ${loop.v.name}_end ? ${round} : ${after}`;
}
export const dtypeOf = (s: StmtOf<"stage">): DType | null => loadOf(s, ...dtypes)?.from.dtype ?? null;
const start = (s: StmtOf<"stage">, x: Expr): Expr => s.vs.reduce((y, v) => substitute(y, v, num(0)), x);
/** The first element of an operand's first round; null where it is computed. */
function beginning(s: StmtOf<"stage">, e: Emitter, replace: (x: Expr) => Expr): string | null {
  const load = loadOf(s, ...dtypes);
  if (s.body.length > 0 || !load) return null;
  const loop = loopOf(e.kernel.body, s);
  return pointer(e, load, (x) => {
    const y = replace(start(s, x));
    return loop ? substitute(y, loop.v, loop.from) : y;
  });
}
interface Others {
  /** What a task begins with, in the place of the given operand. */
  readonly first: StmtOf<"stage">;
  /** What is staged when that is multiplied. */
  readonly next: StmtOf<"stage"> | null;
}
/** Right operands that the same accumulator is multiplied by. */
function othersOf(s: StmtOf<"stage">, k: Kernel): Others {
  const order = statements(k.body);
  const products = order.filter((t) => t.s === "mma");
  const own = products.find(({ b }) => b.includes(s.tile));
  const acc = own?.acc[own.b.indexOf(s.tile)];
  const right = ({ b, acc: accs }: StmtOf<"mma">): Tile | undefined => b[accs.findIndex((t) => t === acc)];
  const tiles = new Set(products.map(right));
  const staged = order.filter((t) => t.s === "stage").filter((t) => tiles.has(t.tile));
  const begun = order.findIndex((t) => t.s === "mma" && right(t) !== undefined);
  const isLater = (t: Stmt, than: number): boolean => order.indexOf(t) > than;
  const first = isLater(s, begun) ? staged[0] : s;
  const next = own && staged.find((t) => isLater(t, order.indexOf(own)));
  return { first: first ?? s, next: next ?? null };
}
/** One step on. */
const later = (x: Expr, { v, step }: Axis): Expr => substitute(x, v, add(v, num(step)));
/** The loop whose body a statement stands in. */
function loopOf(body: readonly Stmt[], s: Stmt): Axis | null {
  const loop = statements(body).find((t) => t.s === "for" && t.body.includes(s));
  return loop?.s === "for" ? loop.axis : null;
}
