import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cores } from "../../runtime/machine.ts";
import { checkpointSteps } from "../../runtime/storage/checkpoint-folder.ts";
import { command, main } from "../command.ts";
import { project } from "../project.ts";

const test = suite("kill");
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
/** `moec train` of a tiny model by the interpreter; `then` gets the process when step `at` is done. `through`: a command that becomes it. */
async function train(
  folder: string,
  flags: readonly string[] = [],
  at = 0,
  then?: (run: ChildProcess) => void,
  through: readonly string[] = ["env", "_=node"],
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
  const args = [main, "train", "examples/gpt-moe.moe", "--data", text, "--out", folder];
  const [first = "env", ...rest] = [...through, process.execPath, ...args, ...tiny, ...how, ...flags];
  const run = spawn(first, rest, {
    cwd: project,
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
    if (run.stdout.destroyed) break;
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
test("a terminal that is closed, and a reader that goes away: the run is saved", async () => {
  const [hung, unread] = ["hung", "unread"].map((name) => join(root, name)) as [string, string];
  const [closed, left] = await Promise.all([
    train(hung, [], 3, (run) => {
      run.stderr?.destroy();
      run.kill("SIGHUP");
    }),
    train(unread, ["--steps", "1000", "--save-every", "0"], 3, (run) => run.stdout?.destroy()),
  ]);
  for (const [folder, { code }] of [
    [hung, closed],
    [unread, left],
  ] as const) {
    assert.is(code, 0);
    const [last = 0] = checkpointSteps(folder);
    assert.ok(last >= 3, `saved at ${last}`);
  }
});
test("under nohup a terminal that is closed stops nothing", async () => {
  const named = ["env", "_=/usr/bin/nohup"];
  // as GNU's nohup leaves standard input in place of a terminal
  const unreadable = ["sh", "-c", 'exec "$@" 0>/dev/null', "sh", "env", "_=node"];
  const ways = existsSync("/proc/self/fdinfo") ? [named, unreadable] : [named];
  const runs = ways.map((through, i) => train(join(root, `nohup${i}`), [], 3, (run) => run.kill("SIGHUP"), through));
  for (const { code, losses, said } of await Promise.all(runs)) assert.equal([code, losses.size], [0, 12], said);
});
test("ended while kernels are compiled, it leaves no lock, folder, compiler or temporary files", async () => {
  const folder = join(root, "early", "run");
  const temporary = join(root, "temporary");
  mkdirSync(temporary);
  const args = [main, "train", "examples/gpt-moe.moe", "--data", text, "--out", folder];
  const env = { ...process.env, MOEC_CACHE: join(root, "cache"), TMPDIR: temporary };
  const more = [...tiny, "--batch", "2", "--length", "8"];
  const run = spawn(process.execPath, [...args, ...more], { cwd: project, stdio: ["ignore", "ignore", "pipe"], env });
  const ended = new Promise((done) => run.on("exit", done));
  for await (const line of createInterface(run.stderr)) if (line.startsWith("compiling")) run.kill("SIGTERM");
  assert.is(await ended, 143);
  assert.not.ok(existsSync(join(root, "early")));
  assert.equal(
    readdirSync(temporary).filter((name) => name.startsWith("moec-")),
    [],
  );
  assert.equal(
    commands().filter((command) => command.includes(temporary)),
    [],
  );
});
if (cores() > 1)
  test("compilers that were begun for a plan that is refused are ended", () => {
    const [compiler, log] = [join(root, "compiler"), join(root, "compiler.log")];
    const lines = [
      "#!/bin/sh",
      'case "$*" in *-dM*) exec c++ "$@" ;; esac',
      `trap 'echo ended >>"${log}"; exit 1' TERM`,
      `echo begun >>"${log}"`,
      "sleep 120 &",
      `wait $! && echo waited for >>"${log}"`,
    ];
    writeFileSync(compiler, `${lines.join("\n")}\n`, { mode: 0o700 });
    const args = ["compile", "examples/gpt-moe.moe", "--batch", "1000000"];
    const env = { ...process.env, CXX: compiler, MOEC_CACHE: join(root, "empty") };
    const { status, stderr } = command(args, env);
    assert.match(stderr, "error: the plan needs");
    assert.is(status, 1);
    const said = readFileSync(log, "utf8").split("\n");
    assert.ok(said.includes("begun"));
    assert.not.ok(said.includes("waited for"));
  });
/** Of all processes, where the system shows them so. */
function commands(): string[] {
  const numbers = existsSync("/proc/self") ? readdirSync("/proc").filter((name) => /^\d+$/.test(name)) : [];
  return numbers.flatMap((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8");
    } catch {
      return []; // it has ended
    }
  });
}

test.run();
