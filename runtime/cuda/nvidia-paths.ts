// Where NVIDIA's libraries and tools may be: folders that the user names, CUDA toolkits, Python packages.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { packageFolder } from "../../compiler/assets.ts";

/** The advice when ffi-napi is missing. It is an optional dependency, which npm cannot build without Node's headers or in a path with spaces. */
export const ffiHelp = "run `npm install` in a path without spaces, and see what it says of ffi-napi";
/** Folders in which a CUDA toolkit may be installed. */
export const toolkits = (environment: NodeJS.ProcessEnv): string[] =>
  [environment["CUDA_HOME"], environment["CUDA_PATH"], "/usr/local/cuda", "/opt/cuda"].filter((f) => f !== undefined);
/** Folders of the wheels that `npm run nvrtc` installed. */
export const ownWheels = (): string[] => nvidiaFolders(fileURLToPath(new URL(".nvrtc", packageFolder)));
/** Folders of NVIDIA's wheels in Python's path: nvidia/cu13, or nvidia/cuda_nvrtc and the like for older ones. */
export const wheels = (): string[] => pythonFolders().flatMap(nvidiaFolders);
const nvidiaFolders = (folder: string): string[] =>
  namesIn(join(folder, "nvidia")).map((part) => join(folder, "nvidia", part));
/** The names in a folder; none if it does not exist. */
export const namesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

/**
 * Paths at which a library may be, the likeliest first. If MOEC_CUDA_HOME is set, only that folder; else moec's own wheels, toolkits, the names in
 * `loader` for the dynamic loader, Python's wheels.
 */
export function* libraryPaths(
  file: RegExp,
  loader: readonly string[],
  environment: NodeJS.ProcessEnv,
): Generator<string> {
  const within = (folder: string): string[] =>
    namesIn(folder)
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

/** Words for an error, if a variable names the only place that was searched: where that is, and what to do first. */
export function onlyPlace(environment: NodeJS.ProcessEnv, own: string): Readonly<Record<"where" | "first", string>> {
  const name = [own, "MOEC_CUDA_HOME"].find((n) => environment[n]);
  if (name === undefined) return { where: "", first: "" };
  return {
    where: ` in ${environment[name]}, which ${name} names`,
    first: `unset ${name}, so that other places are searched, and `,
  };
}

let python: readonly string[] | null = null;
/** Python's path. Python is asked once, since it takes long to start. */
export const pythonFolders = (): readonly string[] => (python ??= askPython());
function askPython(): string[] {
  try {
    const print = "import sys; print('\\n'.join(sys.path))";
    const path = execFileSync("python3", ["-c", print], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return path.split("\n").filter(Boolean);
  } catch {
    return []; // without Python there are no wheels
  }
}
