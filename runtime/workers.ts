// The processes that train one model, and what they tell one another. All do the same in the same order; where one cannot go on, the others learn of
// it at what they do together next, so that none waits for it.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { Problem } from "../compiler/diagnostic.ts";
import type { Free } from "../compiler/plan/bytes.ts";
import { DeviceFailed } from "./executable.ts";
import { cores, freeMemory } from "./host/machine.ts";
import { workers as begun, launched } from "./mpi.ts";
import type { Workers as Native } from "./native.ts";

/** What carries it: MPI. */
export type Wire = Pick<Native, "rank" | "size" | "allGather" | "abort" | "finalize">;

/** Thrown on a worker that is right itself: another has failed, and says why. */
export class Elsewhere extends Problem {
  constructor(rank: number) {
    super(`worker ${rank} has failed`, "it says why");
  }
}
/** Of the workers on one machine: which they are, how many share this one's cores, and how many of the launcher's cores none of them may use. */
interface Here {
  readonly ranks: readonly number[];
  readonly sharing: number;
  readonly idle: number;
}

/** This worker, from 0 to size - 1, among all. Only worker 0 writes files, and prints. Every function here is called by all of them, in the same order. */
export class Workers {
  readonly rank: number;
  readonly size: number;
  /** For each worker, if not asked for otherwise: the same on all, for plans depend on it. Undefined of one that is alone. */
  readonly threads: number | undefined;
  /** Cores of this machine that the launcher may use and the workers that it bound to some may not. */
  readonly idle: number;
  readonly #wire: Wire;
  readonly #here: Here;
  /** Why nothing is done together any more. */
  #over: Problem | null = null;
  /** An entry runs, or has failed: others may wait in it, where nothing can be told to them. */
  #inside = false;

  constructor(wire: Wire) {
    this.#wire = wire;
    this.rank = wire.rank;
    this.size = wire.size;
    this.#here = this.size === 1 ? { ranks: [0], sharing: 1, idle: 0 } : this.#found();
    this.idle = this.#here.idle;
    const own = Math.max(1, Math.floor(cores() / this.#here.sharing));
    this.threads = this.size === 1 ? undefined : Math.min(...this.numbers("threads", own));
  }
  /** What this machine has for plans of its workers. */
  memory(): Free {
    return { bytes: freeMemory(), sharing: this.#here.ranks.length };
  }
  /** What each worker has to say of `what`. */
  numbers(what: string, own: number): Float64Array {
    if (this.size === 1) return Float64Array.of(own);
    if (this.#over) throw this.#over;
    const told = this.#tell(0, what, own);
    const failed = told.findIndex((t) => t.failed);
    if (failed >= 0) throw this.#end(new Elsewhere(failed));
    if (told.some((t) => t.of !== told[0]?.of)) throw this.#end(this.#apart(what));
    return Float64Array.from(told, (t) => t.number);
  }
  /** Whether it is so on some worker. */
  some(what: string, own: boolean): boolean {
    return this.numbers(what, Number(own)).some((n) => n !== 0);
  }
  /** What each worker gives. */
  exchange(what: string, bytes: Uint8Array): readonly Uint8Array[] {
    const lengths = [...this.numbers(what, bytes.byteLength)];
    const longest = Math.max(...lengths);
    const padded = new Uint8Array(longest);
    padded.set(bytes);
    const all = this.#wire.allGather(padded);
    return lengths.map((length, i) => all.subarray(i * longest, i * longest + length));
  }
  /** Of the workers of this machine that say the same of `what`: which of them this is, and how many they are. */
  amongAlike(what: string, own: string): { readonly index: number; readonly count: number } {
    const told = this.exchange(what, encoded(own)).map(decoded);
    const alike = this.#here.ranks.filter((rank) => told[rank] === own);
    return { index: alike.indexOf(this.rank), count: alike.length };
  }
  /** What all workers give, as many bytes each, one after the other. */
  joined(what: string, bytes: Uint8Array): Uint8Array {
    this.numbers(what, 0);
    return this.#wire.allGather(bytes);
  }
  /** Throws on all where one has another value of a name than worker 0. */
  requireAlike(values: Readonly<Record<string, string>>, help = sameForAll): void {
    const all = this.exchange("options", encoded(JSON.stringify(values)));
    const [first = {}, ...others] = all.map((bytes) => JSON.parse(decoded(bytes)) as Record<string, string>);
    for (const [i, other] of others.entries())
      for (const name of new Set([...Object.keys(first), ...Object.keys(other)]))
        if (first[name] !== other[name])
          throw new Problem(
            `worker ${i + 1} has another ${name} than worker 0: ${other[name] ?? "none"}, not ${first[name] ?? "none"}`,
            help,
          );
  }
  /** The first worker of a machine does it before the others there, which find in caches what it made. */
  async inTurn<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (this.size === 1) return work();
    const [first = 0] = this.#here.ranks;
    const turn = first === this.rank ? new Turn() : null;
    const folders = this.exchange(what, encoded(turn?.folder ?? ""));
    if (!turn) {
      await gone(decoded(folders[first]));
      this.numbers(`${what}, in turn`, 0);
      return work();
    }
    const result = await work().finally(() => turn.end());
    this.numbers(`${what}, in turn`, 0);
    return result;
  }
  /** What is to be thrown for an error of this worker, which the others then know of: it says why if no worker before it has failed too. */
  failed(error: unknown): unknown {
    if (this.size === 1 || this.#over || this.#inside) return error;
    const first = this.#tell(1, "", 0).findIndex((t) => t.failed);
    this.#end(new Elsewhere(first));
    return first === this.rank ? error : this.#over;
  }
  /** All is done that is done together, and MPI too; what fails from now on is each worker's own. */
  done(): void {
    this.numbers("the end", 0);
    this.#end(new Problem("the workers have parted", "train once in a process"));
    this.#wire.finalize();
  }
  /** Runs an entry. If it fails once it has begun, others may wait in it for this worker: they can only be ended, as the end of this process does. */
  async within<T>(work: () => Promise<T>): Promise<T> {
    this.#inside = true;
    try {
      const result = await work();
      this.#inside = false;
      return result;
    } catch (error) {
      this.#inside = !(error instanceof Problem) || error instanceof DeviceFailed; // what is wrong with inputs is said before it begins
      throw error;
    }
  }
  /** A process' end: with an error all others' too, and after it was said where they know of it; else it waits for theirs. */
  atExit(code: number): void {
    if (!this.#over && (code !== 0 || this.#inside)) return this.#wire.abort(code === 0 ? 1 : code);
    if (!this.#over) this.numbers("the end of the process", 0);
    this.#wire.finalize();
  }

  #end(why: Problem): Problem {
    return (this.#over ??= why);
  }
  #tell(failed: number, what: string, number: number): { failed: boolean; of: number; number: number }[] {
    const numbers = new Float64Array(3 * this.size);
    const own = new Uint8Array(Float64Array.of(failed, hashOf(what), number).buffer);
    new Uint8Array(numbers.buffer).set(this.#wire.allGather(own));
    return Array.from({ length: this.size }, (_, i) => ({
      failed: numbers[3 * i] !== 0,
      of: numbers[3 * i + 1] ?? 0,
      number: numbers[3 * i + 2] ?? 0,
    }));
  }
  /** They do different things; what they do is told once more, as text. */
  #apart(what: string): Problem {
    const size = 96;
    const own = new Uint8Array(size);
    new TextEncoder().encodeInto(what, own);
    const texts = new TextDecoder().decode(this.#wire.allGather(own)).match(new RegExp(`[^]{${size}}`, "g")) ?? [];
    const [first = "", ...others] = texts.map((text) => text.replace(/\0+$/, ""));
    const i = others.findIndex((other) => other !== first);
    if (this.rank !== 0) return new Elsewhere(0);
    return new Problem(
      `the workers do different things: worker ${i + 1} is at \`${others[i]}\`, worker 0 at \`${first}\``,
      "all call the same functions in the same order; which worker it is may decide what is printed, and nothing else",
    );
  }
  #found(): Here {
    const text = encoded(`${hostname()}\n${coresOf("self")}`);
    const all = this.exchange("machine", text).map((bytes) => decoded(bytes).split("\n"));
    const isHere = ([name]: readonly string[]): boolean => name === all[this.rank]?.[0];
    const ranks = all.flatMap((one, rank) => (isHere(one) ? [rank] : []));
    const cores = all.filter(isHere).map(([, list = ""]) => list);
    const own = all[this.rank]?.[1];
    return {
      ranks,
      sharing: cores.filter((list) => list === own).length,
      idle: Math.max(0, counted([ofMpirun()]) - counted(cores)),
    };
  }
}
const sameForAll = "give all workers the same options, and files that are the same on every machine";
const encoded = (text: string): Uint8Array => new TextEncoder().encode(text);
const decoded = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);

/** A folder that is there while a worker does what others of its machine wait for: MPI would have them wait on cores that it wants. */
class Turn {
  readonly folder: string = mkdtempSync(join(resolve(tmpdir()), "moec-turn-"));
  readonly end = (): void => {
    process.off("exit", this.end);
    rmSync(this.folder, { recursive: true, force: true });
  };
  constructor() {
    process.prependListener("exit", this.end);
  }
}
/** Of a machine that only seems to be the same it is not there at all, and MPI does the waiting. */
async function gone(folder: string): Promise<void> {
  while (existsSync(folder)) await setTimeout(20);
}
/** Of 32 bits. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
/** `0-3,8`: those that a process may use. A launcher may have bound each worker to some of its own. */
function coresOf(process: string): string {
  try {
    return /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync(`/proc/${process}/status`, "utf8"))?.[1] ?? "";
  } catch {
    return ""; // not Linux, or not there
  }
}
/** Of Open MPI's, which binds its processes if not told otherwise. */
const ofMpirun = (): string => ("OMPI_COMM_WORLD_SIZE" in process.env ? coresOf(String(process.ppid)) : "");
/** How many cores lists name together. */
function counted(lists: readonly string[]): number {
  const ranges = lists.flatMap((list) =>
    list.split(",").flatMap((range) => (range === "" ? [] : [range.split("-").map(Number)])),
  );
  return new Set(
    ranges.flatMap(([first = 0, last = first]) => Array.from({ length: last - first + 1 }, (_, i) => first + i)),
  ).size;
}

/** A process that no launcher started beside others. */
export const alone: Workers = new Workers({
  rank: 0,
  size: 1,
  allGather: (bytes) => bytes,
  abort: () => {},
  finalize: () => {},
});
let known: Workers | null = null;
/** This process among the workers that mpirun or the like has started; `alone` where none has, which does not touch MPI. Throws Problem where MPI is not there. */
export function workers(): Workers {
  known ??= (launched()?.size ?? 1) > 1 ? started() : alone;
  return known;
}
function started(): Workers {
  const all = new Workers(begun());
  // before MPI ends as mpi.ts has it, which waits for the others; later ones that let go of files go before it
  process.prependListener("exit", (code) => {
    try {
      all.atExit(code);
    } catch (error) {
      process.exitCode = 1; // nobody is left to throw it to
      if (error instanceof Problem && !(error instanceof Elsewhere))
        process.stderr.write(`error: ${error.message}\n  help: ${error.help}\n`);
    }
  });
  return all;
}
