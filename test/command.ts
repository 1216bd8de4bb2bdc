// Runs the `moec` command as users do. It is bundled once for each test process, with the workers that tests start: starting from sources takes more
// than a second of CPU time, bundled a fifth of a second.
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import process, { execPath } from "node:process";
import { pathToFileURL } from "node:url";
import { bundle } from "../scripts/bundle.ts";
import { project } from "./project.ts";

const folder = join(project, "build", `command-${process.pid}`);
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const workers = [
  "asked",
  "beside",
  "collectives",
  "embedded",
  "gpus",
  "overlapped",
  "pieces",
  "sent",
  "variants",
] as const;
await bundle(folder, ["bench/worker", ...workers.map((name) => `test/workers/${name}`)]);

/** The script to run with node. */
export const main: string = join(folder, "cli", "main.js");
/** The package. */
export const library: string = join(folder, "runtime", "index.js");
/** What a thread runs that encodes text. */
export const encodingThread: URL = pathToFileURL(join(folder, "runtime", "tokenizer", "encoding-thread.js"));
/** What the benchmark of workers runs. */
export const benchWorker: string = join(folder, "bench", "worker.js");
/** The same of a file of test/workers/. */
export const workerScript = (name: (typeof workers)[number]): string => join(folder, "test", "workers", `${name}.js`);
/** Runs `moec ARGS`, in the repository's folder unless `cwd` is another. */
export const command = (
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  cwd: string = project,
): SpawnSyncReturns<string> => spawnSync(execPath, [main, ...args], { cwd, encoding: "utf8", env });
