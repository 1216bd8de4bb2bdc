// A few of the programs of `npm run fuzz`, in ways that other tests do not take; and how one that fails is made small.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { NdArray } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { loweredForCuda } from "../emulator/sequence.ts";
import { project } from "../project.ts";
import { expected, mismatches } from "./compare.ts";
import { checkFiles } from "./files.ts";
import { type Case, failure, kinds, shrunk } from "./fuzz.ts";
import { drawHostMode, type HostMode, isas, runnable } from "./host-modes.ts";
import { randomProgram } from "./programs.ts";
import { trainingOf } from "./training.ts";

const test = suite("drawn");
interface Drawn {
  readonly kind: keyof typeof kinds;
  readonly given: Pick<HostMode, "isa" | "precision">;
  /** Of a program with fewer kernels than that of the row's number. */
  readonly seed?: string;
}
const runs: readonly Drawn[] = [
  { kind: "small", given: { isa: "avx2", precision: "bf16" }, seed: "0c" },
  { kind: "aligned", given: { isa: "portable", precision: "f32" }, seed: "1c" },
  { kind: "small", given: { isa: "native", precision: "bf16" } },
  { kind: "passes", given: { isa: "native", precision: "f32" }, seed: "3a" },
  { kind: "workers", given: { isa: "native", precision: "f32" } },
  { kind: "workers", given: { isa: "native", precision: "bf16" } },
  { kind: "resumed", given: { isa: "native", precision: "f32" } },
  { kind: "rows", given: { isa: "native", precision: "f32" } },
  { kind: "extreme", given: { isa: "native", precision: "f32" } },
  { kind: "product", given: { isa: "tiles", precision: "f32" } },
  { kind: "cuda-graph", given: { isa: "native", precision: "bf16" } },
];
for (const [i, { kind, given, seed = String(i) }] of runs.filter((r) => runnable.includes(r.given.isa)).entries())
  test(`a program of the kind ${kind} is right, ${given.isa} ${given.precision}, by drawn schedules`, async () => {
    const way = { ...drawHostMode(`drawn ${seed}`, given), schedules: `drawn ${seed}` };
    assert.is(await failure((kinds[kind] as (seed: string) => Case)(`drawn ${seed}`), way), null);
  });
test("rows of no elements have kernels of CUDA", () => {
  const program = randomProgram("9700104 pf", "p", { looped: false, draws: true, sizes: "empty" });
  for (const graph of trainingOf(program, "f32").graphs) assert.ok(loweredForCuda(graph).launches.length > 0);
});
test("a way is the same for the same seed; what is asked for is kept, and nothing else changes", () => {
  const all = Array.from({ length: 40 }, (_, i) => drawHostMode(String(i)));
  assert.equal(
    all,
    Array.from({ length: 40 }, (_, i) => drawHostMode(String(i))),
  );
  assert.ok(new Set(all.map((w) => w.isa)).size > 1 && new Set(all.map((w) => w.threads[0])).size === 4);
  for (const [i, { isa: _, ...rest }] of all.entries())
    for (const isa of isas) assert.equal(drawHostMode(String(i), { isa }), { ...rest, isa });
});
test("all gates, mixtures, attentions and optimizers of the library are in programs that are drawn", () => {
  const texts = Array.from({ length: 200 }, (_, i) => kinds["small"]?.(`all ${i}`).text ?? "").join("\n");
  for (const file of ["gates", "moe", "attention", "optim"]) {
    const library = readFileSync(join(project, `stdlib/${file}.moe`), "utf8");
    for (const [, name = ""] of library.matchAll(/^(?:layer|optimizer) (\w+)/gm))
      if (!within.has(name)) assert.ok(new RegExp(String.raw`(?:: |, |\[|with )${name}\(`).test(texts), name);
  }
});
/** Those that stand in others that are drawn. */
const within = new Set(["Indexer", "MoE", "Past"]);
test("damaged folders are read all the same, or refused with a remedy", async () => {
  const read = await checkFiles("drawn", 60);
  assert.ok(read > 5 && read < 50, `${read} of 60 were read`);
});
test("what only rounding adds to a sum may grow as much as where it is added to nothing", () => {
  const g = new GraphBuilder(ops);
  const [sum, x, product] = ["sum", "x", "product"].map((name) => b.param(g, name, { dtype: "f32", shape: [1] }));
  if (!sum || !x || !product) throw new Error("three stores");
  const value = b.add(g, sum, b.sub(g, b.mul(g, x, x), product));
  const slackFrom = (before: number): number => {
    const held = Object.entries({ sum: before, x: 0.5, product: 0.25 }).map(
      ([name, n]) => [name, { dtype: "f32", shape: [1], data: Float64Array.of(n) }] as const,
    );
    const stores = new Map<string, NdArray>(held);
    return expected([value], stores, { steep: true }, [stores.get("sum")])[0]?.slack[0] ?? 0;
  };
  assert.ok(slackFrom(1e-5) > 0.9 * slackFrom(0), `${slackFrom(1e-5)}, ${slackFrom(0)}`);
});
test("a number that is nearly 1 may be just that, and what divides by what is left of it a 0", () => {
  const g = new GraphBuilder(ops);
  const x = b.param(g, "x", { dtype: "f32", shape: [16] });
  const left = b.sub(g, 1, b.unary(g, "tanh", x));
  const many = b.sum(g, b.abs(g, b.div(g, left, b.add(g, b.abs(g, left), 1e-30))));
  const stores = new Map([["x", { dtype: "f32", shape: [16], data: new Float64Array(16).fill(8.5) } as const]]);
  const slack = expected([many], stores)[0]?.slack[0] ?? 0;
  assert.ok(slack > 1, `${slack}`);
});
/** What is wrong with choosing 0 where tanh(0.5), rounded to bf16, is below a bar that is this many roundings above it. */
function wrongChoice(above: number): string[] {
  const g = new GraphBuilder(ops);
  const x = b.cast(g, b.tanh(g, b.param(g, "x", { dtype: "bf16", shape: [1] })), "f32");
  const [, best] = b.topK(g, b.concat(g, [x, b.param(g, "bar", { dtype: "f32", shape: [1] })], 0), 1);
  const bar = Math.tanh(0.5) * (1 + above * 2 ** -7);
  const stores = new Map<string, NdArray>([
    ["x", { dtype: "bf16", shape: [1], data: Float64Array.of(0.5) }],
    ["bar", { dtype: "f32", shape: [1], data: Float64Array.of(bar) }],
  ]);
  const [want] = expected([best], stores);
  assert.is(want?.slack[0], 0, "few runs do not see it");
  return want ? mismatches(want, [0]) : [];
}
test("a choice that rounding rarely decides is open where more runs see it, and only there", () => {
  assert.equal(wrongChoice(1.4), []);
  assert.is(wrongChoice(2.2).length, 1);
});
const fails = (text: string): Promise<void> =>
  text.includes("sin") ? Promise.reject(new Error("a sine")) : Promise.resolve();
test("what fails is shrunk to what it fails by", async () => {
  const text = `layer L0(D) {
  param a: float[D] = 1
  param b: float[D] = 1
  forward(x: float[...S, D]) -> float[...S, D] {
    let y = x * a
    let z = sin(y)
    let w = z + b
    return 0.1 * x + z + w
  }
}`;
  const one: Case = { text, note: "", run: (_, given = text) => fails(given) };
  assert.is(await failure(one, drawHostMode("")), "a sine");
  const lines = (await shrunk(one, drawHostMode(""))).split("\n");
  assert.not.ok(
    lines.some((line) => /\b[wb]\b/.test(line)),
    lines.join("\n"),
  );
  assert.ok(lines.some((line) => line.includes("sin(y)")));
});
test.run();
