// The shape of a kernel's thread block on CUDA (threads, warps over an accumulator), and the element types of its operands.
import { item } from "../../item.ts";
import { range } from "../../kernel/expr.ts";
import type { Expr, Kernel, Stmt, StmtOf, Tile } from "../../kernel/ir.ts";
import { statements as all } from "../../kernel/passes.ts";
import { warpRowBytes } from "../../kernel/schedule-cuda.ts";
import { memoize } from "../../memoize.ts";
import type { DType } from "../../types/dtype.ts";
import { raggedAxisIndex } from "../grid.ts";
import { fp4StagesOf } from "./fp4-tile.ts";
import { lanesPerRow } from "./shared-rows.ts";

interface BlockShape {
  readonly threads: number;
  readonly warps: readonly [rows: number, cols: number];
  /** How many warps share the columns of an accumulator of which no row is needed whole, while each computes all of those of which some is; else 1. */
  readonly across: number;
  /** How many blocks must fit on a multiprocessor, which limits registers per thread. */
  readonly blocks: number;
  /** Tasks take different times: each gets its own block, scheduled by the GPU, instead of a persistent grid. */
  readonly isTaskPerBlock: boolean;
}
/** The threads of a block and how its warps divide an accumulator. */
export const blockOf = memoize((k: Kernel): BlockShape => {
  const tiles = statements(k, "tile")
    .map((s) => s.tile)
    .filter((t) => t.role === "acc" && item(t.shape, 0) > 1);
  const [first] = tiles;
  if (!first) return lineBlock(k);
  const rows = item(first.shape, 0);
  const whole = needsWholeRows(k);
  const areWhole = (n: number): boolean => tiles.every((t) => item(t.shape, 1) % n === 0);
  // more warps share the widening of codes, which few rows spend most of their time on
  const isWidened = operandsOf(k).codes.size > 0 || statements(k, "stage").some((s) => fp4StagesOf(s) !== null);
  const widens = rows === 16 && isWidened && areWhole(64);
  const cols = whole || !areWhole(32) ? 1 : widens ? 4 : 2;
  const down = Math.min(rows / 16, 4 / cols);
  const across = whole && down === 1 && hasWideRows(k) ? 4 : 1;
  return {
    threads: 32 * down * cols * across,
    warps: [down, cols],
    across,
    blocks: whole ? 3 : 2,
    isTaskPerBlock: whole && raggedAxisIndex(k) < 0,
  };
});
/** The rows and columns of warps that share an accumulator. */
export function warpsOf(k: Kernel, acc: Tile): readonly [rows: number, cols: number] {
  const { warps, across } = blockOf(k);
  return across > 1 && !isWholeIn(k, acc) ? [warps[0], across] : warps;
}
const isWholeIn = (k: Kernel, acc: Tile): boolean =>
  statements(k, "foldrows").some((s) => s.over === acc) || statements(k, "mma").some((s) => s.a === acc);
/** Whether rows of an operand are longer than one warp copies. */
const hasWideRows = (k: Kernel): boolean =>
  statements(k, "stage").some(
    ({ tile }) =>
      tile.role === "operand" &&
      Math.max(...tile.shape) * (operandsOf(k).elements.get(tile) === "bf16" ? 2 : 4) > warpRowBytes,
  );
/** Whether a warp must hold whole rows: rows are reduced, or an accumulator is used as an operand. */
const needsWholeRows = (k: Kernel): boolean =>
  statements(k, "foldrows").length > 0 || statements(k, "mma").some((s) => s.a.role === "acc");

/**
 * The block of a kernel without accumulator tiles: a thread for each group of four of the longest line, in one to eight warps. Ranks and prefix sums
 * take an element per thread.
 */
function lineBlock(k: Kernel): BlockShape {
  const lengths = [
    ...statements(k, "par").map((s) => (lineLength(s.extent) * (lanesPerRow(s) ?? 1)) / 4),
    ...statements(k, "fold").map((s) => lineLength(s.extent) / 4),
    ...[...statements(k, "tally"), ...statements(k, "scan")].map((s) => lineLength(s.extent)),
    ...statements(k, "tile").map((s) => (s.tile.role === "acc" ? item(s.tile.shape, 1) / 4 : 0)),
  ];
  const warps = Math.min(8, Math.max(1, 2 ** Math.ceil(Math.log2(Math.max(...lengths, 1) / 32))));
  return { threads: 32 * warps, warps: [warps, 1], across: 1, blocks: 16 / warps, isTaskPerBlock: false };
}
const lineLength = (x: Expr): number => Math.min(4096, range(x)[1]);
const statements = <S extends Stmt["s"]>(k: Kernel, kind: S): StmtOf<S>[] =>
  all(k.body).filter((s): s is StmtOf<S> => s.s === kind);

export type ElementType = "f32" | "bf16" | "i32";
interface Operands {
  readonly elements: ReadonlyMap<Tile, ElementType>;
  /** Operands that are codes of 8 bits in global memory. */
  readonly codes: ReadonlySet<Tile>;
  /** f32 right operands of a bf16 left one, and f32 left operands of codes: tensor cores multiply them as three bf16 terms. */
  readonly inTerms: ReadonlySet<Tile>;
}
/** The element type of each operand in shared memory: bf16 where that is exact for all right operands of a product, or for the left one; else f32. */
export const operandsOf = memoize((k: Kernel): Operands => {
  const staged = statements(k, "stage");
  const elements = new Map<Tile, ElementType>(
    staged.map((s) => [s.tile, s.tile.type === "i32" ? "i32" : isBf16(s.value) ? "bf16" : "f32"]),
  );
  const codes = new Set(staged.filter((s) => isLoadOf(s.value, "i8")).map((s) => s.tile));
  const products = statements(k, "mma").map(({ a, b }) => ({ a: a.role === "operand" ? a : null, b }));
  const widened = (tiles: readonly Tile[]): boolean => {
    const bf16 = tiles.filter((t) => elements.get(t) === "bf16");
    const mixed = bf16.length > 0 && bf16.length < tiles.length;
    if (mixed) for (const t of bf16) elements.set(t, "f32");
    return mixed;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const { a, b } of products) {
      const isRightBf16 = b.every((t) => elements.get(t) === "bf16");
      const areCodes = b.every((t) => codes.has(t));
      changed = widened(b) || (a !== null && isRightBf16 && !areCodes && widened([a, ...b])) || changed;
    }
  }
  const isShort = (t: Tile): boolean => elements.get(t) === "bf16";
  const inTerms = products.flatMap(({ a, b }) => {
    const factors = a ? [a, ...b] : [];
    return factors.some(isShort) ? factors.filter((t) => elements.get(t) === "f32") : [];
  });
  return { elements, codes, inTerms: new Set(inTerms) };
});
const isLoadOf = (x: Expr, dtype: DType): boolean =>
  x.e === "load" && x.from.kind === "buffer" && x.from.dtype === dtype;
const isBf16 = (x: Expr): boolean => isLoadOf(x, "bf16") || isLoadOf(x, "i8") || (x.e === "op" && x.op === "bf16");
