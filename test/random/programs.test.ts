// Random programs, from their text on: mixtures against loops over all their experts, kernels of the host and of the CUDA target against the interpreter.
// MOEC_TEST=full takes other programs each time; what fails says with which MOEC_SEED it does so again, and its text.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { compile } from "../../runtime/index.ts";
import { splitStacked } from "../../runtime/storage/names.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { emulationModes } from "../emulator/sequence.ts";
import { full } from "../full.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { defaultMode } from "./host-modes.ts";
import { checkOnEmulator, emulations, type Kernels } from "./on-emulator.ts";
import { checkOnHost } from "./on-host.ts";
import { type Kind, type RandomProgram, randomProgram } from "./programs.ts";
import { given } from "./training.ts";

const test = suite("programs");
const base = env["MOEC_SEED"] ?? (full ? String(Date.now()) : "moec");
if (full) console.log(`random programs of MOEC_SEED=${base}`);
const root = temporaryFolder();
const programs = (n: number, name: string, kind: Kind): RandomProgram[] =>
  Array.from({ length: full ? 12 * n : n }, (_, i) => randomProgram(`${base}/${name}${i}`, `p${i}`, kind));
/** Throws with the seed, and the program without what all have. */
async function of({ seed, text, sizes }: RandomProgram, run: () => unknown): Promise<void> {
  try {
    await run();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const own = text.slice(text.indexOf("layer L0"));
    throw new Error(`MOEC_SEED=${base}, ${seed}: ${why}\n${JSON.stringify(sizes)}\n${own}`, { cause });
  }
}
test("mixtures as loops, with gradients", async () => {
  const ways = [false, true].map((looped) => programs(4, "loop", { looped, draws: false }));
  for (const [i, program] of (ways[0] ?? []).entries())
    await of(program, async () => {
      const [got, want] = [await interpreted(program), await interpreted(ways[1]?.[i] as RandomProgram)];
      assert.equal([...got.keys()].toSorted(), [...want.keys()].toSorted());
      for (const [name, values] of got)
        values.forEach((x, j) => {
          const y = want.get(name)?.[j] ?? Number.NaN;
          assert.ok(Math.abs(x - y) <= 1e-8 * (1 + Math.abs(y)), `${name}[${j}] is ${x}, not ${y}`);
        });
    });
});
function tensor(name: string, like: Pick<Tensor, "dtype" | "shape">): Tensor {
  const { dtype, shape, data } = given(name, like);
  return fromNumbers(dtype, shape, data);
}
/** Losses and gradients by name, in f64; of stacks those of each copy. */
async function interpreted({ text, sizes }: RandomProgram): Promise<Map<string, Float64Array>> {
  const file = join(root, "program.moe");
  writeFileSync(file, text);
  const way = { target: "reference", precision: "f64", gradients: true, sizes } as const;
  const program = await compile({ file, declaration: "Program" }, { ...way, entry: "train" });
  program.load(new Map(program.names.map((name) => [name, tensor(name, program.read(name))])));
  const shape = [sizes["B"] ?? 0, sizes["T"] ?? 0];
  const { losses, gradients } = await program.run({
    x: tensor("x", { dtype: "f64", shape: [...shape, sizes["D"] ?? 0] }),
    tokens: tensor("tokens", { dtype: "i32", shape }),
  });
  const each = [...gradients].flatMap(([name, t]) => splitStacked(name, t));
  return new Map([
    ...[...losses].map(([name, x]) => [`loss ${name}`, Float64Array.of(x)] as const),
    ...each.map(([name, t]) => [name, numbers(t)] as const),
  ]);
}

for (const precision of ["f32", "bf16"] as const)
  test(`kernels of the host, two steps of training, ${precision}`, async () => {
    const all = programs(precision === "f32" ? 1 : 2, `host ${precision} `, { looped: false, draws: true });
    for (let from = 0; from < all.length; from += 12)
      await checkOnHost(all.slice(from, from + 12), { ...defaultMode, precision }, of);
  });

interface Emulated {
  readonly precision: "f32" | "bf16";
  readonly kernels: Kernels;
  readonly sizes: NonNullable<Kind["sizes"]>;
  /** Also where not everything is asked for. */
  readonly always?: true;
}
const emulated: readonly Emulated[] = [
  { precision: "f32", kernels: "mma", sizes: "small", always: true },
  { precision: "bf16", kernels: "wgmma", sizes: "aligned", always: true },
  { precision: "f32", kernels: "tf32", sizes: "small" },
  { precision: "bf16", kernels: "mma", sizes: "small" },
  { precision: "f32", kernels: "mma", sizes: "large" },
  { precision: "bf16", kernels: "mma", sizes: "large" },
];
for (const [i, { precision, kernels, sizes, always }] of emulated.entries())
  if (full || always)
    test(`kernels of the CUDA target on the emulator, two steps of training, ${precision} by ${kernels}, ${sizes}`, async () => {
      const all = programs(1, `${kernels} ${precision} ${sizes} `, { looped: false, draws: true, sizes });
      const emulation = emulations(kernels);
      await checkOnEmulator(
        all,
        precision,
        full ? emulation : { ...emulation, ways: emulationModes.slice(i, i + 1) },
        of,
      );
    });
test.run();
