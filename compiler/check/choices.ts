// What one run over a declaration assumes of the conditions that choose among members (runs.ts).
import type { Span } from "../syntax/ast.ts";
import { Assumptions, type Condition } from "./conditions.ts";

/** Where members are chosen, and what is chosen if the condition holds, in the words of notes. */
interface Question {
  readonly at: Span;
  readonly answer: string;
}
export interface Choice {
  readonly condition: Condition;
  readonly holds: boolean;
  readonly question: Question;
}
/** A choice that a run met; `within`: those of the `if`s around it, the outermost first. */
interface Met extends Choice {
  readonly within: readonly Choice[];
}
/** What one run assumes. */
export class Choices {
  /** What it came to assume, since members depend on it. */
  readonly made: Choice[] = [];
  /** All that it met, one for each condition and what is around that. */
  readonly met = new Map<string, Met>();
  readonly #assumed: Assumptions;
  /** What holds at the statement that is checked: what is assumed, and what the `if`s around and before it say. */
  here: Assumptions;

  constructor(given: readonly Choice[] = []) {
    this.#assumed = assuming(given);
    this.here = this.#assumed;
  }
  /** Says what holds from here on, where that may bear on what is assumed. */
  suppose(c: Condition, holds: boolean): void {
    if (this.#assumed.isEmpty) return;
    this.here = new Assumptions(this.here);
    this.here.assume(c, holds);
  }
  /** Whether a condition that chooses is assumed to hold, wherever it is asked: a member is made once. */
  choose({ condition, question }: Omit<Choice, "holds">, within: readonly Choice[] = []): boolean {
    const known = this.#assumed.of(condition);
    const choice = { condition, question, holds: known ?? true };
    if (known === null) {
      this.#assumed.assume(condition, true);
      this.made.push(choice);
    }
    const key = [...within.map(saidBy), condition.text].join("\n");
    if (!this.met.has(key)) this.met.set(key, { ...choice, within });
    return choice.holds;
  }
}
export function assuming(given: readonly Choice[]): Assumptions {
  const assumed = new Assumptions();
  for (const { condition, holds } of given) assumed.assume(condition, holds);
  return assumed;
}
const saidBy = ({ condition: { text, negated }, holds }: Choice): string => `${holds !== negated} ${text}`;

/** The question whether the condition of an `if` is true. */
export const isTrue = (at: Span): Question => ({ at, answer: "true" });
