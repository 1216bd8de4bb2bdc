// Conditions that only elaboration knows: what is assumed of some tells others, as where one is negated, a part of another, or of the same number.
import type { BinaryOp } from "../syntax/ast.ts";
import { atomOf, type Size, show } from "../types/size.ts";

export interface Condition {
  /** The same for conditions that are equal whatever the header's values are. */
  readonly text: string;
  /** Whether it holds where what `text` says does not. */
  readonly negated: boolean;
  /** What `text` says, if that is that all of these hold; else empty. */
  readonly all: readonly Condition[];
  /** What `text` says, if that is a bound of a number; else null. */
  readonly bound: Bound | null;
}
/** `number op value`. A size is whole, and 0 or more. */
interface Bound {
  readonly number: string;
  readonly isSize: boolean;
  readonly op: "==" | "<" | "<=";
  readonly value: number;
}
export const condition = (text: string): Condition => ({ text, negated: false, all: [], bound: null });
export const not = (c: Condition): Condition => ({ ...c, negated: !c.negated });
export const textOf = ({ text, negated }: Condition): string => (negated ? `!(${text})` : text);
export function both(a: Condition, b: Condition): Condition {
  const all = [a, b].flatMap((c) => (c.all.length > 0 && !c.negated ? c.all : [c]));
  return { ...condition(all.map(textOf).toSorted().join(" && ")), all };
}
export const either = (a: Condition, b: Condition): Condition => not(both(not(a), not(b)));

/** A number known at compile time, as conditions name it; undefined: it has no name. */
export const numberText = (value: Size | null, name: string | undefined): string | undefined =>
  value === null ? name : show(value);

interface Side {
  readonly value: Size | null;
  readonly text: string | undefined;
}
type Named = Side & { readonly text: string };
const isNamed = (side: Side): side is Named => side.text !== undefined;
/** `a < b` and the other comparisons. Undefined: a side has no name. */
export function comparison(op: BinaryOp, a: Side, b: Side): Condition | undefined {
  if (!isNamed(a) || !isNamed(b)) return undefined;
  switch (op) {
    case "==":
      return equal(a, b);
    case "!=":
      return not(equal(a, b));
    case "<":
    case "<=":
      return less(op, a, b);
    case ">":
      return less("<", b, a);
    case ">=":
      return less("<=", b, a);
    default:
      return undefined;
  }
}
function equal(a: Named, b: Named): Condition {
  if (isConstant(b)) return bounded(a, "==", b.value);
  return isConstant(a) ? bounded(b, "==", a.value) : condition([a.text, b.text].toSorted().join(" == "));
}
function less(op: "<" | "<=", a: Named, b: Named): Condition {
  if (isConstant(b)) return bounded(a, op, b.value);
  if (isConstant(a)) return not(bounded(b, op === "<" ? "<=" : "<", a.value));
  return op === "<" ? condition(`${a.text} < ${b.text}`) : not(condition(`${b.text} < ${a.text}`));
}
const isConstant = (side: Named): side is Named & { readonly value: number } => Number.isFinite(side.value);
function bounded({ value: size, text: number }: Named, op: Bound["op"], value: number): Condition {
  const isSize = size !== null && atomOf(size) !== null;
  return { ...condition(`${number} ${op} ${value}`), bound: { number, isSize, op, value } };
}
function meets({ op, value }: Bound, x: number): boolean {
  if (op === "==") return x === value;
  return op === "<" ? x < value : x <= value;
}

interface Fact {
  readonly bound: Bound;
  readonly holds: boolean;
}
/** Whether a number of which `facts` are known is within a bound; null: it may be, or not. */
function within(asked: Bound, facts: readonly Fact[]): boolean | null {
  const values = [asked, ...facts.map(({ bound }) => bound)].map(({ value }) => value);
  const possible = (asked.isSize ? sizesAround(values) : numbersAround(values)).filter((x) =>
    facts.every(({ bound, holds }) => meets(bound, x) === holds),
  );
  const [first, ...others] = possible.map((x) => meets(asked, x));
  return first === undefined || others.includes(!first) ? null : first;
}
/** Sizes of which one lies at each of these values, and one in each gap between them. */
const sizesAround = (values: readonly number[]): number[] =>
  values.flatMap((x) => [Math.floor(x) - 1, Math.floor(x), Math.ceil(x), Math.ceil(x) + 1]).filter((x) => x >= 0);
/** The same of numbers. */
function numbersAround(values: readonly number[]): number[] {
  const sorted = values.toSorted((x, y) => x - y);
  const gaps = sorted.map((x, i) => (x + (sorted[i + 1] ?? x + 2)) / 2);
  return [(sorted[0] ?? 0) - 1, ...sorted, ...gaps];
}

/** What is assumed to hold, or not. */
export class Assumptions {
  readonly #holds = new Map<string, boolean>();
  readonly #facts: Fact[] = [];
  /** Of each of these lists one at least does not hold. */
  readonly #denied: (readonly Condition[])[] = [];

  /** Begins with what `known` assumes. */
  constructor(known: Assumptions | null = null) {
    if (!known) return;
    this.#holds = new Map(known.#holds);
    this.#facts.push(...known.#facts);
    this.#denied.push(...known.#denied);
  }
  get isEmpty(): boolean {
    return this.#holds.size === 0;
  }
  /** Whether a condition holds; null: nothing says so. */
  of(c: Condition): boolean | null {
    const known = this.#holds.get(c.text) ?? this.#ofParts(c) ?? this.#ofBound(c);
    return known === null ? null : known !== c.negated;
  }
  #ofParts({ all }: Condition): boolean | null {
    const parts = all.map((part) => this.of(part));
    if (parts.includes(false)) return false;
    return parts.length === 0 || parts.includes(null) ? null : true;
  }
  #ofBound({ bound }: Condition): boolean | null {
    if (bound === null) return null;
    return within(
      bound,
      this.#facts.filter((fact) => fact.bound.number === bound.number),
    );
  }
  assume(c: Condition, holds: boolean): void {
    const said = holds !== c.negated;
    this.#holds.set(c.text, said);
    if (c.bound !== null) this.#facts.push({ bound: c.bound, holds: said });
    if (said) for (const part of c.all) this.assume(part, true);
    else if (c.all.length > 0) this.#denied.push(c.all);
    for (const all of this.#denied) this.#conclude(all);
  }
  /** Of conditions that do not all hold, where all but one do that one does not. */
  #conclude(all: readonly Condition[]): void {
    const [one, ...more] = all.filter((c) => this.of(c) !== true);
    if (one && more.length === 0 && this.of(one) === null) this.assume(one, false);
  }
}
