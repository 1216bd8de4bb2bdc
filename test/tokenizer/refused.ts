import assert from "node:assert/strict";
import { Problem } from "../../compiler/diagnostic.ts";

/** Asserts that a Problem is thrown whose message and help have all these words. */
export const refused = (run: () => unknown, ...words: (string | RegExp)[]): Promise<void> =>
  assert.rejects(
    async () => run(),
    (e: unknown) => {
      assert.ok(e instanceof Problem, String(e));
      for (const word of words) assert.match(`${e.message}\n${e.help}`, typeof word === "string" ? RegExp(word) : word);
      return true;
    },
  );
