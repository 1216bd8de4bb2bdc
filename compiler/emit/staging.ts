// Operands of products on the host: read where they lie unless their order forbids it.
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
import { shiftedIn } from "./shifted.ts";
import type { Emitter } from "./text.ts";

/** [rows, depth]: a pointer for each row, where the depth is contiguous; so a gather of rows costs nothing. */
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
/** Rows as three terms of bf16 each. */
function splitRows(s: StmtOf<"stage">, e: Emitter, rows: string): void {
  const sizes = s.valid.map((n) => e.expr(n));
  const split = goesAcross(s.tile, e) ? "split_across" : "split_rows";
  e.line(`const auto ${s.tile.name} = ${split}<${terms(s.tile)}>(${[termsOf(s.tile, e), ...sizes, rows].join(", ")});`);
}
const terms = ({ form }: Tile): number => (form === "term" ? 1 : 3);
/** What an operand may be read as where it lies: terms are made of bf16, too. */
const dtypeIn = (s: StmtOf<"stage">): "f32" | "bf16" =>
  s.tile.form === "term" && dtypeOf(s) === "bf16" ? "bf16" : "f32";
/** Room for the terms of a left operand: whole tiles of 16 x 32, 2 bytes a term. */
const termsOf = (t: Tile, e: Emitter): string =>
  reserve(e, (ceil(item(t.shape, 0), 16) * ceil(item(t.shape, 1), 32) * terms(t)) / 2);
/**
 * Whether the products that an operand is in are made turned: they multiply terms of rows that lie along the depth with weights in panels that are
 * turned, all of them.
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
/** The statements of a stage with its value, as a body. */
export const valued = (s: StmtOf<"stage">): Stmt[] => [
  ...s.body,
  { s: "let", v: variable("_value", "f32", -Infinity), value: s.value },
];
/** A left operand written to scratch: by its rows if the depth goes by lanes, else in the order of the register tiles. */
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
    const word = split ? `split_steps<${terms(s.tile)}>` : "sixes";
    return rowsOf(s, e, x, k, `const auto ${name} = ${word}(${room}, ${nx}, ${nk}, `);
  }
  const lanes = e.width(x, valued(s));
  const made = split ? `split_made<${terms(s.tile)}, ` : "pack_sixes<";
  const head = `const auto ${name} = ${made}${rows}, ${lanes}>(${room}, ${nx}, ${nk}, `;
  e.lambda(head, bound, ");", x, s.body, s.value);
}
/** `head` with a function of k: where the row begins that x moves along. */
export function rowsOf(s: StmtOf<"stage">, e: Emitter, x: Var, k: Var, head: string): void {
  const start = pointer(e, s.value as Direct, (y) => substitute(y, x, num(0)));
  if (s.body.length === 0) return e.line(`${head}[&](ix ${k.name}) { return ${start}; });`);
  e.block(`${head}[&](ix ${k.name}) {`, "});", () => {
    e.stmts(s.body);
    e.line(`return ${start};`);
  });
}
/** Steps of the depth that lie together where a copy is turned. */
const transposed = 16;
/** Rows of a right operand up to so many floats apart are read where they lie: farther ones would meet in the caches. */
const closeRows = 512;
/** [depth, columns]: copied to strips of columns, unless they can be read where they lie. */
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
    return e.line(`${name} = short_panels<${short.width}, ${width}>(${[room(), ...from].join(", ")});`);
  }
  const direct = plain(s);
  const [alongK, alongX] = direct?.strides ?? [null, null];
  const along = alongDepth(s, e);
  if (along) return e.line(`${name} = along<${along.step}>(${along.start}, ${nx}, ${ahead(s, e) ?? along.start});`);
  const coming = (): string => (alongK === null ? "{}" : `{${ahead(s, e) ?? "nullptr"}, ${alongK}, ${width}, ${nk}}`);
  const whole = s.valid[1].e === "num" && s.valid[1].value === width;
  if (direct && whole && alongX === 1 && alongK !== null && alongK <= closeRows) {
    const start = pointer(e, direct.load, (y) => substitute(substitute(y, k, num(0)), x, num(0)));
    return e.line(`${name} = close<${width}, ${alongK}>(${room()}, ${start}, ${nk}, ${coming()});`);
  }
  if (direct && whole && alongX === 1 && pitchOf(direct.load) <= closeRows && !isChosen(direct.load))
    return rowsOf(s, e, x, k, `${name} = listed<${width}>(${room()}, ${nk}, `);
  if (isContiguous(s, x))
    return rowsOf(s, e, x, k, `${name} = columns<${width}>(${room()}, ${nx}, ${nk}, ${coming()}, `);
  const across = panelsOf(s, x, k, dtypeOf(s) ?? "f32");
  if (across) {
    const start = pointer(e, across.start, (y) => y);
    if (goesAcross(s.tile, e)) return e.line(`${name} = turning<${across.width}>(${start}, ${across.step}, ${nx});`);
    const next = dtypeOf(s) === "f32" ? ahead(s, e) : null;
    const args = [room(), nx, nk, start, across.step, next ?? "nullptr"];
    return e.line(`${name} = turn_panels<${width}, ${across.width}>(${args.join(", ")});`);
  }
  if (!isContiguous(s, k, "f32", transposed) && !isContiguous(s, k, "bf16", transposed)) return packRight(s, e);
  e.line(
    `${name} = pack_transposed<${width}>(${room()}, ${nx}, ${nk}, [&](ix ${x.name}, ix ${k.name}) { return ${pointer(e, s.value as Direct, (y) => y)}; });`,
  );
}
const pitchOf = ({ from: { layout } }: Direct): number => (layout.kind === "rows" ? layout.pitch : Infinity);
/** Whether numbers in memory say where a row begins. */
const isChosen = ({ at }: Direct): boolean => at.flatMap(parts).some((x) => x.e === "load");
/** A computed right operand, or one that lies in no useful order, written to scratch. */
function packRight(s: StmtOf<"stage">, e: Emitter): void {
  const [k, x] = s.vs;
  const [depth, width] = [item(s.tile.shape, 0), item(s.tile.shape, 1)];
  const lanes = e.width(x, valued(s));
  const head = `const auto ${s.tile.name} = pack<${width}, ${lanes}>(${reserve(e, width * ceil(depth, 16))}, ${e.expr(s.valid[1])}, ${e.expr(s.valid[0])}, `;
  e.lambda(head, `auto v, ix ${x.name}, ix ${k.name}`, ");", x, s.body, s.value);
}
/** The text of a pointer to `floats` of the thread's scratch. */
export function reserve(e: Emitter, floats: number): string {
  const at = e.scratch;
  e.scratch += ceil(floats, 16);
  return `scratch + ${at}`;
}
