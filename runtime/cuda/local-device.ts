// Which GPU each of several workers uses.
import { Problem } from "../../compiler/diagnostic.ts";
import { targetFlagText } from "../../compiler/flag-text.ts";
import type { Workers } from "../workers/workers.ts";
import { cudaDriver, type Device } from "./driver.ts";

/**
 * The index in the driver's list of this worker's GPU; 0 for a process that is alone. Workers of one machine that see the same GPUs take one each, in
 * the order of their ranks; if the launcher shows each worker a GPU of its own, that one is at index 0. All workers must call it. Throws Problem if
 * there are too few GPUs.
 */
export function localDevice(world: Workers, list: () => readonly Device[] = () => cudaDriver().devices): number {
  if (world.size === 1) return 0;
  const devices = list();
  const { index, count } = world.localRank("GPUs", devices.map((d) => d.uuid).join());
  if (count <= devices.length) return index;
  const there = devices.length === 1 ? "1 GPU" : `${devices.length} GPUs`;
  throw new Problem(
    `${count} workers of this machine have ${there}: each needs one of its own`,
    `start no more of them (\`mpirun -n ${devices.length}\`), or see whether CUDA_VISIBLE_DEVICES hides some; ${targetFlagText("host")} needs none`,
  );
}
