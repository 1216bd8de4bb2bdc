// Finds the system's C++ compiler, and asks it for its version and the CPU features that it compiles for.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { Problem } from "../../compiler/diagnostic.ts";
import { targetFlagText } from "../../compiler/flag-text.ts";
import { getOrMake } from "../../compiler/memoize.ts";
import { sha256 } from "../storage/files.ts";

export interface Toolchain {
  /** The program and the arguments that `CXX` gives it (`CXX="ccache g++"`). */
  readonly command: readonly [string, ...string[]];
  /** The compiler's version, such as `12.2.0`. */
  readonly version: string;
  readonly flags: readonly string[];
  /** CPU features that kernels may use, such as `AVX2` and `FMA`. */
  readonly features: readonly string[];
  /** A hash of the command, the flags and all predefined macros (which include version and CPU): equal identities compile equal kernels. */
  readonly identity: string;
}

/** Not NodeJS.ProcessEnv: the package's public types must not need Node's. */
type Environment = Readonly<Record<string, string | undefined>>;

const execute = promisify(execFile);
/** For every compiler and instruction set. */
export const kernelFlags: readonly string[] = [
  "-std=c++17",
  "-O2",
  "-fPIC",
  "-shared",
  "-fno-exceptions",
  "-fno-rtti",
  // Required by runtime/device/vector.hpp: operations round as written (no contraction), and integers wrap.
  "-ffp-contract=off",
  "-fwrapv",
  "-fno-math-errno",
  "-fno-trapping-math",
  "-Wno-psabi",
];
/** Kernels are linked without libraries: undefined symbols (memcpy, memset) are resolved in the process that loads them. */
export const linkFlags: readonly string[] =
  process.platform === "darwin" ? ["-undefined", "dynamic_lookup"] : ["-nostdlib"];
const avx2 = ["-mavx2", "-mfma", "-mbmi2"];
const avx512 = ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", ...avx2];
/**
 * Flags for each value of `MOEC_ISA`: alternatives, of which the first that the compiler accepts is used. `portable` is the baseline of the
 * architecture.
 */
const instructionSets: Readonly<Record<string, readonly (readonly string[])[]>> = {
  native: [["-march=native"], ["-mcpu=native"], []],
  amx: [["-mamx-tile", "-mamx-bf16", ...avx512]],
  avx512bf16: [["-mavx512bf16", ...avx512]],
  avx512: [avx512],
  avx2: [avx2],
  portable: [[]],
};
/**
 * Flags that only some compilers have. Unique symbols would keep a library loaded for ever. -fstack-reuse=none avoids a bug of g++ (12.2 at -O1,
 * GCC's bug 90348), which places an array over an accumulator that is still in use. -fno-schedule-insns, the default of x64, keeps the order of
 * loads and FMAs, which on arm64 would need more registers than there are.
 */
const optional = [["-fno-gnu-unique", "-fstack-reuse=none", "-fno-schedule-insns"], ["-fno-gnu-unique"], []];

/** Where g++ is too old, as in Ubuntu 22.04, newer ones are beside it under names with a version. */
const programs: readonly string[] = [
  "g++",
  "clang++",
  "c++",
  ...[16, 15, 14, 13, 12].map((version) => `g++-${version}`),
  ...[22, 21, 20, 19, 18, 17, 16, 15, 14].map((version) => `clang++-${version}`),
];

const known = new Map<string, Promise<Toolchain>>();

/**
 * The compiler that `CXX` names (a path, which may have spaces, or a program with arguments), or the first of `programs` that is new enough. Cached
 * for the process. Kernels use all that this CPU has, or what `MOEC_ISA` says: amx, avx512bf16, avx512, avx2 or portable.
 */
export function toolchain(environment: Environment = process.env): Promise<Toolchain> {
  const key = ["CXX", "PATH", "MOEC_ISA"].map((name) => environment[name]).join("\0");
  return getOrMake(known, key, () => find(environment));
}
async function find(environment: Environment): Promise<Toolchain> {
  const named = environment["CXX"]?.trim() ?? "";
  const chosen = existsSync(named) ? [named] : named.split(/\s+/).filter((part) => part !== "");
  const names = chosen.length > 0 ? [chosen] : programs.map((name) => [name]);
  const set = environment["MOEC_ISA"] || "native";
  const machine = Object.hasOwn(instructionSets, set) ? instructionSets[set] : undefined;
  if (!machine)
    throw new Problem(
      `MOEC_ISA is \`${set}\``,
      `it may be ${Object.keys(instructionSets).join(", ")}; without it kernels use all that this CPU has`,
    );
  const choices = machine.flatMap((flags) => optional.map((more) => [...flags, ...more]));
  for (const [program, ...args] of names) {
    const found = program === undefined ? null : await probe([program, ...args], choices, environment);
    if (found === null || program === undefined) continue;
    if (set !== "native" || !isBf16DotSlow(found.features)) return found;
    const without = choices.map((flags) => [...flags, "-mno-avx512bf16"]);
    return (await probe([program, ...args], without, environment)) ?? found;
  }
  throw new Problem(
    chosen.length > 0
      ? `CXX is \`${chosen.join(" ")}\`, which does not compile C++17, or is older than g++ 12`
      : "no C++ compiler was found, or none that is new enough",
    `install g++ 12, clang++ 14 or later (Debian: \`apt install g++\`; Ubuntu 22.04: \`apt install g++-12\`; Fedora: \`dnf install gcc-c++\`; macOS: \`xcode-select --install\`) or name it in CXX; ${targetFlagText("reference")} needs none`,
  );
}
/**
 * Whether dot products of bf16 pairs (`vdpbf16ps`) are slower than FMAs of converted operands, as they are on Intel's CPUs: one every other cycle, where
 * AMD's (which alone have SSE4A) do two a cycle. CPUs with AMX use tiles in place of them.
 */
export const isBf16DotSlow = (features: readonly string[]): boolean =>
  features.includes("AVX512BF16") && !features.includes("SSE4A") && !features.some((f) => f.startsWith("AMX"));

/**
 * What a compiler says of itself; `choices` are lists of flags, of which the first that it accepts is used. Null if it accepts none, is too old or
 * does not exist.
 */
async function probe(
  command: readonly [string, ...string[]],
  choices: readonly (readonly string[])[],
  env: Environment,
): Promise<Toolchain | null> {
  const [program, ...args] = command;
  for (const extra of choices) {
    const flags = [...kernelFlags, ...extra, ...linkFlags];
    try {
      const { stdout } = await execute(
        program,
        [...args, ...kernelFlags, ...extra, "-E", "-dM", "-x", "c++", "/dev/null"],
        {
          env,
        },
      );
      return isTooOld(stdout) ? null : describe(command, flags, stdout);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    }
  }
  return null;
}
/** g++ before 12 has no `__builtin_shufflevector`, which runtime/device uses. */
const isTooOld = (macros: string): boolean =>
  !macros.includes("#define __clang__ ") && Number(/^#define __GNUC__ (\d+)$/m.exec(macros)?.[1] ?? 12) < 12;
/** x64's macros end with underscores, arm64's do not. */
const featureMacro = /^#define __(SSE4_2|SSE4A|AVX\w*?|AMX\w*?|FMA|F16C|BMI2|ARM_NEON|ARM_FEATURE_\w+?)_{0,2} \d+$/gm;
function describe(command: readonly [string, ...string[]], flags: readonly string[], macros: string): Toolchain {
  const sorted = macros.split("\n").toSorted().join("\n");
  return {
    command,
    flags,
    version: /#define __VERSION__ "(.*)"/.exec(macros)?.[1] ?? "of unknown version",
    features: [...sorted.matchAll(featureMacro)].map((m) => m[1] ?? ""),
    identity: sha256([...command, ...flags, sorted].join("\0")),
  };
}
