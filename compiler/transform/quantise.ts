// Weights of 8 or 4 bits: keeps matrices that products alone read, and tables whose rows are looked up, as codes and scales.
//
// int8: whole numbers with a scale for each output column (or row of a table). x @ (codes * scales) = (x @ codes) * scales, so products read the codes,
// and their columns are multiplied after. The gradient of x has the scales along its depth: dy @ (codes * scales)^T = (dy * scales) @ codes^T.
//
// fp4: floats of 4 bits with a scale for each 32 of a column. Where the parameter was read, `from_fp4` makes its numbers of them, which kernels do as they load
// an operand. What has no such columns becomes int8.
import { copies, spellings, stackedName } from "../copies.ts";
import type { GraphBuilder } from "../graph/builder.ts";
import { dtypeOfScales, fp4Group, shapeOfCodes, shapeOfScales } from "../graph/codes.ts";
import type { Elaborated, Graph, Node, Quantised, Store, Value } from "../graph/node.ts";
import { unstackedStore } from "../graph/node.ts";
import { assignedStores, rebuildGraph, storeOf } from "../graph/walk.ts";
import { item } from "../item.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { number } from "../ops/common.ts";
import { type OperandPair, pairsOf } from "../ops/pairs.ts";
import { type DType, isFloat, type Weights } from "../types/dtype.ts";
import { dims, dtypeOf, type } from "../types/type.ts";
import { assignments } from "./initial-codes.ts";
import { axesOfColumn, isAmong, isProduct, type Use, usesIn, viewBy, viewOf, wholeOf } from "./parameter-uses.ts";

type How = Pick<Quantised, "code" | "axes">;
/** What files hold as codes, by the names of their tensors. Axes are counted from the end: -1 is the last. */
export type CodesOfCopies = ReadonlyMap<string, How>;

/**
 * Replaces parameters that are read so alone, and that `init` alone assigns, by stores of codes (i8) and of scales: all that can be; or those that a file has as
 * codes, of the same kind, with the same columns.
 */
export function quantise(
  g: GraphBuilder,
  { stores, graphs, ...more }: Elaborated,
  wanted: Weights | CodesOfCopies,
): Elaborated {
  const [init, ...entries] = graphs as [Graph, ...Graph[]];
  const made = quantisedStores(stores, init, entries, wanted);
  const changed = stores.flatMap((s) => {
    const by = made.get(s.name);
    return by ? [{ ...s, type: type("i8", shapeOfCodes(dims(s.type), by)), quantised: by }, scalesOf(s, by)] : [s];
  });
  const reading = new QuantisedReads(g, made);
  const assigned = { ...init, results: init.results.flatMap((r) => assignments(g, r, made.get(r.name))) };
  return { ...more, stores: changed, graphs: [assigned, ...entries.map((graph) => reading.rewritten(graph))] };
}
const scalesOf = (s: Store, by: Quantised): Store =>
  unstackedStore(by.scales, "prepared", type(dtypeOfScales[by.code], shapeOfScales(dims(s.type), by)));

type QuantisedStores = ReadonlyMap<string, Quantised>;
/** The parameters that all forwards read in one way, or none reads, with the axes of a column. */
function quantisedStores(
  stores: readonly Store[],
  init: Graph,
  entries: readonly Graph[],
  wanted: Weights | CodesOfCopies,
): QuantisedStores {
  const uses = new Map<string, (Use | null)[]>();
  for (const graph of [init, ...entries])
    for (const [store, use] of usesIn(graph)) uses.set(store, [...(uses.get(store) ?? []), use]);
  const assigned = assignedStores(entries);
  return new Map(
    stores.flatMap((s) => {
      const rank = s.type.shape.length - s.stack;
      if (s.role !== "parameter" || rank < 2 || !isFloat(dtypeOf(s.type)) || assigned.has(s.name)) return [];
      const used = axesOfColumn(uses.get(s.name) ?? []);
      const how = typeof wanted === "string" ? howFor(s, used, wanted) : howKept(s, used, wanted);
      if (!how || how.axes.length === 0 || how.axes.some((a) => a < s.stack)) return []; // each copy has scales of its own
      return [[s.name, { ...how, dtype: dtypeOf(s.type), scales: `${s.name} scales` }] as const];
    }),
  );
}
/** Where all that can be becomes codes. `used`: the axes of a column, if something reads it; else any do. */
function howFor({ type: { shape } }: Store, used: readonly number[] | null, weights: Weights): How {
  const axes = used ?? [shape.length - 2];
  return { code: weights === "fp4" && fitsFp4(shape.map(number), axes) ? "fp4" : "int8", axes };
}
/** Where what files have as codes stays these; null: it cannot, since columns are others here. */
function howKept(s: Store, used: readonly number[] | null, files: CodesOfCopies): How | null {
  const how = howInFile(s, files);
  const sizes = dims(s.type);
  const long = (axes: readonly number[]): string => String(axes.filter((a) => sizes[a] !== 1)); // one of length 1 is in any column
  const inFile = how?.axes.map((a) => a + sizes.length) ?? [];
  const axes = used ?? inFile;
  if (!how || long(axes) !== long(inFile) || (how.code === "fp4" && !fitsFp4(sizes, axes))) return null;
  return { code: how.code, axes };
}
/** What all copies of a parameter are in files, if that are codes of one form; else null. */
export function howInFile({ name, type: { shape }, stack }: Store, files: CodesOfCopies): How | null {
  const whole = files.get(stackedName(name));
  if (whole) return whole;
  const all = copies(name, shape.slice(0, stack).map(number)).map(
    ([copy]) => spellings(copy).flatMap(([spelling]) => files.get(spelling) ?? [])[0],
  );
  const [first] = all;
  const isFirst = (how: How | undefined): boolean =>
    how?.code === first?.code && String(how?.axes) === String(first?.axes);
  return first && all.every(isFirst) ? first : null;
}
/** Whether columns are down the last axis but one, and whole groups that share a scale. */
function fitsFp4(shape: readonly number[], axes: readonly number[]): boolean {
  const depth = shape.length - 2;
  const rows = item(shape, depth);
  return axes.length === 1 && axes[0] === depth && rows > 0 && rows % fp4Group === 0;
}
/** Rewrites graphs that read such parameters. */
class QuantisedReads {
  readonly #g: GraphBuilder;
  readonly #made: QuantisedStores;

  constructor(g: GraphBuilder, made: QuantisedStores) {
    this.#g = g;
    this.#made = made;
  }
  rewritten(graph: Graph): Graph {
    return rebuildGraph(this.#g, graph, (node, args) => {
      const fp4 = this.#fp4Of(node);
      if (fp4) return [fp4];
      if (!node.args.some((a) => this.#quantisedBelow(a))) return null;
      if (node.op.name === "gather") return [this.#lookedUp(node, args)];
      return isProduct(node) ? [this.#multiplied(node, args)] : null;
    });
  }
  /** The numbers of a parameter that is kept in 4 bits; null: the node is none. */
  #fp4Of(node: Node): Value | null {
    const [g, name] = [this.#g, storeOf(node)];
    const by = name === null ? undefined : this.#made.get(name);
    if (name === null || by?.code !== "fp4") return null;
    const shape = dims(item(node.results, 0).type);
    const codes = b.param(g, name, type("i8", shapeOfCodes(shape, by)));
    const scales = b.param(g, by.scales, type(dtypeOfScales.fp4, shapeOfScales(shape, by)));
    return b.cast(g, b.fromFp4(g, codes, scales), by.dtype);
  }
  /** What says how the parameter is kept in 8 bits that a value is a view of; null: it is a view of none. */
  #quantisedBelow({ node }: Value): Quantised | null {
    const store = storeOf(node);
    if (store !== null) return int8Of(this.#made.get(store));
    const [x, ...more] = node.args;
    return x && more.length === 0 && viewBy(node, wholeOf(x)) ? this.#quantisedBelow(x) : null;
  }
  /** Pairs of numbers are one product, as are those of codes whose left operand is scaled; each of the others is, to be scaled by itself. */
  #multiplied(node: Node, args: readonly Value[]): Value {
    const g = this.#g;
    const dtype = dtypeOf(item(node.results, 0).type);
    const wide = widened(dtype);
    const given = pairsOf({ ...node, args });
    const [numbers, scaled]: [OperandPair[], OperandPair[]] = [[], []];
    const terms: Value[] = [];
    for (const [p, [, y]] of pairsOf(node).entries()) {
      const [x, right] = item(given, p);
      const by = this.#quantisedBelow(y);
      if (!by) {
        numbers.push([x, right]);
        continue;
      }
      const [left, codes, scales] = [b.cast(g, x, wide), this.#codes(y, wide), this.#scales(y, by, wide)];
      const isAfter = isAmong(item(viewOf(y).along, y.type.shape.length - 2), by.axes);
      if (isAfter)
        terms.push(b.cast(g, scaledBy(g, ofPairs(g, node, args, [[left, codes]]), scales, node, args), dtype));
      else scaled.push([b.cast(g, b.cast(g, scaledBy(g, left, turned(g, scales), node, args), dtype), wide), codes]);
    }
    if (scaled.length > 0) terms.unshift(b.cast(g, ofPairs(g, node, args, scaled), dtype));
    if (numbers.length > 0) terms.unshift(ofPairs(g, node, args, numbers));
    return b.addAll(g, terms);
  }
  #lookedUp(node: Node, args: readonly Value[]): Value {
    const [g, table, index] = [this.#g, item(node.args, 0), item(args, 1)];
    const by = this.#quantisedBelow(table);
    const wide = widened(dtypeOf(table.type));
    const attrs = node.attrs as OpAttrs["gather"];
    const take = (x: Value): Value => b.make1(g, "gather", [x, index], attrs);
    if (!by) return take(item(args, 0));
    const codes = take(this.#codes(table, wide));
    const scales = take(this.#scales(table, by, wide));
    return b.cast(g, b.mul(g, codes, b.broadcastTo(g, scales, dims(codes.type))), dtypeOf(table.type));
  }
  /** The same view of the codes, as numbers of `dtype`. */
  #codes({ node, type: { shape } }: Value, dtype: DType): Value {
    const store = storeOf(node);
    if (store !== null) return b.cast(this.#g, b.param(this.#g, store, type("i8", shape)), dtype);
    const below = this.#codes(item(node.args, 0), dtype);
    return node.op.name === "cast" ? below : item(this.#g.add(node.op, [below], node.attrs).results, 0);
  }
  /** The same view of the scales, in which axes that move along a column have length 1. */
  #scales(view: Value, by: Quantised, dtype: DType): Value {
    const [g, { node }] = [this.#g, view];
    const inColumn = viewOf(view).along.map((a) => isAmong(a, by.axes));
    const shape = dims(view.type).map((n, i) => (inColumn[i] ? 1 : n));
    if (storeOf(node) !== null) return b.cast(g, b.param(g, by.scales, type("f32", shape)), dtype);
    const scales = this.#scales(item(node.args, 0), by, dtype);
    switch (node.op.name) {
      case "cast":
        return scales;
      case "slice": {
        const { axis, start } = node.attrs as OpAttrs["slice"];
        return b.slice(g, scales, axis, inColumn[axis] ? 0 : number(start), item(shape, axis));
      }
      case "reshape":
        return b.reshape(g, scales, shape);
      case "broadcast":
        return b.broadcast(g, scales, shape, (node.attrs as OpAttrs["broadcast"]).axes);
      default:
        return item(g.add(node.op, [scales], node.attrs).results, 0);
    }
  }
}
const int8Of = (by: Quantised | undefined): Quantised | null => (by?.code === "int8" ? by : null);
/** What products of this dtype are summed in. */
const widened = (dtype: DType): DType => (dtype === "bf16" ? "f32" : dtype);
/** The product that `node` is, of other operands. */
function ofPairs(g: GraphBuilder, { op, attrs }: Node, args: readonly Value[], pairs: readonly OperandPair[]): Value {
  const operands = pairs.flat();
  const made = op.name === "ragged_dot" ? operands.toSpliced(2, 0, item(args, 2)) : operands;
  return item(g.add(op, made, attrs).results, 0);
}
/** v, an operand or the result of `node`, whose columns have these scales. */
function scaledBy(g: GraphBuilder, v: Value, scales: Value, node: Node, args: readonly Value[]): Value {
  if (node.op.name !== "ragged_dot") return b.mul(g, v, b.broadcastTo(g, scales, dims(v.type)));
  const { unit } = node.attrs as OpAttrs["ragged_dot"];
  return b.mul(g, v, scalesOfRows(g, b.squeeze(g, scales, 1), item(args, 2), unit, v));
}
/** Scales along the depth as a row. */
function turned(g: GraphBuilder, scales: Value): Value {
  const shape = dims(scales.type);
  return b.reshape(g, scales, [...shape.slice(0, -2), 1, item(shape, shape.length - 2)]);
}
/** Of scales [E, N] those of the rows [R, N], which are sorted by group. */
function scalesOfRows(g: GraphBuilder, scales: Value, offsets: Value, unit: number, rows: Value): Value {
  const [count = 0, columns = 0] = dims(rows.type);
  const groups = groupsOfPlaces(g, offsets, count / unit);
  const taken = b.take(g, scales, groups);
  return b.reshape(g, b.broadcast(g, taken, [count / unit, unit, columns], [0, 2]), [count, columns]);
}
/** The group of each place. Places past the last group have any, or none. */
function groupsOfPlaces(g: GraphBuilder, offsets: Value, places: number): Value {
  const route = offsets.node;
  if (route.op.name === "route" && offsets.index === 1) return item(route.results, 3);
  const [edges = 0] = dims(offsets.type);
  const ends = b.broadcast(g, b.slice(g, offsets, 0, 1, edges - 1), [places, edges - 1], [1]);
  const at = b.broadcast(g, b.iota(g, places), [places, edges - 1], [0]);
  return b.sum(g, b.cast(g, b.le(g, ends, at), "i32"), [1]);
}
