// What NVRTC makes of kernels: its log, the cache, kernels that spill, architectures.
import { rejects } from "node:assert/strict";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { compileTarget } from "../../compiler/options.ts";
import type { PlanKernel } from "../../compiler/plan/plan.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { capability, occupancy, requireArchitecture, requireSharedMemory } from "../../runtime/cuda/architecture.ts";
import { compileKernels, parseResources } from "../../runtime/cuda/code.ts";
import type { Nvrtc } from "../../runtime/nvrtc.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { compiledAlone, foundNvrtc } from "./nvrtc.ts";

const test = suite("cuda-code");
const compiler = await foundNvrtc();

test("what ptxas tells of a kernel", () => {
  const log = [
    "ptxas info    : Compiling entry function 'one' for 'sm_80'",
    "    0 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads",
    "ptxas info    : Used 46 registers, used 1 barriers, 128 bytes smem, 368 bytes cmem[0]",
    "ptxas info    : Compiling entry function 'two' for 'sm_80'",
    "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads",
    "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized",
    "ptxas info    : Used 20 registers, 352 bytes cmem[0]",
    "ptxas info    : Compiling entry function 'three' for 'sm_80'",
    "    0 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads",
    "ptxas info    : Used 30 registers, used 1 barriers, 256 bytes smem, 352 bytes cmem[0]",
  ].join("\n");
  const { warnings, ...one } = parseResources("one", log);
  assert.equal(one, { registers: 46, shared: 128, spills: 12 });
  assert.is(warnings.length, 1);
  const two = parseResources("two", log);
  assert.equal([two.registers, two.shared, two.spills], [20, 0, 0]);
});
/** A kernel whose threads each keep 48 numbers. */
function hungry(blocks: number): PlanKernel {
  const text = `KERNEL void __launch_bounds__(256, MIN_BLOCKS(${blocks})) hungry(f32* x) {
  f32 kept[48];
  UNROLL for (int i = 0; i < 48; i++) kept[i] = x[threadIdx.x + i * 256];
  __syncthreads();
  UNROLL for (int i = 0; i < 48; i++) x[threadIdx.x + i * 256] = kept[i] * kept[(i * 7 + 5) % 48];
}
KERNEL_END(hungry)
`;
  return { name: "hungry", text, origins: [], scratch: 0, launch: { threads: 256, shared: 0, wide: false } };
}
const compile: Nvrtc["compile"] = async () => ({ ptx: "", cubin: Buffer.of(1), log: "", names: new Map() });
test("how many kernels are compiled is told, and nothing where the cache has them", async () => {
  const plan = { kernels: [hungry(1), { ...hungry(2), name: "second" }], header: "" };
  const compiler = { compile, version: "1" };
  const cache = new KernelCache(temporaryFolder());
  const told: [number, number][] = [];
  const onCompile = (done: number, of: number): void => void told.push([done, of]);
  for (let i = 0; i < 2; i++)
    await compileKernels(plan, { architecture: "sm_80", compiler, cache, jobs: 2, onCompile });
  assert.equal(told, [
    [0, 2],
    [1, 2],
    [2, 2],
  ]);
});
if (compiler)
  test("a kernel that spills is compiled again for fewer blocks", async () => {
    const asked: string[] = [];
    const counting: Pick<Nvrtc, "compile"> = {
      compile(source) {
        asked.push(source.options?.find((o) => o.includes("HALVED")) ?? "");
        return compiler.compile(source);
      },
    };
    const code = await compiledAlone(hungry(8), counting);
    assert.equal(asked, ["", "-DHALVED=1"]);
    assert.is(code?.spills, 0);
    assert.ok((code?.registers ?? 0) > 32, `${code?.registers ?? 0} registers`);
  });
if (compiler)
  test("a kernel that NVRTC refuses is told of with the log, its own line and the program's", async () => {
    const whole = hungry(1);
    const broken = { ...whole, text: whole.text.replace("kept[i] = x[", "kept[i] = lost["), origins: ["model.moe:7"] };
    await rejects(
      compiledAlone(broken, { compile: (source) => compiler.compile(source) }),
      /^Bug: kernel hungry of model\.moe:7: NVRTC refuses it\nhungry\.cu\(\d+\): error: .*"lost".*\n {4}UNROLL for .* = lost\[/,
    );
  });
/** What is kept of a kernel for 8 blocks, or of another, where choices spill so much, and how many were compiled. `asked`: gets the options of each. */
async function keptOf(
  spills: readonly number[],
  registers: number,
  { kernel = hungry(8), asked = [] }: { readonly kernel?: PlanKernel; readonly asked?: string[] } = {},
): Promise<unknown> {
  let seen = 0;
  const compile: Nvrtc["compile"] = ({ options = [] }) => {
    asked.push(options.filter((o) => o.startsWith("-D")).join(" "));
    const log = `entry function 'hungry' for 'sm_80'\n 0 bytes stack frame, ${spills[seen++] ?? 0} bytes spill stores\nUsed ${registers} registers`;
    return Promise.resolve({ ptx: String(seen), cubin: Buffer.alloc(0), log, names: new Map() });
  };
  const code = await compiledAlone(kernel, { compile });
  return [code?.spills, code?.ptx, seen];
}
test("where every choice spills, the least is kept; where a thread has all registers, fewer blocks bring no more", async () => {
  assert.equal(await keptOf([8, 40, 4, 4], 99), [4, "3", 4]);
  assert.equal(await keptOf([8, 4], 255), [8, "1", 1]);
});
test("where warps are specialised, producers get more registers, or epilogues take fewer columns", async () => {
  const [asked, kernel] = [[] as string[], hungry(1)];
  const specialised = { ...kernel, text: `${kernel.text}// producer_setmaxnreg();` };
  assert.equal(await keptOf([8, 12, 0], 168, { kernel: specialised, asked }), [0, "3", 3]);
  assert.equal(asked, ["", "-DPRODUCER_REGISTERS=56", "-DWIDEST_GROUP=4"]);
});
const share = (threads: number, registers: number, shared: number, architecture = "sm_80"): number | null =>
  occupancy({ threads, registers, shared }, architecture);
test("occupancy by registers, shared memory, warps and blocks", () => {
  assert.is(share(256, 32, 0), 1);
  assert.is(share(256, 128, 0), 16 / 64);
  assert.is(share(128, 32, 49152), (3 * 4) / 64);
  assert.is(share(32, 16, 0), 0.5);
  assert.is(share(128, 32, 49152, "sm_90a"), (4 * 4) / 64);
  assert.is(share(128, 32, 0, "sm_999"), null);
});
test("a kernel that wants more shared memory than a block has is refused with its line", () => {
  const kernel = { name: "dot_1", origins: ["model.moe:7"], shared: 170_000 };
  assert.throws(
    () => requireSharedMemory(kernel, "sm_80"),
    /dot_1 of model\.moe:7 wants 170000 bytes.*sm_80 gives a block 166912/,
  );
  requireSharedMemory(kernel, "sm_90a");
  requireSharedMemory({ ...kernel, shared: 166_912 }, "sm_80");
});
const unasked: Nvrtc["compile"] = () => Promise.reject(new Error("it was compiled"));
test("what is too large stops compiling", async () => {
  const kernel = { ...hungry(1), origins: ["model.moe:7"], launch: { threads: 256, shared: 200_000, wide: false } };
  try {
    await compiledAlone(kernel, { compile: unasked });
    assert.unreachable("it was not refused");
  } catch (error) {
    assert.instance(error, Problem);
  }
});
test("architectures", () => {
  assert.equal(["sm_90a", "sm_100f", "sm_75"].map(capability), [90, 100, 75]);
  const nvrtc = { version: "12.9", architectures: [75, 80, 90, 100] };
  assert.throws(() => requireArchitecture("sm_75", nvrtc), /older than sm_80/);
  for (const name of ["sm_130", "sm_80a", "sm_90f"])
    assert.throws(
      () => requireArchitecture(name, nvrtc),
      (e: unknown) =>
        e instanceof Problem &&
        e.message === `this NVRTC makes no code for ${name}` &&
        e.help === "name one of sm_80, sm_90, sm_90a, sm_100, sm_100a, sm_100f",
    );
  for (const name of ["sm_80", "sm_90a", "sm_100f"]) requireArchitecture(name, nvrtc);
  assert.throws(() => requireArchitecture("sm_100f", { ...nvrtc, version: "12.8" }), /no code for sm_100f/);
  assert.is(compileTarget.parse("cuda:sm_90a"), "cuda:sm_90a");
  for (const text of ["cuda", "cuda:sm_75", "cuda:sm_9"])
    assert.throws(() => compileTarget.parse(text), /from sm_80 on, cuda:sm_90a say/);
  assert.throws(() => compileTarget.parse("cuda:gtx"), /cuda:sm_90a/);
});

test.run();
