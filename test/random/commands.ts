// Calls the `moec` command in random wrong ways, and kills it at random moments. Exit codes must be documented ones, errors must say what to do, and
// no run may be lost.
import { type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { env, execPath } from "node:process";
import { setTimeout } from "node:timers/promises";
import type { Option } from "commander";
import * as assert from "uvu/assert";
import { commands as allCommands } from "../../cli/commands.ts";
import { readCheckpoint } from "../../runtime/storage/checkpoint.ts";
import { checkpointSteps } from "../../runtime/storage/checkpoint-folder.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { Draw } from "./random-graph.ts";

const root = temporaryFolder();
const main = join(import.meta.dirname, "../../dist/cli/main.js");
const model = join(import.meta.dirname, "../../examples/gpt-moe.moe");
const given = { ...env, MOEC_CACHE: join(root, "cache"), MOEC_DEBUG: "" };
const moec = (cwd: string, args: readonly string[]): SpawnSyncReturns<string> =>
  spawnSync(execPath, [main, ...args], { cwd, env: given, encoding: "utf8", timeout: 60_000, input: "some text" });
const sizes = ["V=128", "D=8", "H=8", "L=1", "Heads=2", "E=3", "Context=32"].flatMap((size) => ["--set", size]);
const small = ["--data", "text.txt", "--batch", "2", "--length", "8", ...sizes];

let made: string | undefined;
/** Makes a folder with all kinds of files that commands read, including a run. */
function place(): string {
  if (made !== undefined) return made;
  made = join(root, "place");
  mkdirSync(join(made, "empty"), { recursive: true });
  cpSync(model, join(made, "gpt.moe"));
  writeFileSync(join(made, "text.txt"), "It was the best of times, it was the worst of times. ".repeat(20));
  writeFileSync(join(made, "ids.txt"), "1 2 3 4 5 ".repeat(80));
  writeFileSync(join(made, "chats.jsonl"), '{"prompt": "the best", "completion": " of times"}\n'.repeat(60));
  writeFileSync(join(made, "none"), "");
  writeFileSync(join(made, "input.json"), '{ "x": [[1, 2], [3, 4]] }');
  writeFileSync(join(made, "fn.moe"), "fn twice(x: float[N, D]) -> float[N, D] { return 2 * x }\n");
  writeFileSync(join(made, "wrong.moe"), "fn twice(x: float[N, D]) -> float[N] { return 2 * }\n");
  const { status, stderr } = moec(made, [
    "train",
    "gpt.moe",
    ...small,
    "--target",
    "reference",
    "--steps",
    "2",
    "--out",
    "run",
  ]);
  assert.is(status, 0, stderr);
  return made;
}
const files = [
  "gpt.moe",
  "fn.moe",
  "wrong.moe",
  "text.txt",
  "ids.txt",
  "chats.jsonl",
  "none",
  "empty",
  "nowhere",
  "run",
  "input.json",
  "run/checkpoints",
  "run/config.json",
  "",
  ".",
  "/dev/null",
  "-",
  "no/where.moe",
  "run/checkpoints/step-000002/model.safetensors",
];
const words = [
  "host",
  "reference",
  "cuda",
  "cuda:sm_90a",
  "f32",
  "bf16",
  "f64",
  "0",
  "1",
  "2",
  "3",
  "-1",
  "1.5",
  "1e3",
  "NaN",
  "99999999999",
  "abc",
  "D=8",
  "D=0",
  "D=-1",
  "E=1",
  "L=2",
  "Heads=3",
  "N=2",
  "Steps=1",
  "D",
  "=",
  "x=1",
  "graph",
  "plan",
  "cpp",
  "ptx",
  "ast",
  "twice",
  "GptMoE",
  "GptMoE.train",
  "forward",
  "simplify",
  "é\u0000x".replace("\u0000", ""),
];
const right: Readonly<Record<string, readonly string[]>> = {
  check: ["gpt.moe"],
  compile: ["gpt.moe", ...sizes, "--batch", "2", "--length", "8", "--target", "reference"],
  run: ["fn.moe", "--input", "input.json", "--target", "reference"],
  train: ["gpt.moe", ...small, "--steps", "3", "--target", "reference", "--out", "run", "--resume"],
  generate: ["run", "--tokens", "2", "--target", "reference"],
  import: ["empty", "--out", "imported"],
  report: ["run"],
  profile: ["fn.moe", "--set", "N=2", "--set", "D=2", "--runs", "1"],
  evaluate: ["run", "--data", "text.txt", "--target", "reference"],
  export: ["run", "--like", "empty", "--out", "exported"],
  chat: ["run", "--target", "reference"],
  merge: ["run", "--out", "merged"],
  fmt: ["gpt.moe"],
  cache: [],
  doctor: [],
};
/** `tune` takes minutes, and `lsp` waits. */
const uncalled = new Set(["tune", "lsp"]);
/** The commands that are called, with their flags. */
const commands: ReadonlyMap<string, readonly Option[]> = new Map(
  allCommands
    .map((make) => make())
    .filter((command) => !uncalled.has(command.name()))
    .map((command) => [command.name(), command.options]),
);
for (const name of commands.keys()) assert.ok(right[name], `add a correct call of ${name} to \`right\``);
/** A correct call with random changes: arguments left out, replaced or inserted, and flags with values of any kind. */
function drawnCall(draw: Draw): string[] {
  const name = draw.of([...commands.keys()]);
  const args = [...(right[name] ?? [])];
  for (let i = draw.below(4); i > 0; i--) {
    const how = draw.below(5);
    const at = draw.below(args.length + 1);
    const { long, required } = draw.of(commands.get(name) ?? []);
    const flag = long ?? "";
    const value = draw.of(draw.chance(0.5) ? files : words);
    if (how === 0) args.splice(at, 1);
    else if (how === 1) args[at] = value;
    else if (how === 2) args.splice(at, 0, value);
    else
      args.push(...(draw.chance(0.1) ? [`${flag}=${value}`] : required && draw.chance(0.9) ? [flag, value] : [flag]));
  }
  return [name, ...args];
}
/** Commands that end with 1 where they report diagnostics. */
const reports = new Set(["check", "fmt"]);
/** Checks `count` random calls. */
export function checkCommands(seed: string, count: number): void {
  const draw = new Draw(seed);
  for (let i = 0; i < count; i++) {
    const [at, args] = [join(root, "tried"), drawnCall(draw)];
    rmSync(at, { recursive: true, force: true });
    cpSync(place(), at, { recursive: true });
    const { status, signal, stdout, stderr } = moec(at, args);
    const how = `moec ${args.map((arg) => JSON.stringify(arg)).join(" ")}: ${status ?? signal}\n${stderr.slice(-1500)}`;
    assert.ok(status === 0 || status === 1 || status === 2, how);
    assert.not.match(`${stdout}${stderr}`, /a defect of moec|^ +at .*:\d+:\d+\)?$/m, how);
    if (status === 1 && !reports.has(args[0] ?? ""))
      assert.match(`${stdout}${stderr}`, /help: |error|^{"message":/m, how);
    if (status === 2) assert.match(stderr, /--help/, how);
    if (args.includes("--json") && status === 0)
      for (const line of stdout.split("\n")) if (line !== "") JSON.parse(line);
    const [newest = 0] = checkpointSteps(join(at, "run"));
    assert.ok(newest >= 2, `${how}: the run is lost`);
    readCheckpoint(join(at, "run/checkpoints", `step-00000${newest}`)); // throws if it is damaged
  }
}
/** Checks that a training that is killed at random moments, and resumed until it ends, has the bits of one that was not killed. */
export async function checkKilled(seed: string): Promise<void> {
  const draw = new Draw(seed);
  const at = place();
  const target = draw.of(["host", "host", "reference"]);
  const steps = target === "host" ? 40 : 6;
  const args = [
    "train",
    "gpt.moe",
    ...small,
    "--target",
    target,
    "--steps",
    String(steps),
    "--accumulate",
    draw.of(["1", "2"]),
    "--precision",
    draw.of(["f32", "bf16"]),
  ];
  for (const out of ["whole", "killed"]) rmSync(join(at, out), { recursive: true, force: true });
  const whole = moec(at, [...args, "--out", "whole"]);
  assert.is(whole.status, 0, whole.stderr);
  for (let tries = 0; ; tries++) {
    assert.ok(tries < 30, "it does not end");
    const resume = existsSync(join(at, "killed/config.json")) ? ["--resume"] : [];
    const every = ["--save-every", draw.of(["1", "1", "2", "5"]), "--evaluate-every", draw.of(["0", "3"])];
    const run = spawn(
      execPath,
      [main, ...args, ...every, ...resume, "--threads", draw.of(["1", "2"]), "--out", "killed"],
      { cwd: at, env: given, stdio: ["ignore", "ignore", "pipe"] },
    );
    let said = "";
    run.stderr.on("data", (data: Buffer) => (said += data.toString()));
    const ended = new Promise<number | null>((done) => run.on("close", done));
    const last = tries >= 8;
    const killed = setTimeout(last ? 60_000 : 100 + draw.below(900), null, { ref: false }).then(() =>
      run.kill("SIGKILL"),
    );
    const code = await Promise.race([ended, killed.then(() => ended)]);
    if (code === 0) break;
    assert.is(code, null, `ended with ${code}: ${said}`);
  }
  for (const file of ["model.safetensors", "training.safetensors"]) {
    const step = `step-${String(steps).padStart(6, "0")}`;
    const [one, other] = ["whole", "killed"].map((out) => readFileSync(join(at, out, "checkpoints", step, file)));
    assert.ok(one && other?.equals(one), `${file} has other bits`);
  }
}
