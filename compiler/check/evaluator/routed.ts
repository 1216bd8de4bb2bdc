// Calls of picked layers, `experts[index](x)` and `experts[:](x)`. The body is elaborated once, for one row or one layer, and turned into one for
// all by the ops' `mapped` rules.
import { Bug } from "../../diagnostic.ts";
import { mapGraph } from "../../graph/map.ts";
import type { Mapped, Routing, Value } from "../../graph/node.ts";
import { topological } from "../../graph/walk.ts";
import { item } from "../../item.ts";
import { getOrMake } from "../../memoize.ts";
import * as b from "../../ops/build.ts";
import { numbers } from "../../ops/common.ts";
import { indexRangeOf } from "../../ops/index-range.ts";
import { pluralize } from "../../pluralize.ts";
import type * as ast from "../../syntax/ast.ts";
import { product } from "../../types/numbers.ts";
import { equal, isSpread, type Size, show } from "../../types/size.ts";
import { dims, sameType, showType, type Type, type } from "../../types/type.ts";
import { absorb, fail, textOf } from "../errors.ts";
import { forwardOf } from "../layers.ts";
import { calledFrom } from "../numbers.ts";
import { type RowArgument, recordWholeAxis, rowTypeOf, takeRowHelp } from "../rows.ts";
import { FoundStack } from "../stacks.ts";
import {
  type Callable,
  type Instances,
  type Lane,
  type Run,
  resultList,
  results,
  type Slot,
  tensor,
  type Val,
} from "../values.ts";
import type { Call, CallArgument, World } from "../world.ts";
import { EffectInStack } from "./effects.ts";
import { checkRoutedBody } from "./probe.ts";
import { ofHot, shadowed } from "./shadow.ts";

/** `index` null: the call is `experts[:](x)`. */
export function callPicked(w: World, layers: Instances, index: Value | null, call: Call): Val {
  const { given, at } = call;
  if (given.some((g) => g.value.kind === "error")) absorb();
  if (index && index.type.dtype !== "i32")
    fail("E0410", `layers are picked by i32, not ${showType(index.type)}`, at, {
      help: "of `top_k` the second result is the index: `let (score, index) = top_k(p, K)`; whole numbers are converted: `i32(x)`",
    });
  requireSome(w, layers, at);
  if (layers.unstacked) throw new FoundStack(layers.unstacked);
  if (index) return w.checking ? checkRouted(w, layers, index, call) : callRouted(w, layers, index, call);
  return w.checking ? checkAll(w, layers, call) : callAll(w, layers, call);
}

/** An array of 0 layers says nothing of what they would return. */
export function requireSome(w: World, layers: Instances, at: ast.Span): void {
  if (w.checking || layers.length !== 0) return;
  fail("E0410", "this array has no layers", at, {
    notes: calledFrom(w),
    help: "make it of one layer or more; or say what is done without: `if E > 0 { ... }`",
  });
}

/** Splits each argument's axes into those before its row, which must be the index's first axes, and its row. */
function splitRows(fn: Callable, index: Value, { given, at }: Call): RowArgument[] {
  return given.map((g, i) => {
    const wanted = rowTypeOf(fn, g, i, at);
    if (g.value.kind !== "tensor" || wanted === null) return { given: g, type: null, lead: null, row: [] };
    const rank = wanted.axes.length;
    const { shape } = g.value.value.type;
    const lead = shape.slice(0, Math.max(0, shape.length - rank));
    const choices = index.type.shape;
    if (shape.length < rank || lead.length > choices.length || !lead.every((n, k) => equal(n, choices[k] ?? -1)))
      fail(
        "E0410",
        `what stands before the row of this argument must begin the index's axes [${choices.map(show).join(", ")}]: it is ${showType(g.value.value.type)}`,
        g.span,
        {
          notes: [
            `a row has ${pluralize(rank, "axis", "axes")} here, so [${lead.map(show).join(", ")}] stands before it`,
          ],
          help: "an argument is shared by all choices ([N, D]), per choice ([N, K, D]), or for all ([D])",
        },
      );
    const row = shape.slice(lead.length);
    if (wanted.spread === null && row.some(isSpread)) failWide(g, wanted);
    return { given: g, type: wanted, lead, row };
  });
}
const failWide = (g: CallArgument, wanted: ast.TypeExpr): never =>
  fail("E0410", `an expert would be given all of \`${textOf(g.span)}\` for each choice`, g.span, {
    also: [{ span: wanted.span, text: "declared here" }],
    help: takeRowHelp(wanted),
  });
const dtypeOf = (g: CallArgument) => (g.value.kind === "tensor" ? g.value.value.type.dtype : "f32");

function checkRouted(w: World, layers: Instances, index: Value, call: Call): Val {
  const { at } = call;
  const outcomes = layers.kinds.map((layer) => {
    const fn = forwardOf(layer, at);
    const split = splitRows(fn, index, call);
    const given = split.map(({ given: g, lead, row }) =>
      lead ? { ...g, value: tensor(w.placeholder(type(dtypeOf(g), row))) } : g,
    );
    const ofRow = { ...call, given };
    checkRoutedBody(w, fn, ofRow);
    return { split, result: w.call(fn, ofRow) };
  });
  const each = outcomes.map((o) => o.result);
  const result = withAxes(w, sameResults(each, at), index.type.shape);
  for (const { split } of outcomes) recordWholeAxis(w, index.type, split, result);
  return result;
}
function checkAll(w: World, layers: Instances, call: Call): Val {
  const { at } = call;
  const given = call.given.map((g) =>
    g.value.kind === "tensor" ? { ...g, value: tensor(w.placeholder(type(dtypeOf(g), oneCopy(g, layers.length)))) } : g,
  );
  const outcomes = layers.kinds.map((layer) => w.call(forwardOf(layer, at), { ...call, given }));
  return withAxes(w, sameResults(outcomes, at), [layers.length]);
}
function oneCopy(g: CallArgument, copies: Size): readonly Size[] {
  if (g.value.kind !== "tensor") return [];
  const { type: t } = g.value.value;
  const [first, ...rest] = t.shape;
  if (first === undefined || !equal(first, copies))
    fail(
      "E0410",
      `\`layers[:](x)\` gives each of ${show(copies)} layers its own: ${showType(t)} does not begin with ${show(copies)}`,
      g.span,
      { help: "its first axis is the number of layers: [E, C, D]" },
    );
  return rest;
}
const tensorsOf = (v: Val): Value[] => resultList(v).map((r) => (r.kind === "tensor" ? r.value : absorb()));
const typesOf = (v: Val): Type[] => tensorsOf(v).map((x) => x.type);
/** While checking, an element of an array may be any of its different layers, so all must give the same types. */
export function sameResults(outcomes: readonly Val[], at: ast.Span): Val {
  const [first = absorb(), ...others] = outcomes;
  const a = typesOf(first);
  for (const c of others.map(typesOf))
    if (a.length !== c.length || !a.every((t, i) => sameType(t, c[i] ?? t)))
      fail(
        "E0409",
        `the layers of this array have different results: ${a.map(showType).join(", ")} and ${c.map(showType).join(", ")}`,
        at,
        {
          help: "all layers of an array that is called by index or in a loop need one signature",
        },
      );
  return first;
}
const withAxes = (w: World, v: Val, axes: readonly Size[]): Val =>
  results(
    resultList(v).map((r) =>
      r.kind === "tensor"
        ? tensor(w.placeholder(type(r.value.type.dtype, [...axes, ...r.value.type.shape])))
        : absorb(),
    ),
  );

// Elaboration
export type Bind = Map<Value, Mapped>;
/** A leaf that stands for one row (or copy) in the body; `bind` says what it becomes for all. */
export function leaf(w: World, bind: Bind, shape: readonly Size[], mapped: Mapped): Value {
  const value = w.placeholder(type(mapped.value.type.dtype, shape));
  bind.set(value, mapped);
  return value;
}
const noWrite = (): never => {
  throw new Bug("a routed layer writes, where `update` is refused");
};
/** One copy's view of a slot that holds all copies. */
function copySlot(w: World, bind: Bind, all: Slot): Slot {
  const known = new Map<Value, Value>();
  const [over = 0, ...rest] = dims(all.type);
  const read = (): Value => {
    const value = all.read();
    return getOrMake(known, value, () => leaf(w, bind, rest, { kind: "each", value, over }));
  };
  return { type: type(all.type.dtype, rest), read, write: noWrite };
}
/**
 * The number that keys a row's random numbers: that of the row (or copy) itself, plus `n` times that of the row around it, if the call is nested.
 */
function laneBase(w: World, bind: Bind, own: Mapped, n: number, outer: Lane | null): Value {
  if (!outer) return leaf(w, bind, [], own);
  const value = b.add(w.g, b.mul(w.g, outer.base, n), own.value);
  return leaf(w, bind, [], { ...own, value });
}

function callRouted(w: World, layers: Instances, index: Value, call: Call): Val {
  requireInRange(w, index, Number(layers.length), call);
  const choices = dims(index.type);
  const n = product(choices);
  const flat = makeRowDependent(w, b.reshape(w.g, index, [n]), call.from.lane);
  const parts = layers.runs.map((run) => routedRun(w, run, inRun(w, flat, run, layers), index, call));
  const [first = [], ...others] = parts;
  const summed = first.map((value, i) => others.reduce((sum, part) => merge(w, sum, part[i] ?? absorb()), value));
  return results(summed.map((v) => tensor(b.reshape(w.g, v, [...choices, ...dims(v.type).slice(1)]))));
}
/** An index out of range drops its row on purpose; but one that holds positions (as of `top_k`) in an axis longer than the array is an error. */
function requireInRange(w: World, index: Value, length: number, { from: { instance }, at }: Call): void {
  const made = indexRangeOf(index);
  if (!made || made.length <= length) return;
  const maker = instance?.make.of.kind === "layer" && instance.path !== "" ? instance.make.of.maker : null;
  fail(
    "E0413",
    `the index chooses among ${made.length}, and there ${length === 1 ? "is" : "are"} ${pluralize(length, "layer")}`,
    at,
    {
      label: pluralize(length, "layer"),
      also: [
        ...(made.node.span ? [{ span: made.node.span, text: `chooses among ${made.length}` }] : []),
        ...(maker ? [{ span: maker.at, text: `\`${maker.parts[0].ast.name.name}\` is made here` }] : []),
      ],
      notes: [`what chooses ${length} or more would get zeros`, ...calledFrom(w)],
      help: `choose among as many as there are; if such a choice is to do nothing, say so: \`where(index < ${length}, index, -1)\``,
    },
  );
}
/** Inside another routed call each row has its own routing, even if all are equal: an index that does not depend on the row is made to. */
function makeRowDependent(w: World, index: Value, lane: Lane | null): Value {
  return !lane || dependsOnRow(index, lane) ? index : b.where(w.g, b.ge(w.g, lane.base, 0), index, -1);
}
function dependsOnRow(value: Value, { bind, base }: Lane): boolean {
  const kind = bind.get(base)?.kind;
  return topological([value]).some((n) => n.results.some((r) => bind.get(r)?.kind === kind));
}
/** Adds up the results of runs of equal layers: each run gives zeros for rows that it does not serve. */
const merge = (w: World, a: Value, c: Value): Value => (a.type.dtype === "bool" ? b.or(w.g, a, c) : b.add(w.g, a, c));
/** The index relative to a run of layers; -1 for layers of other runs. */
function inRun(w: World, index: Value, run: Run, layers: Instances): Value {
  if (run.count === layers.length) return index;
  const inside = b.and(w.g, b.ge(w.g, index, run.start), b.lt(w.g, index, run.start + run.count));
  return b.where(w.g, inside, b.sub(w.g, index, run.start), -1);
}
function routedRun(w: World, run: Run, flat: Value, index: Value, call: Call): Value[] {
  const hot = call.from.lane ? null : shadowed(w, flat, run.count);
  const own = hot?.others ?? flat;
  const by = routing(w, own, run.count);
  const { bind, out } = routedBody(w, run, by, index, call);
  const all = (operands: Bind, choices: Value, sorted: Routing): Value[] => {
    const mapped = mapGraph(out, operands, w.g);
    w.g.span = call.at;
    return mapped.map((m) => perRow(w, m, choices, sorted));
  };
  const served = all(bind, own, by);
  if (!hot) return served;
  const slots = routing(w, hot.slot, item(dims(hot.hot.type), 0));
  const more = all(ofHot(w, bind, hot.hot, by, slots), hot.slot, slots);
  return served.map((value, i) => merge(w, value, item(more, i)));
}
const routing = (w: World, index: Value, groups: number): Routing => ({
  ...b.route(w.g, index, groups),
  groups,
  rows: item(dims(index.type), 0),
});
/** The results of the layers' body for one row, and what its operands become for all rows. */
function routedBody(w: World, run: Run, by: Routing, index: Value, call: Call): { bind: Bind; out: readonly Value[] } {
  const { from, at } = call;
  const bind: Bind = new Map();
  const layer = run.make((slot) => copySlot(w, bind, slot));
  const fn = forwardOf(layer, at);
  const lane: Lane = {
    kind: "routed",
    base: laneBase(w, bind, { kind: "rows", value: by.order, by }, by.rows, from.lane),
    bind,
  };
  const given = splitRows(fn, index, call).map(({ given: g, lead, row }) => {
    if (g.value.kind !== "tensor" || !lead) return g;
    // not shared if it depends on an outer row: the choices of other rows lie between this row's
    const isShared = lead.length === 0 && !(from.lane && dependsOnRow(g.value.value, from.lane));
    if (isShared) return g;
    const value = b.dispatch(w.g, perChoice(w, g.value.value, lead, row, dims(index.type)), by);
    return { ...g, value: tensor(leaf(w, bind, row, { kind: "rows", value, by })) };
  });
  return { bind, out: tensorsOf(w.call(fn, { ...call, given, from: { ...from, lane } })) };
}
/** x[...lead, ...row], repeated for the choices that share it: [choices, ...row]. */
function perChoice(w: World, x: Value, lead: readonly Size[], row: readonly Size[], choices: readonly number[]): Value {
  const own = numbers(row);
  const open = b.reshape(w.g, x, [...numbers(lead), ...choices.slice(lead.length).map(() => 1), ...own]);
  return b.reshape(w.g, b.broadcastTo(w.g, open, [...choices, ...own]), [product(choices), ...own]);
}
/** A result of the body, for each choice; zeros where the index is out of range. */
function perRow(w: World, m: Mapped, flat: Value, by: Routing): Value {
  if (m.kind === "rows") return b.combine(w.g, m.value, by);
  if (m.kind === "each") return b.take(w.g, m.value, flat);
  return b.take(w.g, b.broadcastTo(w.g, m.value, [by.groups, ...dims(m.value.type)]), flat);
}

function callAll(w: World, layers: Instances, call: Call): Val {
  for (const g of call.given) oneCopy(g, layers.length);
  const depth = w.stack.length;
  try {
    const parts = layers.runs.map((run) => allOfRun(w, run, call));
    return joined(w, parts);
  } catch (error) {
    if (!(error instanceof EffectInStack) || call.from.lane) throw error;
    w.stack.length = depth;
    return callOneByOne(w, layers, call);
  }
}
/** Concatenates the results of runs of layers. */
function joined(w: World, parts: readonly (readonly Value[])[]): Val {
  const of = (i: number): Value[] => parts.map((p) => p[i] ?? absorb());
  return results((parts[0] ?? []).map((_, i) => tensor(b.concat(w.g, of(i), 0))));
}
function allOfRun(w: World, run: Run, call: Call): Value[] {
  const { from, at } = call;
  const bind: Bind = new Map();
  const layer = run.make((slot) => copySlot(w, bind, slot));
  const lane = laneOfRun(w, run, bind, from.lane);
  const given = call.given.map((g) => {
    if (g.value.kind !== "tensor") return g;
    const value = b.slice(w.g, g.value.value, 0, run.start, run.count);
    return { ...g, value: tensor(leaf(w, bind, value.type.shape.slice(1), { kind: "each", value, over: run.count })) };
  });
  const out = tensorsOf(w.call(forwardOf(layer, at), { ...call, given, from: { ...from, lane } }));
  return mapGraph(out, bind, w.g).map((m) => forCopies(w, m, run.count));
}
/** The lane of a body that is elaborated for one copy and mapped over all of a run. */
export function laneOfRun(w: World, { start, count }: Run, bind: Bind, outer: Lane | null): Lane {
  const own: Mapped = { kind: "each", value: b.add(w.g, b.iota(w.g, count), start), over: count };
  return { kind: outer?.kind ?? "each", base: laneBase(w, bind, own, count, outer), bind };
}
/** What a mapped body gives for each copy of a run. */
export const forCopies = (w: World, m: Mapped, count: number): Value =>
  m.kind === "each" ? m.value : b.broadcastTo(w.g, m.value, [count, ...dims(m.value.type)]);
/** Calls the layers one by one; for bodies with losses, metrics or states. */
function callOneByOne(w: World, layers: Instances, call: Call): Val {
  const { from, at } = call;
  const parts = Array.from({ length: Number(layers.length) }, (_, i) => {
    const given = call.given.map((g) =>
      g.value.kind === "tensor" ? { ...g, value: tensor(b.squeeze(w.g, b.slice(w.g, g.value.value, 0, i, 1), 0)) } : g,
    );
    const ofLayer = { ...call, given, from: { ...from, iterations: `${from.iterations}.${i}` } };
    const made = w.call(forwardOf(layers.at(i), at), ofLayer);
    return tensorsOf(made).map((x) => b.expand(w.g, x, 0));
  });
  return joined(w, parts);
}
