// Converts values from one placement among workers to another. partition.ts uses it where an op needs an argument placed otherwise than it is.
import { Bug } from "../diagnostic.ts";
import { type Builder, type Group, hidden, type Node, type Placement, type Value } from "../graph/node.ts";
import { type CutAt, cutAt, even, groupsOf, reshaped, same, whole } from "../ops/across.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { nth } from "../ops/common.ts";
import { inverted } from "../ops/view.ts";
import { dims, dtypeOf, type } from "../types/type.ts";

/** What conversions of sorted rows need to know; routings.ts has it. `by`: the `route` node in the graph of the whole. */
interface Routings {
  choices(by: Node): number;
  own(by: Node): number;
  room(by: Node): number;
  /** The routing of this worker's own choices, and one routing of all workers' choices. */
  local(by: Node): b.Route;
  all(by: Node): b.Route;
  /** Rows sent to the owners of their groups, or, with `back`, returned. */
  exchange(rows: Value, by: Node, back: boolean): Value;
  /** bool: which of the sorted rows, where they were routed or (`owned`) at their groups' owner, are no padding. */
  valid(by: Node, owned: boolean): Value;
}

export class Parts {
  private readonly g: Builder;
  private readonly count: number;
  private readonly routings: Routings;
  private readonly known = new Map<Value, Map<string, Value>>();

  constructor(g: Builder, count: number, routings: Routings) {
    this.g = g;
    this.count = count;
    this.routings = routings;
  }

  /** Converts `x` from the placement `from` to `to`. */
  convert(x: Value, from: Placement, to: Placement): Value {
    if (same(from, to)) return x;
    if (to.kind === "cut" && to.clean) return this.cleaned(this.convert(x, from, cutAt(to.axis, to.cut)), to);
    if (from.kind === "partial")
      return this.convert(b.make1(this.g, "all_reduce", [x], { fn: from.fn, ...from.among }), from.of, to);
    if (from.kind === "whole" && to.kind === "cut")
      return to.cut.kind === "even" ? this.part(x, to.axis, to.cut.among) : this.rowsOf(x, to);
    if (from.kind === "cut" && to.kind === "cut" && isMoved(from, to)) return this.exchanged(x, from, to);
    if (from.kind === "cut" && to.kind === "whole")
      return from.cut.kind === "even" ? this.gathered(x, from.axis, from.cut.among) : this.wholeRows(x, from);
    if (from.kind === "cut") return this.convert(this.convert(x, from, whole), whole, to);
    throw new Bug(`no value that is ${from.kind} becomes one that is ${to.kind}`);
  }

  /** This worker's part, of `among`, of a whole value: computed on the part where elementwise ops, views and ranges make the value, else gathered from it. */
  part(x: Value, axis: number, among: number): Value {
    const [known, key] = [this.known.get(x) ?? new Map<string, Value>(), `${axis} ${among}`];
    this.known.set(x, known);
    const made = known.get(key) ?? this.madeAnew(x, axis, among) ?? this.lookedUp(x, axis, among);
    known.set(key, made);
    return made;
  }
  private lookedUp(x: Value, axis: number, among: number): Value {
    return b.make1(this.g, "gather", [x, this.places(nth(dims(x.type), axis), among)], { axis, batch: 0 });
  }
  /** i32[n / among]: the positions of this worker's part of an axis of length `n`. */
  private places(n: number, among: number): Value {
    const own = n / among;
    return b.add(this.g, b.iota(this.g, own), ranked(this.g, groupsOf(this.count, among), own, [own]));
  }
  private madeAnew(x: Value, axis: number, among: number): Value | null {
    const { op, args, attrs } = x.node;
    const shape = dims(x.type);
    const local = shape.with(axis, nth(shape, axis) / among);
    switch (op.name) {
      case "iota":
        return this.places(nth(shape, 0), among);
      case "random":
        return args.length === 1 && axis === 0 ? this.numbers(x, shape, among) : null;
      case "broadcast": {
        const { axes } = attrs as OpAttrs["broadcast"];
        const own = axes.indexOf(axis);
        return b.broadcast(this.g, own < 0 ? nth(args, 0) : this.part(nth(args, 0), own, among), local, axes);
      }
      case "transpose": {
        const { perm } = attrs as OpAttrs["transpose"];
        return b.transpose(this.g, this.part(nth(args, 0), nth(perm, axis), among), perm);
      }
      case "reshape": {
        const from = nth(args, 0);
        const own = reshaped(shape, dims(from.type), cutAt(axis, even(among)));
        return own === null ? null : b.reshape(this.g, this.part(from, own, among), local);
      }
      default:
        if (op.lower !== "point" || op.name === "after") return null;
        return nth(
          this.again(
            x.node,
            args.map((a) => this.part(a, axis, among)),
          ),
          x.index,
        );
    }
  }
  /** A part of random numbers: they are drawn for the rows' positions in the whole, so they are the same with any number of workers. */
  private numbers(x: Value, shape: readonly number[], among: number): Value {
    const { place } = x.node.attrs as OpAttrs["random"];
    return b.random(this.g, nth(x.node.args, 0), place, shape.slice(1), this.places(nth(shape, 0), among));
  }
  private again(node: Node, args: readonly Value[]): readonly Value[] {
    return this.g.add(node.op, args, node.attrs).results;
  }
  private gathered(x: Value, axis: number, among: number): Value {
    return this.inFront(x, axis, (rows) => b.make1(this.g, "all_gather", [rows], groupsOf(this.count, among)));
  }
  /** Applies `f`, which works along the first axis, along `axis`. */
  private inFront(x: Value, axis: number, f: (rows: Value) => Value): Value {
    if (axis === 0) return f(x);
    const order = dims(x.type).map((_, i) => i);
    const perm = [axis, ...order.filter((i) => i !== axis)];
    return b.transpose(this.g, f(b.transpose(this.g, x, perm)), inverted(perm));
  }

  /** The same along an axis of rows with one entry of the first axis per choice: a choice may have several rows (`unit`). */
  private byChoice(x: Value, axis: number, choices: number, f: (rows: Value) => Value): Value {
    return this.inFront(x, axis, (rows) => {
      const [n = 0, ...rest] = dims(rows.type);
      const unit = n / choices;
      const made = f(b.reshape(this.g, rows, [choices, unit, ...rest]));
      return b.reshape(this.g, made, [nth(dims(made.type), 0) * unit, ...rest]);
    });
  }
  private exchanged(x: Value, { axis, cut }: CutAt, to: CutAt): Value {
    if (cut.kind !== "rows" || to.cut.kind !== "rows") throw new Bug("only rows are exchanged");
    const { by, owned } = cut;
    const rows = owned ? this.routings.room(by) : this.routings.own(by);
    return this.byChoice(x, axis, rows, (own) => this.routings.exchange(own, by, owned));
  }
  private cleaned(x: Value, { axis, cut }: CutAt): Value {
    if (cut.kind !== "rows") return x;
    const valid = this.routings.valid(cut.by, cut.owned);
    return this.byChoice(x, axis, nth(dims(valid.type), 0), (rows) => {
      const mask = b.broadcast(this.g, valid, dims(rows.type), [0]);
      return dtypeOf(x.type) === "bool" ? b.and(this.g, mask, rows) : b.where(this.g, mask, rows, 0);
    });
  }
  private wholeRows(x: Value, from: CutAt): Value {
    if (from.cut.kind !== "rows") throw new Bug("only rows are of a routing");
    const { by } = from.cut;
    const sorted = this.convert(x, from, cutAt(from.axis, { ...from.cut, owned: false }));
    return this.byChoice(sorted, from.axis, this.routings.own(by), (rows) =>
      b.dispatch(
        this.g,
        this.gathered(b.combine(this.g, rows, this.routings.local(by)), 0, this.count),
        this.routings.all(by),
      ),
    );
  }
  private rowsOf(x: Value, to: CutAt): Value {
    if (to.cut.kind !== "rows") throw new Bug("only rows are of a routing");
    const { by, owned } = to.cut;
    const all = this.routings.choices(by);
    const unit = nth(dims(x.type), to.axis) / all;
    const length = unit * (owned ? this.routings.room(by) : this.routings.own(by));
    const alike = this.repeated(x, to.axis, length);
    if (alike) return alike;
    const sorted = this.byChoice(x, to.axis, all, (rows) =>
      b.dispatch(
        this.g,
        this.part(b.combine(this.g, rows, this.routings.all(by)), 0, this.count),
        this.routings.local(by),
      ),
    );
    return this.convert(sorted, cutAt(to.axis, { ...to.cut, owned: false }), to);
  }
  /** A value that is constant along `axis`, with another length of that axis; null if it is not known to be constant. */
  private repeated(x: Value, axis: number, length: number): Value | null {
    const { op, args, attrs } = x.node;
    if (op.name === "broadcast") {
      const { axes } = attrs as OpAttrs["broadcast"];
      return axes.includes(axis) ? null : b.broadcast(this.g, nth(args, 0), dims(x.type).with(axis, length), axes);
    }
    if (op.lower !== "point" || op.name === "random" || op.name === "after") return null;
    const own = args.map((a) => this.repeated(a, axis, length));
    const found = own.filter((v) => v !== null);
    return found.length === args.length ? nth(this.again(x.node, found), x.index) : null;
  }
}
/** This worker's index in its group (of consecutive ranks) times `n`, broadcast to a shape. */
export function ranked(g: Builder, { workers, groups }: Group, n: number, shape: readonly number[]): Value {
  const rank = b.param(g, hidden.rank, type("i32", []));
  return b.broadcast(g, b.mul(g, groups === undefined ? rank : b.rem(g, rank, workers), n), shape, []);
}
/** Whether both are sorted rows of the same routing along the same axis: then an exchange leads from one to the other. */
export const isMoved = (p: CutAt, q: CutAt): boolean =>
  p.axis === q.axis && p.cut.kind === "rows" && q.cut.kind === "rows" && p.cut.by === q.cut.by;
