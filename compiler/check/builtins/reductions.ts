// Reductions along axes, and functions built from them (softmax, cumsum, ...).
import type { Value } from "../../graph/node.ts";
import * as b from "../../ops/build.ts";
import { type Element, isFloat } from "../../types/dtype.ts";
import { isSpread, type Size } from "../../types/size.ts";
import { showType, type Type, type } from "../../types/type.ts";
import { commonElement, type Operand } from "../binary.ts";
import { type Args, type Builtin, builtin, type CallContext } from "../builtin.ts";
import { fail, quoted } from "../errors.ts";
import { calledFrom } from "../numbers.ts";
import { broadcastTo, canBroadcast, castTo, commonShape, toTensor } from "../tensor.ts";
import { number, tensor } from "../values.ts";
import type { World } from "../world.ts";

/** The type after a reduction: without `axes`, or with size 1 in their place if `keep`. */
function reduced(t: Type, dtype: Element, axes: readonly number[], keep: boolean): Type {
  const shape = t.shape.flatMap((n, i): Size[] => (!axes.includes(i) ? [n] : !keep ? [] : [1]));
  return type(dtype, shape);
}
function keepFlag(args: Args, t: Type, axes: readonly number[]): boolean {
  const keep = args.flag("keep");
  const spread = t.shape[0] !== undefined && isSpread(t.shape[0]);
  if (keep && spread && axes.includes(0))
    fail("E0207", "`keep: true` cannot keep any number of axes", args.span("keep"), {
      help: "reduce the axes of `...S` without `keep`: what is left stretches over them",
    });
  return keep;
}
const asFloat = (w: World, x: Value): Value => castTo(w, x, isFloat(x.type.dtype) ? x.type.dtype : w.options.f32);

/** `max(x, 0)`: in other languages a relu, here a reduction along axis 0. The axis must therefore be given by name. */
function requireNamedAxis(name: string, args: Args): void {
  if (!args.has("axis") || args.isNamed("axis")) return;
  const [x, second] = [quoted(args.span("x")), quoted(args.span("axis"), "y")];
  const [v, n] = [args.value("x"), Number(second)];
  const rank = v.kind === "tensor" ? v.value.type.shape.length : 0;
  const axis = Number.isInteger(n) && n >= -rank && n < rank ? n : -1;
  fail("E0207", `\`${name}\` is along an axis, which is given by its name`, args.span("axis"), {
    help: `of two values, write \`${name}imum(${x}, ${second})\`; along an axis, \`${name}(${x}, axis: ${axis})\``,
  });
}

type Reduce = (g: CallContext["w"]["g"], x: Value, axes?: readonly number[], keep?: boolean) => Value;
const reduction = (name: string, doc: string, from: (w: World, x: Value) => Value, build: Reduce): Builtin =>
  builtin(`${name}(x, axis?, keep?)`, doc, ({ w }, args) => {
    if (/^m(ax|in)$/.test(name)) requireNamedAxis(name, args);
    const x = from(w, args.tensor("x"));
    const axes = args.axes("axis", x.type);
    const keep = keepFlag(args, x.type, axes);
    return tensor(w.make(reduced(x.type, x.type.dtype, axes, keep), () => build(w.g, x, axes, keep)));
  });
const counted = (w: World, x: Value): Value => (x.type.dtype === "bool" ? castTo(w, x, "i32") : x);

const softmax = builtin(
  "softmax(x, axis?, where?)",
  "exp(x) / sum(exp(x)) along an axis, the last if not given; 0 where masked",
  ({ w, at }, args) => {
    const x = asFloat(w, args.tensor("x"));
    const axis = args.axis("axis", x.type, -1);
    if (!args.has("where")) return tensor(w.make(x.type, () => b.softmax(w.g, x, axis)));
    const span = args.span("where");
    const mask = toTensor(w, args.value("where"), span, "bool");
    if (mask.type.dtype !== "bool")
      fail("E0201", `the mask of \`softmax\` is of booleans, not ${showType(mask.type)}`, span, {
        help: `compare it: \`${quoted(span)} != 0\``,
      });
    if (!canBroadcast(mask.type.shape, x.type.shape))
      commonShape(w, "`softmax`", { type: x.type, span: args.span("x") }, { type: mask.type, span }, at);
    const wide = broadcastTo(w, mask, x.type.shape);
    return tensor(w.make(x.type, () => b.softmax(w.g, x, axis, wide)));
  },
);
const logsumexp = builtin(
  "logsumexp(x, axis?, keep?)",
  "log(sum(exp(x))) along an axis, the last if not given",
  ({ w }, args) => {
    const x = asFloat(w, args.tensor("x"));
    const axis = args.axis("axis", x.type, -1);
    const keep = args.flag("keep");
    return tensor(w.make(reduced(x.type, x.type.dtype, [axis], keep), () => b.logsumexp(w.g, x, axis, keep)));
  },
);
const cumsum = builtin(
  "cumsum(x, axis?)",
  "Running sums along an axis, the last if not given, each with its own element",
  ({ w }, args) => {
    const x = counted(w, args.tensor("x"));
    const axis = args.axis("axis", x.type, -1);
    return tensor(w.make(x.type, () => b.cumsum(w.g, x, axis)));
  },
);

const cutoff = builtin(
  "cutoff(x, amount, weight?)",
  "Of the last axis the largest element for which the weights (1 if not given) of all that are no less come to `amount`; -inf if all do not",
  ({ w, at }, args) => {
    const x = asFloat(w, args.tensor("x"));
    const outer = x.type.shape.slice(0, args.axis("axis", x.type, -1));
    const amount = args.operand("amount");
    const weight = args.has("weight") ? args.operand("weight") : { value: number(1, true), span: at };
    const dtype = isFloat(commonElement(w, amount, weight)) ? w.options.f32 : "i32";
    const least = fitted(w, amount, type(dtype, outer), x.type);
    const each = fitted(w, weight, type(dtype, x.type.shape), x.type);
    return tensor(w.make(type(x.type.dtype, outer), () => b.cutoff(w.g, x, each, least)));
  },
);
/** An argument of `cutoff` (amount or weight) converted and broadcast to the type that goes with x. */
function fitted(w: World, { value, span }: Operand, want: Type, x: Type): Value {
  const v = castTo(w, toTensor(w, value, span, want.dtype), want.dtype);
  if (!canBroadcast(v.type.shape, want.shape))
    fail("E0202", `\`cutoff\` of ${showType(x)} takes ${showType(want)} here, not ${showType(v.type)}`, span, {
      help: "an amount has the axes before the last, a weight all of them; an axis that is missing or 1 stretches",
      notes: calledFrom(w),
    });
  return broadcastTo(w, v, want.shape);
}

export const reductionBuiltins: readonly Builtin[] = [
  reduction("sum", "The sum over axes, all if not given; booleans are counted", counted, b.sum),
  reduction("mean", "The mean over axes, all if not given", asFloat, b.mean),
  reduction("max", "The largest along axes, all if not given", counted, b.max),
  reduction("min", "The smallest along axes, all if not given", counted, b.min),
  softmax,
  logsumexp,
  cumsum,
  cutoff,
];
