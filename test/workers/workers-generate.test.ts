// What several processes that mpirun starts generate, and run once, beside what one does.
import { execFile, spawn, spawnSync } from "node:child_process";
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { readSafetensors } from "../../runtime/storage/safetensors.ts";
import { numbers } from "../../runtime/tensor.ts";
import { mpirun, skipped } from "../../scripts/mpirun.ts";
import { command, main, workerScript } from "../command.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { asked } from "./asked.ts";
import { second } from "./second.ts";

const test = suite("workers-generate");
const root = temporaryFolder();
const launcher = mpirun ?? [];
const byRank = join(project, "test/workers/by-rank.mjs");

/** A model of six experts that has learned a little. */
function trained(): string {
  const [text, folder] = [join(root, "text.txt"), join(root, "run")];
  writeFileSync(text, "It was the best of times, it was the worst of times. ".repeat(20));
  const sizes = ["V=128", "D=16", "H=8", "L=1", "Heads=2", "E=6", "Context=48"].flatMap((size) => ["--set", size]);
  const short = ["--batch", "4", "--length", "16", "--steps", "30", "--threads", "1", "--json"];
  const how = ["train", "examples/gpt-moe.moe", "--data", text, "--out", folder, ...sizes, ...short];
  const { status, stderr } = command(how);
  assert.is(status, 0, stderr);
  return folder;
}
interface Ended {
  readonly texts: readonly unknown[];
  readonly status: number | null;
  readonly said: string;
}
const ended = (
  file: string,
  args: readonly string[],
): Promise<{ status: number | null; stdout: string; stderr: string }> =>
  new Promise((done) => {
    const child = execFile(file, args, { cwd: project, timeout: 60_000 }, (_, stdout, stderr) =>
      done({ status: child.exitCode, stdout, stderr }),
    );
  });
/** `moec generate`, or another command, by as many workers as lists of arguments. */
async function generated(each: readonly (readonly string[])[], command = "generate"): Promise<Ended> {
  const lists = each.map((args) => [command, ...args, "--threads", "1"]);
  const several = [...launcher, "-n", String(each.length), process.execPath, byRank, main, JSON.stringify(lists)];
  const [file = "", ...args] = each.length === 1 ? [process.execPath, main, ...(lists[0] ?? [])] : several;
  const { status, stdout, stderr } = await ended(file, args);
  const lines = stdout.trim().split("\n");
  const texts = lines.flatMap((line) => (line.startsWith("{") ? textsOf(line) : []));
  return { texts, status, said: `${stderr}${stdout}` };
}
const textsOf = (line: string): unknown[] => {
  const { prompt, text } = JSON.parse(line) as { readonly prompt?: string; readonly text?: string };
  return text === undefined ? [] : [[prompt, text]];
};
/** To 1e-5 of the largest number. */
function requireNear(name: string, found: Tensor | undefined, wanted: Tensor): void {
  assert.equal(found?.shape, wanted.shape, name);
  const [a, b] = [numbers(found ?? wanted), numbers(wanted)];
  const most = 1e-5 * b.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  const far = b.findIndex((x, i) => !(Math.abs(x - (a[i] ?? Number.NaN)) <= most));
  assert.is(far, -1, `${name}[${far}] is ${a[far]}, not ${b[far]}`);
}
const alike = (n: number, ...args: readonly string[]): (readonly string[])[] => Array.from({ length: n }, () => args);
const prompts = ["It was", "of", "worst", "t"].map((text) => ["--prompt", text]);

if (!mpirun) skipped("generation by several processes");
else {
  const folder = trained();
  test("several workers generate what one does, the likeliest tokens and drawn ones, whether they divide the batch or not", async () => {
    for (const [count, each, ...flags] of [
      [1, [2], "--temperature", "0"],
      [4, [2, 4], "--seed", "5"],
    ] as const) {
      const args = [folder, ...prompts.slice(0, count).flat(), ...flags, "--tokens", "24", "--json"];
      const alone = await generated(alike(1, ...args));
      assert.is(alone.texts.length, count, alone.said);
      const shared = ["--tensor-parallel", "2"];
      for (const [n, more] of each.flatMap((n) => [[n, []] as const, [n, shared] as const])) {
        const { texts, status, said } = await generated(alike(n, ...args, ...more));
        assert.is(status, 0, said);
        assert.equal(texts, alone.texts, said);
      }
    }
  });
  test("worker 0 alone prints, and says what each has", async () => {
    const args = [folder, "--prompt", "It was", "--tokens", "9", "--temperature", "0"];
    const { status, said } = await generated(alike(2, ...args));
    const alone = command(["generate", ...args]).stdout;
    assert.is(status, 0, said);
    assert.match(said, "2 workers: batch 1, all of it on each; 6 experts spread, 3 each");
    assert.is(said.split(alone).length, 2, said);
  });
  test("what is wrong on one worker, or on all, is said once, and all end", async () => {
    const other = join(root, "other");
    cpSync(folder, other, { recursive: true });
    const wrong: readonly (readonly [(readonly string[])[], RegExp])[] = [
      [[[folder, "--prompt", "a"], [folder]], /worker 1 has another prompt than worker 0: \[""\], not \["a"\]/],
      [["a", "b"].map((stop) => [folder, "--stop", stop]), /worker 1 has another stop than worker 0/],
      [[[folder], [other]], /worker 1 has another model than worker 0/],
      [[[folder], [join(root, "none")]], /none/],
      [[[folder, "--room", "1.5"], [folder]], /worker 1 has another `--room`/],
      [alike(2, folder, "--expert-parallel", "3"), /experts cannot be spread over 3 of 2 workers/],
      [alike(2, folder, "--tensor-parallel", "3"), /matrices cannot be shared by 3 of 2 workers/],
    ];
    // at once, since most of the time passes between an error and mpirun's end
    const all = await Promise.all(wrong.map(([each]) => generated(each)));
    for (const [i, { status, said }] of all.entries()) {
      assert.is.not(status, 0, said);
      assert.match(said, wrong[i]?.[1] ?? "");
      assert.is(said.match(/error:/g)?.length, 1, said);
    }
  });
  test("`moec evaluate` gives the losses of one process, whether workers divide the batch or not, and says what each has", async () => {
    const data = join(root, "text.txt");
    for (const [n, batch, ...flags] of [
      [2, 4, "--room", "2"],
      [2, 3, "--tensor-parallel", "2"],
    ] as const) {
      const args = [
        "evaluate",
        folder,
        "--data",
        data,
        "--batch",
        `${batch}`,
        "--length",
        "48",
        "--threads",
        "1",
        "--json",
      ];
      const lossOf = (...by: readonly string[]): { readonly loss: number; readonly said: string } => {
        const [file = "", ...all] = [...by, ...args, ...(by.length > 2 ? flags : [])];
        const { status, stdout, stderr } = spawnSync(file, all, { cwd: project, encoding: "utf8", timeout: 60_000 });
        assert.is(status, 0, stderr);
        return { ...(JSON.parse(stdout) as { readonly loss: number }), said: stderr };
      };
      const alone = lossOf(process.execPath, main);
      const several = lossOf(...launcher, "-n", `${n}`, process.execPath, main);
      assert.ok(Math.abs(several.loss - alone.loss) < 1e-5 * alone.loss, `${several.loss}, not ${alone.loss}`);
      assert.match(several.said, batch === 4 ? "batch 4 = 2 x 2; 6 experts" : "batch 3, all of it on each");
    }
    const [short, long] = ["text.txt", "run/model.moe"].map((name) => [folder, "--data", join(root, name), "--json"]);
    const { status, said } = await generated([short ?? [], long ?? []], "evaluate");
    assert.is.not(status, 0);
    assert.match(said, /worker 1 has another data than worker 0/);
  });
  test("`moec run` gives what one process does, of rows that workers divide and of one that all have; gradients of all experts", () => {
    const sizes = ["V=128", "D=16", "H=8", "L=1", "Heads=2", "E=6", "Context=48"].flatMap((size) => ["--set", size]);
    for (const B of [2, 1]) {
      const input = join(root, `tokens-${B}.json`);
      writeFileSync(input, JSON.stringify({ tokens: Array.from({ length: B }, (_, i) => [73 + i, 116, 32]) }));
      const results = ["alone", "several"].map((name) => {
        const to = join(root, `${name}-${B}.safetensors`);
        const args = ["run", "examples/gpt-moe.moe", ...sizes, "--params", folder, "--input", input, "--threads", "1"];
        const all = [main, ...args, "--grad", "-o", to];
        const [file = "", ...more] = [...(name === "alone" ? [] : [...launcher, "-n", "2"]), process.execPath, ...all];
        const { status, stderr } = spawnSync(file, more, { cwd: project, encoding: "utf8", timeout: 60_000 });
        assert.is(status, 0, stderr);
        return readSafetensors(to);
      });
      const [one, two] = results as [(typeof results)[0], (typeof results)[0]];
      assert.equal([...two.keys()], [...one.keys()]);
      assert.ok(two.has("grad.blocks.0.feed.experts.5.up.weight"));
      for (const [name, t] of one) requireNear(name, two.get(name), t);
    }
  });
  test("a signal to any worker ends all, and what was written stays", async () => {
    const many = Array.from({ length: 4000 }, () => ["--prompt", "It"]).flat();
    const args = [main, "generate", folder, "--tokens", "24", "--threads", "1", "--json", "--batch", "1", ...many];
    const [file = "", ...flags] = launcher;
    const run = spawn(file, [...flags, "-n", "2", process.execPath, ...args], { cwd: project });
    const ended = new Promise<number | null>((done) => run.on("close", done));
    let written = "";
    run.stdout.once("data", () => process.kill(second(folder), "SIGTERM"));
    run.stdout.on("data", (data: Buffer) => (written += data.toString()));
    assert.is(await ended, 0);
    const count = written.trim().split("\n").length;
    assert.ok(count > 0 && count < 4000, `${count} texts`);
  });
  test("`openModel` in TypeScript: texts of two workers are those of one; they differ, or one closes the model or leaves a text, and all know", async () => {
    const script = (...args: readonly string[]): unknown => {
      const [file = "", ...more] = [...launcher, "-n", "2", process.execPath, workerScript("asked"), folder, ...args];
      const { stdout, stderr } = spawnSync(file, more, { cwd: project, encoding: "utf8", timeout: 60_000 });
      return JSON.parse(stdout || JSON.stringify(stderr));
    };
    const longer = "worker 1 has another tokens than worker 0: 10, not 9";
    assert.equal(script(), [...(await asked(folder)), longer]);
    assert.is(script("seed"), "worker 1 has another seed than worker 0: 1, not 0");
    for (const by of ["closed", "stopped"]) assert.is(script(by), "all end", by);
  });
}
test.run();
