// The results of a run, by what they are.
import { numbers } from "../tensor.ts";
import type { Outcome, Tensor } from "./executable.ts";

/** The outcome of a run from all results of its entry. */
export function outcomeOf<R extends { readonly name: string; readonly role: string }>(
  results: readonly R[],
  read: (r: R) => Tensor,
): Outcome {
  const of = (role: string): [string, Tensor][] => results.filter((r) => r.role === role).map((r) => [r.name, read(r)]);
  return {
    outputs: of("output").map(([, value]) => value),
    losses: new Map(of("loss").map(([name, loss]) => [name, numbers(loss)[0] ?? Number.NaN])),
    metrics: new Map(of("metric")),
    gradients: new Map(of("gradient")),
  };
}
