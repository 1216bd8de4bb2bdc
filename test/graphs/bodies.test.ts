// Routed bodies of every kind, forward and backward: the call against plain loops, in the interpreter in f64 and on the host.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite } from "uvu";
import { compileProgram } from "../../runtime/compile.ts";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { full } from "../full.ts";
import { given, type PeerTarget } from "../peer-results.ts";
import { project } from "../project.ts";

const file = join(project, "test/programs/bodies.moe");

/** Reproducible numbers in -1 .. 1. */
function numbers(shape: readonly number[], seed: number): Tensor {
  const size = shape.reduce((p, q) => p * q, 1);
  const data = Float32Array.from({ length: size }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed));
  return { dtype: "f32", shape, data };
}
/** Of the experts one gets no rows, and some choices are none: -1, and what no expert has. */
function choices(shape: readonly number[], experts: number): Tensor {
  const size = shape.reduce((p, q) => p * q, 1);
  const pick = (i: number): number => (i % 5 === 3 ? -1 : i % 11 === 7 ? experts + 2 : i % (experts - 1));
  return { dtype: "i32", shape, data: Int32Array.from({ length: size }, (_, i) => pick(i * 7 + (i >> 2))) };
}
interface Body {
  readonly declaration: string;
  readonly sizes: Readonly<Record<string, number>>;
  readonly inputs: Readonly<Record<string, Tensor>>;
  /** The place of the expert without rows, where each has a name of its own. */
  readonly last?: number;
  /** Shapes of the results. */
  readonly results: readonly (readonly number[])[];
}
/** Experts of rows: `N` of `D` numbers, `K` choices each. */
function rows(declaration: string, E: number, N = 7, K = 2, extra: Record<string, Tensor> = {}): Body {
  const D = 6;
  const inputs = { x: numbers([N, D], 1), index: choices([N, K], E), ...extra };
  return { declaration, sizes: { N, K }, inputs, results: [[N, K, D]] };
}
const none: Tensor = { dtype: "i32", shape: [3, 2], data: new Int32Array(6).fill(-1) };
const sequences = (declaration: string, D: number): Body => ({
  declaration,
  sizes: { N: 5, T: 4 },
  inputs: { x: numbers([5, 4, D], 1), index: choices([5], 3) },
  results: [[5, 4, D]],
});
const stack = (declaration: string, E: number): Body => ({
  declaration,
  sizes: { C: 3 },
  inputs: { x: numbers([E, 3, 6], 1) },
  results: [[E, 3, 6]],
});
const bodies: Readonly<Record<string, Body>> = {
  "rows with rows and with each expert's": rows("ScaledRows", 4),
  "rows with what is plain": rows("PlainMatrix", 4),
  "a matrix of each expert's, then what is plain": rows("Shared", 4),
  "a merged LoRA": rows("Merged", 4),
  "weight norm": rows("WeightNorm", 4),
  "matrices and biases": rows("Biased", 4),
  "an array of another layer": rows("Elsewhere", 4),
  "matrices that are read too": rows("Merging", 4),
  "one choice of one row": rows("Biased", 4, 1, 1),
  "no rows": rows("Biased", 4, 0),
  "no choice at all": rows("Biased", 4, 3, 2, { index: none }),
  SwiGlu: rows("Gated", 4),
  "a table of each expert": rows("Looked", 4, 7, 2, { token: choices([7], 5) }),
  "axes of a row's own": rows("OwnAxes", 4),
  "a mixture": rows("Nested", 4),
  "a mixture of mixtures": rows("Thrice", 2),
  "whole sequences": sequences("Whole", 6),
  "a block of attention over whole sequences": sequences("WholeBlock", 8),
  "an array of different layers": { ...rows("Different", 5), last: 4 },
  "a repeated pattern": { ...rows("Pattern", 4), last: 3 },
  "arguments per choice and for all, two results": {
    declaration: "PerChoice",
    sizes: { B: 2, T: 3, K: 2 },
    inputs: {
      x: numbers([2, 3, 6], 1),
      own: numbers([2, 3, 2, 6], 2),
      all: numbers([6], 3),
      index: choices([2, 3, 2], 4),
    },
    results: [
      [2, 3, 2, 6],
      [2, 3, 2],
    ],
  },
  "all at once": stack("Stacked", 4),
  "mixtures all at once": stack("StackedMixtures", 3),
};

type Results = ReadonlyMap<string, readonly number[]>;
const empty: Results = new Map();
/** Of each entry its results, and gradients of them times `cotangents`, of all parameters and inputs. */
async function results(
  body: Body,
  entries: readonly string[],
  way: Pick<PeerTarget, "target" | "precision">,
): Promise<Results[]> {
  const { executable } = await compileProgram({
    path: file,
    declaration: body.declaration,
    sizes: body.sizes,
    entries: entries.map((name) => ({ method: name, name, sizes: {}, gradients: true })),
    ...way,
  });
  const at = { seed: 0, call: 0, step: 0 };
  await executable.run("init", new Map(), at);
  const cotangents = body.results.map((shape, i): [string, Tensor] => [`cotangent.${i}`, numbers(shape, 9 + i)]);
  const inputs = given(new Map([...Object.entries(body.inputs), ...cotangents]), way.precision);
  const all: Results[] = [];
  for (const entry of entries) {
    const { outputs, gradients } = await executable.run(entry, inputs, at);
    const named = outputs.map((t, i): [string, Tensor] => [`result ${i}`, t]);
    all.push(new Map([...named, ...gradients].map(([name, t]) => [name, Array.from(t.data)])));
  }
  executable.close();
  return all;
}
/** What the loops have no gradient for, since nothing reads it, is 0. */
function same(got: Results, expected: Results, apart: number): void {
  for (const [name, numbers] of got) assert.ok(expected.has(name) || numbers.every((x) => x === 0), name);
  for (const [name, wanted] of expected) {
    const numbers = got.get(name) ?? assert.fail(name);
    assert.equal(numbers.length, wanted.length, name);
    const off = Math.hypot(...wanted.map((x, i) => x - (numbers[i] ?? Number.NaN)));
    assert.ok(off <= apart * (1 + Math.hypot(...wanted)), `${name} is ${off} of ${Math.hypot(...wanted)} apart`);
  }
}

/** Whether a parameter is the last layer's of different ones: it gets no rows. */
const idle = (name: string, { last }: Body): boolean => last !== undefined && name.startsWith(`experts.${last}.`);

/** Without MOEC_TEST=full, the kernels of these are compiled. */
const onHost = new Set([
  "no rows",
  "a merged LoRA",
  "a table of each expert",
  "axes of a row's own",
  "a mixture of mixtures",
  "a block of attention over whole sequences",
  "an array of different layers",
]);
const exact = { target: "reference", precision: "f64" } as const;

const test = suite("bodies");
for (const [name, body] of Object.entries(bodies))
  test(name, async () => {
    const [plain = empty, routed = empty] = await results(body, ["plain", "routed"], exact);
    if (!name.startsWith("no "))
      for (const [what, x] of plain) assert.ok(idle(what, body) || x.some((v) => v !== 0), what);
    same(routed, plain, 1e-12);
    if (!full && !onHost.has(name)) return;
    const [host = empty] = await results(body, ["routed"], { target: "host", precision: "f32" });
    same(host, plain, 1e-5);
  });
test.run();
