// The device headers on this machine: every function of math.hpp within its bar, vectors and scalars equal, with each compiler and width there is.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { suite } from "uvu";
import { unaries } from "../../compiler/ops/scalar.ts";
import { type Toolchain, toolchain } from "../../runtime/host/toolchain.ts";
import { full } from "../full.ts";
import { project } from "../project.ts";

const execute = promisify(execFile);
/** Largest distance from the rounded exact result; those not named must be exact. */
const bars = new Map([
  ["exp", 1],
  ["expm1", 2],
  ["log", 1],
  ["log1p", 1],
  ["rsqrt", 1],
  ["sin", 2],
  ["cos", 2],
  ["tanh", 2],
  ["tanh_slope", 5],
  ["sigmoid", 2],
  ["erf", 2],
  ["pow", 1],
]);
const functions =
  "exp expm1 log log1p sqrt rsqrt sin cos tanh erf tanh_slope sigmoid abs sign floor ceil round pow rem max min idiv irem integers to_i32 bf16 memory asked".split(
    " ",
  );

/** Instruction sets to try: the machine's own, then, of g++ or if all is asked for, the narrower ones it can run too. */
function widths(chain: Toolchain): string[][] {
  const own = chain.flags.filter((f) => f.startsWith("-m"));
  if (!full && !/(^|\/)g\+\+/.test(chain.command[0])) return [own];
  const narrower = chain.features.includes("AVX512F")
    ? [anotherMachine(own, chain.features), ["-march=haswell"], ["-march=x86-64"]]
    : [["-march=x86-64"]];
  return [own, ...(process.arch === "x64" ? narrower : [])];
}
/** The loops over rows of Zen 5 on another machine, or those of others on Zen 5 (runtime/device/vector.hpp tells them apart by these two). */
function anotherMachine(own: string[], features: readonly string[]): string[] {
  const isZen5 = features.includes("SSE4A") && features.includes("AVXVNNI");
  return [...own, ...(isZen5 ? ["-U__AVXVNNI__"] : ["-D__SSE4A__=1", "-D__AVXVNNI__=1"])];
}
async function measure(chain: Toolchain, machine: string[], folder: string): Promise<string[][]> {
  const [program, ...args] = chain.command;
  const flags = chain.flags.filter((f) => !f.startsWith("-m") && f !== "-shared" && f !== "-nostdlib");
  const file = join(folder, "measure");
  const sources = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
    `-I${join(project, "runtime/device")}`,
    join(project, "test/host/math.cpp"),
    "-o",
    file,
  ];
  await execute(program, [...args, ...flags, ...machine, ...sources]);
  const { stdout } = await execute(file);
  return stdout
    .trim()
    .split("\n")
    .map((line) => line.split(" "));
}
async function compilers(): Promise<Toolchain[]> {
  const found = await Promise.all(
    ["g++", "clang++", "clang++-14"].map((CXX) => toolchain({ ...process.env, CXX }).catch(() => null)),
  );
  const distinct = new Map(found.filter((c) => c !== null).map((c) => [c.version, c]));
  return distinct.size > 0 ? [...distinct.values()] : [await toolchain()];
}

const test = suite("math");
test("every function of an element is measured, and has its form for vectors of CUDA", () => {
  const lifted = readFileSync(join(project, "runtime/device/lift.cuh"), "utf8");
  for (const [name, { doc, short }] of Object.entries(unaries)) {
    if (doc === undefined) continue;
    assert.ok(functions.includes(name), `add UNARY(${name}, ...) to math.cpp, and ${name} to \`functions\` here`);
    for (const fn of short ? [`${name}_`, `${name}_short_`] : [`${name}_`])
      assert.ok(lifted.includes(`LIFT1(${fn})`), `add LIFT1(${fn}) to runtime/device/lift.cuh`);
  }
});
for (const chain of await compilers()) {
  for (const machine of widths(chain)) {
    test(`${chain.command.join(" ")} ${machine.join(" ")}`, async () => {
      const folder = await mkdtemp(join(tmpdir(), "moec-math-"));
      try {
        const rows = await measure(chain, machine, folder);
        assert.deepEqual(
          rows.map(([name]) => name),
          functions,
        );
        for (const [name = "", ulps, differing, x, y] of rows) {
          assert.ok(Number(ulps) <= (bars.get(name) ?? 0), `${name} is ${ulps} ulp off at ${x}, ${y}`);
          assert.equal(differing, "0", `${name}: so often the scalar differs from the vector`);
        }
      } finally {
        await rm(folder, { recursive: true });
      }
    });
  }
}
test.run();
