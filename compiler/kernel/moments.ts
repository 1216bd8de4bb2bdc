// A pass on kernels: a row's sum, and that of the squares of its distances from its mean, are one loop over it in place of two (a layernorm's statistics).
import { call, f32, isNum, same, subexpressions, substitute } from "./expr.ts";
import type { Expr, Kernel, Stmt, StmtOf } from "./ir.ts";
import { expressions } from "./passes.ts";

/** The most operations of an element of a sum that is merged: targets write it many times over, unrolled. */
const maxOperations = 8;
type Fold = StmtOf<"fold">;

/** The kernel with such pairs of folds as `moments`. */
export function mergeMoments(k: Kernel): Kernel {
  return { ...k, body: k.body.filter((s) => s.s === "fold").reduce(merged, k.body) };
}
function merged(list: readonly Stmt[], sum: Fold): readonly Stmt[] {
  if (!list.includes(sum)) return list; // itself squares about a mean
  const squares = list.find((s): s is Fold => s.s === "fold" && isSquaresOf(s, sum, list));
  if (!squares) return list;
  const { into, v, extent, body, value, prefetchDistance } = sum;
  const ahead = prefetchDistance === undefined ? {} : { prefetchDistance };
  const moments: Stmt = { s: "moments", sum: into, squares: squares.into, v, extent, body, value, ...ahead };
  return list.flatMap((s) => (s === sum ? [moments] : s === squares ? [] : [s]));
}
/** Whether a fold is the sum of (value - mean)², where `sum` is the sum of the values, and their mean is computed from it. */
function isSquaresOf(s: Fold, sum: Fold, list: readonly Stmt[]): boolean {
  const [values, squares] = [expanded(sum), expanded(s)];
  if (s === sum || !values || !squares || !same(s.extent, sum.extent)) return false;
  const distance = squares.e === "op" && squares.op === "mul" ? squares.args : [];
  const [x, other] = distance;
  if (!x || !other || !same(x, other) || x.e !== "op" || x.op !== "sub") return false;
  const [own, mean] = x.args;
  return (
    own !== undefined && mean !== undefined && same(own, substitute(values, sum.v, s.v)) && isMean(mean, sum, list)
  );
}
/** The value of a sum's element, without the lets of its body; null if it has other statements, or many operations. */
function expanded({ op, into, body, value }: Fold): Expr | null {
  if (op !== "sum" || into.type !== "f32" || !body.every((b) => b.s === "let")) return null;
  const operations = [...expressions(body), ...subexpressions(value)].filter((x) => x.e === "op" && x.type !== "index");
  if (operations.length > maxOperations) return null;
  return body.toReversed().reduce((x: Expr, b) => substitute(x, b.v, b.value), value);
}
function isMean(x: Expr, { into, extent }: Fold, list: readonly Stmt[]): boolean {
  const known = list.find((s): s is StmtOf<"let"> => s.s === "let" && s.v === x)?.value ?? x;
  return isNum(extent) && same(known, call("div", "f32", into, f32(extent.value)));
}
