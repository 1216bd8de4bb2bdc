// The host target (C++): a task is an iteration of the kernel's outer loop; operands are read in place unless their memory order forbids it.
import { Bug } from "../../diagnostic.ts";
import { item } from "../../item.ts";
import { footprint, isNum } from "../../kernel/expr.ts";
import type { Buffer, Kernel, StmtOf, Tile } from "../../kernel/ir.ts";
import { statements, stores, writtenBuffers } from "../../kernel/passes.ts";
import type { Emitter, Target } from "../emitter.ts";
import { advance, counterOf, declareBlock, declareConstants, decodeTask, endName } from "../grid.ts";
import { types } from "../literal.ts";
import { countsOf } from "./row-counts.ts";
import { shiftedIn } from "./shifted.ts";
import { reserveScratch, stageLeft, stageRight } from "./staging.ts";
import { wordsLeft, wordsRight } from "./words.ts";

const lanes = [{ count: 16, text: "LANES" }] as const;
export const host: Target = {
  lanes: { line: lanes, tile: lanes, result: lanes },
  aligned: false,
  stridedLoads: true,
  sync: null,
  elidesZeroFill: true,
  fusesEpilogues: true,
  prefetches: true,
  wholes: true,
  foldsBoth: true,
  cutsBodies: true,
  reciprocals: true,
  laneScan: "scan",
  once: (text) => text,
  tile(t, e, at) {
    const [rows, cols] = [item(t.shape, 0), t.shape[1]];
    if (at !== undefined) return `auto& ${t.name} = acc_at<${rows}, ${cols ?? 1}>(${at});`;
    if (t.role === "acc") return `${e.strips.has(t) ? "StripAcc" : "Acc"}<${rows}, ${cols ?? 1}> ${t.name};`;
    if (t.role === "row") return `PerRow<${rows}> ${t.name};`;
    return `i32* const ${t.name} = (i32*)(${reserveScratch(e, rows)});`;
  },
  frame(k, e) {
    const out = writtenBuffers(k);
    const cast = (p: Kernel["params"][number]): string => `${out.has(p) ? "" : "const "}${types[p.dtype]}*`;
    return {
      open: [
        `extern "C" void ${k.name}(void* const* args, ix begin, ix end, f32* scratch) {`,
        ...k.params.map((p, i) => `  ${cast(p)} ${p.name} = (${types[p.dtype]}*)args[${i}];`),
        ...k.locals.map((b) => `  ${types[b.dtype]}* ${b.name} = ${inScratch(b, e)};`),
        ...e.beforeTasks.map((text) => `  ${text}`),
        "  NO_UNROLL for (ix task = begin; task < end; task++) {",
        ...declareConstants(decodeTask(k.grid)).map((line) => `  ${line}`),
      ],
      close: ["  }", ...(hasStreamedStores(k) ? ["  fence();"] : []), "}"],
    };
  },
  loop(s, e) {
    const { from, to, skip } = s.axis;
    const [round, end] = [counterOf(s.axis), endName(s.axis)];
    const named = isNum(to) ? "" : `, ${end} = ${e.expr(to)}`;
    const rounds = skip ? `, ${round}s = ${end} - ${e.expr(skip.by)}` : "";
    e.block(
      `NO_UNROLL for (ix ${round} = ${e.expr(from)}${named}${rounds}; ${round} < ${skip ? `${round}s` : end}; ${advance(s.axis)}) {`,
      "}",
      () => {
        declareBlock(s.axis, e, end);
        e.stmts(s.body);
      },
    );
  },
  stages(list, e) {
    for (const s of list) stage(s, e);
  },
  each: (_, lanes) => `each<${lanes.text}>`,
  mma: (s, e) => multiply([s], e),
  mmaSum(run, e) {
    const apart = run.some((s) => s.b.some((t) => e.summedByGroups.has(t)));
    for (const some of apart ? run.map((s) => [s]) : [run]) multiply(some, e);
  },
};
function inScratch(b: Buffer, e: Emitter): string {
  const at = reserveScratch(e, footprint(b));
  return b.dtype === "f32" ? at : `(${types[b.dtype]}*)(${at})`;
}
function stage(s: StmtOf<"stage">, e: Emitter): void {
  const left = statements(e.kernel.body).some((t) => t.s === "mma" && t.a === s.tile);
  if (s.tile.form === "words") return left ? wordsLeft(s, e) : wordsRight(s, e);
  return left ? stageLeft(s, e) : stageRight(s, e);
}
function multiply(run: readonly StmtOf<"mma">[], e: Emitter): void {
  const [s, ...others] = run as [StmtOf<"mma">, ...StmtOf<"mma">[]];
  const [overwrites, ...more] = s.acc.map((t) => overwriteCondition(t, e));
  if (more.some((x) => x !== overwrites)) throw new Bug("accumulators that are multiplied together start together");
  const sums = s.acc.map((acc, n) =>
    groupShifted(others, e).reduce(
      (sum, list) => addGroup(sum, list, n, e),
      `rhs(${rightOf(item(s.b, n), e)}, ${acc.name})`,
    ),
  );
  const epilogue = run.map((t) => e.epilogues.get(t)).find((text) => text !== undefined) ?? "no_epilogue()";
  const rows = rowsOf(s, e);
  const text = `mma(${[overwrites, leftOf(s), rows, depthOf(s, e), epilogue, ...sums].join(", ")});`;
  const byRows = run.some((t) => t.b.some((b) => e.copiedForManyRows.has(b)));
  e.line(byRows ? `dispatch_few_rows(${rows}, [&](auto few) { ${text} });` : text);
}
/**
 * Groups consecutive products whose left operands are one operand, shifted by constants, with the same depth (a convolution's taps); all others are
 * alone.
 */
function groupShifted(products: readonly StmtOf<"mma">[], e: Emitter): StmtOf<"mma">[][] {
  const shifted = shiftedIn(e.kernel);
  const list: StmtOf<"mma">[][] = [];
  for (const t of products) {
    const last = list.at(-1);
    const [before] = last ?? [];
    const of = shifted.get(t.a)?.of;
    if (last && before && of && of === shifted.get(before.a)?.of && depthOf(t, e) === depthOf(before, e)) last.push(t);
    else list.push([t]);
  }
  return list;
}
/** The text of a sum to which the products of a group are added. */
function addGroup(sum: string, group: readonly StmtOf<"mma">[], n: number, e: Emitter): string {
  const [t] = group as [StmtOf<"mma">];
  const rights = group.map((x) => rightOf(item(x.b, n), e));
  const shifts = group.flatMap((x) => shiftedIn(e.kernel).get(x.a) ?? []);
  const [first] = shifts;
  if (!first) return `plus(${[sum, leftOf(t), depthOf(t, e), ...rights].join(", ")})`;
  const by = `{${shifts.map((x) => x.by).join(", ")}}`;
  return `taps(${[sum, first.of.name, depthOf(t, e), by, ...rights].join(", ")})`;
}
/** The depth in steps of the multiply instruction: words or elements. */
const depthOf = ({ a, valid }: StmtOf<"mma">, e: Emitter): string =>
  a.form === "words" ? `words_of(${e.expr(valid[1])})` : e.expr(valid[1]);
const leftOf = ({ a, transposed }: StmtOf<"mma">): string => (transposed ? `transposed(${a.name})` : a.name);
/** The number of rows, with all that it can be if that is known. */
function rowsOf({ valid }: StmtOf<"mma">, e: Emitter): string {
  const counts = countsOf(valid[0], e.kernel);
  return counts ? `OneOf<${counts.join(", ")}>{${e.expr(valid[0])}}` : e.expr(valid[0]);
}
/** Whether a kernel has non-temporal stores, which need a fence at the end. */
const hasStreamedStores = (k: Kernel): boolean => stores(k.body).some((s) => s.stream);
const rightOf = (t: Tile, e: Emitter): string => (e.copiedForManyRows.has(t) ? `${t.name}.read(few)` : t.name);
/** The condition under which an `mma` overwrites its accumulator instead of adding to it. */
function overwriteCondition(t: Tile, e: Emitter): string {
  const axis = e.zeroFilled.get(t);
  e.zeroFilled.delete(t);
  if (axis === undefined) return "false";
  return axis === null ? "true" : `${axis.v.name} == ${e.expr(axis.from)}`;
}
