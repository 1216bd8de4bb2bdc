// The line for the user about how workers share a program.
import { partCount } from "../../compiler/partition/store-placement.ts";
import type { TrainingSharing } from "../compile.ts";
import type { StoreInfo } from "../executable/executable.ts";
import type { Workers } from "./workers.ts";

/**
 * What each worker has of a batch, of matrices and of arrays of experts: `4 workers: batch 16 = 4 x 4; 8 experts spread, 2 each`, and whether parameters
 * or the optimizer are sharded. `stores` have their whole shapes.
 */
export function shardingSummary(
  stores: readonly StoreInfo[],
  { size }: Pick<Workers, "size">,
  batch: number,
  { tensorParallel = 1, contextParallel = 1, expertParallel, shardParameters = false, shadow }: TrainingSharing = {},
): string {
  const groups = size / tensorParallel / contextParallel;
  const axes = [groups, ...[contextParallel, tensorParallel].filter((n) => n > 1)];
  const mesh = tensorParallel > 1 || contextParallel > 1 ? `${axes.join(" x ")}, ` : "";
  const rows =
    batch % groups === 0 && groups > 1
      ? `batch ${batch} = ${groups} x ${batch / groups}`
      : `batch ${batch}${contextParallel > 1 ? "" : ", all of it on each"}`;
  const tokens = contextParallel > 1 ? [`tokens of each sequence shared by ${contextParallel}`] : [];
  const matrices = tensorParallel > 1 ? [`${sharedMatrices(stores, 1)} shared by ${tensorParallel}`] : [];
  const arrays = stores.filter((s) => s.role === "parameter" && s.stack > 0);
  const experts = arrays
    .toSorted((s, t) => partCount(t) - partCount(s))
    .map((s) =>
      expertsOf(s, size, tensorParallel, contextParallel > 1 ? (expertParallel ?? contextParallel) : expertParallel),
    );
  const steps = stores.some(
    (s) => s.role === "optimizer" && s.stack === 0 && s.shards?.some(({ stride }) => stride === tensorParallel),
  );
  const state = shardParameters
    ? [`each keeps and steps its part of ${sharedMatrices(stores, tensorParallel)}`]
    : steps
      ? ["each steps its part of what all have"]
      : [];
  const hot = shadow === undefined ? [] : [`up to ${shadow} with the most rows shadowed`];
  return [`${size} workers: ${mesh}${rows}`, ...tokens, ...matrices, ...new Set(experts), ...hot, ...state].join("; ");
}
/** How many matrices outside experts workers `stride` apart share. */
function sharedMatrices(stores: readonly StoreInfo[], stride: number): string {
  const matrices = stores.filter((s) => s.role === "parameter" && s.stack === 0 && s.shape.length > 1);
  const shared = matrices.filter((s) => s.shards?.some((shard) => shard.stride === stride));
  return `${shared.length} of ${matrices.length} matrices`;
}
function expertsOf(store: StoreInfo, size: number, tensorParallel: number, expertParallel?: number): string {
  const {
    name,
    shape: [n = 0],
  } = store;
  const [what, parts] = [`${n} ${arrayOf(name)}`, partCount(store)];
  if (parts === size) return `${what} spread, ${n / parts} each`;
  if (parts > 1) return `${what} spread over ${parts}, ${n / parts} each, in ${size / parts} groups`;
  const most = expertParallel === undefined ? size : expertParallel * tensorParallel;
  return `${what} on each worker${most === 1 ? "" : `: no more than 1 divides both ${n} and ${most}`}`;
}
/** The name of an array in a parameter's name: `experts` in `blocks.0.experts.*.up.weight`. */
const arrayOf = (name: string): string => name.split(".*")[0]?.split(".").at(-1) ?? "";
