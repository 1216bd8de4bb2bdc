// MOEC_DEBUG's ladder, on one example: printers that nothing runs would rot.
import type { SpawnSyncReturns } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { Debugger } from "../../runtime/measure/debug.ts";
import { command } from "../command.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("debug");

function moec(level: string, ...args: readonly string[]): SpawnSyncReturns<string> {
  const env = { ...process.env, NO_COLOR: "1", MOEC_CACHE: join(temporaryFolder(), "cache"), MOEC_DEBUG: level };
  return command(args, env);
}
const sizes = ["D=8", "H=6", "E=3", "K=2"].flatMap((size) => ["--set", size]);

test("the top rung prints every rung of an example that runs", () => {
  const input = join(temporaryFolder(), "x.json");
  writeFileSync(
    input,
    JSON.stringify({ x: Array.from({ length: 12 }, (_, i) => Array.from("12345678", (c) => +c - i)) }),
  );
  const args = ["run", "examples/one-layer.moe", "--entry", "Layer", "--input", input, ...sizes];
  const { status, stdout, stderr } = moec("6", ...args);
  assert.is(status, 0, stderr);
  assert.not.match(stdout, " ms\n");
  const rungs = [
    /^simplify {6}\d+\.\d ms$/m,
    /^entry forward, last run: ceilings \d+ GFLOP\/s, \d+ GB\/s on \d+ threads?; cores at work \d+\.\d+ ms$/m,
    /^ *\d+\.\d{3} .* % +\d+ +forward +ragged_dot_\w+ +.*one-layer\.moe:\d+/m,
    /^schedule ragged_dot_\w+: ragged_dot 24 x \d+ x \d+, 3 groups.*: bm \d+, bn \d+/m,
    /^extern "C" void ragged_dot_\w+\(/m,
    /^after simplify\ngraph forward \{$/m,
    /^after routed \(unchanged\)$/m,
    /^after plan\nplan for host: \d+ kernels/m,
    /^rule .+ = .+: .+ : f32\[.*\] = .+ : f32\[.*\]$/m,
  ];
  for (const rung of rungs) assert.match(stderr, rung);
});
function printed(level: number): string {
  let out = "";
  const ladder = new Debugger({ level, write: (text) => (out += text) });
  ladder.onPass({ pass: "simplify", start: 0, seconds: 0.0123, text: () => "graph a" });
  ladder.onPass({ pass: "finish", start: 0, seconds: 0, text: () => "graph a" });
  ladder.onRewrite?.("x + 0 = x", () => "add(a, 0) = a");
  return out;
}
test("a rung prints those below it and none above; without one nothing is printed", () => {
  assert.is(printed(0), "");
  assert.is(printed(1), "simplify      12.3 ms\nfinish        0.0 ms\n");
  assert.match(printed(5), "ms\nafter simplify\ngraph a\nfinish");
  assert.match(printed(5), "after finish (unchanged)\n");
  assert.not.match(printed(5), "rule");
  assert.match(printed(6), "rule x + 0 = x: add(a, 0) = a\n");
});
test("--print-after prints the passes named alone, and says which ran where one did not", () => {
  const args = ["compile", "examples/one-layer.moe", "--entry", "Layer", ...sizes, "--set", "N=12", "--json"];
  const { status, stdout, stderr } = moec("", ...args, "--print-after", "scatters");
  assert.is(status, 0, stderr);
  assert.is(stdout.trim().split("\n").length, 1);
  assert.match(stderr, /^after scatters\ngraph forward \{\n[^]*^after scatters\ngraph init \{$/m);
  assert.not.match(stderr, /after (simplify|lower)| ms$/);
  const ladder = new Debugger({ level: 0, printAfter: ["fuse"], write: assert.unreachable });
  ladder.onPass({ pass: "lower", start: 0, seconds: 0, text: () => "" });
  assert.throws(
    () => ladder.showPlan(null),
    (e: unknown) => e instanceof Problem && /no pass fuse ran/.test(e.message) && /lower/.test(e.help),
  );
});
test.run();
