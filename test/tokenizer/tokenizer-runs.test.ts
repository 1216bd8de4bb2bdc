// Runs whose text is encoded by a tokenizer.
import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { generate } from "../../runtime/generation/generate.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { readConfig } from "../../runtime/storage/run-folder.ts";
import { openTraining } from "../../runtime/training/train.ts";
import type { TrainOptions } from "../../runtime/training/train-options.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { last, losses, small } from "../training-runs.ts";
import { refused } from "./refused.ts";

const test = suite("tokenizer-runs");
const peers = join(project, "test/peers");
const texts = join(peers, "texts");

const set = { V: 300, D: 4 };
const training = (more: Partial<TrainOptions>) => {
  const at = temporaryFolder();
  writeFileSync(join(at, "small.moe"), small(300, 4));
  writeFileSync(join(at, "data.txt"), "Call me Ishmael, some years ago. ".repeat(20));
  const tokenizer = join(at, "given");
  cpSync(join(texts, "gpt2"), tokenizer, { recursive: true });
  const base = { program: join(at, "small.moe"), data: [join(at, "data.txt")], target: "reference" } as const;
  return { ...base, tokenizer, batch: 1, length: 8, ...more, out: join(at, "run") };
};
test("a run keeps its tokenizer, goes on with it unasked, and not with another", async () => {
  const options = training({ set });
  const whole = await losses({ ...options, out: null, steps: 3 });
  await losses(options);
  assert.equal(last(options.out).state.tokenizer, "tokenizer");
  assert.match(readConfig(options.out).tokenizer ?? "", /^[0-9a-f]{64}$/);
  const { tokenizer, ...unasked } = options;
  const again = { ...unasked, resume: true, steps: 3 };
  assert.deepEqual(await losses(again), whole.slice(2));
  const kept = join(options.out, "tokenizer.json");
  writeFileSync(kept, `${readFileSync(kept, "utf8")} `);
  await refused(() => openTraining({ ...again, steps: 4 }), "--tokenizer was of SHA-256 .* and is now of SHA-256");
  await refused(
    () => generate({ folder: options.out, target: "reference" }).next(),
    "not the one that config.json names",
  );
  await refused(() => openTraining({ ...again, ids: false, steps: 4 }), "--tokenizer was .* and is now not given");
  await refused(() => openTraining({ ...options, out: null, ids: true, tokenizer }), "leave one of them out");
  rmSync(kept);
  for (const run of [() => generate({ folder: options.out }).next(), () => openTraining({ ...again, steps: 4 })])
    await refused(run, `${options.out} lacks its tokenizer, tokenizer.json`, "that it was trained with");
});
test("a tokenizer of more tokens than the model is refused, and both numbers are named; that of a checkpoint of transformers too, if none is", async () => {
  const { tokenizer, ...unasked } = training({ set: { V: 299 } });
  await refused(() => openTraining({ ...unasked, tokenizer }), "0 to 299, .* 0 to 298", "--set V=300");
  const params = temporaryFolder();
  for (const from of [join(peers, "hf/qwen3"), join(texts, "gpt2")]) cpSync(from, params, { recursive: true });
  const program = join(params, "qwen3.moe");
  const sizes = "V: 40, D: 16, H: 12, L: 2, Heads: 4, Groups: 2, A: 8, Context: 64";
  writeFileSync(program, `import { Qwen3 } from "std/models/decoder"\nmodel Small() = Qwen3(${sizes})\n`);
  const foreign = { ...unasked, program, set: {}, params };
  await refused(() => openTraining(foreign), "0 to 299, .* 0 to 39", "--set V=300");
  await refused(() => openTraining({ ...foreign, ids: false }), "the data holds the token 67");
});

test("an imported model takes and writes text by the tokenizer that came with it, to the end of the text", async () => {
  const at = temporaryFolder();
  cpSync(join(peers, "hf", "qwen3_moe"), at, { recursive: true });
  const tokens = ["<|end|>", ..."abcdefghijklmnopqrstuvwxyz ,.!?-ABCDEFG".split("")];
  const vocab = Object.fromEntries(tokens.map((t, i) => [t, i]));
  const added = [{ id: 0, content: "<|end|>", special: true, normalized: false }];
  writeFileSync(
    join(at, "tokenizer.json"),
    JSON.stringify({ model: { type: "BPE", vocab, merges: [] }, added_tokens: added, decoder: { type: "Fuse" } }),
  );
  writeFileSync(join(at, "tokenizer_config.json"), JSON.stringify({ eos_token: { content: "<|end|>" } }));
  const out = join(at, "run");
  assert.equal((await importModel({ folder: at, out })).tokenizer, true);
  const how = { folder: out, target: "reference", tokens: 24, temperature: 3, context: 32 } as const;
  const written = async (more: object): Promise<string[]> => {
    const all: string[] = ["", ""];
    for await (const { prompt, text } of generate({ ...how, prompts: ["call me", "of the"], ...more }))
      all[prompt] += text;
    return all;
  };
  const codes = (await written({ ids: true, prompts: ["3 1 12 12 27 13 5", "15 6 27 20 8 5"] })).map((t) =>
    t.trim().split(" ").map(Number),
  );
  const texted = (ids: readonly number[]): string => ids.map((i) => (i === 0 ? "" : (tokens[i] ?? ""))).join("");
  assert.deepEqual(await written({ pastEnd: true }), codes.map(texted));
  assert.ok(
    codes.some((ids) => ids.includes(0) && ids.at(-1) !== 0),
    "a seed whose text ends in the middle",
  );
  const upTo = codes.map((ids) => (ids.includes(0) ? ids.slice(0, ids.indexOf(0)) : ids));
  assert.deepEqual(await written({}), upTo.map(texted));
  writeFileSync(join(at, "tokenizer.json"), "{}");
  const told: string[] = [];
  const left = await importModel({ folder: at, out: join(at, "other"), warn: (line) => told.push(line) });
  assert.equal(left.tokenizer, false);
  assert.match(told.join(), /tokenizer\.json: model: .*--ids/);
});
test.run();
