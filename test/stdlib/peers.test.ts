// moec against PyTorch: a mixture of experts and a GPT with two of them. What is compared, and how it was made: scripts/peers/peers.py.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { compileProgram } from "../../runtime/compile.ts";
import type { Executable, Tensor } from "../../runtime/executable/executable.ts";
import { runEntry } from "../../runtime/run.ts";
import { NamedTensors, writeStored } from "../../runtime/storage/names.ts";
import { openSafetensors, readSafetensors, writeSafetensors } from "../../runtime/storage/safetensors.ts";
import { sumByName } from "../../runtime/training/means.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const folder = join(project, "test/peers");
const path = (name: string): string => join(folder, name);

type Losses = Readonly<Record<string, number>>;
interface Numbers {
  readonly gpt: { readonly f32: readonly Losses[]; readonly f64: readonly Losses[] };
}
/** `apart`: norm of a difference over the norm, of every tensor. `drift`: of a loss in 20 steps. PyTorch's f32 gradients are 1.5e-6 apart. */
interface Way {
  readonly target: "host" | "reference";
  readonly precision: "f32" | "f64";
  readonly apart: number;
  readonly drift: number;
}
const ways: readonly Way[] = [
  { target: "reference", precision: "f64", apart: 1e-10, drift: 1e-9 },
  { target: "reference", precision: "f32", apart: 1e-5, drift: 1e-4 },
  { target: "host", precision: "f32", apart: 1e-5, drift: 1e-4 },
];

const norm = (x: readonly number[]): number => Math.hypot(...x);
/** Every tensor that PyTorch gave, the same within `bar`; NaN is not. `since` was given. */
function compare(results: ReadonlyMap<string, Tensor>, file: string, bar: number): void {
  for (const [name, expected] of readSafetensors(path(file))) {
    if (name === "since") continue;
    const got = results.get(name);
    assert.ok(got, `${name} is missing; there are ${[...results.keys()].join(", ")}`);
    assert.deepEqual(got.shape, expected.shape, name);
    const wanted = Array.from(expected.data);
    const apart = norm(Array.from(got.data, (x, i) => x - (wanted[i] ?? Number.NaN)));
    assert.ok(apart <= bar * norm(wanted), `${name} is ${apart / norm(wanted)} of its norm apart`);
  }
}

/** Losses of steps on the batches of gpt.steps, from gpt.params. */
async function train({ target, precision }: Way): Promise<ReadonlyMap<string, number>[]> {
  const batches = readSafetensors(path("gpt.steps.safetensors"));
  const [steps = 0, B = 0, T = 0] = batches.get("tokens")?.shape ?? [];
  const entries = [{ method: "train", name: "train", sizes: { B, T } }];
  const { executable } = await compileProgram({
    path: path("gpt.moe"),
    sizes: {},
    declaration: "GptMoE",
    target,
    precision,
    entries,
  });
  try {
    await executable.run("init", new Map(), { seed: 0, call: 0, step: 0 });
    writeParameters(executable);
    const losses = [];
    for (let step = 0; step < steps; step++) {
      const inputs = new Map(
        [...batches].map(([name, t]) => [
          name,
          { ...t, shape: [B, T], data: t.data.slice(step * B * T, (step + 1) * B * T) },
        ]),
      );
      losses.push(sumByName((await executable.run("train", inputs, { seed: 0, call: step, step })).losses));
    }
    return losses;
  } finally {
    executable.close();
  }
}
function writeParameters(executable: Executable): void {
  const named = new NamedTensors(openSafetensors(path("gpt.params.safetensors")), "gpt.params");
  for (const store of executable.stores.filter((s) => s.role === "parameter")) {
    const value = named.take(store);
    assert.ok(value, store.name);
    writeStored(executable, store, value);
  }
  assert.deepEqual(named.unread(), []);
}

const test = suite("peers");
for (const way of ways) {
  const { target, precision, apart, drift } = way;
  const run = (name: string, entry: string, input = path(`${name}.input.safetensors`)): Promise<Map<string, Tensor>> =>
    runEntry({
      program: path(`${name}.moe`),
      entry,
      input,
      params: path(`${name}.params.safetensors`),
      gradients: true,
      target,
      precision,
    });
  test(`a mixture, ${target} ${precision}`, async () => {
    compare(await run("moe", "Mixture.forward"), "moe.expected.safetensors", apart);
  });
  test(`a GPT, ${target} ${precision}`, async () => {
    compare(await run("gpt", "GptMoE.train"), "gpt.expected.safetensors", apart);
  });
  test(`the GPT whose documents are kept apart, ${target} ${precision}`, async () => {
    const since = readSafetensors(path("gpt.apart.safetensors")).get("since");
    assert.ok(since);
    const input = join(temporaryFolder(), "input.safetensors");
    writeSafetensors(input, new Map([...readSafetensors(path("gpt.input.safetensors")), ["since", since]]));
    compare(await run("gpt", "GptMoE.train", input), "gpt.apart.safetensors", apart);
  });
  test(`20 steps, ${target} ${precision}`, async () => {
    const numbers = JSON.parse(readFileSync(path("numbers.json"), "utf8")) as Numbers;
    const losses = await train(way);
    assert.equal(losses.length, numbers.gpt[precision].length);
    for (const [step, expected] of numbers.gpt[precision].entries())
      for (const [name, x] of Object.entries(expected)) {
        const off = Math.abs((losses[step]?.get(name) ?? Number.NaN) - x);
        assert.ok(off <= drift, `${name} of step ${step} is ${off} off`);
      }
  });
}
test.run();
