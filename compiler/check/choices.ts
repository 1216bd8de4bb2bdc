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
/** What one run assumes. */
export class Choices {
  /** What it came to assume, since members depend on it. */
  readonly asked: Choice[] = [];
  readonly #assumed = new Assumptions();

  constructor(given: readonly Choice[] = []) {
    for (const { condition, holds } of given) this.#assumed.assume(condition, holds);
  }
  /** Whether a condition is assumed to hold; null: either may be. */
  assumed(c: Condition): boolean | null {
    return this.#assumed.of(c);
  }
  /** Whether a condition that chooses is assumed to hold. */
  choose(condition: Condition, question: Question): boolean {
    const known = this.assumed(condition);
    if (known !== null) return known;
    this.#assumed.assume(condition, true);
    this.asked.push({ condition, holds: true, question });
    return true;
  }
}

/** The question whether the condition of an `if` is true. */
export const isTrue = (at: Span): Question => ({ at, answer: "true" });
