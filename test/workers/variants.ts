// One of two workers that test/nccl.test.ts starts, on the fake driver that MOEC_LIBCUDA names: what they make of a variant is the same on both,
// whatever each of them has, and what they then launch. Fails with a stack.
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync } from "node:fs";
import process from "node:process";
import { cudaDriver } from "../../runtime/cuda/driver.ts";
import { loadOnDevice } from "../../runtime/cuda/executable.ts";
import { PlanExecutable } from "../../runtime/plan-executable.ts";
import { fromNumbers } from "../../runtime/tensor.ts";
import { workers } from "../../runtime/workers.ts";
import { image, inputs, rows, varied } from "../cuda/chain.ts";

const together = workers();
const { rank } = together;
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
async function judged(each: readonly [Own, Own], runs: number): Promise<readonly [string[], number[]]> {
  const { variant, x = inputs, fails = "" } = each[rank] as Own;
  const { plan, variants } = varied(variant || "twice_sm90");
  const told: string[] = [];
  const executor = loadOnDevice(
    plan,
    cudaDriver(),
    plan.kernels.map((k) => image(k.name)),
    { together, variants: variant ? variants : new Map(), tell: (line) => void told.push(line) },
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

assert.deepEqual(await judged([right, right], 2), [saying("is used: 592 elements agree"), [4, 3]]);
const refused = "is not used, mma.sync is: it does not serve worker 1";
assert.deepEqual(await judged([right, wrong], 3), [saying(refused), [4, 3, 0]]);
assert.deepEqual(await judged([right, { variant: "" }], 2), [saying(refused), [3, 0]]);
assert.deepEqual(await judged([zero, right], 3), [saying("is used: it agrees on worker 1"), [4, 3, 0]]);
const full = { ...right, fails: "cuMemAlloc_v2 2" };
assert.deepEqual(await judged([right, full], 4), [
  saying("is not used, mma.sync is: there is no memory to compare them"),
  [3, 3, 3, 3],
]);
console.log(`worker ${rank} agrees`);
