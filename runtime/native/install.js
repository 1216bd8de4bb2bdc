// Builds the addon when the package is installed. If Node's own headers are installed beside it, uses those, because node-gyp would download them;
// npm_config_nodedir takes precedence.
import { spawnSync } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { env, execPath, exit, platform, stderr } from "node:process";

if (platform === "win32") {
  stderr.write("moec: the host target needs Linux or macOS (on Windows: WSL); here `--target reference` works\n");
  exit(0);
}
const prefix = dirname(dirname(realpathSync(execPath)));
const beside = existsSync(join(prefix, "include", "node", "node_api.h")) ? prefix : "";
const nodedir = env.npm_config_nodedir || beside;
const { status } = spawnSync("node-gyp", ["rebuild"], {
  stdio: "inherit",
  env: nodedir === "" ? env : { ...env, npm_config_nodedir: nodedir },
});
if (status !== 0) {
  stderr.write(
    "moec: its addon was not built. It needs a C++17 compiler, make and python3 (Debian: `apt install g++ make python3`), and, without a\n" +
      "network, Node's headers (Debian: `libnode-dev`; then set npm_config_nodedir to the folder that holds include/node).\n",
  );
  exit(1);
}
