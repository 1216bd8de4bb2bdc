import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadFile } from "../../compiler/check/index.ts";
import { families, familyText } from "../../compiler/emit/families.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs, toPlan } from "../../compiler/pipeline.ts";
import { planMemory } from "../../compiler/plan/memory.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { project } from "../project.ts";
import { buffer, header, kernelOf, launch, write } from "../sequences.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("families");
const kernel = (name: string, body: string): PlanKernel => kernelOf(launch(name, body, []));
const together = (...bodies: readonly string[]): number =>
  families(bodies.map((body, i) => kernel(`kernel_${i}e1`, body))).length;

test("kernels are of one family where only numbers differ", () => {
  assert.is(together("x = 1;", "x = 20;"), 1);
  assert.is(together("x = 1.5f * y;", "x = 2e-7f * y;"), 1);
  assert.is(together("x = 1;", "y = 1;"), 2);
  assert.is(together("x = 1;", "x = 1.0f;"), 2, "of one type");
  assert.is(together("x = 1;", "x = 3000000000;"), 2);
  assert.is(together("x = y / 3;", "x = y / 4;"), 2, "but for divisors");
  assert.is(together("x = y % 3 + 1;", "x = y % 3 + 2;"), 1);
  assert.is(together("par<4>(1);", "par<8>(1);"), 2, "and template arguments");
  assert.is(together("mma(a, 1);", "mma(a, 2);"), 2, "and contractions");
  assert.is(together("x1 = 1;", "x2 = 1;"), 2, "digits of names are no numbers");
});
test("a family is one function, of the numbers that differ", () => {
  const text = familyText([kernel("one", "x = 2 * y + 0.5f;"), kernel("two", "x = 2 * y + 1.5f;")]);
  assert.is(text.split("2 * y").length, 2);
  assert.match(text, /f32\* scratch, const f32 shared0\)/);
  assert.match(text, /extern "C" void two\(.*scratch, 1\.5f\); }/);
  const alone = kernel("one", "x = 2;");
  assert.is(familyText([alone]), alone.text);
});
test("each computes with its own numbers, and is found by its own name", async () => {
  const numbers = [3, -4, 5, 1e-6, 2 ** 20, -0.5];
  const outs = numbers.map((_, i) => buffer(`out${i}`, [1]));
  const launches = outs.map((out, i) => {
    const x = String(numbers[i]);
    return launch(`kernel${i}`, `a[0] = 7.0f * ${/[.e]/.test(x) ? `${x}f` : x} + ${i};`, [write(out)]);
  });
  const results = outs.map((out, i) => ({ role: "loss" as const, name: `${i}`, buffer: out }));
  const plan = planMemory([{ entry: "main", launches, assigns: [], results }], [], { target: "host", header });
  const executable = await hostExecutable(plan, { threads: 1, cache: new KernelCache(temporaryFolder()) });
  const { losses } = await executable.run("main", new Map(), { seed: 0, call: 0, step: 0 });
  executable.close();
  const want = numbers.map((x, i) => Math.fround(Math.fround(7 * Math.fround(x)) + i));
  assert.equal([...losses.values()], want);
});
test("a model of more layers has no more kernels: where parameters begin, what tells them apart is an input", () => {
  const file = loadFile(join(project, "examples/gpt-moe.moe"));
  const kernels = (L: number): number => {
    const sizes = { L, D: 16, H: 16, Heads: 2, E: 2, Context: 8 };
    const entries = [{ method: "train", name: "train", sizes: { B: 2, T: 8 } }];
    return toPlan(toGraphs(file, { sizes, precision: "f32", entries }, silentObserver()), silentObserver()).kernels
      .length;
  };
  assert.is(kernels(4), kernels(3));
});

test.run();
