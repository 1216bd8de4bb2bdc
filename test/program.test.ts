import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../compiler/diagnostic.ts";
import {
  copyProgram,
  findEntry,
  hasMethod,
  headerDefault,
  isCopied,
  ownLosses,
  readProgram,
} from "../runtime/program.ts";
import { type FoundSizes, findSizes } from "../runtime/sizes.ts";

const test = suite("program");
const root = mkdtempSync(join(tmpdir(), "moec-program-"));
test.after(() => rmSync(root, { recursive: true }));
function write(name: string, text: string): string {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}
function refuses(action: () => unknown, message: string, help: string): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    assert.match(error.message, message);
    assert.match(error.help, help);
    return;
  }
  assert.unreachable(message);
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

test("an entry is a declaration, a method or a function; the default is the only model, its methods those of what it names", () => {
  assert.is(findEntry(file, undefined).declaration.name.name, "Small");
  assert.equal(
    findEntry(file, undefined).inputs.map((p) => p.name.name),
    ["x"],
  );
  assert.is(findEntry(file, "Ffn").method, "forward");
  assert.equal(
    findEntry(file, "Ffn.other").inputs.map((p) => p.name.name),
    ["a", "b"],
  );
  const fn = findEntry(file, "twice");
  assert.equal(
    [fn.method, ...fn.header.map((p) => p.name.name), ...fn.inputs.map((p) => p.name.name)],
    ["twice", "N", "by", "x"],
  );
  refuses(() => findEntry(file, "Fn"), "declares no `Fn`", "Ffn, twice, Small");
  refuses(() => findEntry(file, "Ffn.forwrd"), "no method `forwrd`", "forward, other");
  refuses(() => findEntry(file, "a.b.c"), "not an entry", "Declaration.method");
  assert.not.ok(hasMethod(file, findEntry(file, undefined).declaration, "generate"));
});

test("defaults of the header, and the losses that `train` itself states", () => {
  const { declaration } = findEntry(file, undefined);
  assert.is(headerDefault(declaration, "Steps"), 70);
  assert.is(headerDefault(declaration, "Context"), null);
  assert.equal(ownLosses(file, declaration), ["language", "extra", "more"]);
});

test("a program is copied with its local imports, flat, and parses again", () => {
  const into = join(root, "run");
  assert.not.ok(isCopied(file, into));
  copyProgram(file, into);
  assert.ok(isCopied(file, into));
  assert.equal(readdirSync(into).toSorted(), ["base-2.moe", "base.moe", "model.moe"]);
  assert.match(readFileSync(join(into, "model.moe"), "utf8"), 'import { helper } from "./base.moe"');
  assert.match(readFileSync(join(into, "model.moe"), "utf8"), 'import { Base } from "./base-2"');
  const copy = readProgram(join(into, "model.moe"));
  assert.equal(ownLosses(copy, findEntry(copy, undefined).declaration), ["language", "extra", "more"]);
});

const sizes = (entry: string, set: Record<string, number | boolean>, shapes: Record<string, number[]>): FoundSizes =>
  findSizes(findEntry(file, entry), set, new Map(Object.entries(shapes)));
test("sizes are found from shapes or given by hand", () => {
  assert.equal(sizes("Ffn", {}, { x: [2, 5, 3] }), { header: { D: 3 }, own: { S: [2, 5] } });
  assert.equal(sizes("Ffn", { biased: true }, { x: [3] }), { header: { biased: true, D: 3 }, own: { S: [] } });
  assert.equal(sizes("Ffn.other", { M: 0 }, { a: [1, 7] }), { header: { D: 7 }, own: { M: 0, N: 1 } });
});
test("sizes that disagree, lack or do not exist are named", () => {
  refuses(
    () => sizes("Ffn.other", { D: 4 }, { a: [2, 7], b: [2, 2] }),
    "`D` is 7 by input `a` and 4 by --set",
    "agree",
  );
  refuses(() => sizes("Ffn.other", {}, { a: [2, 7], b: [3, 2] }), "`N` is 3 by input `b` and 2 by input `a`", "agree");
  refuses(() => sizes("Ffn.other", {}, { a: [2, 7] }), "needs `M`", "--set M=NUMBER");
  refuses(() => sizes("Ffn", { Q: 1 }, { x: [3] }), "no size or value `Q`", "D, H, biased");
  refuses(() => sizes("Ffn", {}, { x: [3], scale: [4] }), "`scale` has 4", "shape");
  refuses(() => sizes("Ffn.other", { M: 1 }, { a: [2, 7, 1] }), "its type has 2 axes", "axes");
});
test.run();
