// Fuses collectives of the same kind that do not depend on one another into one step, hence one message: many small messages cost more than one.
import { sum } from "../types/numbers.ts";
import { DependenceGraph, dependences } from "./dependences.ts";
import type { CollectiveOp } from "./plan.ts";
import { isKernel, type Sequence, type VirtualArg, type VirtualBuffer, type VirtualLaunch } from "./sequence.ts";

/** An operand of more bytes is large: it is worth a message of its own, so no two large ones are fused. */
const largeBytes = 256 * 1024;
/** The most bytes of small operands in one step. The limit is there because the first must be kept until the last is computed. */
const maxSmallBytes = 2 * 1024 * 1024;

/** The sequence with collectives of equal attributes fused; exchanges must have the same offsets too. It stands where its last member stood. */
export function fuseCollectives(sequence: Sequence): Sequence {
  const { launches } = sequence;
  const edges = dependences(sequence);
  const groups = groupsOf(launches, edges).filter((group) => group.length > 1);
  if (groups.length === 0) return sequence;
  const lasts = new Map(groups.map((group) => [group.at(-1) ?? 0, group]));
  const lastOf = new Map(groups.flatMap((group) => group.map((at) => [at, group.at(-1) ?? at] as const)));
  const after = scheduleLate(launches.length, edges, (at) => lastOf.get(at) ?? at);
  const of = (at: number): VirtualLaunch[] => launches.slice(at, at + 1);
  return {
    ...sequence,
    launches: after.flatMap((at) => {
      const group = lasts.get(at);
      return group ? [fusedLaunch(group.flatMap(of))] : lastOf.has(at) ? [] : of(at);
    }),
  };
}
/**
 * Indices of launches that are to be one step, group by group. Edges both ways are added between members, so that `edges` has all fusions so far.
 */
function groupsOf(launches: readonly VirtualLaunch[], edges: DependenceGraph): readonly (readonly number[])[] {
  const groups: { readonly first: VirtualLaunch; readonly members: number[]; smallBytes: number; hasLarge: boolean }[] =
    [];
  for (const [at, launch] of launches.entries()) {
    const bytes = bytesOf(launch);
    if (bytes === null) continue;
    const isLarge = bytes > largeBytes;
    const group = groups.findLast(({ first }) => canFuse(first, launch));
    const [before] = group?.members ?? [];
    const fits = group && (isLarge ? !group.hasLarge : group.smallBytes + bytes <= maxSmallBytes);
    if (!group || before === undefined || !fits || edges.reaches(before, at)) {
      groups.push({ first: launch, members: [at], smallBytes: isLarge ? 0 : bytes, hasLarge: isLarge });
      continue;
    }
    edges.add(before, at);
    edges.add(at, before);
    group.members.push(at);
    group.smallBytes += isLarge ? 0 : bytes;
    group.hasLarge ||= isLarge;
  }
  return groups.map(({ members }) => members);
}
/** The size of a collective's first operand on each worker; null: an ordinary launch, which is never fused. */
function bytesOf({ kernel, args: [first] }: VirtualLaunch): number | null {
  return isKernel(kernel) ? null : (first?.buffer.bytes ?? 0);
}
/** Whether both do the same; dtypes matter only where something is summed, not where bytes are moved. */
function canFuse(one: VirtualLaunch, other: VirtualLaunch): boolean {
  if (isKernel(one.kernel) || isKernel(other.kernel) || collectiveKey(one.kernel) !== collectiveKey(other.kernel))
    return false;
  return offsetsOf(one) === offsetsOf(other);
}
const collectiveKey = (kernel: CollectiveOp): string =>
  JSON.stringify(kernel.name === "all_reduce" ? kernel : { ...kernel, dtype: "" });
const offsetsOf = ({ args }: VirtualLaunch): VirtualBuffer | undefined => args.slice(1, -1)[0]?.buffer;

/** A topological order in which each launch comes as late as its readers allow, ties in the old order. Members of a group count as their last one. */
function scheduleLate(count: number, edges: DependenceGraph, fusedInto: (at: number) => number): readonly number[] {
  const reversed = (at: number): number => count - 1 - fusedInto(at);
  const back = new DependenceGraph(count);
  for (const [from, to] of edges.all()) back.add(reversed(to), reversed(from));
  return back
    .topologicalOrder()
    .map((at) => count - 1 - at)
    .toReversed();
}
/** The launch that does all these. Its arguments: all operands, the offsets of an exchange, all results. A sum may overwrite its operand. */
function fusedLaunch(launches: readonly VirtualLaunch[]): VirtualLaunch {
  const [operands, results]: [VirtualArg[], VirtualArg[]] = [[], []];
  for (const { args } of launches) {
    const [from, to] = [args[0], args.at(-1)];
    if (!from || !to) continue;
    operands.push(from.access === "pointwise" ? { ...from, aliasedOutput: to.buffer } : from);
    results.push(to);
  }
  const last = launches.at(-1) as VirtualLaunch;
  const args = [...operands, ...last.args.slice(1, -1), ...results];
  return { ...last, args, flops: sum(launches.map((l) => l.flops)), bytes: sum(launches.map((l) => l.bytes)) };
}
