// Models that read a source and write a text: they learn, and what they write from kept keys is what the whole text gives.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { compileProgram, type EntryRequest } from "../../runtime/compile.ts";
import type { Executable, Tensor } from "../../runtime/executable/executable.ts";
import { fromNumbers, numbers, part } from "../../runtime/tensor.ts";
import { full } from "../full.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("encoder-decoder");
const V = 19;
const bare = { V, D: 8, H: 6, M: 3, L: 2, Heads: 2, Context: 7, Source: 5 };
const small = { ...bare, A: 3, Buckets: 6, most: 9 };
/** Experts that overflow, in blocks of each stack. */
const mixed = { E: 2, capacity: 1, First: 1, Step: 2, Mixed: 1, Odd: 0, First2: 1, Step2: 3, Mixed2: 0, Odd2: 1 };
const models = {
  T5: { file: "t5", sizes: { ...small, own: true } },
  NllbMoe: {
    file: "nllb",
    sizes: { ...bare, H2: 4, Heads2: 4, E: 3, Step: 2, Mixed: 1, Step2: 2, Mixed2: 1, drop: 0, std: 0.3, capacity: 4 },
  },
  SwitchTransformers: { file: "t5", sizes: { ...small, ...mixed, jitter: 0 } },
};
type Name = keyof typeof models;
const open = async (
  name: Name,
  target: "host" | "reference",
  entries: readonly EntryRequest[],
  more: object = {},
): Promise<Executable> => {
  const { file, sizes } = models[name];
  const { executable } = await compileProgram({
    path: join(project, "stdlib/models", `${file}.moe`),
    declaration: name,
    sizes: { ...sizes, ...more },
    target,
    precision: "f32",
    entries,
  });
  await executable.run("init", new Map(), { seed: 5, call: 0, step: 0 });
  return executable;
};
const ints = (shape: readonly number[], values: readonly number[]): Tensor => fromNumbers("i32", shape, values);
const source = ints([3, 5], [4, 1, 7, 7, 2, 3, -1, -1, -1, -1, 9, 8, 8, -1, -1]);

for (const name of Object.keys(models) as Name[])
  for (const target of name === "SwitchTransformers" ? (["reference", "host"] as const) : (["reference"] as const))
    test(`${name} learns a batch by heart, ${target}`, async () => {
      const sizes = { B: 3, U: 5, T: 4 };
      const executable = await open(name, target, [{ method: "train", name: "train", sizes }]);
      const tokens = ints([3, 4], [0, 4, 5, 6, 0, 7, -1, -1, 0, -1, -1, -1]);
      const targets = ints([3, 4], [4, 5, 6, 1, 7, 1, -1, -1, 1, -1, -1, -1]);
      const batch = new Map(Object.entries({ source, tokens, targets }));
      try {
        const losses: number[] = [];
        for (let i = 0; i < 12; i++) {
          const { losses: found } = await executable.run("train", batch, { seed: 0, call: i, step: 2000 + i });
          losses.push(found.get("language") ?? Number.NaN);
        }
        assert.ok(
          losses.every((loss, i) => i === 0 || loss < (losses[i - 1] ?? 0)),
          losses.join(" "),
        );
      } finally {
        executable.close();
      }
    });

const entries = [
  { method: "encode", name: "encode:5", sizes: { B: 2, U: 5 } },
  { method: "generate", name: "generate:1", sizes: { B: 2, T: 1 } },
  { method: "forward", name: "forward", sizes: { B: 1, U: 5, T: 4 } },
];
const how = { seed: 0, call: 0, step: 0 };
const likeliest = (row: Tensor): number =>
  numbers(row).reduce((best, x, i, all) => (x > (all[best] ?? 0) ? i : best), 0);
/** What a model writes after a source, by its forward on all that is written so far. */
async function whole(executable: Executable, from: readonly number[], count: number): Promise<number[]> {
  const [read, written] = [ints([1, 5], from), [0]];
  for (let t = 0; t < count; t++) {
    const tokens = ints([1, 4], [...written, -1, -1, -1].slice(0, 4));
    const [logits] = (await executable.run("forward", new Map(Object.entries({ source: read, tokens })), how)).outputs;
    written.push(likeliest(part(logits ?? assert.fail(), [0, t])));
  }
  return written.slice(1);
}
for (const name of Object.keys(models) as Name[])
  test(`${name} writes from kept keys what it writes without, also where a row takes another source`, async () => {
    const target = full || name === "SwitchTransformers" ? "host" : "reference"; // which has the kernels of T5, and most of the other's
    const executable = await open(name, target, entries, name === "SwitchTransformers" ? { capacity: 9 } : {});
    const [a, b, c] = [
      [4, 1, 7, 7, 2],
      [3, -1, -1, -1, -1],
      [9, 8, -1, -1, -1],
    ] as const;
    /** Rows of -1 keep what they have. */
    const read = async (rows: readonly (readonly number[])[]): Promise<void> => {
      const at = rows.flatMap((row) => row.map((token, i) => (token < 0 ? -1 : i)));
      const given = { source: ints([2, 5], rows.flat()), at: ints([2, 5], at) };
      await executable.run("encode:5", new Map(Object.entries(given)), how);
    };
    const next = async (tokens: readonly number[], at: readonly number[]): Promise<number[]> => {
      const given = {
        tokens: ints([2, 1], tokens),
        at: ints([2, 1], at),
        temperature: fromNumbers("f32", [2], [0, 0]),
      };
      const { outputs } = await executable.run("generate:1", new Map(Object.entries(given)), how);
      return Array.from(outputs[0]?.data ?? []);
    };
    try {
      await read([a, b]);
      const [[a0 = -1, b0 = -1]] = [await next([0, 0], [0, 0])];
      const [[a1 = -1, b1 = -1]] = [await next([a0, b0], [1, 1])];
      await read([c, b.map(() => -1)]);
      const [[c0 = -1, b2 = -1]] = [await next([0, b1], [0, 2])];
      const [[c1 = -1, b3 = -1]] = [await next([c0, b2], [1, 3])];
      const written = { a: [a0, a1], b: [b0, b1, b2, b3], c: [c0, c1] };
      const alone = {
        a: await whole(executable, a, 2),
        b: await whole(executable, b, 4),
        c: await whole(executable, c, 2),
      };
      assert.deepEqual(written, alone);
    } finally {
      executable.close();
    }
  });
test("a method encode is a part of generating beside generate alone", async () => {
  const path = join(temporaryFolder(), "encode.moe");
  const encode = "encode(source: i32[B, U], at: i32[B, U]) -> bool { loss mass = sum(f32(source)) return generating }";
  for (const [more, generating] of [
    ["", 0],
    ["generate(tokens: i32[B, T]) -> i32[B] { return tokens[:, 0] }", 1],
  ] as const) {
    writeFileSync(path, `model M() { ${encode} ${more} }`);
    const entry = { method: "encode", name: "encode", sizes: { B: 1, U: 2 } };
    const { executable } = await compileProgram({
      path,
      sizes: {},
      target: "reference",
      precision: "f32",
      entries: [entry],
    });
    const given = new Map(Object.entries({ source: ints([1, 2], [3, 4]), at: ints([1, 2], [0, 1]) }));
    const { outputs, losses } = await executable.run("encode", given, how);
    executable.close();
    assert.deepEqual([outputs[0]?.data[0], losses.size], [generating, 1 - generating]);
  }
});
test.run();
