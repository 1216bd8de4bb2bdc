// CUDA: folds whose result is known, or read by nothing, such as the extreme positions of a block of attention where positions are a range. The compiler
// keeps them, because a block's fold has barriers.
import { dependsOn, isNum, num, range, stride, sub, subexpressions, substitute } from "../../kernel/expr.ts";
import type { Buffer, Expr, Kernel, Load, Stmt, StmtOf } from "../../kernel/ir.ts";
import { withoutUnread, writtenBuffers } from "../../kernel/passes.ts";
import { foldOf } from "../../ops/reduce.ts";

type Fold = StmtOf<"fold">;

/** The kernel without such folds. */
export function withoutKnownFolds(k: Kernel): Kernel {
  const body = withKnown(k.body, writtenBuffers(k));
  return { ...k, body: withoutUnread(body) };
}
const inBody = (s: Stmt, f: (list: readonly Stmt[]) => Stmt[]): Stmt =>
  "body" in s && s.s !== "both" ? { ...s, body: f(s.body) } : s;
const withKnown = (list: readonly Stmt[], written: ReadonlySet<Buffer>): Stmt[] =>
  list.map((s) => {
    const value = s.s === "fold" ? knownValue(s) : null;
    const isKnown = value !== null && subexpressions(value).every((x) => x.e !== "load" || isConstant(x, written));
    if (s.s === "fold" && isKnown) return { s: "let", v: s.into, value };
    return inBody(s, (body) => withKnown(body, written));
  });
/** Whether memory keeps its value while the kernel runs: a thread may read it later than others. */
const isConstant = ({ from }: Load, written: ReadonlySet<Buffer>): boolean =>
  from.kind === "buffer" && !written.has(from);
/** The result of a max or min over at least one element: of one value, or of consecutive integers. */
function knownValue({ op, v, extent, body, value }: Fold): Expr | null {
  if (!foldOf(op).picks || body.length > 0 || range(extent)[0] < 1) return null;
  if (!dependsOn(value, v)) return value;
  if (isNum(extent) && extent.value === 1) return substitute(value, v, num(0));
  const index = value.e === "op" && value.op === "value" ? value.args[0] : undefined;
  if (!index || stride(index, v) !== 1) return null;
  return substitute(value, v, op === "min" ? num(0) : sub(extent, num(1)));
}
