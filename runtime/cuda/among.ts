// The GPU of one of several workers.
import { askedTarget } from "../../compiler/asked.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import type { Workers } from "../workers.ts";
import { cudaDriver, type Device } from "./driver.ts";

/**
 * By its place in the driver's list, whose first is the GPU of one that is alone. Those of a machine that see the same GPUs take one each, in their
 * order; a launcher that shows each its own has dealt them already. Called by all workers. Throws Problem where there are too few.
 */
export function deviceAmong(together: Workers, list: () => readonly Device[] = () => cudaDriver().devices): number {
  if (together.size === 1) return 0;
  const devices = list();
  const { index, count } = together.amongAlike("GPUs", devices.map((d) => d.uuid).join());
  if (count <= devices.length) return index;
  const there = devices.length === 1 ? "1 GPU" : `${devices.length} GPUs`;
  throw new Problem(
    `${count} workers of this machine have ${there}: each needs one of its own`,
    `start no more of them (\`mpirun -n ${devices.length}\`), or see whether CUDA_VISIBLE_DEVICES hides some; ${askedTarget("host")} needs none`,
  );
}
