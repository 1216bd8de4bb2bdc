// The launcher of workers that this machine has.
import { spawnSync } from "node:child_process";

const { stdout } = spawnSync("mpirun", ["--version"], { encoding: "utf8" });
/** Open MPI's wants to hear that there are more workers than cores, that they may run as root, and on any core. */
const command = /Open MPI/.test(stdout)
  ? ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
  : ["mpirun"];
const tried = spawnSync("mpirun", [...command.slice(1), "-n", "2", "true"], { encoding: "utf8" });
/** Null where there is none, or where it cannot start two processes. */
export const mpirun: readonly string[] | null = tried.status === 0 ? command : null;
/** Says in a line that tests are left out, and why. */
export const skipped = (what: string): void =>
  console.log(
    tried.error
      ? `skipped: ${what}, for there is no mpirun (\`apt-get install openmpi-bin\`)`
      : `skipped: ${what}, for mpirun starts no two processes here: ${tried.stderr.trim().split("\n").at(-1)}`,
  );
