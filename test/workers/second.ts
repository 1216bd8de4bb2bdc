// Finds one of the processes that mpirun started.
import { readdirSync, readFileSync } from "node:fs";
import * as assert from "uvu/assert";

/** The process of worker 1 of the run in a folder. */
export function second(run: string): number {
  const isIt = (pid: string): boolean => {
    try {
      const [command, variables] = ["cmdline", "environ"].map((part) => readFileSync(`/proc/${pid}/${part}`, "utf8"));
      return command?.includes(run) === true && /\0(OMPI_COMM_WORLD|PMI)_RANK=1\0/.test(variables ?? "");
    } catch {
      return false; // it has ended
    }
  };
  const found = readdirSync("/proc").find((name) => /^\d+$/.test(name) && isIt(name));
  assert.ok(found, `no worker 1 in ${run}`);
  return Number(found);
}
