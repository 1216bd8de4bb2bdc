// The `Executable` of a plan that the addon has loaded, on the host or on CUDA: maps store names to buffers, checks inputs, collects results.
import { Problem } from "../../compiler/diagnostic.ts";
import { isRuntimeInput, runtimeInputs } from "../../compiler/graph/node.ts";
import { buffersOf, type Entry, isBeside, type Plan, type PlanBuffer, type Step } from "../../compiler/plan/plan.ts";
import { bytesOf } from "../../compiler/types/dtype.ts";
import { product } from "../../compiler/types/numbers.ts";
import type { Executor, NativeBuffer, NativeStep, StepTimes } from "../native.ts";
import { placeOf, requireFit, zeros } from "../tensor.ts";
import {
  type Executable,
  hiddenInput,
  inputOfStore,
  type Outcome,
  onlyOutput,
  type Repeat,
  type RunContext,
  requireInputs,
  type StoreInfo,
  storeOfInput,
  type Tensor,
} from "./executable.ts";
import { outcomeOf } from "./outcome.ts";

export interface ExecuteOptions {
  /** Fills temporaries with NaN before each run, so that reads of unwritten bytes show in the results. For tests. */
  readonly poison?: boolean;
  /** Whether threads share small launches too. Default: only with `poison`. For tests. */
  readonly shares?: boolean;
  /** Called after each run with the times of its steps. */
  readonly profile?: (entry: Entry, times: StepTimes) => void;
  /** Called with 0 before the first kernel is compiled, then with how many are, of how many; not called if the cache has all of them. */
  readonly onCompile?: ((done: number, of: number) => void) | undefined;
  /** Called once, when the executable is closed. */
  readonly closed?: () => void;
}
export function nativeBuffer({ dtype, shape, layout, offset, bytes }: PlanBuffer): NativeBuffer {
  return {
    offset,
    bytes,
    width: bytesOf[dtype],
    outer: product(shape.slice(0, -2)),
    rows: shape.at(-2) ?? 1,
    cols: shape.at(-1) ?? 1,
    pitch: layout.kind === "rows" ? layout.pitch : layout.width,
    panels: layout.kind === "panels",
  };
}
export function nativeStep(step: Step, { small = false, grain = 1 } = {}): NativeStep {
  const given = { args: buffersOf(step), small, grain, beside: isBeside(step) };
  switch (step.kind) {
    case "copy":
      return { kernel: -1, tasks: 0, first: 0, ...given };
    case "collective":
      return { kernel: -2, tasks: 1, first: 0, collective: { ...collectiveDefaults, ...step.collective.op }, ...given };
    case "wait":
      return { kernel: -3, tasks: 1, first: 0, awaited: step.step, ...given };
    case "launch":
      return { kernel: step.launch.kernel, tasks: step.launch.tasks, first: step.launch.first ?? 0, ...given };
  }
}
const collectiveDefaults = {
  fn: "",
  back: false,
  rows: 0,
  length: 0,
  piece: 0,
  pieces: 1,
  groups: 1,
  stride: 1,
} as const;

export const cancelledProblem = (name: string): Problem => new Problem(`${name} was cancelled`, "run it again");
/** Names of an entry's inputs that the caller gives, without hidden ones (the step, the random key). */
const inputNames = ({ name, inputs }: Entry): string[] =>
  inputs.map((store) => inputOfStore(name, store)).filter((input) => !isRuntimeInput(input));
/** The end of the stores in the arena; everything after it is needed only while an entry runs. */
export const storeBytes = ({ stores, buffers }: Plan): number =>
  stores.reduce((end, s) => Math.max(end, (buffers[s.buffer]?.offset ?? 0) + (buffers[s.buffer]?.bytes ?? 0)), 0);

export class PlanExecutable implements Executable {
  readonly stores: readonly StoreInfo[];
  readonly entries: readonly string[];
  readonly bytes: Plan["bytes"];
  /** Absent where each run is looked at or prepared. */
  readonly repeat?: NonNullable<Executable["repeat"]>;
  readonly #plan: Plan;
  readonly #executor: Executor;
  readonly #options: ExecuteOptions;
  readonly #buffers: ReadonlyMap<string, number>;
  #closed: (() => void) | undefined;

  constructor(plan: Plan, executor: Executor, options: ExecuteOptions) {
    this.#closed = options.closed;
    this.#plan = plan;
    this.#executor = executor;
    this.#options = options;
    this.#buffers = new Map(plan.stores.map((s) => [s.name, s.buffer]));
    this.entries = plan.entries.map((e) => e.name);
    this.bytes = plan.bytes;
    if (!options.profile && !options.poison) this.repeat = (...how) => this.#repeat(...how);
    this.stores = plan.stores.map(({ buffer, ...store }) => {
      const { dtype, shape } = this.#buffer(buffer);
      return { ...store, dtype, shape };
    });
  }

  read(store: string): Tensor {
    return this.#read(this.#store(store));
  }
  write(store: string, value: Tensor): void {
    const index = this.#store(store);
    requireFit(store, this.#buffer(index), value);
    this.#executor.write(index, value.data);
  }
  writePart(store: string, index: readonly number[], read: () => Tensor): void {
    const [buffer, value] = [this.#store(store), read()];
    const { dtype, shape } = this.#buffer(buffer);
    requireFit(store, { dtype, shape: shape.slice(index.length) }, value);
    this.#executor.writePart(buffer, value.data, placeOf(shape, index) * product(value.shape.slice(0, -2)));
  }
  readPart = (store: string, index: readonly number[]): Tensor => {
    const buffer = this.#store(store);
    const { dtype, shape } = this.#buffer(buffer);
    const value = zeros(dtype, shape.slice(index.length));
    this.#executor.readPart(buffer, value.data, placeOf(shape, index) * product(value.shape.slice(0, -2)));
    return value;
  };
  async run(name: string, inputs: ReadonlyMap<string, Tensor>, at: RunContext): Promise<Outcome> {
    const [index, entry] = this.#entry(name);
    if (this.#options.poison === true) this.#poisonTemporaries();
    this.#writeInputs(entry, inputs, at);
    const running = this.#executor.run(index, this.#options.profile !== undefined);
    // a run that has ended synchronously must be read at once, before another can begin
    const { finished, wall, busy } = running instanceof Promise ? await running : running;
    this.#options.profile?.(entry, { wall, busy });
    if (!finished) throw cancelledProblem(name);
    return outcomeOf(entry.results, ({ buffer }) => this.#read(buffer));
  }
  async #repeat({ to, next, ...how }: Repeat, ...run: Parameters<Executable["run"]>): Promise<Tensor["data"]> {
    const [name, inputs, at] = run;
    const [index, entry] = this.#entry(name);
    const from = entry.results.find((r) => r.role === "output")?.buffer;
    if (from === undefined || this.#buffer(from).dtype !== "i32") return onlyOutput(await this.run(...run));
    this.#writeInputs(entry, inputs, at);
    const input = (of: string): number => this.#store(storeOfInput(name, of));
    const places = { from, to: input(to), next: input(next), key: this.#store(runtimeInputs.key) };
    const { shards = [] } = this.stores.find((s) => s.name === storeOfInput(name, to)) ?? {};
    const { parts, stride } = shards[0] ?? { parts: 1, stride: 1 };
    const part = Math.floor((at.rank ?? 0) / stride) % parts;
    const { finished, integers } = await this.#executor.repeat({ ...how, ...places, parts, part, entry: index });
    if (!finished) throw cancelledProblem(name);
    return integers;
  }
  cancel(): void {
    this.#executor.cancel();
  }
  close(): void {
    this.#executor.close();
    this.#closed?.();
    this.#closed = undefined;
  }

  #entry(name: string): readonly [index: number, entry: Entry] {
    const index = this.entries.indexOf(name);
    const entry = this.#plan.entries[index];
    if (entry === undefined)
      throw new Problem(`there is no entry ${name}`, `the entries are ${this.entries.join(", ")}`);
    return [index, entry];
  }
  #writeInputs(entry: Entry, inputs: ReadonlyMap<string, Tensor>, at: RunContext): void {
    requireInputs(entry.name, inputNames(entry), inputs, (store) => this.#buffers.has(store));
    for (const store of entry.inputs) {
      const value = inputs.get(inputOfStore(entry.name, store)) ?? hiddenInput(store, at);
      if (value) this.write(store, value);
    }
  }
  #read(index: number): Tensor {
    const { dtype, shape } = this.#buffer(index);
    const tensor = zeros(dtype, shape);
    this.#executor.read(index, tensor.data);
    return tensor;
  }
  /** 0xFF in every byte: NaN as a float, -1 as an integer. */
  #poisonTemporaries(): void {
    const start = storeBytes(this.#plan);
    this.#executor.fill(start, this.bytes.arena - start, 0xff);
  }
  #store(name: string): number {
    const buffer = this.#buffers.get(name);
    if (buffer === undefined)
      throw new Problem(`there is no store ${name}`, `the stores are ${[...this.#buffers.keys()].join(", ")}`);
    return buffer;
  }
  #buffer(index: number): PlanBuffer {
    const buffer = this.#plan.buffers[index];
    if (buffer === undefined) throw new RangeError(`buffer ${index} of ${this.#plan.buffers.length}`);
    return buffer;
  }
}
