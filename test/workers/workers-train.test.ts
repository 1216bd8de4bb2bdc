// Training by several processes that mpirun starts, beside training by one.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeSafetensors } from "../../runtime/index.ts";
import { bestOf, checkpointSteps } from "../../runtime/storage/checkpoint-folder.ts";
import { numbers } from "../../runtime/tensor.ts";
import { mpirun, skipped } from "../../scripts/mpirun.ts";
import { command, main, workerScript } from "../command.ts";
import { full } from "../full.ts";
import { project } from "../project.ts";
import { last } from "../training-runs.ts";
import { type Given, trained } from "./embedded.ts";
import { second } from "./second.ts";

const test = suite("workers-train");
const root = mkdtempSync(join(tmpdir(), "moec-workers-train-"));
test.after(() => rmSync(root, { recursive: true }));

const launched = { OMPI_COMM_WORLD_SIZE: "2", OMPI_COMM_WORLD_RANK: "0", MOEC_LIBMPI: "/none/libmpi.so" };
test("under mpirun other commands are refused, and training names the MPI that is missing", () => {
  const env = { ...process.env, ...launched };
  const doctor = command(["doctor"], env);
  assert.match(doctor.stderr, "2 processes were started, and `moec doctor` runs in one");
  assert.is(doctor.status, 1);
  assert.is(command(["--version"], env).status, 0);
  const train = command(["train", "examples/gpt-moe.moe", "--data", "README.md"], env);
  assert.match(train.stderr, "MOEC_LIBMPI");
  assert.is(train.status, 1);
  const second = command(["--version"], { ...env, OMPI_COMM_WORLD_RANK: "1" });
  assert.equal([second.status, second.stdout], [0, ""]);
});

const text = join(root, "text.txt");
writeFileSync(text, "It was the best of times, it was the worst of times. ".repeat(20));
/** A file with a model of one block, a mixture. It has the tokens of a tokenizer too, and its learning rate does not depend on the number of steps, so that runs share kernels. */
function mixture(name: string, attention: string): string {
  const path = join(root, name);
  writeFileSync(
    path,
    `import { Embedding, RmsNorm, SwiGlu } from "std/nn"
import { SelfAttention } from "std/models/gpt"
import { MoE } from "std/moe"
import { TopKGate } from "std/gates"
import { cross_entropy } from "std/loss"
import { AdamW } from "std/optim"
layer Block(D, H, E, K) {
  ${attention === "" ? "" : "attention: SelfAttention(D, 2, 8)"}
  norm: RmsNorm(D)
  feed: MoE(D, K, E, TopKGate(D, E, K), SwiGlu(D, H))
  forward(x: float[B, T, D]) -> float[B, T, D] { ${attention} return x + feed(norm(x)) }
}
model Mixture(V = 300, D = 12, H = 8, L = 1, E = 6, K = 2) {
  embed: Embedding(V, D)
  blocks: Block(D, H, E, K)[L]
  norm: RmsNorm(D)
  train(tokens: i32[B, T], targets: i32[B, T]) {
    let x = embed(tokens)
    for block in blocks { x = block(x) }
    loss language = cross_entropy(embed.logits(norm(x)), targets)
    optimize embed with AdamW(lr: 1e-4, decay: 0)
    optimize with AdamW(lr: 1e-4)
  }
}
`,
  );
  return path;
}
const small = ["--batch", "4", "--length", "8", "--accumulate", "2", "--steps", "6", "--threads", "1", "--json"];
const headAlone = `
import { Embedding, Linear, SwiGlu } from "std/nn"
import { cross_entropy } from "std/loss"
import { AdamW } from "std/optim"

model Part(V = 128, D = 12, E = 6) {
  embed: Embedding(V, D)
  gate: Linear(D, E)
  experts: SwiGlu(D, 8)[E]
  head: Linear(D, V)

  train(tokens: i32[B, T], targets: i32[B, T]) {
    let x = embed(tokens)
    let (score, index) = top_k(softmax(gate(x)), 2)
    let y = x + sum(score[..., new] * experts[index](x), axis: -2)
    loss language = cross_entropy(head(y), targets)
    optimize head with AdamW(lr: 1e-3)
  }
}
`;
const launcher = mpirun ?? [];
const byRank = join(project, "test/workers/by-rank.mjs");
interface Ended {
  readonly losses: readonly number[];
  readonly held: readonly number[];
  readonly code: number | null;
  readonly said: string;
}
/** What `moec train --json` prints: a step, or an error. */
interface Line {
  readonly step?: number;
  readonly loss?: number;
  readonly held_out?: number;
  readonly message?: string;
}
/** A process for each of `each`, with those arguments of `moec`; `then` gets the launcher, or the only process, when step `at` is done. */
async function started(
  each: readonly (readonly string[])[],
  at = 0,
  then?: (run: ChildProcess) => void,
): Promise<Ended> {
  const several = [...launcher, "-n", String(each.length), process.execPath, byRank, main, JSON.stringify(each)];
  const [file = "", ...args] = each.length === 1 ? [process.execPath, main, ...(each[0] ?? [])] : several;
  const run = spawn(file, args, { cwd: project, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<number | null>((done) => run.on("close", done));
  let said = "";
  run.stderr.on("data", (data: Buffer) => (said += data.toString()));
  const [losses, held]: [number[], number[]] = [[], []];
  for await (const line of createInterface(run.stdout)) {
    const { step, loss, held_out, message } = JSON.parse(line) as Line;
    if (message !== undefined) said += `error: ${message}\n`;
    if (loss !== undefined) losses.push(loss);
    if (held_out !== undefined) held.push(held_out);
    if (step === at && loss !== undefined) then?.(run);
  }
  return { losses, held, code: await ended, said };
}
type Trainer = (
  folder: string,
  each: readonly (readonly string[])[],
  ...then: [number?, ((run: ChildProcess) => void)?]
) => Promise<Ended>;
/** `moec train` by as many workers as lists of flags. */
const trainerOf =
  (program: string): Trainer =>
  (folder, each, ...then) =>
    started(
      each.map((flags) => ["train", program, "--data", text, "--out", folder, ...small, ...flags]),
      ...then,
    );
const train = trainerOf(mixture("mixture.moe", ""));
const trainAttending = trainerOf(mixture("attending.moe", "let at: i32[B, T] = range(T) x = x + attention(x, at)"));
const workers = (n: number, ...flags: readonly string[]): (readonly string[])[] =>
  Array.from({ length: n }, () => flags);
const folder = (name: string): string => join(root, name);
const frozenIn = (run: string, step: number): string =>
  join(folder(run), `checkpoints/step-00000${step}/frozen.safetensors`);
type Run = readonly [folder: string, workers: number, ...flags: string[]];
/** Runs of which each but the first of a chain goes on with the one before; chains at once. */
async function trainChains(chains: readonly (readonly Run[])[], by: Trainer = train): Promise<void> {
  const inTurn = async (runs: readonly Run[]): Promise<void> => {
    for (const [name, n, ...flags] of runs) {
      const { code, said } = await by(folder(name), workers(n, ...flags));
      assert.is(code, 0, said);
    }
  };
  await Promise.all(chains.map(inTurn));
}

/** To so much of the largest number. */
function requireNear(name: string, of: ArrayLike<number>, as: ArrayLike<number>, bound: number): void {
  const most = bound * Math.max(0, ...Array.from(as, Math.abs));
  const far = Array.from(as).findIndex((x, i) => !(Math.abs(x - (of[i] ?? Number.NaN)) <= most));
  assert.ok(
    of.length === as.length && far < 0,
    `${name}, ${of.length} for ${as.length}: [${far}] is ${of[far]}, not ${as[far]}`,
  );
}
function requireSameRun(one: string, other: string): void {
  const [a, b] = [last(folder(one)), last(folder(other))];
  assert.equal(b.state, a.state);
  for (const part of ["model", "training"] as const) {
    assert.equal([...b[part].keys()], [...a[part].keys()]);
    for (const [name, t] of a[part]) requireNear(name, numbers(b[part].get(name) ?? t), numbers(t), 1e-4);
  }
}
function requireSameLosses(of: Ended, as: Ended): void {
  assert.is(of.code, 0, of.said);
  for (const part of ["losses", "held"] as const) {
    assert.is(of[part].length, as[part].length, of.said);
    requireNear(part, of[part], as[part], 1e-5);
  }
}
const inTheWay = (): void => writeFileSync(join(folder("full"), "checkpoints"), "no folder");
const bits = (name: string, step = 6): Buffer[] =>
  ["model", "training"].map((part) =>
    readFileSync(join(folder(name), "checkpoints", `step-00000${step}`, `${part}.safetensors`)),
  );

if (!mpirun) skipped("training by several processes");
else {
  const often = ["--evaluate-every", "3"];
  let alone: Promise<Ended> | null = null;
  /** What one worker trains, in the folder "one". */
  const one = (): Promise<Ended> => (alone ??= train(folder("one"), workers(1, ...often)));
  test("two workers train what one does, to rounding", async () => {
    requireSameLosses(await train(folder("two"), workers(2, ...often)), await one());
    requireSameRun("one", "two");
  });
  test("four workers in two groups train what one does; whoever goes on, in other groups or in another run, and again with the same bits", async () => {
    requireSameLosses(await train(folder("grouped"), workers(4, ...often)), await one());
    requireSameRun("one", "grouped");
    await trainChains([
      [
        ["again", 4, "--steps", "3", "--expert-parallel", "2", "--evaluate-every", "1", "--keep-best"],
        ["regrouped", 4, "--from", folder("again"), "--expert-parallel", "1", "--shard-optimizer"],
        ["again", 4, "--resume"],
      ],
    ]);
    requireSameRun("one", "regrouped");
    assert.equal(bits("again"), bits("grouped"));
    const { state } = last(folder("again"));
    assert.is(last(bestOf(folder("again"))).state.step, state.best?.step);
  });
  test("workers that have parts of the optimizer's state train what one does, and as a run that goes on from another's the same bits; another number of them goes on", async () => {
    const sharded = "--shard-optimizer";
    requireSameLosses(await train(folder("parts"), workers(2, ...often, sharded)), await one());
    requireSameRun("one", "parts");
    await trainChains([
      [
        ["parts begun", 2, sharded, "--steps", "3"],
        ["parts again", 2, sharded, "--from", folder("parts begun"), "--threads", "2"],
        ["mixed", 1, "--from", folder("parts begun"), "--steps", "4"],
        ["mixed", 2, "--steps", "6", "--resume", sharded],
      ],
    ]);
    assert.equal(bits("parts again"), bits("parts"));
    requireSameRun("one", "mixed");
  });
  test("workers that divide the parameters train what one does, and in two parts, with other threads, the same bits; another number of them goes on", async () => {
    const divided = ["--shard-parameters"];
    requireSameLosses(await train(folder("divided"), workers(2, ...often, ...divided)), await one());
    requireSameRun("one", "divided");
    await trainChains([
      [
        ["divided again", 2, ...divided, "--steps", "3", "--threads", "2"],
        ["undivided", 1, "--from", folder("divided again"), "--steps", "4"],
        ["undivided", 4, ...divided, "--resume", "--steps", "6"],
        ["divided again", 2, ...divided, "--resume"],
      ],
    ]);
    requireSameRun("one", "undivided");
    assert.equal(bits("divided again"), bits("divided"));
  });
  test("workers that shadow experts train what one does, and again, in two parts, the same bits; another number of workers goes on without", async () => {
    const two = ["--shadow", "2"];
    requireSameLosses(await train(folder("shadowed"), workers(2, ...often, ...two)), await one());
    requireSameRun("one", "shadowed");
    await trainChains([
      [
        ["shadowed again", 2, ...two, "--steps", "3", "--threads", "2"],
        ["less shadowed", 1, "--from", folder("shadowed again")],
        ["shadowed again", 2, ...two, "--resume"],
      ],
    ]);
    requireSameRun("one", "less shadowed");
    assert.equal(bits("shadowed again"), bits("shadowed"));
  });
  test("each of two workers copies the layers of a dense model into the experts that it has", async () => {
    await one();
    const dense = join(root, "dense.safetensors");
    const layers = [...last(folder("one")).model].filter(([name]) => !/feed\.gate|experts\.[1-9]/.test(name));
    writeSafetensors(dense, new Map(layers.map(([name, t]) => [name.replace("experts.0.", ""), t])));
    const flags = ["--params", dense, "--upcycle"];
    requireSameLosses(
      await train(folder("copied by two"), workers(2, ...flags)),
      await train(folder("copied"), workers(1, ...flags)),
    );
    requireSameRun("copied", "copied by two");
  });
  test("workers that share matrices train what one does; others go on, in other groups or alone", async () => {
    const shared = ["--tensor-parallel", "2"];
    const alone = await trainAttending(folder("attending"), workers(1, ...often));
    requireSameLosses(await trainAttending(folder("tensors"), workers(2, ...often, ...shared)), alone);
    requireSameRun("attending", "tensors");
    const chain: readonly Run[] = [
      ["mesh", 4, ...shared, "--expert-parallel", "2", "--shard-optimizer", "--steps", "2"],
      ["mesh", 2, ...shared, "--steps", "4", "--resume"],
      ["mesh", 1, "--resume"],
    ];
    await trainChains([chain], trainAttending);
    requireSameRun("attending", "mesh");
  });
  test("workers that share tokens train what one does; others go on, in other groups or alone", async () => {
    const shared = ["--context-parallel", "2"];
    const alone = await trainAttending(folder("whole sequences"), workers(1, ...often));
    requireSameLosses(await trainAttending(folder("tokens shared"), workers(2, ...often, ...shared)), alone);
    requireSameRun("whole sequences", "tokens shared");
    const chain: readonly Run[] = [
      ["groups", 4, ...shared, "--shard-optimizer", "--steps", "2"],
      ["groups", 2, ...shared, "--shard-parameters", "--steps", "4", "--resume"],
      ["groups", 1, "--resume"],
    ];
    await trainChains([chain], trainAttending);
    requireSameRun("whole sequences", "groups");
  });
  test("what is not trained, which workers share, is written once, and read again where they go on", async () => {
    const part = join(root, "part.moe");
    writeFileSync(part, headAlone);
    const run = async (n: number, steps: string, ...more: readonly string[]): Promise<Ended> => {
      const sizes = ["--batch", "4", "--length", "8", "--threads", "1", "--steps", steps, "--json"];
      const flags = ["train", part, "--data", text, "--out", folder(`part of ${n}`), "--save-every", "1", ...sizes];
      return started(workers(n, ...flags, ...more));
    };
    requireSameLosses(await run(2, "3"), await run(1, "3"));
    requireSameRun("part of 1", "part of 2");
    const more = await run(2, "5", "--resume");
    assert.is(more.code, 0, more.said);
    assert.is(statSync(frozenIn("part of 2", 5)).ino, statSync(frozenIn("part of 2", 4)).ino);
    assert.equal(readFileSync(frozenIn("part of 2", 5)), readFileSync(frozenIn("part of 1", 3)));
  });
  test("two workers train on a tokenizer's tokens what one does", async () => {
    const flags = ["--tokenizer", join(project, "test", "peers", "texts", "gpt2"), "--steps", "2"];
    const alone = await train(folder("tokens"), workers(1, ...flags));
    requireSameLosses(await train(folder("tokens of two"), workers(2, ...flags)), alone);
  });
  test("where a row goes once to each owner of its choices' experts: what one trains, and with other threads the same bits", async () => {
    const wide = ["D=320", "E=12", "K=8"].flatMap((size) => ["--set", size]);
    const flags = [...wide, "--batch", "12", "--length", "32", "--accumulate", "1", "--steps", "2"];
    const alone = await train(folder("shared"), workers(1, ...flags));
    for (const [n, ...more] of [
      [2],
      [2, "--threads", "2"],
      [3, "--room", "1.5"],
      ...(full ? [[4, "--expert-parallel", "2"] as const] : []),
    ] as const) {
      const name = `shared by ${n} ${more.join(" ")}`;
      requireSameLosses(await train(folder(name), workers(n, ...flags, ...more)), alone);
      requireSameRun("shared", name);
    }
    assert.equal(bits("shared by 2 --threads 2", 2), bits("shared by 2 ", 2));
  });
  test("`train` in TypeScript, by three workers that share no experts; other batches on one are refused", async () => {
    const args = [...launcher, "-n", "3", process.execPath, workerScript("embedded")];
    const [file = "", ...more] = args;
    const { stdout, stderr } = spawnSync(file, more, { cwd: project, encoding: "utf8" });
    const { losses, state, apart } = JSON.parse(stdout || JSON.stringify(stderr)) as Given & { readonly apart: string };
    const alone = await trained();
    requireNear("losses", losses, alone.losses, 1e-5);
    assert.equal(Object.keys(state), Object.keys(alone.state));
    for (const [name, all] of Object.entries(alone.state)) requireNear(name, state[name] ?? [], all, 1e-4);
    assert.match(apart, "worker 1 has other inputs of train than worker 0");
  });
  test("`train` in TypeScript names the size or the seed that another worker has", () => {
    const says: [by: string, RegExp][] = [
      ["sizes", /worker 1 has another size D than worker 0: 8, not 4/],
      ["seed", /worker 1 has another seed than worker 0: 1, not 0/],
      ["sizes of tensors", /worker 1 has another size N than worker 0: 9, not 6/],
    ];
    for (const [by, message] of says) {
      const args = ["-n", "2", process.execPath, workerScript("embedded"), by];
      const [file = "", ...more] = [...launcher, ...args];
      const { stdout, stderr } = spawnSync(file, more, { cwd: project, encoding: "utf8" });
      assert.match((JSON.parse(stdout || JSON.stringify({ apart: stderr })) as { apart: string }).apart, message);
    }
  });
  test("an error that a user's TypeScript does not catch is told of before it ends all", () => {
    const [file, ...more] = [...launcher, "-n", "2", process.execPath, workerScript("embedded"), "uncaught"];
    const { status, stderr } = spawnSync(file, more, { cwd: project, encoding: "utf8" });
    assert.is.not(status, 0);
    assert.match(stderr, /^TypeError: worker 1 has no batches\n +at /m);
  });
  test("a signal to any worker: all end, and the run is saved", async () => {
    const endless = workers(2, "--steps", "1000000", "--save-every", "0");
    const { code, said, losses } = await train(folder("stopped"), endless, 3, () =>
      process.kill(second(folder("stopped")), "SIGTERM"),
    );
    assert.is(code, 0, said);
    const [last = 0] = checkpointSteps(folder("stopped"));
    assert.match(said, `stopped at step ${last}; saved in`);
    assert.is(losses.length, last);
  });
  test("what is wrong on one worker, or on all, is said once, and all end", async () => {
    const wrong: [string, (readonly string[])[], RegExp][] = [
      [
        "seeds",
        [
          ["--seed", "1"],
          ["--seed", "2"],
        ],
        /worker 1 has another --seed than worker 0: 2, not 1/,
      ],
      ["room", [["--room", "1.5"], []], /worker 1 has another `--room` .* than worker 0: none, not 1.5/],
      ["again", [["--recompute"], []], /worker 1 has another `--recompute` .* than worker 0: false, not true/],
      [
        "parts",
        [["--shard-optimizer"], []],
        /worker 1 has another `--shard-optimizer` .* than worker 0: false, not true/,
      ],
      [
        "divided parts",
        [["--shard-parameters"], []],
        /worker 1 has another `--shard-parameters` .* than worker 0: false, not true/,
      ],
      ["batch", workers(2, "--batch", "7"), /--batch 7 cannot be dealt to 2 workers/],
      ["params", [[], ["--params", "none.safetensors"]], /none.safetensors/],
      ["from", workers(2, "--from", folder("two")), /two is at step 6, and 6 in all were asked for/],
      ["flag", [[], ["--nothing"]], /worker 1 of 2:\s+error: unknown option '--nothing'/],
      ["full", workers(2, "--steps", "1000000", "--save-every", "500"), /checkpoints/],
    ];
    // at once, since most of the time passes between an error and mpirun's end
    const all = await Promise.all(wrong.map(([name, each]) => train(folder(name), each, 3, inTheWay)));
    for (const [i, [, , message]] of wrong.entries()) {
      const { code = 0, said = "" } = all[i] ?? {};
      assert.ok(code !== 0, said);
      assert.match(said, message);
      assert.is(said.match(/error:/g)?.length, 1, said);
    }
  });
}

test.run();
