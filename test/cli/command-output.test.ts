// What commands print for people: with --json they say the same for programs, which the commands' own tests read.
import type { SpawnSyncReturns } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Writable } from "node:stream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { progress } from "../../cli/progress.ts";
import { command } from "../command.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("command output");
const folder = temporaryFolder();
const [program, data, run] = ["tiny.moe", "text.txt", "run"].map((name) => join(folder, name)) as [
  string,
  string,
  string,
];
writeFileSync(data, "a line of text\n".repeat(40));
writeFileSync(
  program,
  `import { Embedding, Linear } from "std/nn"
import { cross_entropy } from "std/loss"
import { AdamW } from "std/optim"
import { newest, sample } from "std/sample"
model Tiny(V = 256, D = 4, Steps = 2) {
  embed: Embedding(V, D)
  mix: Linear(D, D)
  hidden(tokens: i32[B, T]) -> float[B, T, D] { return tanh(mix(embed(tokens))) }
  train(tokens: i32[B, T], targets: i32[B, T]) {
    loss language = cross_entropy(embed.logits(hidden(tokens)), targets)
    optimize with AdamW(lr: 0.01)
  }
  generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B], top_p: f32[B] = 1, top_k: i32[B] = 0) -> i32[B] {
    return sample(embed.logits(newest(hidden(tokens), at)), temperature, top_p, top_k)
  }
}
layer Product() { forward(x: float[N, 32], y: float[32, 32]) -> float[N, 32] { return (x + 0 * uniform([N, 32])) @ y } }
`,
);
const ran = (...args: readonly string[]): SpawnSyncReturns<string> =>
  command(args, { ...process.env, NO_COLOR: "1", MOEC_CACHE: join(folder, "cache") });
function moec(...args: readonly string[]): SpawnSyncReturns<string> {
  const { status, ...rest } = ran(...args);
  assert.is(status, 0, rest.stderr);
  return { status, ...rest };
}
const interpreted = ["--target", "reference"];
const training = (out: string): readonly string[] =>
  ["train", program, "--data", data, "--batch", "2", "--length", "8", "--out", out].concat(interpreted);

test("train ends with the loss, where it is saved, and a sample; a finished run says how to go on", () => {
  const { stderr, stdout } = moec(...training(run));
  assert.match(stderr, /\nstep 2\/2 {2}loss 5\.\d{3} {2}held out 5\.\d{3} .*\nheld-out loss 5\.\d{3} nats a byte; /);
  assert.match(stderr, `\nsaved in ${join(run, "checkpoints", "step-000002")}\na sample:\n`);
  assert.ok(stdout.length > 100 && stdout.endsWith("\n"), stdout);
  assert.match(moec(...training(run), "--resume").stderr, "the run is at step 2; --steps 4 trains on");
  const other = [...training(join(folder, "other")), "--steps", "1", "--params", run];
  assert.match(moec(...other).stderr, `begins with the parameters of ${run}\n`);
});
test("a sample that cannot be written is a warning: what was trained is saved", () => {
  const wide = join(folder, "wide");
  const { stderr } = moec(...training(wide), "--set", "V=2000", "--steps", "1");
  assert.match(stderr, `saved in ${join(wide, "checkpoints", "step-000001")}\na sample:\n`);
  assert.match(stderr, /warning: there is none: the model made the token \d+, which is not a byte; text is bytes/);
});
test("train names the parameters that no loss depends on", () => {
  const idle = join(folder, "idle.moe");
  writeFileSync(idle, readFileSync(program, "utf8").replace("  hidden(", "  spare: Linear(D, D)\n  hidden("));
  const { stderr } = moec(
    "train",
    idle,
    "--data",
    data,
    "--length",
    "8",
    "--steps",
    "1",
    "--out",
    join(folder, "idle"),
    ...interpreted,
  );
  assert.match(stderr, /parameters.*\nno loss depends on spare\.weight, which will learn nothing\n/);
});
test("train neither writes over a run nor resumes what is none", () => {
  assert.match(ran(...training(run)).stderr, "already holds a run\n  help: go on with --resume, or choose another");
  const none = ran(...training(join(folder, "none")), "--resume");
  assert.match(none.stderr, "holds no run to resume\n  help: leave --resume out, or name the run's folder with --out");
});
test("evaluate prints loss, perplexity and bits a byte", () => {
  const { stderr, stdout } = moec("evaluate", run, "--data", data, ...interpreted);
  assert.match(stderr, /^step 2; 599 B in \d+\.\d s\n/m);
  assert.match(stdout, /^loss 5\.\d{3} nats a byte, perplexity \d{3}\.\d, 7\.\d{3} bits a byte\n$/);
});
test("compile prints memory and FLOPs, and on request the seconds of each stage", () => {
  const { stdout } = moec("compile", program, "--timings", ...interpreted);
  const rows = stdout.split("\n").map((line) => line.split(/ {2,}/));
  assert.equal(
    rows.slice(0, 6).map(([name]) => name),
    ["parameters", "gradients", "optimizer", "activations", "FLOPs", "kernels"],
  );
  assert.equal(rows[0], ["parameters", "4.06 KiB"]);
  for (const stage of ["parse", "differentiate", "total"])
    assert.match(rows.find(([name]) => name === stage)?.[1] ?? "", /^\d\.\d{3} s$/);
});
test("compile prints the bytes that one of several workers sends in a step", () => {
  const shared = "--workers 2 --context-parallel 2 --batch 1 --length 8 --target reference".split(" ");
  const { stdout } = moec("compile", program, ...shared);
  const rows = stdout.split("\n").map((line) => line.split(/ {2,}/));
  const sent = rows.filter(([name]) => name?.startsWith("sent: "));
  assert.equal(rows.findIndex(([name]) => name === "FLOPs") + 1, rows.indexOf(sent[0] ?? []));
  assert.ok(sent.some(([name]) => name === "sent: all_reduce"));
  const { sent: bytes } = JSON.parse(moec("compile", program, ...shared, "--json").stdout) as { sent: object };
  assert.equal(
    Object.keys(bytes).map((name) => `sent: ${name}`),
    sent.map(([name]) => name),
  );
});
/** The fields that scripts may rely on are all there; there may be more. */
function hasFields(line: unknown, fields: string): void {
  const names = Object.keys(line as object);
  for (const field of fields.split(" ")) assert.ok(names.includes(field), `no ${field} in ${names.join(" ")}`);
}
test("with --json train and compile print the fields that scripts rely on", () => {
  const flags = ["--evaluate-every", "1", "--json"];
  const lines = moec(...training(join(folder, "json")), ...flags)
    .stdout.trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as object);
  const [about, ...rest] = lines;
  hasFields(about, "bigram unigram bytes parameters plan");
  assert.is(rest.length, 4);
  for (const [i, line] of rest.entries())
    hasFields(line, i % 2 === 0 ? "step loss losses metrics tokens_per_second seconds" : "step held_out");
  const { stdout } = moec("compile", program, "--entry", "Product", "--set", "N=8", "--json");
  const compiled = JSON.parse(stdout) as { kernels: object[]; reads: string[]; timings: object };
  assert.equal(
    compiled.reads.filter((name) => !/^forward\/\w+$/.test(name)),
    [],
  );
  hasFields(compiled, "parameters gradients optimizer activations flops kernels timings");
  assert.ok(compiled.kernels.length > 0);
  for (const kernel of compiled.kernels) hasFields(kernel, "name");
  hasFields(compiled.timings, "total");
});
test("tune prints what it tries, and what it keeps", () => {
  const args = ["tune", program, "--entry", "Product", "--set", "N=8", "--runs", "1", "--threads", "1"];
  const { stderr, stdout } = moec(...args);
  assert.match(stderr, /^(rows|columns|depth|stores) [a-z ]+: 1 of \d\n/);
  assert.match(
    stdout,
    /^(matrix product +before +after +gain +cut\ndot 8 x 32 x 32 .* bm \d+, .*\n)?\d+ ways? of cutting 1 product measured, [01] better and kept/,
  );
  assert.match(stdout, /\nforward: \d+\.\d\d ms before, \d+\.\d\d ms after\n$/);
  const lines = moec(...args, "--json")
    .stdout.trimEnd()
    .split("\n");
  const all = JSON.parse(lines.at(-1) ?? "") as Record<string, unknown>;
  assert.equal([all["entry"], all["contractions"], all["shapes"]], ["forward", 1, lines.length - 1]);
});
const stepsIn = (text: string): (string | undefined)[] => [...text.matchAll(/step +(\d+)\/400/g)].map(([, at]) => at);
/** The steps that are shown of some, each of a number, the seconds that it ends at, and perhaps a held-out loss. */
function shownOn(terminal: object, steps: readonly (readonly [step: number, seconds: number, heldOut?: number])[]) {
  const shown = { drawn: "", printed: "" };
  const stream = new Writable({ write: (chunk, _, done) => ((shown.drawn += String(chunk)), done()) });
  const { TERM = "" } = process.env;
  process.env["TERM"] = "xterm";
  const live = progress(Object.assign(stream, { hasColors: () => false }, terminal) as unknown as NodeJS.WriteStream);
  process.env["TERM"] = TERM;
  const since = { steps: 400, losses: {}, metrics: {}, best: null, kept: null, saved: null };
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = (text: string | Uint8Array) => (shown.printed += String(text)) !== "";
  try {
    for (const [step, seconds, heldOut = null] of steps)
      live.step({ ...since, step, loss: 1.5, heldOut, tokensPerSecond: 9, seconds, secondsLeft: 9 });
    live.done();
  } finally {
    process.stderr.write = write;
  }
  return { drawn: stepsIn(shown.drawn), printed: stepsIn(shown.printed) };
}
const terminal = { isTTY: true, columns: 80, rows: 24 };
test("on a terminal train draws one line again: ten times a second at most, and always the last step, and an evaluation", () => {
  const steps = [
    [1, 1],
    [2, 1.05],
    [3, 1.2],
    [4, 1.21, 2],
    [400, 1.25],
  ] as const;
  assert.equal(shownOn(terminal, steps), { drawn: ["1", "3", "4", "400"], printed: [] });
});
test("elsewhere, and on terminals that cannot draw again, it prints a line every ten seconds, and always those", () => {
  const steps = [
    [1, 1],
    [2, 10.9],
    [3, 11.1],
    [4, 12, 2],
    [5, 13],
    [400, 14],
  ] as const;
  for (const other of [{ isTTY: false }, { ...terminal, rows: 0 }, { ...terminal, columns: 0 }])
    assert.equal(shownOn(other, steps), { drawn: [], printed: ["1", "3", "4", "400"] });
});
test.run();
