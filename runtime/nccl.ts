// NCCL, NVIDIA's collectives between GPUs: where it is, and which version. Loaded when asked for.
import { Problem } from "../compiler/diagnostic.ts";
import { libraryPaths, unbuilt } from "./cuda/find.ts";

interface Nccl {
  readonly path: string;
  /** `2.28.7` */
  readonly version: string;
}
/** The first NCCL that loads. Throws Problem where there is none. */
export async function nccl(environment: NodeJS.ProcessEnv = process.env): Promise<Nccl> {
  const { default: ffi } = await import("ffi-napi").catch((cause: unknown) => {
    throw new Problem("ffi-napi, which calls NCCL, is not built", unbuilt, { cause });
  });
  const failures: string[] = [];
  for (const path of libraryPaths(/^libnccl\.so\.2$/, ["libnccl.so.2"], environment)) {
    try {
      const library = new ffi.Library(path, { ncclGetVersion: ["int", ["pointer"]] } as never) as unknown as {
        ncclGetVersion(to: Buffer): number;
      };
      const number = Buffer.alloc(4);
      const result = library.ncclGetVersion(number);
      if (result !== 0) throw new Error(`ncclGetVersion failed with error ${result} of ncclResult_t`);
      return { path, version: shown(number.readInt32LE(0)) };
    } catch (error) {
      if (path.includes("/")) failures.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new Problem(
    ["NCCL was not found", ...failures].join("\n"),
    "`pip install nvidia-nccl-cu13`, or install libnccl2 of NVIDIA's packages, or name a folder that holds it in MOEC_CUDA_HOME",
  );
}
/** 22807 is `2.28.7`; before 2.9 a number had four digits. */
function shown(n: number): string {
  const [major, minor] = n < 10000 ? [1000, 100] : [10000, 100];
  return `${Math.floor(n / major)}.${Math.floor((n % major) / minor)}.${n % minor}`;
}
