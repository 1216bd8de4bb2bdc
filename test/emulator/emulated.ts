// npm run emulated -- ARGS...: the moec command on a machine without a GPU. MOEC_EMULATOR says how kernels run: README.md.
import { spawnSync } from "node:child_process";
import { argv, env, execPath, exit } from "node:process";
import { main } from "../command.ts";
import { build } from "./build.ts";

const { libcuda, libnvrtc } = await build();
const { status } = spawnSync(execPath, [main, ...argv.slice(2)], {
  stdio: "inherit",
  env: { ...env, MOEC_LIBCUDA: libcuda, MOEC_LIBNVRTC: libnvrtc },
});
exit(status ?? 1);
