// Bindings to NVRTC, NVIDIA's compiler as a library: CUDA C++ to PTX and machine code, with or without a GPU. Uses ffi-napi, which is imported only
// when NVRTC is first needed, so that programs without CUDA do not load it.
import { dirname, join } from "node:path";
import type refNapi from "ref-napi";
import { Problem } from "../compiler/diagnostic.ts";
import { ffiHelp, libraryPaths, namesIn, onlyPlace } from "./cuda/nvidia-paths.ts";

/** One translation unit. `architecture`: such as `sm_90a`. `names`: expressions whose mangled names are wanted (`kernel<64>`). */
interface CudaSource {
  readonly name: string;
  readonly text: string;
  readonly architecture: string;
  readonly options?: readonly string[];
  readonly names?: readonly string[];
}
interface CudaCode {
  readonly ptx: string;
  readonly cubin: Buffer;
  /** Warnings, and, with the option `--ptxas-options=-v`, the resources that each kernel uses. */
  readonly log: string;
  readonly names: ReadonlyMap<string, string>;
}
export interface Nvrtc {
  readonly path: string;
  /** Such as `13.5`. */
  readonly version: string;
  /** The architectures that it compiles for, as numbers: 80 for `sm_80`. */
  readonly architectures: readonly number[];
  /** Compiles off the event loop, so that several units compile at once. Throws CudaError with the log. */
  compile(source: CudaSource): Promise<CudaCode>;
}
/** An error of NVRTC; `log` has the compiler's messages if it rejected a text. */
export class CudaError extends Error {
  readonly log: string;
  constructor(message: string, log: string) {
    super(`${message}\n${log}`);
    this.log = log;
    this.name = "CudaError";
  }
}

/**
 * The first NVRTC that loads and is new enough. `driver`: the CUDA version of the driver that will load its code, if any. Throws Problem if there is
 * none.
 */
export async function nvrtc(environment: NodeJS.ProcessEnv = process.env, driver?: string): Promise<Nvrtc> {
  const bindings = await imported();
  const failures: string[] = [];
  for (const path of candidates(environment)) {
    try {
      const found = bound(path, bindings);
      const wrong = unusableReason(found.version, driver);
      if (wrong === null) return found;
      failures.push(`${path}: ${wrong}`);
    } catch (error) {
      if (path.includes("/")) failures.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const { where, first } = onlyPlace(environment, "MOEC_LIBNVRTC");
  throw new Problem(
    [`NVRTC${failures.length > 0 ? " that can be used" : ""} was not found${where}`, ...failures].join("\n"),
    `${first}run \`npm run nvrtc\` in a clone of moec, or \`pip install ${wheelFor(driver)}\`, or name a CUDA toolkit's folder in MOEC_CUDA_HOME${driver === undefined ? "" : ", or update the driver"}`,
  );
}
/** 12.1 lacks a builtin that the device headers use. */
const minVersion = [12, 3] as const;
/**
 * Why an NVRTC cannot be used; null if it can. A driver loads machine code of its own major version of CUDA or an older one; minor versions do not
 * matter.
 */
function unusableReason(version: string, driver: string | undefined): string | null {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major < minVersion[0] || (major === minVersion[0] && minor < minVersion[1]))
    return `${version} is older than ${minVersion.join(".")}`;
  if (driver === undefined || major <= Number.parseInt(driver, 10)) return null;
  return `${version} makes code that this driver, of CUDA ${driver}, cannot load`;
}
/** The Python package that has an NVRTC for a driver of this CUDA version. */
export const wheelFor = (driver: string | undefined): string =>
  driver?.startsWith("12.") ? "nvidia-cuda-nvrtc-cu12" : "nvidia-cuda-nvrtc";

function* candidates(environment: NodeJS.ProcessEnv): Generator<string> {
  const named = environment["MOEC_LIBNVRTC"];
  if (named) return yield named;
  const names = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];
  yield* libraryPaths(/^libnvrtc\.so(\.\d+)?$/, names, environment);
}

type Argument = Buffer | string | number | null;
type Call = { (...args: Argument[]): number; async(...args: [...Argument[], Callback]): void };
type Callback = (error: Error | null, result: number) => void;
const [program, text, number, out] = ["pointer", "string", "int", "pointer"];
const signatures = {
  nvrtcVersion: [out, out],
  nvrtcGetNumSupportedArchs: [out],
  nvrtcGetSupportedArchs: [out],
  nvrtcCreateProgram: [out, text, text, number, out, out],
  nvrtcDestroyProgram: [out],
  nvrtcAddNameExpression: [program, text],
  nvrtcGetLoweredName: [program, text, out],
  nvrtcCompileProgram: [program, number, out],
  nvrtcGetProgramLogSize: [program, out],
  nvrtcGetProgramLog: [program, out],
  nvrtcGetPTXSize: [program, out],
  nvrtcGetPTX: [program, out],
  nvrtcGetCUBINSize: [program, out],
  nvrtcGetCUBIN: [program, out],
};
type Library = Readonly<Record<keyof typeof signatures, Call>>;
type Ref = typeof refNapi;

interface Bindings {
  readonly open: (path: string) => Library;
  readonly ref: Ref;
}
async function imported(): Promise<Bindings> {
  try {
    const [{ default: ffi }, { default: ref }] = await Promise.all([import("ffi-napi"), import("ref-napi")]);
    const table = Object.fromEntries(
      Object.entries(signatures).map(([name, types]) => [name, ["int", types]] as const),
    );
    const load = (path: string, functions: object): Library => new ffi.Library(path, functions) as Library;
    const open = (path: string): Library => {
      for (const other of builtinsBeside(path)) load(other, {});
      return load(path, table);
    };
    return { open, ref };
  } catch (cause) {
    throw new Problem("ffi-napi, which calls NVRTC, is not built", ffiHelp, { cause });
  }
}
/**
 * The libraries of builtins in NVRTC's folder, to be loaded before it: NVRTC opens them by name, and some (the wheel of 13.0) do not search their own
 * folder, but find what is loaded.
 */
const builtinsBeside = (path: string): string[] =>
  path.includes("/")
    ? namesIn(dirname(path))
        .filter((name) => /^libnvrtc-builtins\.so\.\d/.test(name))
        .map((name) => join(dirname(path), name))
    : [];
const bound = (path: string, { open, ref }: Bindings): Nvrtc => new Bound(path, open(path), ref);

class Bound implements Nvrtc {
  readonly path: string;
  readonly version: string;
  readonly architectures: readonly number[];
  readonly #library: Library;
  readonly #ref: Ref;

  constructor(path: string, library: Library, ref: Ref) {
    this.path = path;
    this.#library = library;
    this.#ref = ref;
    const numbers = Buffer.alloc(8);
    check("nvrtcVersion", library.nvrtcVersion(numbers, numbers.subarray(4)));
    this.version = `${numbers.readInt32LE(0)}.${numbers.readInt32LE(4)}`;
    check("nvrtcGetNumSupportedArchs", library.nvrtcGetNumSupportedArchs(numbers));
    const all = Buffer.alloc(4 * numbers.readInt32LE(0));
    check("nvrtcGetSupportedArchs", library.nvrtcGetSupportedArchs(all));
    this.architectures = Array.from({ length: all.length / 4 }, (_, i) => all.readInt32LE(4 * i));
  }

  async compile(source: CudaSource): Promise<CudaCode> {
    const cell = Buffer.alloc(8);
    check("nvrtcCreateProgram", this.#library.nvrtcCreateProgram(cell, source.text, source.name, 0, null, null));
    try {
      return await this.#compile(this.#ref.readPointer(cell, 0), source);
    } finally {
      this.#library.nvrtcDestroyProgram(cell);
    }
  }
  async #compile(made: Buffer, source: CudaSource): Promise<CudaCode> {
    const { names = [], architecture, options = [] } = source;
    for (const name of names) check("nvrtcAddNameExpression", this.#library.nvrtcAddNameExpression(made, name));
    const result = await this.#run(made, [`--gpu-architecture=${architecture}`, ...options]);
    const log = this.#text("ProgramLog", made);
    if (result !== 0) throw new CudaError(`${source.name} does not compile for ${architecture}`, log);
    return {
      ptx: this.#text("PTX", made),
      cubin: this.#bytes("CUBIN", made),
      log,
      names: new Map(names.map((name) => [name, this.#lowered(made, name)])),
    };
  }
  #run(made: Buffer, options: readonly string[]): Promise<number> {
    const texts = options.map((option) => Buffer.from(`${option}\0`));
    const array = Buffer.alloc(8 * texts.length);
    texts.forEach((option, i) => this.#ref.writePointer(array, 8 * i, option));
    return new Promise((resolve, reject) => {
      this.#library.nvrtcCompileProgram.async(made, texts.length, array, (error, result) => {
        texts.length = 0; // keeps the strings alive until here
        if (error) reject(error);
        else resolve(result);
      });
    });
  }
  #bytes(what: "ProgramLog" | "PTX" | "CUBIN", made: Buffer): Buffer {
    const size = Buffer.alloc(8);
    check(`nvrtcGet${what}Size`, this.#library[`nvrtcGet${what}Size`](made, size));
    const bytes = Buffer.alloc(Number(size.readBigUInt64LE()));
    check(`nvrtcGet${what}`, this.#library[`nvrtcGet${what}`](made, bytes));
    return bytes;
  }
  #text(what: "ProgramLog" | "PTX", made: Buffer): string {
    return this.#bytes(what, made).toString("utf8").replace(/\0+$/, "");
  }
  #lowered(made: Buffer, name: string): string {
    const cell = Buffer.alloc(8);
    check("nvrtcGetLoweredName", this.#library.nvrtcGetLoweredName(made, name, cell));
    return this.#ref.readCString(this.#ref.readPointer(cell, 0, 4096), 0);
  }
}
function check(call: string, result: number): void {
  if (result !== 0) throw new CudaError(`${call} failed with error ${result} of nvrtcResult`, "");
}
