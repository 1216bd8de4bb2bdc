// Beginnings of prompts that are kept: what is read from there on, what is given up, and that texts stay the same.
import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { suite } from "uvu";
import { type GenerateRequest, generateBatch } from "../../runtime/generation/batch.ts";
import { compileGenerate } from "../../runtime/generation/compile-generate.ts";
import { Prefixes, type Stop } from "../../runtime/generation/prefixes.ts";
import { fit, openModel } from "../../runtime/index.ts";
import { readProgram } from "../../runtime/program.ts";
import { two } from "../workers/fake-workers.ts";
import { batches, lmFile } from "./lm-run.ts";
import { Memory } from "./memory.ts";
import { assertProblem } from "./texts.ts";

const test = suite("prefixes");
const numbers = (length: number, seed: number): number[] =>
  Array.from({ length }, (_, i) => (i * i * seed + 7 * i + seed) % 50);

/** Writes a text after each prompt, `rows` at a time; `read`: how many tokens of prompts were read. */
async function written(rows: number, prompts: readonly number[][], memory = new Memory(rows), prefixes?: Prefixes) {
  const wishes = prompts.map((prompt): GenerateRequest => ({ prompt, tokens: 3, temperature: 0 }));
  const texts: number[][] = prompts.map(() => []);
  const before = memory.calls.length;
  for await (const { request, token } of generateBatch(memory, wishes, { rows, seed: 0, step: 0, prefixes }))
    texts[request]?.push(token);
  const places = memory.calls.slice(before).flatMap(({ at }) => at.flat());
  return { texts, read: places.filter((p) => p >= 0).length - 2 * prompts.length };
}
/** What is read of each prompt when they come one after another. */
async function readOf(prompts: readonly number[][], most: number): Promise<number[]> {
  const memory = new Memory(1, [1, 8, 96]);
  const prefixes = new Prefixes(memory.rows, most);
  const all: number[] = [];
  for (const prompt of prompts) {
    const { read, texts } = await written(1, [prompt], memory, prefixes);
    assert.deepEqual(texts, (await written(1, [prompt])).texts);
    all.push(read);
  }
  return all;
}
const system = numbers(150, 3);
const question = (seed: number, length = 20): number[] => [...system, ...numbers(length, seed)];

test("of a system prompt whole chunks are read twice, then no more, though one text alone is kept", async () => {
  for (const most of [1, 2, 9])
    assert.deepEqual(
      await readOf(
        [5, 8, 11, 12].map((seed) => question(seed, 90)),
        most,
      ),
      [240, 240, 112, 112],
    );
  const [first, second, third] = [5, 8, 11].map((seed) => question(seed, 90)) as [number[], number[], number[]];
  assert.deepEqual(await readOf([first, second, numbers(100, 7), third], 2), [240, 240, 100, 112]);
});
test("a conversation goes on from its last whole chunk, also beside others", async () => {
  const turns = [100, 170, 230, 330].map((length) => numbers(length, 5));
  assert.deepEqual(await readOf(turns, 1), [100, 170 - 64, 230 - 128, 330 - 192]);
  const others = [7, 9].map((seed) => turns.map((turn) => numbers(turn.length, seed)));
  const woven = turns.flatMap((turn, i) => [turn, ...others.map((of) => of[i] ?? [])]);
  const read = await readOf(woven, 3);
  assert.deepEqual(
    read,
    [100, 106, 102, 138].flatMap((n) => [n, n, n]),
  );
  assert.deepEqual(
    (await readOf(woven, 2)).slice(3),
    woven.slice(3).map((turn) => turn.length),
  );
});
test("of several beginnings the longest is read from, and that given up which was not for longest", async () => {
  const asked = question(8, 90);
  assert.deepEqual(await readOf([question(5, 90), asked, [...asked, ...numbers(30, 2)]], 3), [240, 240, 270 - 192]);
  const [a = [], b = [], c = []] = [5, 7, 9].map((seed) => numbers(100, seed));
  assert.deepEqual(await readOf([a, b, a, c, a, b], 2), [100, 100, 36, 100, 36, 100]);
});
test("what was kept last does not hide what is longer", async () => {
  const [other, asked] = [question(5, 90), question(8, 90)];
  assert.deepEqual(await readOf([other, asked, asked, asked], 3), [240, 240, 48, 48]);
});
test("a prompt's own beginning is one that others have once they begin so: a longer one does not take its place", async () => {
  const asked = [question(5), question(8), question(11, 90), question(12)];
  assert.deepEqual(await readOf(asked, 2), [170, 42, 240 - 128, 42]);
});
test("what two rows read at once is kept once, as one that others have, and copied once; so is what has no room", () => {
  const copied: number[] = [];
  const prefixes = new Prefixes({ read: (row) => (copied.push(row), []), write() {} }, 2);
  const [other, a, b] = [numbers(100, 9), question(5, 90), question(8, 90)] as [number[], number[], number[]];
  const [own] = prefixes.begin(0, other).stops;
  assert.ok(own);
  prefixes.keep(0, other, own);
  const [shared, unshared] = [true, false].map((isShared) => ({ position: 128, isShared })) as [Stop, Stop];
  prefixes.keep(1, a, shared);
  prefixes.keep(2, b, unshared);
  assert.deepEqual(copied, [0, 1]);
  assert.equal(prefixes.begin(0, other).read, 64);
  prefixes.keep(2, b, { position: 192, isShared: true });
  assert.equal(prefixes.begin(1, a).read, 128);
  prefixes.keep(2, [...b, ...other], { position: 256, isShared: false });
  assert.deepEqual(copied, [0, 1, 2]);
});
test("the turn before is no beginning that others have: once it was given up it takes no place of another's", async () => {
  const [a, b, c] = [5, 7, 9].map((seed) => numbers(170, seed)) as [number[], number[], number[]];
  const [first, other, third] = [a, b, c].map((turn) => turn.slice(0, 100)) as [number[], number[], number[]];
  assert.deepEqual(await readOf([first, other, third, a, third], 2), [100, 100, 100, 170, 36]);
});
test("what a shorter prompt has in common with a longer one is kept up to its last whole chunk", async () => {
  assert.deepEqual(
    await readOf(
      [200, 128, 100].map((length) => numbers(length, 5)),
      2,
    ),
    [200, 128, 36],
  );
});
test("how a prompt began is known until 64 others came", async () => {
  const others = Array.from({ length: 64 }, (_, i) => [i % 50, 49 - (i % 49)]);
  const asked = [5, 8, 11].map((seed) => question(seed, 90)) as [number[], number[], number[]];
  const read = await readOf([asked[0], ...others, asked[1], asked[2], question(12, 90)], 9);
  assert.deepEqual(
    read.filter((n) => n > 2),
    [240, 240, 240, 112],
  );
});
test("a prompt that is asked again is read from its last whole chunk, one token at least", async () => {
  for (const length of [64, 65, 128, 129, 63, 1]) {
    const prompt = numbers(length, 4);
    assert.deepEqual(await readOf([prompt, prompt], 2), [length, length - 64 * Math.floor((length - 1) / 64)]);
  }
});
test("in any rows, in any order, with any number kept, texts are the same", async () => {
  const prompts = [5, 8, 5, 11, 12, 8].flatMap((seed, i) => [
    question(seed, 20 + 30 * i),
    question(seed, 90),
    numbers(70 * i + 1, seed),
    numbers(130, 5),
  ]);
  const { texts, read } = await written(3, prompts);
  for (const rows of [1, 2, 5, 30])
    for (const most of [1, 3, 50]) {
      const memory = new Memory(rows, [1, 8, 96]); // a call may read more than up to where something is kept
      const kept = await written(rows, prompts, memory, new Prefixes(memory.rows, most));
      assert.deepEqual(kept.texts, texts, `${rows} rows, ${most} kept`);
      assert.ok(kept.read < read || most === 1 || rows === 30, `${rows} rows, ${most} kept`);
    }
});
const sizes = { V: 160, D: 8, Context: 200 };
for (const [target, mixing] of [
  ["host", "Attention(D, 2, Context: Context, window: 70)"],
  ["reference", "Mamba(D)"],
] as const)
  test(`${mixing} on ${target}: texts of a system prompt and of a conversation are the same`, async () => {
    const file = lmFile(mixing);
    const parameters = await fit({ file }, { batches: batches(sizes.V, 2), sizes, target });
    for (const [name, { data }] of parameters) if (name.includes("attention")) data.set(data.map((x) => 30 * x)); // so that the past tells
    const given = { parameters, sizes, target, batch: 2, ids: true };
    const [kept, plain] = [await openModel({ file }, { ...given, prefixes: 3 }), await openModel({ file }, given)];
    const textOf = async (model: typeof kept, prompt: number[], temperature: number): Promise<number[]> => {
      const text: number[] = [];
      for await (const token of model.tokens(prompt, { tokens: 4, temperature })) text.push(token);
      return text;
    };
    const turn = [...question(5, 2), ...numbers(20, 9)];
    for (const prompt of [question(5, 2), question(8, 4), question(11, 3), turn])
      for (const temperature of [0, 1])
        assert.deepEqual(await textOf(kept, prompt, temperature), await textOf(plain, prompt, temperature));
    const together = [question(5, 2), question(12, 4)];
    const both = await Promise.all(together.map((prompt) => textOf(kept, prompt, 0)));
    assert.deepEqual(both, await Promise.all(together.map((prompt) => textOf(plain, prompt, 0))));
    await kept.close();
    await plain.close();
  });
test("what cannot be kept is said", async () => {
  const target = "reference";
  const alone = { rows: 1, prefixes: 1, world: two(0), target } as const;
  const several = compileGenerate(readProgram(lmFile("Attention(D, 2)")), undefined, alone);
  await assertProblem(several, /2 workers keep no beginnings of prompts.*leave `--prefixes`/);
  for (const type of ["float[D, B]", "float[D]"]) {
    const file = lmFile("Counted(D)");
    const counted = `layer Counted(D) {
      forward(x: float[B, T, D], at: i32[B, T]) -> float[B, T, D] {
        if generating {
          state seen: ${type} = 0
          update seen = seen + 1
        }
        return x
      }
    }`;
    appendFileSync(file, counted);
    const parameters = await fit({ file }, { batches: batches(sizes.V, 1), sizes, target });
    const given = { parameters, sizes, target, batch: 8 } as const; // as many rows as features
    await assertProblem(
      openModel({ file }, { ...given, prefixes: 1 }),
      /state generate\/blocks\.0\.attention\.seen, of which no row/,
    );
    await (await openModel({ file }, { ...given, prefixes: 0 })).close();
  }
});

test.run();
