// Decides which buffers of an entry share memory: assignments to stores and updates in place, and results written over inputs that nothing reads
// later. First step of `planMemory` for an entry; `place.ts` follows.
import { Bug } from "../diagnostic.ts";
import { sameShape } from "../types/numbers.ts";
import { heldUntil, isHeldAt, type LiveRange, type LiveRanges } from "./liveness.ts";
import type { Layout } from "./plan.ts";
import { canAlias, isRead, memoryKey, type Sequence, type VirtualBuffer, type VirtualLaunch } from "./sequence.ts";

/** Buffers at one address, which hold data at different times. `store`: the store that is among them; null if there is none. */
export interface AliasSet {
  readonly store: string | null;
  readonly members: readonly LiveRange[];
}
export interface Copy {
  readonly from: VirtualBuffer;
  readonly to: VirtualBuffer;
}
interface Aliasing {
  readonly sets: readonly AliasSet[];
  /** `copies[i]`: what must be copied before launch i (the last entry: after all launches), because memory could not be shared. */
  readonly copies: readonly (readonly Copy[])[];
}

export const sameLayout = (a: Layout, b: Layout): boolean =>
  a.kind === "rows" ? b.kind === "rows" && a.pitch === b.pitch : b.kind === "panels" && a.width === b.width;
/** Whether two buffers have the same type, size and layout, so that one may take the place of the other. */
export const sameDescriptor = (a: VirtualBuffer, b: VirtualBuffer): boolean =>
  a.dtype === b.dtype && a.bytes === b.bytes && sameShape(a.shape, b.shape) && sameLayout(a.layout, b.layout);

/**
 * Merges buffers greedily: assignments to stores first, as a copy of a parameter is the most expensive; then updates with their base; then outputs
 * with inputs that die in the same launch. `stores`: the buffer of each store.
 */
export function shareMemory(
  sequence: Sequence,
  lives: LiveRanges,
  stores: ReadonlyMap<string, VirtualBuffer>,
): Aliasing {
  const end = sequence.launches.length;
  const sets = new AliasSets(sequence, lives);
  const copies: Copy[][] = Array.from({ length: end + 1 }, () => []);
  const copy = (at: number, from: VirtualBuffer, to: VirtualBuffer): void => {
    if (!sameDescriptor(from, to))
      throw new Bug(`${from.name} has another layout than ${to.name}, which is a copy of it`);
    copies[at]?.push({ from, to });
  };
  for (const { store, from } of sequence.assigns) {
    const to = stores.get(store);
    if (to === undefined) throw new Bug(`assignment to ${store}, which is no store`);
    lives.extend(to, -1);
    if (to.bytes === 0 || sets.merge(lives.of(to), lives.of(from))) continue;
    lives.extend(to, end);
    copy(end, from, to);
  }
  for (const [at, { args }] of sequence.launches.entries()) {
    for (const { buffer, base } of args) {
      if (base === undefined || sets.merge(lives.of(base), lives.of(buffer))) continue;
      copy(at, base, buffer);
    }
  }
  for (const launch of sequence.launches) reuseInputs(launch, lives, sets);
  return { sets: sets.all(), copies };
}
function reuseInputs(launch: VirtualLaunch, lives: LiveRanges, sets: AliasSets): void {
  for (const to of launch.args) {
    if (to.access !== "write") continue;
    launch.args.some((from) => canAlias(from, to.buffer) && sets.merge(lives.of(from.buffer), lives.of(to.buffer)));
  }
}

class AliasSets {
  readonly #of = new Map<LiveRange, AliasSet>();
  readonly #sequence: Sequence;
  constructor(sequence: Sequence, lives: LiveRanges) {
    this.#sequence = sequence;
    for (const life of lives.all()) this.#add({ store: life.buffer.store, members: [life] });
  }
  all(): readonly AliasSet[] {
    return [...new Set(this.#of.values())];
  }
  /**
   * Puts both in one set if no two members of their sets hold data at the same time, as two stores do before the entry begins. Returns whether they
   * are in one set now.
   */
  merge(a: LiveRange, b: LiveRange): boolean {
    const left = this.#setOf(a);
    const right = this.#setOf(b);
    if (left === right) return true;
    if (!sameDescriptor(a.buffer, b.buffer)) return false;
    if (!left.members.every((x) => right.members.every((y) => this.#compatible(x, y)))) return false;
    this.#add({ store: left.store ?? right.store, members: [...left.members, ...right.members] });
    return true;
  }
  #setOf(life: LiveRange): AliasSet {
    const group = this.#of.get(life) ?? { store: life.buffer.store, members: [life] };
    if (!this.#of.has(life)) this.#add(group);
    return group;
  }
  #add(group: AliasSet): void {
    for (const life of group.members) this.#of.set(life, group);
  }
  #compatible(a: LiveRange, b: LiveRange): boolean {
    return heldUntil(a) < b.first || heldUntil(b) < a.first || this.#handsOver(a, b) || this.#handsOver(b, a);
  }
  /** Whether one launch both ends `from` and begins `to`, and reads each element of `from` before it overwrites it. */
  #handsOver(from: LiveRange, to: LiveRange): boolean {
    if (from.last !== to.first || isHeldAt(from, to.first)) return false;
    const args = this.#sequence.launches[to.first]?.args ?? [];
    const written = args.find((arg) => arg.buffer === to.buffer && !isRead(arg) && arg.access !== "part");
    const uses = args.filter((arg) => isRead(arg) && same(arg.buffer, from.buffer));
    if (written?.access === "update")
      return uses.length === 0 && written.base !== undefined && same(written.base, from.buffer);
    const points = uses.length > 0 && uses.every((arg) => canAlias(arg, to.buffer));
    return written !== undefined && points;
  }
}
const same = (a: VirtualBuffer, b: VirtualBuffer): boolean => memoryKey(a) === memoryKey(b);
