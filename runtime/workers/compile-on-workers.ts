// Compiles a program on several workers, which must then agree on what they do together.
import { compilerVersion } from "../../compiler/assets.ts";
import type { Loaded } from "../../compiler/check/index.ts";
import type { Observer } from "../../compiler/pass.ts";
import { buffersOf, isBeside, type Plan, type Step } from "../../compiler/plan/plan.ts";
import { buildHash } from "../cache/plans.ts";
import { closedOnFailure } from "../closing.ts";
import { type Compiled, compileLoaded, type WorkerRequest } from "../compile.ts";
import { localDevice } from "../cuda/local-device.ts";
import { isaOf } from "../host/backend.ts";
import { toolchain } from "../host/toolchain.ts";
import { native } from "../native.ts";
import { sha256 } from "../storage/files.ts";
import type { Workers } from "./workers.ts";

/**
 * Compiles on each of several workers. The first worker of a machine compiles before the others there, which then find its kernels in the cache. All
 * workers must agree on the collectives (kind, order, shapes, layouts): panel widths depend on the instruction set. On CPUs the instruction sets
 * themselves must be equal too, and so must the builds of moec: otherwise results would be rounded differently, and replicated parameters would
 * drift apart.
 */
export async function compileOnWorkers(
  open: (observer: Observer) => Loaded,
  request: WorkerRequest,
  compile: (open: (observer: Observer) => Loaded, request: WorkerRequest) => Promise<Compiled> = compileLoaded,
): Promise<Compiled> {
  const { world, target } = request;
  if (world.size > 1)
    world.requireEqual(
      { version: compilerVersion, build: buildHash ?? "from sources", addon: native().sources ?? "" },
      "install the same moec on every machine",
    );
  const device = target === "cuda" ? localDevice(world) : undefined;
  const made = await world.localFirst("compile", () => compile(open, { ...request, device }));
  if (world.size === 1) return made;
  return closedOnFailure(made.executable, async () => {
    if (target === "host") await requireInstructions(world);
    world.requireEqual({ plan: `SHA-256 ${sha256(JSON.stringify(made.plan ? workerInvariant(made.plan) : []))}` });
    return made;
  });
}
async function requireInstructions(world: Workers): Promise<void> {
  const instructions = await toolchain().then(isaOf, () => "none");
  world.requireEqual(
    { MOEC_ISA: instructions },
    "set MOEC_ISA for all, to what the oldest CPU has: amx, avx512bf16, avx512, avx2 or portable; arm64 and x64 cannot work together",
  );
}
/**
 * What must be equal on all workers: the collectives, and which are beside, as MPI is asked for those by other calls; on GPUs the kernels and their order
 * too, since workers decide together, at a variant's first launch, whether to use it.
 */
const workerInvariant = ({ target, entries, buffers, kernels }: Plan): readonly unknown[] => [
  ...entries.map(({ name, steps }) => [name, steps.flatMap((step) => describeCollective(step, buffers))]),
  ...(target === "cuda" ? [kernels.map((k) => k.name), entries.map((e) => e.steps.map(buffersOf))] : []),
];
const describeCollective = (step: Step, buffers: Plan["buffers"]): readonly unknown[] =>
  step.kind === "collective"
    ? [
        step.collective.op,
        isBeside(step),
        ...step.collective.args.map((i) => ({ shape: buffers[i]?.shape, layout: buffers[i]?.layout })),
      ]
    : [];
