// What moec doctor says of what is there, and of what is not.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Finding, shown } from "../../cli/commands/doctor.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { mpi } from "../../runtime/workers/mpi.ts";
import { nccl } from "../../runtime/workers/nccl.ts";
import { command } from "../command.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("doctor");
/** A CUDA folder with a libnccl that gives this number. */
function toolkit(version: number, result = 0): string {
  const home = temporaryFolder();
  const [lib, text] = [join(home, "lib64"), join(home, "nccl.cpp")];
  mkdirSync(lib);
  writeFileSync(text, `extern "C" int ncclGetVersion(int* v) { *v = ${version}; return ${result}; }`);
  execFileSync("g++", ["-shared", "-fPIC", "-o", join(lib, "libnccl.so.2"), text]);
  return home;
}
test("NCCL where MOEC_CUDA_HOME says, and its version", () => {
  const home = toolkit(22807);
  assert.equal(nccl({ MOEC_CUDA_HOME: home }), { path: join(home, "lib64", "libnccl.so.2"), version: "2.28.7" });
  const old = toolkit(2804);
  assert.is(nccl({ MOEC_CUDA_HOME: old }).version, "2.8.4");
  assert.is(nccl({ MOEC_CUDA_HOME: home, MOEC_LIBNCCL: join(old, "lib64", "libnccl.so.2") }).version, "2.8.4");
});
test("an NCCL that is not there, or does not work, and what to do", () => {
  for (const [home, message] of [
    [temporaryFolder(), /^NCCL was not found in .*, which MOEC_CUDA_HOME names$/],
    [toolkit(1, 3), /libnccl\.so\.2: ncclGetVersion fails with error 3/],
  ] as const)
    try {
      nccl({ MOEC_CUDA_HOME: home });
      assert.unreachable();
    } catch (error) {
      assert.instance(error, Problem);
      assert.match((error as Problem).message, message);
      assert.match((error as Problem).help, /pip install nvidia-nccl-cu13/);
    }
});
test("MPI where MOEC_LIBMPI says, by what it says of itself, and what to do without one", () => {
  const path = join(temporaryFolder(), "libmpi.so");
  for (const [text, version] of [
    ["MPICH Version:      4.3.1\\nMPICH Release date: Fri Jun 20", "MPICH 4.3.1"],
    ["Open MPI v5.0.11, package: Open MPI x@y Distribution", "Open MPI 5.0.11"],
    ["Intel(R) MPI Library 2021.16 for Linux* OS\\n", "Intel(R) MPI Library 2021.16 for Linux* OS"],
  ] as const) {
    const own = `${path}.${version.length}`;
    writeFileSync(
      `${path}.cpp`,
      `#include <cstring>
      extern "C" int MPI_Get_library_version(char* to, int* n) { *n = strlen(strcpy(to, "${text}")); return 0; }`,
    );
    execFileSync("g++", ["-shared", "-fPIC", "-o", own, `${path}.cpp`]);
    assert.equal(mpi({ MOEC_LIBMPI: own }), { path: own, version });
  }
  assert.throws(
    () => mpi({ MOEC_LIBMPI: path }),
    (e: unknown) =>
      e instanceof Problem && /^MPI was not found\n.*libmpi\.so/.test(e.message) && /openmpi-bin/.test(e.help),
  );
});
test("a line for each part, and with --json an object", () => {
  const env = {
    ...process.env,
    NO_COLOR: "1",
    MOEC_CACHE: join(temporaryFolder(), "cache"),
    MOEC_CUDA_HOME: toolkit(22807),
  };
  const { status, stdout, stderr } = command(["doctor", "--json"], env);
  assert.is(status, 0, stderr);
  const lines = stdout.trim().split("\n");
  const found = new Map(
    lines
      .map((line) => JSON.parse(line) as { part: string; found: string; help: string | null })
      .map((f) => [f.part, f]),
  );
  assert.equal(
    [...found.keys()],
    ["compiler", "addon", "cores", "memory", "cache", "GPUs", "NVRTC", "NCCL", "MPI", "nvdisasm"],
  );
  assert.match(found.get("NCCL")?.found ?? "", /libnccl\.so\.2 2\.28\.7$/);
  assert.is(found.get("NCCL")?.help, null);
  assert.match(found.get("NVRTC")?.help ?? "", /npm run nvrtc/);
});
const lack = (part: string, brings: string, remedy: string | null): Finding => ({ part, found: "?", brings, remedy });
test("what the same lack hides is told its remedy once", () => {
  assert.is(
    shown([
      lack("addon", "It runs", "build it\nor not"),
      lack("cores", "", null),
      lack("MPI", "It sends", "build it\nor not"),
      lack("NCCL", "It reduces", "install it"),
    ]),
    [
      "missing  addon      ?",
      "           It runs: build it",
      "           or not",
      "ok       cores      ?",
      "missing  MPI        ?",
      "           It sends: as for the addon",
      "missing  NCCL       ?",
      "           It reduces: install it",
    ].join("\n"),
  );
});
test("a compiler that lacks its linker is missing, though it tells its version", () => {
  const compiler = join(temporaryFolder(), "compiler");
  const lines = [
    "#!/bin/sh",
    'case "$*" in *-dM*) exec g++ "$@";; esac',
    `echo "collect2: fatal error: cannot find 'ld'" >&2`,
    "exit 1",
    "",
  ];
  writeFileSync(compiler, lines.join("\n"), { mode: 0o700 });
  const { status, stdout } = command(["doctor"], { ...process.env, NO_COLOR: "1", CXX: compiler });
  assert.is(status, 0);
  assert.match(stdout, /^missing {2}compiler .*a part of the C\+\+ compiler is missing \(collect2.*\n.*binutils/);
});
test("Python, whose packages may hold what is missing, is started once", () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "python3"), `#!/bin/sh\necho started >>${folder}/calls\n`, { mode: 0o700 });
  const env = { PATH: `${folder}:${process.env["PATH"] ?? ""}` };
  const { status, stderr } = command(["doctor"], { ...env, MOEC_CUDA_HOME: undefined, NVDISASM: undefined });
  assert.is(status, 0, stderr);
  const calls = join(folder, "calls"); // there is none where toolkits have it all
  assert.is(existsSync(calls) ? readFileSync(calls, "utf8") : "started\n", "started\n");
});
test.run();
