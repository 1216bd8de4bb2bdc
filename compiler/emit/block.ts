// How a kernel's block is made on CUDA: threads, the warps that tile an accumulator, and what its operands are made of.
import { item, range } from "../kernel/expr.ts";
import type { Expr, Kernel, Stmt, StmtOf, Tile } from "../kernel/ir.ts";
import { statements as all } from "../kernel/passes.ts";
import { once } from "../once.ts";
import { raggedOf } from "./grid.ts";

interface BlockShape {
  readonly threads: number;
  readonly warps: readonly [rows: number, cols: number];
  /** Blocks that must fit on one multiprocessor: more would leave a thread too few registers. */
  readonly blocks: number;
  /** Tasks are of different lengths: each has a block, which the GPU deals. */
  readonly each: boolean;
}
/** The threads of a block, and how warps share an accumulator. */
export const blockOf = once((k: Kernel): BlockShape => {
  const tiles = statements(k, "tile")
    .map((s) => s.tile)
    .filter((t) => t.role === "acc" && item(t.shape, 0) > 1);
  const [first] = tiles;
  if (!first) return line(k);
  const rows = item(first.shape, 0);
  const whole = wantsRows(k);
  const cols = whole || tiles.some((t) => item(t.shape, 1) % 32 !== 0) ? 1 : 2;
  const down = Math.min(rows / 16, 4 / cols);
  return { threads: 32 * down * cols, warps: [down, cols], blocks: whole ? 3 : 2, each: whole && raggedOf(k) < 0 };
});
/** Whether a warp must hold whole rows: they are folded, or the accumulator is an operand. */
const wantsRows = (k: Kernel): boolean =>
  statements(k, "foldrows").length > 0 || statements(k, "mma").some((s) => s.a.role === "acc");

/** As many threads as the longest line has groups of four, from a warp to eight; one that is ranked or summed has no groups. */
function line(k: Kernel): BlockShape {
  const lengths = [
    ...[...statements(k, "par"), ...statements(k, "fold")].map((s) => most(s.extent) / 4),
    ...[...statements(k, "tally"), ...statements(k, "scan")].map((s) => most(s.extent)),
    ...statements(k, "tile").map((s) => (s.tile.role === "acc" ? item(s.tile.shape, 1) / 4 : 0)),
  ];
  const warps = Math.min(8, Math.max(1, 2 ** Math.ceil(Math.log2(Math.max(...lengths, 1) / 32))));
  return { threads: 32 * warps, warps: [warps, 1], blocks: 16 / warps, each: false };
}
const most = (x: Expr): number => Math.min(4096, range(x)[1]);
const statements = <S extends Stmt["s"]>(k: Kernel, kind: S): StmtOf<S>[] =>
  all(k.body).filter((s): s is StmtOf<S> => s.s === kind);

export type Element = "f32" | "bf16" | "i32";
interface Operands {
  readonly elements: ReadonlyMap<Tile, Element>;
  /** Of f32, where the left operand is of bf16: tensor cores multiply them as three parts of bf16. */
  readonly parted: ReadonlySet<Tile>;
}
/** What each operand is made of: bf16 where nothing is lost by it in any right operand, or in the left one; else f32. */
export const operandsOf = once((k: Kernel): Operands => {
  const elements = new Map<Tile, Element>(
    statements(k, "stage").map((s) => [s.tile, s.tile.type === "i32" ? "i32" : isShort(s.value) ? "bf16" : "f32"]),
  );
  const products = statements(k, "mma").map(({ a, b }) => ({ a: a.role === "operand" ? a : null, b }));
  const widened = (tiles: readonly Tile[]): boolean => {
    const short = tiles.filter((t) => elements.get(t) === "bf16");
    const mixed = short.length > 0 && short.length < tiles.length;
    if (mixed) for (const t of short) elements.set(t, "f32");
    return mixed;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const { a, b } of products) {
      const shortRight = b.every((t) => elements.get(t) === "bf16");
      changed = widened(b) || (a !== null && shortRight && widened([a, ...b])) || changed;
    }
  }
  const isParted = ({ a }: (typeof products)[number]): boolean => a !== null && elements.get(a) === "bf16";
  const parted = products.filter(isParted).flatMap(({ b }) => b.filter((t) => elements.get(t) === "f32"));
  return { elements, parted: new Set(parted) };
});
const isShort = (x: Expr): boolean =>
  x.e === "load" ? x.from.kind === "buffer" && x.from.dtype === "bf16" : x.e === "op" && x.op === "bf16";
