// The mpirun of this machine, if there is one.
import { spawnSync } from "node:child_process";

const { stdout } = spawnSync("mpirun", ["--version"], { encoding: "utf8" });
/** Open MPI needs options to start more workers than cores, to run as root, and not to bind workers to cores. */
const command = /Open MPI/.test(stdout)
  ? ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
  : ["mpirun"];
const tried = spawnSync("mpirun", [...command.slice(1), "-n", "2", "true"], { encoding: "utf8" });
/** The command that starts workers; null if there is no mpirun, or if it cannot start two processes. */
export const mpirun: readonly string[] | null = tried.status === 0 ? command : null;
/** Prints that tests are skipped, and why. */
export const skipped = (what: string): void =>
  console.log(
    tried.error
      ? `skipped: ${what}, for there is no mpirun (\`apt-get install openmpi-bin\`)`
      : `skipped: ${what}, for mpirun starts no two processes here: ${tried.stderr.trim().split("\n").at(-1)}`,
  );
