// Passes on kernels (`hoist`, `insertBarriers`), and the walks over statements and expressions that they share with other files.
import { call, isNum, range, sub, subexpressions } from "./expr.ts";
import type { Axis, Buffer, Expr, Kernel, Load, Stmt, StmtOf, Tile } from "./ir.ts";

/** The expressions of a statement itself, without those of its body. */
export function ownExpressions(s: Stmt): readonly Expr[] {
  switch (s.s) {
    case "let":
      return [s.value];
    case "for":
      return [s.axis.from, s.axis.to, ...(s.axis.skip ? [s.axis.skip.at, s.axis.skip.by] : [])];
    case "if":
      return [s.cond];
    case "tile":
      return s.at ? [s.at] : [];
    case "stage":
      return [...s.valid, s.value];
    case "mma":
    case "each":
      return s.valid;
    case "par":
      return [s.extent];
    case "fold":
    case "moments":
    case "foldrows":
    case "scan":
      return [s.extent, s.value];
    case "tally":
      return [s.extent, s.key];
    case "store":
      return [...s.at, s.value];
    case "both":
    case "sync":
      return [];
  }
}
/** The statement with `f` of each of its `ownExpressions` in its place. */
export function mapExpressions(s: Stmt, f: (x: Expr) => Expr): Stmt {
  switch (s.s) {
    case "let":
      return { ...s, value: f(s.value) };
    case "for":
      return { ...s, axis: mapAxis(s.axis, f) };
    case "if":
      return { ...s, cond: f(s.cond) };
    case "tile":
      return s.at ? { ...s, at: f(s.at) as Load } : s;
    case "stage":
      return { ...s, valid: pairOf(s.valid, f), value: f(s.value) };
    case "mma":
      return { ...s, valid: pairOf(s.valid, f) };
    case "each":
      return { ...s, valid: s.valid.map(f) };
    case "par":
      return { ...s, extent: f(s.extent) };
    case "fold":
    case "moments":
    case "foldrows":
    case "scan":
      return { ...s, extent: f(s.extent), value: f(s.value) };
    case "tally":
      return { ...s, extent: f(s.extent), key: f(s.key) };
    case "store":
      return { ...s, at: s.at.map(f), value: f(s.value) };
    case "both":
    case "sync":
      return s;
  }
}
const pairOf = ([a, b]: readonly [Expr, Expr], f: (x: Expr) => Expr): [Expr, Expr] => [f(a), f(b)];
const mapAxis = (axis: Axis, f: (x: Expr) => Expr): Axis => ({
  ...axis,
  from: f(axis.from),
  to: f(axis.to),
  ...(axis.skip ? { skip: { at: f(axis.skip.at), by: f(axis.skip.by) } } : {}),
});
export const bodyOf = (s: Stmt): readonly Stmt[] => ("body" in s ? s.body : []);
/** All statements, nested ones included; each comes before those of its body. */
export const statements = (list: readonly Stmt[]): Stmt[] => list.flatMap((s) => [s, ...statements(bodyOf(s))]);
/** Every expression in the statements, nested statements and subexpressions included. */
export const expressions = (list: readonly Stmt[]): Expr[] =>
  statements(list).flatMap(ownExpressions).flatMap(subexpressions);
export const loads = (list: readonly Stmt[]): Load[] => expressions(list).filter((x) => x.e === "load");
export const stores = (list: readonly Stmt[]): StmtOf<"store">[] => statements(list).filter((s) => s.s === "store");
/** Without lets, and folds that store nothing, which nothing reads; `read`: what is read after them, to which is added what those that stay read. */
export const withoutUnread = (list: readonly Stmt[], read = new Set<Expr>()): Stmt[] =>
  list
    .toReversed()
    .flatMap((s): Stmt[] => {
      if (s.s === "let" && !read.has(s.v)) return [];
      if (s.s === "fold" && !read.has(s.into) && stores(s.body).length === 0) return [];
      const own = s.s === "both" ? expressions(s.body) : ownExpressions(s);
      for (const x of own.flatMap(subexpressions)) read.add(x);
      return [s.s !== "both" && "body" in s ? { ...s, body: withoutUnread(s.body, read) } : s];
    })
    .toReversed();
/** Tiles of the roles that the statements read and write. */
export function tilesOf(
  list: readonly Stmt[],
  ...roles: readonly Tile["role"][]
): { readonly reads: Set<Tile>; readonly writes: Set<Tile> } {
  const among = (all: readonly (Buffer | Tile)[]): Set<Tile> =>
    new Set(all.filter((t) => t.kind === "tile" && roles.includes(t.role)) as Tile[]);
  return { reads: among(loads(list).map((x) => x.from)), writes: among(statements(list).flatMap(writtenBy)) };
}
const writtenBy = (s: Stmt): readonly (Buffer | Tile)[] =>
  s.s === "store" ? [s.to] : s.s === "tile" ? [s.tile] : s.s === "tally" ? [s.counts] : [];
/** Buffers that a kernel stores to. */
export const writtenBuffers = (k: Kernel): Set<Buffer> =>
  new Set(stores(k.body).flatMap(({ to }) => (to.kind === "buffer" ? [to] : [])));

/**
 * Moves stages out of loops that do not change them, so that a packed operand is made once for all rounds. If the loop may have no round, both stand
 * under an `if`.
 */
function hoist(list: readonly Stmt[]): Stmt[] {
  return list.flatMap((s): Stmt[] => {
    if (s.s === "if") return [{ ...s, body: hoist(s.body) }];
    if (s.s !== "for") return [s];
    const body = hoist(s.body);
    const out = body.filter((b) => b.s === "stage" && !isLoopVariant(s, body, b));
    const loop = { ...s, body: body.filter((b) => !out.includes(b)) };
    if (out.length === 0 || hasFirstRound(s.axis)) return [...out, loop];
    return [{ s: "if", cond: call("lt", "bool", s.axis.from, s.axis.to), body: [...out, loop] }];
  });
}
/** Whether a loop is known to have a first round. (Builders make no loops over constant empty ranges.) */
function hasFirstRound({ from, to }: Axis): boolean {
  return isNum(from) || range(sub(to, from))[0] > 0;
}
/** Whether a statement depends on what the loop binds, or reads a tile. */
function isLoopVariant(loop: StmtOf<"for">, body: readonly Stmt[], s: Stmt): boolean {
  const bound = new Set<Expr>([loop.axis.v, loop.axis.n, ...body.flatMap((b) => (b.s === "let" ? [b.v] : []))]);
  return expressions([s]).some((x) => bound.has(x) || (x.e === "load" && x.from.kind === "tile"));
}

/**
 * Puts barriers between a write of a shared tile and the next use, and between a use and the next write. Rounds of a loop follow one another as tasks
 * do, so a list that uses shared tiles ends with a barrier.
 */
export function insertBarriers(list: readonly Stmt[]): Stmt[] {
  const [read, written, out] = [new Set<Tile>(), new Set<Tile>(), [] as Stmt[]];
  const barrier = (): void => {
    out.push({ s: "sync" });
    read.clear();
    written.clear();
  };
  for (const s of list) {
    if (s.s === "sync") {
      barrier();
      continue;
    }
    const { reads, writes } = tilesOf([s], "shared");
    const clash = [...reads].some((t) => written.has(t)) || [...writes].some((t) => written.has(t) || read.has(t));
    if (clash) barrier();
    out.push(s.s === "for" ? { ...s, body: insertBarriers(s.body) } : s);
    for (const t of reads) read.add(t);
    for (const t of writes) written.add(t);
  }
  if (read.size + written.size > 0) barrier(); // the next task starts over
  return out;
}
/** The kernel as it is emitted: with barriers, and with loop-invariant stages hoisted. */
export function finishKernel(k: Kernel): Kernel {
  const shares = statements(k.body).some((s) => s.s === "tile" && s.tile.role === "shared");
  return { ...k, body: hoist(shares ? insertBarriers(k.body) : k.body) };
}
/** Whether an operand is staged as terms of bf16, for AMX. */
export const isInTerms = ({ form }: Tile): boolean => form === "term" || form === "terms";
