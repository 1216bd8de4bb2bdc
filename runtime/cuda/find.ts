// Where NVIDIA's tools may be: what the user names, CUDA toolkits, and the packages of Python.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { home } from "../../compiler/assets.ts";

/** Folders of CUDA toolkits. */
export const toolkits = (environment: NodeJS.ProcessEnv): string[] =>
  [environment["CUDA_HOME"], environment["CUDA_PATH"], "/usr/local/cuda", "/opt/cuda"].filter((f) => f !== undefined);
/** What `npm run nvrtc` installed. */
export const ownWheels = (): string[] => parts(fileURLToPath(new URL(".nvrtc", home)));
/** Wheels put their files into nvidia/cu13, older ones into nvidia/cuda_nvrtc and the like. */
export const wheels = (): string[] => pythonFolders().flatMap(parts);
const parts = (folder: string): string[] => list(join(folder, "nvidia")).map((part) => join(folder, "nvidia", part));
/** Names in a folder, none if it is not there. */
export const list = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

function pythonFolders(): string[] {
  try {
    const print = "import sys; print('\\n'.join(sys.path))";
    const path = execFileSync("python3", ["-c", print], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return path.split("\n").filter(Boolean);
  } catch {
    return []; // no Python, no wheels
  }
}
