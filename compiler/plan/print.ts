// Prints a plan: the stores, then the buffers, steps and results of each entry.
import { pluralize } from "../pluralize.ts";
import { showBytes } from "../show-bytes.ts";
import {
  buffersOf,
  type CollectiveOp,
  type Entry,
  isBeside,
  type Layout,
  type Plan,
  type PlanBuffer,
  type Step,
} from "./plan.ts";

export function printPlan(plan: Plan): string {
  const { bytes } = plan;
  const all = ["parameters", "prepared", "gradients", "optimizer", "states", "activations", "arena"] as const;
  const kinds = all.filter((k) => k !== "prepared" || bytes[k] > 0);
  return [
    `plan for ${plan.target}: ${pluralize(plan.kernels.length, "kernel")}, ${kinds.map((k) => `${k} ${showBytes(bytes[k])}`).join(", ")}`,
    "",
    "stores",
    ...plan.stores.map((s) => `  ${s.role} ${showBuffer(plan.buffers[s.buffer])}${s.saved ? "" : ", not saved"}`),
    ...plan.entries.flatMap((entry) => ["", ...printEntry(plan, entry)]),
    "",
  ].join("\n");
}
function printEntry(plan: Plan, entry: Entry): readonly string[] {
  const steps = entry.steps.map((step, i) => `  ${i} ${showStep(plan, step)}`);
  return [
    `entry ${entry.name}(${entry.inputs.join(", ")})`,
    ...lives(plan, entry),
    ...steps,
    ...entry.results.map((r) => `  ${r.role} ${r.name} = ${nameOf(plan, r.buffer)}`),
  ];
}
/** The temporary buffers of an entry with their lifetimes, first and last step; what is in flight lives until it is awaited, results to the end. */
function lives(plan: Plan, entry: Entry): readonly string[] {
  const life = new Map<number, [number, number]>();
  const touch = (given: number, at: number): void => {
    const buffer = plan.buffers[given]?.of ?? given;
    life.set(buffer, [life.get(buffer)?.[0] ?? at, at]);
  };
  const begun: Step[] = [];
  for (const [at, step] of entry.steps.entries()) {
    if (isBeside(step)) begun.push(step);
    const awaited = step.kind === "wait" ? begun.splice(0, begun.indexOf(entry.steps[step.step] ?? step) + 1) : [];
    for (const buffer of [step, ...awaited].flatMap(buffersOf)) touch(buffer, at);
  }
  for (const { buffer } of entry.results) touch(buffer, entry.steps.length);
  const temporary = [...life].filter(([buffer]) => buffer >= plan.stores.length);
  return temporary.map(
    ([buffer, [first, last]]) => `  buffer ${showBuffer(plan.buffers[buffer])}, steps ${first} to ${last}`,
  );
}
function showStep(plan: Plan, step: Step): string {
  if (step.kind === "copy") return `copy ${nameOf(plan, step.to)} = ${nameOf(plan, step.from)}`;
  if (step.kind === "wait") return `wait for ${step.step}`;
  return `${isBeside(step) ? "begin " : ""}${showWork(plan, step)}`;
}
function showWork(plan: Plan, step: Exclude<Step, { readonly kind: "copy" | "wait" }>): string {
  const args = buffersOf(step)
    .map((a) => nameOf(plan, a))
    .join(", ");
  if (step.kind === "collective")
    return `${showCollective(step.collective.op)}(${args}), ${showGroups(step.collective.op)}`;
  const { kernel, tasks, first } = step.launch;
  return `${plan.kernels[kernel]?.name ?? "?"}(${args}), ${tasks} tasks${first === undefined ? "" : ` from ${first} on`}`;
}
const showCollective = ({ name, fn, back, piece, pieces }: CollectiveOp): string =>
  `${name}${fn ? `_${fn}` : ""}${back ? "_back" : ""}${piece === undefined ? "" : ` ${piece + 1} of ${pieces}`}`;
const showGroups = ({ workers, groups, stride }: CollectiveOp): string =>
  groups === undefined
    ? "all workers"
    : `${groups} groups of ${workers}${stride === undefined ? "" : `, stride ${stride}`}`;
const nameOf = (plan: Plan, buffer: number): string => plan.buffers[buffer]?.name ?? "?";
const showLayout = (layout: Layout): string =>
  layout.kind === "rows" ? `rows of ${layout.pitch}` : `panels of ${layout.width}`;
const showBuffer = (b: PlanBuffer | undefined): string =>
  b === undefined
    ? "?"
    : `${b.name}: ${b.dtype}[${b.shape.join(", ")}], ${showLayout(b.layout)}, at ${b.offset}, ${showBytes(b.bytes)}`;
