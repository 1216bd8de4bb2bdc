// The layout of a staged operand in memory on the host, and which memory is needed after it (to be prefetched).
import { fp4Group } from "../graph/codes.ts";
import { item } from "../item.ts";
import { add, address, dependsOn, knownDivisor, laneStride, num, stride, substitute } from "../kernel/expr.ts";
import type { Axis, Buffer, Expr, Kernel, Load, Stmt, StmtOf, Tile, Var } from "../kernel/ir.ts";
import { statements } from "../kernel/passes.ts";
import type { DType } from "../types/dtype.ts";
import type { Emitter } from "./emitter.ts";
import { blockCount, endName } from "./grid.ts";

/** A load from a buffer. */
export type BufferLoad = Load & { readonly from: Buffer };
/** The load that a stage's value is, if it is one from a buffer of one of these types (none given: of any); else null. */
export function loadOf({ value }: StmtOf<"stage">, ...dtypes: readonly DType[]): BufferLoad | null {
  const isOf = (dtype: DType): boolean => dtypes.length === 0 || dtypes.includes(dtype);
  const is = value.e === "load" && value.from.kind === "buffer" && isOf(value.from.dtype);
  return is ? (value as BufferLoad) : null;
}
/** The load of a staged operand that can be read in place, with its strides along both axes (null where not constant); else null. */
export function stridedLoadOf(
  s: StmtOf<"stage">,
  dtype: DType = "f32",
): { readonly load: BufferLoad; readonly strides: readonly [number | null, number | null] } | null {
  const load = loadOf(s, dtype);
  if (!load || s.vs.some((v) => isComputed(s, v))) return null;
  const at = address(load.from, load.at);
  return { load, strides: [stride(at, s.vs[0]), stride(at, s.vs[1])] };
}
/** The load of a left operand whose rows can be read in place; else null. */
export function rowLoadOf(s: StmtOf<"stage">, dtype?: DType): ReturnType<typeof stridedLoadOf> {
  const direct = stridedLoadOf(s, dtype);
  const [alongX, alongK] = direct?.strides ?? [null, null];
  return alongK === null || (alongX === 1 && alongK !== 1) ? null : direct;
}
/** Whether statements of a stage before its value may depend on v. */
const isComputed = ({ body }: StmtOf<"stage">, v: Var): boolean =>
  body.some((b) => b.s !== "let" || dependsOn(b.value, v));
/** The text of a pointer to a load's element, after `replace` has changed its indices. */
export const pointer = (e: Emitter, { from, at }: BufferLoad, replace = (y: Expr): Expr => y): string =>
  e.pointer(from, at.map(replace));
/**
 * The condition that a task is the first of those that read the same left rows: such tasks differ only in the columns, the last axis of the grid.
 * Only the first prefetches the rows.
 */
export function firstReaderCondition(x: BufferLoad, e: Emitter): string {
  const last = e.kernel.grid.at(-1);
  if (!last || x.at.some((y) => dependsOn(y, last.v))) return "false";
  return blockCount(last) === 1 ? "true" : `${last.v.name} == 0`;
}
/** Whether a staged operand is a load that is contiguous along v; with `group`, only inside aligned groups of so many. */
export function isContiguous(s: StmtOf<"stage">, v: Var, dtype: DType = "f32", group?: number): boolean {
  const load = loadOf(s, dtype);
  if (!load || isComputed(s, v)) return false;
  const at = address(load.from, load.at);
  return (group === undefined ? stride(at, v) : laneStride(at, v, group)) === 1;
}
/**
 * The rows of a register tile. With no more rows, an operand that is contiguous along its depth is transposed in registers; with more, a transposed
 * copy is read, for which `fromColumns` of host/staging.ts may take some of the depth at a time.
 */
export const tileRows = 6;
/** The start of such a right operand and the distance of its columns, if its only product has no more rows than that; else null. */
export function depthContiguousOf(
  s: StmtOf<"stage">,
  e: Emitter,
  mostRows = tileRows,
): { readonly start: string; readonly step: number } | null {
  const [k, x] = s.vs;
  const load = loadOf(s, "f32", "bf16", "i8");
  const acc = onlyAccumulator(s.tile, e.kernel);
  if (!load || s.body.length > 0 || !acc || item(acc.shape, 0) > mostRows) return null;
  const at = address(load.from, load.at);
  const step = stride(at, x);
  if (stride(at, k) !== 1 || step === null) return null;
  return { start: pointer(e, load, (y) => start(s, y)), step };
}
/** Whether the only product of a right operand is summed anew in each round of the operand's loop, as attention's scores are. */
export function isOfRound(s: StmtOf<"stage">, k: Kernel): boolean {
  const acc = onlyAccumulator(s.tile, k);
  const isBegun = (t: Stmt): boolean => t.s === "tile" && t.tile === acc;
  return statements(k.body).some((t) => t.s === "for" && t.body.includes(s) && t.body.some(isBegun));
}
/** The accumulator of the only product of a right operand, if nothing else is summed into it; else null. */
export function onlyAccumulator(tile: Tile, k: Kernel): Tile | null {
  const products = statements(k.body).filter((t) => t.s === "mma");
  const [acc, ...more] = products.find(({ b }) => b.includes(tile))?.acc ?? [];
  if (!acc || more.length > 0) return null;
  return products.filter((t) => t.b.includes(tile) || t.acc.includes(acc)).length === 1 ? acc : null;
}
interface PanelsOperand {
  readonly start: BufferLoad;
  /** The distance from a panel to the next, in elements. */
  readonly step: number;
  readonly width: number;
}
/** An operand that consists of whole panels of a weight, where r moves along rows and c along columns; else null. */
export function panelsOperandOf(s: StmtOf<"stage">, r: Var, c: Var, dtype: DType): PanelsOperand | null {
  const load = loadOf(s, dtype);
  if (!load || s.body.length > 0) return null;
  const { layout, shape } = load.from;
  if (layout.kind !== "panels") return null;
  const begin = start(s, load) as BufferLoad;
  const [row, column] = load.at.slice(-2);
  if (!row || !column || stride(row, r) !== 1 || stride(column, c) !== 1) return null;
  if (dependsOn(row, c) || dependsOn(column, r) || load.at.slice(0, -2).some((y) => s.vs.some((v) => dependsOn(y, v))))
    return null;
  const whole = knownDivisor(item(begin.at, begin.at.length - 1)) % layout.width === 0;
  return whole ? { start: begin, step: item(shape, shape.length - 2) * layout.width, width: layout.width } : null;
}
interface Fp4Panels extends PanelsOperand {
  readonly scales: BufferLoad;
}
/** An operand of whole panels of codes of 4 bits, and of whole groups of rows that share a scale, where r moves along rows and c along columns; else null. */
export function fp4PanelsOf(s: StmtOf<"stage">, r: Var, c: Var): Fp4Panels | null {
  const { body, valid, vs } = s;
  const [codes, at, scales] = fp4ArgsOf(s);
  const row = at?.e === "op" && at.op === "value" ? item(at.args, 0) : null;
  if (!row || body.length > 0 || !isBufferLoad(codes) || !isBufferLoad(scales)) return null;
  const { layout, shape } = codes.from;
  const isSame = layout.kind === "panels" && scales.from.layout.kind === "panels";
  const [column, ...lead] = [codes.at.at(-1), ...codes.at.slice(0, -2)];
  if (!isSame || !column || stride(row, r) !== 1 || stride(column, c) !== 1) return null;
  if (dependsOn(row, c) || dependsOn(column, r) || lead.some((y) => vs.some((v) => dependsOn(y, v)))) return null;
  const areWhole = [start(s, row), item(valid, vs.indexOf(r))].every((x) => knownDivisor(x) % fp4Group === 0);
  if (!areWhole || knownDivisor(start(s, column)) % layout.width !== 0) return null;
  const step = item(shape, shape.length - 2) * layout.width;
  return { start: start(s, codes) as BufferLoad, scales: start(s, scales) as BufferLoad, step, width: layout.width };
}
/** What an operand reads most of: codes of 4 bits that it is made of, or itself. */
function memoryOf(s: StmtOf<"stage">): BufferLoad | null {
  const [codes] = fp4ArgsOf(s);
  return isBufferLoad(codes) ? codes : loadOf(s);
}
/** The codes, the row, and the scale that the numbers of an operand are made of; none if it is none of codes of 4 bits. */
export function fp4ArgsOf({ value }: StmtOf<"stage">): readonly Expr[] {
  const made = value.e === "op" && value.op === "bf16" ? item(value.args, 0) : value;
  return made.e === "op" && made.op === "from_fp4" ? made.args : [];
}
export const isBufferLoad = (x: Expr | undefined): x is BufferLoad => x?.e === "load" && x.from.kind === "buffer";
/**
 * The pointer, for prefetching, to the right operand that is needed after this one: in the next round of its loop, in the next pair, or in the next
 * task (which differs in the last grid axis of several blocks). Null if it is unknown.
 */
export function nextOperandPointer(s: StmtOf<"stage">, e: Emitter): string | null {
  const task = e.kernel.grid.findLast((a) => blockCount(a) !== 1) ?? e.kernel.grid.at(-1);
  if (!task || s.body.length > 0) return null;
  const { first, next } = othersOf(s, e.kernel);
  const isLike = (t: StmtOf<"stage">): boolean => memoryOf(t)?.from.dtype === memoryOf(s)?.from.dtype;
  const after =
    [next ?? first].filter(isLike).map((t) => firstRoundPointer(t, e, (x) => (next ? x : oneStepLater(x, task))))[0] ??
    null;
  const loop = loopOf(e.kernel.body, s);
  const own = memoryOf(s);
  if (!loop || !after || !own) return after;
  const round = pointer(e, own, (x) => oneStepLater(start(s, x), loop));
  return `${loop.v.name} + ${loop.step} < ${endName(loop)} ? ${round} : ${after}`;
}
export const dtypeOf = (s: StmtOf<"stage">): DType | null => loadOf(s)?.from.dtype ?? null;
/** x for the first element of an operand. */
const start = (s: StmtOf<"stage">, x: Expr): Expr => s.vs.reduce((y, v) => substitute(y, v, num(0)), x);
/** A pointer to the first element of an operand in the first round of its loop; null if the operand is computed. */
function firstRoundPointer(s: StmtOf<"stage">, e: Emitter, replace: (x: Expr) => Expr): string | null {
  const load = memoryOf(s);
  if (s.body.length > 0 || !load) return null;
  const loop = loopOf(e.kernel.body, s);
  return pointer(e, load, (x) => {
    const y = start(s, x);
    return replace(loop ? substitute(y, loop.v, loop.from) : y);
  });
}
interface OtherOperands {
  /** The operand that a task uses first in the same place. */
  readonly first: StmtOf<"stage">;
  /** The operand that is staged after the given one has been multiplied; null if none is. */
  readonly next: StmtOf<"stage"> | null;
}
/** Other right operands that are multiplied into the same accumulator. */
function othersOf(s: StmtOf<"stage">, k: Kernel): OtherOperands {
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
/** x one step of an axis later. */
const oneStepLater = (x: Expr, { v, step }: Axis): Expr => substitute(x, v, add(v, num(step)));
/** The loop whose body contains a statement directly. */
function loopOf(body: readonly Stmt[], s: Stmt): Axis | null {
  const loop = statements(body).find((t) => t.s === "for" && t.body.includes(s));
  return loop?.s === "for" ? loop.axis : null;
}
