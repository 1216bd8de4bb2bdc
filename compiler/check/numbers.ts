// Arithmetic on values known at compile time. While checking, a number may be a symbolic size, or unknown (null).
import { locationText } from "../diagnostic.ts";
import type { BinaryOp, Span } from "../syntax/ast.ts";
import { remainder } from "../types/numbers.ts";
import * as size from "../types/size.ts";
import {
  both,
  type Condition,
  comparison,
  condition,
  textOf as conditionText,
  either,
  not,
  numberText,
} from "./conditions.ts";
import { fail, textOf } from "./errors.ts";
import { isLibrary } from "./library.ts";
import { bool, kindText, type Num, number, type Val } from "./values.ts";
import type { CallArgument, World } from "./world.ts";

type Known = Extract<Val, { kind: "number" | "bool" }>;
export const isKnown = (v: Val): v is Known => v.kind === "number" || v.kind === "bool";

const comparisons: Partial<Record<BinaryOp, (a: number, b: number) => boolean>> = {
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};
const arithmetic: Partial<Record<BinaryOp, (a: number, b: number) => number>> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
  "%": remainder,
  "**": (a, b) => a ** b,
};
/** The operations that, applied to symbolic sizes, give a size again. */
const symbolic: Partial<Record<BinaryOp, (a: size.Size, b: size.Size) => size.Size>> = {
  "+": size.add,
  "-": size.sub,
  "*": size.mul,
  "/": (a, b) => (b === 0 ? Number.NaN : size.div(a, b)),
};
export const asNumber = (v: Known): Num => (v.kind === "number" ? v.value : v.value === null ? null : Number(v.value));
const isWhole = (v: Known): boolean => v.kind === "bool" || v.whole;
const mayBeSize = (n: Num): n is size.Size => n !== null && (typeof n !== "number" || Number.isInteger(n));

export function knownBinary(op: BinaryOp, a: Known, b: Known, at: Span): Val {
  if (op === "&&" || op === "||") return logical(op, a, b, at);
  const [x, y] = [asNumber(a), asNumber(b)];
  const compare = comparisons[op];
  if (compare) {
    if (typeof x === "number" && typeof y === "number") return bool(compare(x, y));
    if (x !== null && y !== null && size.equal(x, y)) return bool(compare(0, 0));
    return bool(null, comparison(op, sideOf(a), sideOf(b)));
  }
  const whole = isWhole(a) && isWhole(b) && op !== "/" && op !== "**";
  const apply = arithmetic[op];
  if (!apply) return fail("E0203", "`@` needs tensors", at, { help: "write `*` for numbers" });
  if (typeof x === "number" && typeof y === "number")
    return number(apply(x, y), op === "/" || op === "**" ? wholeRatio(a, b, apply(x, y)) : whole);
  const onSizes = symbolic[op];
  if (onSizes && mayBeSize(x) && mayBeSize(y)) return number(onSizes(x, y), isWhole(a) && isWhole(b));
  const [left, right] = [sideOf(a).text, sideOf(b).text];
  const text = left === undefined || right === undefined ? undefined : `(${left} ${op} ${right})`;
  return { kind: "number", value: null, whole, text };
}
/** What conditions call a number, or a boolean that stands for one. */
function sideOf(v: Known): { readonly value: Num; readonly text: string | undefined } {
  const value = asNumber(v);
  const name = v.kind === "number" ? v.text : v.when && conditionText(v.when);
  return { value, text: numberText(value, name) };
}
/** What a function makes of numbers, while checking: conditions name it by the call. */
export function numberOfCall(v: Val, fn: string, given: readonly CallArgument[]): Val {
  if (!isKnown(v) || v.value !== null) return v;
  const texts = given.map(({ name, value }) => {
    const text = isKnown(value) ? sideOf(value).text : undefined;
    return text && `${name?.name ?? ""}: ${text}`;
  });
  if (texts.includes(undefined)) return v;
  const text = `${fn}(${texts.join(", ")})`;
  return v.kind === "bool" ? bool(null, condition(text)) : { ...v, text };
}
/** Where a value is true that only elaboration knows; undefined: nothing names it. */
export function whenOf(v: Known): Condition | undefined {
  if (v.kind === "bool") return v.when;
  return v.text === undefined ? undefined : condition(v.text);
}
/** Whether a quotient or power can be a size: it must come out as an integer. The checker, which has symbols, accepts every quotient of sizes. */
const wholeRatio = (a: Known, b: Known, result: number): boolean =>
  isWhole(a) && isWhole(b) && Number.isInteger(result);

function logical(op: "&&" | "||", a: Known, b: Known, at: Span): Val {
  for (const v of [a, b])
    if (v.kind === "number" && !v.loose)
      fail("E0201", `\`${op}\` needs booleans, not ${kindText[v.kind]}`, at, { help: "compare the number: `x != 0`" });
  const [x, y] = [a, b].map((v) => (v.kind === "bool" ? v.value : null));
  const decides = op === "||";
  if (x === decides || y === decides) return bool(decides);
  if (x !== null && y !== null) return bool(!decides);
  const [left, right] = [whenOf(a), whenOf(b)];
  if (x !== null || y !== null) return bool(null, x === null ? left : right);
  return bool(null, left && right && (decides ? either(left, right) : both(left, right)));
}
export function knownUnary(op: "-" | "!", a: Known, at: Span): Val {
  if (op === "!") {
    const when = whenOf(a);
    if (a.kind === "bool") return bool(a.value === null ? null : !a.value, when && not(when));
    if (a.loose) return bool(null, when && not(when));
    return fail("E0201", "`!` needs a boolean, not a number", at, { help: "compare the number: `x == 0`" });
  }
  const { value: x, text } = sideOf(a);
  if (x === null) return { kind: "number", value: null, whole: isWhole(a), text: text && `-${text}` };
  return number(typeof x === "number" ? -x : size.sub(0, x), isWhole(a));
}

/** A value as a size: an integer or, while checking, an expression of sizes. An unknown number becomes a new symbol. */
export function toSize(w: World, v: Val, at: Span): size.Size {
  if (v.kind === "spread") return size.product(v.axes);
  if (v.kind !== "number")
    return fail("E0211", `a size is a whole number, not ${kindText[v.kind]}`, at, {
      help: "give a number known when compiling",
    });
  if (v.value === null) return size.sizeOf(size.atom(textOf(at)));
  if (typeof v.value === "number" && (!Number.isInteger(v.value) || v.value < 0))
    return fail("E0211", noSize(v.value, textOf(at)), at, {
      help: sizeHelp(v.value, textOf(at)),
      notes: calledFrom(w),
    });
  return v.value;
}
function noSize(n: number, text: string): string {
  if (Number.isNaN(n)) return `${text} has no value`;
  return text === String(n) ? `${n} is not a size` : `${text} is ${n}, which is not a size`;
}
function sizeHelp(n: number, text: string): string {
  if (Number.isNaN(n)) return "nothing is divided by 0, and of less than 0 there is no root and no logarithm";
  if (n === -1 && text.includes("-1"))
    return "sizes are 0 or more, and none is found by itself: write it, as in `B * T`";
  if (Number.isInteger(n)) return "sizes are 0 or more";
  if (text === String(n)) return "a size is a whole number; in a header, other numbers have names in lower case";
  return "change the sizes so that it divides, or round it: `ceil(...)`, `floor(...)`";
}
/** Notes for an error in an inlined body: the four innermost calls that led to it; of a longer chain within the library, three and the user's own. */
export function calledFrom(w: World): string[] {
  const calls = w.stack.toReversed();
  const own = calls.findIndex(({ at }) => !isLibrary(at.source));
  const shown = own < 4 ? calls.slice(0, 4) : [...calls.slice(0, 3), ...calls.slice(own, own + 1)];
  return shown.map(({ at, name }) => `in \`${name}\`, called as \`${firstLine(textOf(at))}\` at ${locationText(at)}`);
}
const firstLine = (text: string): string => {
  const [line = ""] = text.split("\n");
  return line.length > 70 ? `${line.slice(0, 67)}...` : line;
};
