import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compilerVersion } from "../../compiler/assets.ts";
import { copies } from "../../compiler/copies.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { loadRun } from "../../runtime/generation/open-run.ts";
import { lcg } from "../../runtime/measure/lcg.ts";
import {
  hasFrozen,
  loadStores,
  newestCheckpoint,
  readCheckpoint,
  requireSameStores,
  savedTensors,
  type TrainingState,
  writeCheckpoint,
} from "../../runtime/storage/checkpoint.ts";
import { checkpointSteps } from "../../runtime/storage/checkpoint-folder.ts";
import { makeFolder } from "../../runtime/storage/files.ts";
import { loadParameters, readParameters } from "../../runtime/storage/parameters.ts";
import { RunLog, readConfig } from "../../runtime/storage/run-folder.ts";
import { readSafetensors } from "../../runtime/storage/safetensors.ts";
import { allInMemory, inMemory, readAll } from "../../runtime/storage/stored-tensor.ts";
import { fromNumbers, part, zeros } from "../../runtime/tensor.ts";
import { assertProblem, problem, rejectedProblem } from "../assert-problem.ts";
import { FakeExecutable } from "../fake-executable.ts";
import { full, withPatchedFs } from "../patch-fs.ts";
import { mutated } from "../random/files.ts";
import { inFull } from "../training-runs.ts";

const test = suite("checkpoint");
const root = mkdtempSync(join(tmpdir(), "moec-checkpoint-"));
test.after(() => rmSync(root, { recursive: true }));
let folders = 0;
const fresh = (): string => join(root, String(folders++));
const stateAt = (step: number): TrainingState => ({
  step,
  sizes: { B: 2, T: 5, fast: true },
  random: { seed: 7, call: step },
  data: { hash: "0".repeat(64), bytes: 1000, position: 3 },
  tokenizer: "bytes",
});
async function saved(run: string, ...steps: readonly number[]): Promise<FakeExecutable> {
  const executable = new FakeExecutable();
  await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
  for (const step of steps) writeCheckpoint(run, stateAt(step), savedTensors(executable));
  return executable;
}
const quiet = (): void => {};

test("a checkpoint gives back all saved stores and its state; copies have their own names in the file", async () => {
  const run = fresh();
  const executable = await saved(run, 400);
  const path = join(run, "checkpoints", "step-000400");
  assert.equal(
    [...readSafetensors(join(path, "model.safetensors")).keys()],
    ["embed.weight", "experts.0.up.weight", "experts.1.up.weight", "gate.bias"],
  );
  assert.equal([...readSafetensors(join(path, "training.safetensors")).keys()], ["adam.m.embed.weight"]);
  const read = readCheckpoint(path);
  assert.equal(read.state, stateAt(400));
  const other = new FakeExecutable();
  loadStores(other, read);
  for (const { name } of other.stores.filter((s) => s.saved)) assert.equal(other.read(name), executable.read(name));
});

const manyExperts = (n: number): FakeExecutable => {
  const store = {
    name: "experts.*.w",
    role: "parameter",
    dtype: "f32",
    shape: [n, 2],
    stack: 1,
    saved: true,
  } as const;
  let value = fromNumbers(
    "f32",
    [n, 2],
    Array.from({ length: 2 * n }, (_, i) => i),
  );
  const own = { stores: [store], read: () => value, write: (_: string, t: Tensor) => (value = t) };
  return Object.assign(new FakeExecutable(), own);
};
test("an array of very many layers is one tensor in a checkpoint and in results, and is read from there or layer by layer", () => {
  assert.is(savedTensors(manyExperts(2 ** 15)).model.size, 2 ** 15);
  assert.equal([...loadParameters(manyExperts(2 ** 15 + 1), { path: "", tensors: new Map() }).keys()], ["experts.w"]);
  const from = manyExperts(2 ** 15 + 1);
  const run = fresh();
  writeCheckpoint(run, stateAt(1), savedTensors(from));
  const read = readCheckpoint(join(run, "checkpoints", "step-000001"));
  assert.equal([...read.model.keys()], ["experts.w"]);
  const expected = from.read("experts.*.w");
  const apart = copies("experts.*.w", [2 ** 15 + 1]).map(([name, index]): [string, Tensor] => [
    name,
    part(expected, index),
  ]);
  for (const model of [read.model, allInMemory(new Map(apart))]) {
    const to = manyExperts(2 ** 15 + 1);
    to.write("experts.*.w", zeros("f32", [2 ** 15 + 1, 2]));
    loadStores(to, { ...read, model });
    assert.equal(to.read("experts.*.w"), expected);
  }
});

test("a store is read once, and not before its turn", async () => {
  const executable = await saved(fresh());
  const reads: string[] = [];
  const { model, training } = savedTensors(
    new Proxy(executable, {
      get: (of, key: keyof FakeExecutable) =>
        key === "read" ? (name: string) => (reads.push(name), of.read(name)) : of[key],
    }),
  );
  assert.equal(reads, []);
  readAll(model);
  assert.equal(reads, ["embed.weight", "experts.*.up.weight", "gate.bias"]);
  readAll(training);
  assert.is(reads.length, 4);
  const last = executable.read("experts.*.up.weight").data[7];
  assert.equal([...(model.get("experts.1.up.weight")?.read([3]).data ?? [])], [last]);
});

test("the last two are kept, and nothing half-written", async () => {
  const run = fresh();
  await saved(run, 100, 200, 300, 300);
  assert.equal(readdirSync(join(run, "checkpoints")).toSorted(), ["step-000200", "step-000300"]);
  assert.equal(checkpointSteps(run), [300, 200]);
  const others = [".step-000400.tmp", "step-000500.old"]; // of a process that was killed, and of a person
  for (const name of others) mkdirSync(join(run, "checkpoints", name));
  assert.is(newestCheckpoint(run, quiet)?.state.step, 300);
  await saved(run, 400);
  assert.equal(checkpointSteps(run), [400, 300]);
});

test("of one that the disk has no room for nothing is left, and those before stay", async () => {
  const run = fresh();
  await saved(run, 100, 200);
  const error = await rejectedProblem(() => withPatchedFs({ fsyncSync: full }, () => saved(run, 300)));
  assert.match(error.message, "the disk is full");
  assert.match(error.help, "free some space, or choose another disk; --resume goes on from step-000200");
  assert.equal(readdirSync(join(run, "checkpoints")).toSorted(), ["step-000100", "step-000200"]);
  const logged = await rejectedProblem(() => withPatchedFs({ appendFileSync: full }, () => new RunLog(run).append({})));
  assert.match(logged.help, "--resume goes on from step-000200");
});
const openFiles = (): number => readdirSync("/proc/self/fd").length;
test("a damaged newest one falls back to the one before, with a warning; its files are closed", async () => {
  const run = fresh();
  await saved(run, 100, 200);
  const file = join(run, "checkpoints", "step-000200", "model.safetensors");
  const whole = readFileSync(file);
  const warnings: string[] = [];
  const bytes = Buffer.from(whole);
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
  for (const damaged of [bytes, whole.subarray(1)]) {
    writeFileSync(file, damaged);
    const open = openFiles();
    const found = newestCheckpoint(run, (line) => warnings.push(line));
    assert.is(found?.state.step, 100);
    found?.close();
    assert.is(openFiles(), open);
  }
  const [other = "", shorter = "", ...more] = warnings;
  assert.match(other, /step-000200.model\.safetensors does not have the content.*step-000100/);
  assert.match(shorter, `has ${whole.length - 1} bytes, and state.json says ${whole.length}`);
  assert.equal(more, []);
  rmSync(join(run, "checkpoints", "step-000100", "state.json"));
  assert.match(problem(() => newestCheckpoint(run, quiet)).message, "step-000100");
});
test("of several damaged ones each is told of, and the newest intact one is taken", async () => {
  const run = fresh();
  const pathOf = (step: number): string => join(run, "checkpoints", `step-000${step}`);
  await saved(run, 100, 200);
  for (const step of [300, 400]) cpSync(pathOf(200), pathOf(step), { recursive: true }); // of which state.json tells another step
  rmSync(join(pathOf(200), "training.safetensors"));
  const warnings: string[] = [];
  const found = newestCheckpoint(run, (line) => warnings.push(line));
  assert.is(found?.state.step, 100);
  found?.close();
  assert.equal(
    warnings.map((line) => /(step-\d+)\/.*; going back to (.*)$/.exec(line)?.slice(1).join()),
    ["step-000400,step-000300", "step-000300,step-000200", "step-000200,step-000100"],
  );
});

const formatOf = (path: string): unknown =>
  (JSON.parse(readFileSync(join(path, "state.json"), "utf8")) as { format: unknown }).format;
const fileOf = (path: string): string => join(path, "frozen.safetensors");
test("what is not trained has a file that the checkpoints of a run share", async () => {
  const run = fresh();
  const executable = new FakeExecutable({ frozen: true });
  await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
  const write = (step: number, like: string | null): string =>
    writeCheckpoint(run, stateAt(step), savedTensors(executable), like);
  const first = write(1, null);
  assert.equal([...readSafetensors(fileOf(first)).keys()], ["base.weight"]);
  assert.not.ok(readSafetensors(join(first, "model.safetensors")).has("base.weight"));
  assert.ok(hasFrozen(executable, first));
  const second = write(2, first);
  assert.is(statSync(fileOf(second)).ino, statSync(fileOf(first)).ino);
  const third = await withPatchedFs({ linkSync: full }, () => write(3, second));
  assert.is.not(statSync(fileOf(third)).ino, statSync(fileOf(second)).ino);
  assert.equal(readFileSync(fileOf(third)), readFileSync(fileOf(second)));
  const loaded = new FakeExecutable({ frozen: true });
  loadStores(loaded, readCheckpoint(third));
  for (const { name } of executable.stores.filter((s) => s.saved))
    assert.equal(loaded.read(name), executable.read(name));

  assert.not.ok(hasFrozen(new FakeExecutable(), third)); // the program has none
  const wider = executable.stores.map((s) => (s.frozen ? { ...s, shape: [6] } : s));
  assert.not.ok(hasFrozen(Object.create(executable, { stores: { value: wider } }) as FakeExecutable, third));
  assert.is(formatOf(third), 2); // which older versions refuse, as they would miss it
  assert.is(formatOf(writeCheckpoint(fresh(), stateAt(1), savedTensors(new FakeExecutable()))), 1);
  truncateSync(fileOf(third), 20);
  assert.not.ok(hasFrozen(executable, third));
  assert.match(problem(() => readCheckpoint(third)).message, "frozen.safetensors has 20 bytes, and state.json says");
  rmSync(fileOf(second));
  assert.not.ok(hasFrozen(executable, second));
  assert.not.ok(hasFrozen(executable, first)); // it was deleted when the third was written
});
test("a checkpoint of another frozen number is not shared", async () => {
  const [base, other] = ["base.scale", "other.scale"].map((frozenNumber) => new FakeExecutable({ frozenNumber })) as [
    FakeExecutable,
    FakeExecutable,
  ];
  await base.run("init", new Map(), { seed: 3, call: 0, step: 0 });
  const path = writeCheckpoint(fresh(), stateAt(1), savedTensors(base));
  assert.ok(hasFrozen(base, path));
  assert.not.ok(hasFrozen(other, path));
});
test("model.safetensors of a checkpoint is read with what was not trained", async () => {
  const run = fresh();
  const [executable, loaded] = [new FakeExecutable({ frozen: true }), new FakeExecutable({ frozen: true })];
  await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
  const path = writeCheckpoint(run, stateAt(1), savedTensors(executable));
  const missing = loadParameters(loaded, readParameters(join(path, "model.safetensors"), quiet));
  assert.equal([...missing.keys()], []);
  assert.equal(loaded.read("base.weight"), executable.read("base.weight"));
  const { tensors } = readParameters(join(path, "training.safetensors"), quiet);
  assert.not.ok(tensors.has("base.weight"));
});
test("a tensor that the program has no store for is told of", async () => {
  const executable = new FakeExecutable();
  await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
  const { model, ...rest } = savedTensors(executable);
  const more = new Map([...model, ["other", inMemory(fromNumbers("f32", [1], [1]))] as const]);
  const path = writeCheckpoint(fresh(), stateAt(1), { ...rest, model: more });
  assert.match(
    problem(() => requireSameStores(executable, readCheckpoint(path))).message,
    "has `other`, and the program",
  );
});
test("a checkpoint that was opened is loaded even if training deletes it; one that was written to is refused", async () => {
  const run = fresh();
  const before = await saved(run, 1);
  const [first, third] = [1, 3].map((step) => join(run, "checkpoints", `step-00000${step}`)) as [string, string];
  const opened = readCheckpoint(first);
  const [later, loaded] = [new FakeExecutable(), new FakeExecutable()];
  await later.run("init", new Map(), { seed: 4, call: 0, step: 0 });
  for (const step of [2, 3]) writeCheckpoint(run, stateAt(step), savedTensors(later));
  assert.equal(checkpointSteps(run), [3, 2]);
  await loadRun(loaded, opened, 0);
  for (const { name } of before.stores.filter((s) => s.saved)) {
    assert.equal(loaded.read(name), before.read(name));
    assert.not.equal(loaded.read(name), later.read(name));
  }
  assert.throws(() => opened.model.get("gate.bias")?.read(), /EBADF/); // it is closed
  const newest = readCheckpoint(third);
  const path = join(third, "training.safetensors");
  writeFileSync(path, readFileSync(path));
  await assertProblem(
    () => loadRun(loaded, newest, 0),
    "training.safetensors was written to",
    "when nothing writes it",
  );
});
test("so are the parameters of another run", async () => {
  const run = fresh();
  const before = await saved(run, 1);
  const given = readParameters(run, quiet);
  await saved(run, 2, 3);
  const loaded = new FakeExecutable();
  loadParameters(loaded, given);
  given.close?.();
  assert.equal(loaded.read("embed.weight"), before.read("embed.weight"));
  assert.throws(() => loadParameters(loaded, given), /EBADF/);
});
test("what is not read is not verified: the model alone loads beside a damaged optimizer state", async () => {
  const run = fresh();
  await saved(run, 100, 200);
  const file = join(run, "checkpoints", "step-000200", "training.safetensors");
  writeFileSync(file, readFileSync(file).subarray(1));
  const model = newestCheckpoint(run, assert.unreachable, "model");
  assert.equal([model?.state.step, model?.training.size], [200, 0]);
  model?.close();
  const warnings: string[] = [];
  const all = newestCheckpoint(run, (line) => warnings.push(line));
  all?.close();
  assert.equal([all?.state.step, warnings.length], [100, 1]);
});
test("a newer format names the version that reads it, and is not passed over", async () => {
  const run = fresh();
  await saved(run, 100);
  await saved(run, 200);
  const file = join(run, "checkpoints", "step-000200", "state.json");
  const { checksum: _, ...state } = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  const newer = { ...state, format: 3, compiler: "9.1.0", added: [1] };
  const { createHash } = await import("node:crypto");
  const checksum = createHash("sha256").update(JSON.stringify(newer)).digest("hex");
  writeFileSync(file, JSON.stringify({ ...newer, checksum }));
  const { message, help } = problem(() => newestCheckpoint(run, quiet));
  assert.match(message, "format 3");
  assert.match(message, compilerVersion);
  assert.match(help, "9.1.0");
});
test("so does the config of a run in a newer format, which all commands read first", () => {
  const run = fresh();
  makeFolder(run);
  writeFileSync(join(run, "config.json"), JSON.stringify({ format: 3, compiler: "9.1.0", added: [1] }));
  const { message, help } = problem(() => readConfig(run));
  assert.match(message, /config\.json is in format 3, written by moec 9\.1\.0; this is moec .* up to 2$/);
  assert.match(help, "install moec 9.1.0 or later");
});

test("a NaN is never saved: the Problem names the parameter and its layer", () => {
  const run = fresh();
  const executable = new FakeExecutable();
  const weights = executable.read("experts.*.up.weight");
  weights.data[4] = Number.NaN;
  executable.write("experts.*.up.weight", weights);
  assert.match(
    problem(() => writeCheckpoint(run, stateAt(1), savedTensors(executable))).message,
    /parameter `experts\.1\.up\.weight` of layer `experts\.1\.up`/,
  );
  assert.equal(readdirSync(join(run, "checkpoints")), []);
});

test("a folder that cannot be made is a Problem, below /proc too", () => {
  const file = join(fresh(), "file");
  makeFolder(join(file, ".."));
  writeFileSync(file, "");
  assert.match(problem(() => makeFolder(join(file, "a", "b"))).message, /a part of the path is a file/);
  if (process.platform === "linux")
    assert.match(problem(() => makeFolder("/proc/a/b")).message, /^cannot make \/proc\/a\/b: /);
});

test("2,000 mutated checkpoints: a Problem or a right read, each within 2 s", async () => {
  const run = fresh();
  await saved(run, 1);
  const good = join(run, "checkpoints", "step-000001");
  const right = inFull(readCheckpoint(good));
  const files = ["state.json", "model.safetensors", "training.safetensors"];
  const contents = files.map((file) => readFileSync(join(good, file)));
  const work = join(fresh(), "step-000001");
  cpSync(good, work, { recursive: true });
  const random = lcg(20261125);
  const r = (below: number): number => Math.floor(below * random());
  let [read, refused] = [0, 0];
  for (let i = 0; i < 2000; i++) {
    const which = r(files.length);
    const bytes = contents[which] ?? Buffer.alloc(0);
    const path = join(work, files[which] ?? "");
    writeFileSync(path, mutated(bytes, r));
    const start = performance.now();
    try {
      // Half of them past the hashes, which catch nearly everything: the parser alone.
      if (which > 0 && i % 2 === 0) readSafetensors(path);
      else assert.equal(inFull(readCheckpoint(work)), { ...right, path: work });
      read++;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      assert.match(error.message, work);
      refused++;
    }
    assert.ok(performance.now() - start < 2000);
    writeFileSync(path, bytes);
  }
  assert.ok(read > 20 && refused > 1000, `${read} read, ${refused} refused`);
});

test("a folder under another step's name is refused", async () => {
  const run = fresh();
  await saved(run, 5);
  renameSync(join(run, "checkpoints", "step-000005"), join(run, "checkpoints", "step-000006"));
  assert.match(problem(() => newestCheckpoint(run, quiet)).message, "step 5");
});
test.run();
