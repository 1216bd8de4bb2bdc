// Puts NVRTC into .nvrtc/, where moec finds it: NVIDIA's own wheel, by pip. Needs neither a GPU nor a driver.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../.nvrtc", import.meta.url));
const pip = ["-m", "pip", "install", "--quiet", "--upgrade", "--no-deps", "--target", folder, "nvidia-cuda-nvrtc"];
const { status } = spawnSync("python3", pip, { stdio: "inherit" });
if (status !== 0)
  console.error("NVRTC was not installed: it needs python3 with pip (Debian: `apt install python3-pip`) and a network");
process.exitCode = status ?? 1;
