// Puts NVRTC into .nvrtc/, where moec finds it: NVIDIA's own wheel, by pip. Needs neither a GPU nor a driver.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { cudaDriver } from "../runtime/cuda/driver.ts";
import { wheelFor } from "../runtime/nvrtc.ts";
import { asked } from "./asked.ts";

asked("npm run nvrtc, without arguments: puts NVRTC into .nvrtc/", {});

const folder = fileURLToPath(new URL("../.nvrtc", import.meta.url));
const pip = ["-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--upgrade", "--no-deps"];
/** A driver loads the code of its own major version of CUDA and of older ones. */
function wheel(): string {
  try {
    return wheelFor(cudaDriver().version);
  } catch {
    return wheelFor(undefined); // no driver, or moec's addon is not built
  }
}
/** With the headers of CUDA (4 MB), by which tests know that the driver is called as it wants to be. */
const compiler = wheel();
const wheels = [compiler, compiler.replace("nvrtc", "runtime")];
const install = (): number =>
  spawnSync("python3", [...pip, "--target", folder, ...wheels], { stdio: "inherit" }).status ?? 1;
/** The wheel is 250 MB: a broken connection is tried again. */
const tries = 3;
let status = 1;
for (let i = 0; i < tries && status !== 0; i++) status = install();
if (status !== 0)
  console.error(
    "NVRTC was not installed: it needs python3 with pip (Debian: `apt install python3-pip`) and a network.\nWhat compiles CUDA text is skipped without it.",
  );
process.exitCode = status;
