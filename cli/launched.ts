// Where mpirun or the like has started several processes: which command runs, and what is said once.
import { setTimeout } from "node:timers/promises";
import type { Command } from "commander";
import { Problem } from "../compiler/diagnostic.ts";
import { launched } from "../runtime/mpi.ts";
import { type Workers, workers } from "../runtime/workers.ts";

const { rank, size } = launched() ?? { rank: 0, size: 1 };

/** Only training runs in several processes; help and usage errors are printed by the first. */
export function requireOne(program: Command): void {
  if (size === 1) return;
  program.hook("preAction", async (_, command) => {
    if (command.name() === "train") return;
    await later();
    throw new Problem(
      `${size} processes were started, and \`moec ${command.name()}\` runs in one`,
      "start it without mpirun; `moec train` is what several processes do together",
    );
  });
  const silent = { writeOut: () => {}, writeErr: () => {} };
  if (rank > 0) for (const command of [program, ...program.commands]) command.configureOutput(silent);
}
/** The workers; what is wrong with MPI is mostly so for all of them. */
export async function begun(): Promise<Workers> {
  try {
    return workers();
  } catch (error) {
    await later();
    throw error;
  }
}
/** Where MPI has not begun: the first process' end with an error ends the others, before they say the same. */
const later = (): Promise<void> => (rank > 0 ? setTimeout(5000) : Promise.resolve());
