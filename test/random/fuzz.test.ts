// Programs with random damage through the whole checker, and some of those that stay right on into numbers. `npm run fuzz -- --kind damaged`
// draws others.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { full } from "../full.ts";
import { mutants, semanticMutations } from "../language/mutate.ts";
import { checked, elaborated, soon, whole } from "./damaged.ts";

const test = suite("fuzz");
const count = full ? 500 : 200;
for (const [name, list, least, every] of [
  ["damage that the parser sees", undefined, 1, 1],
  ["damage that the checker sees", semanticMutations, 16, 4],
] as const)
  test(`programs, ${name}: diagnostics or none, soon, and never a throw`, () => {
    let right = 0;
    const outcomes = { graphs: 0, refused: 0 };
    for (const text of mutants(whole, count, list)) {
      const loaded = soon(text, () => checked(text));
      if (!loaded || right++ % every !== 0) continue;
      const { graphs, refused } = elaborated(text, loaded);
      outcomes.graphs += graphs;
      outcomes.refused += refused;
    }
    assert.ok(right > least && right < 0.9 * count, `${right} of ${count} are right`);
    assert.ok(outcomes.graphs > least, `${outcomes.graphs} entries gave graphs, ${outcomes.refused} did not`);
  });
test.run();
