import * as fs from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { load, loadFile, loadTemplate } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import { moe } from "../../compiler/syntax/template.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { PlanCache } from "../../runtime/cache/plans.ts";
import { type Compiled, compileLoaded, type TargetRequest } from "../../runtime/compile.ts";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { printedProgram } from "../../runtime/forms.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("plans");
const root = temporaryFolder();
process.env["MOEC_CACHE"] = root; // kernels are compiled once for all tests
const library = "fn twice(x: f32[N]) -> f32[N] { return x + x }\n";
const program = `
import { normal } from "std/init"
import { twice } from "./library"

layer Scaled(D, Factor = 3.0) {
  param weight: f32[D] = normal(std: 0.5)
  forward(x: f32[N, D]) -> f32[N, D] { return Factor * weight * tanh(x) + sum(twice(x[0])) }
}
`;
interface Case {
  readonly path: string;
  readonly request: TargetRequest;
  readonly compiler: string;
}
/** A program in a folder of its own. */
function written(): Case {
  const path = join(temporaryFolder(), "program.moe");
  fs.writeFileSync(path, program);
  fs.writeFileSync(join(path, "../library.moe"), library);
  const entries = [{ method: "forward", name: "forward", sizes: {}, gradients: true }];
  const request = { declaration: "Scaled", sizes: { N: 3, D: 5 }, precision: "f32", target: "host", entries } as const;
  return { path, request, compiler: "one" };
}
const compile = ({ path, request, compiler }: Case): Promise<Compiled> =>
  compileLoaded(() => loadFile(path), { threads: 1, ...request }, new PlanCache(compiler, new KernelCache(root)));
/** Whether it came from the cache: then nothing was lowered. */
const hit = ({ report }: Compiled): boolean => !("lower" in report.timings);

const x: Tensor = { dtype: "f32", shape: [3, 5], data: Float32Array.from({ length: 15 }, (_, i) => Math.sin(i)) };
const ones: Tensor = { dtype: "f32", shape: [3, 5], data: new Float32Array(15).fill(1) };
async function ran({ executable }: Compiled): Promise<unknown> {
  const at = { seed: 4, call: 0, step: 0 };
  await executable.run("init", new Map(), at);
  const { outputs, gradients } = await executable.run(
    "forward",
    new Map([
      ["x", x],
      ["cotangent.0", ones],
    ]),
    at,
  ); // prettier-ignore
  const weight = executable.read("weight");
  executable.close();
  return [outputs, [...gradients], weight];
}

test("a plan that is found gives the same bits, figures and stores", async () => {
  const one = written();
  const [fresh, kept] = [await compile(one), await compile(one)];
  assert.equal([hit(fresh), hit(kept)], [false, true]);
  const { timings, ...figures } = fresh.report;
  const { timings: again, ...same } = kept.report;
  assert.equal(same, figures);
  assert.ok(
    figures.flops > 0 && figures.kernels.length > 0 && again["total"] !== undefined && timings["total"] !== undefined,
  );
  assert.equal(kept.executable.stores, fresh.executable.stores);
  assert.equal(kept.executable.bytes, fresh.executable.bytes);
  const [a, b] = [await ran(fresh), await ran(kept)];
  assert.equal(b, a);
});

test("anything that decides a plan misses", async () => {
  const one = written();
  (await compile(one)).executable.close();
  const misses = async (other: Case): Promise<void> => {
    const made = await compile(other);
    made.executable.close();
    assert.not.ok(hit(made), JSON.stringify(other));
    assert.ok(hit(await compile(other)), "and is kept in its turn");
  };
  const changed = (request: Partial<TargetRequest>): Case => ({ ...one, request: { ...one.request, ...request } });
  await misses({ ...one, compiler: "two" });
  await misses(changed({ sizes: { N: 3, D: 6 } }));
  await misses(changed({ sizes: { N: 3, D: 5, Factor: 2 } }));
  await misses(changed({ entries: one.request.entries.map((e) => ({ ...e, gradients: false })) }));
  await misses(changed({ entries: one.request.entries.map((e) => ({ ...e, name: "other" })) }));
  const schedules = new Map([["dot 1 x 1 x 1", { bm: 1, bn: 16, bk: 1, mc: 1, stream: false }]]);
  await misses(changed({ schedules }));
  await misses(changed({ threads: 16 }));
  for (const threads of [2, 13]) {
    const { executable, report } = await compile(changed({ threads }));
    executable.close();
    assert.ok(!("lower" in report.timings), `${threads} threads, about as many as another had`);
  }
  fs.writeFileSync(join(one.path, "../library.moe"), library.replace("x + x", "x + 2.0 * x"));
  await misses(one);
  fs.writeFileSync(one.path, program.replace("tanh", "sin"));
  await misses(one);
  assert.ok(hit(await compile(changed({ sizes: { D: 5, N: 3 } }))), "the order of names decides nothing");
});
test("other flags of the C++ compiler miss", async () => {
  const one = written();
  (await compile(one)).executable.close();
  const before = process.env["CXX"];
  process.env["CXX"] = `${before ?? "g++"} -DOTHER=1`;
  try {
    const made = await compile(one);
    made.executable.close();
    assert.not.ok(hit(made));
  } finally {
    if (before === undefined) delete process.env["CXX"];
    else process.env["CXX"] = before;
  }
});

test("a form is printed, and no kernel is compiled for it", async () => {
  const { path, request } = written();
  const cold = temporaryFolder();
  process.env["MOEC_CACHE"] = cold;
  try {
    const { files, kernels } = await printedProgram({ ...request, path, threads: 1 }, "cpp");
    assert.ok(kernels.length > 0);
    for (const { name } of kernels) assert.match(files[`${name}.cpp`] ?? "", name);
    const kept = fs.readdirSync(cold, { recursive: true, encoding: "utf8" });
    assert.not.ok(kept.some((name) => name.endsWith(".so")));
  } finally {
    process.env["MOEC_CACHE"] = root;
  }
});

test("a damaged entry is ignored and written again", async () => {
  const one = written();
  (await compile(one)).executable.close();
  const { folder: kernels } = new KernelCache(root);
  const plans = (): string[] => fs.readdirSync(kernels).filter((name) => name.endsWith(".plan"));
  const damages = [
    (text: string) => text.slice(0, text.length / 2),
    () => "",
    (text: string) => text.replace('"tasks":', '"tasks":1'),
    (text: string) => `${text.slice(0, 64)}\n{"plan":{}}`,
  ];
  for (const damage of damages) {
    for (const name of plans()) {
      const path = join(kernels, name);
      fs.writeFileSync(path, damage(fs.readFileSync(path, "utf8")));
    }
    const made = await compile(one);
    made.executable.close();
    assert.not.ok(hit(made));
    const again = await compile(one);
    again.executable.close();
    assert.ok(hit(again));
  }
});
test("plans are files of this user alone, and count among what the cache holds", async () => {
  const cache = new KernelCache(temporaryFolder());
  const key = "a".repeat(64);
  cache.putText(key, "{}");
  assert.is(cache.findText(key), "{}");
  const path = join(cache.folder, `${key}.plan`);
  assert.is(fs.statSync(path).mode & 0o777, 0o600);
  assert.is(cache.stats().files, 1);
  fs.chmodSync(path, 0o622);
  assert.throws(() => cache.findText(key), /can be written by others/);
  cache.clear();
  assert.is(cache.stats().files, 0);
});

test("a program that is wrong is told so each time", async () => {
  const one = written();
  fs.writeFileSync(one.path, program.replace("weight *", "weigth *"));
  for (let i = 0; i < 2; i++) {
    const error = await compile(one).then(
      () => null,
      (e: unknown) => e,
    );
    assert.instance(error, ProgramError);
  }
});
test("plans of templates are kept by their text and what their holes hold", async () => {
  const entries = [{ method: "scaled", name: "scaled", sizes: {} }];
  const request = { declaration: "scaled", sizes: { N: 2 }, precision: "f32", target: "host", entries } as const;
  const two: Tensor = { dtype: "f32", shape: [2], data: Float32Array.of(1, 2) };
  const plans = new PlanCache("one", new KernelCache(root));
  const made = async (factor: number, more = 0, name: "plus" | "minus" = "plus"): Promise<unknown> => {
    const inner = moe<"plus" | "minus">`
      fn plus(x: f32[N]) -> f32[N] { return x + ${more} }
      fn minus(x: f32[N]) -> f32[N] { return x - ${more} }`;
    const { scaled } = moe<"scaled">`fn scaled(x: f32[N]) -> f32[N] { return ${factor} * ${inner[name]}(x) }`;
    const compiled = await compileLoaded(() => loadTemplate(scaled.program), request, plans);
    const { outputs } = await compiled.executable.run("scaled", new Map([["x", two]]), { seed: 0, call: 0, step: 0 });
    compiled.executable.close();
    return [hit(compiled), ...(outputs[0]?.data ?? [])];
  };
  const cases: readonly [given: Parameters<typeof made>, expected: readonly number[]][] = [
    [[2], [2, 4]],
    [[3], [3, 6]],
    [
      [2, 1],
      [4, 6],
    ],
    [
      [2, 1, "minus"],
      [0, 2],
    ],
    [
      [0, 1],
      [0, 0],
    ],
    [
      [-0, 1],
      [-0, -0],
    ],
  ];
  for (const [given, expected] of cases) {
    assert.equal(await made(...given), [false, ...expected], String(given));
    assert.equal(await made(...given), [true, ...expected], String(given));
  }
});

test("a chain of operations that is too long to follow is a Problem", async () => {
  const text = "fn f(x: f32[N], K) -> f32[N] { let a = x for i in 0:K { a = a + exp(a) } return a }";
  const error = await compileLoaded(() => load({ name: "f.moe", text }), {
    declaration: "f",
    sizes: {},
    precision: "f32",
    target: "host",
    entries: [{ method: "f", name: "f", sizes: { N: 2, K: 9000 } }],
  }).catch((e: unknown) => e);
  assert.ok(error instanceof Problem && /too deep/.test(error.message), String(error));
});
test.run();
