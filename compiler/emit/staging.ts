// Operands of products on the host: read in place unless their order in memory forbids it, else packed into scratch memory.
import { ceil, item, num, parts, substitute, variable } from "../kernel/expr.ts";
import type { Stmt, StmtOf, Tile, Var } from "../kernel/ir.ts";
import { isSplit, statements } from "../kernel/passes.ts";
import {
  ahead,
  alongDepth,
  type Direct,
  dtypeOf,
  firstReads,
  isContiguous,
  panelsOf,
  plain,
  pointer,
  rowsIn,
} from "./lies.ts";
import { past } from "./literal.ts";
import { shiftedIn } from "./shifted.ts";
import type { Emitter } from "./text.ts";

/**
 * Stages a left operand [rows, depth]: in place if its depth has a constant stride, by a pointer to each row, so that a gather of rows costs nothing.
 */
export function stageLeft(s: StmtOf<"stage">, e: Emitter): void {
  const [x, k] = s.vs;
  if (shiftedIn(e.kernel).has(s.tile)) return;
  const direct = rowsIn(s, dtypeIn(s));
  const alongK = direct?.strides[1];
  const { name } = s.tile;
  const split = isSplit(s.tile);
  if (!direct || (split && alongK !== 1)) return packLeft(s, e);
  const rows = split ? `${name}_rows` : name;
  const kind = [item(s.tile.shape, 0), alongK, ...(dtypeIn(s) === "f32" ? [] : ["bf16"])];
  e.line(`Rows<${kind.join(", ")}> ${rows};`);
  e.line(
    `${rows}.bind(${e.expr(s.valid[0])}, ${firstReads(direct.load, e)}, [&](ix ${x.name}) { return ${pointer(e, direct.load, (y) => substitute(y, k, num(0)))}; });`,
  );
  if (split) splitRows(s, e, rows);
}
/** Writes the splitting of rows into terms of bf16 (AMX). */
function splitRows(s: StmtOf<"stage">, e: Emitter, rows: string): void {
  const sizes = s.valid.map((n) => e.expr(n));
  const split = goesAcross(s.tile, e) ? "split_transposed" : "split_rows";
  e.line(`const auto ${s.tile.name} = ${split}<${terms(s.tile)}>(${[termsOf(s.tile, e), ...sizes, rows].join(", ")});`);
}
const terms = ({ form }: Tile): number => (form === "term" ? 1 : 3);
/** The dtype in which an operand may be read in place: f32, or bf16 if it is a single bf16 term. */
const dtypeIn = (s: StmtOf<"stage">): "f32" | "bf16" =>
  s.tile.form === "term" && dtypeOf(s) === "bf16" ? "bf16" : "f32";
/** Scratch memory for the terms of a left operand: whole tiles of 16 x 32, two bytes per term. */
const termsOf = (t: Tile, e: Emitter): string =>
  reserve(e, (ceil(item(t.shape, 0), 16) * ceil(item(t.shape, 1), 32) * terms(t)) / 2);
/**
 * Whether the products of an operand are computed transposed (AMX, `SplitTransposed`): all of the kernel's left operands are rows that are contiguous along
 * the depth, and all right ones weights in panels that are used transposed.
 */
function goesAcross(tile: Tile, { kernel }: Emitter): boolean {
  const all = statements(kernel.body);
  const stages = new Map(all.flatMap((s) => (s.s === "stage" ? [[s.tile, s]] : [])));
  const products = all.filter((s) => s.s === "mma");
  const isTurned = (t: Tile): boolean => {
    const s = stages.get(t);
    if (!s) return false;
    const [k, x] = s.vs;
    return panelsOf(s, k, x, dtypeIn(s)) === null && panelsOf(s, x, k, dtypeIn(s)) !== null;
  };
  const isRows = (t: Tile): boolean => {
    const s = stages.get(t);
    return isSplit(t) && s !== undefined && plain(s, dtypeIn(s))?.strides[1] === 1;
  };
  return (
    products.some((s) => s.a === tile || s.b.includes(tile)) &&
    products.every((s) => isRows(s.a) && s.b.every(isTurned))
  );
}
/** A stage as a list of statements, with a `let` for its value. */
export const valued = (s: StmtOf<"stage">): Stmt[] => [
  ...s.body,
  { s: "let", v: variable("_value", "f32", -Infinity), value: s.value },
];
/** Packs a left operand into scratch memory: by rows if lanes run along the depth, else in the order of register tiles. */
function packLeft(s: StmtOf<"stage">, e: Emitter): void {
  const [x, k] = s.vs;
  const { name } = s.tile;
  const split = isSplit(s.tile);
  const [rows, depth] = [item(s.tile.shape, 0), ceil(item(s.tile.shape, 1), 16)];
  const [nx, nk] = [e.expr(s.valid[0]), e.expr(s.valid[1])];
  const bound = `auto v, ix ${x.name}, ix ${k.name}`;
  const steps = isContiguous(s, x, dtypeIn(s));
  if (!steps && e.width(k, valued(s)) !== 1) {
    const packed = split ? `${name}_rows` : name;
    const head = `const auto ${packed} = pack_rows<${rows}, ${depth}>(${reserve(e, rows * depth)}, ${nx}, ${nk}, `;
    e.lambda(head, bound, ");", k, s.body, s.value);
    return split ? splitRows(s, e, packed) : undefined;
  }
  const room = split ? termsOf(s.tile, e) : reserve(e, Math.ceil(rows / 6) * (6 * depth + 16));
  if (steps) {
    const word = split ? `split_steps<${terms(s.tile)}>` : "pack_micro_panels";
    return rowsOf(s, e, x, k, `const auto ${name} = ${word}(${room}, ${nx}, ${nk}, `);
  }
  const lanes = e.width(x, valued(s));
  const made = split ? `split_computed<${terms(s.tile)}, ` : "pack_computed_micro_panels<";
  const head = `const auto ${name} = ${made}${rows}, ${lanes}>(${room}, ${nx}, ${nk}, `;
  e.lambda(head, bound, ");", x, s.body, s.value);
}
/** Writes `head` followed by a lambda of k: the address where the row along x begins. */
export function rowsOf(s: StmtOf<"stage">, e: Emitter, x: Var, k: Var, head: string): void {
  const start = pointer(e, s.value as Direct, (y) => substitute(y, x, num(0)));
  if (s.body.length === 0) return e.line(`${head}[&](ix ${k.name}) { return ${start}; });`);
  e.block(`${head}[&](ix ${k.name}) {`, "});", () => {
    e.stmts(s.body);
    e.line(`return ${start};`);
  });
}
/** A transposing copy needs so many contiguous steps of the depth. */
const transposed = 16;
/** Rows of a right operand that are at most so many floats apart are read in place; rows further apart would map to the same cache sets. */
const closeRows = 512;
/** Stages a right operand [depth, columns]: read in place where possible, else copied into strips of columns. */
export function stageRight(s: StmtOf<"stage">, e: Emitter): void {
  const [k, x] = s.vs;
  const [depth, width] = [item(s.tile.shape, 0), item(s.tile.shape, 1)];
  const [nk, nx] = [e.expr(s.valid[0]), e.expr(s.valid[1])];
  const name = `const auto ${s.tile.name}`;
  const room = (): string => reserve(e, width * ceil(depth, 16));
  const inPlace = panelsOf(s, k, x, dtypeIn(s));
  if (inPlace) {
    const { start, step, width: each } = inPlace;
    const next = ahead(s, e) ?? "nullptr";
    return e.line(`${name} = panels<${each}>(${[pointer(e, start, (y) => y), step, nx, next].join(", ")});`);
  }
  const short = s.tile.form === undefined ? panelsOf(s, k, x, "bf16") : null;
  if (short) {
    const from = [pointer(e, short.start, (y) => y), short.step, nx, nk, ahead(s, e) ?? "nullptr"];
    e.short.add(s.tile);
    return e.line(`${name} = bf16_panels<${short.width}, ${width}>(${[room(), ...from].join(", ")});`);
  }
  const direct = plain(s);
  const [alongK, alongX] = direct?.strides ?? [null, null];
  const along = alongDepth(s, e);
  if (along) return e.line(`${name} = k_major<${along.step}>(${along.start}, ${nx}, ${ahead(s, e) ?? along.start});`);
  const coming = (): string => (alongK === null ? "{}" : `{${ahead(s, e) ?? "nullptr"}, ${alongK}, ${width}, ${nk}}`);
  const whole = s.valid[1].e === "num" && s.valid[1].value === width;
  if (direct && whole && alongX === 1 && alongK !== null && alongK <= closeRows) {
    const start = pointer(e, direct.load, (y) => substitute(substitute(y, k, num(0)), x, num(0)));
    return e.line(`${name} = in_place_or_pack<${width}, ${alongK}>(${room()}, ${start}, ${nk}, ${coming()});`);
  }
  if (direct && whole && alongX === 1 && pitchOf(direct.load) <= closeRows && !isChosen(direct.load))
    return rowsOf(s, e, x, k, `${name} = row_pointers<${width}>(${room()}, ${nk}, `);
  if (isContiguous(s, x))
    return rowsOf(s, e, x, k, `${name} = pack_columns<${width}>(${room()}, ${nx}, ${nk}, ${coming()}, `);
  const across = panelsOf(s, x, k, dtypeOf(s) ?? "f32");
  if (across) {
    const start = pointer(e, across.start, (y) => y);
    if (goesAcross(s.tile, e))
      return e.line(`${name} = transposed_panels<${across.width}>(${start}, ${across.step}, ${nx});`);
    const next = dtypeOf(s) === "f32" ? ahead(s, e) : null;
    const args = [room(), nx, nk, start, across.step, next ?? "nullptr"];
    return e.line(`${name} = pack_transposed_panels<${width}, ${across.width}>(${args.join(", ")});`);
  }
  if (!isContiguous(s, k, "f32", transposed) && !isContiguous(s, k, "bf16", transposed)) return packRight(s, e);
  e.line(
    `${name} = pack_transposed<${width}>(${room()}, ${nx}, ${nk}, [&](ix ${x.name}, ix ${k.name}) { return ${pointer(e, s.value as Direct, (y) => y)}; });`,
  );
}
const pitchOf = ({ from: { layout } }: Direct): number => (layout.kind === "rows" ? layout.pitch : Infinity);
/** Whether an operand is gathered: its address depends on loaded indices. */
const isChosen = ({ at }: Direct): boolean => at.flatMap(parts).some((x) => x.e === "load");
/** Packs into scratch memory a right operand that is computed, or whose memory order is of no use. */
function packRight(s: StmtOf<"stage">, e: Emitter): void {
  const [k, x] = s.vs;
  const [depth, width] = [item(s.tile.shape, 0), item(s.tile.shape, 1)];
  const lanes = e.width(x, valued(s));
  const head = `const auto ${s.tile.name} = pack<${width}, ${lanes}>(${reserve(e, width * ceil(depth, 16))}, ${e.expr(s.valid[1])}, ${e.expr(s.valid[0])}, `;
  e.lambda(head, `auto v, ix ${x.name}, ix ${k.name}`, ");", x, s.body, s.value);
}
/** Reserves floats of the thread's scratch memory; returns the text of a pointer. */
export function reserve(e: Emitter, floats: number): string {
  const at = e.scratch;
  e.scratch += ceil(floats, 16);
  return past("scratch", at);
}
