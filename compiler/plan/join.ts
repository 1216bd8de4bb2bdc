// What workers do together in small pieces is done as one step: what depends on nothing of one another, in one message.
import { dependences, Edges } from "./order.ts";
import type { Together } from "./plan.ts";
import { isKernel, type Sequence, type VirtualArg, type VirtualBuffer, type VirtualLaunch } from "./sequence.ts";

/** Bytes of an operand that a message is long for: two of these stay two. */
const large = 256 * 1024;
/** Bytes of small operands in one step, which wait for one another. */
const most = 2 * 1024 * 1024;

/** The same with what is added up or moved alike, exchanges along one routing, joined; what reads their results comes after the last of them was made. */
export function joined(sequence: Sequence): Sequence {
  const { launches } = sequence;
  const edges = dependences(sequence);
  const groups = groupsOf(launches, edges).filter((group) => group.length > 1);
  if (groups.length === 0) return sequence;
  const lasts = new Map(groups.map((group) => [group.at(-1) ?? 0, group]));
  const inner = new Map(groups.flatMap((group) => group.map((at) => [at, group.at(-1) ?? at] as const)));
  const after = late(launches.length, edges, (at) => inner.get(at) ?? at);
  const of = (at: number): VirtualLaunch[] => launches.slice(at, at + 1);
  return {
    ...sequence,
    launches: after.flatMap((at) => {
      const group = lasts.get(at);
      return group ? [one(group.flatMap(of))] : inner.has(at) ? [] : of(at);
    }),
  };
}
/** Launches that may be one, in their order; an edge each way between those of a group is added. */
function groupsOf(launches: readonly VirtualLaunch[], edges: Edges): readonly (readonly number[])[] {
  const groups: { readonly first: VirtualLaunch; readonly members: number[]; few: number; hasLarge: boolean }[] = [];
  for (const [at, launch] of launches.entries()) {
    const bytes = bytesOf(launch);
    if (bytes === null) continue;
    const isLarge = bytes > large;
    const group = groups.findLast(({ first }) => isAlike(first, launch));
    const [before] = group?.members ?? [];
    const fits = group && (isLarge ? !group.hasLarge : group.few + bytes <= most);
    if (!group || before === undefined || !fits || edges.reaches(before, at) || edges.reaches(at, before)) {
      groups.push({ first: launch, members: [at], few: isLarge ? 0 : bytes, hasLarge: isLarge });
      continue;
    }
    edges.add(before, at);
    edges.add(at, before);
    group.members.push(at);
    group.few += isLarge ? 0 : bytes;
    group.hasLarge ||= isLarge;
  }
  return groups.map(({ members }) => members);
}
/** Of what may be joined: how much each worker has of it. */
function bytesOf({ kernel, args: [first] }: VirtualLaunch): number | null {
  return isKernel(kernel) ? null : (first?.buffer.bytes ?? 0);
}
/** Whether it is the same that is done with both; who only moves bytes asks nobody for a dtype. */
function isAlike(one: VirtualLaunch, other: VirtualLaunch): boolean {
  if (isKernel(one.kernel) || isKernel(other.kernel) || keyOf(one.kernel) !== keyOf(other.kernel)) return false;
  return offsetsOf(one) === offsetsOf(other);
}
const keyOf = (kernel: Together): string =>
  JSON.stringify(kernel.name === "all_reduce" ? kernel : { ...kernel, dtype: "" });
const offsetsOf = ({ args }: VirtualLaunch): VirtualBuffer | undefined => args.slice(1, -1)[0]?.buffer;

/** As late as what comes after allows, else in their order; those that are joined are the last of them. */
function late(count: number, edges: Edges, joinedTo: (at: number) => number): readonly number[] {
  const turned = (at: number): number => count - 1 - joinedTo(at);
  const back = new Edges(count);
  for (const [from, to] of edges.all()) back.add(turned(to), turned(from));
  return back
    .sorted()
    .map((at) => count - 1 - at)
    .toReversed();
}
/** Operands, the offsets of an exchange, results: each result may be over its operand. */
function one(launches: readonly VirtualLaunch[]): VirtualLaunch {
  const [operands, results]: [VirtualArg[], VirtualArg[]] = [[], []];
  for (const { args } of launches) {
    const [from, to] = [args[0], args.at(-1)];
    if (!from || !to) continue;
    operands.push(from.access === "pointwise" ? { ...from, with: to.buffer } : from);
    results.push(to);
  }
  const last = launches.at(-1) as VirtualLaunch;
  const sum = (of: (launch: VirtualLaunch) => number): number => launches.reduce((n, launch) => n + of(launch), 0);
  const args = [...operands, ...last.args.slice(1, -1), ...results];
  return { ...last, args, flops: sum((l) => l.flops), bytes: sum((l) => l.bytes) };
}
