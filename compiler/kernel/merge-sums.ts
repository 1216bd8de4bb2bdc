// A pass on kernels: sums over the same elements that need the same costly function of them are one loop, in which the function is computed once.
// So are cheap ones down columns that read the same elements (a convolution's taps): rows of 4 KB lie in one set of L1, where few of them fit.
import { item } from "../item.ts";
import { binaries, unaries } from "../ops/scalar.ts";
import { call, dependsOn, num, same, subexpressions, substitute, variable } from "./expr.ts";
import type { Expr, Kernel, Stmt, StmtOf, Var } from "./ir.ts";
import { expressions, stores } from "./passes.ts";

type Fold = StmtOf<"fold">;
type Let = StmtOf<"let">;

/** The most sums of one loop: their accumulators, two to four for each, stay in registers. */
const maxSums = 4;
/** Functions that take longer than what a loop of one's own saves: no spilled accumulators, four elements at a time. */
const minFlops = 10;
const costly = new Set(
  Object.entries({ ...unaries, ...binaries }).flatMap(([name, { flops }]) => (flops >= minFlops ? [name] : [])),
).add("threefry");

const isCostly = (x: Expr): boolean => subexpressions(x).some((y) => y.e === "op" && costly.has(y.op));

/** The kernel with such sums as one, of `several` numbers, whose `part`s are the sums. On the same lanes each adds up in the order that it has alone. */
export const mergeSums = (k: Kernel): Kernel => ({ ...k, body: mergedIn(k.body, null) });

/** `lane`: the variable of the `par` whose body the list is. */
function mergedIn(list: readonly Stmt[], lane: Var | null): readonly Stmt[] {
  const inner = list.map((s) =>
    s.s === "par" || s.s === "for" || s.s === "if" ? { ...s, body: mergedIn(s.body, s.s === "par" ? s.v : lane) } : s,
  );
  return inner.filter(isSum).reduce<readonly Stmt[]>((all, first) => mergedFrom(all, first, lane), inner);
}
/** Whether a statement is a sum that does nothing else. */
const isSum = (s: Stmt): s is Fold =>
  s.s === "fold" && s.op === "sum" && s.into.type === "f32" && s.body.every((b) => b.s === "let");

/** Sums that are one loop, and the lets after the first of them that this loop reads. */
interface Group {
  readonly sums: readonly Fold[];
  readonly needed: readonly Let[];
  readonly body: readonly Let[];
  readonly values: readonly Expr[];
}
/** The list with `first` and the sums after it that fit as one. */
function mergedFrom(list: readonly Stmt[], first: Fold, lane: Var | null): readonly Stmt[] {
  const from = list.indexOf(first);
  if (from < 0) return list; // merged with an earlier one
  let group: Group = { sums: [first], needed: [], body: first.body as readonly Let[], values: [first.value] };
  for (let i = from + 1; i < list.length; i++) {
    const s = list[i];
    if (s?.s !== "let" && s?.s !== "fold" && s?.s !== "store") break;
    const needed = isSum(s) && isAlike(s, first) ? neededLets(s, list.slice(from, i)) : null;
    if (isSum(s) && needed && group.sums.length < maxSums) group = joined(group, s, needed, lane) ?? group;
  }
  if (group.sums.length === 1) return list;
  const gone = new Set<Stmt>([...group.sums.slice(1), ...group.needed]);
  return list.flatMap((s) => (s === first ? oneLoop(first, group) : gone.has(s) ? [] : [s]));
}
const isAlike = (a: Fold, b: Fold): boolean => same(a.extent, b.extent) && a.prefetchDistance === b.prefetchDistance;

function oneLoop(first: Fold, { sums, needed, body, values }: Group): Stmt[] {
  const into = variable(sums.map((s) => s.into.name).join("_and_"), "f32", -Infinity);
  const parts = sums.map((s, i): Let => ({ s: "let", v: s.into, value: call("part", "f32", into, num(i)) }));
  return [...needed, { ...first, into, body, value: call("several", "f32", ...values) }, ...parts];
}
/** The lets of `before` that a sum reads, in order; null if it reads what else these statements make. */
function neededLets(sum: Fold, before: readonly Stmt[]): readonly Let[] | null {
  const read = new Set<Expr>(expressions([sum]));
  const needed: Let[] = [];
  for (const s of before.toReversed()) {
    if (s.s === "fold" && read.has(s.into)) return null;
    if (s.s !== "let" || !read.has(s.v)) continue;
    needed.unshift(s);
    for (const x of subexpressions(s.value)) read.add(x);
  }
  const stored = new Set(stores(before).map(({ to }) => to));
  return [...read].some((x) => x.e === "load" && stored.has(x.from)) ? null : needed;
}
/** The group with one more sum; null if they have in common no costly function, nor, of cheap sums down columns, an element. */
function joined(group: Group, sum: Fold, needed: readonly Let[], lane: Var | null): Group | null {
  const body = [...group.body];
  const names: [Var, Expr][] = [[sum.v, item(group.sums, 0).v]];
  const own = (x: Expr): Expr => names.reduce((y: Expr, [v, by]) => substitute(y, v, by), x);
  let shares = false;
  const [{ v }] = group.sums as [Fold];
  const isElement = (x: Expr): boolean => lane !== null && x.e === "load" && dependsOn(x, lane) && dependsOn(x, v);
  const isCheap = !expressions([...group.sums, sum]).some(isCostly);
  for (const b of sum.body as readonly Let[]) {
    const value = own(b.value);
    const known = group.body.find((s) => same(s.value, value));
    if (known) names.push([b.v, known.v]);
    else body.push({ ...b, value });
    shares ||= known !== undefined && (isCostly(value) || (isCheap && isElement(value)));
  }
  if (!shares) return null;
  const all = [...new Set([...group.needed, ...needed])];
  return { sums: [...group.sums, sum], needed: all, body, values: [...group.values, own(sum.value)] };
}
