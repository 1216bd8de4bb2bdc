// Loops whose loads run ahead of their products on CUDA: several stages of each operand lie in shared memory. Where nothing stands in the way,
// a block asks for its next task's first stages before it writes the results of the present one.
import { item } from "../kernel/expr.ts";
import type { Expr, Kernel, Stmt, StmtOf } from "../kernel/ir.ts";
import { walk, walkExprs } from "../kernel/passes.ts";
import { blockOf, operandsOf } from "./block.ts";
import { constants, dealing } from "./grid.ts";
import { bytesOf, isTurned, needsOf, Operand } from "./operand.ts";
import type { Emitter } from "./text.ts";

/** Bytes of dynamic shared memory that a block has on every architecture, and that blocks beside one another may have on most. */
const room = 96 * 1024;
const shared = 160 * 1024;

const isStage = (s: Stmt): s is StmtOf<"stage"> => s.s === "stage";
/** Operands that depend on the loop's variable alone can be loaded before their turn. */
export function runsAhead(s: StmtOf<"for">): boolean {
  const staged = s.body.filter(isStage);
  const named = new Set<Expr>(s.body.flatMap((b) => (b.s === "let" ? [b.v] : [])));
  const waits: Expr[] = [];
  walkExprs(staged, (x) => {
    if (named.has(x)) waits.push(x);
  });
  return staged.length > 0 && waits.length === 0 && multiplies(s.body);
}
function multiplies(body: readonly Stmt[]): boolean {
  let found = false;
  walk(body, (s) => {
    found ||= s.s === "mma";
  });
  return found;
}
/** `counted` declares what the loop counts. */
export function runAhead(s: StmtOf<"for">, e: Emitter, counted: () => void): void {
  const product = productOf(s, e);
  const all = s.body.filter(isStage);
  const staged = product ? all : withoutTurned(all, e);
  const stages = stagesOf(staged, e);
  const operands = staged.map((b) => new Operand(b, stages, e));
  const { v, from, to, step } = s.axis;
  const range = (): string => `${e.expr(from)}, ${e.expr(to)}, ${step}`;
  const inside = (f: () => void): void => {
    e.depth++;
    counted();
    f();
    e.depth--;
  };
  const loads = (open: string, close: string): void => {
    e.line(`${open}${range()}, [&](ix ${v.name}, i32 s) {`);
    inside(() => {
      for (const o of operands) o.load("s", s.axis);
    });
    e.line(close);
  };
  const begin = (): void => {
    for (const o of operands) o.bind(s.axis);
    loads(`load_first<${product ? stages : stages - 1}>(`, "});");
  };
  const lets = streamed(e.kernel, s);
  if (lets) beginEarly(lets, begin, e);
  else begin();
  if (product) loads(`contract<${stages}, ${depthOf(product)}>(`, `}, ${factorsOf(product)});`);
  else {
    loads(`pipeline<${stages}>(`, `}, [&](ix ${v.name}, i32 s) {`);
    inside(() => {
      for (const o of operands) o.name("s");
      e.stmts(s.body.filter((b) => !isStage(b)));
    });
    e.line("});");
  }
  if (lets) askForNext(e);
}
/** The one product of bf16 that the loop is for, whose depth is a multiple of two fragments. */
function productOf(s: StmtOf<"for">, e: Emitter): StmtOf<"mma"> | null {
  const [mma, ...more] = s.body.filter((b) => !isStage(b));
  const { elements } = operandsOf(e.kernel);
  if (mma?.s !== "mma" || more.length > 0 || depthOf(mma) % 32 !== 0) return null;
  return [mma.a, ...mma.b].every((t) => elements.get(t) === "bf16") ? mma : null;
}
const depthOf = ({ b }: StmtOf<"mma">): number => Math.ceil(item(item(b, 0).shape, 0) / 16) * 16;
const factorsOf = ({ a, b, acc }: StmtOf<"mma">): string =>
  [a.name, ...b.map((t, n) => `factor(${t.name}, ${item(acc, n).name})`)].join(", ");
/** Operands that are others transposed are read from their memory. */
function withoutTurned(staged: readonly StmtOf<"stage">[], e: Emitter): StmtOf<"stage">[] {
  const own: StmtOf<"stage">[] = [];
  for (const b of staged) {
    const found = own.find((a) => isTurned(a, b, e));
    if (found) needsOf(e).turned.set(b.tile, found.tile);
    else own.push(b);
  }
  return own;
}
/** As many as two thirds of the room hold, of two, three or four, and as leave it to the blocks beside. */
function stagesOf(staged: readonly StmtOf<"stage">[], e: Emitter): number {
  const each = staged.reduce((sum, b) => sum + bytesOf(b, e), 0);
  const most = Math.min(room, shared / blockOf(e.kernel).blocks);
  const fits = (n: number): boolean => needsOf(e).shared + n * each <= most;
  return [4, 3].find((n) => fits(n) && n * each <= (n === 4 ? room * (2 / 3) : room)) ?? 2;
}

/** What a task's first loads stand on, where the loop is the kernel's only one, and after it each thread only writes results; else null. */
function streamed(k: Kernel, loop: StmtOf<"for">): readonly StmtOf<"let">[] | null {
  const at = k.body.indexOf(loop);
  if (at < 0 || k.grid.length === 0) return null;
  const [before, after] = [k.body.slice(0, at), k.body.slice(at + 1)];
  const registers = loop.body.every((s) => s.s === "stage" || (s.s === "mma" && s.a.role === "operand"));
  const plain = before.every((s) => s.s === "let" || (s.s === "tile" && s.tile.role !== "shared"));
  if (!registers || !plain || !after.every((s) => s.s === "each")) return null;
  return before.filter((s) => s.s === "let");
}
/** A function of the task's blocks, before the loop over tasks. */
function beginEarly(lets: readonly Stmt[], begin: () => void, e: Emitter): void {
  const names = dealing(e.kernel).bound.flatMap((b) => [...b.matchAll(/(\w+) = /g)].map((found) => item(found, 1)));
  const [at, depth] = [e.lines.length, e.depth];
  e.depth = 0;
  e.block(`const auto begin = [&](${names.map((n) => `ix ${n}`).join(", ")}) INLINE {`, "};", () => {
    e.stmts(lets);
    begin();
  });
  e.depth = depth;
  needsOf(e).prologue.push(...e.lines.splice(at));
  needsOf(e).ahead = `begin(${names.join(", ")});`;
}
function askForNext(e: Emitter): void {
  const { more, bound } = dealing(e.kernel);
  e.line("task += gridDim.x;");
  e.line(`more = ${more};`);
  e.block("if (more) {", "}", () => {
    for (const line of constants(bound)) e.line(line.trim());
    e.line(needsOf(e).ahead ?? "");
  });
}
/** The loop over a block's tasks, which asks for the first one's loads itself. */
export function dealtAhead(k: Kernel, ahead: string): string[] {
  const { setup, more, bound } = dealing(k);
  return [
    ...setup,
    "i32 task = blockIdx.x;",
    `for (bool more = ${more}; more;) {`,
    ...constants(bound),
    `  if (task == (i32)blockIdx.x) ${ahead}`,
  ];
}
