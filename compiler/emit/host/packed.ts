// Packed left operands that consecutive tasks share, as those of a product that differ in their columns: the first task packs them for all.
import { item } from "../../item.ts";
import { isNum, num, same, subexpressions } from "../../kernel/expr.ts";
import type { Axis, Expr, Kernel, StmtOf, Var } from "../../kernel/ir.ts";
import { expressions, isInTerms, ownExpressions, statements, writtenBuffers } from "../../kernel/passes.ts";
import type { Emitter } from "../emitter.ts";
import { blockCount } from "../grid.ts";

/** How many copies of an operand are kept, one for each block of the depth; which one is packed, and how many of its steps: none if it is there. */
export interface Packing {
  readonly copies: number;
  readonly copy: string;
  readonly steps: string;
}
export function packingOf(s: StmtOf<"stage">, e: Emitter): Packing {
  const steps = e.expr(s.valid[1]);
  const loops = loopsAround(s, e.kernel);
  const [blocks, ...more] = loops.filter(hasSeveralRounds);
  const copies = blocks ? blockCount(blocks) : 1;
  const key =
    more.length === 0 &&
    copies * item(s.tile.shape, 0) * item(s.tile.shape, 1) <= mostKept &&
    keyOf(s, loops, e.kernel);
  if (!key) return { copies: 1, copy: "0", steps };
  const copy = blocks ? `${blocks.v.name} / ${blocks.step}` : "0";
  const name = `${s.tile.name}_packed`;
  const names = key.filter((v) => v !== blocks?.v).map((v) => v.name);
  e.beforeTasks.push(`Packed<${Math.max(1, names.length)}> ${name}[${copies}];`);
  return { copies, copy, steps: `${name}[${copy}].steps(${steps}, {${names.join(", ") || "0"}})` };
}
/** Up to so many floats of an operand are kept: a quarter of L2. */
const mostKept = 1 << 17;
const hasSeveralRounds = (a: Axis): boolean => same(a.from, num(0)) && isNum(a.to) && blockCount(a) > 1;
const loopsAround = (s: StmtOf<"stage">, k: Kernel): Axis[] =>
  statements(k.body).flatMap((t) => (t.s === "for" && statements(t.body).includes(s) ? [t.axis] : []));
/** The variables that an operand depends on; null if consecutive tasks have different operands, or if it depends on more than blocks and inputs. */
function keyOf(s: StmtOf<"stage">, loops: readonly Axis[], k: Kernel): readonly Var[] | null {
  const last = k.grid.at(-1);
  if (!last || blockCount(last) === 1 || isInTerms(s.tile)) return null;
  const own = new Set<Expr>([...s.vs, ...s.body.flatMap((b) => (b.s === "let" ? [b.v] : []))]);
  const used = expressions([s]).filter((x) => !own.has(x));
  const key = [...new Set(used.filter((x) => x.e === "var"))];
  const [blocks, changed] = [new Set([...k.grid, ...loops].flatMap((a): Expr[] => [a.v, a.n])), changedBy(last, k)];
  const written = writtenBuffers(k);
  const isInput = (x: Expr): boolean => x.e !== "load" || (x.from.kind === "buffer" && !written.has(x.from));
  const isShared = s.body.every((b) => b.s === "let") && key.every((v) => blocks.has(v) && !changed.has(v));
  return isShared && used.every(isInput) ? key : null;
}
/** All variables that may change with a block of the grid. */
function changedBy({ v, n }: Axis, k: Kernel): ReadonlySet<Expr> {
  const changed = new Set<Expr>([v, n]);
  for (const s of statements(k.body)) {
    if (
      !ownExpressions(s)
        .flatMap(subexpressions)
        .some((x) => changed.has(x))
    )
      continue;
    if (s.s === "let") changed.add(s.v);
    if (s.s === "for") changed.add(s.axis.v).add(s.axis.n);
  }
  return changed;
}
