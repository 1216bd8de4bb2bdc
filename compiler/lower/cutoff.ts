// The `cutoff` op: for each row, the largest float t such that the weights of all elements >= t add up to enough. It is found bit by bit: the weights
// of elements no less than a candidate are summed in an order that depends on the row's length alone, so a larger candidate never has a larger sum
// and no schedule changes the result.
import type { Node } from "../graph/node.ts";
import { item } from "../item.ts";
import { type Block, blockAt, plus } from "../kernel/builder.ts";
import { and, asValue, call, equals, f32, i32, load, num, roundUp, select, unflatten } from "../kernel/expr.ts";
import type { Expr, Scalar } from "../kernel/ir.ts";
import type { Choices } from "../kernel/schedule.ts";
import { keyBits } from "../ops/cutoff.ts";
import type { VirtualBuffer } from "../plan/sequence.ts";
import { product } from "../types/numbers.ts";
import { dtypeOf } from "../types/type.ts";
import type { Draft } from "./draft.ts";
import { operand, result, shapeOf } from "./reader.ts";

/** How many bits a round of launches finds, and how many candidates it tries: all values of these bits but zero. */
const bitsPerRound = 4;
const candidates = 2 ** bitsPerRound - 1;
const rounds = keyBits / bitsPerRound;
/** What a round leaves for the next: the bits found before this round, and its candidates' sums over each piece of a row. */
interface RoundBuffers {
  readonly shift: number;
  readonly found: VirtualBuffer;
  readonly sums: VirtualBuffer;
}
/** The buffers of a round and of the round before it; null for the first. */
interface CutoffRound {
  readonly own: RoundBuffers;
  readonly before: RoundBuffers | null;
}
type Make = (name: string, dtype: "f32" | "i32", shape: readonly number[]) => VirtualBuffer;

/** The rounds of a search with `pieces` pieces per row. `make` makes a buffer. */
export function cutoffRounds(node: Node, pieces: number, make: Make): CutoffRound[] {
  const { rows, type } = sizesOf(node);
  const buffers = Array.from({ length: rounds }, (_, i) => ({
    shift: keyBits - bitsPerRound * (i + 1),
    found: make(`found.${i}`, "i32", [rows]),
    sums: make(`sums.${i}`, type, [rows, pieces, candidates]),
  }));
  return buffers.map((own, i) => ({ own, before: buffers[i - 1] ?? null }));
}
/** How many tasks share a row: more than one where rows are few. */
export function cutoffPieces(node: Node, choices: Choices): number {
  const { rows, n } = sizesOf(node);
  return rows === 0 ? 1 : choices.rows.cutoffPieces(rows, n);
}
function sizesOf(node: Node): { readonly rows: number; readonly n: number; readonly type: "f32" | "i32" } {
  const shape = shapeOf(operand(node));
  const type = dtypeOf(operand(node, 1).type) === "i32" ? "i32" : "f32";
  return { rows: product(shape.slice(0, -1)), n: item(shape, shape.length - 1), type };
}
/** One row of the operands, and where its result goes. */
interface Row {
  readonly at: Expr;
  readonly amount: Expr;
  readonly type: Scalar;
  /** The sum of the weights of the elements >= t in a part of the row. */
  readonly weightAbove: (t: Expr, part: Block) => Expr;
  readonly store: (t: Expr) => void;
}
function rowOf(d: Draft, node: Node, r: Expr): Row {
  const { type } = sizesOf(node);
  const outer = unflatten(r, shapeOf(result(node)));
  const reader = d.reader({ withoutLets: true });
  const element = (i: number, ...j: readonly Expr[]): Expr => reader.element(operand(node, i), [...outer, ...j]);
  const counted = (t: Expr, j: Expr): Expr => select(call("ge", "bool", element(0, j), t), element(1, j), num(0, type));
  return {
    at: r,
    get amount() {
      return element(2);
    },
    type,
    weightAbove: (t, part) => d.k.fold("above", "sum", type, part.n, (i) => counted(t, plus(part, i))),
    store: (t) => d.k.store(d.output(result(node)), outer, t),
  };
}
const xor = (x: Expr, y: Expr): Expr => call("xor", "i32", x, y);
/** The float of a key. Keys are ordered as floats are; key 0 is a NaN, which no element reaches. */
const floatOf = (key: Expr): Expr => call("fallen", "f32", xor(key, i32(-1)));
const isEnough = ({ amount, type }: Row, sum: Expr): Expr =>
  and(call("ge", "bool", sum, amount), call("gt", "bool", sum, num(0, type)));
/** Stores the float of the final key. If no sum was enough, the key is still a NaN's, and -inf is stored. */
function storeCutoff(d: Draft, row: Row, key: Expr): void {
  const t = d.k.letHere("t", floatOf(key));
  row.store(select(call("eq", "bool", t, t), t, f32(-Infinity)));
}

/** A task for each row, which finds a bit at a time. */
export function cutoff(d: Draft, node: Node): void {
  const { rows, n } = sizesOf(node);
  const row = rowOf(d, node, d.k.task("r", rows).at);
  const found = d.k.tile("shared", "found", [1]);
  d.k.for("b", num(0), num(keyBits), 1, ({ at: b }) => {
    const bit = call("digit", "i32", i32(-(2 ** 31)), asValue(b), i32(-1));
    const key = d.k.letHere("key", xor(load(found, num(0)), bit));
    const t = d.k.letHere("t", floatOf(key));
    const sum = row.weightAbove(t, { at: num(0), n: num(n) });
    d.k.if(isEnough(row, sum), () => d.k.store(found, [num(0)], key));
  });
  storeCutoff(d, row, load(found, num(0)));
}

/** The bits known after a round: of its candidates, the largest whose sum was enough. */
function bitsAfter(d: Draft, row: Row, before: RoundBuffers | null): Expr {
  if (!before) return i32(0);
  const [found, sums] = [d.param("found", before.found, "read"), d.param("sums", before.sums, "read")];
  const pieces = item(before.sums.shape, 1);
  const best = d.k.fold("best", "max", "i32", num(candidates), (m) => {
    const sum = d.k.fold("sum", "sum", row.type, num(pieces), (c) => load(sums, row.at, c, m));
    return select(isEnough(row, sum), call("add", "i32", asValue(m), i32(1)), i32(0));
  });
  return d.k.letHere("known", xor(load(found, row.at), shiftLeft(best, before.shift)));
}
const shiftLeft = (x: Expr, shift: number): Expr => call("raised", "i32", x, i32(shift));
/** One round: a task sums the weights of the elements >= one candidate in one piece of a row. */
export function cutoffRound(d: Draft, node: Node, { own, before }: CutoffRound): void {
  const { rows, n } = sizesOf(node);
  const pieces = item(own.sums.shape, 1);
  const row = rowOf(d, node, d.k.task("r", rows).at);
  const c = d.k.task("c", pieces).at;
  const m = d.k.task("m", candidates).at;
  const known = bitsAfter(d, row, before);
  const t = d.k.letHere("t", floatOf(xor(known, shiftLeft(call("add", "i32", asValue(m), i32(1)), own.shift))));
  const sum = row.weightAbove(t, blockAt(c, n, roundUp(Math.ceil(n / pieces), 64)));
  d.k.store(d.param("tried", own.sums, "write"), [row.at, c, m], sum);
  const first = and(equals(c, num(0)), equals(m, num(0)));
  d.k.if(first, () => d.k.store(d.param("after", own.found, "write"), [row.at], known));
}
/** After the last round: computes and stores the final key of each row. */
export function cutoffEnd(d: Draft, node: Node, last: CutoffRound): void {
  const row = rowOf(d, node, d.k.task("r", sizesOf(node).rows).at);
  storeCutoff(d, row, bitsAfter(d, row, last.own));
}
