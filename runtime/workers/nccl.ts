// Finds the NCCL library, which carries data between the GPUs of workers.
import { Problem } from "../../compiler/diagnostic.ts";
import { libraryPaths, onlyPlace } from "../cuda/nvidia-paths.ts";
import { native } from "../native.ts";

interface Nccl {
  readonly path: string;
  /** Such as `2.28.7`. */
  readonly version: string;
}
/** The first NCCL that loads: only MOEC_LIBNCCL if it is set, else where CUDA's libraries may be. Throws Problem if there is none. */
export function nccl(environment: NodeJS.ProcessEnv = process.env): Nccl {
  const named = environment["MOEC_LIBNCCL"];
  const failures: string[] = [];
  for (const path of named ? [named] : libraryPaths(/^libnccl\.so\.2$/, ["libnccl.so.2"], environment)) {
    try {
      return { path, version: shown(native().ncclVersion(path)) };
    } catch (error) {
      if (error instanceof Problem) throw error;
      if (path.includes("/"))
        failures.push((error instanceof Error ? error.message : String(error)).replace(/^\w+: /, ""));
    }
  }
  const { where, first } = onlyPlace(environment, "MOEC_LIBNCCL");
  throw new Problem(
    [`NCCL was not found${where}`, ...failures].join("\n"),
    `${first}\`pip install nvidia-nccl-cu13\`, or install libnccl2 of NVIDIA's packages, or name its libnccl.so.2 in MOEC_LIBNCCL`,
  );
}
/** 22807 means `2.28.7`; before 2.9 the number had four digits. */
function shown(n: number): string {
  const [major, minor] = n < 10000 ? [1000, 100] : [10000, 100];
  return `${Math.floor(n / major)}.${Math.floor((n % major) / minor)}.${n % minor}`;
}
