// Exchanges of rows in pieces, by the experts of their owners (FasterMoE's smart schedule, He et al. 2022): an owner computes what came for its first
// experts while the rows of the next ones come, and sends results back while it computes others. Each expert has the rows that it would have, in the same
// order, so no bit changes. Buffers stay whole: a piece of a launch uses its experts' rows of them.
import { item } from "../item.ts";
import { fromTo } from "../types/numbers.ts";
import {
  type Groups,
  isExchange,
  isKernel,
  isRead,
  type Key,
  memoryKey,
  type Sequence,
  type VirtualArg,
  type VirtualLaunch,
} from "./sequence.ts";

/** An exchange is cut into no more pieces. */
const mostPieces = 4;

/**
 * The same launches, but that exchanges of many bytes, and what is computed of their rows expert by expert, are several each. A piece has at least so many
 * bytes of a worker's rows.
 */
export function inPieces(sequence: Sequence, leastBytes = 512 * 1024): Sequence {
  const { launches } = sequence;
  const cuts = cutsOf(launches, leastBytes);
  if (cuts.size === 0) return sequence;
  const inPieces = (launch: VirtualLaunch, at: number): readonly VirtualLaunch[] => {
    const cut = cuts.get(at);
    if (!cut) return [launch];
    return fromTo(0, cut.count).map((piece) => (isExchange(launch) ? ofExchange : ofKernel)(launch, piece, cut));
  };
  return { ...sequence, launches: launches.flatMap(inPieces) };
}
/** The operand of an exchange, and its result. */
const operandOf = ({ args }: VirtualLaunch): VirtualArg => item(args, 0);
const resultOf = ({ args }: VirtualLaunch): VirtualArg => item(args, args.length - 1);
const isBack = ({ kernel }: VirtualLaunch): boolean => !isKernel(kernel) && kernel.back === true;
/** The side where the rows are the experts' owner's. */
const ownedOf = (launch: VirtualLaunch): VirtualArg => (isBack(launch) ? operandOf(launch) : resultOf(launch));
/** The bytes of the rows that a worker has of its own. */
const ownBytes = (launch: VirtualLaunch): number =>
  (isBack(launch) ? resultOf(launch) : operandOf(launch)).buffer.bytes;
/** How many experts each owner has. */
function expertsOf({ kernel, args }: VirtualLaunch): number {
  const ends = item(args, 1).buffer.shape.at(-1) ?? 1;
  return isKernel(kernel) ? 1 : (ends - 1) / kernel.workers;
}

/** Whether pieces of both are one message each. */
const goesWith = (one: VirtualLaunch, other: VirtualLaunch): boolean =>
  isBack(one) === isBack(other) && item(one.args, 1).buffer === item(other.args, 1).buffer;

/** Into how many pieces a launch is cut; `offsets`: where the rows of each of an owner's experts begin. */
interface Cut {
  readonly count: number;
  readonly offsets: Key;
}
/** Of each launch that is cut. */
function cutsOf(launches: readonly VirtualLaunch[], leastBytes: number): ReadonlyMap<number, Cut> {
  const cuts = new Map<number, Cut>();
  const users = usersOf(launches);
  const isLarge = (launch: VirtualLaunch): boolean =>
    isExchange(launch) && expertsOf(launch) > 1 && ownBytes(launch) >= 2 * leastBytes;
  for (const [at, launch] of launches.entries()) {
    if (!isLarge(launch) || cuts.has(at)) continue;
    const { all, offsets } = connected(launches, users, at);
    const large = [...all].map((one) => item(launches, one)).filter(isLarge);
    const most = Math.floor(Math.min(...large.map(ownBytes)) / leastBytes);
    const isCut = (one: VirtualLaunch): boolean => !isExchange(one) || large.some((other) => goesWith(one, other));
    if (all.size === 1) continue;
    const count = Math.min(expertsOf(launch), mostPieces, most);
    for (const one of all) if (isCut(item(launches, one))) cuts.set(one, { count, offsets });
  }
  return cuts;
}
/** The launches that use each buffer. */
function usersOf(launches: readonly VirtualLaunch[]): ReadonlyMap<Key, readonly number[]> {
  const users = new Map<Key, number[]>();
  for (const [at, { args }] of launches.entries())
    for (const { buffer } of args) users.set(memoryKey(buffer), [...(users.get(memoryKey(buffer)) ?? []), at]);
  return users;
}
/**
 * The exchange `from`, and all that can be cut with it: kernels that work expert by expert on the same rows, by the same offsets, and exchanges of what these
 * read or make.
 */
function connected(
  launches: readonly VirtualLaunch[],
  users: ReadonlyMap<Key, readonly number[]>,
  from: number,
): { readonly all: ReadonlySet<number>; readonly offsets: Key } {
  const first = item(launches, from);
  const experts = expertsOf(first);
  const all = new Set([from]);
  let offsets: Key | undefined;
  for (const at of all)
    for (const { arg, axis } of rowsOf(item(launches, at), experts))
      for (const other of users.get(memoryKey(arg.buffer)) ?? []) {
        const launch = item(launches, other);
        if (!rowsOf(launch, experts).some((r) => r.arg.buffer === arg.buffer && r.axis === axis)) continue;
        const own = launch.byGroup && memoryKey(launch.byGroup.offsets);
        offsets ??= own;
        if (own === undefined || own === offsets) all.add(other);
      }
  return { all, offsets: offsets ?? memoryKey(item(first.args, 1).buffer) };
}
interface Rows {
  readonly arg: VirtualArg;
  readonly axis: number;
}
/** The arguments whose rows a launch uses expert by expert; none if it cannot be cut. */
function rowsOf(launch: VirtualLaunch, experts: number): readonly Rows[] {
  if (isExchange(launch)) return expertsOf(launch) === experts ? [{ arg: ownedOf(launch), axis: 0 }] : [];
  const { byGroup, args } = launch;
  if (byGroup?.groups !== experts) return [];
  const rows = args.flatMap((arg, i) => (byGroup.rows[i] === null ? [] : [{ arg, axis: byGroup.rows[i] ?? 0 }]));
  const isCut = args.every((arg) => isRead(arg) || (arg.access === "write" && rows.some((r) => r.arg === arg)));
  return isCut ? rows : [];
}
/** The experts of a piece. */
const expertsOfPiece = (experts: number, piece: number, count: number): readonly [from: number, to: number] => [
  Math.floor((experts * piece) / count),
  Math.floor((experts * (piece + 1)) / count),
];
function ofExchange(launch: VirtualLaunch, piece: number, { count, offsets }: Cut): VirtualLaunch {
  if (isKernel(launch.kernel)) return launch;
  const owned = ownedOf(launch);
  const [from, to] = expertsOfPiece(expertsOf(launch), piece, count);
  return {
    ...launch,
    kernel: { ...launch.kernel, piece, pieces: count },
    args: launch.args.map((arg) => inPart(arg, arg === owned ? { from, to, offsets, axis: 0 } : null)),
    bytes: launch.bytes / count,
  };
}
function ofKernel(launch: VirtualLaunch, piece: number, { count, offsets }: Cut): VirtualLaunch {
  const { groups: experts = 1, rows = [] } = launch.byGroup ?? {};
  const [from, to] = expertsOfPiece(experts, piece, count);
  const each = launch.tasks / experts;
  const [share, first] = [(to - from) / experts, each * from];
  const inGroups = (arg: VirtualArg, axis: number | null): VirtualArg =>
    axis === null ? arg : inPart(arg, { from, to, offsets, axis });
  return {
    ...launch,
    args: launch.args.map((arg, i) => inGroups(arg, rows[i] ?? null)),
    tasks: each * (to - from),
    ...(first > 0 ? { first } : {}),
    flops: launch.flops * share,
    bytes: launch.bytes * share,
  };
}
/** An argument of a piece. `groups`: of which it uses the rows alone; null: of a worker's own rows, where other experts' lie between. */
const inPart = (arg: VirtualArg, groups: Groups | null): VirtualArg => ({
  ...arg,
  access: isRead(arg) ? "read" : "part",
  ...(groups ? { groups } : {}),
});
