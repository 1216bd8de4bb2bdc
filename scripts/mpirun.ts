// The mpirun of this machine, if there is one.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { stdout } = spawnSync("mpirun", ["--version"], { encoding: "utf8" });
const isOpenMpi = /Open MPI/.test(stdout);
/** Open MPI needs options to start more workers than cores, to run as root, and not to bind workers to cores. */
const command = isOpenMpi
  ? [...inOwnFolder(), "mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
  : ["mpirun"];
const [program = "", ...flags] = command;
const tried = spawnSync(program, [...flags, "-n", "2", "true"], { encoding: "utf8" });
/** The command that starts workers; null if there is no mpirun, or if it cannot start two processes. */
export const mpirun: readonly string[] | null = tried.status === 0 ? command : null;
/** Prints that tests are skipped, and why. */
export const skipped = (what: string): void =>
  console.log(
    tried.error
      ? `skipped: ${what}, for there is no mpirun (\`apt-get install openmpi-bin\`)`
      : `skipped: ${what}, for mpirun starts no two processes here: ${tried.stderr.trim().split("\n").at(-1)}`,
  );

/** A command that runs the one after it with a session folder of its own: of several that start at once, one may fail to make the folder that they share. */
function inOwnFolder(): string[] {
  const all = mkdtempSync(join(tmpdir(), "moec-mpi-"));
  process.on("exit", () => rmSync(all, { recursive: true, force: true }));
  const run =
    'own=$(mktemp -d "$0/XXXXXX") && export OMPI_MCA_orte_tmpdir_base="$own" PRTE_MCA_prte_tmpdir_base="$own" && exec "$@"';
  return ["sh", "-c", run, all];
}
