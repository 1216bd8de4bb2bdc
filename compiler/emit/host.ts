// The host target: one task is a loop iteration; operands are read where they lie unless their order forbids it.
import { Bug } from "../diagnostic.ts";
import {
  add,
  address,
  ceil,
  dependsOn,
  footprint,
  item,
  laneStride,
  multiple,
  num,
  stride,
  substitute,
} from "../kernel/expr.ts";
import type { Axis, Expr, Kernel, Load, Stmt, StmtOf, Tile, Var } from "../kernel/ir.ts";
import { walk, written } from "../kernel/passes.ts";
import { blocksOf, decode } from "./grid.ts";
import type { Emitter, Target } from "./text.ts";

const lanes = [{ count: 16, text: "LANES" }] as const;
export const host: Target = {
  name: "host",
  lanes: { line: lanes, tile: lanes, result: lanes },
  aligned: false,
  types: { f32: "f32", f64: "f64", bf16: "bf16", i32: "i32", bool: "u8" },
  sync: null,
  fresh: true,
  follows: true,
  asks: true,
  reciprocals: true,
  laneScan: "scan",
  once: (text) => text,
  tile(t, e, at) {
    const [rows, cols] = [item(t.shape, 0), t.shape[1]];
    if (at !== undefined) return `auto& ${t.name} = acc_at<${rows}, ${cols ?? 1}>(${at});`;
    if (t.role === "acc") return `${e.strips.has(t) ? "Strip" : "Acc"}<${rows}, ${cols ?? 1}> ${t.name};`;
    if (t.role === "row") return `Row<${rows}> ${t.name};`;
    return `i32* const ${t.name} = (i32*)(${reserve(e, rows)});`;
  },
  frame(k, e) {
    const out = written(k);
    const cast = (p: Kernel["params"][number]): string => `${out.has(p) ? "" : "const "}${host.types[p.dtype]}*`;
    return {
      open: [
        `extern "C" void ${k.name}(void* const* args, ix begin, ix end, f32* scratch) {`,
        ...k.params.map((p, i) => `  ${cast(p)} ${p.name} = (${host.types[p.dtype]}*)args[${i}];`),
        ...k.locals.map((b) => `  f32* ${b.name} = ${reserve(e, footprint(b))};`),
        "  ROLL for (ix task = begin; task < end; task++) {",
        ...(k.grid.length === 0 ? [] : [`    const ix ${decode(k.grid, "task").join(", ")};`]),
      ],
      close: ["  }", ...(streams(k) ? ["  fence();"] : []), "}"],
    };
  },
  loop(s, e) {
    const { v, n, from, to, step } = s.axis;
    e.block(
      `ROLL for (ix ${v.name} = ${e.expr(from)}, ${v.name}_end = ${e.expr(to)}; ${v.name} < ${v.name}_end; ${v.name} += ${step}) {`,
      "}",
      () => {
        if (n.e === "var") e.line(`const ix ${n.name} = ix_min(${step}, ${v.name}_end - ${v.name});`);
        e.stmts(s.body);
      },
    );
  },
  stages(list, e) {
    for (const s of list)
      if (isLeft(e.kernel, s.tile)) stageLeft(s, e);
      else stageRight(s, e);
  },
  each: (_, lanes) => `each<${lanes.text}>`,
  mma: (s, e) => multiply([s], e),
  sum: multiply,
};
function multiply(run: readonly StmtOf<"mma">[], e: Emitter): void {
  const [s, ...others] = run as [StmtOf<"mma">, ...StmtOf<"mma">[]];
  const [started, ...more] = s.acc.map((t) => starts(t, e));
  if (more.some((x) => x !== started)) throw new Bug("accumulators that are multiplied together start together");
  const sums = s.acc.map((acc, n) =>
    others.reduce(
      (sum, t) => `plus(${[sum, leftOf(t), e.expr(t.valid[1]), right(item(t.b, n))].join(", ")})`,
      `on(${right(item(s.b, n))}, ${acc.name})`,
    ),
  );
  const then = run.map((t) => e.after.get(t)).find((text) => text !== undefined) ?? "nothing()";
  e.line(`mma(${[started, leftOf(s), ...s.valid.map((x) => e.expr(x)), then, ...sums].join(", ")});`);
}
const leftOf = ({ a, transposed }: StmtOf<"mma">): string => (transposed ? `transposed(${a.name})` : a.name);
/** Whether some stores go around the caches. */
function streams(k: Kernel): boolean {
  let found = false;
  walk(k.body, (s) => {
    found ||= s.s === "store" && s.stream;
  });
  return found;
}
/** A right operand; an accumulator is one where it lies. */
const right = (t: Tile): string => (t.role === "acc" ? `in_place<${item(t.shape, 1)}>(${t.name}.d[0])` : t.name);
/** Whether an mma starts its accumulator, in which case what that held does not matter. */
function starts(t: Tile, e: Emitter): string {
  const axis = e.fresh.get(t);
  e.fresh.delete(t);
  if (axis === undefined) return "false";
  return axis === null ? "true" : `${axis.v.name} == ${e.expr(axis.from)}`;
}
/**
 * Whether the products that an operand is in are made turned: they multiply terms of rows that lie along the depth with weights in panels that are
 * turned, all of them.
 */
function goesAcross(tile: Tile, { kernel }: Emitter): boolean {
  const stages = new Map<Tile, StmtOf<"stage">>();
  const products: StmtOf<"mma">[] = [];
  walk(kernel.body, (s) => {
    if (s.s === "stage") stages.set(s.tile, s);
    if (s.s === "mma") products.push(s);
  });
  const isTurned = (t: Tile): boolean => {
    const s = stages.get(t);
    return s !== undefined && panelsOf(s, s.vs[0], s.vs[1]) === null && panelsOf(s, s.vs[1], s.vs[0]) !== null;
  };
  const isRows = (t: Tile): boolean => {
    const s = stages.get(t);
    return t.split === true && s !== undefined && plain(s)?.strides[1] === 1;
  };
  return (
    products.some((s) => s.a === tile || s.b.includes(tile)) &&
    products.every((s) => isRows(s.a) && s.b.every(isTurned))
  );
}
function isLeft(k: Kernel, t: Tile): boolean {
  let left = false;
  walk(k.body, (s) => {
    left ||= s.s === "mma" && s.a === t;
  });
  return left;
}
/** The text of a pointer to `floats` of the thread's scratch. */
function reserve(e: Emitter, floats: number): string {
  const at = e.scratch;
  e.scratch += ceil(floats, 16);
  return `scratch + ${at}`;
}
/** The load that a staged operand is, if it is one that can be read in place: f32, with one stride along each axis that is asked for. */
function plain(
  s: StmtOf<"stage">,
): { readonly load: Load; readonly strides: readonly [number | null, number | null] } | null {
  const { value } = s;
  if (
    value.e !== "load" ||
    value.from.kind !== "buffer" ||
    value.from.dtype !== "f32" ||
    s.body.some((b) => b.s !== "let" || s.vs.some((v) => dependsOn(b.value, v)))
  )
    return null;
  const at = address(value.from, value.at);
  return { load: value, strides: [stride(at, s.vs[0]), stride(at, s.vs[1])] };
}
function pointer(e: Emitter, x: Load, replace: (y: Expr) => Expr): string {
  return x.from.kind === "buffer" ? e.pointer(x.from, x.at.map(replace)) : x.from.name;
}
/** [rows, depth]: a pointer for each row, where the depth is contiguous; so a gather of rows costs nothing. */
function stageLeft(s: StmtOf<"stage">, e: Emitter): void {
  const [x, k] = s.vs;
  const direct = plain(s);
  const [alongX, alongK] = direct?.strides ?? [null, null];
  const { name, split } = s.tile;
  if (!direct || alongK === null || (split ? alongK !== 1 : alongX === 1 && alongK !== 1)) return packLeft(s, e);
  const rows = split ? `${name}_rows` : name;
  e.line(`Rows<${item(s.tile.shape, 0)}, ${alongK}> ${rows};`);
  e.line(
    `${rows}.bind(${e.expr(s.valid[0])}, ${firstReads(direct.load, e)}, [&](ix ${x.name}) { return ${pointer(e, direct.load, (y) => substitute(y, k, num(0)))}; });`,
  );
  if (split) splitRows(s, e, rows);
}
/** Rows as three terms of bf16 each. */
function splitRows(s: StmtOf<"stage">, e: Emitter, rows: string): void {
  const sizes = s.valid.map((n) => e.expr(n));
  const split = goesAcross(s.tile, e) ? "split_across" : "split_rows";
  e.line(`const auto ${s.tile.name} = ${split}(${[termsOf(s.tile, e), ...sizes, rows].join(", ")});`);
}
/** Room for the terms of a left operand: whole tiles of 16 x 32, 6 bytes a number. */
const termsOf = ({ shape }: Tile, e: Emitter): string =>
  reserve(e, (ceil(item(shape, 0), 16) * ceil(item(shape, 1), 32) * 3) / 2);
/** Whether a task is the first of those that read the same: they differ in the columns, which come last. */
function firstReads(x: Load, e: Emitter): string {
  const last = e.kernel.grid.at(-1)?.v;
  return !last || x.at.some((y) => dependsOn(y, last)) ? "false" : `${last.name} == 0`;
}
/** The statements of a stage with its value, as a body. */
const valued = (s: StmtOf<"stage">): Stmt[] => [
  ...s.body,
  { s: "let", v: { e: "var", name: "_value", type: "f32", lo: -Infinity, hi: Infinity, mult: 1 }, value: s.value },
];
/** A left operand written to scratch: by its rows if the depth goes by lanes, else in the order of the register tiles. */
function packLeft(s: StmtOf<"stage">, e: Emitter): void {
  const [x, k] = s.vs;
  const { name, split } = s.tile;
  const [rows, depth] = [item(s.tile.shape, 0), ceil(item(s.tile.shape, 1), 16)];
  const [nx, nk] = [e.expr(s.valid[0]), e.expr(s.valid[1])];
  const bound = `auto v, ix ${x.name}, ix ${k.name}`;
  if (!isContiguous(s, x) && e.width(k, valued(s)) !== 1) {
    const packed = split ? `${name}_rows` : name;
    const head = `const auto ${packed} = pack_rows<${rows}, ${depth}>(${reserve(e, rows * depth)}, ${nx}, ${nk}, `;
    e.lambda(head, bound, ");", k, s.body, s.value);
    return split ? splitRows(s, e, packed) : undefined;
  }
  const room = split ? termsOf(s.tile, e) : reserve(e, Math.ceil(rows / 6) * (6 * depth + 16));
  const [whole, made] = split ? ["split_steps", "split_made"] : ["sixes", "pack_sixes"];
  if (isContiguous(s, x)) return rowsOf(s, e, x, k, `const auto ${name} = ${whole}(${room}, ${nx}, ${nk}, `);
  const lanes = e.width(x, valued(s));
  const head = `const auto ${name} = ${made}<${rows}, ${lanes}>(${room}, ${nx}, ${nk}, `;
  e.lambda(head, bound, ");", x, s.body, s.value);
}
/** `head` with a function of k: where the row begins that x moves along. */
function rowsOf(s: StmtOf<"stage">, e: Emitter, x: Var, k: Var, head: string): void {
  const start = pointer(e, s.value as Load, (y) => substitute(y, x, num(0)));
  if (s.body.length === 0) return e.line(`${head}[&](ix ${k.name}) { return ${start}; });`);
  e.block(`${head}[&](ix ${k.name}) {`, "});", () => {
    e.stmts(s.body);
    e.line(`return ${start};`);
  });
}
/** Whether a staged operand is a load that moves by one with `v`, from anywhere; or does so inside aligned groups. */
function isContiguous(s: StmtOf<"stage">, v: StmtOf<"stage">["vs"][0], group?: number): boolean {
  const { value, body } = s;
  const moving = new Set<Expr>([v]);
  for (const b of body) if (b.s !== "let" || [...moving].some((x) => dependsOn(b.value, x as Var))) return false;
  if (value.e !== "load" || value.from.kind !== "buffer" || value.from.dtype !== "f32") return false;
  const at = address(value.from, value.at);
  return (group === undefined ? stride(at, v) : laneStride(at, v, group)) === 1;
}
/** Rows of a right operand up to so many floats apart are read where they lie: farther ones would meet in the caches. */
const closeRows = 512;
/** [depth, columns]: copied to strips of columns, unless they can be read where they lie. */
function stageRight(s: StmtOf<"stage">, e: Emitter): void {
  const [k, x] = s.vs;
  const [depth, width] = [item(s.tile.shape, 0), item(s.tile.shape, 1)];
  const [nk, nx] = [e.expr(s.valid[0]), e.expr(s.valid[1])];
  const name = `const auto ${s.tile.name}`;
  const inPlace = panelsOf(s, k, x);
  if (inPlace) {
    const { start, step, width: each } = inPlace;
    const next = ahead(s, e) ?? "nullptr";
    return e.line(`${name} = panels<${each}>(${[pointer(e, start, (y) => y), step, nx, next].join(", ")});`);
  }
  const direct = plain(s);
  const [alongK, alongX] = direct?.strides ?? [null, null];
  const along = alongDepth(s, e);
  if (along) return e.line(`${name} = along<${along.step}>(${along.start}, ${nx}, ${ahead(s, e) ?? along.start});`);
  const room = (): string => reserve(e, width * ceil(depth, 16));
  const coming = (): string => (alongK === null ? "{}" : `{${ahead(s, e) ?? "nullptr"}, ${alongK}, ${width}, ${nk}}`);
  if (direct && alongX === 1 && alongK !== null) {
    const start = pointer(e, direct.load, (y) => substitute(substitute(y, k, num(0)), x, num(0)));
    const whole = s.valid[1].e === "num" && s.valid[1].value === width;
    if (whole && alongK <= closeRows)
      return e.line(`${name} = close<${width}, ${alongK}>(${room()}, ${start}, ${nk}, ${coming()});`);
  }
  if (isContiguous(s, x))
    return rowsOf(s, e, x, k, `${name} = columns<${width}>(${room()}, ${nx}, ${nk}, ${coming()}, `);
  const across = panelsOf(s, x, k);
  if (across) {
    const start = pointer(e, across.start, (y) => y);
    if (goesAcross(s.tile, e)) return e.line(`${name} = turning<${across.width}>(${start}, ${across.step}, ${nx});`);
    const from = [start, across.step, ahead(s, e) ?? "nullptr"];
    return e.line(`${name} = turn_panels<${width}, ${across.width}>(${[room(), nx, nk, ...from].join(", ")});`);
  }
  if (!isContiguous(s, k, item(lanes, 0).count)) return packRight(s, e);
  e.line(
    `${name} = pack_transposed<${width}>(${room()}, ${nx}, ${nk}, [&](ix ${x.name}, ix ${k.name}) { return ${pointer(e, s.value as Load, (y) => y)}; });`,
  );
}
/** Rows of one register tile: so few turn an operand that lies along its depth in registers, more read a turned copy. */
const fewRows = 6;
/** Where such an operand begins, if few rows and nothing else are multiplied by it, and how far apart its columns are. */
function alongDepth(s: StmtOf<"stage">, e: Emitter): { readonly start: string; readonly step: number } | null {
  const [k, x] = s.vs;
  const { value } = s;
  if (value.e !== "load" || value.from.kind !== "buffer" || s.body.length > 0) return null;
  if (value.from.dtype !== "f32" && value.from.dtype !== "bf16") return null;
  const acc = onlySum(s.tile, e.kernel);
  if (!acc || item(acc.shape, 0) > fewRows) return null;
  const at = address(value.from, value.at);
  const step = stride(at, x);
  if (stride(at, k) !== 1 || step === null) return null;
  return { start: pointer(e, value, (y) => start(s, y)), step };
}
/** The accumulator of a right operand's only product, if it sums no other. */
function onlySum(tile: Tile, k: Kernel): Tile | null {
  const products: StmtOf<"mma">[] = [];
  walk(k.body, (t) => {
    if (t.s === "mma") products.push(t);
  });
  const [acc, ...more] = products.find(({ b }) => b.includes(tile))?.acc ?? [];
  if (!acc || more.length > 0) return null;
  return products.filter((t) => t.b.includes(tile) || t.acc.includes(acc)).length === 1 ? acc : null;
}
interface InPanels {
  readonly start: Load;
  /** Floats from a panel to the next. */
  readonly step: number;
  readonly width: number;
}
/** An operand that is whole panels of a weight, r and c moving along its rows and columns. */
function panelsOf(s: StmtOf<"stage">, r: Var, c: Var): InPanels | null {
  const { value } = s;
  if (value.e !== "load" || value.from.kind !== "buffer" || value.from.dtype !== "f32" || s.body.length > 0)
    return null;
  const { layout, shape } = value.from;
  if (layout.kind !== "panels") return null;
  const start = s.vs.reduce<Expr>((y, v) => substitute(y, v, num(0)), value) as Load;
  const [row, column] = value.at.slice(-2);
  if (!row || !column || stride(row, r) !== 1 || stride(column, c) !== 1) return null;
  if (dependsOn(row, c) || dependsOn(column, r) || value.at.slice(0, -2).some((y) => s.vs.some((v) => dependsOn(y, v))))
    return null;
  const whole = multiple(item(start.at, start.at.length - 1)) % layout.width === 0;
  return whole ? { start, step: item(shape, shape.length - 2) * layout.width, width: layout.width } : null;
}
/**
 * Where the right operand that is staged after this one is done with begins: in the next round of its loop, of the next pair, or in the next task, which
 * differs in the last axis that has several.
 */
function ahead(s: StmtOf<"stage">, e: Emitter): string | null {
  const task = e.kernel.grid.findLast((a) => blocksOf(a) !== 1) ?? e.kernel.grid.at(-1);
  if (!task || s.body.length > 0) return null;
  const { first, next } = othersOf(s, e.kernel);
  const after = next ? beginning(next, e, (x) => x) : beginning(first, e, (x) => later(x, task));
  const loop = loopOf(e.kernel.body, s);
  if (!loop || !after) return after;
  const round = pointer(e, s.value as Load, (x) => later(start(s, x), loop));
  return `${loop.v.name} + ${loop.step} < ${loop.v.name}_end ? ${round} : ${after}`;
}
const start = (s: StmtOf<"stage">, x: Expr): Expr => s.vs.reduce((y, v) => substitute(y, v, num(0)), x);
/** The first element of an operand's first round; null where it is computed. */
function beginning(s: StmtOf<"stage">, e: Emitter, replace: (x: Expr) => Expr): string | null {
  if (s.body.length > 0 || s.value.e !== "load") return null;
  const loop = loopOf(e.kernel.body, s);
  return pointer(e, s.value, (x) => {
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
  const order: Stmt[] = [];
  walk(k.body, (t) => order.push(t));
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
  let found: Axis | null = null;
  walk(body, (t) => {
    if (t.s === "for" && t.body.includes(s)) found = t.axis;
  });
  return found;
}
/** A computed right operand, or one that lies in no useful order, written to scratch. */
function packRight(s: StmtOf<"stage">, e: Emitter): void {
  const [k, x] = s.vs;
  const [depth, width] = [item(s.tile.shape, 0), item(s.tile.shape, 1)];
  const lanes = e.width(x, valued(s));
  const head = `const auto ${s.tile.name} = pack<${width}, ${lanes}>(${reserve(e, width * ceil(depth, 16))}, ${e.expr(s.valid[1])}, ${e.expr(s.valid[0])}, `;
  e.lambda(head, `auto v, ix ${x.name}, ix ${k.name}`, ");", x, s.body, s.value);
}
