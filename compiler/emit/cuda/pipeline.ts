// CUDA: software-pipelined loops, whose loads run ahead of their products through several stages of shared memory. Where possible, a block also
// starts its next task's first loads before it stores the results of the current one.
import { item } from "../../item.ts";
import { isNum, roundUp } from "../../kernel/expr.ts";
import type { Axis, Expr, Kernel, Stmt, StmtOf } from "../../kernel/ir.ts";
import { expressions, statements } from "../../kernel/passes.ts";
import { sum } from "../../types/numbers.ts";
import type { Emitter } from "../emitter.ts";
import { counterEnd, counterOf, declareBlock, declareConstants, taskLoopOf } from "../grid.ts";
import { isStage } from "../runs.ts";
import { blockOf, operandsOf } from "./block.ts";
import { bytesOf, fp4Of, hasSameLayout, isTransposeOf, needsOf, SharedTile, widenedBytes } from "./shared-tile.ts";

/**
 * Bytes of dynamic shared memory: that one block may have on every architecture, and that the blocks of a multiprocessor may have together on most.
 */
const blockSharedBytes = 96 * 1024;
const multiprocessorSharedBytes = 160 * 1024;

/** Whether a loop can be pipelined: it multiplies, and its operands depend on nothing that its body computes. */
export function canPipeline(s: StmtOf<"for">): boolean {
  const staged = s.body.filter(isStage);
  const named = new Set<Expr>(s.body.flatMap((b) => (b.s === "let" ? [b.v] : [])));
  const waits = expressions(staged).some((x) => named.has(x));
  return staged.length > 0 && !waits && statements(s.body).some((t) => t.s === "mma");
}
type Loop = StmtOf<"for">;
/** Whether loops can be joined into one that does the rounds of all: their operands use the same stages, one after the other. */
export function canFuseLoops(run: readonly Loop[], e: Emitter): boolean {
  const staged = run.map((s) => s.body.filter(isStage));
  const [first = []] = staged;
  const fits = (s: Loop, n: number): boolean => {
    const own = item(staged, n);
    const { from, to, step } = s.axis;
    const isOwn = own.every((b) => !own.some((t) => isTransposeOf(b, t, e)));
    const inOrder = isNum(from) && from.value === 0 && isNum(to) && step === run[0]?.axis.step;
    return (
      canPipeline(s) &&
      inOrder &&
      isOwn &&
      own.length === first.length &&
      own.every((b, i) => hasSameLayout(item(first, i), b, e))
    );
  };
  return run.every(fits);
}
/** Writes one pipelined loop, or several joined into one. */
export function emitPipeline(run: readonly Loop[], e: Emitter): void {
  const s = item(run, 0);
  const product = productOf(s, e);
  const staged = run.map((loop) =>
    product ? loop.body.filter(isStage) : withoutTransposes(loop.body.filter(isStage), e),
  );
  const stages = stagesOf(item(staged, 0), leastOfLater(run, e), e);
  const first = item(staged, 0).map((b) => new SharedTile(b, stages, e));
  const others = staged.slice(1).map((own) => own.map((b, i) => new SharedTile(b, stages, e, item(first, i))));
  const operands = [first, ...others];
  const loads = (open: string, close: string): void => emitLoads(run, operands, e, open, close);
  const begin = (): void => {
    operands.forEach((own, n) => {
      for (const o of own) o.bind(item(run, n).axis);
    });
    loads(`pipeline_prologue<${product ? stages : stages - 1}>(`, "});");
  };
  const lets = earlyLoadLets(e.kernel, run);
  if (lets) emitEarlyLoads(lets, begin, e);
  else begin();
  const widened = first.flatMap((o) => o.widened("s", "tile"));
  const widen = widened.length > 0 ? `, [&](i32 s, i32 tile) { ${widened.join(" ")} }` : "";
  const shares = first.some((o) => o.sharesScales) ? ", SHARED_SCALES" : "";
  if (product) {
    const name = widen ? "mma_pipeline_of_codes" : "mma_pipeline";
    loads(`${name}<${stages}, ${depthOf(product)}${shares}>(`, `}${widen}, ${factorsOf(product)});`);
  } else {
    const tile = widened.length > 0 ? ", i32 tile" : "";
    loads(`pipeline<${stages}${shares}>(`, `}${widen}, [&](ix ${counterOf(s.axis)}, i32 s${tile}) {`);
    e.depth++;
    if (run.length === 1) declareBlock(s.axis, e);
    for (const o of first) o.name("s");
    e.stmts(s.body.filter((b) => !isStage(b)));
    e.depth--;
    e.line("});");
  }
  if (lets) startNextTask(e);
}
/** Writes a call with a lambda that loads the operands of a round. */
function emitLoads(
  run: readonly Loop[],
  operands: readonly SharedTile[][],
  e: Emitter,
  open: string,
  close: string,
): void {
  const { range, each } = roundsOf(run, e);
  e.block(`${open}${range}, [&](ix ${counterOf(item(run, 0).axis)}, i32 s) {`, close, () =>
    each((axis, n) => {
      declareBlock(axis, e);
      for (const o of item(operands, n)) o.load("s", axis);
    }),
  );
}
/** The rounds of joined loops, numbered through. `each` writes code for every loop: f(axis, n) writes what a round of loop n does. */
export function roundsOf(
  run: readonly Loop[],
  e: Emitter,
): { readonly range: string; readonly each: (f: (axis: Axis, n: number) => void) => void } {
  const { v, from, step } = item(run, 0).axis;
  if (run.length === 1)
    return {
      range: `${e.expr(from)}, ${e.expr(counterEnd(item(run, 0).axis))}, ${step}`,
      each: (f) => f(item(run, 0).axis, 0),
    };
  const lengths = run.map(({ axis }) => (isNum(axis.to) ? roundUp(axis.to.value, step) : 0));
  const start = (n: number): number => sum(lengths.slice(0, n));
  const each = (f: (axis: Axis, n: number) => void): void =>
    run.forEach(({ axis }, n) => {
      const head = n + 1 === run.length ? "else {" : `${n === 0 ? "" : "else "}if (${v.name} < ${start(n + 1)}) {`;
      e.block(head, "}", () => {
        if (n > 0) e.line(`const ix ${axis.v.name} = ${v.name} - ${start(n)};`);
        f(axis, n);
      });
    });
  return { range: `0, ${start(run.length)}, ${step}`, each };
}
/** Whether fragments of codes are loaded ahead: 16 rows wait for memory only, and 128 have no registers left for them beside the widening. */
const isAheadOfCodes = (rows: number): boolean => rows > 16 && rows <= 64;
/** The bf16 product that is all that the loop does, if its depth is a multiple of two fragments; else null. `mma_pipeline` is faster for it. */
function productOf(s: StmtOf<"for">, e: Emitter): StmtOf<"mma"> | null {
  const [mma, ...more] = s.body.filter((b) => !isStage(b));
  const { elements, codes } = operandsOf(e.kernel);
  if (mma?.s !== "mma" || more.length > 0 || depthOf(mma) % 32 !== 0) return null;
  const factors = [mma.a, ...mma.b];
  const areCodes = factors.some((t) => codes.has(t)) || s.body.some((b) => isStage(b) && fp4Of(b, e));
  if (areCodes && !isAheadOfCodes(item(mma.a.shape, 0))) return null;
  return factors.every((t) => elements.get(t) === "bf16") ? mma : null;
}
const depthOf = ({ b }: StmtOf<"mma">): number => Math.ceil(item(item(b, 0).shape, 0) / 16) * 16;
const factorsOf = ({ a, b, acc }: StmtOf<"mma">): string =>
  [a.name, ...b.map((t, n) => `rhs_fragments(${t.name}, ${item(acc, n).name})`)].join(", ");
/** The operands without those that are the transpose of another, which are read from its memory. */
function withoutTransposes(staged: readonly StmtOf<"stage">[], e: Emitter): StmtOf<"stage">[] {
  const own: StmtOf<"stage">[] = [];
  for (const b of staged) {
    const found = own.find((a) => isTransposeOf(a, b, e));
    if (found) needsOf(e).transposes.set(b.tile, found.tile);
    else own.push(b);
  }
  return own;
}
/** The bytes that two stages of each later loop of the kernel take, which have memory of their own. */
function leastOfLater(run: readonly Loop[], e: Emitter): number {
  const at = e.kernel.body.indexOf(item(run, 0));
  const later = at < 0 ? [] : e.kernel.body.slice(at + run.length);
  const staged = later.flatMap((s) => (s.s === "for" && canPipeline(s) ? s.body.filter(isStage) : []));
  return sum(staged.map((s) => 2 * bytesOf(s, e) + widenedBytes(s, 2, e)));
}
/**
 * The number of stages: four if they take at most two thirds of the room, else three if they fit, else two; other blocks of the multiprocessor must
 * have room, too, and so must the `later` loops of the kernel.
 */
function stagesOf(staged: readonly StmtOf<"stage">[], later: number, e: Emitter): number {
  const each = sum(staged.map((b) => bytesOf(b, e)));
  const most = Math.min(blockSharedBytes, multiprocessorSharedBytes / blockOf(e.kernel).blocks);
  const widened = sum(staged.map((b) => widenedBytes(b, 2, e)));
  const fits = (n: number): boolean => {
    const bytes = needsOf(e).shared + widened + n * each;
    return bytes <= most && bytes + later <= blockSharedBytes;
  };
  return [4, 3].find((n) => fits(n) && n * each <= (n === 4 ? blockSharedBytes * (2 / 3) : blockSharedBytes)) ?? 2;
}

/**
 * The `let`s that a task's first loads depend on, if the next task's loads may start early: the loops are the kernel's only work before each thread
 * stores its results. Else null.
 */
function earlyLoadLets(k: Kernel, run: readonly Loop[]): readonly StmtOf<"let">[] | null {
  const at = k.body.indexOf(item(run, 0));
  if (at < 0 || k.grid.length === 0) return null;
  const [before, after] = [k.body.slice(0, at), k.body.slice(at + run.length)];
  const registers = run.every((loop) =>
    loop.body.every((s) => s.s === "stage" || (s.s === "mma" && s.a.role === "operand")),
  );
  const isSetup = before.every((s) => s.s === "let" || (s.s === "tile" && s.tile.role !== "shared"));
  if (!registers || !isSetup || !after.every((s) => s.s === "each")) return null;
  return before.filter((s) => s.s === "let");
}
/** Writes the code that starts a task's loads as a lambda before the loop over tasks; `begin` writes the loads. */
function emitEarlyLoads(lets: readonly Stmt[], begin: () => void, e: Emitter): void {
  const names = taskLoopOf(e.kernel).bindings.flatMap((b) =>
    [...b.matchAll(/(\w+) = /g)].map((found) => item(found, 1)),
  );
  const [at, depth] = [e.lines.length, e.depth];
  e.depth = 0;
  e.block(`const auto start_loads = [&](${names.map((n) => `ix ${n}`).join(", ")}) INLINE {`, "};", () => {
    e.stmts(lets);
    begin();
  });
  e.depth = depth;
  needsOf(e).prologue.push(...e.lines.splice(at));
  needsOf(e).firstLoads = `start_loads(${names.join(", ")});`;
}
function startNextTask(e: Emitter): void {
  const { hasTask, bindings } = taskLoopOf(e.kernel);
  e.line("task += gridDim.x;");
  e.line(`more = ${hasTask};`);
  e.block("if (more) {", "}", () => {
    for (const line of declareConstants(bindings)) e.line(line.trim());
    e.line(needsOf(e).firstLoads ?? "");
  });
}
/** The text of the loop over a block's tasks if loads start early; it starts those of the first task itself. */
export function openPrefetchedTaskLoop(k: Kernel, firstLoads: string): string[] {
  const { setup, hasTask, bindings } = taskLoopOf(k);
  return [
    ...setup,
    "i32 task = blockIdx.x;",
    `for (bool more = ${hasTask}; more;) {`,
    ...declareConstants(bindings),
    `  if (task == (i32)blockIdx.x) ${firstLoads}`,
  ];
}
