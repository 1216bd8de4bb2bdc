// What a user can mend is a Problem, which says what is wrong and what to do.
import * as assert from "uvu/assert";
import { Problem } from "../compiler/diagnostic.ts";

/** The work, which may be asynchronous, ends with a Problem whose message and help hold these words. */
export async function refuses(work: () => unknown, message: string, help: string): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    assert.match(error.message, message);
    assert.match(error.help, help);
    return;
  }
  assert.unreachable(message);
}
/** The Problem that the work ends with. */
export function problem(work: () => unknown): Problem {
  try {
    work();
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("no Problem");
}
/** The same of work that may be asynchronous. */
export async function rejected(work: () => unknown): Promise<Problem> {
  try {
    await work();
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("no Problem");
}
