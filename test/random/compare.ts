// Computes what the elements of a graph's values should be, and how far rounding may move them: the interpreter is run several times with its
// roundings disturbed at random.
import { roundAll } from "../../compiler/graph/array.ts";
import type { NdArray, Node, Value } from "../../compiler/graph/node.ts";
import { storeOf, topological } from "../../compiler/graph/walk.ts";
import { item } from "../../compiler/item.ts";
import { type DType, isFloat } from "../../compiler/types/dtype.ts";
import { count, dims, dtypeOf } from "../../compiler/types/type.ts";
import { Draw } from "./random-graph.ts";

export type Stores = ReadonlyMap<string, NdArray>;
/** The relative error allowed for one rounding, twice its largest or more. Kernels may keep a bf16 in f32, without its rounding. */
const units: Readonly<Record<DType, number>> = { f32: 2 ** -23, bf16: 2 ** -7, f64: 2 ** -50, i32: 0, bool: 0, i8: 0 };
const sums = new Set(["dot", "ragged_dot", "ragged_outer", "ragged_sum", "scan", "attention", "attention_backward"]);
const products = new Set(["dot", "ragged_dot", "ragged_outer", "attention", "attention_backward"]);
const tf32Unit = 2 ** -11;
const exactly = new Set(["neg", "abs", "sign", "floor", "ceil", "round", "max", "min", "unit"]);
const fnOf = ({ attrs }: Node): string => (attrs as { readonly fn?: string }).fn ?? "";

const isSum = (node: Node): boolean =>
  sums.has(node.op.name) ||
  (node.op.name === "reduce" && fnOf(node) === "sum") ||
  (node.op.name === "scatter" && (node.attrs as { readonly mode: string }).mode === "add");
/** Whether a kernel may round the results differently from the definition. */
const rounds = (node: Node): boolean =>
  isSum(node) ||
  ((node.op.name === "unary" || node.op.name === "binary") && !exactly.has(fnOf(node))) ||
  (node.op.name === "cast" && node.results[0]?.type.dtype === "bf16");

const comparesFloats = (node: Node): boolean =>
  (fnOf(node) === "eq" || fnOf(node) === "ne") && isFloat(node.args[0]?.type.dtype ?? "bool");
/** Comparisons (`==`, `!=`) of floats, where nearly equal floats are made equal or unequal, as `side` says. */
function decided(is: Float64Array, [x, y]: readonly NdArray[], unit: number, side: number): Float64Array {
  return is.map((e, i) => {
    const [p, q] = [x?.data[i] ?? 0, y?.data[i] ?? 0];
    return side !== 0 && Math.abs(p - q) <= 8 * unit * Math.abs(p) ? Number(side > 0) : e;
  });
}

const jumps = new Set(["floor", "ceil", "round", "sign", "rem", "lt", "le", "gt", "ge"]);
/** Their results are whole numbers, so that a jump that follows is decided already. */
const whole = new Set(["floor", "ceil", "round", "sign"]);
const makesWhole = (node: Node): boolean => whole.has(fnOf(node)) || node.op.name === "cast";
/** Whether the result is discontinuous: a small change of an operand may cause a large change. */
const isJump = (node: Node): boolean =>
  node.op.name === "top_k" ||
  node.op.name === "cutoff" ||
  (node.op.name === "cast" && node.results[0]?.type.dtype === "i32") ||
  jumps.has(fnOf(node));

/** How a run's roundings are disturbed. */
interface Perturbation {
  readonly draw: Draw;
  /** The largest disturbance, in units of a rounding. */
  readonly most: number;
  /**
   * 1 or -1: the direction in which operands of discontinuous ops are moved. 0: they are not moved, so that what follows a choice is disturbed, and
   * not only the choice.
   */
  readonly side: number;
}
export interface Rounding {
  /** Nothing is rounded, and disturbances are of the size of f64's roundings. */
  readonly exact: boolean;
  /** The results are optimizer steps, which are steep functions of gradients near 0. */
  readonly steep: boolean;
  /** Operands of products are rounded to tf32 (11 bits). */
  readonly tf32: boolean;
}
/** What is interpreted, again and again. */
interface Interpreted {
  readonly values: readonly Value[];
  readonly stores: Stores;
  /** Values that no disturbance changes, such as random numbers: the first run finds them, the others read them. */
  readonly settled: Map<Value, NdArray>;
}
/** Interprets a graph; without `how`, undisturbed. */
function evaluate({ values, stores, settled }: Interpreted, { exact, tf32 }: Rounding, how?: Perturbation): NdArray[] {
  const known = new Map<Value, NdArray>(settled);
  /** The values that rounding changes, with the coarsest unit of those that they are computed from. */
  const inexact = new Map<Value, number>();
  const unitOf = (dtype: DType): number => (exact ? units.f64 : units[dtype]);
  const noisy = (x: NdArray, unit: number): NdArray =>
    how && isFloat(x.dtype)
      ? { ...x, data: x.data.map((e) => e * (1 + how.most * unit * (2 * how.draw.next() - 1))) }
      : x;
  /** Rounds to f32, as kernels store values: a tanh may then be exactly 1 where its neighbours are not, and its slope 0. */
  const asStored = (x: NdArray): NdArray =>
    how && !exact && x.dtype === "f32" ? { ...x, data: roundAll("f32", x.data) } : x;
  /** Moves operands of a jump to its other side; to the next whole number at most, for a larger step would miss it. */
  const aside = (x: NdArray, node: Node, coarsest: number): NdArray => {
    if (!how || !isFloat(x.dtype)) return x;
    const unit = makesWhole(node) ? coarsest : unitOf(x.dtype);
    const step = (e: number): number => Math.min(8 * unit * Math.abs(e), makesWhole(node) ? 1 : Infinity);
    return { ...x, data: x.data.map((e, i) => e + step(e) * how.side * (i % 2 === 0 ? 1 : -1)) };
  };
  for (const node of topological(values)) {
    if (node.results.every((r) => known.has(r))) continue;
    const store = storeOf(node);
    const args = node.args.map((a) => known.get(a) as NdArray);
    const given = node.args.map((a, i) => {
      const x = args[i] as NdArray;
      const unit = inexact.get(a);
      if (isJump(node) && unit !== undefined && !whole.has(fnOf(a.node))) return aside(x, node, unit);
      // each reader may get the bf16, or the unrounded value that it was made from
      if (x.dtype === "bf16" && inexact.has(a)) return noisy(x, unitOf("bf16"));
      return isSum(node) ? noisy(x, tf32 && products.has(node.op.name) ? tf32Unit : unitOf("f32")) : x;
    });
    const types = node.results.map((r) => r.type);
    const made: Float64Array[] =
      store === null ? [...node.op.eval(given, node.attrs, types)] : [stores.get(store)?.data ?? new Float64Array()];
    if (how && comparesFloats(node)) made[0] = decided(made[0] as Float64Array, args, unitOf("bf16"), how.side);
    const off = rounds(node) || node.args.some((a) => inexact.has(a));
    const settles = !rounds(node) && !comparesFloats(node) && node.args.every((a) => settled.has(a));
    node.results.forEach((r, i) => {
      const dtype = dtypeOf(r.type);
      const data = made[i] ?? new Float64Array();
      const array = { dtype, shape: dims(r.type), data: exact && isFloat(dtype) ? data : roundAll(dtype, data) };
      known.set(r, rounds(node) ? asStored(noisy(array, unitOf(dtype) * (1 + depthOf(node) / 16))) : array);
      if (settles) settled.set(r, array);
      if (off && isFloat(dtype))
        inexact.set(r, Math.max(rounds(node) ? unitOf(dtype) : 0, ...node.args.map((a) => inexact.get(a) ?? 0)));
    });
  }
  return values.map((v) => known.get(v) as NdArray);
}
/** How many terms are summed for one element, since all their roundings may go in one direction; 0 if the node is not a sum. */
function depthOf(node: Node): number {
  const [x, y] = [node.args[0], node.results[0]];
  if (!isSum(node) || !x || !y || count(y.type) === 0) return 0;
  return node.op.name.endsWith("dot")
    ? (dims(x.type).at(-1) ?? 0)
    : Math.max(...dims(x.type), count(x.type) / count(y.type));
}

export interface Expected {
  readonly want: Float64Array;
  /** How far each element may be off; NaN if rounding decides between values that are far apart. */
  readonly slack: Float64Array;
  /** The same from ten times as many runs: a choice that rounding rarely decides may be missed by few. */
  readonly surer?: () => Expected;
}
const runs = 6;
/**
 * Additional runs with larger disturbances, `more` roundings: only these show how steep a function is a little further away, such as an optimizer's
 * step near a gradient of 0.
 */
const moreRuns = 4;
const more = 4;
const timesOfSlack = 16;
/** `added`: for each result, the value to which it adds something, if any; only what is added is compared with the disturbances. */
export function expected(
  values: readonly Value[],
  stores: Stores,
  asked: Partial<Rounding> = {},
  added: readonly (NdArray | undefined)[] = [],
): Expected[] {
  const rounding: Rounding = { exact: false, steep: false, tf32: false, ...asked };
  const graph = { values, stores, settled: new Map<Value, NdArray>() };
  const wants = evaluate(graph, rounding);
  const estimate = (times: number): Expected[] => withSlack(wants, disturbed(graph, rounding, times), rounding, added);
  let again: Expected[] | undefined;
  return estimate(1).map((e, r) => ({ ...e, surer: () => item((again ??= estimate(10)), r) }));
}
/** A run with disturbances; `scale`: by how much its differences are multiplied. */
interface Disturbed {
  readonly made: readonly NdArray[];
  readonly scale: number;
}
function disturbed(graph: Interpreted, rounding: Rounding, times: number): Disturbed[] {
  const small = runs * times;
  return Array.from({ length: small + (rounding.steep ? moreRuns * times : 0) }, (_, i) => {
    const most = i < small ? 1 : more;
    const draw = new Draw(`${i}, disturbed`);
    const made = evaluate(graph, rounding, { draw, most, side: item([1, -1, 0], i % 3) });
    return { made, scale: timesOfSlack / most };
  });
}
function withSlack(
  wants: readonly NdArray[],
  others: readonly Disturbed[],
  { exact, steep }: Rounding,
  added: readonly (NdArray | undefined)[],
): Expected[] {
  const largest = wants.map(({ data }) => largestOf(data));
  const least = others.filter(({ scale }) => scale === timesOfSlack);
  const moved = wants.map(({ data }, r) =>
    Math.max(0, ...least.map(({ made }) => largestOf(data.map((x, i) => (made[r]?.data[i] ?? 0) - x)))),
  );
  // numbers of about 1 change completely, such as the gradient of a norm of rows that rounding makes constant
  const decides = Math.max(...moved) >= Math.max(1, ...largest);
  return wants.map(({ dtype, data: want }, r) => {
    const unit = exact ? units.f64 : units[dtype];
    const most = largest[r] ?? 0;
    const undecided = decides && (moved[r] ?? 0) >= most;
    const slack = want.map((x, i) => {
      const seen = others.map(({ made }) => made[r]?.data[i] ?? Number.NaN);
      if (seen.every((y) => Object.is(x, y)))
        return isFloat(dtype) && Number.isFinite(x) ? unit * (4 * Math.abs(x) + most) : 0;
      const apart = Math.max(...seen.map((y, n) => Math.abs(y - x) * (others[n]?.scale ?? 0)));
      // the value consists of rounding errors only; what is computed from it may grow faster, for example as its square
      const own = Math.abs(x - (added[r]?.data[i] ?? 0));
      const growing = steep && seen.some((y) => Math.abs(y - x) >= own) ? timesOfSlack : 1;
      return isFloat(dtype) && !undecided ? apart * growing + unit * (4 * Math.abs(x) + most) : Number.NaN;
    });
    return { want, slack };
  });
}
const largestOf = (data: Float64Array): number =>
  data.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0);
/** The elements of `got` that are wrong, as messages with index, actual and expected value. */
export function mismatches({ want, slack, surer }: Expected, got: ArrayLike<number>): string[] {
  if (got.length !== want.length) return [`${got.length} elements, not ${want.length}`];
  const found = [...want.keys()].flatMap((i) => {
    const [x, y, s] = [want[i] ?? 0, got[i] ?? 0, slack[i] ?? 0];
    const undecided = Number.isNaN(s) && (!Number.isNaN(y) || Number.isNaN(x));
    return undecided || Object.is(x, y) || x === y || Math.abs(x - y) <= s ? [] : [`[${i}] is ${y}, not ${x} (${s})`];
  });
  return found.length > 0 && surer ? mismatches(surer(), got) : found;
}
