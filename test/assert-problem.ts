// Assertions that an error is a Problem, which says what is wrong and what the user can do.
import * as assert from "uvu/assert";
import { Problem } from "../compiler/diagnostic.ts";

/** Asserts that `work`, which may be asynchronous, throws a Problem whose message and help match. */
export async function assertProblem(
  work: () => unknown,
  message: string | RegExp,
  help: string | RegExp,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    assert.match(error.message, message);
    assert.match(error.help, help);
    return;
  }
  assert.unreachable(String(message));
}
/** The Problem that `work` throws. */
export function problem(work: () => unknown): Problem {
  try {
    work();
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("no Problem");
}
/** The Problem that `work`, which may be asynchronous, throws. */
export async function rejectedProblem(work: () => unknown): Promise<Problem> {
  try {
    await work();
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("no Problem");
}
