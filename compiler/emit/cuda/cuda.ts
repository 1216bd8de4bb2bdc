// The CUDA target: a persistent grid of blocks loops over tasks; operands are in swizzled shared memory, loaded ahead of their use.
import { Bug } from "../../diagnostic.ts";
import { item } from "../../item.ts";
import { accessOf } from "../../kernel/access.ts";
import { footprint, isNum, knownDivisor } from "../../kernel/expr.ts";
import type { Axis, Buffer, Expr, Kernel, Stmt, StmtOf, Tile } from "../../kernel/ir.ts";
import { expressions, loads, statements, stores, writtenBuffers } from "../../kernel/passes.ts";
import { gcd } from "../../types/numbers.ts";
import type { Lanes } from "../bodies.ts";
import type { Emitter, Target } from "../emitter.ts";
import { advance, counterEnd, counterOf, declareBlock, openSingleTask, openTaskLoop } from "../grid.ts";
import { past, types } from "../literal.ts";
import { blockOf, operandsOf, warpsOf } from "./block.ts";
import { canFuseLoops, canPipeline, emitPipeline, openPrefetchedTaskLoop } from "./pipeline.ts";
import { lanesPerRow } from "./shared-rows.ts";
import { currentStage, needsOf, reserveShared, SharedTile } from "./shared-tile.ts";

export const cuda: Target = {
  lanes: {
    line: [
      { count: 4, text: "4" },
      { count: 2, text: "2" },
    ],
    tile: [{ count: 2, text: "2" }],
    result: [
      { count: 8, text: "8", dtype: "bf16" },
      { count: 4, text: "4" },
      { count: 2, text: "2" },
    ],
  },
  maxLanes: (k) => (blockOf(k).blocks > 2 && blockOf(k).isTaskPerBlock ? 4 : Infinity),
  aligned: true,
  stridedLoads: false,
  sync: "__syncthreads();",
  elidesZeroFill: false,
  prefetches: false,
  hidesMemory: true,
  wraps: "by functions",
  laneScan: "scan_lane",
  lanesPerRow,
  once: (text, scope) => (scope === "point" ? text : `${scope === "task" ? "ONE_THREAD" : "if (v)"} ${text}`),
  tile(t, e) {
    const { threads, warps } = blockOf(e.kernel);
    if (t.role === "shared")
      return `i32* const ${t.name} = (i32*)(${past("smem", reserveShared(e, item(t.shape, 0) * 4))});`;
    if (t.role === "acc" && item(t.shape, 0) === 1) return `RowAcc<${item(t.shape, 1)}, ${threads}> ${t.name};`;
    if (t.role === "acc") return `Acc<${[...t.shape, ...warpsOf(e.kernel, t)].join(", ")}> ${t.name};`;
    return `PerRow<${item(t.shape, 0)}, ${warps[0]}> ${t.name};`;
  },
  frame(k, e) {
    if (k.locals.length > 0) throw new Bug(`${k.name} has local buffers, which the CUDA target does not support`);
    const { shared, prologue, firstLoads } = needsOf(e);
    const { threads, blocks, isTaskPerBlock } = blockOf(k);
    const tasks = firstLoads
      ? openPrefetchedTaskLoop(k, firstLoads)
      : isTaskPerBlock
        ? openSingleTask(k)
        : openTaskLoop(k);
    return {
      open: [
        `KERNEL void __launch_bounds__(${threads}, MIN_BLOCKS(${blocks})) ${k.name}(${parameters(k)}) {`,
        ...(shared > 0 ? ["  DYN_SMEM(smem);"] : []),
        ...prologue.map((line) => `  ${line}`),
        ...tasks.map((line) => `  ${line}`),
      ],
      close: ["  }", "}", `KERNEL_END(${k.name})`],
    };
  },
  loop(s, e) {
    if (canPipeline(s)) return emitPipeline([s], e);
    emitLoop(s.axis, e, () => e.stmts(s.body));
  },
  fuseLoops(run, e) {
    const fit = canFuseLoops(run, e);
    if (fit) emitPipeline(run, e);
    return fit;
  },
  stages(list, e) {
    e.line("__syncthreads();");
    const operands = list.map((s) => new SharedTile(s, 1, e));
    for (const o of operands) o.load("0", null);
    const widened = operands.flatMap((o) => o.widened("0", "0"));
    const own = operands.some((o) => o.sharesScales)
      ? ["cp_async_wait_and_sync();"]
      : ["cp_async_commit();", "cp_async_wait<0>();"];
    if (widened.length > 0) for (const text of [...own, ...widened]) e.line(text);
    e.line("cp_async_wait_and_sync();");
    for (const o of operands) o.name("0");
  },
  each: (s, lanes, e) => `each<${lanes.text}${isWhole(s, lanes, e) ? ", FULL_GROUPS" : ""}>`,
  eachLoadingFirst: (s, lanes, e) =>
    item(s.over.shape, 0) > 1 && lanes.count >= 4 && isWhole(s, lanes, e) ? "each_prefetched" : null,
  mma(s, e) {
    const at = (t: Tile): string => (t.role === "operand" ? currentStage(t, e) : t.name);
    const [first] = s.b;
    const leading = s.a.role === "operand" ? s.a : first;
    const { elements, inTerms } = operandsOf(e.kernel);
    const leftInTerms = inTerms.has(s.a);
    const isBf16 = leftInTerms || (leading !== undefined && elements.get(leading) === "bf16");
    const rounded = !isBf16 && e.target.tf32;
    const step = isBf16 ? 16 : rounded ? 8 : 4;
    const depth = Math.ceil((first?.shape[0] ?? 0) / step) * step;
    const left = s.a.role === "acc" && !isBf16 ? `acc_to_shared(${s.a.name}, ${accInShared(s.a, e)})` : at(s.a);
    e.line(
      `mma${leftInTerms ? "_left_terms" : rounded ? "_tf32" : ""}<${depth}>(${[left, ...s.b.map((b, n) => `rhs(${at(b)}, ${item(s.acc, n).name})`)].join(", ")});`,
    );
  },
  launch(k, e) {
    const { threads, isTaskPerBlock } = blockOf(k);
    return {
      threads,
      shared: needsOf(e).shared,
      wide: needsWideIndex(k),
      ...(isTaskPerBlock ? { each: isTaskPerBlock } : {}),
    };
  },
};
export const cudaTf32: Target = { ...cuda, tf32: true };

/** Whether the number of columns is known to be a multiple of the group of lanes, so that no group is partial. */
function isWhole({ valid: [, cols] }: StmtOf<"each">, lanes: Lanes, e: Emitter): boolean {
  return lanes.text !== "1" && cols !== undefined && countDivisor(cols, e.kernel) % lanes.count === 0;
}
/**
 * Shared memory that holds an f32 accumulator while it is a left operand; all of a kernel's accumulators use the same. Warps that each have all of it
 * have a copy each.
 */
function accInShared(acc: Tile, e: Emitter): string {
  const n = needsOf(e);
  const { across } = blockOf(e.kernel);
  const bytes = item(acc.shape, 0) * item(acc.shape, 1) * 4;
  if (n.accBuffer === null || n.accBuffer.bytes < bytes) n.accBuffer = { at: reserveShared(e, bytes * across), bytes };
  const start = past("smem", n.accBuffer.at);
  return across === 1 ? start : `${start} + warp_id() * ${bytes}`;
}
/**
 * The parameters of a kernel's signature. Memory that nothing writes while the kernel runs is `const __restrict__`, so that it can be read through
 * the read-only cache.
 */
export function parameters(k: Kernel): string {
  const out = writtenBuffers(k);
  const text = (p: Buffer): string => {
    if (out.has(p)) return `${types[p.dtype]}* ${p.name}`;
    return `const ${types[p.dtype]}*${cudaAccess(k, p) === "read" ? " __restrict__" : ""} ${p.name}`;
  };
  return k.params.map(text).join(", ");
}
/** Whether indices need 64 bits: a buffer has 2^31 elements or more, or the program asks for high bits. */
export const needsWideIndex = (k: Kernel): boolean =>
  k.params.some((p) => footprint(p) >= 2 ** 31) || expressions(k.body).some((x) => x.e === "op" && x.op === "high");
/**
 * How a kernel uses a buffer that it reads. Threads of a block run concurrently, so "pointwise" needs more than on the host: the same thread must
 * load and store an element, in one elementwise statement.
 */
export function cudaAccess(k: Kernel, b: Buffer): ReturnType<typeof accessOf> {
  const access = accessOf(k, b);
  if (access !== "pointwise") return access;
  const users = statements(k.body).filter((s) => isElementwise(s) && (isLoaded([s], b) || storesAny(s)));
  return users.length === 1 && onlyElementwiseLoads(k.body, b) ? access : "read";
}
const isElementwise = (s: Stmt): boolean => (s.s === "par" && lanesPerRow(s) === null) || s.s === "each";
const onlyElementwiseLoads = (list: readonly Stmt[], b: Buffer): boolean =>
  list.every(
    (s) => isElementwise(s) || (s.s === "for" || s.s === "if" ? onlyElementwiseLoads(s.body, b) : !isLoaded([s], b)),
  );
const storesAny = (s: Stmt): boolean => stores([s]).some(({ to }) => to.kind === "buffer");
const isLoaded = (list: readonly Stmt[], b: Buffer): boolean => loads(list).some((x) => x.from === b);

/** The largest number known to divide a count; for a block length, one that divides every block's, the last included. */
function countDivisor(x: Expr, k: Kernel): number {
  if (x.e !== "var") return knownDivisor(x);
  const axes = [...k.grid, ...statements(k.body).flatMap((s) => (s.s === "for" ? [s.axis] : []))];
  const axis = axes.find((a) => a.n === x);
  return axis ? gcd(gcd(knownDivisor(axis.from), knownDivisor(axis.to)), axis.step) : knownDivisor(x);
}
/** Writes a loop over the blocks of an axis whose body is written by f. */
export function emitLoop(axis: Axis, e: Emitter, f: () => void): void {
  const round = counterOf(axis);
  const [start, end] = [`${round} = ${e.expr(axis.from)}`, e.expr(counterEnd(axis))];
  const [named, last] = isNum(counterEnd(axis)) ? ["", end] : [`, ${round}_end = ${end}`, `${round}_end`];
  e.block(`for (ix ${start}${named}; ${round} < ${last}; ${advance(axis)}) {`, "}", () => {
    declareBlock(axis, e);
    f();
  });
}
