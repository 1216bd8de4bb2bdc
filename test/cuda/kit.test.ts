// A kit is complete: from it alone, with no Node and nothing of npm's on the path, moec and its checks of a GPU run. MOEC_TEST=full packs
// Node too, which takes long, and trains on the emulator.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { deadLinks, documentsIn } from "../documents.ts";
import { build } from "../emulator/build.ts";
import { full } from "../full.ts";
import { project } from "../project.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("kit");
const here = temporaryFolder();
const [kit, programs, results] = ["kit", "programs", "results"].map((name) => join(here, name)) as [
  string,
  string,
  string,
];
/** All that the kit asks of a machine; g++ is for the emulator. */
const asked = ["sh", "tar", "xz", "cat", "chmod", "dirname", "id", "mkdir", "mktemp", "mv", "uname"];
const compiler = ["g++", "as", "ld"];

function run(...args: readonly string[]) {
  const own = { MOEC_KIT: join(here, "place"), MOEC_CACHE: join(here, "cache"), TMPDIR: here };
  return spawnSync("/bin/sh", [join(kit, "run"), ...args], {
    cwd: here,
    encoding: "utf8",
    env: { PATH: programs, ...own, ...libraries },
  });
}
/** Where it is unpacked. */
const place = (): string => join(here, "place", readFileSync(join(kit, "version"), "utf8"));
/** With the kit's Node, in its folder. */
function inside(...args: readonly string[]) {
  const env = { PATH: programs, TMPDIR: here, MOEC_CACHE: join(here, "cache"), ...libraries };
  return spawnSync(join(place(), "node"), ["--import", "tsx", ...args], { cwd: place(), encoding: "utf8", env });
}
let libraries: Readonly<Record<string, string>> = {};

/** In place of Node packed: one that calls it. */
function putCaller(): void {
  const input = `#!/bin/sh\nexec '${process.execPath}' "$@"\n`;
  writeFileSync(join(kit, "node.xz"), execFileSync("xz", ["-c"], { input }));
}
test.before(async () => {
  mkdirSync(kit);
  if (!full) putCaller();
  const flags = ["--import", "tsx", join(project, "scripts/kit/make.ts"), "-o", kit];
  execFileSync(process.execPath, flags, { cwd: project, env: { ...process.env, XZ_OPT: "-0", INIT_CWD: here } });
  mkdirSync(programs);
  for (const name of [...asked, ...(full ? compiler : [])])
    symlinkSync(
      execFileSync("/bin/sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim(),
      join(programs, name),
    );
  if (!full) return;
  const { libcuda, libnvrtc } = await build();
  libraries = { MOEC_LIBCUDA: libcuda, MOEC_LIBNVRTC: libnvrtc };
});
test("moec runs from it", () => {
  const { stdout, stderr, status } = run("moec", "doctor");
  assert.is(status, 0, stderr);
  assert.match(stdout, /ok +addon +built and loaded/);
});
test("its documents' links lead to files that are in it", () => {
  const documents = documentsIn(place());
  assert.ok(documents.includes("docs/stdlib/README.md"));
  for (const file of documents) assert.equal(deadLinks(place(), file), [], file);
});
test("its checks go on after one that fails, and leave a line and a log for each", () => {
  const { status, stderr } = run("gpu", "-o", results, "doctor");
  assert.is(status, 1, stderr);
  const summary = readFileSync(join(results, "summary.txt"), "utf8");
  assert.match(summary, /^missing +doctor\/machine .*nvidia-smi is not found\nok +doctor\/moec /);
  assert.match(
    readFileSync(join(results, "doctor.txt"), "utf8"),
    /== nvidia-smi[^]*== [^]*\/node dist[^]*built and loaded/,
  );
});
test("a part that there is not, and no time", () => {
  const { status, stderr } = run("gpu", "-o", results, "benches");
  assert.is(status, 2);
  assert.match(stderr, /there is no part benches[^]*bench\/bf16/);
  run("gpu", "-o", results, "--seconds", "4", "doctor/moec");
  assert.match(readFileSync(join(results, "summary.txt"), "utf8"), /^no time +doctor\/moec/);
});
if (full)
  test("its tests and losses run on the emulator", () => {
    const ops = inside("test/cuda/gpu-worker.ts", "ops", "0", "3");
    assert.is(ops.status, 0, ops.stderr);
    assert.is(ops.stdout.match(/"wrong":null/g)?.length, 3);
    const sizes = ["L=1", "D=16", "H=16", "Heads=2", "E=2"].flatMap((size) => ["--set", size]);
    const losses = inside("scripts/gpu/losses.ts", ...sizes, "--batch", "1", "--length", "8");
    assert.is(losses.status, 0, losses.stdout + losses.stderr);
    assert.match(losses.stdout, /held out .* same bits/);
  });
test.run();
