// Means over batches: of what a training step's batches gave, and of losses over a text.
import { Problem } from "../../compiler/diagnostic.ts";
import { sum } from "../../compiler/types/numbers.ts";
import type { Outcome, Tensor } from "../executable/executable.ts";
import { convert, zeros } from "../tensor.ts";

export type StepMeans = Pick<Outcome, "losses" | "metrics">;
/** What a batch of a step gave, and how much it counts among the step's. */
export interface Weighted {
  readonly outcome: Outcome;
  readonly weight: number;
}
/** The mean outcome of a step's batches, by their weights. A loss that is not finite is a Problem, because training cannot recover from it. */
export function stepMeans(batches: readonly Weighted[], step: number): StepMeans {
  const totals = meanOf(batches);
  for (const [path, loss] of totals.losses) {
    if (Number.isFinite(loss)) continue;
    const dot = path.lastIndexOf(".");
    const layer = dot < 0 ? "" : ` of layer \`${path.slice(0, dot)}\``;
    throw new Problem(
      `the loss \`${path.slice(dot + 1)}\`${layer} is ${loss} at step ${step}`,
      step === 1 ? unlearned : "nothing was saved of it; lower the learning rate, warm up longer, or look at the data",
    );
  }
  return totals;
}
const unlearned =
  "nothing was learned before it: look at the data, the initial parameters, and what the model divides by";
/** The means of losses and metrics; integer and boolean metrics become f32. A single outcome is returned unchanged. */
function meanOf(batches: readonly Weighted[]): StepMeans {
  const outcomes = batches.map(({ outcome }) => outcome);
  const [first, ...others] = outcomes;
  if (!first || others.length === 0) return first ?? { losses: new Map(), metrics: new Map() };
  const mean = meanBy(batches.map(({ weight }) => weight));
  const losses = [...first.losses.keys()].map((name): [string, number] => [
    name,
    mean(outcomes.map((o) => o.losses.get(name) ?? Number.NaN)),
  ]);
  const metrics = [...first.metrics].map(([name, { dtype, shape }]): [string, Tensor] => {
    const all = outcomes.flatMap((o) => o.metrics.get(name) ?? []);
    const floats = all.map((t) => (t.dtype === "f64" ? t : convert(t, "f32")).data);
    const result = zeros(dtype === "f64" ? "f64" : "f32", shape);
    for (let i = 0; i < result.data.length; i++) result.data[i] = mean(floats.map((data) => data[i] ?? Number.NaN));
    return [name, result];
  });
  return { losses: new Map(losses), metrics: new Map(metrics) };
}
/** The mean of numbers by their weights, as `update` takes that of gradients; 0 where nothing counts. */
function meanBy(weights: readonly number[]): (numbers: readonly number[]) => number {
  const total = sum(weights) || 1;
  return (numbers) => sum(numbers.map((x, i) => x * (weights[i] ?? 0))) / total;
}

/** Sums losses of the same name over all layers. */
export function sumByName(losses: ReadonlyMap<string, number>): Map<string, number> {
  const sums = new Map<string, number>();
  for (const [path, loss] of losses) {
    const name = path.slice(path.lastIndexOf(".") + 1);
    sums.set(name, (sums.get(name) ?? 0) + loss);
  }
  return sums;
}
/** The means of the model's own losses, or of all if it has none, over all targets of batches: each batch counts by its number of targets. */
export class MeanLosses {
  readonly #names: readonly string[];
  readonly #sums = new Map<string, number>();
  #count = 0;
  constructor(names: readonly string[]) {
    this.#names = names;
  }
  add({ losses }: Pick<Outcome, "losses">, targets: number): void {
    const own = new Map(this.#names.map((name) => [name, losses.get(name) ?? 0]));
    for (const [name, loss] of own.size > 0 ? own : sumByName(losses))
      this.#sums.set(name, (this.#sums.get(name) ?? 0) + loss * targets);
    this.#count += targets;
  }
  /** How many targets there were. */
  get count(): number {
    return this.#count;
  }
  get each(): ReadonlyMap<string, number> {
    return new Map([...this.#sums].map(([name, sum]) => [name, sum / this.#count]));
  }
  get sum(): number {
    return sum(this.each.values());
  }
}
