// Helpers for tests of texts that a model writes.
import assert from "node:assert/strict";
import { Problem } from "../../compiler/diagnostic.ts";

export async function all(pieces: AsyncIterable<string>): Promise<string> {
  let text = "";
  for await (const piece of pieces) text += piece;
  return text;
}
export async function assertProblem(made: Promise<unknown>, says: RegExp): Promise<void> {
  await assert.rejects(made, (e: unknown) => e instanceof Problem && says.test(`${e.message} ${e.help}`));
}
