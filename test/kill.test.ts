import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkpointSteps } from "../runtime/checkpoint.ts";

const test = suite("kill");
const home = fileURLToPath(new URL("..", import.meta.url));
const root = mkdtempSync(join(tmpdir(), "moec-kill-"));
test.after(() => rmSync(root, { recursive: true }));
const text = join(root, "text.txt");
writeFileSync(text, "It was the best of times, it was the worst of times. ".repeat(40));

interface Ended {
  readonly losses: Map<number, number>;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly said: string;
}
const tiny = ["V=128", "D=8", "H=8", "L=1", "Heads=2", "E=3", "Context=32"].flatMap((size) => ["--set", size]);
/** `moec train` of a tiny model by the interpreter; `then` gets the process when step `at` is done. */
async function train(
  folder: string,
  flags: readonly string[] = [],
  at = 0,
  then?: (run: ChildProcess) => void,
): Promise<Ended> {
  const how = [
    "--target",
    "reference",
    "--batch",
    "2",
    "--length",
    "8",
    "--steps",
    "12",
    "--save-every",
    "2",
    "--json",
  ];
  const args = ["--import", "tsx", "cli/main.ts", "train", "examples/gpt-moe.moe", "--data", text, "--out", folder];
  const run = spawn(process.execPath, [...args, ...tiny, ...how, ...flags], {
    cwd: home,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise<[number | null, NodeJS.Signals | null]>((done) => run.on("close", (...how) => done(how)));
  let said = "";
  run.stderr.on("data", (data: Buffer) => (said += data.toString()));
  const losses = new Map<number, number>();
  for await (const line of createInterface(run.stdout)) {
    const { step, loss } = JSON.parse(line) as { step?: number; loss?: number };
    if (step !== undefined && loss !== undefined) losses.set(step, loss);
    if (step === at && loss !== undefined) then?.(run);
  }
  const [code, signal] = await ended;
  return { losses, code, signal, said };
}

test("kill -9, then resumed at once: the same bits as an unbroken run; Ctrl-C saves and says where", async () => {
  const [whole, killed, stopped] = ["whole", "killed", "stopped"].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ];
  const [unbroken, first, saved] = await Promise.all([
    train(whole),
    train(killed, [], 5, (run) => run.kill("SIGKILL")),
    train(stopped, [], 3, (run) => run.kill("SIGINT")),
  ]);
  assert.is(unbroken.code, 0, unbroken.said);
  assert.is(unbroken.losses.size, 12);
  assert.is(first.signal, "SIGKILL");
  const [from = 0] = checkpointSteps(killed);
  assert.ok(from >= 4 && from < 12, `killed at ${from}`);
  const second = await train(killed, ["--resume"]);
  assert.is(second.losses.size, 12 - from, second.said);
  assert.equal(second.losses, new Map([...unbroken.losses].filter(([step]) => step > from)));
  for (const file of ["model.safetensors", "training.safetensors"]) {
    const [one, other] = [whole, killed].map((run) => readFileSync(join(run, "checkpoints", "step-000012", file)));
    assert.equal(one, other);
  }

  assert.is(saved.code, 0, saved.said);
  const [last = 0] = checkpointSteps(stopped);
  assert.ok(last >= 3 && last < 12 && saved.losses.has(last), `stopped at ${last}`);
  assert.match(saved.said, `stopped at step ${last}; saved in ${join(stopped, "checkpoints")}`);
});
test("Ctrl-C before the first step leaves neither a lock nor an empty folder", async () => {
  const folder = join(root, "early", "run");
  const args = ["--import", "tsx", "cli/main.ts", "train", "examples/gpt-moe.moe", "--data", text, "--out", folder];
  const env = { ...process.env, MOEC_CACHE: join(root, "cache") }; // kernels are compiled meanwhile
  const more = [...tiny, "--batch", "2", "--length", "8"];
  const run = spawn(process.execPath, [...args, ...more], { cwd: home, stdio: "ignore", env });
  const ended = new Promise((done) => run.on("exit", done));
  while (!existsSync(join(folder, "lock"))) await new Promise((next) => setTimeout(next, 5));
  run.kill("SIGINT");
  assert.is(await ended, 130);
  assert.not.ok(existsSync(join(root, "early")));
});

test.run();
