// What changes when mpirun or another launcher has started several processes: which commands may run, and which messages only one process prints.
import { setTimeout } from "node:timers/promises";
import type { Command } from "commander";
import { Problem } from "../compiler/diagnostic.ts";
import { cores } from "../runtime/machine.ts";
import { launchInfo } from "../runtime/workers/mpi.ts";
import { OtherWorkerFailed, type Workers, workers } from "../runtime/workers/workers.ts";
import { note, warn } from "./output.ts";

const { rank, size } = launchInfo() ?? { rank: 0, size: 1 };

/** Commands that several processes do together. */
const together = ["train", "generate", "evaluate", "run"];
/** The usage error of a process that is not the first. */
let withheld = "";
/**
 * Refuses commands in several processes that these do not do together. Help is printed by the first process only, as is a usage error that all have: see
 * `reportWithheld`.
 */
export function requireSingleProcess(program: Command): void {
  if (size === 1) return;
  program.hook("preAction", async (_, command) => {
    if (together.includes(command.name())) return;
    joinOthers();
    await waitForFirst();
    throw new Problem(
      `${size} processes were started, and \`moec ${command.name()}\` runs in one`,
      `start it without mpirun; ${together.map((name) => `\`moec ${name}\``).join(", ")} are what several processes do together`,
    );
  });
  const silent = { writeOut: () => {}, writeErr: (text: string) => void (withheld += text) };
  if (rank > 0) for (const command of [program, ...program.commands]) command.configureOutput(silent);
}
/** Prints the usage error of a process that is not the first, which has none or another, and sees to it that this process' end is that of all. */
export async function reportWithheld(): Promise<void> {
  joinOthers();
  if (withheld === "") return;
  await waitForFirst();
  process.stderr.write(`worker ${rank} of ${size}:\n${withheld}`);
}
/** Runs a command by all workers. What fails on one ends all, and that one says why. `threads`: what the user has given. */
export async function withWorkers(
  threads: number | undefined,
  command: (world: Workers) => Promise<void>,
): Promise<void> {
  const world = await connectWorkers();
  if (world.rank === 0 && world.idle > 0 && threads === undefined)
    warn(
      `mpirun has bound its processes, and ${world.idle} of the cores stay idle: with --bind-to none they share all`,
    );
  if (world.rank === 0 && threads !== undefined && threads > cores())
    warn(
      `--threads ${threads} is more than this process has cores, ${cores()}: threads that share a core wait for each other, and all go slower`,
    );
  try {
    await command(world);
  } catch (error) {
    const own = world.reportFailure(error);
    if (world.rank > 0 && !(own instanceof OtherWorkerFailed)) note(`worker ${world.rank} of ${world.size}:`);
    throw own;
  }
}
/** The workers. An error of MPI is usually the same on all of them, so it is printed by the first. */
async function connectWorkers(): Promise<Workers> {
  try {
    return workers();
  } catch (error) {
    await waitForFirst();
    throw error;
  }
}
/**
 * Begins MPI, so that the exit of this process with an error ends the others: MPICH's launcher ends none for one that fails before, and they would wait
 * for it in MPI_Init for ever.
 */
function joinOthers(): void {
  try {
    workers();
  } catch {
    // there is no MPI: all find that out by themselves
  }
}
/** Delays all processes but the first: when the first exits with an error, the others are ended before they print the same. */
const waitForFirst = (): Promise<void> => (rank > 0 ? setTimeout(5000) : Promise.resolve());
