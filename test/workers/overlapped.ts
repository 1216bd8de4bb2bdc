// One of the workers that `npm run fuzz -- --kind overlapped` starts: the steps of a random training whose rows go in pieces, beside what does not need them,
// against the bits of one without pieces, and of one that overlaps nothing. Prints what is wrong and fails.
import { readFileSync } from "node:fs";
import { argv } from "node:process";
import { isBeside, type Plan } from "../../compiler/plan/plan.ts";
import { KernelCache } from "../../runtime/cache/kernels.ts";
import { type Executable, inputOfStore, type StoreInfo, type Tensor } from "../../runtime/executable/executable.ts";
import { hostExecutable } from "../../runtime/host/executable.ts";
import { bytesOfTensor, fromNumbers } from "../../runtime/tensor.ts";
import { workers as launched } from "../../runtime/workers/workers.ts";
import { type Overlapped, plansOf } from "../random/overlapped.ts";
import { contextOf, given } from "../random/training.ts";

const world = launched();
const { rank } = world;
const { cache, ...drawn } = JSON.parse(readFileSync(argv[2] ?? "", "utf8")) as Overlapped & { readonly cache: string };
const { names, planOf } = await plansOf(drawn);

/** The bits of all that the entries make, in order, each with the name of what it is. */
async function run(plan: Plan, threads: number): Promise<[string, Uint8Array][]> {
  const made = (): Promise<Executable> =>
    hostExecutable(plan, { threads, poison: true, cache: new KernelCache(cache), shares: threads > 1 });
  const executable = await world.localFirst("compile", made);
  const bits: [string, Uint8Array][] = [];
  for (const [call, entry] of names.entries()) {
    const own = executable.stores.filter((s) => s.role === "input" && s.name.startsWith(`${entry}/`));
    const inputs = new Map(own.map((s) => [inputOfStore(entry, s.name), numbersOf(s)]));
    const { losses, metrics } = await executable.run(entry, inputs, { ...contextOf(call), rank });
    for (const [name, x] of losses) bits.push([`${call}: ${name}`, bytesOfTensor(fromNumbers("f64", [], [x]))]);
    for (const [name, x] of metrics) bits.push([`${call}: ${name}`, bytesOfTensor(x)]);
    for (const { name, role } of executable.stores)
      if (role !== "input") bits.push([`${call}: ${name}`, bytesOfTensor(executable.read(name)).slice()]);
  }
  executable.close();
  return bits;
}
/** What all workers have is the same on each. */
function numbersOf({ name, dtype, shape, shards }: StoreInfo): Tensor {
  const { data } = given(shards ? `${name} of ${rank}` : name, { dtype, shape });
  return fromNumbers(dtype, shape, data);
}
const [cut, whole, waiting] = [planOf(1, 0), planOf(Infinity, 0), planOf(Infinity, Infinity)];
const found = await run(cut, 2);
for (const [how, plan, threads] of [
  ["in one piece", whole, 1],
  ["waited for at once", waiting, 2],
] as const)
  for (const [i, [name, wanted]] of (await run(plan, threads)).entries())
    if (Buffer.compare(wanted, found[i]?.[1] ?? new Uint8Array()) !== 0) {
      console.log(`worker ${rank}: ${name} has other bits than with rows ${how}`);
      process.exit(1); // MPI ends all workers
    }
const steps = cut.entries.flatMap((e) => e.steps);
if (rank === 0) console.log(`agrees, ${steps.filter(isBeside).length} beside`);
