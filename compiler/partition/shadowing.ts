// Shadowed experts (`--shadow`): how many of an array there are, and what is refused with them. How they are computed: check/evaluator/shadow.ts.
import { Problem } from "../diagnostic.ts";
import { shadowFlagText, weightsFlagText } from "../flag-text.ts";
import type { Elaborated, Node, Store, Value } from "../graph/node.ts";
import { assignedStores, nodesOf } from "../graph/walk.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import type { WeightsOption } from "../types/dtype.ts";
import { gcd } from "../types/numbers.ts";
import { dataAxis, type Sharing, tensorAxis } from "./mesh.ts";
import { storeOfView } from "./sharded-reads.ts";

interface ShadowRequest extends Partial<Sharing> {
  readonly weights?: WeightsOption | undefined;
}
/** `of`: how many experts of an array are shadowed, for so many choices; undefined: nobody asked for any. `some`: whether any were of those that were asked for. */
interface Shadowing {
  readonly of: ((experts: number, choices: number) => number) | undefined;
  readonly some: () => boolean;
}
export function shadowing(request: ShadowRequest): Shadowing {
  let some = false;
  const of = (experts: number, choices: number): number => {
    const slots = shadowedExperts(experts, choices, { ...request, workers: request.workers ?? 1 });
    some ||= slots > 0;
    return slots;
  };
  return { of: request.shadow === undefined ? undefined : of, some: () => some };
}
/**
 * How many experts of an array are shadowed, for so many choices: none where the workers of the data axis do not share the experts, or cannot share out
 * the choices.
 */
function shadowedExperts(experts: number, choices: number, { shadow = 0, ...sharing }: Sharing): number {
  const { count } = dataAxis(sharing);
  const own = experts / gcd(experts, tensorAxis(sharing).count);
  const isShared = gcd(own, sharing.expertParallel ?? count) > 1 && choices > 0 && choices % count === 0;
  return isShared ? Math.min(shadow, experts) : 0;
}
export function requireShadowed({ shadow }: ShadowRequest, some: boolean): void {
  if (shadow === undefined || some) return;
  throw new Problem(
    "no experts can be shadowed: the workers share none that are called by index and trained",
    `leave ${shadowFlagText} out (as of texts that are generated), or give a number of workers that has a divisor in common with that of the experts`,
  );
}
/** Matrices of shadowed experts are gathered, so their columns cannot be codes; what is trained is none anyway. */
export function requireFloatExperts(
  { shadow, weights = "float" }: ShadowRequest,
  { stores, graphs }: Elaborated,
): void {
  if (shadow === undefined || weights === "float") return;
  const assigned = assignedStores(graphs.slice(1));
  const tables = graphs.flatMap(nodesOf).flatMap(tableOf);
  const isShadowed = ({ name, type: { shape } }: Store): boolean =>
    tables.some((table) => storeOfView(table) === name && table.type.shape.length === shape.length);
  const isFrozenMatrices = (s: Store): boolean =>
    s.stack > 0 && s.type.shape.length - s.stack >= 2 && !assigned.has(s.name) && isShadowed(s);
  if (stores.some(isFrozenMatrices))
    throw new Problem(
      "experts that are kept as codes cannot be shadowed",
      `leave ${shadowFlagText} or ${weightsFlagText(weights)} out`,
    );
}
/** What is gathered from along its first axis. */
const tableOf = ({ op, args, attrs }: Node): Value[] =>
  op.name === "gather" && (attrs as OpAttrs["gather"]).axis === 0 ? args.slice(0, 1) : [];
