// Turns a node of a collective (ops/collectives.ts) into a launch without a kernel, which the runtime does itself.
import { Bug } from "../diagnostic.ts";
import type { Node } from "../graph/node.ts";
import { item } from "../item.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import { sameDescriptor } from "../plan/alias.ts";
import type { CollectiveOp } from "../plan/plan.ts";
import type { VirtualArg, VirtualBuffer, VirtualLaunch } from "../plan/sequence.ts";
import { dims, dtypeOf } from "../types/type.ts";
import { bytesMoved } from "./bytes-moved.ts";

export function collectiveLaunch(
  node: Node,
  read: readonly VirtualBuffer[],
  made: VirtualBuffer,
  phase: VirtualLaunch["phase"],
): VirtualLaunch {
  const kernel = collectiveOpOf(node);
  const adds = kernel.name === "all_reduce";
  if (!(adds ? read.every((b) => sameDescriptor(b, made)) : [...read, made].every(isContiguous)))
    throw new Bug(`${kernel.name} cannot move ${read.map((b) => b.name).join(", ")} in their layouts`);
  const args: readonly VirtualArg[] = [
    ...read.map((buffer): VirtualArg => ({ buffer, access: adds ? "pointwise" : "read" })),
    { buffer: made, access: "write" },
  ];
  return { kernel, args, tasks: 1, flops: node.op.flops(node), bytes: bytesMoved(args, new Map()), phase };
}
function collectiveOpOf({ op, args, attrs }: Node): CollectiveOp {
  const x = item(args, 0);
  const dtype = dtypeOf(x.type);
  switch (op.name) {
    case "all_gather":
    case "all_to_all":
    case "all_reduce":
      return { name: op.name, dtype, ...(attrs as OpAttrs["all_to_all" | "all_reduce"]) };
    case "exchange": {
      const { shared: _, ...how } = attrs as OpAttrs["exchange"];
      return { name: op.name, dtype, ...how, rows: item(dims(x.type), 0) };
    }
    default:
      throw new Bug(`no collective is known for ${op.name}`);
  }
}
const isContiguous = ({ layout, shape }: VirtualBuffer): boolean =>
  layout.kind === "rows" && layout.pitch === (shape.at(-1) ?? 1);
