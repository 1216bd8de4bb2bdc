// The launcher of workers that this machine has.
import { spawnSync } from "node:child_process";

const { stdout, status } = spawnSync("mpirun", ["--version"], { encoding: "utf8" });
/** Open MPI's wants to hear that there are more workers than cores, that they may run as root, and on any core; null where there is none. */
export const mpirun: readonly string[] | null =
  status !== 0
    ? null
    : /Open MPI/.test(stdout)
      ? ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
      : ["mpirun"];
/** Says in a line that tests are left out, and why. */
export const skipped = (what: string): void =>
  console.log(`skipped: ${what}, for there is no mpirun (\`apt-get install openmpi-bin\`)`);
