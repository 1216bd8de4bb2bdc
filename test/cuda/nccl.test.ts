// Several workers with a GPU each: which GPU, what NCCL moves, what they make of variants, and that they train what one process does. The
// emulator stands in for the driver, NVRTC and NCCL.
import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { localDevice } from "../../runtime/cuda/local-device.ts";
import { generate } from "../../runtime/generation/generate.ts";
import { type Transport, Workers } from "../../runtime/workers/workers.ts";
import { lossesOf } from "../../scripts/losses-of.ts";
import { mpirun, skipped } from "../../scripts/mpirun.ts";
import { main, workerScript } from "../command.ts";
import { build, libraryEnvironment } from "../emulator/build.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("nccl");
const here = temporaryFolder();

/** Worker `rank` of as many as there are lists, each of the GPUs that one of them sees; all on this machine, but those of `elsewhere`. */
function seeing(rank: number, lists: readonly (readonly string[])[], elsewhere: readonly number[] = []): () => number {
  const own = lists[rank] ?? [];
  const wire: Transport = {
    rank,
    size: lists.length,
    // the others say the same as this one, but for their lists and machines
    allGather: (said) => {
      const text = Buffer.from(said).toString("latin1");
      const as = (other: number): string => {
        if (/^[0-9a-f,]*$/.test(text.replace(/\0+$/, "")) && text.length > 24)
          return (lists[other] ?? []).join().padEnd(text.length, "\0");
        return elsewhere.includes(other) && text.includes("\n") ? `?${text.slice(1)}` : text;
      };
      return new Uint8Array(Buffer.from(lists.map((_, w) => as(w)).join(""), "latin1"));
    },
    abort: () => {},
    finalize: () => {},
  };
  const devices = own.map((uuid) => ({ name: "", uuid, major: 9, minor: 0, multiprocessors: 1, bytes: 1 }));
  return () => localDevice(new Workers(wire), () => devices);
}
const gpu = (n: number): string => String(n).padStart(32, "0");
test("each worker of a machine has a GPU of its own, also where a launcher shows it no other; too few are a Problem", () => {
  const all = [gpu(0), gpu(1)];
  assert.equal([seeing(0, [all, all])(), seeing(1, [all, all])()], [0, 1]);
  assert.equal([seeing(0, [[gpu(0)], [gpu(1)]])(), seeing(1, [[gpu(0)], [gpu(1)]])()], [0, 0]);
  assert.is(seeing(2, [all, all, all], [0, 1])(), 0);
  try {
    seeing(0, [[gpu(0)], [gpu(0)]])();
    assert.unreachable();
  } catch (error) {
    assert.instance(error, Problem);
    assert.is((error as Problem).message, "2 workers of this machine have 1 GPU: each needs one of its own");
    assert.match((error as Problem).help, "`mpirun -n 1`");
  }
});

const libraries = await build();
const cache = temporaryFolder();
const emulated = { ...process.env, ...libraryEnvironment(libraries), MOEC_EMULATOR: "devices=2", MOEC_CACHE: cache };
/** Processes of node. */
function several(n: number, env: NodeJS.ProcessEnv, ...args: readonly string[]) {
  const [command = "", ...before] = [...(mpirun ?? []), "-n", String(n), process.execPath, ...args];
  return spawnSync(command, before, { encoding: "utf8", env, timeout: 240_000, cwd: project });
}
function agrees(n: number, env: NodeJS.ProcessEnv, ...args: readonly string[]): void {
  const { status, stdout, stderr } = several(n, env, ...args);
  assert.is(status, 0, `${stdout}${stderr}`);
  assert.is(stdout.match(/agrees/g)?.length, n);
}
if (!mpirun) skipped("what GPUs do together");
else {
  for (const n of [2, 4])
    test(`what ${n} GPUs do together, all of them and by pairs, in graphs and step by step`, () => {
      agrees(n, { ...emulated, MOEC_EMULATOR: `check lazy devices=${n}` }, workerScript("gpus"));
    });
  for (const how of ["check lazy", "check ahead"])
    test(`sums beside products, each stream as late or as early as it may: ${how}`, () => {
      agrees(2, { ...emulated, MOEC_EMULATOR: `${how} devices=2` }, workerScript("beside"));
    });
  test("sums that are awaited too late show where the second stream comes late", () => {
    agrees(2, { ...emulated, MOEC_EMULATOR: "lazy devices=2" }, workerScript("beside"), "planted");
  });
  test("a variant that one worker has no use for none uses, and one that agrees for one agrees for all", () => {
    const fake = join(here, "libcuda.so");
    execFileSync("g++", ["-std=gnu++17", "-shared", "-fPIC", join(project, "test/cuda/libcuda.cpp"), "-o", fake]);
    const env = { ...process.env, MOEC_LIBCUDA: fake, MOEC_LIBNCCL: fake };
    agrees(2, env, workerScript("variants"), join(here, "calls"));
  });
}

// of such numbers that its losses show what experts give, and what a step changes
const program = join(here, "mixture.moe");
writeFileSync(
  program,
  `import { normal } from "std/init"
import { Embedding, SwiGlu } from "std/nn"
import { cross_entropy } from "std/loss"
import { Sgd } from "std/optim"
import { sample } from "std/sample"
model Mixture(V = 128, D = 8, Steps = 3) {
  embed: Embedding(V, D)
  param gate: f32[D, 4] = normal()
  experts: SwiGlu(D, 8)[4]
  train(tokens: i32[B, T], targets: i32[B, T]) {
    let x = embed(tokens) * 50
    let (score, index) = top_k(softmax(x @ gate), 2)
    loss language = cross_entropy(embed.logits(x + sum(score[..., new] * experts[index](x) * 10000, axis: -2)), targets)
    optimize with Sgd(lr: 0.01)
  }
  generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B]) -> i32[B] {
    state newest: i32[B] = 0
    update newest = newest + tokens[:, 0]
    let x = embed(newest % V) * 50
    let (score, index) = top_k(softmax(x @ gate), 2)
    return sample(embed.logits(x + sum(score[..., new] * experts[index](x) * 10000, axis: -2)), temperature)
  }
}
`,
);
const data = join(here, "data.txt");
writeFileSync(data, "It is a way I have of driving off the spleen, and regulating the circulation. ".repeat(20));
const dense = join(here, "dense.moe");
writeFileSync(
  dense,
  `import { Attention } from "std/attention"
import { Embedding, Linear, SwiGlu } from "std/nn"
import { cross_entropy } from "std/loss"
import { Sgd } from "std/optim"
model Dense(V = 128, D = 8, Steps = 3) {
  embed: Embedding(V, D)
  attention: Attention(D, 2)
  feed: SwiGlu(D, 6)
  head: Linear(D, V)
  train(tokens: i32[B, T], targets: i32[B, T]) {
    let at: i32[B, T] = range(T)
    let x = embed(tokens) * 50
    x = x + 1000 * attention(x, at)
    loss language = cross_entropy(head(x + 1000 * feed(x)) * 20, targets)
    optimize with Sgd(lr: 0.01)
  }
}
`,
);
const flags = ["--data", data, "--steps", "3", "--length", "9", "--target", "cuda"];
const training = (of: string, batch: number, out: string): string[] => {
  const shares = of === dense ? "--tensor-parallel" : "--expert-parallel";
  return [main, "train", of, ...flags, "--batch", String(batch), shares, "2", "--out", out];
};
if (!mpirun) skipped("training on two GPUs");
else {
  test("GPUs that share the experts or the matrices, two or two pairs of them, train to the losses of one process, with graphs and without", async () => {
    for (const [of, n, graphs, words] of [
      [program, 2, "1", "devices=2"],
      [program, 4, "0", "devices=4 lazy"],
      [dense, 2, "1", "devices=2"],
    ] as const) {
      const expected = await lossesOf({
        program: of,
        data: [data],
        target: "reference",
        steps: 3,
        batch: n,
        length: 9,
      });
      const env = { ...emulated, MOEC_CUDA_GRAPHS: graphs, MOEC_EMULATOR: words };
      const out = join(here, of === program ? `run-${n}-${graphs}` : "run-dense");
      const { status, stdout, stderr } = several(n, env, ...training(of, n, out), "--json");
      assert.is(status, 0, stderr);
      const found = stdout
        .trim()
        .split("\n")
        .flatMap((line) => (JSON.parse(line) as { loss?: number }).loss ?? []);
      assert.is(found.length, 3, stdout);
      for (const [i, x] of found.entries())
        assert.ok(
          Math.abs(x / (expected[i] ?? Number.NaN) - 1) < 1e-5,
          `loss ${i} is ${x}, and ${expected[i]} in the interpreter`,
        );
    }
  });
  test("GPUs generate together what the interpreter does: one sequence, whose rows all have, in 8 bits too, and two, one for each", async () => {
    const folder = join(here, "run-2-1");
    const words = ["It", "is"];
    for (const [prompts, weights] of [[words.slice(0, 1)], [words], [words.slice(0, 1), "int8"]] as const) {
      const expected: [string, string][] = prompts.map((prompt) => [prompt, ""]);
      for await (const { prompt, text } of generate({ folder, prompts, tokens: 6, target: "reference", weights })) {
        const own = expected[prompt];
        if (own) own[1] += text;
      }
      const asked = prompts.flatMap((prompt) => ["--prompt", prompt]);
      const kept = weights ? ["--weights", weights] : [];
      const args = [main, "generate", folder, ...asked, ...kept, "--tokens", "6", "--target", "cuda", "--json"];
      const { status, stdout, stderr } = several(2, emulated, ...args);
      assert.is(status, 0, stderr);
      const found = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { prompt: string; text: string });
      assert.equal(
        found.map(({ prompt, text }) => [prompt, text]),
        expected,
      );
    }
  });
  test("too few GPUs, or no NCCL, are said once, and nobody is left", () => {
    for (const [more, message] of [
      [{ MOEC_EMULATOR: "" }, "2 workers of this machine have 1 GPU: each needs one of its own"],
      [{ MOEC_LIBNCCL: "/none/libnccl.so.2" }, "NCCL was not found"],
    ] as const) {
      const { status, stderr } = several(2, { ...emulated, ...more }, ...training(program, 2, join(here, "none")));
      assert.is.not(status, 0);
      assert.match(stderr, message);
      assert.is(stderr.match(/error:/g)?.length, 1, stderr);
    }
  });
}
test.run();
