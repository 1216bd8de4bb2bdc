// Tasks of a launch touch nothing that others of it write: random programs train in their planned memory under ThreadSanitizer, which sees what meets
// whatever the threads' pace. The kernels are portable ones, for of the others' masked stores it sees nothing.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hostChoicesOf } from "../../compiler/kernel/schedule.ts";
import { silentObserver } from "../../compiler/pass.ts";
import { toPlan } from "../../compiler/pipeline.ts";
import type { Plan, PlanKernel } from "../../compiler/plan/plan.ts";
import { backends } from "../../compiler/targets.ts";
import { nativeBuffer } from "../../runtime/executable/plan-executable.ts";
import { panelWidth } from "../../runtime/host/backend.ts";
import { toolchain } from "../../runtime/host/toolchain.ts";
import { bytesOfTensor, fromNumbers } from "../../runtime/tensor.ts";
import { full } from "../full.ts";
import { project } from "../project.ts";
import { type Kind, randomProgram } from "../random/programs.ts";
import { inputsOf, type Training, trainingOf } from "../random/training.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { x64 } from "./machine.ts";
import { build, compiled } from "./run.ts";

const test = suite("races");
const sanitized = ["-Og", "-g1", "-fsanitize=thread"];
const root = temporaryFolder();
const found = 66;

interface Run {
  readonly status: number | null;
  readonly said: string;
}
/** `lines`: launches; `arena`: what memory holds before. */
function run(library: string, threads: number, arena: Uint8Array, lines: readonly string[]): Run {
  const text = readFileSync(join(project, "test/host/races.cpp"), "utf8");
  const driver = build(text, ".cpp", [...sanitized, "-std=c++17", "-pthread", "-rdynamic", "-ldl"]);
  const file = join(root, "arena");
  writeFileSync(file, arena);
  const options = { input: lines.join("\n"), encoding: "utf8", maxBuffer: 2 ** 28 } as const;
  const { status, stdout, stderr } = spawnSync(driver, [library, String(threads), file], options);
  return { status, said: `${stdout}${stderr}` };
}
const libraryOf = (kernels: readonly PlanKernel[]): string =>
  compiled(kernels, [...sanitized, ...(x64 ? ["-march=x86-64"] : [])]);
const kernelOf = (name: string, statement: string): PlanKernel => ({
  name,
  text: `extern "C" void ${name}(void* const* args, ix begin, ix end, f32* scratch) { for (ix t = begin; t < end; t++) ${statement}; }`,
  origins: [],
  scratch: 0,
});
/** Null where it is there and sees: tasks that write one line are none of its business, tasks that write one float are. */
function missing(): string | null {
  try {
    const library = libraryOf([kernelOf("apart", "((f32*)args[0])[t] = t"), kernelOf("met", "((f32*)args[0])[0] = t")]);
    const ends = ["apart", "met"].map((name) => run(library, 2, new Uint8Array(64), [`${name} 8 0 0`]).status);
    return ends.join() === `0,${found}` ? null : `it ends with ${ends.join(" and ")}`;
  } catch (error) {
    return String(error);
  }
}
const why = missing();

/** Inputs in their places, zeros in the other stores, all bits set in what is only held while an entry runs. */
function arenaOf(plan: Plan, { graphs, stores }: Training): Uint8Array {
  const arena = new Uint8Array(plan.bytes.arena).fill(0xff);
  const inputs = new Map(graphs.flatMap((graph) => [...inputsOf(graph, stores, 1)]));
  for (const { name, buffer } of plan.stores) {
    const { offset, bytes, width, outer, rows, cols, pitch } = nativeBuffer(plan.buffers[buffer] as Plan["buffers"][0]);
    arena.fill(0, offset, offset + bytes);
    const x = inputs.get(name);
    if (!x) continue;
    const plain = bytesOfTensor(fromNumbers(x.dtype, x.shape, x.data));
    for (let row = 0; row < outer * rows; row++)
      arena.set(plain.subarray(row * cols * width, (row + 1) * cols * width), offset + row * pitch * width);
  }
  return arena;
}
function launchesOf(plan: Plan, name: string): string[] {
  const steps = plan.entries.find((entry) => entry.name === name)?.steps ?? [];
  return steps.flatMap((step) => {
    if (step.kind !== "launch") return []; // whole rows of another buffer
    const { kernel, tasks, args } = step.launch;
    const { name, scratch } = plan.kernels[kernel] as PlanKernel;
    return [[name, tasks, scratch, ...args.map((b) => plan.buffers[b]?.offset)].join(" ")];
  });
}
async function check(seed: string, precision: "f32" | "bf16", sizes: NonNullable<Kind["sizes"]>): Promise<void> {
  const training = trainingOf(randomProgram(seed, "p", { looped: false, draws: true, sizes }), precision);
  const graphs = [...new Set(training.graphs)];
  const choices = hostChoicesOf(panelWidth(await toolchain({ ...env, MOEC_ISA: "portable" })));
  const plan = toPlan({ graphs, stores: training.stores }, silentObserver(), undefined, undefined, {
    ...backends.host,
    choices,
  });
  const lines = training.graphs.flatMap((graph) => launchesOf(plan, graph.name));
  for (const threads of full ? [2, 3, 4] : [3]) {
    const { status, said } = run(libraryOf(plan.kernels), threads, arenaOf(plan, training), lines);
    assert.is(status, 0, `${seed} on ${threads} threads\n${said.slice(0, 4000)}`);
  }
}
if (why === null)
  // by the last: a program that has few kernels, but attention, or a mixture, scans and what is put into places
  for (const [sizes, precision, one] of [
    ["large", "f32", 5],
    ["small", "bf16", 0],
    ["aligned", "f32", 5],
  ] as const)
    test(`tasks of a training step do not meet, ${sizes}, ${precision}`, async () => {
      for (const i of full ? [0, 1, 2, 3, 4, 5] : [one]) await check(`races/${sizes}${i}`, precision, sizes);
    });
else console.log(` races: ThreadSanitizer cannot be used here: ${why}`);
test.run();
