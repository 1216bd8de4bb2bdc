// The best evaluation of a training run, what keeps its checkpoint, and when the lack of better ones ends the run.
import { Problem } from "../../compiler/diagnostic.ts";
import { type BestEvaluation, type Checkpoint } from "../storage/checkpoint.ts";
import { bestOf, isOf, isRun } from "../storage/checkpoint-folder.ts";
import type { RunConfig } from "../storage/run-folder.ts";
import type { TrainOptions } from "./train-options.ts";

/** The best evaluation, after one more. A loss that is NaN is never the best. */
export function afterEvaluation(best: BestEvaluation | null, step: number, heldOut: number): BestEvaluation | null {
  if (heldOut < (best?.heldOut ?? Number.POSITIVE_INFINITY)) return { step, heldOut, since: 0 };
  return best && { ...best, since: best.since + 1 };
}
/** Whether `patience` evaluations in a row were no better than the best; null: there is no end to it. */
export const isOutOfPatience = (best: BestEvaluation | null, patience: number | null): boolean =>
  patience !== null && best !== null && best.since >= patience;

/** Whether a run compares its evaluations: only then its checkpoints say which was the best. */
export const comparesEvaluations = ({ keepBest }: RunConfig, patience: number | null): boolean =>
  keepBest === true || patience !== null;
/** The best evaluation of the run so far, as it goes on from a checkpoint. Where none was kept, the first to come is the best. */
export function bestBefore(
  folder: string | null,
  from: Checkpoint | null,
  config: RunConfig,
  patience: number | null,
): BestEvaluation | null {
  if (folder === null || from === null || !isOf(folder, from) || !comparesEvaluations(config, patience)) return null;
  return config.keepBest && !isRun(bestOf(folder)) ? null : (from.state.best ?? null);
}
/** Throws Problem unless there are evaluations to compare, and a place for the best. */
export function requireEvaluations({ keepBest, patience, evaluateEvery = 0, out }: TrainOptions): void {
  const given = [...(keepBest ? ["--keep-best"] : []), ...(patience === undefined ? [] : ["--patience"])].join(" and ");
  if (given !== "" && evaluateEvery === 0)
    throw new Problem(
      `${given} compares held-out losses, and the only one would be that of the last step`,
      "give the steps from one to the next by --evaluate-every",
    );
  if (keepBest && out === null)
    throw new Problem("the best checkpoint has no place: nothing is written", "give a folder as `out`");
}
