// NVRTC itself, where there is one: what it says of itself, code for several architectures at once, and its errors.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../compiler/diagnostic.ts";
import { CudaError, nvrtc } from "../runtime/nvrtc.ts";
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
test("what is missing is named, with the remedy", async () => {
  try {
    await nvrtc({ MOEC_CUDA_HOME: "/nowhere" });
    assert.unreachable("found in /nowhere");
  } catch (error) {
    assert.instance(error, Problem);
    assert.match((error as Problem).help, /npm r/);
  }
});

test.run();
