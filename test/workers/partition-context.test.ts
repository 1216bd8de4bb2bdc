// Training steps of which several workers share each sequence's tokens, run together in the interpreter, against one worker.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadFile } from "../../compiler/check/index.ts";
import { nodesOf } from "../../compiler/graph/walk.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs } from "../../compiler/pipeline.ts";
import { count } from "../../compiler/types/type.ts";
import { project } from "../project.ts";
import { compare, shown } from "./compare-workers.ts";

const test = suite("partition-context");

const example = loadFile(join(project, "examples/gpt-moe.moe"));
const sizes = { L: 1, D: 12, H: 8, Heads: 2, E: 6, V: 30, Context: 16 };
for (const { B, accumulate, ...sharing } of [
  { workers: 2, contextParallel: 2, B: 1, accumulate: 1 },
  { workers: 3, contextParallel: 3, B: 1, accumulate: 1 },
  { workers: 2, contextParallel: 2, B: 3, accumulate: 2 },
  { workers: 3, contextParallel: 3, B: 2, accumulate: 1, room: 2.9, shardOptimizer: true },
  { workers: 4, contextParallel: 2, B: 2, accumulate: 1 },
  { workers: 6, contextParallel: 3, B: 4, accumulate: 1, shardParameters: true, expertParallel: 1 },
  { workers: 4, contextParallel: 2, tensorParallel: 2, B: 1, accumulate: 1 },
  { workers: 2, contextParallel: 2, B: 3, accumulate: 1, shadow: 1, shardParameters: true },
])
  test(`a step of the demo by ${shown(sharing)}, ${B} rows, ${accumulate} times`, () => {
    const of = { sizes: { B, T: 6 }, method: "train" };
    const names = accumulate > 1 ? ["train", "evaluate"] : ["train"]; // whose forward is the same
    const entries = names.map((name) => ({ ...of, name }));
    for (const limits of [{}, { sharedRows: -Infinity }])
      compare({ program: example, request: { sizes, entries, accumulate, limits }, ...sharing });
  });
test("sequences whose length the workers do not divide are refused", () => {
  const entries = [{ name: "train", method: "train", sizes: { B: 1, T: 5 } }];
  const request = { sizes, entries, precision: "f32", workers: 2, contextParallel: 2 } as const;
  assert.throws(
    () => toGraphs(example, request, silentObserver()),
    /2 workers cannot share the tokens of a sequence: tokens has 5, targets has 5/,
  );
});
for (const [workers, B] of [
  [3, 1],
  [3, 2],
  [6, 4],
] as const)
  test(`each of ${workers} has a part of all that is computed of ${B} rows' tokens, gathers keys and values alone, and has a part of their gradients`, () => {
    const [T, D] = [12, 8];
    const entries = [{ name: "train", method: "train", sizes: { B, T } }];
    const request = { sizes: { ...sizes, D }, entries, precision: "f32", workers, contextParallel: 3 } as const;
    const nodes = toGraphs(example, request, silentObserver()).graphs.flatMap(nodesOf);
    const moved = (op: string): number[] =>
      nodes
        .filter((node) => node.op.name === op && node.results[0]?.type.dtype === "f32")
        .flatMap(({ results }) => results.map(({ type }) => count(type)));
    const ofTokens = ((3 * B) / workers) * T * D;
    assert.equal(moved("all_gather"), [ofTokens, ofTokens]);
    assert.equal(
      moved("all_to_all").filter((n) => n === ofTokens),
      [ofTokens, ofTokens],
    );
    assert.not(moved("all_reduce").includes(ofTokens));
  });
test.run();
