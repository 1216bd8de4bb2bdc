// Kernels of chains of reductions over rows of few numbers (regions/lanes.ts): a lane makes all numbers of its row, one after the other;
// rounds that repeat become a loop.
import type { Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import { plus } from "../../kernel/builder.ts";
import { load, num, unflatten } from "../../kernel/expr.ts";
import type { Expr } from "../../kernel/ir.ts";
import { roll } from "../../kernel/roll.ts";
import { leads, longestRow } from "../../regions/lanes.ts";
import type { Region } from "../../regions/region.ts";
import { count, dtypeOf } from "../../types/type.ts";
import type { Draft } from "../draft.ts";
import { shapeOf } from "../reader.ts";
import { addLaneRows, maxRows, visitRowMajor } from "./short-rows.ts";

/** The threads of a warp: on CUDA a task. */
const warpRows = 32;
/** Writes the kernel of a region of lanes. On the host lanes only store side by side, so a block of rows is transposed before it is stored. */
export function lanes(d: Draft, { outputs, rows }: Region): void {
  const isHost = d.choices.rows.shortRow > 0;
  const block = isHost ? addLaneRows(d, rows) : d.k.task("r", rows, warpRows);
  const length = (v: Value): number => count(v.type) / rows;
  const isTransposed = (v: Value): boolean => isHost && dtypeOf(v.type) !== "bool";
  const made = outputs.map((v) => ({
    v,
    columns: isTransposed(v)
      ? d.k.local("columns", [length(v), maxRows], dtypeOf(v.type) === "i32" ? "i32" : "f32", true)
      : null,
  }));
  const lane = readOften(d, outputs);
  const isRow = (v: Value): boolean => d.inlines(v) && leads(shapeOf(v), rows).length > 0 && length(v) <= longestRow;
  const steps = [...lane].filter(isRow).toSorted((a, b) => a.node.id - b.node.id);
  const makeRow = (i: Expr): void => {
    const reader = d.reader({ lane });
    for (const v of steps)
      for (let j = 0; j < length(v); j++) reader.element(v, elementOfRow(v, rows, plus(block, i), num(j)));
    for (const { v, columns } of made)
      for (let j = 0; j < length(v); j++) {
        const at = elementOfRow(v, rows, plus(block, i), num(j));
        const x = reader.element(v, at);
        if (columns) d.k.store(columns, [num(j), i], x);
        else d.writerOf(v)(at, x);
      }
    // on CUDA all threads have such memory at once, so that less of it is worth computing again
    if (i.e === "var") d.k.rewrite((list) => roll(d.k, list, i, isHost));
  };
  // of a single row no number varies with the lane: all would move out of the body, unrolled, which is three times as fast on the host
  d.k.par(block.n, makeRow, "j", 0, rows === 1 && !isHost);
  for (const { v, columns } of made)
    if (columns)
      visitRowMajor(d, block, length(v), (i, j) =>
        d.writerOf(v)(elementOfRow(v, rows, plus(block, i), j), load(columns, j, i)),
      );
}
/** The index of number j of a row. */
function elementOfRow(v: Value, rows: number, row: Expr, j: Expr): Expr[] {
  const shape = shapeOf(v);
  const lead = item(leads(shape, rows), 0);
  return [...unflatten(row, shape.slice(0, lead)), ...unflatten(j, shape.slice(lead))];
}
/** The values that the kernel computes of which an element is read more than once: by several nodes, or as several elements of a broadcast. */
function readOften(d: Draft, outputs: readonly Value[]): ReadonlySet<Value> {
  const uses = new Map<Value, number>();
  const seen = new Set(outputs);
  const note = (v: Value, times: number): void => {
    const isView = v.node.op.lower === "view" && d.inlines(v);
    if (isView) for (const x of v.node.args) note(x, v.node.op.name === "broadcast" ? 2 : times);
    else uses.set(v, (uses.get(v) ?? 0) + times);
    if (d.inlines(v)) seen.add(v);
  };
  for (const v of outputs) note(v, 1);
  for (const { node } of seen) if (node.op.lower !== "view") for (const a of node.args) note(a, 1);
  return new Set([...uses].flatMap(([v, times]) => (times > 1 ? [v] : [])));
}
