// The processes (workers) that train one model, and the messages between them beside a plan's collectives. All call the same functions in the same order.
// A worker that fails says so in its next message, so that no other waits for it.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { inspect } from "node:util";
import { Problem } from "../../compiler/diagnostic.ts";
import type { FreeMemory } from "../../compiler/plan/bytes.ts";
import { fnv1a } from "../../compiler/types/numbers.ts";
import { DeviceFailed } from "../executable/executable.ts";
import { cores, freeMemory } from "../machine.ts";
import type { NativeWorkers } from "../native.ts";
import { launchInfo, mpiWorkers } from "./mpi.ts";

/** What carries the messages: MPI. */
export type Transport = Pick<NativeWorkers, "rank" | "size" | "allGather" | "abort" | "finalize">;

/** Thrown on a worker that has no error of its own, because another has failed. That one reports the reason. */
export class OtherWorkerFailed extends Problem {
  constructor(rank: number) {
    super(`worker ${rank} has failed`, "it says why");
  }
}
/**
 * The workers on this machine: their ranks, how many of them share this worker's cores (itself included), and how many of the launcher's cores none of
 * them may use.
 */
interface LocalWorkers {
  readonly ranks: readonly number[];
  readonly sharing: number;
  readonly idle: number;
}

/** This worker among all. Only worker 0 writes files and prints. Unless it says otherwise, every method must be called by all, in the same order. */
export class Workers {
  readonly rank: number;
  readonly size: number;
  /** The default number of threads of each worker. Plans depend on it, so it is the same on all. undefined: there is one worker, which may use all cores. */
  readonly threads: number | undefined;
  /** How many cores of this machine the launcher may use, but none of the workers, which it has bound to others. */
  readonly idle: number;
  readonly #transport: Transport;
  readonly #local: LocalWorkers;
  /** Once set, no more messages are sent; why. */
  #ended: Problem | null = null;
  /** An entry is running, or failed while running. Others may then be waiting inside it, where no message reaches them. */
  #inEntry = false;

  constructor(transport: Transport) {
    this.#transport = transport;
    this.rank = transport.rank;
    this.size = transport.size;
    this.#local = this.size === 1 ? { ranks: [0], sharing: 1, idle: 0 } : this.#findLocal();
    this.idle = this.#local.idle;
    const own = Math.max(1, Math.floor(cores() / this.#local.sharing));
    this.threads = this.size === 1 ? undefined : Math.min(...this.gatherNumbers("threads", own));
  }
  /** The free memory of this machine, and the number of workers that share it. */
  memory(): FreeMemory {
    return { bytes: freeMemory(), sharing: this.#local.ranks.length };
  }
  /** Gathers a number from each worker. `what` names the exchange, so that workers which do different things are found out. */
  gatherNumbers(what: string, own: number): Float64Array {
    if (this.size === 1) return Float64Array.of(own);
    if (this.#ended) throw this.#ended;
    const statuses = this.#gatherStatus(0, what, own);
    const failed = statuses.findIndex((t) => t.failed);
    if (failed >= 0) throw this.#endWith(new OtherWorkerFailed(failed));
    if (statuses.some((t) => t.of !== statuses[0]?.of)) throw this.#endWith(this.#mismatch(what));
    return Float64Array.from(statuses, (t) => t.number);
  }
  /** Whether `own` is true on any worker. */
  anyWorker(what: string, own: boolean): boolean {
    return this.gatherNumbers(what, Number(own)).some((n) => n !== 0);
  }
  /** Of each of some flags, of which all workers have as many, whether it is true on any worker. One exchange tells `flagsInNumber` of them. */
  anyOf(what: string, own: readonly boolean[]): readonly boolean[] {
    if (own.length > flagsInNumber)
      return [...this.anyOf(what, own.slice(0, flagsInNumber)), ...this.anyOf(what, own.slice(flagsInNumber))];
    const bits = own.reduce((n, flag, i) => n | (Number(flag) << i), 0);
    const any = this.gatherNumbers(what, bits).reduce((a, b) => a | b, 0);
    return own.map((_, i) => ((any >> i) & 1) === 1);
  }
  /** Gathers bytes from each worker, of any lengths. */
  gatherBytes(what: string, bytes: Uint8Array): readonly Uint8Array[] {
    const lengths = [...this.gatherNumbers(what, bytes.byteLength)];
    const longest = Math.max(...lengths);
    const padded = new Uint8Array(longest);
    padded.set(bytes);
    const all = this.#transport.allGather(padded);
    return lengths.map((length, i) => all.subarray(i * longest, i * longest + length));
  }
  /** Among the workers of this machine with the same `own`: this one's index, and their number. */
  localRank(what: string, own: string): { readonly index: number; readonly count: number } {
    const values = this.gatherBytes(what, encoded(own)).map(decoded);
    const peers = this.#local.ranks.filter((rank) => values[rank] === own);
    return { index: peers.indexOf(this.rank), count: peers.length };
  }
  /** Gathers bytes from each worker, the same number from each, one after the other by rank. */
  allGather(what: string, bytes: Uint8Array): Uint8Array {
    this.gatherNumbers(what, 0);
    return this.#transport.allGather(bytes);
  }
  /** Throws on all workers if one of them has another value of some name than worker 0, as text. */
  requireEqual(values: Readonly<Record<string, unknown>>, help = sameForAll): void {
    const texts = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));
    const all = this.gatherBytes("options", encoded(JSON.stringify(texts)));
    const [first = {}, ...others] = all.map((bytes) => JSON.parse(decoded(bytes)) as Record<string, string>);
    for (const [i, other] of others.entries())
      for (const name of new Set([...Object.keys(first), ...Object.keys(other)]))
        if (first[name] !== other[name])
          throw new Problem(
            `worker ${i + 1} has another ${name} than worker 0: ${other[name] ?? "none"}, not ${first[name] ?? "none"}`,
            help,
          );
  }
  /** The first worker of each machine does `work` before the others there, which then find what it made in caches. */
  async localFirst<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (this.size === 1) return work();
    const [first = 0] = this.#local.ranks;
    const barrier = first === this.rank ? new FolderBarrier() : null;
    const folders = this.gatherBytes(what, encoded(barrier?.folder ?? ""));
    if (!barrier) {
      await untilRemoved(decoded(folders[first]));
      this.gatherNumbers(`${what}, in turn`, 0);
      return work();
    }
    const result = await work().finally(() => barrier.end());
    this.gatherNumbers(`${what}, in turn`, 0);
    return result;
  }
  /** Tells the others of an error on this worker. Returns what to throw: it, or `OtherWorkerFailed` if a worker of lower rank reports its own. */
  reportFailure(error: unknown): unknown {
    if (this.size === 1 || this.#ended || this.#inEntry) return error;
    const first = this.#gatherStatus(1, "", 0).findIndex((t) => t.failed);
    this.#endWith(new OtherWorkerFailed(first));
    return first === this.rank ? error : this.#ended;
  }
  /** Ends the common work, and MPI. What fails from now on concerns only the worker that it fails on. */
  finish(): void {
    this.gatherNumbers("the end", 0);
    this.#endWith(new Problem("the workers have parted", "train once in a process"));
    this.#transport.finalize();
  }
  /** Runs an entry. If it fails after it has begun, others may be waiting in it; then only the end of this process, which aborts all, ends them. */
  async runEntry<T>(work: () => Promise<T>): Promise<T> {
    this.#inEntry = true;
    try {
      const result = await work();
      this.#inEntry = false;
      return result;
    } catch (error) {
      this.#inEntry = !(error instanceof Problem) || error instanceof DeviceFailed; // other Problems are of inputs, thrown before it begins
      throw error;
    }
  }
  /** Called at the process' end. With an error that the others do not know of, it aborts them too; without one, it waits until they end as well. */
  atExit(code: number): void {
    if (!this.#ended && (code !== 0 || this.#inEntry)) return this.#transport.abort(code === 0 ? 1 : code);
    if (!this.#ended) this.gatherNumbers("the end of the process", 0);
    this.#transport.finalize();
  }

  #endWith(why: Problem): Problem {
    return (this.#ended ??= why);
  }
  #gatherStatus(failed: number, what: string, number: number): { failed: boolean; of: number; number: number }[] {
    const numbers = new Float64Array(3 * this.size);
    const own = new Uint8Array(Float64Array.of(failed, fnv1a(what), number).buffer);
    new Uint8Array(numbers.buffer).set(this.#transport.allGather(own));
    return Array.from({ length: this.size }, (_, i) => ({
      failed: numbers[3 * i] !== 0,
      of: numbers[3 * i + 1] ?? 0,
      number: numbers[3 * i + 2] ?? 0,
    }));
  }
  /** The error where workers are at different calls. They exchange the names of these as text, to say which. */
  #mismatch(what: string): Problem {
    const size = 96;
    const own = new Uint8Array(size);
    new TextEncoder().encodeInto(what, own);
    const texts = new TextDecoder().decode(this.#transport.allGather(own)).match(new RegExp(`[^]{${size}}`, "g")) ?? [];
    const [first = "", ...others] = texts.map((text) => text.replace(/\0+$/, ""));
    const i = others.findIndex((other) => other !== first);
    if (this.rank !== 0) return new OtherWorkerFailed(0);
    return new Problem(
      `the workers do different things: worker ${i + 1} is at \`${others[i]}\`, worker 0 at \`${first}\``,
      "all call the same functions in the same order; which worker it is may decide what is printed, and nothing else",
    );
  }
  #findLocal(): LocalWorkers {
    const text = encoded(`${hostname()}\n${coresOf("self")}`);
    const all = this.gatherBytes("machine", text).map((bytes) => decoded(bytes).split("\n"));
    const isHere = ([name]: readonly string[]): boolean => name === all[this.rank]?.[0];
    const ranks = all.flatMap((one, rank) => (isHere(one) ? [rank] : []));
    const cores = all.filter(isHere).map(([, list = ""]) => list);
    const own = all[this.rank]?.[1];
    return {
      ranks,
      sharing: cores.filter((list) => list === own).length,
      idle: Math.max(0, countCores([ofMpirun()]) - countCores(cores)),
    };
  }
}
/** How many bits of a number JavaScript's bitwise operators work with. */
const flagsInNumber = 32;
const sameForAll = "give all workers the same options, and files that are the same on every machine";
const encoded = (text: string): Uint8Array => new TextEncoder().encode(text);
const decoded = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);

/**
 * A folder that exists while the first worker of a machine works and the others wait. They look for it now and then, because a wait in MPI would spin on
 * cores that the first needs.
 */
class FolderBarrier {
  readonly folder: string = mkdtempSync(join(resolve(tmpdir()), "moec-turn-"));
  readonly end = (): void => {
    process.off("exit", this.end);
    rmSync(this.folder, { recursive: true, force: true });
  };
  constructor() {
    process.prependListener("exit", this.end);
  }
}
/** Waits until the folder is gone. On a machine that has only the same hostname it never existed; then the wait is in the MPI call that follows. */
async function untilRemoved(folder: string): Promise<void> {
  while (existsSync(folder)) await setTimeout(20);
}
/** The cores that a process may use, as `0-3,8`. A launcher may have bound each worker to some. */
function coresOf(process: string): string {
  try {
    return /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync(`/proc/${process}/status`, "utf8"))?.[1] ?? "";
  } catch {
    return ""; // not Linux, or not there
  }
}
/** The cores of Open MPI's launcher, which binds its workers by default; "" under other launchers. */
const ofMpirun = (): string => ("OMPI_COMM_WORLD_SIZE" in process.env ? coresOf(String(process.ppid)) : "");
/** The number of distinct cores in these lists. */
function countCores(lists: readonly string[]): number {
  const ranges = lists.flatMap((list) =>
    list.split(",").flatMap((range) => (range === "" ? [] : [range.split("-").map(Number)])),
  );
  return new Set(
    ranges.flatMap(([first = 0, last = first]) => Array.from({ length: last - first + 1 }, (_, i) => first + i)),
  ).size;
}

/** The one worker of a process that no launcher started. */
export const singleWorker: Workers = new Workers({
  rank: 0,
  size: 1,
  allGather: (bytes) => bytes,
  abort: () => {},
  finalize: () => {},
});
let known: Workers | null = null;
/** This process among those that a launcher started, else `singleWorker`, without loading MPI. Throws Problem if it needs MPI and finds none. */
export function workers(): Workers {
  known ??= (launchInfo()?.size ?? 1) > 1 ? startWorkers() : singleWorker;
  return known;
}
function startWorkers(): Workers {
  const mpi = mpiWorkers();
  const uncaught: string[] = [];
  process.on("uncaughtExceptionMonitor", (error) => uncaught.push(`${inspect(error)}\n`));
  const abort = (code: number): void => {
    process.stderr.write(uncaught.join("")); // Node tells of it after the listeners of "exit", and this ends the process in one of them
    mpi.abort(code);
  };
  const all = new Workers({ ...mpi, abort });
  // Runs before the listener of mpi.ts, which ends MPI and waits for the others. Listeners that are prepended later (they remove files) run before this.
  process.prependListener("exit", (code) => {
    try {
      all.atExit(code);
    } catch (error) {
      process.exitCode = 1; // no caller is left to throw to
      if (error instanceof Problem && !(error instanceof OtherWorkerFailed))
        process.stderr.write(`error: ${error.message}\n  help: ${error.help}\n`);
    }
  });
  return all;
}
