// Writes lines that repeat as loops. A lane that makes a whole row (lower/rows/lanes.ts) has a line for each number; where the same few steps follow one
// another (rounds of Sinkhorn's scaling, and of its backward) they become one loop of rounds. Values stay the same bits: no line is changed but in what it reads.
import { Bug } from "../diagnostic.ts";
import { groupBy } from "../group-by.ts";
import { item } from "../item.ts";
import type { KernelBuilder } from "./builder.ts";
import { add, load, mul, num, sub, typeOf, variable } from "./expr.ts";
import type { Expr, Load, Stmt, StmtOf, Tile, Var } from "./ir.ts";
import { mapExpressions, ownExpressions } from "./passes.ts";
import { show } from "./print.ts";

/** A loop of fewer rounds, or one that saves fewer lines, is not worth its loads and stores. */
const [fewestRounds, fewestLines] = [4, 64];
/** The longest round that is looked for, in lines. */
const longestRound = 1024;

/** Lines `start` to `start + rounds * period`. */
interface Loop {
  readonly start: number;
  readonly period: number;
  readonly rounds: number;
}
/** A statement: what it does, without the lines that it reads, and those. Equal numbers do the same; what is no `let` does what no other does. */
interface Line {
  readonly does: number;
  readonly reads: readonly number[];
}
const endOf = ({ start, period, rounds }: Loop): number => start + period * rounds;
/** The lines of its first round, which stand for those of all. */
const ownLines = ({ start, period }: Loop): number[] => Array.from({ length: period }, (_, i) => start + i);
const saved = ({ period, rounds }: Loop): number => period * (rounds - 1);
const isWorth = (loop: Loop): boolean => loop.rounds >= fewestRounds && saved(loop) >= fewestLines;

/**
 * Adds the statements to the innermost scope of a builder, with loops for those that repeat. `lane`: the variable of the `par` whose body they are. `keepsAll`:
 * where other loops read what each round made all of that is kept, not only what the next round reads, of which the rest is made again.
 */
export function roll(k: KernelBuilder, list: readonly Stmt[], lane: Var, keepsAll: boolean): void {
  const places = new Map(list.flatMap((s, i) => (s.s === "let" ? [[s.v as Expr, i] as const] : [])));
  const lines = linesOf(list, places);
  const loops: Loop[] = [];
  for (const found of repetitions(lines, 0, lines.length)) {
    const loop = withKnownReads(found, lines, loops);
    if (isWorth(loop)) loops.push(loop);
  }
  if (loops.length === 0) for (const s of list) k.push(s);
  else new Rolled(k, { list, places, lines, loops }, lane, keepsAll).write();
}
/** The line of each variable. */
type Places = ReadonlyMap<Expr, number>;
function linesOf(list: readonly Stmt[], places: Places): Line[] {
  const kinds = new Map<string, number>();
  return list.map((s, i) => {
    const reads: number[] = [];
    const note = (x: Expr): Expr => {
      reads.push(places.get(x) ?? 0);
      return variable(`#${typeOf(x)}`);
    };
    const texts = ownExpressions(s).map((x) => show(mapReads(x, places, note)));
    const text = s.s === "let" ? `${s.v.type} ${texts.join()}` : `${i}`;
    const does = kinds.get(text) ?? kinds.size;
    kinds.set(text, does);
    return { does, reads };
  });
}
/** An expression with `f` of each variable of a line in its place, in the order of its text. */
function mapReads(x: Expr, places: Places, f: (x: Expr) => Expr): Expr {
  if (places.has(x)) return f(x);
  if (x.e === "load") return { ...x, at: x.at.map((y) => mapReads(y, places, f)) };
  return x.e === "op" ? { ...x, args: x.args.map((y) => mapReads(y, places, f)) } : x;
}
/** Loops in lines `from` to `to`, in order: the one that saves the most lines, and those before and after it. */
function repetitions(lines: readonly Line[], from: number, to: number): Loop[] {
  let best: Loop = { start: from, period: 1, rounds: 0 };
  for (let period = 1; period <= Math.min(longestRound, (to - from) / fewestRounds); period++) {
    const loop = longestLoop(lines, from, to, period);
    if (saved(loop) > saved(best)) best = loop;
  }
  if (!isWorth(best)) return [];
  return [...repetitions(lines, from, best.start), best, ...repetitions(lines, endOf(best), to)];
}
/** The longest loop of rounds of so many lines: each does what the line a period before does, and what it reads has moved on as it did for that one. */
function longestLoop(lines: readonly Line[], from: number, to: number, period: number): Loop {
  let [start, best] = [from, { start: from, period, rounds: 1 }];
  for (let i = from; i + period < to; i++) {
    if (lines[i]?.does !== lines[i + period]?.does) start = i + 1;
    else if (i - period >= start && !movesOn(lines, i, period)) start = i - period + 1;
    const rounds = Math.floor((i + 1 - start) / period) + 1;
    if (rounds > best.rounds) best = { start, period, rounds };
  }
  return best;
}
const movesOn = (lines: readonly Line[], i: number, period: number): boolean =>
  item(lines, i).reads.every(
    (at, n) => item(lines, i + period).reads[n] === 2 * at - item(item(lines, i - period).reads, n),
  );

/**
 * The rounds of a loop that read only their own lines, those of the round before, lines before the loop, and, where a read moves on with each round, one round
 * after the other of one of the earlier loops.
 */
function withKnownReads(loop: Loop, lines: readonly Line[], earlier: readonly Loop[]): Loop {
  const { start, period, rounds } = loop;
  const sourceOf = (i: number, n: number, round: number): string | null => {
    const [at, step] = [item(item(lines, i).reads, n), stepOf(loop, lines, i, n)];
    if (step === period && at >= start - period) return "near";
    if (step === 0) return at < start + round * period ? "before" : null;
    const owner = loopOf(at + step * round, earlier);
    return owner && step % owner.period === 0 ? `${owner.start}` : null;
  };
  const sourcesIn = (round: number): string | null => {
    const own = lines.slice(start, start + period);
    const sources = own.flatMap(({ reads }, i) => reads.map((_, n) => sourceOf(start + i, n, round)));
    return sources.includes(null) ? null : sources.join();
  };
  const all = Array.from({ length: rounds }, (_, round) => sourcesIn(round));
  const first = all.findIndex((sources) => sources !== null);
  if (first < 0) return { start, period, rounds: 0 };
  const length = all.slice(first).findIndex((sources) => sources !== all[first]);
  return { start: start + first * period, period, rounds: length < 0 ? rounds - first : length };
}
const loopOf = (at: number, loops: readonly Loop[]): Loop | undefined =>
  loops.find((loop) => at >= loop.start && at < endOf(loop));
/** By how many lines what line i of the first round reads moves on with each round. */
const stepOf = ({ period }: Loop, lines: readonly Line[], i: number, n: number): number =>
  item(item(lines, i + period).reads, n) - item(item(lines, i).reads, n);

/** Where a value of a loop lies that is read outside of its round: the last one, or that of each round after what the first one reads in its place. */
interface Kept {
  readonly tile: Tile;
  readonly place: number;
  readonly isEach: boolean;
}
/** Statements, the line of each variable, and the loops that were found. */
interface Found {
  readonly list: readonly Stmt[];
  readonly places: Places;
  readonly lines: readonly Line[];
  readonly loops: readonly Loop[];
}
/** Writes the statements with the loops. */
class Rolled {
  readonly #k: KernelBuilder;
  readonly #found: Found;
  readonly #lane: Var;
  readonly #keepsAll: boolean;
  /** By the line of the first round, as `carried`: those that the next round reads. */
  readonly #kept = new Map<number, Kept>();
  readonly #carried = new Set<number>();

  constructor(k: KernelBuilder, found: Found, lane: Var, keepsAll: boolean) {
    [this.#k, this.#found, this.#lane, this.#keepsAll] = [k, found, lane, keepsAll];
  }
  write(): void {
    this.#findKept();
    let at = 0;
    for (const loop of this.#found.loops) {
      this.#writeLines(at, loop.start);
      this.#writeLoop(loop);
      at = endOf(loop);
    }
    this.#writeLines(at, this.#found.list.length);
  }
  /** Keeps what the next round reads, of each round if others read more than the last; and what is read of the last one. */
  #findKept(): void {
    const ends = new Set<number>();
    const again = new Set<Loop>();
    this.#found.lines.forEach(({ reads }, i) => {
      for (const at of reads) {
        const loop = loopOf(at, this.#found.loops);
        if (!loop) continue;
        const [first, round] = placeIn(loop, at);
        if (loopOf(i, [loop])) {
          if (placeIn(loop, i)[1] !== round) this.#carried.add(first);
        } else if (round === loop.rounds - 1) ends.add(first);
        else again.add(loop);
      }
    });
    for (const loop of this.#found.loops) {
      const isEach = again.has(loop);
      const isKept = (i: number): boolean => this.#carried.has(i) || (isEach ? this.#keepsAll : ends.has(i));
      for (const [type, lines] of groupBy(ownLines(loop).filter(isKept), (i) => this.#let(i).v.type)) {
        const shape = [...(isEach ? [loop.rounds + 1] : []), lines.length];
        const tile = this.#k.own("kept", type, shape, this.#lane);
        for (const [place, i] of lines.entries()) this.#kept.set(i, { tile, place, isEach });
      }
    }
  }
  #let(line: number): StmtOf<"let"> {
    const s = item(this.#found.list, line);
    if (s.s !== "let") throw new Bug("a line that is read has no value");
    return s;
  }
  /** Where round `round` keeps what it makes in a line of the first round; -1: what the first round reads as the one before it. */
  #place({ tile, place, isEach }: Kept, round: Expr): Load {
    return load(tile, ...(isEach ? [add(round, num(1))] : []), num(place), this.#lane);
  }
  #keep(first: number, round: Expr, value: Expr): void {
    const kept = this.#kept.get(first);
    if (!kept) return;
    const { from, at } = this.#place(kept, round);
    this.#k.store(from, at, value);
  }
  /** What round `round` of a loop made in a line of the first round: kept, or made again of what is. */
  #made(loop: Loop, first: number, round: Expr): Expr {
    const kept = this.#kept.get(first);
    if (kept) return this.#place(kept, round);
    const key = `line ${first} of round ${show(round)}`;
    const known = this.#k.recall(key);
    if (known) return known;
    const { period, start } = loop;
    const again = this.#reading(first, (at, n) => {
      const step = stepOf(loop, this.#found.lines, first, n);
      if (at >= start) return this.#made(loop, at, round);
      const isNear = step === period && at >= start - period;
      return isNear ? this.#made(loop, at + period, sub(round, num(1))) : this.#moved(at, step, round);
    });
    const made = this.#k.letHere("again", again(this.#let(first).value));
    this.#k.remember(key, made);
    return made;
  }
  /** The value of a line for what comes after its loop. */
  #valueOf(at: number): Expr {
    const loop = loopOf(at, this.#found.loops);
    if (!loop) return this.#let(at).v;
    const [first, round] = placeIn(loop, at);
    return this.#made(loop, first, num(round));
  }
  /** What a round reads of a line before its loop, or of another one in each round, which is of an earlier loop. */
  #moved(at: number, step: number, round: Expr): Expr {
    const loop = loopOf(at, this.#found.loops);
    if (!loop || step === 0) return this.#valueOf(at);
    const [first, begin] = placeIn(loop, at);
    const moved = mul(round, num(Math.abs(step / loop.period)));
    return this.#made(loop, first, step < 0 ? sub(num(begin), moved) : add(moved, num(begin)));
  }
  /** Expressions of line i that read f of each line, and of which of its reads that is, instead. */
  #reading(i: number, f: (at: number, n: number) => Expr): (x: Expr) => Expr {
    const { reads } = item(this.#found.lines, i);
    let n = 0;
    return (x) => mapReads(x, this.#found.places, () => f(item(reads, n), n++));
  }
  #writeLine(i: number, f: (at: number, n: number) => Expr): void {
    this.#k.push(mapExpressions(item(this.#found.list, i), this.#reading(i, f)));
  }
  #writeLines(from: number, to: number): void {
    for (let i = from; i < to; i++) this.#writeLine(i, (at) => this.#valueOf(at));
  }
  #writeLoop(loop: Loop): void {
    const [k, { start, period, rounds }] = [this.#k, loop];
    const own = ownLines(loop);
    const carried = own.filter((i) => this.#carried.has(i));
    for (const i of carried) this.#keep(i, num(-1), this.#valueOf(i - period));
    k.for("round", num(0), num(rounds), 1, ({ at: round }) => {
      const made = (i: number): Expr => k.letHere("before", this.#made(loop, i, sub(round, num(1))));
      const before = new Map(carried.map((i) => [i - period, made(i)]));
      for (const i of own)
        this.#writeLine(i, (at, n) => {
          const step = stepOf(loop, this.#found.lines, i, n);
          if (at >= start) return this.#let(at).v;
          return (step === period && before.get(at)) || this.#moved(at, step, round);
        });
      for (const i of own) this.#keep(i, round, this.#let(i).v);
    });
  }
}
/** The line of the first round, and the round, of a line of a loop. */
function placeIn({ start, period }: Loop, at: number): readonly [first: number, round: number] {
  const place = (at - start) % period;
  return [start + place, (at - start - place) / period];
}
