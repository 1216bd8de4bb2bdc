// `npm run nvrtc`: installs NVIDIA's wheel of NVRTC by pip into .nvrtc/, where moec finds it. Needs neither a GPU nor a driver.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { cudaDriver } from "../runtime/cuda/driver.ts";
import { wheelFor } from "../runtime/nvrtc.ts";
import { parseCommandLine } from "./command-line.ts";

parseCommandLine("npm run nvrtc, without arguments: puts NVRTC into .nvrtc/", {});

const folder = fileURLToPath(new URL("../.nvrtc", import.meta.url));
const pip = ["-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--upgrade", "--no-deps"];
/** The wheel for this machine's driver, which loads code of its own major version of CUDA or an older one. */
function wheel(): string {
  try {
    return wheelFor(cudaDriver().version);
  } catch {
    return wheelFor(undefined); // there is no driver, or moec's addon is not built
  }
}
/** The second wheel has CUDA's headers (4 MB), with which tests check how the driver is called. */
const compiler = wheel();
const wheels = [compiler, compiler.replace("nvrtc", "runtime")];
const install = (): number =>
  spawnSync("python3", [...pip, "--target", folder, ...wheels], { stdio: "inherit" }).status ?? 1;
/** Attempts: the wheel is 250 MB, and a connection may break. */
const tries = 3;
let status = 1;
for (let i = 0; i < tries && status !== 0; i++) status = install();
if (status !== 0)
  console.error(
    "NVRTC was not installed: it needs python3 with pip (Debian: `apt install python3-pip`) and a network.\nWhat compiles CUDA text is skipped without it.",
  );
process.exitCode = status;
