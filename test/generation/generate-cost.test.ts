// What a generated token costs, counted in the plan and not timed: it reads the caches and does not run the model over what came before.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import { bytesRead } from "../../bench/generate.ts";
import { loadFile } from "../../compiler/check/index.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs, toPlan } from "../../compiler/pipeline.ts";
import type { Entry, Plan } from "../../compiler/plan/plan.ts";
import { generateEntries } from "../../runtime/generation/generate-entries.ts";
import { readProgram } from "../../runtime/program.ts";
import { project } from "../project.ts";

const test = suite("generate-cost");
const models = join(project, "stdlib/models");

interface Model {
  readonly file: string;
  readonly sizes: Readonly<Record<string, number>>;
  /** Products of one token with one position of the past, in all layers: q k and p v. */
  readonly perPosition: number;
  /** Numbers that the cache holds of one position, in all layers. */
  readonly held: number;
}
const cases: Readonly<Record<string, Model>> = {
  GptMoE: {
    file: "gpt",
    sizes: { V: 64, D: 32, H: 48, L: 2, Heads: 2, E: 4, K: 2 },
    perPosition: 2 * 2 * (16 + 16),
    held: 2 * 2 * (16 + 16),
  },
  Mixtral: {
    file: "decoder",
    sizes: { V: 64, D: 32, H: 48, L: 2, Heads: 4, Groups: 2, E: 4, K: 2 },
    perPosition: 2 * 4 * (8 + 8),
    held: 2 * 2 * (8 + 8),
  },
  DeepSeekV3: {
    file: "decoder",
    sizes: {
      V: 64,
      D: 32,
      F: 48,
      H: 32,
      L: 2,
      Dense: 1,
      Heads: 2,
      E: 4,
      K: 2,
      G: 2,
      Open: 1,
      Q: 16,
      R: 16,
      A: 8,
      P: 8,
      C: 8,
    },
    perPosition: 2 * 2 * (16 + 8 + 16),
    held: 2 * (16 + 8),
  },
};

function planOf(declaration: string, { file, sizes }: Model, Context: number, given: readonly string[] = []): Plan {
  const entries = [
    { method: "generate", name: "generate:1", sizes: { B: 1, T: 1 }, inputs: given },
    { method: "forward", name: "forward", sizes: { B: 1, T: Context } },
  ];
  const request = { declaration, sizes: { ...sizes, Context }, precision: "f32" as const, entries };
  return toPlan(toGraphs(loadFile(join(models, `${file}.moe`)), request, silentObserver()), silentObserver());
}
const entryOf = (plan: Plan, name: string): Entry => {
  const entry = plan.entries.find((e) => e.name === name);
  assert.ok(entry, name);
  return entry;
};
const flops = ({ steps }: Entry): number => steps.reduce((n, s) => n + (s.kind === "launch" ? s.launch.flops : 0), 0);
const launches = ({ steps }: Entry): number => steps.filter((s) => s.kind === "launch").length;
const copied = (plan: Plan, { steps }: Entry): number =>
  steps.reduce((n, s) => n + (s.kind === "copy" ? (plan.buffers[s.to]?.bytes ?? 0) : 0), 0);

for (const [name, model] of Object.entries(cases))
  test(`${name}: a token grows with the past by its attention alone, in place`, () => {
    const contexts = [64, 256];
    const plans = contexts.map((c) => planOf(name, model, c));
    const tokens = plans.map((p) => entryOf(p, "generate:1"));
    for (const [i, plan] of plans.entries()) {
      const [token, context = 0] = [tokens[i], contexts[i]];
      assert.ok(token);
      assert.equal(launches(token), launches(tokens[0] ?? token), "launches");
      assert.equal(copied(plan, token), 0, "the caches are written in place");
      const cache = plan.stores.filter((s) => s.name.startsWith("generate/"));
      const bytes = cache.reduce((n, s) => n + (plan.buffers[s.buffer]?.shape.reduce((a, b) => a * b, 4) ?? 0), 0);
      assert.equal(bytes, 4 * model.held * context, "what the caches hold");
      const grown = flops(token) - flops(tokens[0] ?? token);
      const attention = 2 * model.perPosition * (context - 64);
      assert.ok(grown <= 2 * attention, `${grown} more operations than at 64, attention's are ${attention}`);
      assert.ok(
        flops(token) < (4 * flops(entryOf(plan, "forward"))) / context,
        "no more than 4 rows of the full forward",
      );
    }
  });
test("a step's launches move what the benchmark calls active, the caches, and little else", () => {
  const sizes = { V: 256, D: 64, H: 128, L: 2, Heads: 2, E: 16, K: 2 };
  const plan = planOf("GptMoE", { file: "gpt", sizes, perPosition: 0, held: 0 }, 32);
  const stores = plan.stores.flatMap(({ name, role, buffer }) => {
    const place = plan.buffers[buffer];
    return place ? [{ ...place, name, role }] : [];
  });
  const { active, parameters } = bytesRead(stores, sizes, 1);
  const caches = stores.filter((s) => s.name.startsWith("generate/")).reduce((n, s) => n + s.bytes, 0);
  const moved = entryOf(plan, "generate:1").steps.reduce((n, s) => n + (s.kind === "launch" ? s.launch.bytes : 0), 0);
  assert.ok(active < parameters / 3, `${active} of ${parameters}`);
  const most = 1.1 * (active + caches);
  assert.ok(moved > active && moved < most, `${moved} bytes; ${active} are active, ${caches} caches'`);
});
const kernels = (plan: Plan, { steps }: Entry): string[] =>
  steps.flatMap((s) => (s.kind === "launch" ? [plan.kernels[s.launch.kernel]?.name ?? ""] : []));
test("without top-p and top-k no row is searched; with them it is not sorted, and no loss is computed", () => {
  const { Mixtral } = cases;
  assert.ok(Mixtral);
  const plans = [[], ["top_p"], ["top_k"]].map((given) => planOf("Mixtral", Mixtral, 16, given));
  const tokens = plans.map((plan) => entryOf(plan, "generate:1"));
  for (const { results } of tokens)
    assert.deepEqual(
      results.map((r) => r.role),
      ["output"],
    );
  const has = (word: string): boolean[] =>
    plans.map((plan, i) => kernels(plan, tokens[i] ?? assert.fail()).some((n) => n.startsWith(word)));
  assert.deepEqual(has("cutoff"), [false, true, true]);
  assert.deepEqual([has("sort"), has("scan")].flat().includes(true), false);
});
test("the inputs of sampling that are asked for are compiled, and only those", () => {
  const program = readProgram("examples/gpt-moe.moe");
  for (const sampling of [[], ["top_p"], ["top_p", "top_k"]] as const)
    for (const entry of generateEntries(program, "GptMoE", { sampling })) assert.deepEqual(entry.inputs, sampling);
});
test("long prompts are read in chunks of some 512 tokens of all rows, if they fill a third of one", () => {
  const program = readProgram("examples/gpt-moe.moe");
  for (const [rows, prompt, T] of [
    [1, 64, [1, 64]],
    [1, 170, [1, 64]],
    [1, 171, [1, 64, 512]],
    [3, 5000, [1, 64, 128]],
    [8, 5000, [1, 64]],
    [600, 5000, [1, 64]],
  ] as const)
    assert.deepEqual(
      generateEntries(program, "GptMoE", { rows, prompt }).map((e) => e.name),
      T.map((n) => `generate:${n}`),
    );
});
test("where a checkpoint gives the parameters, none is drawn: init gives the caches only", () => {
  const entries = [{ method: "generate", name: "generate:1", sizes: { B: 1, T: 1 } }];
  const sizes = { V: 64, D: 32, H: 48, L: 2, Heads: 2, E: 4, K: 2, Context: 16 };
  const program = loadFile(join(models, "gpt.moe"));
  const given = (restored: boolean) => {
    const request = { declaration: "GptMoE", sizes, precision: "f32" as const, entries, restored };
    const { graphs, stores } = toGraphs(program, request, silentObserver());
    const saved = new Set(stores.filter((s) => s.saved).map((s) => s.name));
    const names = graphs[0]?.results.map((r) => r.name) ?? [];
    return { saved: names.filter((name) => saved.has(name)), others: names.filter((name) => !saved.has(name)) };
  };
  const [fresh, restored] = [given(false), given(true)];
  assert.ok(fresh.saved.includes("embed.weight") && fresh.others.length > 0);
  assert.deepEqual(restored, { saved: [], others: fresh.others });
});
test.run();
