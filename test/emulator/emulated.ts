// npm run emulated -- ARGS...: the moec command on a machine without a GPU. MOEC_EMULATOR says how kernels run: README.md.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { argv, env, execPath, exit } from "node:process";
import { build } from "./build.ts";

const { libcuda, libnvrtc } = await build();
const main = join(import.meta.dirname, "../../cli/main.ts");
const { status } = spawnSync(execPath, ["--import", "tsx", main, ...argv.slice(2)], {
  stdio: "inherit",
  env: { ...env, MOEC_LIBCUDA: libcuda, MOEC_LIBNVRTC: libnvrtc },
});
exit(status ?? 1);
