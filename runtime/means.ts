// One outcome of several batches.
import type { Outcome, Tensor } from "./executable.ts";
import { convert, zeros } from "./tensor.ts";

/** The means of losses and metrics; metrics of whole numbers and booleans become f32. One outcome stays as it is. */
export function meanOf(outcomes: readonly Outcome[]): Pick<Outcome, "losses" | "metrics"> {
  const [first, ...others] = outcomes;
  if (!first || others.length === 0) return first ?? { losses: new Map(), metrics: new Map() };
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
const mean = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0) / numbers.length;
