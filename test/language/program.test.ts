import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadFile, loadTemplate } from "../../compiler/check/index.ts";
import { requireValid } from "../../compiler/check/valid.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import { moe } from "../../compiler/syntax/template.ts";
import {
  copyProgram,
  findEntry,
  hasMethod,
  headerDefault,
  isCopied,
  isInNats,
  ownLosses,
  readProgram,
} from "../../runtime/program.ts";
import { assertProblem } from "../assert-problem.ts";

const test = suite("program");
const root = mkdtempSync(join(tmpdir(), "moec-program-"));
test.after(() => rmSync(root, { recursive: true }));
function write(name: string, text: string): string {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}
const path = write(
  "deep/main.moe",
  `import { Base } from "../shared/base"
import { helper } from "./base.moe"
layer Ffn(D, H = 4 * D, biased = false) {
  forward(x: float[...S, D], scale: f32[3] = 1) -> float[...S, D] { return x }
  other(a: float[N, D], b: float[N, M]) -> float[N, M] { return b }
}
fn twice(x: float[...S], N, by = 2) -> float[...S] { return by * x }
model Small(D = 8, Steps = 70) = Base(D)
`,
);
write(
  "shared/base.moe",
  `import { helper } from "../deep/base.moe"
model Base(D) {
  forward(x: float[B, D]) -> float[B, D] { return x }
  train(tokens: i32[B, T], targets: i32[B, T]) {
    loss language = 1
    if D > 4 { loss extra = 2 } else { for i in 0:2 { loss more = 3 } }
  }
}
`,
);
write("deep/base.moe", "fn helper(x: f32) -> f32 { return x }\n");
const file = readProgram(path);

test("an entry is a declaration, a method or a function; the default is the only model, its methods those of what it names", async () => {
  const names = (entry?: string): string[] => findEntry(file, entry).arguments.map((a) => a.name);
  assert.is(findEntry(file, undefined).declaration, "Small");
  assert.equal(names(), ["x"]);
  assert.is(findEntry(file, "Ffn").method, "forward");
  assert.equal(names("Ffn.other"), ["a", "b"]);
  assert.equal([findEntry(file, "twice").method, ...names("twice")], ["twice", "x"]);
  await assertProblem(() => findEntry(file, "Fn"), "declares no Fn", "Ffn");
  await assertProblem(() => findEntry(file, "Ffn.forwrd"), "no method forwrd", "forward");
  const { declaration, method } = findEntry(file, "train");
  assert.equal([declaration, method], [findEntry(file, undefined).declaration, "train"]);
  await assertProblem(
    () => findEntry(file, "trian"),
    "declares no trian",
    /it declares.*methods of its model are forward, train/,
  );
  await assertProblem(() => findEntry(file, "trains"), "declares no trains", "did you mean `train`?");
  await assertProblem(() => findEntry(file, "a.b.c"), "not an entry", "Declaration.method");
  assert.ok(hasMethod(file, undefined, "train"));
  assert.not.ok(hasMethod(file, undefined, "generate"));
});

test("defaults of the header, and the losses that `train` itself states", () => {
  const entry = findEntry(file, undefined);
  assert.equal([headerDefault(entry, "Steps"), headerDefault(entry, "Context")], [70, null]);
  assert.equal(ownLosses(file, entry.declaration), ["language", "extra", "more"]);
});
test("only one cross entropy of the library, on the targets as they are given, is in nats for each target", () => {
  const inNats = (body: string, names = "cross_entropy", from = "std/loss"): boolean => {
    const text = `import { ${names} } from "${from}"
model Base(D) { train(tokens: i32[B, T], targets: i32[B, T]) { ${body} } }
model Small() = Base(8)
`;
    return isInNats(readProgram(write("nats.moe", text)), "Small");
  };
  write("own.moe", "fn cross_entropy(x: f32, y: i32) -> f32 { return x }");
  const one = "loss language = cross_entropy(x, targets)";
  assert.ok(inNats(one));
  assert.ok(inNats(`let seen = masked(targets) ${one} metric sure = 1`));
  for (const other of [
    "loss focal = mean(focal(x, targets))",
    "loss language = 2 * cross_entropy(x, targets)",
    "loss language = cross_entropy(x, targets, smooth: 0.1)",
    "loss language = cross_entropy(x, tokens)",
    `${one} loss ahead = 1`,
    `if D > 4 { ${one} }`,
    `for i in 0:2 { ${one} }`,
    `let targets = masked(targets) ${one}`,
    "optimize with AdamW()",
  ])
    assert.not.ok(inNats(other), other);
  assert.not.ok(inNats(one, "cross_entropy", "./own"));
});

function entryOf(text: string): string[] {
  const { declaration, method } = findEntry(readProgram(write("sole.moe", text)), undefined);
  return [declaration, method];
}
test("without a model, a file's only layer or function is its default", async () => {
  const layer =
    "layer A(D) { forward(x: float[D]) -> float[D] { return x }  other(x: float[D]) -> float[D] { return x } }";
  assert.equal(entryOf(`import { Linear } from "std/nn"\n${layer}`), ["A", "forward"]);
  assert.equal(entryOf(scalar("f")), ["f", "f"]);
  await assertProblem(() => entryOf(layer + scalar("f")), "declares no model", "one of A, f");
  await assertProblem(() => entryOf("optimizer O() { }"), "declares no model", "one of O");
});
const scalar = (name: string): string => `fn ${name}(x: f32) -> f32 { return x }\n`;
const files = (file: string): string[] => readProgram(file).modules.map((m) => m.name);
test("a link's imports are beside the file that it names, and a file that several links name is one module", () => {
  const link = join(root, "link.moe");
  symlinkSync("deep/main.moe", link);
  write("pair/file.moe", scalar("f") + scalar("g"));
  symlinkSync("file.moe", join(root, "pair", "link.moe"));
  assert.equal(files(link).slice(1), files(path).slice(1));
  const both = write("both.moe", 'import { f } from "./pair/file"\nimport { g } from "./pair/link"\n');
  assert.equal(
    files(both).map((name) => basename(name)),
    ["both.moe", "file.moe"],
  );
});
test("a file has one name, as it is named from where moec runs, also where it imports what imports it", () => {
  write("cycle/one.moe", `import { g } from "./two"\n${scalar("f")}`);
  write("cycle/two.moe", `import { f } from "./one"\n${scalar("g")}`);
  const fromHere = relative(process.cwd(), join(root, "cycle"));
  for (const [given, folder] of [
    [`${fromHere}/./one.moe`, fromHere],
    [join(root, "cycle/one.moe"), join(root, "cycle")],
  ] as const)
    assert.equal(files(given).toSorted(), [join(folder, "one.moe"), join(folder, "two.moe")]);
  const into = join(root, "cycle-run");
  copyProgram(readProgram(join(fromHere, "one.moe")), into);
  assert.equal(readdirSync(into).toSorted(), ["model.moe", "two.moe"]);
  assert.match(readFileSync(join(into, "two.moe"), "utf8"), '"./model.moe"');
});
test("a program is copied with its local imports, flat, and parses again", () => {
  const into = join(root, "run");
  assert.not.ok(isCopied(file, into));
  copyProgram(file, into);
  assert.ok(isCopied(file, into));
  assert.equal(readdirSync(into).toSorted(), ["base-2.moe", "base.moe", "model.moe"]);
  const imports = readFileSync(join(into, "model.moe"), "utf8").split("\n").slice(0, 2);
  assert.equal(imports, ['import { Base } from "./base.moe"', 'import { helper } from "./base-2.moe"']);
  const copy = readProgram(join(into, "model.moe"));
  assert.equal(ownLosses(copy, "Small"), ["language", "extra", "more"]);
});

test("what was right is checked again where a file that it imports has changed", () => {
  const main = write("checked/main.moe", 'import { Own } from "./own"\nlayer L(D) = Own(D)\n');
  const own = (type: string): string =>
    write("checked/own.moe", `layer Own(D) { forward(x: float[N, D]) -> ${type}[N, D] { return x } }`);
  for (const type of ["float", "i32", "float", "bool"]) {
    own(type);
    const check = (): void => requireValid(loadFile(main));
    if (type === "float") check();
    else assert.throws(check, (error: unknown) => error instanceof ProgramError);
  }
});
const layer = (size: number) => moe<"L">`layer L() { forward(x: f32[N, 3]) -> f32[N, ${size}] { return x } }`;
test("a template is another where its text or its holes are", () => {
  requireValid(loadTemplate(layer(3).L.program));
  for (const { L } of [layer(4), moe<"L">`layer L() { forward(x: f32[N, 3]) -> f32[N, 2] { return x } }`])
    assert.throws(
      () => requireValid(loadTemplate(L.program)),
      (error: unknown) => error instanceof ProgramError,
    );
});
test("what was right is checked again where a link that it imports names another file, or none", () => {
  const imports = 'import { A } from "./a"\nimport { B } from "./b"\nimport { Own } from "./link"\n';
  const main = write("linked/main.moe", `${imports}layer L(D) = Own(D)\n`);
  const link = join(root, "linked/link.moe");
  const right = (): void => requireValid(loadFile(main));
  for (const [name, header] of [
    ["a", "D"],
    ["b", "D, H"],
  ] as const)
    write(
      `linked/${name}.moe`,
      `layer ${name.toUpperCase()}(D) { }\nlayer Own(${header}) { forward(x: float[N, D]) -> float[N, D] { return x } }\n`,
    );
  symlinkSync("a.moe", link);
  right();
  rmSync(link);
  assert.throws(right, (error: unknown) => error instanceof ProgramError);
  symlinkSync("b.moe", link);
  assert.throws(right, (error: unknown) => error instanceof ProgramError);
});
test.run();
