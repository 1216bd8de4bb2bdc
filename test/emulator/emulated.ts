// npm run emulated -- ARGS...: the moec command on a machine without a GPU. MOEC_EMULATOR says how kernels run: README.md. Under mpirun there is a
// device for each process.
import { spawnSync } from "node:child_process";
import { argv, env, execPath, exit } from "node:process";
import { launchInfo } from "../../runtime/workers/mpi.ts";
import { main } from "../command.ts";
import { build, libraryEnvironment } from "./build.ts";

const libraries = await build();
const words = `devices=${launchInfo()?.size ?? 1} ${env["MOEC_EMULATOR"] ?? ""}`;
const { status } = spawnSync(execPath, [main, ...argv.slice(2)], {
  stdio: "inherit",
  env: { ...env, ...libraryEnvironment(libraries), MOEC_EMULATOR: words },
});
exit(status ?? 1);
