import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileCommand } from "../../cli/commands/compile.ts";
import { importCommand } from "../../cli/commands/import.ts";
import { profileCommand } from "../../cli/commands/profile.ts";
import { reportCommand } from "../../cli/commands/report.ts";
import { runCommand } from "../../cli/commands/run.ts";
import { trainCommand } from "../../cli/commands/train.ts";
import { formatError, showCount, showTime, table } from "../../cli/output.ts";
import { loadLines, progressText } from "../../cli/progress.ts";
import { abortOnSignals, exitOnSignals } from "../../cli/signals.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { precision, set, threads } from "../../compiler/options.ts";
import type { Tensor } from "../../runtime/executable/executable.ts";
import { cores } from "../../runtime/machine.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import type { TrainStep } from "../../runtime/training/loop.ts";
import { command, main } from "../command.ts";
import { golden } from "../golden.ts";
import { project } from "../project.ts";
import { small } from "../training-runs.ts";

const test = suite("cli");
const folder = mkdtempSync(join(tmpdir(), "moec-cli-"));
test.after(() => rmSync(folder, { recursive: true }));

function moec(...args: readonly string[]): SpawnSyncReturns<string> {
  // a pipe gets no colours, even where CI makes libraries guess that it shows them
  const env: NodeJS.ProcessEnv = { ...process.env, CI: "1", COLUMNS: "100", MOEC_CACHE: join(folder, "cache") };
  delete env["MOEC_DEBUG"];
  delete env["NO_COLOR"];
  delete env["FORCE_COLOR"];
  return command(args, env);
}
function fails(ran: SpawnSyncReturns<string>, status: number, ...words: readonly string[]): void {
  assert.is(ran.status, status, ran.stderr);
  assert.is(ran.stdout, "");
  for (const word of words) assert.match(ran.stderr, word);
  assert.not.match(ran.stderr, /\n\s+at /);
}

test("help of the whole and of train", () => {
  for (const args of [[], ["train"]]) {
    const { status, stdout } = moec(...args, "--help");
    assert.is(status, 0);
    golden(`cli/${args[0] ?? "moec"}-help.txt`, stdout);
  }
});
test("usage errors exit with 2 and say what was meant", () => {
  fails(moec("trian"), 2, "unknown command 'trian'", "Did you mean train?");
  fails(moec("train", "a.moe", "--data", "b", "--steps", "many"), 2, "--steps", "a whole number from 1");
  fails(moec("generate", "a", "--top-p", "1.5"), 2, "--top-p", "a number from 0 to 1");
  fails(moec("generate", "a", "--top-k", "0"), 2, "--top-k", "a whole number");
  fails(moec("train", "a.moe", "--data", "b", "--out", ""), 2, "--out", "a name");
});
test("what a command makes goes where -o or --out says", () => {
  const makers = [trainCommand, importCommand, runCommand, compileCommand, reportCommand, profileCommand];
  const named = makers.map((make) => make().options.filter(({ short, long }) => short === "-o" || long === "--out"));
  assert.equal(
    named.map((options) => options.map(({ short, long }) => `${short}, ${long}`)),
    makers.map(() => ["-o, --out"]),
  );
  fails(moec("report", "none", "--output", "page.html"), 2, "unknown option '--output'", "Did you mean --out?");
});
test("an unknown flag of another tool is told what does the same here", () => {
  const train = (flag: string): SpawnSyncReturns<string> => moec("train", "a.moe", "--data", "b", flag, "3");
  fails(train("--lr"), 2, "unknown option '--lr'", "optimize with AdamW(lr: lr)", "--set lr=");
  fails(train("--D=64"), 2, "write `--set D=VALUE`");
  for (const [theirs, ours] of [
    ["--epochs", "--steps"],
    ["--batch-size", "--batch"],
    ["--save-steps", "--save-every"],
    ["--device", "--target"],
    ["--checkpoint", "--params"],
    ["--resume-from", "--resume"],
    ["--gpu", "--target cuda"],
    ["--bf16", "--precision bf16"],
  ] as const)
    fails(train(theirs), 2, `help: write ${ours}`);
  fails(train("--weights=w.pt"), 2, "It must be one of int8");
  fails(moec("generate", "a", "--temp", "0"), 2, "help: write --temperature");
  fails(moec("generate", "a", "--load-in-8bit"), 2, "help: write --weights int8");
  fails(moec("generate", "a", "--num-samples", "2"), 2, "unknown option '--num-samples'", "add --help");
  assert.not.match(moec("generate", "a", "--device", "cpu").stderr, /--params/);
});
test("an argument without its flag is told which", () => {
  fails(moec("generate", "a", "Call me"), 2, "too many arguments", "help: write --prompt before it");
  fails(moec("evaluate", "a", "b", "--data", "c"), 2, "help: write --data before it");
  fails(moec("run", "a.moe", "Ffn"), 2, "help: write --entry before it");
  fails(moec("compile", "a.moe", "--set", "B=8", "T=1"), 2, "help: write --set before each size: --set T=1");
  fails(moec("train", "a.moe", "--data", "b", "--resume", "runs/a"), 2, "--resume takes no folder", "--out");
});
test("--data - is what is piped in", () => {
  const command = `printf short | "$0" "$1" train examples/gpt-moe.moe --data - --out "$2"`;
  const ran = spawnSync("sh", ["-c", command, process.execPath, main, join(folder, "run")], {
    cwd: project,
    encoding: "utf8",
  });
  fails(ran, 1, "the data has 5 bytes");
});
test("a program that is piped in can be checked, and what reads it twice says so", () => {
  const program = 'echo "fn f(x: f32[N]) -> i32[N] { return x }" | "$0" "$1"';
  const piped = (command: string): SpawnSyncReturns<string> =>
    spawnSync("sh", ["-c", `${program} ${command}`, process.execPath, main], { cwd: project, encoding: "utf8" });
  const { stdout, status } = piped("check --json -");
  assert.is(status, 1);
  assert.match(stdout, /"file":"stdin","line":1/);
  fails(piped("compile /dev/stdin --entry f --set N=2"), 1, "/dev/stdin is a pipe", "write the program to a file");
});
/** What `moec ARGS` exits with if nobody reads its output. */
const unreadStatus = (...args: readonly string[]): string =>
  spawnSync("sh", ["-c", '("$0" "$@"; echo $? >&2) | true', process.execPath, main, ...args], { encoding: "utf8" })
    .stderr;
test("errors stay errors though nobody reads them, and a reader who leaves is none", () => {
  const [wrong, right] = [join(folder, "wrong.moe"), join(folder, "right.moe")];
  writeFileSync(wrong, "fn f(x: f32[N]) -> i32[N] { return x }");
  writeFileSync(right, "fn f(x: f32[N]) -> f32[N] { return x }");
  assert.is(unreadStatus("check", wrong, right), "1\n");
  assert.is(unreadStatus("compile", "--json", wrong, "--entry", "f"), "1\n");
  assert.is(unreadStatus("check", right), "0\n");
});
test("--input - is JSON that is piped in", () => {
  writeFileSync(join(folder, "twice.moe"), "fn twice(x: f32[N]) -> f32[N] { return 2 * x }");
  const command = `echo '{"x": [1, 2]}' | "$0" "$1" run "$2" --entry twice --input - --target reference --json`;
  const args = ["-c", command, process.execPath, main, join(folder, "twice.moe")];
  const { stdout, stderr } = spawnSync("sh", args, { cwd: project, encoding: "utf8" });
  assert.equal([stdout, stderr], ['{"0":[2,4]}\n', ""]);
});
test("what cannot be done exits with 1, one message and a remedy, and nothing on stdout", () => {
  const empty = join(folder, "empty.txt");
  writeFileSync(empty, "");
  const train = ["train", "examples/gpt-moe.moe", "--data", empty, "--out", join(folder, "run")];
  fails(moec(...train), 1, "has 0 bytes", "help:", "more data");
  fails(moec("generate", folder), 1, "config.json", "help:");
  for (const flags of [["--chat"], ["--system", "Be brief."]])
    fails(moec("generate", folder, ...flags), 1, "lacks what the user says", "--prompt");
  fails(moec("generate", join(folder, "none")), 1, "there is no folder", "help:");
  assert.not.ok(existsSync(join(folder, "run")));
  fails(moec("train", process.execPath, "--data", empty), 1, "is no text", "name a .moe file");
  const prose = join(folder, "prose.txt");
  writeFileSync(prose, "// begun in 1851\nCall me Ishmael.\n");
  fails(
    moec("train", prose, "--data", prose),
    1,
    "prose.txt is no program: it begins with `Call me Ishmael.`",
    "name a .moe file",
  );
  writeFileSync(prose, `${"\n".repeat(1e7)}hello`);
  fails(moec("train", prose, "--data", prose), 1, "it begins with `hello`", "name a .moe file");
  const unnamed = join(folder, "unnamed.txt");
  writeFileSync(unnamed, "// a layer\nlayer L() { }; ; ; ; ; ; ; ; ; ; ; ;");
  const wrong = moec("check", unnamed).stdout;
  assert.is(wrong.match(/^error/gm)?.length, 10);
  assert.match(wrong, "and 2 more errors");
  const huge = ["--data", "package-lock.json", "--set", "D=1e9", "--set", "L=1", "--out", join(folder, "run")];
  fails(
    moec("train", "examples/gpt-moe.moe", ...huge),
    1,
    "the parameters alone need",
    "weight: f32[1000000000, 1000000000]",
  );
  const dealt = moec("compile", "examples/gpt-moe.moe", "--workers", "3");
  fails(dealt, 1, "--batch 16 cannot be dealt to 3 workers", "help:");
  const groups = moec("compile", "examples/gpt-moe.moe", "--workers", "4", "--expert-parallel", "3");
  fails(groups, 1, "cannot be spread over 3 of 4 workers", "spread them over 1, 2 or 4");
  for (const form of ["kernels", "plan", "cpp"]) {
    const args = ["--target", "reference", "--emit", form];
    fails(moec("compile", "examples/gpt-moe.moe", ...args), 1, `the reference target has no ${form}`, "help:");
  }
  fails(moec("compile", "examples/gpt-moe.moe", "-o", folder), 1, "no form is asked for", "add --emit");
  const layer = ["run", "examples/one-layer.moe", "--entry", "Layer", "--target", "reference"];
  fails(moec(...layer, "--set", "N=1"), 1, "input x of forward is missing", '`--input FILE.json` with { "x": ... }');
  const [same, half] = [join(folder, "same.moe"), join(folder, "half.json")];
  writeFileSync(same, "fn same(i: i32[N]) -> i32[N] { return i }");
  writeFileSync(half, '{ "i": [1.5] }');
  fails(moec("run", same, "--entry", "same", "--input", half), 1, "half.json: `i` holds 1.5", "whole numbers");
  writeFileSync(half, '\ufeff{ "i": [NaN] }');
  fails(moec("run", same, "--entry", "same", "--input", half), 1, "half.json is not JSON", 'strings, "NaN"');
  writeFileSync(half, '{ "i": [1] }');
  const crowded = moec("run", same, "--entry", "same", "--input", half, "--threads", String(cores() + 1));
  assert.is(crowded.status, 0);
  assert.match(crowded.stderr, `warning: --threads ${cores() + 1} is more than this process has cores, ${cores()}: `);
  const behind = join(empty, "graphs");
  fails(moec("compile", "examples/gpt-moe.moe", "--emit", "ast", "-o", behind), 1, "a part of the path is a file");
});
if (existsSync("/dev/full"))
  test("an output that takes nothing more is an error with a remedy, of a training too, which saves and stops", () => {
    const [model, data, out] = ["full.moe", "full.txt", "full"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(model, small(256, 4));
    writeFileSync(data, "the data of a training ".repeat(40));
    const how = ["--data", data, "--steps", "500", "--batch", "2", "--length", "8", "--target", "reference"];
    for (const args of [["cache"], ["train", model, ...how, "--json", "--out", out]]) {
      const [full, env] = [openSync("/dev/full", "w"), { ...process.env, MOEC_CACHE: join(folder, "cache") }];
      const { status, stderr } = spawnSync(process.execPath, [main, ...args], {
        cwd: project,
        encoding: "utf8",
        env,
        stdio: ["ignore", full, "pipe"],
      });
      closeSync(full);
      assert.is(status, 1);
      assert.is(stderr.match(/stdout: ENOSPC/g)?.length, 1, stderr);
      assert.match(stderr, "help: make room");
    }
    assert.not.match(readdirSync(join(out, "checkpoints")).join(), "step-000500");
  });
test("train says what its held-out loss is: nats beside a bigram model's only of the cross entropy of tokens", () => {
  const [model, data] = [join(folder, "small.moe"), join(folder, "data.txt")];
  writeFileSync(data, "the data of a training ".repeat(40));
  const ended = (text: string, out: string): string => {
    writeFileSync(model, text);
    const how = ["--data", data, "--steps", "1", "--batch", "2", "--length", "8", "--target", "reference"];
    return moec("train", model, ...how, "--out", join(folder, out)).stderr;
  };
  const text = small(256, 4);
  assert.match(ended(text, "nats"), /\nheld-out loss \d\.\d{3} nats a byte; a bigram model's is \d\.\d{3}\n/);
  const both = text.replace("    optimize", "    loss size = mean(embed.logits(embed(tokens)) ** 2)\n    optimize");
  assert.match(ended(both, "both"), /\nheld-out loss \d\.\d{3} \(language \+ size\)\n/);
});
test("a model that does not train on text is refused before the data is looked at", () => {
  const model = join(folder, "label.moe");
  writeFileSync(model, "model Label() { train(x: i32[B, T], label: i32[B]) { loss zero = 0 } }");
  fails(
    moec("train", model, "--data", model),
    1,
    "takes (x: i32[B, T], label: i32[B]), which is not text",
    "TypeScript",
  );
});
test("a vocabulary that the data does not fit is an error before any kernel is compiled", () => {
  const [model, data] = [join(folder, "narrow.moe"), join(folder, "narrow.txt")];
  writeFileSync(model, small(100, 4));
  writeFileSync(data, "x".repeat(400));
  const ran = moec("train", model, "--data", data, "--batch", "2", "--length", "8", "--out", join(folder, "narrow"));
  fails(ran, 1, "the data holds the token 120, and the model's tokens are 0 to 99", "help: bytes need a vocabulary");
  assert.not.match(ran.stderr, "compiling");
});
test("errors of a program are drawn and counted", () => {
  const file = join(folder, "wrong.moe");
  writeFileSync(file, "layer A(D) {\n  forward(x: float[N, D]) -> float[N, D] { return y }\n}\n");
  const { status, stdout } = moec("check", file, "examples/gpt-moe.moe");
  assert.is(status, 1);
  for (const words of ["wrong.moe:2:51", "return y", "2 files, 1 error"]) assert.match(stdout, words);
  const importing = join(folder, "importing.moe");
  writeFileSync(importing, 'import { A } from "./wrong"\nfn f(x: float[N]) -> float[N] { return z + z }\n');
  assert.match(moec("check", importing, file).stdout, "2 files, 3 errors");
});
test("a program's own errors come before a model or an entry that it lacks", () => {
  const file = join(folder, "lacks.moe");
  writeFileSync(file, "layer A(D) { forward(x: float[N, D]) -> float[N, D] { return y } }");
  for (const [name, ...more] of [["compile"], ["run"], ["tune", "--entry", "B"], ["train", "--data", file]])
    fails(moec(name ?? "", file, ...more), 1, "error[E0301]");
});
test("a file that cannot be read keeps the others from nothing", () => {
  const { status, stdout, stderr } = moec("check", join(folder, "none.moe"), "examples/gpt-moe.moe");
  assert.is(status, 1);
  assert.match(stderr, "none.moe: there is no such file");
  assert.match(stdout, "2 files, 1 error");
});
/** What a command that fails prints with --json: an object for each line. */
function jsonErrors(...args: readonly string[]): object[] {
  const { status, stdout, stderr } = moec(...args, "--json");
  assert.equal([status, stderr], [1, ""], args.join(" "));
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as object);
}
test("with --json errors are lines of JSON on stdout, and nothing is on stderr", () => {
  const [wrong, none] = [join(folder, "wrong.moe"), join(folder, "none.moe")];
  writeFileSync(
    wrong,
    "fn a(x: f32[N]) -> f32[N] {\n  return y\n}\nmodel M() { train(tokens: i32[B, T], targets: i32[B, T]) { loss a = z } }\n",
  );
  const same = { code: "E0301", file: wrong, length: 1, notes: [] };
  const help = "declare it, import it, or give it as an argument";
  const errors = [
    { ...same, message: "nothing is called `y` here", line: 2, column: 10, endLine: 2, endColumn: 11, help },
    { ...same, message: "nothing is called `z` here", line: 4, column: 69, endLine: 4, endColumn: 70, help },
  ];
  const missing = {
    message: `cannot read ${none}: there is no such file or folder`,
    help: "check the spelling of the path",
  };
  assert.equal(jsonErrors("check", none, wrong), [missing, ...errors]);
  const more: Record<string, readonly string[]> = {
    compile: [],
    run: ["--entry", "a"],
    train: ["--data", wrong, "--out", none],
    evaluate: ["--data", wrong],
    export: ["--like", none, "--out", none],
    merge: ["--out", none],
  };
  for (const of of ["compile", "run", "train"]) {
    assert.equal(jsonErrors(of, wrong, ...(more[of] ?? [])), errors);
    assert.equal(jsonErrors(of, none, ...(more[of] ?? [])), [missing]);
  }
  for (const of of ["generate", "evaluate", "report", "import", "export", "merge"]) {
    const [record, ...others] = jsonErrors(of, none, ...(more[of] ?? []));
    assert.equal([Object.keys(record ?? {}), others], [["message", "help"], []], of);
  }
});
test("FORCE_COLOR colours a pipe; NO_COLOR has the last word", () => {
  const { stdout } = process;
  const before = process.env;
  try {
    for (const [none, forced, colored] of [
      ["", "1", true],
      ["1", "1", false],
      ["", "0", false],
    ] as const) {
      process.env = { ...before, NO_COLOR: none, FORCE_COLOR: forced };
      assert.is(
        formatError(new Problem("x", "y"), { ...stdout, isTTY: false } as typeof stdout).includes("\u001b"),
        colored,
      );
    }
  } finally {
    process.env = before;
  }
});
test("the first Ctrl-C or hangup aborts, the second quits with 130 or 129", async () => {
  exitOnSignals();
  const signal = await abortOnSignals();
  const exit = process.exit.bind(process);
  const codes: unknown[] = [];
  process.exit = ((code: unknown) => codes.push(code)) as typeof exit;
  try {
    process.emit("SIGINT");
    assert.equal([signal.aborted, codes.length], [true, 0]);
    process.emit("SIGINT");
    process.emit("SIGHUP");
    assert.equal(codes, [130, 129]);
  } finally {
    process.exit = exit;
    for (const name of ["SIGHUP", "SIGINT", "SIGTERM"]) process.removeAllListeners(name);
  }
});

test("flags take what their rows say", () => {
  assert.equal(set.parse("b=true", set.parse("D=12")), { D: 12, b: true });
  assert.is(precision.parse("bf16"), "bf16");
  assert.throws(
    () => precision.parse("f16"),
    (e: unknown) => e instanceof Problem && /one of f32, bf16, f64/.test(e.message),
  );
  for (const bad of ["D", "D=", "=3", "D=x", "a b=3"])
    assert.throws(
      () => set.parse(bad),
      (e: unknown) => e instanceof Problem,
    );
  for (const bad of ["0", "1.5", "-1", "", "1e3"])
    assert.throws(
      () => threads.parse(bad),
      (e: unknown) => e instanceof Problem,
    );
});
const load = (...x: number[]): Tensor => fromNumbers("f32", [x.length], x);
test("expert load as blocks: an even share is the middle, twice it the top; layers that do not fit go below", () => {
  const metrics = { "blocks.0.gate.load": load(4, 4, 4, 4), "blocks.1.gate.load": load(8, 0, 6, 2), other: load(1, 2) };
  assert.equal(loadLines(metrics, 80), ["▅▅▅▅ █▁▇▃"]);
  assert.equal(loadLines(metrics, 8), ["▅▅▅▅", "█▁▇▃"]);
  assert.equal(loadLines({ load: fromNumbers("f32", [96], new Float64Array(96).fill(1)) }, 80), ["▅".repeat(16)]);
  assert.equal(loadLines({ load: load(0, 0) }, 9), ["▁▁"]);
  assert.equal(loadLines({}, 80), []);
});
const step: TrainStep = {
  step: 7,
  steps: 400,
  loss: 1.5,
  losses: {},
  metrics: { "a.load": load(1, 1, 1, 1), "b.load": load(1, 1, 1, 1) },
  tokensPerSecond: 12_345,
  seconds: 1,
  secondsLeft: 65,
  heldOut: null,
  best: null,
  kept: null,
  saved: null,
};
const drawn = (width: number, more: Partial<TrainStep> = {}, height = 9): string[] =>
  progressText({ ...step, ...more }, width, height, (text) => text).split("\n");
const evaluatedWith = (at: number) => ({ heldOut: 2, best: { step: at, heldOut: 1.5, since: 0 } });
test("the line of a step keeps to its width: the load goes below, then what matters least goes", () => {
  assert.equal(drawn(80), ["step   7/400  loss 1.500  12.3k tokens/s  1:05 left  ▅▅▅▅ ▅▅▅▅"]);
  assert.equal(drawn(60), ["step   7/400  loss 1.500  12.3k tokens/s  1:05 left", "▅▅▅▅ ▅▅▅▅"]);
  assert.equal(drawn(40), ["step   7/400  loss 1.500  1:05 left", "▅▅▅▅ ▅▅▅▅"]);
  assert.equal(drawn(30), ["step   7/400  loss 1.500", "▅▅▅▅ ▅▅▅▅"]);
  assert.equal(drawn(40, { heldOut: 2 }), ["step   7/400  loss 1.500  held out 2.000", "▅▅▅▅ ▅▅▅▅"]);
  assert.match(drawn(80, evaluatedWith(6))[0] ?? "", /held out 2\.000 \(best 1\.500\) {2}/);
  assert.match(drawn(80, evaluatedWith(7))[0] ?? "", /held out 2\.000 {2}/);
  assert.match(drawn(80, { ...evaluatedWith(7), kept: "runs/a/best" })[0] ?? "", /held out 2\.000 \(best\) {2}/);
  assert.equal(drawn(8), ["step   7/400", "▅▅▅▅", "▅▅▅▅"]);
  assert.equal(drawn(8, {}, 2), ["step   7/400", "▅▅▅▅"]);
  for (const width of [13, 20, 33, 40, 52, 61, 80, 200])
    for (const text of drawn(width, { heldOut: 1.25 })) assert.ok(text.length <= width, `${width}: ${text}`);
});
test("numbers as people read them", () => {
  assert.is(showCount(12), "12");
  assert.equal([0, 61, 3725].map(showTime), ["0:00", "1:01", "1:02:05"]);
  assert.is(
    table([
      ["a", "12 B"],
      ["long", "3 B"],
    ]),
    "a     12 B\nlong   3 B",
  );
});
test.run();
