// Kernels whose tasks are those of one group of rows (of one expert) after another, so that a part of their tasks does a part of the groups.
import { item } from "../item.ts";
import { isNum, subexpressions, summands } from "./expr.ts";
import type { Axis, Buffer, Expr, Kernel, Stmt, Var } from "./ir.ts";
import { ownExpressions, statements } from "./passes.ts";

interface ByGroup {
  readonly groups: number;
  /** Where the rows of each group begin, and those of the last one end. */
  readonly offsets: Buffer;
  /** For each buffer of which a task uses nothing but the rows of its group: the axis of these rows. */
  readonly rows: ReadonlyMap<Buffer, number>;
}
/** null: its tasks are others. */
export function byGroup(k: Kernel): ByGroup | null {
  const [group, ...others] = k.grid;
  if (!group || group.step !== 1 || ![group, ...others].every((a) => isNum(a.from) && isNum(a.to))) return null;
  const all = statements(k.body);
  const loops = loopsOf(all, group.v);
  const [offsets, ...more] = new Set(loops.map((l) => l.offsets));
  if (!offsets || more.length > 0) return null;
  const rows = rowVariables(all, loops);
  const axes = new Map<Buffer, number | null>();
  for (const { buffer, at } of accesses(k)) {
    const axis = at.findIndex((x) => isRow(x, rows));
    const known = axes.get(buffer);
    axes.set(buffer, axis < 0 || (known !== undefined && known !== axis) ? null : axis);
  }
  const found = [...axes].flatMap(([buffer, axis]) => (axis === null ? [] : [[buffer, axis] as const]));
  return { groups: group.to.e === "num" ? group.to.value : 0, offsets, rows: new Map(found) };
}
/** A loop over the rows of the group, in blocks. */
interface GroupLoop {
  readonly axis: Axis;
  readonly offsets: Buffer;
}
function loopsOf(all: readonly Stmt[], group: Var): readonly GroupLoop[] {
  const values = new Map(all.flatMap((s) => (s.s === "let" ? [[s.v, s.value] as const] : [])));
  return all.flatMap((s) => {
    const offsets = s.s === "for" ? offsetsOf(s.axis, group, values) : null;
    return s.s === "for" && offsets ? [{ axis: s.axis, offsets }] : [];
  });
}
/** The offsets of a loop that goes over the rows of the group, from `offsets[group]` to `offsets[group + 1]`; null of any other. */
function offsetsOf({ from, to }: Axis, group: Var, values: ReadonlyMap<Var, Expr>): Buffer | null {
  const offset = (x: Expr): { readonly of: Buffer; readonly at: readonly Expr[] } | null => {
    const inner = x.e === "op" && x.op === "index" ? item(x.args, 0) : x;
    const value = inner.e === "var" ? (values.get(inner) ?? inner) : inner;
    if (value.e !== "load" || value.from.kind !== "buffer" || value.at.length !== 1) return null;
    return { of: value.from, at: summands(item(value.at, 0)) };
  };
  const [first, last] = [offset(from), offset(to)];
  if (!first || !last || first.of !== last.of) return null;
  const [one] = last.at.filter((x) => x !== group);
  const areNext = first.at.length === 1 && first.at[0] === group && last.at.length === 2;
  return areNext && one?.e === "num" && one.value === 1 ? first.of : null;
}
/** For the first row of each block of a group's rows: the variables that count the rows of a block. */
type RowVariables = ReadonlyMap<Var, ReadonlySet<Var>>;
function rowVariables(all: readonly Stmt[], loops: readonly GroupLoop[]): RowVariables {
  const within = ({ n }: Axis): Var[] =>
    all.flatMap((s) => ((s.s === "stage" || s.s === "each") && s.valid[0] === n ? s.vs.slice(0, 1) : []));
  return new Map(loops.map(({ axis }) => [axis.v, new Set(within(axis))]));
}
function* accesses(k: Kernel): Generator<{ readonly buffer: Buffer; readonly at: readonly Expr[] }> {
  for (const s of statements(k.body)) {
    if (s.s === "store" && s.to.kind === "buffer") yield { buffer: s.to, at: s.at };
    for (const x of ownExpressions(s).flatMap(subexpressions))
      if (x.e === "load" && x.from.kind === "buffer") yield { buffer: x.from, at: x.at };
  }
}
function isRow(x: Expr, rows: RowVariables): boolean {
  const terms = summands(x);
  const [block] = terms.filter((t): t is Var => t.e === "var" && rows.has(t));
  const [row, ...more] = terms.filter((t) => t !== block);
  return block !== undefined && row?.e === "var" && more.length === 0 && (rows.get(block)?.has(row) ?? false);
}
