// An Executable that computes little, exactly and quickly, for tests of the loops that call it.
import type { Executable, Outcome, StoreInfo, Tensor } from "../runtime/executable/executable.ts";
import { fromNumbers, numbers, zeros } from "../runtime/tensor.ts";

const store = (name: string, role: StoreInfo["role"], shape: readonly number[], saved = true): StoreInfo => ({
  name,
  role,
  dtype: "f32",
  shape,
  stack: name.split("*").length - 1,
  saved,
});
const stores = [
  store("embed.weight", "parameter", [3]),
  store("experts.*.up.weight", "parameter", [2, 4]),
  store("gate.bias", "state", [2]),
  store("adam.m.embed.weight", "optimizer", [3]),
  store("generate.seen", "state", [64], false),
];

const frozen: StoreInfo = { ...store("base.weight", "parameter", [5]), frozen: true };

export interface FakeOptions {
  /** Has a parameter that is not trained, `base.weight`. */
  readonly frozen?: boolean;
  /** Has a number that is not trained, of this name. */
  readonly frozenNumber?: string;
  /** `nanLoss`: the step whose loss is NaN. `nanParameter`: the step after which a parameter is NaN. */
  readonly nanLoss?: number;
  readonly nanParameter?: number;
  /** Experts in each of the two layers. Default: 3. */
  readonly experts?: number;
  /** The held-out loss after a step. */
  readonly heldOut?: (step: number) => number;
  /** Called before each run. */
  readonly before?: (entry: string, step: number) => void;
}
export const total = (t: Tensor): number => numbers(t).reduce((a, b) => a + b, 0);
/** `train` changes `embed.weight` by sums of the batch; `generate` returns the last token plus the number of positions seen. */
export class FakeExecutable implements Executable {
  readonly stores: readonly StoreInfo[];
  readonly entries = ["init", "train", "evaluate", "generate:1", "generate:64"];
  readonly bytes = null;
  readonly calls: {
    readonly entry: string;
    readonly inputs: ReadonlyMap<string, Tensor>;
    readonly call: number;
    readonly step: number;
  }[] = [];
  closed = false;
  readonly #values: ReadonlyMap<string, Tensor>;
  readonly #options: FakeOptions;

  constructor(options: FakeOptions = {}) {
    this.#options = options;
    const { frozenNumber } = options;
    const number = frozenNumber === undefined ? [] : [{ ...frozen, name: frozenNumber, shape: [] }];
    this.stores = [...(options.frozen ? [frozen] : []), ...number, ...stores];
    this.#values = new Map(this.stores.map((s) => [s.name, zeros(s.dtype, s.shape)]));
  }
  read(name: string): Tensor {
    const t = this.#value(name);
    return { ...t, data: t.data.slice() };
  }
  write(name: string, t: Tensor): void {
    this.#value(name).data.set(t.data);
  }
  async run(
    entry: string,
    inputs: ReadonlyMap<string, Tensor>,
    at: { seed: number; call: number; step: number },
  ): Promise<Outcome> {
    this.#options.before?.(entry, at.step);
    this.calls.push({ entry, inputs, call: at.call, step: at.step });
    await Promise.resolve();
    if (entry === "init") this.#init(at.seed);
    if (entry === "train") this.#train(inputs, at);
    if (entry === "evaluate") this.#value("gate.bias").data.fill(at.step); // like a state that is updated whether or not the model is training
    return entry.startsWith("generate") ? this.#generate(inputs) : this.#losses(entry, inputs, at.step);
  }
  close(): void {
    this.closed = true;
  }

  #value(name: string): Tensor {
    const t = this.#values.get(name);
    if (!t) throw new Error(`no store ${name}`);
    return t;
  }
  #init(seed: number): void {
    for (const t of this.#values.values()) for (let i = 0; i < t.data.length; i++) t.data[i] = Math.sin(seed + i);
  }
  #train(inputs: ReadonlyMap<string, Tensor>, { call, step }: { call: number; step: number }): void {
    const [w, m, e] = ["embed.weight", "adam.m.embed.weight", "experts.*.up.weight"].map((n) => this.#value(n).data);
    const tokens = inputs.get("tokens");
    const sum = tokens ? total(tokens) : 0;
    if (!w || !m || !e) return;
    for (let i = 0; i < 3; i++) {
      m[i] = 0.9 * (m[i] ?? 0) + Math.sin(sum * (i + 1) + call);
      w[i] = (w[i] ?? 0) - 0.1 * (m[i] ?? 0);
      e[i] = (e[i] ?? 0) + 0.01 * (w[i] ?? 0);
    }
    if (this.#options.nanParameter === step + 1) e[5] = Number.NaN;
  }
  #losses(entry: string, inputs: ReadonlyMap<string, Tensor>, step: number): Outcome {
    const weight = total(this.#value("embed.weight"));
    const counted = [...(inputs.get("targets")?.data ?? [])].filter((t) => t >= 0);
    const mean = counted.reduce((a, b) => a + b, 0) / Math.max(1, counted.length);
    const { heldOut } = this.#options;
    if (entry === "evaluate" && heldOut)
      return { outputs: [], losses: new Map([["language", heldOut(step)]]), metrics: new Map(), gradients: new Map() };
    const language = entry === "train" && this.#options.nanLoss === step + 1 ? Number.NaN : mean + weight;
    const { experts = 3 } = this.#options;
    const load = fromNumbers(
      "f32",
      [2, experts],
      Array.from({ length: 2 * experts }, (_, i) => i + 1),
    );
    return {
      outputs: [],
      losses: new Map([
        ["language", language],
        ["blocks.0.gate.balance", 0.25],
        ["blocks.1.gate.balance", 0.5],
      ]),
      metrics: new Map([["blocks.*.gate.load", load]]),
      gradients: new Map(),
    };
  }
  #generate(inputs: ReadonlyMap<string, Tensor>): Outcome {
    const seen = this.#value("generate.seen").data;
    const [tokens = [], at = []] = [inputs.get("tokens")?.data, inputs.get("at")?.data];
    let newest = 0;
    for (let i = 0; i < at.length; i++) {
      const position = at[i] ?? -1;
      if (position < 0) continue;
      seen[position] = tokens[i] ?? 0;
      newest = Math.max(newest, position);
    }
    const next = ((seen[newest] ?? 0) + newest + 1) % 256;
    return { outputs: [fromNumbers("i32", [1], [next])], losses: new Map(), metrics: new Map(), gradients: new Map() };
  }
}
