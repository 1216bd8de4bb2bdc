// Conditions that only elaboration knows: the same one is told again by its text, also negated, or as a part of another.
import type { BinaryOp } from "../syntax/ast.ts";
import { atomOf, type Size, show } from "../types/size.ts";

export interface Condition {
  /** The same for conditions that are equal whatever the header's values are. */
  readonly text: string;
  /** Whether it holds where what `text` says does not. */
  readonly negated: boolean;
  /** What `text` says, if that is that all of these hold; else empty. */
  readonly all: readonly Condition[];
}
export const condition = (text: string): Condition => ({ text, negated: false, all: [] });
export const not = (c: Condition): Condition => ({ ...c, negated: !c.negated });
const textOf = ({ text, negated }: Condition): string => (negated ? `!(${text})` : text);
export const both = (a: Condition, b: Condition): Condition => ({
  text: `${textOf(a)} && ${textOf(b)}`,
  negated: false,
  all: [a, b],
});
export const either = (a: Condition, b: Condition): Condition => not(both(not(a), not(b)));

/** A number known at compile time, as conditions name it; undefined: it has no name. */
export const numberText = (value: Size | null, name: string | undefined): string | undefined =>
  value === null ? name : show(value);

interface Side {
  readonly value: Size | null;
  readonly text: string | undefined;
}
/** `a < b` and the other comparisons, told by equalities and `<` alone. Undefined: a side has no name. */
export function comparison(op: BinaryOp, a: Side, b: Side): Condition | undefined {
  if (a.text === undefined || b.text === undefined) return undefined;
  switch (op) {
    case "==":
      return condition([a.text, b.text].toSorted().join(" == "));
    case "!=": {
      const same = comparison("==", a, b);
      return same && not(same);
    }
    case "<":
      return less(a, b);
    case ">":
      return less(b, a);
    case "<=":
      return not(less(b, a));
    case ">=":
      return not(less(a, b));
    default:
      return undefined;
  }
}
/** A size is 0 or more, so `0 < L` is `L != 0`, and `L < 1` is `L == 0`. */
function less(a: Side, b: Side): Condition {
  if (a.value === 0 && isSize(b)) return not(condition(`0 == ${b.text}`));
  if (b.value === 1 && isSize(a)) return condition(`0 == ${a.text}`);
  return condition(`${a.text} < ${b.text}`);
}
const isSize = ({ value }: Side): boolean => value !== null && atomOf(value) !== null;

/** What is assumed to hold, or not. */
export class Assumptions {
  readonly #holds = new Map<string, boolean>();

  /** Whether a condition holds; null: nothing says so. */
  of(c: Condition): boolean | null {
    const known = this.#holds.get(c.text) ?? this.#ofParts(c);
    return known === null ? null : known !== c.negated;
  }
  #ofParts({ all }: Condition): boolean | null {
    const parts = all.map((part) => this.of(part));
    if (parts.includes(false)) return false;
    return parts.length === 0 || parts.includes(null) ? null : true;
  }
  assume(c: Condition, holds: boolean): void {
    const said = holds !== c.negated;
    this.#holds.set(c.text, said);
    if (said) for (const part of c.all) this.assume(part, true);
  }
}
