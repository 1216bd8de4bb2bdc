// Beginnings of prompts whose states are kept, so that another prompt which begins so is read from there on: system prompts, and conversations.
import { chunkLength } from "./generate-entries.ts";
import type { HeldRow, RowStates } from "./row-states.ts";

/** A beginning of prompts, and what a row holds that has read it. */
interface Prefix {
  readonly tokens: Int32Array;
  readonly states: HeldRow;
  /** Several prompts began so, and went on in different ways. */
  readonly isShared: boolean;
}
/** A place in a prompt where what was read is to be kept. */
export interface Stop {
  readonly position: number;
  readonly isShared: boolean;
}
/** Of so many prompts that came before it is known how they began. */
const remembered = 64;

/**
 * What is kept of prompts: of each its last whole chunk, which the next turn of a conversation begins with, in place of the turn before; and the last whole chunk
 * that it has in common with an earlier prompt, such as a system's. Prompts are read by chunks, so what follows is computed in the same calls.
 */
export class Prefixes {
  readonly #rows: Pick<RowStates, "read" | "write">;
  readonly #most: number;
  /** Those that were not used for longest come first. */
  #kept: readonly Prefix[] = [];
  #prompts: readonly Int32Array[] = [];

  /** At most `most` are kept. */
  constructor(rows: Pick<RowStates, "read" | "write">, most: number) {
    [this.#rows, this.#most] = [rows, most];
  }
  /** Gives a row what is kept of a prompt's beginning. Returns how many tokens that is, and where more of it is to be kept, in order. */
  begin(row: number, prompt: ArrayLike<number>): { readonly read: number; readonly stops: readonly Stop[] } {
    const tokens = Int32Array.from(prompt);
    const whole = wholeChunks(tokens.length - 1); // the last token's result is the text's first
    const others = this.#prompts.filter((other) => !begins(tokens, other));
    const common = wholeChunks(Math.max(0, ...others.map((other) => commonLength(tokens, other))));
    this.#prompts = [...others, tokens].slice(-remembered);
    const known = this.#longest(tokens.subarray(0, whole));
    if (known) {
      const isShared = known.isShared || known.tokens.length === common;
      this.#kept = [...this.#kept.filter((p) => p !== known), { ...known, isShared }];
      this.#rows.write(row, known.states);
    }
    const read = known?.tokens.length ?? 0;
    const shared = Math.min(common, whole);
    const stops = [...new Set([shared, whole])].map((position) => ({ position, isShared: position === shared }));
    return { read, stops: stops.filter(({ position }) => position > read) };
  }
  /** Keeps what a row holds, which has read these tokens. */
  keep(row: number, prompt: ArrayLike<number>, { position, isShared }: Stop): void {
    const tokens = Int32Array.from(prompt).subarray(0, position);
    const before = this.#kept.filter((p) => begins(tokens, p.tokens));
    const same = before.find((p) => p.tokens.length === position);
    const shared = before.filter((p) => p !== same && p.isShared);
    if (shared.length >= this.#most) return; // what many begin with is of more use
    const states = same?.states ?? this.#rows.read(row);
    const added = { tokens, states, isShared: isShared || same?.isShared === true };
    const others = this.#kept.filter((p) => !before.includes(p));
    this.#kept = [...others, added, ...shared].slice(-this.#most);
  }
  #longest(tokens: Int32Array): Prefix | undefined {
    const all = this.#kept.filter((p) => begins(tokens, p.tokens));
    return all.toSorted((a, b) => b.tokens.length - a.tokens.length)[0];
  }
}
const wholeChunks = (tokens: number): number => Math.floor(tokens / chunkLength) * chunkLength;
function commonLength(a: Int32Array, b: Int32Array): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}
const begins = (tokens: Int32Array, by: Int32Array): boolean => commonLength(tokens, by) === by.length;
