// Builds the emulator with the system's C++ compiler (`CXX`, or g++). What was built is kept in the folder for temporary files, by the hash of
// all that went into it.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env, pid } from "node:process";
import { promisify } from "node:util";

const execute = promisify(execFile);
const here = import.meta.dirname;
export const cacheFolder = join(tmpdir(), "moec-emulator");

export interface Libraries {
  /** NCCL too. */
  readonly libcuda: string;
  readonly libnvrtc: string;
}
const common = ["-std=c++17", "-g1", "-pthread"];
const own = [...common, "-O1", "-fPIC", "-ftls-model=initial-exec", "-Wall", "-Wextra", "-Werror"];
/** For kernels that are checked and counted. */
const instrumented =
  "-O1 -w -fsanitize=thread -fsanitize-coverage=trace-pc -fno-threadsafe-statics -ffp-contract=off".split(" ");
const library = [...common, "-shared", "-Wl,-Bsymbolic-functions"];
const folders = ["runtime", "checker", "counters", "ptx", "driver"];
const dialect = join(here, "dialect");

const filesIn = (folder: string, end: string): string[] =>
  readdirSync(join(here, folder))
    .filter((f) => f.endsWith(end))
    .toSorted()
    .map((f) => join(here, folder, f));
const headers = (): string =>
  [...folders, "dialect", "unit"]
    .flatMap((f) => filesIn(f, ".hpp").concat(filesIn(f, ".cuh")))
    .map((f) => readFileSync(f, "utf8"))
    .join("\0");

/** Runs the compiler unless its output is there. `inputs`: files, given as `args`; the output's name ends with `extension`. */
function made(
  flags: readonly string[],
  inputs: readonly string[],
  extension: string,
  args: readonly string[] = inputs,
): Promise<string> {
  const cxx = env["CXX"] ?? "g++";
  const key = createHash("sha256").update([cxx, ...flags, ...inputs, headers()].join("\0"));
  for (const input of inputs) key.update(readFileSync(input));
  const output = join(cacheFolder, key.digest("hex").slice(0, 24) + extension);
  const made =
    making.get(output) ?? (existsSync(output) ? Promise.resolve(output) : compiled(cxx, [...flags, ...args], output));
  making.set(output, made);
  return made;
}
/** Who asks for what is being made waits for it. */
const making = new Map<string, Promise<string>>();
async function compiled(cxx: string, args: readonly string[], output: string): Promise<string> {
  mkdirSync(cacheFolder, { recursive: true, mode: 0o700 });
  const part = `${output}.${pid}`;
  const [program = "g++", ...more] = cxx.split(/\s+/);
  await execute(program, [...more, ...args, "-o", part], { maxBuffer: 2 ** 26 });
  renameSync(part, output);
  return output;
}
/** In order, two at a time. */
export async function mapInPairs<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [i, item] of queue) results[i] = await run(item);
  };
  await Promise.all([worker(), worker()]);
  return results;
}

/** One translation unit, because the standard library's headers take longer to compile than what is here. */
function madeOfAll(sources: readonly string[]): Promise<string> {
  const [last = "", ...others] = sources.toReversed();
  return made([...own, "-c"], sources, ".o", [...others.flatMap((f) => ["-include", f]), last]);
}
export async function build(): Promise<Libraries> {
  const objects = await mapInPairs(folders, (f) =>
    madeOfAll(filesIn(f, ".cpp").filter((name) => !/(nvrtc|sequence)\.cpp$/.test(name))),
  );
  const libcuda = await made(library, objects, ".so");
  const places = [`-DEMULATOR_DIALECT="${dialect}"`, `-DEMULATOR_KEPT="${cacheFolder}"`];
  const nvrtc = [join(here, "driver/nvrtc.cpp"), join(here, "runtime/config.cpp")];
  // libcuda, whose names are global, has a `config` too
  return { libcuda, libnvrtc: await made([...own, "-fvisibility=hidden", "-shared", ...places], nvrtc, ".so") };
}
/** What names them to moec in place of NVIDIA's. */
export const libraryEnvironment = ({ libcuda, libnvrtc }: Libraries): NodeJS.ProcessEnv => ({
  MOEC_LIBCUDA: libcuda,
  MOEC_LIBNVRTC: libnvrtc,
  MOEC_LIBNCCL: libcuda,
});
/** Runs `work` with the emulator's libraries in place of NVIDIA's in this process. */
export async function onEmulator<T>(work: () => Promise<T>): Promise<T> {
  const libraries = await build();
  const before = process.env;
  process.env = { ...before, ...libraryEnvironment(libraries) };
  try {
    return await work();
  } finally {
    process.env = before;
  }
}
/** The program that tests each instruction; see unit/main.cpp. */
export async function buildUnits(): Promise<string> {
  const { libcuda } = await build();
  const device = ["-include", join(dialect, "device.hpp")];
  const objects = await mapInPairs(filesIn("unit", ".cpp"), (f) =>
    made([...common, ...instrumented, ...device, "-c"], [f], ".o"),
  );
  return made([...common], [...objects, libcuda], ".out");
}
/** Runs launches that are written one a line; see driver/sequence.cpp. */
export async function buildRunner(): Promise<string> {
  const { libcuda } = await build();
  return made([...common, "-O1"], [join(here, "driver/sequence.cpp"), libcuda], ".out");
}
/** C programs that know nothing of the emulator: one of the driver and NVRTC, one of NCCL, one of streams. */
export const buildClient = (name: "client" | "pair" | "streams"): Promise<string> =>
  made(["-x", "c++", "-w", "-ldl"], [join(here, `driver/${name}.c`)], ".out");
