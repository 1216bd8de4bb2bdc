// Generation from a cache against the full forward, for every decoder: prompts of different lengths in chunks, idle rows, a row taken over, nothing cleared.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { getOrMake } from "../../compiler/memoize.ts";
import { compileProgram } from "../../runtime/compile.ts";
import type { Executable, Tensor } from "../../runtime/executable/executable.ts";
import { fromNumbers, numbers, part } from "../../runtime/tensor.ts";
import { full } from "../full.ts";
import { libraryModels } from "../library-models.ts";
import { assertClose, type PeerTarget } from "../peer-results.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { decoders, likeThem, near, programOf, V } from "./small-decoders.ts";

const test = suite("generate");
const ways: readonly PeerTarget[] = [
  { target: "reference", precision: "f64", tolerance: 1e-12 },
  { target: "host", precision: "f32", tolerance: 1e-5 },
];
/** The logits of all sequences by the reference, by decoder. */
const wholes = new Map<string, Tensor>();

async function compiled(text: string, { target, precision }: PeerTarget): Promise<Executable> {
  const path = join(temporaryFolder(), "logits.moe");
  writeFileSync(path, text);
  const lengths = [4, 1].map((T) => ({ method: "generate", name: `generate:${T}`, sizes: { B: 3, T } }));
  const { executable } = await compileProgram({
    path,
    sizes: {},
    target,
    precision,
    entries: [{ method: "forward", name: "forward", sizes: { B: 4, T: 10 } }, ...lengths],
  });
  await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
  return executable;
}
/** Parameters of a size that makes logits differ; what the caches hold at first must not matter. */
function filled(executable: Executable): void {
  for (const s of executable.stores) {
    const t = executable.read(s.name);
    const wave = (i: number): number => Math.sin(i * 1.7 + s.name.length);
    const value = s.role === "parameter" ? (x: number, i: number): number => x + 0.4 * wave(i) : () => 50;
    if (s.role === "parameter" || s.name.startsWith("generate/"))
      executable.write(s.name, fromNumbers(t.dtype, t.shape, numbers(t).map(value)));
  }
}

/** Tokens after which no row is ill-conditioned: after others half an ulp of KimiLinear's parameters changes one by 2.7e-5, in exact arithmetic. */
const sequences = [10, 7, 9, 5].map((n, s) => Array.from({ length: n }, (_, i) => (i * i * 3 + 5 * s + i + 3) % V));
/** For each call the rows of the batch: which sequence, and how many of its next tokens. Row 1 is taken over by sequence 2, and row 2 idles. */
type Fed = readonly [sequence: number, tokens: number] | null;
const calls: readonly (readonly [T: number, rows: readonly Fed[]])[] = [
  [4, [[0, 4], [1, 3], null]],
  [
    4,
    [
      [0, 2],
      [1, 4],
      [3, 1],
    ],
  ],
  [1, [[0, 1], null, [3, 1]]],
  [
    4,
    [
      [0, 1],
      [2, 4],
      [3, 3],
    ],
  ],
  [1, [null, [2, 1], null]],
  [4, [[0, 2], [2, 4], null]],
];
const ints = (shape: readonly number[], values: readonly number[]): Tensor => fromNumbers("i32", shape, values);

/** The logits of each sequence's rows, as the calls give them. */
async function fed(executable: Executable): Promise<Tensor[][]> {
  const made: Tensor[][] = sequences.map(() => []);
  for (const [call, [T, rows]] of calls.entries()) {
    const at = rows.map((row) =>
      Array.from({ length: T }, (_, i) => (row && i < row[1] ? (made[row[0]]?.length ?? 0) + i : -1)),
    );
    const tokens = at.map((places, r) => places.map((p) => (p < 0 ? 0 : (sequences[rows[r]?.[0] ?? 0]?.[p] ?? -9))));
    const inputs = new Map([
      ["tokens", ints([3, T], tokens.flat())],
      ["at", ints([3, T], at.flat())],
    ]);
    const { outputs } = await executable.run(`generate:${T}`, inputs, { seed: 0, call, step: 0 });
    const [logits] = outputs;
    assert.ok(logits);
    for (const [r, row] of rows.entries())
      for (let i = 0; i < (row?.[1] ?? 0); i++) made[row?.[0] ?? 0]?.push(part(logits, [r, i]));
  }
  return made;
}

test("every model of the library is here", () => {
  const named = Object.keys(decoders).filter((name) => !name.startsWith("with "));
  assert.deepEqual(named.toSorted(), libraryModels());
});
for (const [name, decoder] of Object.entries(decoders))
  for (const way of name in likeThem || (!full && near.has(name)) ? ways.slice(0, 1) : ways)
    test(`${name} from its cache, ${way.target} ${way.precision}`, async () => {
      const executable = await compiled(programOf(decoder), way);
      try {
        filled(executable);
        const padded = sequences.flatMap((s) => Array.from({ length: 10 }, (_, i) => s[i] ?? 0));
        const inputs = new Map([["tokens", ints([4, 10], padded)]]);
        const [whole] = (await executable.run("forward", inputs, { seed: 0, call: 0, step: 0 })).outputs;
        assert.ok(whole);
        assertClose(
          "as the reference has them",
          whole,
          getOrMake(wholes, name, () => whole),
          5e-5,
        );
        for (const [s, rows] of (await fed(executable)).entries()) {
          assert.equal(rows.length, sequences[s]?.length);
          for (const [t, row] of rows.entries())
            assertClose(`sequence ${s}, position ${t}`, row, part(whole, [s, t]), way.tolerance);
        }
      } finally {
        executable.close();
      }
    });

const crossing = `
import { CrossAttention } from "std/attention"
import { Embedding } from "std/nn"
model Crossing(V = ${V}, D = 8) {
  embed: Embedding(V, D)
  cross: CrossAttention(D, 4, 2, Context: 6)
  forward(tokens: i32[B, T], source: float[B, N, D], place: i32[B, N]) -> float[B, T, D] { return cross(embed(tokens), source, place) }
  generate(tokens: i32[B, T], source: float[B, N, D], place: i32[B, N]) -> float[B, T, D] { return cross(embed(tokens), source, place) }
}`;
for (const { target, precision, tolerance } of ways)
  test(`a source is given once and kept; a new one takes its place, ${target} ${precision}`, async () => {
    const path = join(temporaryFolder(), "crossing.moe");
    writeFileSync(path, crossing);
    const [given, none] = [5, 0].map((N) => ({ method: "generate", name: `generate:${N}`, sizes: { B: 2, T: 1, N } }));
    assert.ok(given && none);
    const entries = [{ method: "forward", name: "forward", sizes: { B: 2, T: 1, N: 5 } }, given, none];
    const { executable } = await compileProgram({ path, sizes: {}, target, precision, entries });
    await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
    filled(executable);
    const rows = (first: number): Tensor =>
      fromNumbers(
        precision,
        [2, 5, 8],
        Array.from({ length: 80 }, (_, i) => Math.cos(i * first)),
      );
    const run = async (
      name: string,
      tokens: number[],
      source: Tensor,
      place: number[],
    ): Promise<Tensor | undefined> => {
      const N = source.shape[1] ?? 0;
      const inputs = new Map([
        ["tokens", ints([2, 1], tokens)],
        ["source", source],
        ["place", ints([2, N], place)],
      ]);
      return (await executable.run(name, inputs, { seed: 0, call: 0, step: 0 })).outputs[0];
    };
    const nothing = fromNumbers(precision, [2, 0, 8], []);
    try {
      const [one, other] = [rows(1.3), rows(0.7)];
      const places = [0, 1, 2, 3, 4, 0, 1, 2, -1, -1];
      const whole = async (tokens: number[]) => run("forward", tokens, one, places);
      assertClose("with its source", await run("generate:5", [1, 2], one, places), await whole([1, 2]), tolerance);
      assertClose("without", await run("generate:0", [3, 4], nothing, []), await whole([3, 4]), tolerance);
      const second = [-1, -1, -1, -1, -1, 0, 1, -1, -1, -1];
      const taken = await run("generate:5", [5, 6], other, second);
      const fresh = await run("forward", [5, 6], other, [0, 1, 2, 3, 4, 0, 1, -1, -1, -1]);
      assert.ok(taken && fresh);
      assertClose(
        "the row that keeps its source",
        part(taken, [0]),
        part((await whole([5, 6])) ?? taken, [0]),
        tolerance,
      );
      assertClose("the row with a new one", part(taken, [1]), part(fresh, [1]), tolerance);
    } finally {
      executable.close();
    }
  });
test.run();
