// Operands of products on the host: read in place unless their order in memory forbids it, else packed into scratch memory.
import { item } from "../../item.ts";
import { knownDivisor, num, roundUp, subexpressions, substitute, variable } from "../../kernel/expr.ts";
import type { Stmt, StmtOf, Tile, Var } from "../../kernel/ir.ts";
import { isInTerms, statements } from "../../kernel/passes.ts";
import { bytesOf } from "../../types/dtype.ts";
import type { Emitter } from "../emitter.ts";
import { past } from "../literal.ts";
import {
  type BufferLoad,
  depthContiguousOf,
  dtypeOf,
  firstReaderCondition,
  fp4PanelsOf,
  isContiguous,
  isOfRound,
  nextOperandPointer,
  onlyAccumulator,
  panelsOperandOf,
  pointer,
  rowLoadOf,
  stridedLoadOf,
  tileRows,
} from "../operand-layout.ts";
import { type Packing, packingOf } from "./packed.ts";
import { shiftedIn } from "./shifted.ts";

/**
 * Stages a left operand [rows, depth]: in place if its depth has a constant stride, by a pointer to each row, so that a gather of rows costs nothing.
 */
export function stageLeft(s: StmtOf<"stage">, e: Emitter): void {
  const [x, k] = s.vs;
  if (shiftedIn(e.kernel).has(s.tile)) return;
  const direct = rowLoadOf(s, inPlaceDtype(s));
  const alongK = direct?.strides[1];
  const { name } = s.tile;
  const split = isInTerms(s.tile);
  if (!direct || (split && alongK !== 1)) return packLeft(s, e);
  const rows = split ? `${name}_rows` : name;
  const kind = [item(s.tile.shape, 0), alongK, ...(inPlaceDtype(s) === "f32" ? [] : ["bf16"])];
  e.line(`Rows<${kind.join(", ")}> ${rows};`);
  e.line(
    `${rows}.bind(${e.expr(s.valid[0])}, ${firstReaderCondition(direct.load, e)}, [&](ix ${x.name}) { return ${pointer(e, direct.load, (y) => substitute(y, k, num(0)))}; });`,
  );
  if (split) splitRows(s, e, rows);
}
/** Writes the splitting of rows into terms of bf16 (AMX). */
function splitRows(s: StmtOf<"stage">, e: Emitter, rows: string): void {
  const sizes = s.valid.map((n) => e.expr(n));
  const split = isMadeTransposed(s.tile, e) ? "split_transposed" : "split_rows";
  e.line(
    `const auto ${s.tile.name} = ${split}<${termCount(s.tile)}>(${[reserveTerms(s.tile, e), ...sizes, rows].join(", ")});`,
  );
}
const termCount = ({ form }: Tile): number => (form === "term" ? 1 : 3);
/** The dtype in which an operand may be read in place: f32, or bf16 if it is a single bf16 term. */
const inPlaceDtype = (s: StmtOf<"stage">): "f32" | "bf16" =>
  s.tile.form === "term" && dtypeOf(s) === "bf16" ? "bf16" : "f32";
/** Scratch memory for the terms of a left operand: whole tiles of 16 x 32, two bytes per term. */
const reserveTerms = (t: Tile, e: Emitter): string =>
  reserveScratch(e, (roundUp(item(t.shape, 0), 16) * roundUp(item(t.shape, 1), 32) * termCount(t)) / 2);
/**
 * Whether the products of an operand are computed transposed (AMX, `SplitTransposed`): all of the kernel's left operands are rows that are contiguous
 * along the depth, and all right ones weights in panels that are used transposed.
 */
function isMadeTransposed(tile: Tile, { kernel }: Emitter): boolean {
  const all = statements(kernel.body);
  const stages = new Map(all.flatMap((s) => (s.s === "stage" ? [[s.tile, s]] : [])));
  const products = all.filter((s) => s.s === "mma");
  const isTransposed = (t: Tile): boolean => {
    const s = stages.get(t);
    if (!s) return false;
    const [k, x] = s.vs;
    return panelsOperandOf(s, k, x, inPlaceDtype(s)) === null && panelsOperandOf(s, x, k, inPlaceDtype(s)) !== null;
  };
  const isRows = (t: Tile): boolean => {
    const s = stages.get(t);
    return isInTerms(t) && s !== undefined && stridedLoadOf(s, inPlaceDtype(s))?.strides[1] === 1;
  };
  return (
    products.some((s) => s.a === tile || s.b.includes(tile)) &&
    products.every((s) => isRows(s.a) && s.b.every(isTransposed))
  );
}
/** A stage as a list of statements, with a `let` for its value. */
export const withValue = (s: StmtOf<"stage">): Stmt[] => [
  ...s.body,
  { s: "let", v: variable("_value", "f32", -Infinity), value: s.value },
];
/** Packs a left operand into scratch memory: by rows if lanes run along the depth, else in the order of register tiles. */
function packLeft(s: StmtOf<"stage">, e: Emitter): void {
  const [x, k] = s.vs;
  const { name } = s.tile;
  const split = isInTerms(s.tile);
  const [rows, depth] = [item(s.tile.shape, 0), roundUp(item(s.tile.shape, 1), 16)];
  const packing = packingOf(s, e);
  const [nx, nk] = [e.expr(s.valid[0]), packing.steps];
  const reserve = (floats: number): string => reserveCopies(e, floats, packing);
  const bound = `auto v, ix ${x.name}, ix ${k.name}`;
  const steps = isContiguous(s, x, inPlaceDtype(s));
  if (!steps && e.lanesFor(k, withValue(s)).text !== "1") {
    const packed = split ? `${name}_rows` : name;
    const head = `const auto ${packed} = pack_rows<${rows}, ${depth}>(${reserve(rows * depth)}, ${nx}, ${nk}, `;
    e.lambda({ before: head, params: bound }, k, s);
    return split ? splitRows(s, e, packed) : undefined;
  }
  const room = split ? reserveTerms(s.tile, e) : reserve(Math.ceil(rows / 6) * (6 * depth + 16));
  if (steps) {
    const word = split ? `split_steps<${termCount(s.tile)}>` : "pack_micro_panels";
    return emitRowPointers(s, e, x, k, `const auto ${name} = ${word}(${room}, ${nx}, ${nk}, `);
  }
  const lanes = e.lanesFor(x, withValue(s)).text;
  const made = split ? `split_computed<${termCount(s.tile)}, ` : "pack_computed_micro_panels<";
  const head = `const auto ${name} = ${made}${rows}, ${lanes}>(${room}, ${nx}, ${nk}, `;
  e.lambda({ before: head, params: bound }, x, s);
}
/** Writes `head` followed by a lambda of k: the address where the row along x begins. */
export function emitRowPointers(s: StmtOf<"stage">, e: Emitter, x: Var, k: Var, head: string): void {
  const start = pointer(e, s.value as BufferLoad, (y) => substitute(y, x, num(0)));
  if (s.body.length === 0) return e.line(`${head}[&](ix ${k.name}) { return ${start}; });`);
  e.block(`${head}[&](ix ${k.name}) {`, "});", () => {
    e.stmts(s.body);
    e.line(`return ${start};`);
  });
}
/** A transposing copy needs so many contiguous steps of the depth; of numbers narrower than f32 so many words (`pack_transposed`). */
const minTransposedSteps = 16;
/** Rows of a right operand that are at most so many floats apart are read in place; rows further apart would map to the same cache sets. */
const maxCloseStride = 512;
/** Stages a right operand [depth, columns]: read in place where possible, else copied into strips of columns. */
export function stageRight(s: StmtOf<"stage">, e: Emitter): void {
  const right = rightOperandOf(s, e, roundUp(item(s.tile.shape, 0), 16));
  const staged = [
    fromFp4Panels,
    fromTransposedFp4,
    fromPanels,
    fromColumns,
    fromRowsInPlace,
    fromNarrowRows,
    fromRows,
    fromTransposedPanels,
  ].some((f) => f(right));
  if (staged) return;
  const { width, nk, nx, name, room } = right;
  const [k, x] = s.vs;
  const dtype = dtypeOf(s) ?? "f32";
  if (!isContiguous(s, k, dtype, (minTransposedSteps * bytesOf.f32) / bytesOf[dtype])) return packRight(right);
  e.line(
    `${name} = pack_transposed<${width}>(${room()}, ${nx}, ${nk}, [&](ix ${x.name}, ix ${k.name}) { return ${pointer(e, s.value as BufferLoad)}; });`,
  );
}
/** A right operand and the texts that every way of staging it needs. `room` reserves scratch memory for a packed copy. */
interface RightOperand {
  readonly s: StmtOf<"stage">;
  readonly e: Emitter;
  readonly width: number;
  readonly nk: string;
  readonly nx: string;
  readonly name: string;
  readonly room: () => string;
}
/** `floats`: those of scratch memory that a column's depth takes. */
export function rightOperandOf(s: StmtOf<"stage">, e: Emitter, floats: number): RightOperand {
  const width = item(s.tile.shape, 1);
  const [nk, nx] = [e.expr(s.valid[0]), e.expr(s.valid[1])];
  const room = (): string => reserveScratch(e, width * floats);
  return { s, e, width, nk, nx, name: `const auto ${s.tile.name}`, room };
}
/** Each of these stages an operand that lies so in memory, and returns whether it does. */
function fromPanels({ s, e, width, nk, nx, name, room }: RightOperand): boolean {
  const [k, x] = s.vs;
  const next = (): string => nextOperandPointer(s, e) ?? "nullptr";
  const inPlace = panelsOperandOf(s, k, x, inPlaceDtype(s));
  if (inPlace) {
    const { start, step, width: each } = inPlace;
    e.line(`${name} = panels<${each}>(${[pointer(e, start), step, nx, next()].join(", ")});`);
    return true;
  }
  const narrow = s.tile.form === undefined ? panelsOperandOf(s, k, x, dtypeOf(s) ?? "f32") : null;
  if (!narrow) return false;
  const from = [pointer(e, narrow.start), narrow.step, nx, nk, next()];
  e.copiedForManyRows.add(s.tile);
  e.line(`${name} = narrow_panels<${narrow.width}, ${width}>(${[room(), ...from].join(", ")});`);
  return true;
}
/** Stages a right operand of codes of 4 bits, whose products are summed group by group (runtime/device/fp4.hpp). */
export function fromFp4Panels({ s, e, nx, name }: RightOperand): boolean {
  const [k, x] = s.vs;
  const fp4 = isInTerms(s.tile) || shiftedIn(e.kernel).size > 0 ? null : fp4PanelsOf(s, k, x);
  if (!fp4) return false;
  const [codes, scales] = [fp4.start, fp4.scales].map((load) => pointer(e, load));
  e.line(
    `${name} = fp4_panels<${fp4.width}>(${[codes, scales, fp4.step, nx, nextOperandPointer(s, e) ?? "nullptr"].join(", ")});`,
  );
  e.summedByGroups.add(s.tile);
  return true;
}
/** Stages its transpose, to numbers or to words. */
export function fromTransposedFp4({ s, e, width, nk, nx, name, room }: RightOperand): boolean {
  const [k, x] = s.vs;
  const fp4 = fp4PanelsOf(s, x, k);
  if (!fp4 || knownDivisor(s.valid[0]) % fp4.width !== 0) return false;
  const from = [fp4.start, fp4.scales].map((load) => pointer(e, load));
  const isRounded = s.value.e === "op" && s.value.op === "bf16";
  const made = s.tile.form === "words" ? "pack_transposed_fp4_words<" : "pack_transposed_fp4<";
  const sizes = [width, fp4.width, ...(s.tile.form === "words" ? [] : [isRounded])];
  e.line(`${name} = ${made}${sizes.join(", ")}>(${[room(), nx, nk, ...from, fp4.step].join(", ")});`);
  return true;
}
/**
 * With so few rows, those of three register tiles, a right operand is read in place whatever its columns: a copy, or a conversion, takes more
 * time than it spares.
 */
const fewCopiedRows = 18;
function fromColumns({ s, e, nx, name }: RightOperand): boolean {
  const along = depthContiguousOf(s, e, isOfRound(s, e.kernel) ? fewCopiedRows : tileRows);
  if (!along) return false;
  const isFew = item(onlyAccumulator(s.tile, e.kernel)?.shape ?? [], 0) <= tileRows;
  const next = nextOperandPointer(s, e) ?? along.start;
  e.line(`${name} = ${isFew ? "k_major" : "k_major_many"}<${along.step}>(${along.start}, ${nx}, ${next});`);
  return true;
}
function fromRowsInPlace({ s, e, width, name }: RightOperand): boolean {
  const [k, x] = s.vs;
  const direct = s.tile.form ? null : stridedLoadOf(s, dtypeOf(s) ?? "f32");
  const [alongK, alongX] = direct?.strides ?? [null, null];
  const rows = onlyAccumulator(s.tile, e.kernel)?.shape[0] ?? Infinity;
  const whole = s.valid[1].e === "num" && s.valid[1].value === width;
  if (!direct || alongK === null || alongX !== 1 || !whole || rows > fewCopiedRows) return false;
  if (alongK * bytesOf[direct.load.from.dtype] > maxCloseStride * bytesOf.f32) return false;
  const start = pointer(e, direct.load, (y) => substitute(substitute(y, k, num(0)), x, num(0)));
  e.line(`${name} = in_place<${alongK}>(${[start, nextOperandPointer(s, e) ?? "nullptr"].join(", ")});`);
  return true;
}
/** The columns of the narrowest accumulator: one register tile of every instruction set. */
const narrowColumns = 16;
/** With few rows, a right operand of fewer columns than a register tile, such as that of a gate for few experts, is read in place too. */
function fromNarrowRows({ s, e, width, name }: RightOperand): boolean {
  const [k, x] = s.vs;
  const direct = s.tile.form || dtypeOf(s) !== "f32" ? null : stridedLoadOf(s);
  const [alongK, alongX] = direct?.strides ?? [null, null];
  const rows = onlyAccumulator(s.tile, e.kernel)?.shape[0] ?? Infinity;
  const columns = s.valid[1].e === "num" ? s.valid[1].value : Infinity;
  if (!direct || alongK === null || alongX !== 1 || rows > fewCopiedRows || alongK > maxCloseStride) return false;
  if (width !== narrowColumns || columns >= width) return false;
  const start = pointer(e, direct.load, (y) => substitute(substitute(y, k, num(0)), x, num(0)));
  e.line(`${name} = in_place_narrow<${alongK}, ${columns}>(${start});`);
  return true;
}
function fromRows({ s, e, width, nk, nx, name, room }: RightOperand): boolean {
  const [k, x] = s.vs;
  const direct = stridedLoadOf(s);
  const [alongK, alongX] = direct?.strides ?? [null, null];
  const prefetch = (): string =>
    alongK === null ? "{}" : `{${nextOperandPointer(s, e) ?? "nullptr"}, ${alongK}, ${width}, ${nk}}`;
  const whole = s.valid[1].e === "num" && s.valid[1].value === width;
  if (direct && whole && alongX === 1 && alongK !== null && alongK <= maxCloseStride) {
    const start = pointer(e, direct.load, (y) => substitute(substitute(y, k, num(0)), x, num(0)));
    e.line(`${name} = in_place_or_pack<${width}, ${alongK}>(${room()}, ${start}, ${nk}, ${prefetch()});`);
    return true;
  }
  const isClose = direct && whole && alongX === 1 && pitchOf(direct.load) <= maxCloseStride && !isGathered(direct.load);
  // terms are made of rows a constant apart
  if (isClose && !s.tile.form) emitRowPointers(s, e, x, k, `${name} = row_pointers<${width}>(${room()}, ${nk}, `);
  else if (isContiguous(s, x))
    emitRowPointers(s, e, x, k, `${name} = pack_columns<${width}>(${room()}, ${nx}, ${nk}, ${prefetch()}, `);
  else return false;
  return true;
}
function fromTransposedPanels({ s, e, width, nk, nx, name, room }: RightOperand): boolean {
  const [k, x] = s.vs;
  const transposed = panelsOperandOf(s, x, k, dtypeOf(s) ?? "f32");
  if (!transposed) return false;
  const start = pointer(e, transposed.start);
  if (isMadeTransposed(s.tile, e)) {
    e.line(`${name} = transposed_panels<${transposed.width}>(${start}, ${transposed.step}, ${nx});`);
    return true;
  }
  const next = dtypeOf(s) === "f32" ? nextOperandPointer(s, e) : null;
  const args = [room(), nx, nk, start, transposed.step, next ?? "nullptr"];
  e.line(`${name} = pack_transposed_panels<${width}, ${transposed.width}>(${args.join(", ")});`);
  return true;
}
const pitchOf = ({ from: { layout } }: BufferLoad): number => (layout.kind === "rows" ? layout.pitch : Infinity);
/** Whether an operand is gathered: its address depends on loaded indices. */
const isGathered = ({ at }: BufferLoad): boolean => at.flatMap(subexpressions).some((x) => x.e === "load");
/** Packs into scratch memory a right operand that is computed, or whose memory order is of no use. */
function packRight({ s, e, width, nk, nx, name, room }: RightOperand): void {
  const [k, x] = s.vs;
  const before = `${name} = pack<${width}, ${e.lanesFor(x, withValue(s)).text}>(${room()}, ${nx}, ${nk}, `;
  e.lambda({ before, params: `auto v, ix ${x.name}, ix ${k.name}` }, x, s);
}
/** Reserves floats of the thread's scratch memory; returns the text of a pointer. */
export function reserveScratch(e: Emitter, floats: number): string {
  const at = e.scratch;
  e.scratch += roundUp(floats, 16);
  return past("scratch", at);
}
/** Reserves memory for all copies of a packed operand; returns the text of a pointer to the one in use. */
export function reserveCopies(e: Emitter, floats: number, { copies, copy }: Packing): string {
  const each = roundUp(floats, 16);
  const at = reserveScratch(e, copies * each);
  return copies === 1 ? at : `${at} + ${copy} * ${each}`;
}
