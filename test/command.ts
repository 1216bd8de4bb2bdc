// The command as users run it, bundled once for each process of tests: a start from its sources takes over a second of a core, bundled a fifth.
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import process, { execPath } from "node:process";
import { bundle } from "../scripts/bundle.ts";

export const root = join(import.meta.dirname, "..");
const folder = join(root, "build", `command-${process.pid}`);
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
await bundle(folder);

/** What `node` runs. */
export const main: string = join(folder, "cli", "main.js");
/** `moec ARGS` in the repository's folder. */
export const command = (args: readonly string[], env: NodeJS.ProcessEnv = process.env): SpawnSyncReturns<string> =>
  spawnSync(execPath, [main, ...args], { cwd: root, encoding: "utf8", env });
