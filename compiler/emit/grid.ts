// The tasks of a kernel: how many there are, and the text that turns a task's number into blocks of the grid's axes.
import { Bug } from "../diagnostic.ts";
import { item } from "../item.ts";
import { isNum, knownDivisor, sub } from "../kernel/expr.ts";
import type { Axis, Expr, Kernel } from "../kernel/ir.ts";

/** How many blocks an axis has; NaN if its ends depend on another axis. */
export const blockCount = (a: Axis): number =>
  isNum(a.to) && isNum(a.from) ? Math.ceil((a.to.value - a.from.value) / a.step) : Number.NaN;
/** The name of a loop's counter and its end. A loop with a skip counts only the rounds that it does, and derives the variable from the counter. */
export const counterOf = ({ v, skip }: Axis): string => (skip ? `${v.name}_round` : v.name);
export const counterEnd = ({ to, skip }: Axis): Expr => (skip ? sub(to, skip.by) : to);
/** The end of an axis in its loop: a number, or the name that the loop's head gives it. */
export const endName = ({ v, to }: Axis): string => (isNum(to) ? String(to.value) : `${v.name}_end`);
export const advance = (axis: Axis): string => `${counterOf(axis)}${axis.step === 1 ? "++" : ` += ${axis.step}`}`;
/** Declares, in a loop's body, the variable (if the counter is another) and the length of the block. */
export function declareBlock(axis: Axis, e: Lines, end = e.expr(axis.to)): void {
  const [{ v, n, step, skip }, round] = [axis, counterOf(axis)];
  if (skip) e.line(`const ix ${v.name} = ${round} < ${e.expr(skip.at)} ? ${round} : ${round} + ${e.expr(skip.by)};`);
  if (n.e === "var") e.line(`const ix ${n.name} = ix_min(${step}, ${end} - ${v.name});`);
}
/** What writes expressions and lines. */
interface Lines {
  expr(x: Expr): string;
  line(text: string): void;
}
/** The position in the grid of the ragged axis, whose ends the axis before it decides; -1 if there is none. */
export const raggedAxisIndex = (k: Kernel): number => k.grid.findIndex((a) => !isNum(a.to));
/** The number of tasks; an upper bound if there is a ragged axis, as each group may end with a partial block. */
export function tasksOf(k: Kernel): number {
  const at = raggedAxisIndex(k);
  const count = (axes: readonly Axis[]): number => axes.reduce((n, a) => n * blockCount(a), 1);
  const [group, rows] = [k.grid[at - 1], k.grid[at]];
  if (!group || !rows) return count(k.grid);
  return (Math.ceil((rows.v.hi + 1) / rows.step) + blockCount(group)) * count(k.grid.slice(at + 1));
}

/**
 * Declarations of the variables of axes from the number `task`; the last axis varies fastest. Nothing reads the variable of an axis of one block.
 * `inner`: other axes vary more slowly.
 */
export function decodeTask(axes: readonly Axis[], inner = false): string[] {
  const several = axes.filter((a) => blockCount(a) !== 1);
  let below = 1;
  return several
    .toReversed()
    .map((a, d) => {
      const q = below === 1 ? "task" : `task / ${below}`;
      const i = !inner && d === several.length - 1 ? q : `${q} % ${blockCount(a)}`;
      below *= blockCount(a);
      const at = `${a.v.name} = ${a.step === 1 ? i : `${i} * ${a.step}`}`;
      return a.n.e === "var" && isNum(a.to)
        ? `${at}, ${a.n.name} = ix_min(${a.step}, ${a.to.value} - ${a.v.name})`
        : at;
    })
    .toReversed();
}

/** The text of a persistent grid's loop over tasks: declarations before it, the condition that there is a task, and the blocks of the task. */
interface TaskLoop {
  readonly setup: readonly string[];
  readonly hasTask: string;
  /** `name = value`, for constants of type ix. */
  readonly bindings: readonly string[];
}
/** Blocks of a ragged axis are found on the device from the group offsets. */
export function taskLoopOf(k: Kernel): TaskLoop {
  const at = raggedAxisIndex(k);
  const [group, rows] = [k.grid[at - 1], k.grid[at]];
  if (!group || !rows) return { setup: [], hasTask: `task < ${tasksOf(k)}`, bindings: decodeTask(k.grid) };
  const inner = k.grid.slice(at + 1);
  const each = inner.reduce((n, a) => n * blockCount(a), 1);
  const { offsets, unit } = raggedOffsets(rows);
  const bindings = [
    ...(blockCount(group) === 1 ? [] : [`${group.v.name} = tasks.group`]),
    `${rows.v.name} = tasks.row`,
    `${rows.n.e === "var" ? rows.n.name : "n"} = ix_min(${rows.step}, tasks.end - tasks.row)`,
    ...decodeTask(inner, true),
  ];
  return {
    setup: [`RaggedTiles tasks(${offsets}, ${blockCount(group)}, ${unit}, ${rows.step});`],
    hasTask: `tasks.seek(task${each === 1 ? "" : ` / ${each}`})`,
    bindings,
  };
}
/** The buffer of offsets of a ragged axis, and how many rows one unit of an offset stands for. */
function raggedOffsets({ from }: Axis): { readonly offsets: string; readonly unit: number } {
  const [x, unit] =
    from.e === "op" && from.op === "*" ? [item(from.args, 0), knownDivisor(item(from.args, 1))] : [from, 1];
  const offset = x.e === "op" && x.op === "index" ? item(x.args, 0) : x;
  if (offset.e !== "load") throw new Bug("a ragged axis of the grid begins at an offset");
  return { offsets: offset.from.name, unit };
}
/** The text for kernels whose blocks have one task each. */
export const openSingleTask = (k: Kernel): string[] => [
  "{",
  "  const i32 task = blockIdx.x;",
  ...declareConstants(taskLoopOf(k).bindings),
];
/** The text of a block's loop over tasks. */
export function openTaskLoop(k: Kernel): string[] {
  const { setup, hasTask, bindings } = taskLoopOf(k);
  return [...setup, `for (i32 task = blockIdx.x; ${hasTask}; task += gridDim.x) {`, ...declareConstants(bindings)];
}
export const declareConstants = (bound: readonly string[]): string[] =>
  bound.length === 0 ? [] : [`  const ix ${bound.join(", ")};`];
