// The library's pages are what its comments say now, and the example of each runs.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { elaborate, load } from "../../compiler/check/index.ts";
import { requireValid } from "../../compiler/check/valid.ts";
import { compileLoaded } from "../../runtime/compile.ts";
import { numbers, type Tensor, tensor } from "../../runtime/index.ts";
import { stdlibPages } from "../../scripts/stdlib-pages.ts";
import { fencedBlocks } from "../fenced-blocks.ts";
import { project } from "../project.ts";

const test = suite("stdlib-pages");
const pages = stdlibPages();

test("pages are current: `npm run generate`", () => {
  for (const [path, text] of Object.entries(pages)) assert.is(readFileSync(join(project, path), "utf8"), text(), path);
  const there = readdirSync(join(project, "docs/stdlib")).map((name) => `docs/stdlib/${name}`);
  assert.equal(there.toSorted(), Object.keys(pages).toSorted());
});

const sizes = { D: 8, H: 6, E: 4, K: 2, G: 2, N: 3, B: 2, T: 4 };
/** Runs the first layer's `forward` on rows, or on sequences where it wants those. */
async function run(name: string, text: string, precision: "f32" | "bf16"): Promise<Tensor> {
  const loaded = load({ name, text });
  requireValid(loaded);
  const [layer] = loaded.main.program.declarations;
  const sequences = /forward\(x: float\[B, T, D\]/.test(text);
  const shape = sequences ? [2, 4] : [3];
  const named = Object.entries(sizes).filter(([size]) => layer?.header.some((p) => p.name.name === size));
  const own = sequences ? { B: 2, T: 4 } : { S: [3] };
  const { executable } = await compileLoaded(() => loaded, {
    declaration: layer?.name.name ?? "",
    sizes: Object.fromEntries(named),
    target: "reference",
    precision,
    entries: [{ method: "forward", name: "forward", sizes: own }],
  });
  await executable.run("init", new Map(), { seed: 0, call: 0, step: 0 });
  const count = shape.reduce((p, q) => p * q, 1);
  const x = tensor(
    precision,
    [...shape, 8],
    Array.from({ length: count * 8 }, (_, i) => Math.sin(i * i)),
  );
  const places = tensor(
    "i32",
    shape,
    Array.from({ length: count }, (_, i) => i % 4),
  );
  const inputs = executable.stores.flatMap((s) => /^forward\/(x|at|tokens)$/.exec(s.name)?.[1] ?? []);
  const given = new Map(inputs.map((input) => [input, input === "x" ? x : places]));
  const { outputs } = await executable.run("forward", given, { seed: 0, call: 0, step: 0 });
  executable.close();
  const [y = x] = outputs;
  assert.equal([y.dtype, y.shape], [precision, [...shape, 8]]);
  assert.ok(numbers(y).every(Number.isFinite));
  return y;
}
/** In bf16 a row may go to another expert, where two are nearly equal: most numbers are near. */
function near(got: Tensor, expected: Tensor): void {
  const wanted = numbers(expected);
  const scale = Math.max(...wanted.map(Math.abs));
  const far = numbers(got).filter((x, i) => Math.abs(x - (wanted[i] ?? Number.NaN)) > 2 ** -4 * scale);
  assert.ok(far.length <= wanted.length / 2, `${far.length} of ${wanted.length} are far apart`);
}
for (const path of Object.keys(pages)) {
  const examples = fencedBlocks(path, "moe");
  if (examples.length > 0)
    test(`the example of ${path} runs`, async () => {
      for (const text of examples) near(await run(path, text, "bf16"), await run(path, text, "f32"));
    });
}
/** The paths of Attention's parameters, with or without what is optional. */
function paths(all: boolean): string[] {
  const text = `import { Attention } from "std/attention" layer A(D) = Attention(D, 2, normed: ${all}, biased: ${all}, sunk: ${all}, gated: ${all})`;
  const entries = [{ method: "forward", name: "forward", sizes: { B: 1, T: 2 } }];
  const request = { declaration: "A", sizes: { D: 8 }, precision: "f32", entries } as const;
  const stores = elaborate(load({ name: "test.moe", text }), request).stores();
  return stores.flatMap((s) => (s.role === "parameter" ? [s.name] : [])).toSorted();
}
/** What a line of a page lists, in two: always there, and also what is optional. */
function listed(line: string | undefined): string[][] {
  const all = [...(line ?? "").matchAll(/`([^`]+)`( \(optional\))?/g)];
  return [all.filter((m) => m[2] === undefined), all].map((list) => list.map((m) => m[1] ?? "").toSorted());
}
test("a page lists the paths that a program has, those of inner layers too", () => {
  const [, line] = /## Attention\n[^]*?\nParameters: (.*)/.exec(pages["docs/stdlib/attention.md"]?.() ?? "") ?? [];
  assert.equal(listed(line), [paths(false), paths(true)]);
});
test("a page says where the layers are that a header is given", () => {
  const [, line] = /\nParameters: (.*)/.exec(pages["docs/stdlib/SharedMoE.md"]?.() ?? "") ?? [];
  assert.is(line, "`moe.gate` (what `gate` has), `moe.experts.*` (what `expert` has), `shared` (what `shared` has)");
});
test("every gate and every mixture has an example", () => {
  const some = Object.keys(pages).filter((path) => fencedBlocks(path, "moe").length > 0);
  assert.is(some.length, 16 + 7);
});
test.run();
