// Sequences in the rows of a batch, sampling, and the command: on an Executable that only remembers, on stdlib's `sample`, and on an imported model.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { Problem } from "../../compiler/diagnostic.ts";
import { compileProgram } from "../../runtime/compile.ts";
import { blockingLimit } from "../../runtime/events.ts";
import { type Executable, onlyOutput, type Repeat, type Tensor } from "../../runtime/executable/executable.ts";
import { type GeneratedToken, type GenerateRequest, generateBatch } from "../../runtime/generation/batch.ts";
import { generate } from "../../runtime/generation/generate.ts";
import { generateEntries } from "../../runtime/generation/generate-entries.ts";
import { importModel } from "../../runtime/import/import-model.ts";
import { compile, readSafetensors } from "../../runtime/index.ts";
import { readProgram } from "../../runtime/program.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { codecs } from "../../runtime/tokens.ts";
import { rejectedProblem } from "../assert-problem.ts";
import { command } from "../command.ts";
import { full } from "../full.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { Memory } from "./memory.ts";

const test = suite("generate-batch");
const tooLate = (): void => assert.fail("compiled for a text that does not fit");

async function written(
  rows: number,
  wishes: Iterable<GenerateRequest>,
): Promise<{ texts: number[][]; memory: Memory; all: GeneratedToken[] }> {
  const memory = new Memory(rows);
  const all: GeneratedToken[] = [];
  for await (const token of generateBatch(memory, wishes, { rows, seed: 0, step: 0 })) all.push(token);
  const texts: number[][] = [];
  for (const { request, token } of all) (texts[request] ??= []).push(token);
  return { texts, memory, all };
}
const wishOf = (length: number, tokens: number): GenerateRequest => ({
  prompt: Array.from({ length }, (_, i) => (i * i + length) % 50),
  tokens,
  temperature: 0,
});
const wishes = [wishOf(1, 5), wishOf(19, 3), wishOf(8, 1), wishOf(2, 0), wishOf(9, 12), wishOf(30, 4), wishOf(3, 7)];

test("a sequence is the same alone and in any row of any batch, whatever else is written", async () => {
  const alone = await Promise.all(wishes.map(async (w) => (await written(1, [w])).texts[0]));
  assert.deepEqual(
    alone.map((t) => t?.length ?? 0),
    wishes.map((w) => w.tokens),
  );
  for (const rows of [1, 2, 3, 5, 9]) {
    const { texts } = await written(rows, wishes);
    for (const [i, text] of alone.entries()) assert.deepEqual(texts[i], text, `wish ${i} of ${rows} rows`);
  }
});
test("a sequence is done after its end, whatever else is written, and however many tokens come of a call", async () => {
  const ending = wishes.map((w) => ({ ...w, tokens: w.tokens && 40 }));
  const whole = (await written(1, ending)).texts;
  const end = whole[1]?.[20] ?? 0;
  const upTo = whole.map((t) => (t.includes(end) ? t.slice(0, t.indexOf(end) + 1) : t));
  assert.ok(upTo.some((t) => t.length < 40));
  for (const rows of [1, 2, 3, 9]) {
    const { texts } = await written(
      rows,
      ending.map((w) => ({ ...w, end })),
    );
    assert.deepEqual(texts, upTo, `${rows} rows`);
  }
});
test("the shortest length that the longest prompt needs; rows that write go on beside a prompt; idle rows are nothing", async () => {
  const { memory } = await written(3, [wishOf(2, 2), wishOf(11, 1)]);
  assert.deepEqual(memory.calls, [
    { entry: "generate:8", at: [[0, 1, -1, -1, -1, -1, -1, -1], [0, 1, 2, 3, 4, 5, 6, 7], Array(8).fill(-1)] },
    { entry: "generate:8", at: [[2, ...Array(7).fill(-1)], [8, 9, 10, -1, -1, -1, -1, -1], Array(8).fill(-1)] },
  ]);
});
test("a prompt that goes on from what the row has read is read from there; any other anew", async () => {
  const memory = new (class extends Memory {
    async repeat({ times }: Repeat, ...[entry, inputs]: Parameters<Executable["run"]>): Promise<Tensor["data"]> {
      assert.equal(times, 1, "a longer call reads past the end of a text");
      return onlyOutput(await this.run(entry, inputs));
    }
  })(1);
  const read: number[] = [];
  const textOf = async (prompt: number[], tokens: number): Promise<number[]> => {
    const text: number[] = [];
    const options = { rows: 1, seed: 0, step: 0, read };
    for await (const { token } of generateBatch(memory, [{ prompt, tokens, temperature: 0 }], options))
      text.push(token);
    return text;
  };
  const begun = [3, 1, 4];
  const reply = await textOf(begun, 3);
  assert.deepEqual(read, [...begun, ...reply.slice(0, 2)], "the newest token was not read");
  for (const [prompt, from] of [
    [[...begun, ...reply, 5], 5],
    [[...begun, ...reply, 5], 0], // nothing is new
    [[...begun, 9, ...reply, 5], 0],
    [[3], 0],
    [[3, 7], 1],
  ] as const) {
    const before = memory.calls.length;
    assert.deepEqual(
      await textOf([...prompt], 1),
      (await written(1, [{ prompt, tokens: 1, temperature: 0 }])).texts[0],
    );
    assert.equal(memory.calls[before]?.at[0]?.[0], from, prompt.join());
    assert.deepEqual(read, prompt);
  }
});
test("a call for long prompts is made where a third of it is filled", async () => {
  for (const [length, calls] of [
    [31, [8, 8, 8, 8]],
    [32, [96]],
    [98, [96, 8]],
  ] as const) {
    const memory = new Memory(1, [1, 8, 96]);
    for await (const _ of generateBatch(memory, [wishOf(length, 1)], { rows: 1, seed: 0, step: 0 }));
    assert.deepEqual(
      memory.calls.map((c) => c.entry),
      calls.map((T) => `generate:${T}`),
    );
  }
});
test("a long prompt is gone on from as one that is read in shorter chunks", async () => {
  const sizes = { V: 50, D: 16, H: 16, L: 2, Heads: 2, E: 4, K: 2, Context: 400, std: 0.5 };
  const path = join(project, "stdlib/models/gpt.moe");
  const textsOf = async (prompt: number): Promise<number[][]> => {
    const entries = generateEntries(readProgram(path), "GptMoE", { rows: 2, prompt });
    assert.equal(entries.length, prompt > 64 ? 3 : 2);
    const { executable } = await compileProgram({
      path,
      declaration: "GptMoE",
      sizes,
      entries,
      target: "host",
      precision: "f32",
    });
    await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
    const all: GeneratedToken[] = [];
    const long = [wishOf(300, 40), wishOf(101, 60)];
    for await (const token of generateBatch(executable, long, { rows: 2, seed: 3, step: 0 })) all.push(token);
    executable.close();
    return [0, 1].map((n) => all.filter((t) => t.request === n).map((t) => t.token));
  };
  // not at once: the second finds the kernels of the first
  const [short, long] = [await textsOf(64), await textsOf(300)];
  assert.ok(new Set(short.flat()).size > 5);
  assert.deepEqual(long, short);
});
test("a prompt's first token is given out by itself, then as many as all rows want come of one call", async () => {
  const asked: number[] = [];
  const memory = Object.assign(new Memory(2), {
    async repeat({ times }: Repeat, ...[entry, inputs]: Parameters<Executable["run"]>): Promise<Tensor["data"]> {
      asked.push(times);
      return onlyOutput(await memory.run(entry, inputs));
    },
  });
  for await (const _ of generateBatch(memory, [wishOf(1, 6), wishOf(1, 3)], { rows: 2, seed: 0, step: 0 }));
  assert.deepEqual(asked, [1, 2, 1, 3, 2, 1]);
  // while another wish waits for the row, which an end token may free, or who reads the text
  for (const how of [{ end: 999 }, { mayStop: true }]) {
    asked.length = 0;
    const ending = [6, 3].map((tokens) => ({ ...wishOf(1, tokens), ...how }));
    for await (const _ of generateBatch(memory, ending, { rows: 1, seed: 0, step: 0 }));
    assert.deepEqual(asked, [1, 1, 1, 1, 1, 1, 1, 2, 1]);
  }
});
test("a wish that comes after all texts are written is another batch's", async () => {
  let [given, made, isLate] = [0, 0, false];
  const next = (): IteratorResult<GenerateRequest> => {
    if (given > (isLate ? 1 : 0)) return { done: true, value: undefined };
    given += 1;
    return { done: false, value: wishOf(2, 2) };
  };
  const wanted = { [Symbol.iterator]: () => ({ next }) };
  for await (const _ of generateBatch(new Memory(1), wanted, { rows: 1, seed: 0, step: 0 })) {
    made += 1;
    if (made === 2) setImmediate(() => (isLate = true));
    for (const end = performance.now() + blockingLimit; performance.now() < end; ); // so that events run next
  }
  assert.deepEqual([given, made], [1, 2]);
});
/** The numbers of the calls by which three tokens after a prompt are drawn. */
async function drawnBy(lengths: number[], prompt: number): Promise<number[]> {
  const calls: number[] = [];
  const memory = new Memory(1, lengths);
  const noting = Object.assign(Object.create(memory) as Memory, {
    run: (...[entry, inputs, at]: Parameters<Executable["run"]>) => (calls.push(at.call), memory.run(entry, inputs)),
  });
  for await (const _ of generateBatch(noting, [wishOf(prompt, 3)], { rows: 1, seed: 0, step: 0 }));
  return calls.slice(-3);
}
test("what is drawn does not depend on how much of a prompt a call reads", async () => {
  for (const length of [1, 64, 65, 200])
    assert.deepEqual(await drawnBy([1, 64, 256], length), await drawnBy([1, 64], length));
});
test("a wish is asked for when a row is free, and its row begins at position 0 again", async () => {
  let asked = 0;
  function* endless(): Generator<GenerateRequest> {
    for (;;) {
      asked += 1;
      yield wishOf(2, 2);
    }
  }
  const memory = new Memory(2);
  const made: GeneratedToken[] = [];
  for await (const token of generateBatch(memory, endless(), { rows: 2, seed: 0, step: 0 })) {
    made.push(token);
    if (made.length === 8) break;
  }
  assert.equal(asked, 4);
  assert.deepEqual(
    memory.calls.map((c) => c.at.map((row) => row[0])),
    [
      [0, 0],
      [2, 2],
      [0, 0],
      [2, 2],
    ],
  );
});

test("several tokens of a call are those of a call each, and none comes after an abort", async () => {
  const at = { seed: 3, call: 0, step: 0 };
  const sizes = { V: 50, D: 16, H: 16, L: 2, Heads: 2, E: 4, K: 2, Context: 64 };
  const path = join(project, "examples/gpt-moe.moe");
  const entries = generateEntries(readProgram(path), "GptMoE", { rows: 3 });
  const program = { path, declaration: "GptMoE", sizes, entries };
  for (const precision of full ? (["f32", "bf16"] as const) : (["bf16"] as const)) {
    const { executable } = await compileProgram({ ...program, precision, target: "host", threads: 2 });
    const apart: Executable = Object.assign(Object.create(executable), {
      run: executable.run.bind(executable),
      repeat: undefined,
    });
    const drawn = wishes.map((w, i) => ({ ...w, temperature: i / 4 }));
    const texts = async (
      of: Executable,
      signal?: AbortSignal,
      each: (n: number) => void = () => {},
    ): Promise<GeneratedToken[]> => {
      await executable.run("init", new Map(), at);
      const all: GeneratedToken[] = [];
      for await (const token of generateBatch(of, drawn, { rows: 3, seed: 3, step: 0, signal })) each(all.push(token));
      return all;
    };
    const all = await texts(apart);
    assert.deepEqual(await texts(executable), all);
    const stop = new AbortController();
    const some = await texts(executable, stop.signal, (n) => n === 9 && stop.abort());
    assert.deepEqual(some, all.slice(0, some.length));
    assert.ok(some.length < 9 + 3, `${some.length} tokens`);
    executable.close();
  }
});

const sampling = `
import { sample } from "std/sample"
fn draw(logits: f32[B, V], temperature: f32[B], top_p: f32[B]) -> i32[B] { return sample(logits, temperature, top_p) }
fn few(logits: f32[B, V], top_p: f32[B], top_k: i32[B]) -> i32[B] {
  let temperature: f32[B] = 1
  return sample(logits, temperature, top_p, top_k)
}
fn plain(logits: f32[B, V], temperature: f32[B]) -> i32[B] { return sample(logits, temperature) }
`;
const share = (tokens: Tensor | undefined, rows: (b: number) => boolean): number[] => {
  const drawn = Array.from(tokens?.data ?? []).filter((_, b) => rows(b));
  return [0, 1, 2, 3].map((t) => drawn.filter((x) => x === t).length / drawn.length);
};
const near = (got: number[], wanted: number[]): void =>
  assert.ok(
    got.every((x, i) => Math.abs(x - (wanted[i] ?? 0)) < 0.04),
    `${got.join(" ")}, not ${wanted.join(" ")}`,
  );
test("a worker that is stopped while a row meets its end makes as many calls as the others, who do not know of it yet", async () => {
  const [whole = []] = (await written(1, [wishOf(3, 12)])).texts;
  const last = 1 + whole.indexOf(whole[7] ?? -1);
  const asked = async (stop: boolean): Promise<number> => {
    const [memory, stopped] = [new Memory(1), new AbortController()];
    const run = memory.run.bind(memory);
    memory.run = async (...call) => {
      const outcome = await run(...call);
      if (stop && memory.calls.length === last) stopped.abort();
      return outcome;
    };
    let count = 0;
    const agree = (own: readonly boolean[]): readonly boolean[] => {
      count += 1;
      return own;
    };
    const wish = { ...wishOf(3, 12), end: whole[7] ?? null };
    for await (const _ of generateBatch(memory, [wish], { rows: 1, seed: 0, step: 0, signal: stopped.signal, agree }));
    assert.equal(memory.calls.length, last);
    return count;
  };
  assert.equal(await asked(true), await asked(false));
});
test("sampling: top-k row by row, more than there are, and before top-p", async () => {
  const path = join(temporaryFolder(), "sampling.moe");
  writeFileSync(path, sampling);
  const B = 3000;
  const logits = Float32Array.from({ length: 4 * B }, (_, i) => Math.log([0.2, 0.4, 0.1, 0.3][i % 4] ?? 0));
  const few = await compile({ file: path, declaration: "few" }, { entry: "few", sizes: { B, V: 4 } });
  try {
    const top_k = Int32Array.from({ length: B }, (_, b) => [1, 2, 9, 0, 3][b % 5] ?? 0);
    // of the three likeliest, 0.4 / 0.9 and 0.3 / 0.9 reach 0.75; of all four, 0.4 and 0.3 do not
    const top_p = Float32Array.from({ length: B }, (_, b) => (b % 5 === 4 ? 0.75 : 1));
    const [tokens] = (await few.run({ logits, top_p, top_k })).outputs;
    const wanted = [
      [0, 1, 0, 0],
      [0, 4 / 7, 0, 3 / 7],
      [0.2, 0.4, 0.1, 0.3],
      [0.2, 0.4, 0.1, 0.3],
      [0, 4 / 7, 0, 3 / 7],
    ];
    for (const [kind, chances] of wanted.entries())
      share(tokens, (b) => b % 5 === kind).forEach((x, i) => {
        const want = chances[i] ?? 0;
        assert.ok(want === 0 ? x === 0 : Math.abs(x - want) < 0.08, `${kind}: ${x}, not ${want}`);
      });
  } finally {
    few.close();
  }
});
test("sampling: chances, temperature, and top-p, row by row", async () => {
  const path = join(temporaryFolder(), "sampling.moe");
  writeFileSync(path, sampling);
  const B = 3000;
  // 0.4, 0.3, 0.2, 0.1: half of the rows at top-p 0.65, which leaves the first two.
  const chances = [0.2, 0.4, 0.1, 0.3];
  const logits = Float32Array.from({ length: 4 * B }, (_, i) => Math.log(chances[i % 4] ?? 0));
  const of = (f: (row: number) => number): Float32Array => Float32Array.from({ length: B }, (_, b) => f(b));
  const draw = await compile({ file: path, declaration: "draw" }, { entry: "draw", sizes: { B, V: 4 } });
  const plain = await compile({ file: path, declaration: "plain" }, { entry: "plain", sizes: { B, V: 4 } });
  try {
    const topP = of((b) => (b % 2 === 0 ? 0.65 : 1));
    const [mixed] = (await draw.run({ logits, temperature: of(() => 1), top_p: topP })).outputs;
    near(
      share(mixed, (b) => b % 2 === 0),
      [0, 4 / 7, 0, 3 / 7],
    );
    near(
      share(mixed, (b) => b % 2 === 1),
      chances,
    );
    const [least] = (await draw.run({ logits, temperature: of(() => 1), top_p: of(() => 0) })).outputs;
    assert.deepEqual(
      share(least, () => true),
      [0, 1, 0, 0],
    );
    const [tempered] = (await plain.run({ logits, temperature: of((b) => [0, 0.5, 1][b % 3] ?? 0) })).outputs;
    assert.deepEqual(
      share(tempered, (b) => b % 3 === 0),
      [0, 1, 0, 0],
    );
    near(
      share(tempered, (b) => b % 3 === 1),
      chances.map((c) => (c * c) / 0.3),
    );
    near(
      share(tempered, (b) => b % 3 === 2),
      chances,
    );
  } finally {
    draw.close();
    plain.close();
  }
});

test("no token is made of logits that are NaN or infinite, which ends the text; a logit of -inf is no token's", async () => {
  const path = join(temporaryFolder(), "sampling.moe");
  writeFileSync(path, sampling);
  const [nan, inf] = [Number.NaN, Number.POSITIVE_INFINITY];
  const draw = await compile({ file: path, declaration: "draw" }, { entry: "draw", sizes: { B: 8, V: 3 } });
  try {
    const rows = [
      [0, nan, 1],
      [nan, nan, nan],
      [0, inf, 1],
      [-inf, -inf, 2],
    ];
    const logits = Float32Array.from([...rows, ...rows].flat());
    const temperature = Float32Array.of(0, 0, 0, 0, 1, 1, 1, 1);
    const { outputs } = await draw.run({ logits, temperature, top_p: new Float32Array(8).fill(0.9) });
    assert.deepEqual([...(outputs[0]?.data ?? [])], [-1, -1, -1, 2, -1, -1, -1, 2]);
  } finally {
    draw.close();
  }
  const memory = new Memory(2);
  const run = memory.run.bind(memory);
  memory.run = async (...call) => {
    const outcome = await run(...call);
    return memory.calls.length < 3 ? outcome : { ...outcome, outputs: [fromNumbers("i32", [2], [5, -1])] };
  };
  const texts = generateBatch(memory, [wishOf(3, 12), wishOf(3, 12)], { rows: 2, seed: 0, step: 0 });
  const { message } = await rejectedProblem(async () => {
    for await (const _ of texts);
  });
  assert.match(message, /next token is -1, none/);
});

const hf = join(project, "test/peers/hf/qwen3_moe");
test("an imported model goes on as transformers' logits say; a text prompt is refused", async () => {
  const out = join(temporaryFolder(), "run");
  assert.deepEqual(await importModel({ folder: hf, out, context: 32 }), {
    out,
    model: "Qwen3Moe",
    parameters: 13520,
    context: 32,
    precision: "f32",
    tokenizer: false,
    leftOut: [],
  });
  await assert.rejects(importModel({ folder: hf, out }), /already holds a run/);
  const expected = readSafetensors(join(hf, "expected.safetensors"));
  const [tokens, logits] = [expected.get("tokens"), expected.get("logits")];
  assert.ok(tokens && logits);
  const likeliest = (row: number, t: number): number => {
    const scores = numbers(logits).slice((row * 11 + t) * 40, (row * 11 + t + 1) * 40);
    return scores.indexOf(Math.max(...scores));
  };
  const ends = [
    [0, 10],
    [1, 4],
    [0, 0],
  ] as const;
  const prompts = ends.map(([row, t]) => Array.from(tokens.data.slice(row * 11, row * 11 + t + 1)).join(" "));
  const how = { folder: out, prompts, tokens: 1, temperature: 0, ids: true, batch: 2 };
  const texts: string[] = [];
  for await (const { prompt, text, last, tokens: made, seconds } of generate(how)) {
    assert.ok(last && made === 1 && seconds > 0);
    texts[prompt] = text;
  }
  assert.deepEqual(
    texts,
    ends.map(([row, t]) => ` ${likeliest(row, t)}`),
  );
  await assert.rejects(generate({ folder: out, prompts: ["Call me"] }).next(), (e: unknown) => {
    assert.ok(e instanceof Problem);
    return e.help.includes("--ids");
  });
  await assert.rejects(generate({ ...how, tokens: 40, onCompile: tooLate }).next(), /the model has 32 positions/);
  const long = Array.from({ length: 33 }, () => "5").join(" ");
  await assert.rejects(
    generate({ ...how, prompts: [long], tokens: undefined, onCompile: tooLate }).next(),
    /the model has 32 positions/,
  );
  await assert.rejects(generate({ ...how, prompts: ["5", "3 40"] }).next(), /token 40, .* 0 to 39/);
});
test("moec import says what it wrote, in JSON too, and what it cannot take", () => {
  const out = join(temporaryFolder(), "run");
  const made = command(["import", hf, "-o", out, "--json"]);
  assert.equal(made.status, 0, made.stderr);
  assert.deepEqual(JSON.parse(made.stdout), {
    folder: out,
    model: "Qwen3Moe",
    parameters: 13520,
    context: 64,
    precision: "f32",
    tokenizer: false,
    left_out: [],
  });
  assert.match(readFileSync(join(out, "model.moe"), "utf8"), /Qwen3Moe\(V: 40, D: 16,/);
  const none = command(["import", temporaryFolder()]);
  assert.equal(none.status, 1);
  assert.match(none.stderr, /no config\.json/);
});
test("token numbers as text", () => {
  assert.deepEqual(codecs.ids.encode(" 5, 12\t7"), [5, 12, 7]);
  for (const wrong of ["", "5 x", "-1", "1.5"]) assert.throws(() => codecs.ids.encode(wrong), Problem);
  assert.deepEqual(codecs.bytes.encode(""), [10]);
});
test.run();
