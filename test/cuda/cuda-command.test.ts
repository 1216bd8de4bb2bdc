// `moec compile --target cuda`: files, JSON, and what is said of a form that there is not.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { nvdisasm } from "../../runtime/cuda/sass.ts";
import { command } from "../command.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { foundNvrtc } from "./nvrtc.ts";

const test = suite("cuda-command");
const compiler = await foundNvrtc();

interface Ran {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}
const moec = (...args: readonly string[]): Ran => moecIn({}, ...args);
function moecIn(more: NodeJS.ProcessEnv, ...args: readonly string[]): Ran {
  const env = { ...process.env, NO_COLOR: "1", MOEC_CACHE: join(temporaryFolder(), "cache"), ...more };
  const ran = command(["compile", ...args], env);
  return { status: ran.status, out: ran.stdout, err: ran.stderr };
}
const program = ["examples/one-layer.moe", "--entry", "Layer", "--set", "N=32"];
test("compile --target cuda", () => {
  const to = temporaryFolder();
  const text = moec(...program, "--target", "cuda:sm_90a", "--emit", "cu", "-o", to);
  assert.is(text.status, 0, text.err);
  const names = readdirSync(to);
  assert.ok(names.includes("device.cuh"));
  const kernel = names.find((n) => n.startsWith("ragged_dot")) ?? "";
  assert.match(readFileSync(join(to, kernel), "utf8"), /^\/\/ .*\.moe:\d+[^]*KERNEL void/);
  const short = moec(...program, "--target", "cuda:sm_90a", "--precision", "bf16", "--emit", "cu");
  assert.match(short.out, /SharedTile<bf16, /);
  const many = ["--workers", "2", "--set", "E=4", "--emit", "plan"];
  const shared = moec(...program, "--target", "cuda:sm_90a", ...many);
  assert.match(
    shared.out,
    /^plan for cuda: [^]*exchange\(.*\), all workers[^]*exchange_back\(.*\), all workers/,
    shared.err,
  );
  const pairs = ["--workers", "4", "--expert-parallel", "2", ...many.slice(2)];
  const grouped = moec(...program, "--target", "cuda:sm_90a", ...pairs);
  assert.match(grouped.out, /exchange\(.*\), 2 groups of 2\n/, grouped.err);
  if (!compiler) return;
  const json = moec(...program, "--target", "cuda:sm_90a", "--emit", "cubin", "-o", to, "--json");
  assert.is(json.status, 0, json.err);
  const { kernels } = JSON.parse(json.out) as { readonly kernels: readonly Record<string, unknown>[] };
  assert.equal(Object.keys(kernels[0] ?? {}), [
    "name",
    "lines",
    "threads",
    "registers",
    "shared",
    "spills",
    "occupancy",
    "seconds",
  ]);
  const cubins = readdirSync(to).filter((n) => n.endsWith(".cubin"));
  assert.is(cubins.length, kernels.length);
  for (const name of cubins) assert.is(readFileSync(join(to, name)).toString("latin1", 0, 4), "\x7fELF");
});
test("compile prints what each kernel takes of a multiprocessor, and PTX", () => {
  if (!compiler) return;
  const file = join(temporaryFolder(), "twice.moe");
  writeFileSync(file, "fn twice(x: f32[N]) -> f32[N] { return 2 * x }");
  const args = [file, "--entry", "twice", "--set", "N=4096", "--target", "cuda:sm_80"];
  const { out, err } = moec(...args);
  assert.match(
    out,
    /^parameters +0 B\n[^]*\nkernels +1\n\nkernel +threads +registers +shared +spills +occupancy +lines\n/,
    err,
  );
  assert.match(out, /\nmul_\w+ +\d+ +\d+ +0 +0 +\d+ % +\S*twice\.moe:1\n$/);
  assert.match(moec(...args, "--emit", "ptx").out, /\.target sm_80[^]*st\.global/);
});
test("compile --emit sass", () => {
  const places = [
    ["NVDISASM", "/nowhere"],
    ["NVDISASM", temporaryFolder()],
    ["MOEC_CUDA_HOME", "/nowhere"],
  ] as const;
  for (const [name, place] of places) {
    const missing = moecIn({ [name]: place }, ...program, "--target", "cuda:sm_80", "--emit", "sass");
    assert.is(missing.status, 1);
    const said = `nvdisasm.* was not found in ${place}, which ${name} names\n.*unset ${name}, .*pip install nvidia-cuda-nvdisasm`;
    assert.match(missing.err, new RegExp(said));
  }
  const found = foundDisassembler();
  if (!compiler || !found) return;
  const to = temporaryFolder();
  const { status, err } = moec(...program, "--target", "cuda:sm_80", "--precision", "bf16", "--emit", "sass", "-o", to);
  assert.is(status, 0, err);
  const [name = ""] = readdirSync(to).filter((n) => n.startsWith("ragged_dot"));
  assert.match(readFileSync(join(to, name), "utf8"), /^\/\/ \S+:\d+\n[^]*HMMA\.16816/);
});
function foundDisassembler(): string | null {
  try {
    return nvdisasm();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    console.log(`skipped: ${error.message}; ${error.help}`);
    return null;
  }
}
test("a form that the target has not, and what to do", () => {
  for (const [args, message] of [
    [["--emit", "ptx"], /the host target has no ptx\n.*add --target cuda:sm_90a/],
    [["--emit", "cpp", "--target", "cuda:sm_80"], /has no cpp\n.*use --emit cu/],
    [["--emit", "cubin", "--target", "cuda:sm_80"], /a cubin is no text\n.*-o FOLDER/],
  ] as const) {
    const { status, err } = moec(...program, ...args);
    assert.is(status, 1, err);
    assert.match(err, message);
  }
});

test.run();
