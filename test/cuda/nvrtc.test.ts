// NVRTC itself, where there is one: what it says of itself, code for several architectures at once, and its errors.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { CudaError, nvrtc } from "../../runtime/nvrtc.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { foundNvrtc } from "./nvrtc.ts";

const test = suite("nvrtc");

const compiler = await foundNvrtc();
const text = `template <int N> __global__ void scale(float* p) { p[threadIdx.x] *= N; }
extern "C" __global__ void plain(float* p) { p[threadIdx.x] += 1.0f; }`;

if (compiler) {
  test("says its version and what it compiles for", () => {
    assert.match(compiler.version, /^\d+\.\d+$/);
    assert.ok(compiler.architectures.includes(80) && compiler.architectures.includes(90));
  });
  test("code for three architectures at once, with mangled names", async () => {
    const made = ["sm_80", "sm_90a", "sm_90"].map((architecture) =>
      compiler.compile({ name: "k.cu", text, architecture, names: ["scale<3>"], options: ["--ptxas-options=-v"] }),
    );
    for (const { cubin, ptx, log, names } of await Promise.all(made)) {
      assert.is(cubin.toString("latin1", 0, 4), "\x7fELF");
      assert.match(names.get("scale<3>") ?? "", /^_Z5scaleILi3EE/);
      assert.ok(ptx.includes(".entry plain") && ptx.includes(names.get("scale<3>") ?? "?"));
      assert.match(log, /Used \d+ registers/);
    }
  });
  test("an error has the file, the line and the log", async () => {
    const broken = { name: "broken.cu", text: "__device__ int x;\n\n__device__ int y = z;\n", architecture: "sm_80" };
    try {
      await compiler.compile(broken);
      assert.unreachable("it compiles");
    } catch (error) {
      assert.instance(error, CudaError);
      assert.match((error as CudaError).log, /broken\.cu\(3\): error: .*"z"/);
    }
  });
}
/** A CUDA folder with a library that says it is this version of NVRTC. */
function toolkit(major: number, minor: number): string {
  const home = temporaryFolder();
  const [lib, text] = [join(home, "lib64"), join(home, "nvrtc.cpp")];
  mkdirSync(lib);
  const others =
    "CreateProgram DestroyProgram AddNameExpression GetLoweredName CompileProgram GetProgramLogSize GetProgramLog";
  const rest = `${others} GetPTXSize GetPTX GetCUBINSize GetCUBIN`.split(" ");
  writeFileSync(
    text,
    `extern "C" {
    int nvrtcVersion(int* a, int* b) { *a = ${major}; *b = ${minor}; return 0; }
    int nvrtcGetNumSupportedArchs(int* n) { *n = 1; return 0; }
    int nvrtcGetSupportedArchs(int* a) { *a = 80; return 0; }
    ${rest.map((name) => `int nvrtc${name}() { return 1; }`).join("\n")}
    }`,
  );
  execFileSync("g++", ["-shared", "-fPIC", "-o", join(lib, `libnvrtc.so.${major}`), text]);
  return home;
}
const version = async (home: string, driver?: string): Promise<string> =>
  (await nvrtc({ MOEC_CUDA_HOME: home }, driver)).version;
test("code must be for the driver: of its major version, or an older one", async () => {
  const [old, twelve, thirteen] = [toolkit(12, 1), toolkit(12, 9), toolkit(13, 5)];
  assert.is(await version(twelve, "12.0"), "12.9");
  assert.is(await version(twelve, "13.0"), "12.9");
  assert.is(await version(thirteen, "13.0"), "13.5");
  assert.is(await version(thirteen), "13.5");
  for (const [home, driver, message, help] of [
    [
      thirteen,
      "12.4",
      /libnvrtc\.so\.13: 13\.5 makes code that this driver, of CUDA 12\.4, cannot load$/,
      /nvrtc-cu12/,
    ],
    [old, undefined, /libnvrtc\.so\.12: 12\.1 is older than 12\.3$/, /pip install nvidia-cuda-nvrtc`/],
  ] as const)
    try {
      await version(home, driver);
      assert.unreachable();
    } catch (error) {
      assert.instance(error, Problem);
      assert.match((error as Problem).message, message);
      assert.match((error as Problem).help, help);
    }
});
test("an NVRTC that is not told where its other half lies finds it", async () => {
  const home = toolkit(12, 9);
  const [lib, text] = [join(home, "lib64"), join(home, "halves.cpp")];
  const half = "libnvrtc-builtins.so.12.9";
  execFileSync("g++", ["-shared", "-x", "c++", "/dev/null", `-Wl,-soname,${half}`, "-o", join(lib, half)]);
  const whole = readFileSync(join(home, "nvrtc.cpp"), "utf8").replace(
    "{ *n = 1; return 0; }",
    `{ *n = 1; return dlopen("${half}", 1) == nullptr; }`,
  );
  assert.match(whole, "dlopen");
  writeFileSync(text, `#include <dlfcn.h>\n${whole}`);
  execFileSync("g++", ["-shared", "-fPIC", "-o", join(lib, "libnvrtc.so.12"), text, "-ldl"]);
  assert.is(await version(home), "12.9");
});
test("what is missing is named, with the remedy", async () => {
  try {
    await nvrtc({ MOEC_CUDA_HOME: "/nowhere" });
    assert.unreachable("found in /nowhere");
  } catch (error) {
    assert.instance(error, Problem);
    assert.match((error as Problem).message, /^NVRTC was not found in \/nowhere, which MOEC_CUDA_HOME names$/);
    assert.match((error as Problem).help, /^unset MOEC_CUDA_HOME, .*npm run nvrtc/);
  }
});

test.run();
