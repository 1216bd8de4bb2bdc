// `moec merge`: what `merged()` of a model's layers makes of its parameters, and the run that is written of it.
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check, load } from "../../compiler/check/index.ts";
import type { Precision } from "../../compiler/types/dtype.ts";
import { openFolder } from "../../runtime/generation/open-run.ts";
import { readSafetensors, type Tensor, tensor, writeSafetensors } from "../../runtime/index.ts";
import { mergeRun } from "../../runtime/merge.ts";
import { copyProgram, readProgram } from "../../runtime/program.ts";
import { runEntry } from "../../runtime/run.ts";
import { writeCheckpoint } from "../../runtime/storage/checkpoint.ts";
import { type RunConfig, readConfig, writeConfig } from "../../runtime/storage/run-folder.ts";
import { allInMemory } from "../../runtime/storage/stored-tensor.ts";
import { convert } from "../../runtime/tensor.ts";
import { openTokenizer } from "../../runtime/tokenizer/codec.ts";
import { copyTokenizerFiles } from "../../runtime/tokenizer/select-codec.ts";
import { assertProblem, rejectedProblem } from "../assert-problem.ts";
import { near, numbers, output } from "../language/elaborate-text.ts";
import { full, withPatchedFs } from "../patch-fs.ts";
import { assertClose, some } from "../peer-results.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { last } from "../training-runs.ts";

const test = suite("merge");
const peers = join(project, "test/peers");
const stored = readSafetensors(join(peers, "lora.safetensors"));
const config = { model: "Adapted", sizes: { B: 2, T: 3 }, steps: 5, seed: 0, precision: "f32" } as const;

interface Made extends Partial<RunConfig> {
  readonly text?: string;
}
/** The folder of a run with these tensors, of a program of test/peers or, if `text` is given, of that. */
function runOf(tensors: ReadonlyMap<string, Tensor>, { text, ...options }: Made = {}): string {
  const run = temporaryFolder();
  const file = join(temporaryFolder(), "of.moe");
  if (text !== undefined) writeFileSync(file, text);
  copyProgram(readProgram(text === undefined ? join(peers, "lora.moe") : file), run);
  const data = { files: ["book.txt"], bytes: 9, hash: "h" };
  writeConfig(run, { ...config, data, ...options });
  const state = { step: 5, sizes: {}, random: { seed: 0, call: 5 }, data, tokenizer: "bytes" };
  writeCheckpoint(run, state, { model: allInMemory(tensors), training: new Map() });
  return run;
}
const into = { into: join(peers, "lora.moe"), model: "Plain" };
async function merged(folder: string, options: Partial<Parameters<typeof mergeRun>[0]>): Promise<string> {
  const out = join(temporaryFolder(), "out");
  await mergeRun({ folder, out, target: "reference", warn: assert.unreachable, ...options });
  return out;
}
/** Parameters as checkpoints hold them: each copy under its own name. */
const params = (precision: Precision): Map<string, Tensor> =>
  new Map([...some(stored, "param.")].map(([name, t]) => [name, convert(t, precision === "f64" ? "f64" : "f32")]));

const outputOf = async (params: string, precision: Precision): Promise<Tensor | undefined> => {
  const [program, input] = [into.into, join(temporaryFolder(), "x.safetensors")];
  writeSafetensors(input, some(stored, "input."));
  const how = { program, entry: "Plain", params, input, precision, target: "reference" } as const;
  return (await runEntry(how)).get("0");
};
for (const [target, precision, bar] of [
  ["reference", "f64", 1e-12],
  ["host", "f32", 1e-6],
] as const)
  test(`PyTorch merges its adapters into the same, and gives the same with them: ${target}, ${precision}`, async () => {
    const out = await merged(runOf(params(precision), { precision }), { ...into, target });
    const { model } = last(out);
    const plain = some(stored, "plain.");
    assert.equal([...model.keys()].toSorted(), [...plain.keys()].toSorted());
    for (const [name, t] of plain) assertClose(name, model.get(name), t, bar);
    assertClose("output", await outputOf(out, precision), stored.get("output"), 2 * bar);
  });

const drawn = (name: string, rows: number, columns: number): [string, Tensor] => [
  name,
  tensor("f32", [rows, columns], numbers(rows * columns, name.length)),
];
const lora = (path: string, rows: number, columns: number): [string, Tensor][] => [
  drawn(`${path}.weight`, rows, columns),
  drawn(`${path}.a`, rows, 2),
  drawn(`${path}.b`, 2, columns),
];
test("threads change no bit", async () => {
  const [D, H, E] = [48, 64, 8];
  const experts = Array.from({ length: E }, (_, i) => `experts.${i}`).flatMap((path) => [
    ...lora(`${path}.gate`, D, H),
    ...lora(`${path}.up`, D, H),
    ...lora(`${path}.down`, H, D),
  ]);
  const run = runOf(new Map([...experts, ...lora("out", D, D)]), { sizes: { D, H, E, B: 1, T: 1 } });
  const outs: string[] = [];
  for (const threads of [1, 2, 3]) outs.push(await merged(run, { ...into, target: "host", threads }));
  const [one, ...others] = outs.map((out) => last(out).model);
  for (const other of others) assert.equal(other, one);
});

test("the run says what the one with adapters said of texts and data, and nothing of how it was trained", async () => {
  const run = runOf(params("f32"), { ids: true, sizes: { B: 2, T: 3, D: 6, R: 2 }, accumulate: 2, keepBest: true });
  const out = await merged(run, into);
  const { data } = readConfig(run);
  assert.equal(readConfig(out), { ...config, model: "Plain", sizes: { D: 6, B: 2, T: 3 }, ids: true, data });
  assert.is(last(out).state.step, 5);
});

test("the tokenizer and its chat template come along", async () => {
  const codec = await openTokenizer(join(peers, "texts", "words"));
  const run = runOf(params("f32"), codec.config);
  copyTokenizerFiles(codec, run);
  writeFileSync(join(run, "chat_template.jinja"), "{{ messages[0].content }}");
  const { config: own } = await openTokenizer(run);
  writeConfig(run, { ...readConfig(run), ...own });
  const opened = await openFolder({ folder: await merged(run, into) });
  assert.equal(opened.codec.config, own);
  assert.is(opened.codec.documents?.template?.([{ role: "user", content: "Ahab" }], true), "Ahab");
  opened.checkpoint.close();
});

test("bf16 that is declared stays bf16, other parameters and states keep their bits", async () => {
  const text = `layer Low(D) {
      param weight: bf16[D, D] = 1
      param a: f32[D] = 0
      state seen: f32[D] = 0
      merged() { update weight = weight + a[:, new] * a }
    }
    layer Plain(D) { param weight: bf16[D, D] = 1 state seen: f32[D] = 0 }
    model Adapted(D = 2) { low: Low(D) param own: f32[D] = 0 forward(x: f32[D]) -> f32[D] { return x } }
    model Base(D = 2) { low: Plain(D) param own: f32[D] = 0 forward(x: f32[D]) -> f32[D] { return x } }`;
  const tensors = new Map([
    ["low.weight", tensor("bf16", [2, 2], [1, 2, 3, 4])],
    ["low.a", tensor("f32", [2], [1, 0.1])],
    ["low.seen", tensor("f32", [2], [0.1, 0.2])],
    ["own", tensor("f32", [2], [0.3, 0.4])],
    ["train/memory", tensor("f32", [1], [7])],
  ]);
  const file = join(temporaryFolder(), "base.moe");
  writeFileSync(file, text);
  const { model } = last(await merged(runOf(tensors, { text, sizes: { B: 1, T: 1 } }), { into: file, model: "Base" }));
  assert.equal([...model.keys()], ["low.weight", "low.seen", "own"]);
  assert.equal(model.get("low.weight"), tensor("bf16", [2, 2], [2, 2.1, 3.1, 4.01]));
  for (const name of ["low.seen", "own"]) assert.equal(model.get(name), tensors.get(name));
});

const one = (name: string, x: number) => [name, tensor("f32", [], [x])] as const;
test("a parameter that a `merged()` sets may go into one of the layer around it", async () => {
  const text = `layer In() { param w: f32 = 0 param a: f32 = 0 merged() { update w = w + a } }
    layer Out() { param w: f32 = 0 inner: In() merged() { update w = w + inner.w } }
    layer Plain() { param w: f32 = 0 }
    model Adapted() { out: Out() } model Base() { out: Plain() }`;
  const run = runOf(new Map([one("out.w", 1), one("out.inner.w", 2), one("out.inner.a", 4)]), { text });
  const file = join(temporaryFolder(), "base.moe");
  writeFileSync(file, text);
  assert.equal(last(await merged(run, { into: file, model: "Base" })).model, new Map([one("out.w", 7)]));
});

// Each case is a model with a `merged()`, its store and what that becomes. `a` is 2 at first, `w` is 1.
const ranged = "layer L() { param w: f32[2] = 1 param a: f32[2] = 2 merged() { update w = w + a + range(2) } }";
const twice = "layer T() { inner: L()[2] forward(x: f32[2]) -> f32[2] { return x } merged() { } }";
const becomes: readonly [what: string, text: string, store: string, value: number[]][] = [
  ["a model's own", "model M() { param w: f32 = 3 merged() { update w = w * 2 update w = w + 1 } }", "w", [7]],
  ["an array, each by itself", `${ranged} model M() { ls: L()[2] merged() {} }`, "ls.1.w", [3, 4]],
  [
    "a stack, copy by copy",
    `layer R() { param w: f32[2] = f32(range(2)) forward(x: f32) -> f32 { return x } merged() { update w = w + sum(w) } }
      model M() { ls: R()[3] forward(x: f32[3]) -> f32[3] { return ls[:](x) } merged() {} }`,
    "ls.*.w",
    [1, 2, 1, 2, 1, 2],
  ],
  [
    "stacks in a stack",
    `layer R() { param w: f32[2] = f32(range(2)) forward(x: f32) -> f32 { return x } merged() { update w = w + sum(w) } }
      layer Q() { rs: R()[2] forward(x: f32) -> f32 { return sum(rs[:](x * f32(range(2)))) } }
      model M() { qs: Q()[2] forward(x: f32[2]) -> f32[2] { return qs[:](x) } merged() {} }`,
    "qs.*.rs.*.w",
    [1, 2, 1, 2, 1, 2, 1, 2],
  ],
  [
    "what reads no copy, in a stack",
    `layer R() { param w: f32[2] = 1 forward(x: f32) -> f32 { return x } merged() { update w = 5 + f32(range(2)) } }
      model M() { ls: R()[2] forward(x: f32[2]) -> f32[2] { return ls[:](x) } merged() {} }`,
    "ls.*.w",
    [5, 6, 5, 6],
  ],
  [
    "a stack of layers that report something on the way",
    `layer R() { param w: f32 = 1 state n: f32 = 4 forward(x: f32) -> f32 { return x } own() -> f32 { metric m = w update n = n + 1 return n }
      merged() { update w = own() } }
      model M() { ls: R()[2] forward(x: f32[2]) -> f32[2] { return ls[:](x) } merged() {} }`,
    "ls.*.w",
    [5, 5],
  ],
  ["different layers in an array", `${ranged} ${twice} model M() { ls: [L(), L()[2]] merged() {} }`, "ls.2.w", [3, 4]],
  [
    "members before what holds them",
    `${ranged} model M() { l: L() param w: f32[2] = 0 merged() { update w = l.w } }`,
    "w",
    [3, 4],
  ],
  [
    "by an alias, in place of the layer's",
    `${ranged} layer K() = L() { merged() { update w = a } } model M() { l: K() merged() {} }`,
    "l.w",
    [2, 2],
  ],
];
for (const [what, text, store, value] of becomes)
  test(`merged: ${what}`, () => {
    assert.equal(check(load({ name: "test.moe", text })), []);
    near(output(text, { declaration: "M", method: "merged" }, `store ${store}`), value);
  });

const codes = (members: string): string[] => {
  const text = `layer L(D) { param w: f32[D] = 1 state n: f32 = 0 ${members} }`;
  return check(load({ name: "test.moe", text })).map((d) => d.code);
};
test("parameters change in `merged()` alone, which does nothing else and is not called", () => {
  assert.equal(codes("merged() { update w = 2 * w update n = n + 1 }"), []);
  assert.equal(codes("merged() { update w = w[:, new] }"), ["E0206"]);
  assert.equal(codes("merged(by: f32) { update w = by * w }"), ["E0404"]);
  assert.equal(codes("merged() -> f32 { update w = 2 * w return n }"), ["E0404"]);
  assert.equal(codes("merged() { loss z = sum(w) metric m = w state s: f32 = 0 }"), ["E0402", "E0402", "E0402"]);
  assert.equal(codes("merged() { } forward(x: f32[D]) -> f32[D] { merged() return x }"), ["E0307"]);
  assert.equal(codes("merged(x: f32) -> f32 { return x } forward(x: f32) -> f32 { return merged(x) }"), []);
});

/** The path of a file with this model. */
function moe(model: string): string {
  const file = join(temporaryFolder(), "base.moe");
  writeFileSync(file, `import { Linear } from "std/nn"\nmodel ${model}`);
  return file;
}
test("what does not fit is an error, and nothing is written", async () => {
  const run = runOf(params("f32"));
  const refused = (
    message: string,
    help: string,
    options: Partial<Parameters<typeof mergeRun>[0]> = into,
    folder = run,
  ) => assertProblem(() => merged(folder, options), message, help);
  const away = join(temporaryFolder(), "away");
  await refused("did not begin with another run's parameters", "--into MODEL.moe", {});
  await refused(
    `began with the parameters of ${away}, which is no run`,
    "--into MODEL.moe",
    {},
    runOf(params("f32"), { params: away }),
  );
  await refused(`${away} is neither a .moe file nor a run`, "give the folder", { into: away });
  await refused("Adapted has adapters itself", "--into MODEL.moe", { ...into, model: "Adapted" });
  await refused("declares several models", "--model NAME", { into: into.into });
  await refused("Plain has no size or value G", "it has", { ...into, set: { G: 2 } });
  await refused("gives f32[6, 7] for `experts.0.gate.weight`, which is f32[6, 9]", "its shape in Plain", {
    ...into,
    set: { H: 9 },
  });
  await refused("has `experts.2.down.weight`, which Plain lacks", "--set NAME=VALUE", { ...into, set: { E: 2 } });
  await refused("but not `experts.3.gate.weight`", "every copy", { ...into, set: { E: 4 } });
  await refused("Adapted needs `out.bias`", "--set NAME=VALUE", {
    into: moe("Adapted(D = 6) { out: Linear(D, D, true) }"),
  });
  await refused("exists already", "--out", { ...into, out: run });
  await refused(
    "nothing to merge: no layer of Adapted has a method `merged()`",
    "update weight",
    {},
    runOf(new Map(), { text: "model Adapted(D = 6) { param w: f32[D] = 0 }" }),
  );
  const more = new Map([...params("f32"), ["extra", tensor("f32", [1], [1])] as const]);
  await refused(
    "has `extra`, which Plain lacks and no `merged()` reads",
    "let the `merged()` of its layer use it",
    into,
    runOf(more),
  );
  await refused("has no checkpoint", "train", into, withoutCheckpoint());
  assert.not.ok(existsSync(away));
});
function withoutCheckpoint(): string {
  const run = runOf(params("f32"));
  rmSync(join(run, "checkpoints"), { recursive: true });
  return run;
}
test("a run that cannot be written whole leaves nothing", async () => {
  const folder = temporaryFolder();
  const run = runOf(params("f32"));
  const error = await withPatchedFs({ fsyncSync: full }, () =>
    rejectedProblem(() => merged(run, { ...into, out: join(folder, "out") })),
  );
  assert.match(error.message, "the disk is full");
  assert.equal(readdirSync(folder), []);
});
test.run();
