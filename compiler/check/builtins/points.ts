// Elementwise builtins, on tensors; arithmetic ones also on compile-time numbers.
import type { Value } from "../../graph/node.ts";
import type { BinaryName, UnaryName } from "../../ops/attrs.ts";
import * as b from "../../ops/build.ts";
import { type Unary, unaries } from "../../ops/scalar.ts";
import { type Element, isFloat } from "../../types/dtype.ts";
import { type } from "../../types/type.ts";
import { commonElement, elementwise, type Operand, promoteOperands } from "../binary.ts";
import { type Builtin, builtin } from "../builtin.ts";
import { fail, quoted } from "../errors.ts";
import { asNumber, isKnown } from "../numbers.ts";
import { broadcastTo, castTo, commonShape, toDefaultTensor, toTensor } from "../tensor.ts";
import { number, tensor, type Val } from "../values.ts";
import type { World } from "../world.ts";

/** The builtin of one row of ops/scalar.ts. Where it is not defined for i32, the operand becomes a float; rounding returns it unchanged. */
const unary = (name: UnaryName, doc: string, { resultDType, integral, eval: known }: Unary): Builtin =>
  builtin(`${name}(x)`, doc, ({ w }, args) => {
    const { value, span } = args.operand("x");
    if (isKnown(value)) {
      const n = asNumber(value);
      const given = integral === "as given" && value.kind === "number" && value.whole;
      return number(typeof n === "number" ? known(n, "f64") : null, integral === "yes" || given);
    }
    const x = toDefaultTensor(w, value, span);
    const { dtype } = x.type;
    if (dtype === "i32" && integral === "yes" && resultDType(dtype) === null) return tensor(x);
    const from = castTo(w, x, resultDType(dtype) === null ? w.options.f32 : dtype);
    return tensor(w.make(from.type, () => b.unary(w.g, name, from)));
  });
const unaryBuiltins = (Object.entries(unaries) as [UnaryName, Unary][]).flatMap(([name, row]) =>
  row.doc === undefined ? [] : unary(name, row.doc, row),
);

const extreme = (name: string, fn: BinaryName, known: (x: number, y: number) => number, doc: string): Builtin =>
  builtin(`${name}(a, b)`, doc, ({ w, at }, args) => {
    const [x, y] = [args.operand("a"), args.operand("b")];
    if (!isKnown(x.value) || !isKnown(y.value))
      return tensor(elementwise(w, fn, { what: `\`${name}\``, left: x, right: y, at }));
    const [m, n] = [asNumber(x.value), asNumber(y.value)];
    const whole = [x.value, y.value].every((v) => v.kind === "bool" || v.whole);
    return number(typeof m === "number" && typeof n === "number" ? known(m, n) : null, whole);
  });
const wholeDivision = builtin("div(a, b)", "The whole quotient, rounded down; 0 where `b` is 0", ({ w, at }, args) => {
  const [x, y] = [args.operand("a"), args.operand("b")];
  if (isKnown(x.value) && isKnown(y.value)) {
    const [m, n] = [asNumber(x.value), asNumber(y.value)];
    return number(typeof m === "number" && typeof n === "number" ? (n === 0 ? 0 : Math.floor(m / n)) : null, true);
  }
  const [left, right] = [x, y].map((o) => wholeOperand(w, o)) as [Operand, Operand];
  const [p, q] = promoteOperands(w, { what: "`div`", left, right, at }, "i32");
  return tensor(w.make(type("i32", p.type.shape), () => b.idiv(w.g, p, q)));
});
function wholeOperand(w: World, o: Operand): Operand {
  if (o.value.kind === "number" && (o.value.whole || o.value.value === null || Number.isInteger(o.value.value)))
    return { span: o.span, value: { ...o.value, whole: true } };
  const x = toDefaultTensor(w, o.value, o.span);
  if (isFloat(x.type.dtype)) fail("E0201", "`div` is for whole numbers", o.span, { help: "write `/` for floats" });
  return { span: o.span, value: tensor(x) };
}

const where = builtin("where(condition, a, b)", "`a` where the condition holds, else `b`", ({ w, at }, args) => {
  const cond = args.operand("condition");
  const [x, y] = [args.operand("a"), args.operand("b")];
  if (isKnown(cond.value) && isKnown(x.value) && isKnown(y.value)) return knownChoice(cond.value, x.value, y.value);
  const dtype = isKnown(x.value) && isKnown(y.value) ? knownElement(w, x.value, y.value) : commonElement(w, x, y);
  const [p, q] = promoteOperands(w, { what: "`where`", left: x, right: y, at }, dtype);
  if (isKnown(cond.value)) return tensor(cond.value.kind === "bool" && cond.value.value === false ? q : p);
  const mask = maskOf(w, cond);
  const shape = commonShape(w, "`where`", { ...cond, type: mask.type }, { ...x, type: p.type }, at);
  const wide = (v: Value): Value => broadcastTo(w, v, shape);
  return tensor(w.make(type(dtype, shape), () => b.where(w.g, wide(mask), wide(p), wide(q))));
});
/** The dtype of a `where` between two compile-time numbers: i32 only if both are whole. */
function knownElement(w: World, x: Val, y: Val): Element {
  if (x.kind === "bool" && y.kind === "bool") return "bool";
  return [x, y].every((v) => v.kind === "bool" || (v.kind === "number" && v.whole)) ? "i32" : w.options.f32;
}
function maskOf(w: World, cond: Operand): Value {
  const mask = toTensor(w, cond.value, cond.span, "bool");
  if (mask.type.dtype !== "bool")
    fail("E0201", "`where` needs a condition of booleans", cond.span, {
      label: mask.type.dtype,
      help: `compare it: \`${quoted(cond.span)} != 0\``,
    });
  return mask;
}
function knownChoice(cond: Val, x: Val, y: Val): Val {
  if (cond.kind === "bool" && cond.value !== null) return cond.value ? x : y;
  const whole = [x, y].every((v) => v.kind === "bool" || (v.kind === "number" && v.whole));
  return x.kind === "bool" && y.kind === "bool" ? { kind: "bool", value: null } : number(null, whole);
}

const conversion = (name: Element, doc: string): Builtin =>
  builtin(`${name}(x)`, doc, ({ w, from }, args) => {
    const dtype = name === "float" ? from.float : name === "f32" ? w.options.f32 : name;
    const { value, span } = args.operand("x");
    const converted =
      value.kind === "number" && name === "i32" && typeof value.value === "number"
        ? { ...value, value: Math.trunc(value.value) }
        : value;
    return tensor(castTo(w, toTensor(w, converted, span, dtype), dtype));
  });
const detach = builtin("detach(x)", "`x`, through which no gradient flows", ({ w }, args) => {
  const x = args.tensor("x");
  return tensor(w.make(x.type, () => b.detach(w.g, x)));
});

export const pointBuiltins: readonly Builtin[] = [
  ...unaryBuiltins,
  extreme("maximum", "max", Math.max, "The larger of two"),
  extreme("minimum", "min", Math.min, "The smaller of two"),
  wholeDivision,
  where,
  conversion("f32", "Converted to f32"),
  conversion("f64", "Converted to f64"),
  conversion("bf16", "Converted to bf16"),
  conversion("i32", "Converted to i32: rounded toward 0, saturating; NaN gives 0"),
  conversion("bool", "true where not 0"),
  conversion("float", "Converted to what `float` is here"),
  detach,
];
