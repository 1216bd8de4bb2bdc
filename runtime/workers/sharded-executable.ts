// Wraps one worker's executable so that it looks like that of the whole program: callers read, write and pass whole tensors, and each worker takes its part.
import { Problem } from "../../compiler/diagnostic.ts";
import { shapeOfCodes, shapeOfScales } from "../../compiler/graph/codes.ts";
import { bytesOf } from "../../compiler/types/dtype.ts";
import { product } from "../../compiler/types/numbers.ts";
import {
  type Codes,
  type Executable,
  type Outcome,
  type Repeat,
  repeatOrRun,
  type StoreInfo,
  storeOfInput,
  type Tensor,
} from "../executable/executable.ts";
import { blockingRun } from "../native.ts";
import { bytesOfTensor, fromBytes, fromNumbers, requireFit } from "../tensor.ts";
import { partOf, placeIn, runsOf, shapeOf, wholeShape } from "./shards.ts";
import type { Workers } from "./workers.ts";

type Run = Parameters<Executable["run"]>;

export const shardedExecutable = (executable: Executable, workers: Workers): Executable =>
  workers.size === 1 ? executable : new ShardedExecutable(executable, workers);

/**
 * All workers call `read`, `run` and `write` in the same order, with the same arguments. Copies of the same part of a store are equal bit for bit, so
 * `read` takes those of the first group.
 */
class ShardedExecutable implements Executable {
  readonly stores: readonly StoreInfo[];
  readonly entries: Executable["entries"];
  readonly bytes: Executable["bytes"];
  readonly writePart?: NonNullable<Executable["writePart"]>;
  readonly readCodes?: NonNullable<Executable["readCodes"]>;
  readonly writeCodes?: NonNullable<Executable["writeCodes"]>;
  readonly #inner: Executable;
  readonly #workers: Workers;
  readonly #sharded: ReadonlyMap<string, StoreInfo>;
  /** How many milliseconds a run of an entry took when it was last repeated. */
  readonly #durations = new Map<string, number>();

  constructor(inner: Executable, workers: Workers) {
    [this.#inner, this.#workers, this.entries, this.bytes] = [inner, workers, inner.entries, inner.bytes];
    this.stores = inner.stores.map(unshardedStore);
    if (inner.writePart)
      this.writePart = (store, index, value) => {
        const own = this.#ownIndex(store, index);
        if (own) inner.writePart?.(store, own, value);
      };
    const { readCodes } = inner;
    if (readCodes) this.readCodes = (store) => this.#readCodes(store, readCodes);
    if (inner.writeCodes)
      this.writeCodes = (store, index, codes) => {
        const own = this.#ownIndex(store, index);
        if (own) inner.writeCodes?.(store, own, () => this.#ownCodes(store, index, codes()));
      };
    this.#sharded = new Map(this.stores.filter((s) => s.shards !== undefined).map((s) => [s.name, s]));
  }
  read(store: string): Tensor {
    const own = this.#inner.read(store);
    const all = this.#sharded.get(store);
    if (!all) return own;
    const parts = this.#workers.allGather(`read ${store}`, bytesOfTensor(own));
    return joined(all, parts, this.#workers.size);
  }
  write(store: string, value: Tensor): void {
    this.#inner.write(store, this.#shardOf(store, value));
  }
  run(...run: Run): Promise<Outcome> {
    return this.#runOwn(run, (...own) => this.#inner.run(...own));
  }
  /** No run asks whether another begins: how many there are is agreed before, by how long a run took in the last call on the slowest worker. */
  async repeat(how: Repeat, ...run: Run): Promise<Tensor["data"]> {
    const [entry] = run;
    const own = this.#inner.repeat && how.times > 1 ? runsWithin(how, this.#durations.get(entry)) : 1;
    const times = how.times > 1 ? Math.min(...this.#workers.gatherNumbers(`repeat ${entry}`, own)) : 1;
    const start = performance.now();
    const known = { ...how, times, within: unlimited, beside: unlimited };
    const result = await this.#runOwn(run, (...own) => repeatOrRun(this.#inner, known, ...own));
    this.#durations.set(entry, (performance.now() - start) / times);
    return result;
  }
  close(): void {
    this.#inner.close();
  }
  /** Runs an entry with this worker's part of the inputs, which must be the same on all. */
  async #runOwn<T>([entry, inputs, at]: Run, work: (...own: Run) => Promise<T>): Promise<T> {
    const own = [...inputs].map(([name, t]): [string, Tensor] => [name, this.#shardOf(storeOfInput(entry, name), t)]);
    const given = this.#workers.gatherNumbers(
      `run ${entry}`,
      sampledHash([...inputs.values(), fromNumbers("f64", [], [at.weight ?? 1])], [at.seed, at.call, at.step]),
    );
    const other = given.findIndex((mark) => mark !== given[0]);
    if (other >= 0)
      throw new Problem(
        `worker ${other} has other inputs of ${entry} than worker 0`,
        "every worker gives the whole inputs, in the same order: the same texts, or batches drawn from the same seed",
      );
    const ran = (): Promise<T> => work(entry, new Map(own), { ...at, rank: this.#workers.rank });
    return this.#workers.runEntry(() => ran().catch(explainNoRoom));
  }
  /** Where this worker has the part of a whole store that is at `index`; null: it has not. */
  #ownIndex(store: string, index: readonly number[]): readonly number[] | null {
    const all = this.#sharded.get(store);
    if (!all) return index;
    const part = partOf(all, this.#workers.rank);
    const own = index.flatMap((at, axis) => placeIn(part[axis] ?? [], at) ?? []);
    return own.length === index.length ? own : null;
  }
  /** This worker's part of a whole tensor that is to go into a store. */
  #shardOf(store: string, value: Tensor): Tensor {
    const all = this.#sharded.get(store);
    if (!all) return value;
    requireFit(store, all, value);
    return partOfWorker(value, all.shards, this.#workers.rank);
  }
  #readCodes(store: string, read: (store: string) => Codes): Codes {
    const [own, all] = [read(store), this.#sharded.get(store)];
    if (!all?.quantised) return own;
    const whole = (what: "codes" | "scales", shape: readonly number[]): Tensor => {
      const parts = this.#workers.allGather(`read ${what} of ${store}`, bytesOfTensor(own[what]));
      return joined({ ...all, dtype: own[what].dtype, shape }, parts, this.#workers.size);
    };
    const codes = whole("codes", shapeOfCodes(all.shape, all.quantised));
    return { code: own.code, codes, scales: whole("scales", shapeOfScales(all.shape, all.quantised)) };
  }
  /** This worker's part of codes that are at an index of a whole store. */
  #ownCodes(store: string, index: readonly number[], { code, codes, scales }: Codes): Codes {
    const shards = (this.#sharded.get(store)?.shards ?? []).filter(({ axis }) => axis >= index.length);
    const inner = shards.map((shard) => ({ ...shard, axis: shard.axis - index.length }));
    const own = (t: Tensor): Tensor => partOfWorker(t, inner, this.#workers.rank);
    return { code, codes: own(codes), scales: own(scales) };
  }
}
/** The part of a whole tensor that a worker has. */
function partOfWorker(value: Tensor, shards: StoreInfo["shards"], rank: number): Tensor {
  const part = partOf({ shape: value.shape, ...(shards && { shards }) }, rank);
  const [shape, runs] = [shapeOf(part), runsOf(value.shape, part)];
  const [first, ...more] = runs;
  if (!first || more.length === 0)
    return { dtype: value.dtype, shape, data: value.data.subarray(first?.at, first && first.at + first.length) };
  const data = value.data.slice(0, product(shape));
  for (const { from, at, length } of runs) data.set(value.data.subarray(at, at + length), from);
  return { dtype: value.dtype, shape, data };
}
/** A whole store of the parts of all workers, which stand one after the other; of equal parts it takes the first. */
function joined(store: StoreInfo, parts: Uint8Array, workers: number): Tensor {
  const { dtype, shape } = store;
  const [each, bytes] = [parts.length / workers, bytesOf[dtype]];
  const all = new Uint8Array(product(shape) * bytes);
  const known = new Set<string>();
  for (let rank = 0; rank < workers; rank++) {
    const part = partOf(store, rank);
    const key = part.map((ranges) => ranges[0]?.start).join();
    if (known.has(key)) continue;
    known.add(key);
    for (const { from, at, length } of runsOf(shape, part))
      all.set(parts.subarray(rank * each + from * bytes, rank * each + (from + length) * bytes), at * bytes);
  }
  return fromBytes(dtype, shape, all);
}
/** In milliseconds. */
const unlimited = 1e12;
/** How many runs of `each` milliseconds are made in one call; one where it is not known what a run takes. */
function runsWithin({ times, within, beside }: Repeat, each = Number.POSITIVE_INFINITY): number {
  const limit = each < blockingRun ? within : beside;
  return Math.min(times, Math.max(1, Math.floor(limit / each)));
}
/** Turns the addon's NO_ROOM error into a Problem. All workers get it alike, before a row has moved. */
function explainNoRoom(error: unknown): never {
  const [, found] = (error instanceof Error && /^NO_ROOM: (.*)$/.exec(error.message)) || [];
  if (found === undefined) throw error;
  throw new Problem(found, "give more room, or leave it out: then there is room for all rows", { cause: error });
}
function unshardedStore(store: StoreInfo): StoreInfo {
  return store.shards === undefined ? store : { ...store, shape: wholeShape(store) };
}
/** A 30-bit hash of numbers and of tensors, of which it samples about a thousand bytes each: different inputs most likely differ in it. */
export function sampledHash(tensors: Iterable<Tensor>, integers: readonly number[] = []): number {
  let mark = 0;
  const add = (x: number): void => void (mark = Math.imul(mark ^ x, 0x01000193) ^ (mark >>> 15));
  for (const x of integers) add(x);
  for (const tensor of tensors) {
    const bytes = bytesOfTensor(tensor);
    add(bytes.length);
    const step = Math.max(1, Math.floor(bytes.length / 1009) | 1); // odd, so that all bytes of a number are sampled in turn
    for (let i = 0; i < bytes.length; i += step) add(bytes[i] ?? 0);
  }
  return mark & 0x3fffffff;
}
