// Attention of few queries on CUDA, under the emulator: the queries of heads that share keys are rows of one task, wide heads are shared by four warps.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { interpret } from "../../compiler/graph/interpret.ts";
import { item } from "../../compiler/item.ts";
import { cudaBackend } from "../../compiler/targets.ts";
import { emulationModes, loweredForCuda, modulesOf, runEmulated } from "../emulator/sequence.ts";
import { full } from "../full.ts";
import { distance } from "../graphs.ts";
import { kernelsOf, valuesOf } from "../host/compare.ts";
import { attended, cases, type Few, storesFor, tasksOf } from "../kernels/few-queries.ts";
import { compareEnormous, enormous, firstAndNear, masked } from "../masks.ts";

const test = suite("attention-few-cuda");

/** More rows than one warp's, than one task's; keys and values as wide as in latent attention, or nearly. */
const many: readonly Few[] = [
  { shape: { B: 1, G: 2, R: 7, T: 3, U: 600, A: 40, C: 24 }, at: [571] },
  { shape: { B: 2, G: 1, R: 40, T: 2, U: 530, A: 16, C: 64 }, at: [-1, 528], bounds: firstAndNear(0), more: "sink" },
  { shape: { B: 1, G: 1, R: 3, T: 32, U: 70, A: 128, C: 100 }, at: [30] },
];
const wide: readonly Few[] = [
  { shape: { B: 1, G: 1, R: 16, T: 1, U: 514, A: 576, C: 512 }, at: [508], latent: true },
  { shape: { B: 2, G: 1, R: 5, T: 4, U: 75, A: 576, C: 512 }, at: [70, 2], latent: true, cap: 3 },
  { shape: { B: 1, G: 2, R: 2, T: 1, U: 37, A: 520, C: 88 }, at: [36], more: "sink" },
  { shape: { B: 1, G: 1, R: 1, T: 40, U: 45, A: 60, C: 300 }, at: [3], more: "bias" },
];
const wideInF32: readonly Few[] = [
  { shape: { B: 1, G: 2, R: 3, T: 2, U: 531, A: 256, C: 256 }, at: [526] },
  { shape: { B: 2, G: 1, R: 2, T: 20, U: 50, A: 136, C: 200 }, at: [28, -3], bounds: firstAndNear(0), more: "sink" },
];
const kinds = [
  { name: "f32", dtype: "f32", backend: cudaBackend(), of: [...cases, ...many, ...wideInF32], most: 1e-5 },
  { name: "bf16", dtype: "bf16", backend: cudaBackend(), of: [...cases, ...many, ...wide], most: 2 ** -6 },
  { name: "tf32", dtype: "f32", backend: cudaBackend(true), of: [...many, ...wideInF32], most: 2 ** -8 },
] as const;
const all = kinds.map((kind) => ({
  ...kind,
  runs: kind.of.map((c, i) => {
    const graph = attended(c, kind.dtype);
    const sequence = loweredForCuda(graph, kind.backend);
    return { name: `${kind.name}, case ${i}`, graph, sequence, stores: storesFor(c, graph) };
  }),
}));
const tasks = (kind: number): string[] => all[kind]?.runs.map(({ sequence }) => tasksOf(sequence)) ?? [];
test("a task is the heads that share keys, or some rows of them, or one of the pieces of a long past", () => {
  const narrow = [
    "attention 2",
    "attention 8",
    "attention 2",
    "attention 3",
    "attention 2",
    "attention 1",
    "attention_pieces 50, attention_join 32",
    "attention_pieces 51, attention_join 36",
    "attention_pieces 32, attention_join 2",
    "attention_pieces 48, attention_join 3",
    "attention 1",
    "attention_pieces 8, attention_join 42",
  ];
  const inF32 = [
    "attention_pieces 8, attention_join 160",
    "attention 3",
    "attention_pieces 16, attention_join 12",
    "attention 6",
  ];
  const inBf16 = [
    "attention_pieces 4, attention_join 160",
    "attention 2",
    "attention_pieces 8, attention_join 16",
    "attention 4",
    "attention 2",
    "attention 3",
  ];
  assert.equal(
    [tasks(0), tasks(1)],
    [
      [...narrow, ...inF32],
      [...narrow, ...inBf16],
    ],
  );
});
/** Of the cases that are in f32 and in bf16 each is run in one, in turn, unless all is asked for. */
const isRun = (kind: number, i: number): boolean => full || kind === 2 || i >= cases.length || i % 2 === kind;
for (const [kind, { name, backend, runs, most }] of all.entries())
  test(`few queries as the op says, in ${name}`, async () => {
    const some = runs.filter((_, i) => isRun(kind, i));
    const modules = await modulesOf(kernelsOf(some.map((r) => r.sequence)), 100, backend.header());
    for (const [w, way] of emulationModes.entries()) {
      const chosen = some.filter((_, i) => i % emulationModes.length === w);
      const outcomes = await runEmulated(chosen, modules, way);
      for (const [i, run] of chosen.entries()) {
        assert.is(outcomes[i]?.findings, "", run.name);
        interpret(valuesOf(run.graph), run.stores, { exact: true }).forEach((want, r) => {
          const off = distance(want.data, outcomes[i]?.results[r] ?? []);
          const least = most * Math.max(1, ...want.data.map(Math.abs));
          assert.ok(off < least, `${run.name}, result ${r}: off by ${off}`);
        });
      }
    }
  });
test("scores so large that their rounding is, in bf16, forward and backward, of few queries and of many", async () => {
  const runs = [37, 3].map((T) => {
    const shape = { B: 1, G: 2, R: 2, T, U: 153, A: 16, C: 16 };
    const [, graph] = masked("valid keys", { shape, dtype: "bf16", scale: (2 / 3) ** 0.5, sunk: T > 3 });
    return { name: `${T} queries`, graph, sequence: loweredForCuda(graph) };
  });
  const modules = await modulesOf(kernelsOf(runs.map((r) => r.sequence)));
  for (const times of [1e8, 1e30]) {
    const given = runs.map((run) => ({ ...run, stores: enormous(run.graph, times) }));
    const outcomes = await runEmulated(given, modules, item(emulationModes, 0));
    for (const [i, { name, graph }] of runs.entries()) compareEnormous(name, graph, times, outcomes[i]?.results);
  }
});
test.run();
