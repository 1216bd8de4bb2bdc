// Where NVIDIA's tools may be: what the user names, CUDA toolkits, and the packages of Python.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { home } from "../../compiler/assets.ts";

/** What to do where ffi-napi is not there: npm installs without it, as it builds neither without Node's headers nor in a path with spaces. */
export const unbuilt = "run `npm install` in a path without spaces, and see what it says of ffi-napi";
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

/**
 * Where a library may be, the likeliest first: the folder that MOEC_CUDA_HOME names, and that alone; moec's own wheels, toolkits, the
 * loader's path by the names in `loader`, Python's wheels.
 */
export function* libraryPaths(
  file: RegExp,
  loader: readonly string[],
  environment: NodeJS.ProcessEnv,
): Generator<string> {
  const within = (folder: string): string[] =>
    list(folder)
      .filter((name) => file.test(name))
      .map((name) => join(folder, name));
  const toolkit = (folder: string): string[] =>
    ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib", "."].flatMap((lib) =>
      within(join(folder, lib)),
    );
  const wheel = (folder: string): string[] => within(join(folder, "lib"));
  const chosen = environment["MOEC_CUDA_HOME"];
  if (chosen) return yield* toolkit(chosen);
  yield* ownWheels().flatMap(wheel);
  for (const folder of toolkits(environment)) yield* toolkit(folder);
  yield* loader;
  yield* wheels().flatMap(wheel);
}

export function pythonFolders(): string[] {
  try {
    const print = "import sys; print('\\n'.join(sys.path))";
    const path = execFileSync("python3", ["-c", print], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return path.split("\n").filter(Boolean);
  } catch {
    return []; // no Python, no wheels
  }
}
