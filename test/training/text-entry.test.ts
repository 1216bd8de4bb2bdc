// Sizes of entries that take tokens: by flags, by name, and contradictory.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load } from "../../compiler/check/index.ts";
import { openRun } from "../../runtime/generation/open-run.ts";
import { type EntryOptions, entryRequest } from "../../runtime/measure/measured-entry.ts";
import { findEntry } from "../../runtime/program.ts";
import { readConfig } from "../../runtime/storage/run-folder.ts";
import { textSizes } from "../../runtime/text-entry.ts";
import { openTraining } from "../../runtime/training/train.ts";
import { assertProblem } from "../assert-problem.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("text-entry");
const root = temporaryFolder();
const text = `
  import { cross_entropy } from "std/loss"
  model Bytes(V = 128, Steps = 7) {
    param table: float[V, V] = 0
    train(tokens: i32[N, L], targets: i32[N, L]) { loss bytes = cross_entropy(table[tokens], targets) }
    generate(tokens: i32[N, L], at: i32[N, L], temperature: f32[N]) -> i32[N] { return tokens[:, 0] }
    other(x: i32[N, L]) -> i32[N, L] { return x }
  }`;
const bytes = load({ name: "bytes.moe", text });
/** The sizes of a request, and those of its entry. */
function sizesOf(options: EntryOptions): unknown[] {
  const { sizes, entries } = entryRequest(bytes, options);
  return [sizes, ...entries.map((e) => e.sizes)];
}

test("rows and tokens are sizes of any entry that takes tokens; `train` has defaults", async () => {
  assert.equal(sizesOf({}), [{}, { N: 16, L: 128 }]);
  assert.equal(sizesOf({ batch: 3, set: { L: 5, V: 9 } }), [{ V: 9 }, { N: 3, L: 5 }]);
  assert.equal(sizesOf({ entry: "generate" }), [{}, {}]);
  assert.equal(sizesOf({ entry: "generate", batch: 3, length: 4, set: { V: 9 } }), [{ V: 9, N: 3, L: 4 }, {}]);
  await assertProblem(
    () => sizesOf({ entry: "other", length: 4 }),
    "`Bytes.other` takes (x: i32[N, L]), and --batch and --length are the sizes of tokens: i32[B, T]",
    "--set NAME=VALUE",
  );
});
test("a header that names rows or tokens says how many there are, to what measures an entry too", () => {
  const named = load({ name: "named.moe", text: text.replace("Steps = 7", "N = 3, L = 5") });
  assert.equal(entryRequest(named, {}).entries[0]?.sizes, { N: 3, L: 5 });
  assert.equal(entryRequest(named, { length: 4 }).entries[0]?.sizes, { N: 3, L: 4 });
});
test("a size that is given twice is refused unless both agree, as is one that holds no batch", async () => {
  const train = findEntry(bytes, undefined, "train");
  assert.equal(textSizes(train, { batch: 3, set: { N: 3 } }), { B: 3, T: undefined, others: {} });
  await assertProblem(() => textSizes(train, { batch: 3, set: { N: 4 } }), "--batch 3 and --set N=4", "leave one");
  for (const N of [0, 2.5, true])
    await assertProblem(() => textSizes(train, { set: { N } }), `N is ${N}`, "a whole number of at least 1");
});
test("training takes its sizes and steps by name too", async () => {
  const [program, data, out] = [join(root, "bytes.moe"), join(root, "data.txt"), join(root, "run")];
  writeFileSync(
    program,
    text
      .replace("loss bytes", "optimize with Sgd() loss bytes")
      .replace("import {", 'import { Sgd } from "std/optim" import {'),
  );
  writeFileSync(data, "abcdefgh".repeat(30));
  const options = { program, data: [data], target: "reference", out } as const;
  await assertProblem(
    () => openTraining({ ...options, steps: 2, set: { Steps: 3 } }),
    "--steps 2 and --set Steps=3",
    "",
  );
  await assertProblem(() => openTraining({ ...options, set: { Steps: 0 } }), "Steps is 0", "at least 1");
  const training = await openTraining({ ...options, set: { N: 2, L: 8, Steps: 3 } });
  training.close();
  const { sizes, steps } = readConfig(out);
  assert.equal([sizes, steps], [{ B: 2, T: 8, Steps: 3 }, 3]);
});
test("a header that names the tokens of a row says how many there are, to all entries", async () => {
  const [program, data] = [join(root, "placed.moe"), join(root, "data.txt")];
  writeFileSync(
    program,
    `
    import { cross_entropy } from "std/loss"
    import { Sgd } from "std/optim"
    model Placed(V = 128, L = 4) {
      param table: float[V, V] = 0
      param place: float[L, V] = 0
      train(tokens: i32[B, L], targets: i32[B, L]) {
        loss bytes = cross_entropy(table[tokens] + place, targets)
        optimize with Sgd()
      }
      generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B]) -> i32[B] { return i32(place[at[:, 0], 0]) }
    }`,
  );
  for (const [set, L] of [
    [{}, 4],
    [{ L: 6 }, 6],
  ] as const) {
    const [folder, target] = [join(root, `placed ${L}`), "reference"] as const;
    const training = await openTraining({ program, data: [data], target, out: folder, set, steps: 1 });
    for await (const { step } of training.steps()) assert.is(step, 1);
    training.close();
    assert.equal(readConfig(folder).sizes, { B: 16, T: L, L });
    const next = await openTraining({ program, data: [data], target, out: join(folder, "next"), params: folder });
    next.close();
    assert.is(next.config.sizes["L"], L);
    (await openRun({ folder, target, rows: 1, seed: 0 })).executable.close();
    for (const name of ["B", "T"])
      await assertProblem(
        () => openRun({ folder, target, rows: 1, seed: 0, set: { [name]: 4 } }),
        `${name} of \`generate\` follows from the prompts`,
        `(in TypeScript \`sizes: { ${name}: VALUE }\`) out; \`--batch N\` (in TypeScript \`batch\`) says`,
      );
  }
});
test.run();
