// Names, strings, paths and files that others wrote: nothing of them is run, reaches the C++ compiler or a shell, or leaves its folder.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatError } from "../../cli/output.ts";
import { load } from "../../compiler/check/index.ts";
import { requireValid } from "../../compiler/check/valid.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { readableKernel } from "../../compiler/emit/unit.ts";
import { set } from "../../compiler/options.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toGraphs, toPlan } from "../../compiler/pipeline.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import { render } from "../../compiler/render.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { checkText } from "../../runtime/check.ts";
import { buildKernels } from "../../runtime/host/compile.ts";
import { toolchain } from "../../runtime/host/toolchain.ts";
import { runEntry } from "../../runtime/run.ts";
import { readCheckpoint, savedTensors, writeCheckpoint } from "../../runtime/storage/checkpoint.ts";
import { NamedTensors } from "../../runtime/storage/names.ts";
import { readConfig } from "../../runtime/storage/run-folder.ts";
import { readSafetensors, writeSafetensors } from "../../runtime/storage/safetensors.ts";
import { allInMemory } from "../../runtime/storage/stored-tensor.ts";
import { fromNumbers, numbers } from "../../runtime/tensor.ts";
import { rejectedProblem } from "../assert-problem.ts";
import { FakeExecutable } from "../fake-executable.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("security");
const main = join(project, "cli/main.ts");
/** Escape from strings, comments, lines and shells; steer a terminal; climb. */
const hostile = [
  'x"; system("touch PWNED"); //',
  "x */ #include </etc/passwd> /*",
  "x\n#include </etc/passwd>\n",
  "x \\",
  "x ??/",
  "$(touch PWNED) `touch PWNED` ; touch PWNED & | > PWNED",
  "-x c -o PWNED",
  "\u001b[31m\u001b]0;title\u0007\u009b2J\u202e",
  "../../../x",
  "%s%n%00",
];
/** Such names as paths can have: no slash but those that separate. */
const asFile = hostile.map((text) => text.replaceAll("/", "_"));
/** What a terminal would get has no control characters but line breaks. */
const harmless = (text: string): void => assert.not.match(text, /[^\P{C}\n]/u);

const program = (word: (name: string) => string): string => `
layer ${word("Layer")}(D, E = 3) {
  param ${word("weight")}: f32[D, D] = 0.5
  param ${word("bias")}: f32[D] = 0.25
  forward(${word("x")}: f32[N, D]) -> f32[N, D] {
    let ${word("y")} = exp(${word("x")} @ ${word("weight")}) + ${word("bias")}
    let (${word("score")}, ${word("index")}) = top_k(${word("y")}, 2)
    loss ${word("balance")} = sum(${word("score")})
    metric ${word("load")} = max(${word("y")})
    return ${word("y")}
  }
}
`;
function planOf(path: string, text: string, declaration: string): Plan {
  const loaded = load({ name: path, text });
  requireValid(loaded);
  const entries = [{ method: "forward", name: "forward", sizes: {}, gradients: true }];
  const observer = silentObserver();
  return toPlan(
    toGraphs(loaded, { declaration, sizes: { D: 5, N: 3 }, precision: "f32", entries }, observer),
    observer,
  );
}
const textsOf = (plan: Plan): string[] => plan.kernels.map((k) => `${k.name}\n${k.text}`);
const plain = planOf(
  "model.moe",
  program((name) => name),
  "Layer",
);

const words = "int class template asm namespace extern main system args begin end scratch task vf ix f32".split(" ");
test("the compiler's text is the same whatever a program's names and path are", () => {
  for (const [i, path] of [...hostile, "/"].entries()) {
    let next = i;
    const names = new Map<string, string>();
    const word = (name: string): string => {
      if (!names.has(name)) names.set(name, words[next++ % words.length] ?? name);
      return names.get(name) ?? name;
    };
    const text = program(word);
    assert.equal(textsOf(planOf(path, text, word("Layer"))), textsOf(plain), path);
  }
});
test("what is shown of a kernel has each of the program's lines in one comment, and compiles", async () => {
  for (const path of hostile) {
    const { kernels } = planOf(
      path,
      program((name) => name),
      "Layer",
    );
    for (const k of kernels) {
      const lines = readableKernel(k).split("\n");
      const comments = lines.slice(0, lines.length - k.text.split("\n").length);
      assert.is(comments.length, Math.min(1, k.origins.length) + (k.params ?? []).length);
      for (const line of comments) assert.match(line, /^\/\/ [\w.:*/, -]*(\[[\d, ]*\][\w ]*)?$/);
    }
  }
  const { kernels, header } = planOf(
    hostile.join("\n"),
    program((name) => name),
    "Layer",
  );
  const withComments = kernels.map((k) => ({ ...k, text: readableKernel(k) }));
  const built = await buildKernels(
    { header, kernels: withComments },
    await toolchain(),
    new KernelCache(temporaryFolder()),
    2,
  );
  assert.is(built.kernels.length, kernels.length);
});
test("a run whose folder, file, cache, temporary folder and output are named so", () => {
  const here = join(temporaryFolder(), ...asFile);
  mkdirSync(here, { recursive: true });
  const [file, input, output] = [".moe", ".json", ".safetensors"].map((ending) =>
    `${asFile.join("")}${ending}`.slice(-99),
  );
  writeFileSync(
    join(here, file ?? ""),
    program((name) => name),
  );
  writeFileSync(join(here, input ?? ""), '{"x": [[1, 2], [3, 4]]}');
  const [tmp, cache] = [asFile[6] ?? "", asFile[5] ?? ""];
  mkdirSync(join(here, tmp));
  const args = ["run", "--entry=Layer", `--input=./${input}`, `--out=./${output}`, "--", `./${file}`];
  const env = { ...process.env, TMPDIR: tmp, MOEC_CACHE: cache, MOEC_DEBUG: "" };
  const ran = spawnSync(process.execPath, ["--import", import.meta.resolve("tsx"), main, ...args], {
    cwd: here,
    env,
    encoding: "utf8",
  });
  assert.is(ran.status, 0, ran.stderr);
  assert.equal(new Set(readdirSync(here)), new Set([file, input, output, tmp, cache]));
  assert.equal(
    readdirSync(join(here, tmp)).filter((name) => name.startsWith("moec-")),
    [],
  );
  assert.equal(readSafetensors(join(here, output ?? "")).get("0")?.shape, [2, 2]);
});
test("CXX is a program and its arguments, or a path with spaces; never a line for a shell", async () => {
  const here = temporaryFolder();
  const { command } = await toolchain();
  const found = spawnSync("which", [command[0]], { encoding: "utf8" }).stdout.trim();
  const path = join(here, "my $(touch PWNED) tools; touch PWNED");
  symlinkSync(found, path);
  assert.equal((await toolchain({ ...process.env, CXX: path })).command, [path]);
  for (const text of hostile.filter((t) => !t.startsWith("-")))
    for (const CXX of [text, `${found} ${text}`]) {
      const error = await toolchain({ ...process.env, CXX }).then(
        () => null,
        (e: unknown) => e,
      );
      if (error) harmless(formatError(error));
    }
  assert.not.ok(existsSync("PWNED"));
});

/** Names that every JavaScript object has. */
const inherited = ["__proto__", "constructor", "toString", "valueOf", "hasOwnProperty", "isPrototypeOf"] as const;
for (const target of ["reference", "host"] as const)
  test(`names of JavaScript's own are names like others: ${target}`, async () => {
    const here = temporaryFolder();
    const [file, input, params] = ["m.moe", "x.json", "w.safetensors"].map((name) => join(here, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(
      file,
      `layer constructor(D, hasOwnProperty = 2) {
        param __proto__: f32[D] = 0.5
        param toString: f32[D] = hasOwnProperty
        forward(isPrototypeOf: f32[N, D]) -> f32[N, D] {
          loss __proto__ = sum(isPrototypeOf)
          loss constructor = sum(isPrototypeOf) * 2
          metric __proto__ = isPrototypeOf[0, 0]
          metric toString = isPrototypeOf[0, 1]
          return isPrototypeOf * __proto__ + toString
        }
      }`,
    );
    writeFileSync(input, '{ "isPrototypeOf": [[1, 2], [3, 4]] }');
    const options = { program: file, entry: "constructor", input, target, gradients: true };
    const results = await runEntry({ ...options, set: { D: 2, hasOwnProperty: 3 } });
    const of = (name: string): number[] => [...numbers(results.get(name) ?? fromNumbers("f32", [0], []))];
    assert.equal(of("0"), [3.5, 4, 4.5, 5]);
    assert.equal([of("loss.__proto__"), of("loss.constructor")], [[10], [20]]);
    assert.equal([of("metric.__proto__"), of("metric.toString")], [[1], [2]]);
    assert.equal(
      [of("param.__proto__"), of("param.toString")],
      [
        [0.5, 0.5],
        [3, 3],
      ],
    );
    assert.is(results.has("grad.input.isPrototypeOf"), true);
    writeSafetensors(params, new Map([["__proto__", fromNumbers("f32", [2], [2, 3])]]));
    const again = await runEntry({ ...options, set: { hasOwnProperty: 0 }, params });
    assert.equal([...numbers(again.get("0") ?? fromNumbers("f32", [0], []))], [2, 6, 6, 12]);
    assert.is(again.has("param.__proto__"), false);
    for (const name of inherited)
      assert.match(
        (await rejectedProblem(() => runEntry({ ...options, set: { [`${name}_`]: 1 } }))).message,
        `${name}_`,
      );
    assert.is(({} as Record<string, unknown>)["valueOf_"], undefined);
  });
test("--set takes names and numbers only", () => {
  for (const text of [...hostile, "N= ", "N=\t", ...hostile.flatMap((t) => [`N=${t}`, `${t}=1`])])
    assert.throws(
      () => set.parse(text),
      (error: unknown) => error instanceof Problem,
      text,
    );
  const given = ["__proto__=1", "constructor=2"].reduce<ReturnType<typeof set.parse> | undefined>(
    (all, text) => set.parse(text, all),
    undefined,
  );
  assert.equal(Object.entries(given ?? {}), [
    ["__proto__", 1],
    ["constructor", 2],
  ]);
});
test("imports are files of the library or beside the program; no other string is read", () => {
  const strings = [
    ...hostile,
    "std/../../package",
    "std/../runtime/x",
    "std/nn?x",
    "std/%6en",
    "std//etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "https://x/y",
  ];
  for (const text of strings.map((s) => s.replaceAll(/["\n]/g, "_"))) {
    const found = checkText(join(temporaryFolder(), "m.moe"), `import { a } from "${text}"`);
    assert.equal(
      found.map((d) => d.code),
      ["E0303"],
      text,
    );
    harmless(render(found, { color: false, width: 100 }));
  }
});
test("errors about a program's text and path do not steer a terminal", () => {
  for (const text of hostile) harmless(render(checkText(text, `layer L( ${text}`), { color: false, width: 100 }));
});

test("tensors keep their names, and no name is a path", async () => {
  const here = join(temporaryFolder(), "deep", "er");
  const file = join(here, "t.safetensors");
  const named = [...hostile, ...inherited];
  writeSafetensors(file, new Map(named.map((name, i) => [name, fromNumbers("f32", [1], [i])])));
  const read = readSafetensors(file);
  assert.equal(
    [...read].map(([name, t]) => [name, ...numbers(t)]),
    named.map((name, i) => [name, i]),
  );
  for (const name of new NamedTensors(allInMemory(read), file).unread()) assert.ok(named.includes(name));
  assert.equal([readdirSync(here), readdirSync(join(here, ".."))], [["t.safetensors"], ["er"]]);
  const model = join(here, "m.moe");
  writeFileSync(
    model,
    program((name) => name),
  );
  for (const name of hostile) {
    writeSafetensors(file, new Map([[name, fromNumbers("f32", [1], [1])]]));
    const options = { program: model, entry: "Layer", set: { D: 5, N: 3 }, target: "reference" } as const;
    for (const given of [{ input: file }, { params: file }])
      harmless(formatError(await rejectedProblem(() => runEntry({ ...options, ...given }))));
  }
  assert.throws(
    () => writeSafetensors(file, new Map([["__metadata__", fromNumbers("f32", [], [1])]])),
    /keep the name/,
  );
});
test("a checkpoint's and a run's own texts name no other file", async () => {
  const run = join(temporaryFolder(), "runs", "a");
  const executable = new FakeExecutable();
  await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
  const state = { step: 1, sizes: {}, random: { seed: 0, call: 0 }, data: { hash: "", bytes: 0, position: 0 } };
  const path = writeCheckpoint(run, { ...state, tokenizer: "bytes" }, savedTensors(executable));
  const file = join(path, "state.json");
  const good = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown> & { files: Record<string, unknown> };
  writeFileSync(join(run, "..", "x"), "not to be touched");
  const changed: readonly object[] = [
    { files: { "../../../x": { bytes: 17, sha256: "0" } } },
    { files: { ...good.files, "model.safetensors": "../../../x" } },
    { step: "../../../x" },
    { compiler: hostile.join(""), format: 99 },
  ];
  for (const change of changed) {
    const { checksum: _, ...unsigned } = { ...good, ...change };
    const checksum = createHash("sha256").update(JSON.stringify(unsigned)).digest("hex");
    writeFileSync(file, JSON.stringify({ ...unsigned, checksum }));
    harmless(formatError(await rejectedProblem(() => readCheckpoint(path))));
  }
  for (const model of hostile) {
    writeFileSync(join(run, "config.json"), JSON.stringify({ format: 1, model, sizes: { [model]: model } }));
    harmless(formatError(await rejectedProblem(() => readConfig(run))));
  }
  assert.is(readFileSync(join(run, "..", "x"), "utf8"), "not to be touched");
  assert.equal(readdirSync(join(run, "..")).toSorted(), ["a", "x"]);
});
test("JSON nested without end is refused", async () => {
  const here = temporaryFolder();
  const [model, input] = [join(here, "m.moe"), join(here, "x.json")];
  writeFileSync(
    model,
    program((name) => name),
  );
  writeFileSync(input, `{"x": ${"[".repeat(100_000)}${"]".repeat(100_000)}}`);
  const { message } = await rejectedProblem(() =>
    runEntry({ program: model, entry: "Layer", input, target: "reference" }),
  );
  assert.match(message, "nested more than");
});
test("a method called `init` is not taken for the entry that makes parameters", async () => {
  const here = temporaryFolder();
  const model = join(here, "m.moe");
  writeFileSync(model, "layer L(D) { param w: f32[D] = 1 init(x: f32[D]) -> f32[D] { return x * w } }");
  const { message } = await rejectedProblem(() =>
    runEntry({ program: model, entry: "L.init", set: { D: 2 }, target: "reference" }),
  );
  assert.match(message, "`init`");
});
test("members called `param` and `state` are given by their paths", async () => {
  const here = temporaryFolder();
  const [model, input, params] = ["m.moe", "x.json", "w.safetensors"].map((name) => join(here, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(
    model,
    `layer Scale(D) { param w: f32[D] = 1 forward(x: f32[D]) -> f32[D] { return x * w } }
     layer L(D) { param: Scale(D) state: Scale(D) forward(x: f32[D]) -> f32[D] { return state(param(x)) } }`,
  );
  writeFileSync(input, '{"x": [1, 10]}');
  writeSafetensors(
    params,
    new Map(["param.w", "state.w"].map((name, i) => [name, fromNumbers("f32", [2], [2 + i, 5])])),
  );
  const results = await runEntry({ program: model, entry: "L", input, params, target: "reference" });
  assert.equal([...numbers(results.get("0") ?? fromNumbers("f32", [0], []))], [6, 250]);
});
test.run();
