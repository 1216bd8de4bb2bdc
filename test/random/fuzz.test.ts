// 1,000 programs with random damage through the whole checker, and some of those that stay right on into numbers. `npm run fuzz -- --kind damaged`
// draws others.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { mutants, semanticMutations } from "../language/mutate.ts";
import { checked, elaborated, soon, whole } from "./damaged.ts";

const test = suite("fuzz");
for (const [name, list, least, every] of [
  ["damage that the parser sees", undefined, 5, 1],
  ["damage that the checker sees", semanticMutations, 40, 4],
] as const)
  test(`500 programs, ${name}: diagnostics or none, soon, and never a throw`, () => {
    let right = 0;
    const outcomes = { graphs: 0, refused: 0 };
    for (const text of mutants(whole, 500, list)) {
      const loaded = soon(text, () => checked(text));
      if (!loaded || right++ % every !== 0) continue;
      const { graphs, refused } = elaborated(text, loaded);
      outcomes.graphs += graphs;
      outcomes.refused += refused;
    }
    assert.ok(right > least && right < 450, `${right} of 500 are right`);
    assert.ok(outcomes.graphs > least, `${outcomes.graphs} entries gave graphs, ${outcomes.refused} did not`);
  });
test.run();
