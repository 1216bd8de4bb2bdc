// Disassembles machine code by NVIDIA's nvdisasm. Needs no GPU.
import { execFile } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { Problem } from "../../compiler/diagnostic.ts";
import { onlyPlace, ownWheels, toolkits, wheels } from "./nvidia-paths.ts";

/** The path of the first nvdisasm that is executable. Throws Problem if there is none. */
export function nvdisasm(environment: NodeJS.ProcessEnv = process.env): string {
  for (const path of candidates(environment)) if (isProgram(path)) return path;
  const { where, first } = onlyPlace(environment, "NVDISASM");
  throw new Problem(
    `nvdisasm, which shows machine code, was not found${where}`,
    `${first}run \`pip install nvidia-cuda-nvdisasm\`, or name a CUDA toolkit's folder in MOEC_CUDA_HOME; --emit ptx needs none`,
  );
}
/** Paths, the likeliest first: NVDISASM, MOEC_CUDA_HOME, moec's own wheels, toolkits, PATH, Python's wheels. */
function* candidates(environment: NodeJS.ProcessEnv): Generator<string> {
  const named = environment["NVDISASM"];
  if (named) return yield named;
  const chosen = environment["MOEC_CUDA_HOME"];
  if (chosen) return yield inside(chosen);
  yield* [...ownWheels(), ...toolkits(environment)].map(inside);
  for (const folder of (environment["PATH"] ?? "").split(delimiter)) if (folder) yield join(folder, "nvdisasm");
  yield* wheels().map(inside);
}
const inside = (folder: string): string => join(folder, "bin", "nvdisasm");
function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The disassembly of each cubin, in order. */
export async function disassemble(cubins: readonly Uint8Array[], program: string): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "moec-sass-"));
  try {
    const texts: string[] = [];
    for (const [i, cubin] of cubins.entries()) {
      const file = join(folder, `${i}.cubin`);
      writeFileSync(file, cubin);
      texts.push(await read(program, file));
    }
    return texts;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
async function read(program: string, file: string): Promise<string> {
  try {
    return (await promisify(execFile)(program, ["--print-code", file], { maxBuffer: 2 ** 28 })).stdout;
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new Problem(
      `${program} cannot read this code: ${said}`,
      "run `pip install --upgrade nvidia-cuda-nvdisasm`: it must be as new as NVRTC",
      { cause },
    );
  }
}
