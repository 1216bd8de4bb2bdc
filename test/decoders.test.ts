// Random decoders with random masks: what they make from their past, as sequences of several lengths come in chunks, against the whole sequence at once.
// MOEC_TEST=full takes other ones each time, also on the CUDA target; what fails says with which MOEC_SEED it does so again, and its text.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import { suite } from "uvu";
import { type CompileRequest, compileProgram } from "../runtime/compile.ts";
import type { Executable, Tensor } from "../runtime/executable.ts";
import { fromNumbers, part } from "../runtime/tensor.ts";
import { onEmulator } from "./emulator/build.ts";
import { folder } from "./folder.ts";
import { type RandomDecoder, randomDecoder } from "./random/decoders.ts";
import { close } from "./stored.ts";

const test = suite("decoders");
const full = env["MOEC_TEST"] === "full";
const base = env["MOEC_SEED"] ?? (full ? String(Date.now()) : "moec");
if (full) console.log(`random decoders of MOEC_SEED=${base}`);
const file = join(folder(), "decoder.moe");
const ints = (shape: readonly number[], values: readonly number[]): Tensor => fromNumbers("i32", shape, values);

interface Way extends Pick<CompileRequest, "target" | "precision"> {
  readonly apart: number;
}
async function check(seed: string, way: Way): Promise<void> {
  const decoder = randomDecoder(seed);
  try {
    await fromPast(decoder, way);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`MOEC_SEED=${base}, ${seed}: ${why}\n${decoder.text}`, { cause });
  }
}
async function fromPast(decoder: RandomDecoder, { target, precision, apart }: Way): Promise<void> {
  const { text, context, rows, lengths, sequences } = decoder;
  writeFileSync(file, text);
  const entries = [
    { method: "forward", name: "forward", sizes: { B: sequences.length, T: context } },
    ...lengths.map((T) => ({ method: "generate", name: `generate:${T}`, sizes: { B: rows, T } })),
  ];
  const { executable } = await compileProgram({ path: file, sizes: {}, target, precision, entries });
  try {
    await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
    overwritePast(executable);
    const padded = sequences.flatMap((s) => Array.from({ length: context }, (_, i) => s[i] ?? 0));
    const inputs = new Map([["tokens", ints([sequences.length, context], padded)]]);
    const whole = onlyOf(await executable.run("forward", inputs, { seed: 0, call: 0, step: 0 }));
    for (const { sequence, place, logits } of await given(executable, decoder))
      close(`sequence ${sequence}, position ${place}`, logits, part(whole, [sequence, place]), apart);
  } finally {
    executable.close();
  }
}
/** What it holds at first must not matter. */
function overwritePast(executable: Executable): void {
  for (const { name, role } of executable.stores) {
    if (role !== "state") continue;
    const { dtype, shape, data } = executable.read(name);
    executable.write(
      name,
      fromNumbers(
        dtype,
        shape,
        Array.from(data, () => 50),
      ),
    );
  }
}
const onlyOf = ({ outputs: [first] }: { readonly outputs: readonly Tensor[] }): Tensor => first ?? assert.fail();

interface Made {
  readonly sequence: number;
  readonly place: number;
  readonly logits: Tensor;
}
async function given(executable: Executable, { calls, sequences }: RandomDecoder): Promise<Made[]> {
  const done = sequences.map(() => 0);
  const made: Made[] = [];
  for (const [call, { length, rows }] of calls.entries()) {
    const at = rows.map((row) =>
      Array.from({ length }, (_, i) => (row && i < row.tokens ? (done[row.sequence] ?? 0) + i : -1)),
    );
    const tokens = at.map((places, r) =>
      places.map((p) => (p < 0 ? 0 : (sequences[rows[r]?.sequence ?? 0]?.[p] ?? -9))),
    );
    const inputs = new Map([
      ["tokens", ints([rows.length, length], tokens.flat())],
      ["at", ints([rows.length, length], at.flat())],
    ]);
    const logits = onlyOf(await executable.run(`generate:${length}`, inputs, { seed: 0, call, step: 0 }));
    for (const [r, row] of rows.entries())
      for (let i = 0; i < (row?.tokens ?? 0); i++)
        made.push({ sequence: row?.sequence ?? 0, place: at[r]?.[i] ?? -1, logits: part(logits, [r, i]) });
    for (const row of rows) if (row) done[row.sequence] = (done[row.sequence] ?? 0) + row.tokens;
  }
  assert.deepEqual(
    done,
    sequences.map((s) => s.length),
  );
  return made;
}

const count = full ? 24 : 3;
for (let i = 0; i < count; i++)
  test(`decoder ${i} from its past, on the host`, () =>
    check(`${base}/${i}`, { target: "host", precision: "f32", apart: 2e-5 }));
if (full)
  for (let i = 0; i < 8; i++)
    test(`decoder ${i} from its past, on the emulator`, () =>
      onEmulator(() => check(`${base}/cuda ${i}`, { target: "cuda", precision: "f32", apart: 2e-5 })));
test.run();
