// What is dear to make, and read by a fold of its row and by the result, is kept beside the row: a softmax's powers of e.
import type { Value } from "../graph/node.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { dims, dtypeOf } from "../types/type.ts";
import { plus } from "./build.ts";
import type { Draft } from "./draft.ts";
import { add, call, item, load, mod, num, product, unflatten } from "./expr.ts";
import type { Expr } from "./ir.ts";
import { shapeOf } from "./read.ts";

/** What to keep of a result whose tasks walk the axes from `depth` on. */
export const keptOf = (d: Draft, out: Value, depth: number): Value | null =>
  [...points(d, out)].find((v) => isDear(v) && foldsOf(d, out, v, depth).length > 0) ?? null;
const isDear = ({ node, type }: Value): boolean =>
  node.op.name === "unary" && dtypeOf(type) === "f32" && node.op.cost(node).flops >= 10 * product(dims(type));
/** Values that a kernel computes to make the element of a result at the same index. */
function points(d: Draft, out: Value, found = new Set<Value>()): Set<Value> {
  if (out.node.op.lower !== "point") return found;
  for (const a of out.node.args)
    if (d.inlines(a) && !found.has(a) && shapeOf(a).join() === shapeOf(out).join()) points(d, a, found.add(a));
  return found;
}
/** The folds of x, over axes from `depth` on, that are computed to make a result. */
function foldsOf(d: Draft, out: Value, x: Value, depth: number, seen = new Set<Value>()): Value[] {
  seen.add(out);
  const { op, args, attrs } = out.node;
  if (op.name === "reduce" && args[0] === x)
    return (attrs as OpAttrs["reduce"]).axes.every((axis) => axis >= depth) ? [out] : [];
  return args.flatMap((a) => (!seen.has(a) && d.inlines(a) ? foldsOf(d, a, x, depth, seen) : []));
}

/** Rows that one task takes in turn, where there are tasks enough. */
const most = 32;
const inTurn = (rows: number): number => Math.min(most, Math.floor(rows / 128));
/**
 * Rows of one axis in turn, each result stored, around the caches, while the next row's kept values are made: memory is then never idle.
 * False where it cannot be: nothing is kept, what is folded is more than that, or rows are few.
 */
export function rowsInTurn(d: Draft, out: Value, outer: readonly number[], n: number): boolean {
  const [depth, count] = [outer.length, inTurn(product(outer))];
  const kept = count > 1 ? keptOf(d, out, depth) : null;
  const [fold, ...more] = kept ? foldsOf(d, out, kept, depth) : [];
  if (!kept || !fold || more.length > 0) return false;
  const { fn } = fold.node.attrs as OpAttrs["reduce"];
  const task = d.k.task("r", product(outer), count);
  const [local, folded] = [d.k.local("kept", [2, n]), d.k.local("folded", [2])];
  const reader = d.reader();
  /** Stores an element of the row before i, whose fold is `value`. */
  const finish = (i: Expr, value: Expr): ((j: Expr) => void) => {
    const at = unflatten(plus(task, add(i, num(-1))), outer);
    const read = d.reader(
      new Map<Value, (x: readonly Expr[]) => Expr>([
        [kept, (x) => load(local, mod(add(i, num(1)), 2), item(x, depth))],
        [fold, () => value],
      ]),
    );
    return (j) => d.k.store(d.output(out), [...at, j], read.element(out, [...at, j]), true);
  };
  const before = (i: Expr): Expr => d.k.letHere("before", load(folded, mod(add(i, num(1)), 2)));
  d.k.for("i", num(0), task.n, 1, ({ at: i }) => {
    const at = unflatten(plus(task, i), outer);
    const store = finish(i, before(i));
    const total = d.k.fold(
      fn,
      fn,
      "f32",
      num(n),
      (j) => {
        const made = d.k.letHere("made", reader.element(kept, [...at, j]));
        d.k.store(local, [mod(i, 2), j], made);
        d.k.if(call("gt", "bool", i, num(0)), () => store(j));
        return made;
      },
      n,
    );
    d.k.store(folded, [mod(i, 2)], total);
  });
  const last = finish(task.n, before(task.n));
  d.k.par(num(n), last);
  return true;
}
