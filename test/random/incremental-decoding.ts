// Checks that a decoder's logits, when sequences are fed in chunks and continue from its past, equal those of whole sequences.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CompileRequest, compileProgram } from "../../runtime/compile.ts";
import type { Executable, Tensor } from "../../runtime/executable/executable.ts";
import { fromNumbers, part } from "../../runtime/tensor.ts";
import { assertClose } from "../peer-results.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import type { RandomDecoder } from "./decoders.ts";
import { schedulesFor } from "./host-modes.ts";

const file = join(temporaryFolder(), "decoder.moe");
const ints = (shape: readonly number[], values: readonly number[]): Tensor => fromNumbers("i32", shape, values);

export interface DecodingOptions extends Pick<CompileRequest, "target" | "precision" | "weights" | "threads"> {
  /** The largest allowed norm of the difference, relative to the norm. */
  readonly tolerance: number;
  /** The seed of random schedules for its products; null: the default schedules. */
  readonly schedules?: string | null;
}
export async function checkIncrementalDecoding(
  decoder: RandomDecoder,
  { tolerance, schedules = null, ...how }: DecodingOptions,
): Promise<void> {
  const { text, context, rows, lengths, sequences } = decoder;
  writeFileSync(file, text);
  const entries = [
    { method: "forward", name: "forward", sizes: { B: sequences.length, T: context } },
    ...lengths.map((T) => ({ method: "generate", name: `generate:${T}`, sizes: { B: rows, T } })),
  ];
  const request = { path: file, sizes: {}, entries, ...how };
  const own = await compileProgram(request);
  const drawn = schedules !== null && own.plan ? schedulesFor(own.plan, schedules) : null;
  if (drawn) own.executable.close();
  const { executable } = drawn ? await compileProgram({ ...request, schedules: drawn }) : own;
  try {
    await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
    overwritePast(executable);
    const padded = sequences.flatMap((s) => Array.from({ length: context }, (_, i) => s[i] ?? 0));
    const inputs = new Map([["tokens", ints([sequences.length, context], padded)]]);
    const whole = onlyOf(await executable.run("forward", inputs, { seed: 0, call: 0, step: 0 }));
    for (const { sequence, place, logits } of await incrementalLogits(executable, decoder))
      assertClose(`sequence ${sequence}, position ${place}`, logits, part(whole, [sequence, place]), tolerance);
  } finally {
    executable.close();
  }
}
/** Fills the past with numbers that must not matter. */
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
async function incrementalLogits(executable: Executable, { calls, sequences }: RandomDecoder): Promise<Made[]> {
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
