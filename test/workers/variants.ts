// One of two workers that test/cuda/nccl.test.ts starts, on the fake driver that MOEC_LIBCUDA names: what they make of a variant is the same on both,
// whatever each of them has, and what they then launch; and what an error of NCCL says. Fails with a stack.
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync } from "node:fs";
import process from "node:process";
import { planMemory } from "../../compiler/plan/memory.ts";
import type { Sequence, VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { cudaDriver } from "../../runtime/cuda/driver.ts";
import { loadOnDevice } from "../../runtime/cuda/executable.ts";
import { DeviceFailed } from "../../runtime/executable/executable.ts";
import { PlanExecutable } from "../../runtime/executable/plan-executable.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import { workers } from "../../runtime/workers/workers.ts";
import { chainPlanWithVariant, image, inputs, rows } from "../cuda/chain.ts";
import { buffer, ofStore, read, storeOf, write } from "../sequences.ts";

const world = workers();
const { rank } = world;
const log = `${process.argv[2]}.${rank}`;
process.env["MOEC_DEBUG"] = "1";
const zeros = new Map([["x", fromNumbers("f32", [rows, 16], Array<number>(rows * 16).fill(0))]]);

interface Own {
  /** None: its device has no use for it. */
  readonly variant: string;
  readonly x?: typeof inputs;
  readonly fails?: string;
}
/** What the first was told, and how many kernels each run launched, graphs aside. */
async function runTrials(each: readonly [Own, Own], runs: number): Promise<readonly [string[], number[]]> {
  const { variant, x = inputs, fails = "" } = each[rank] as Own;
  const { plan, variants } = chainPlanWithVariant(variant || "twice_sm90");
  const told: string[] = [];
  const executor = loadOnDevice(
    plan,
    cudaDriver(),
    plan.kernels.map((k) => image(k.name)),
    { world, variants: variant ? variants : new Map(), tell: (line) => void told.push(line) },
  );
  const executable = new PlanExecutable(plan, executor, {});
  const launched: number[] = [];
  process.env["MOEC_FAKE_LOG"] = log;
  process.env["MOEC_FAKE_FAIL"] = fails;
  for (let i = 0; i < runs; i++) {
    rmSync(log, { force: true });
    const { outputs } = await executable.run("train", x, { seed: 1, call: 2, step: 3 });
    for (const [j, y] of (outputs[0]?.data ?? []).entries()) assert.equal(y, 2 * Number(x.get("x")?.data[j]));
    const calls = existsSync(log) ? readFileSync(log, "utf8") : "";
    launched.push(calls.match(/^cuLaunchKernel /gm)?.length ?? 0);
  }
  for (const name of ["MOEC_FAKE_LOG", "MOEC_FAKE_FAIL"]) delete process.env[name];
  executable.close();
  return [told, launched];
}
const saying = (text: string): string[] => (rank === 0 ? [`twice_sm90 of model.moe:5 ${text}`] : []);
const [right, wrong, zero] = [
  { variant: "twice_sm90" },
  { variant: "twice_wrong" },
  { variant: "twice_sm90", x: zeros },
];

assert.deepEqual(await runTrials([right, right], 2), [saying("is used: 592 elements agree"), [4, 3]]);
const refused = "is not used, mma.sync is: it does not serve worker 1";
assert.deepEqual(await runTrials([right, wrong], 3), [saying(refused), [4, 3, 0]]);
assert.deepEqual(await runTrials([right, { variant: "" }], 2), [saying(refused), [3, 0]]);
assert.deepEqual(await runTrials([zero, right], 3), [saying("is used: it agrees on worker 1"), [4, 3, 0]]);
const full = { ...right, fails: "cuMemAlloc_v2 2" };
assert.deepEqual(await runTrials([right, full], 4), [
  saying("is not used, mma.sync is: there is no memory to compare them"),
  [3, 3, 3, 3],
]);

const [x, y] = [ofStore(buffer("e/x", [1, 16])), buffer("y", [2, 16])];
const gather: VirtualLaunch = {
  kernel: { name: "all_gather", dtype: "f32", workers: 2 },
  args: [read(x), write(y)],
  tasks: 1,
  flops: 0,
  bytes: 0,
  phase: "forward",
};
const results = [{ role: "output" as const, name: "0", buffer: y }];
const sequence: Sequence = { entry: "e", launches: [gather], assigns: [], results };
const plan = planMemory([sequence], [storeOf(x, "input")], { target: "cuda", header: "" });
const failing = new PlanExecutable(plan, loadOnDevice(plan, cudaDriver(), [], { world }), {});
const given = new Map([["x", fromNumbers("f32", [1, 16], Array<number>(16).fill(1))]]);
rmSync(log, { force: true });
process.env["MOEC_FAKE_LOG"] = log;
await assert.rejects(
  () => failing.run("e", given, { seed: 1, call: 2, step: 3 }),
  (e) =>
    e instanceof DeviceFailed &&
    e.message === "e failed: NCCL_INVALID_ARGUMENT: it went wrong: in NCCL (ncclAllGather)" &&
    e.help.includes("NCCL_DEBUG=INFO"),
);
assert.match(readFileSync(log, "utf8"), /^ncclCommAbort/m); // or what other workers wait for would never end
failing.close();
console.log(`worker ${rank} agrees`);
