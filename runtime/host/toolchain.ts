// Finds the system's C++ compiler and asks it what it can do.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { Problem } from "../../compiler/diagnostic.ts";

export interface Toolchain {
  /** The program, then arguments of its own (`CXX="ccache g++"`). */
  readonly command: readonly [string, ...string[]];
  /** As the compiler states it: `12.2.0`. */
  readonly version: string;
  readonly flags: readonly string[];
  /** Instruction sets that kernels may use: `AVX2`, `FMA`. */
  readonly features: readonly string[];
  /** Differs where compiled kernels would: a hash of everything that the compiler predefines, its version and processor among it. */
  readonly identity: string;
}

const execute = promisify(execFile);
const common = [
  "-std=c++17",
  "-O2",
  "-fPIC",
  "-shared",
  "-fno-exceptions",
  "-fno-rtti",
  // What runtime/device/vector.hpp asks for: every operation rounds as written, whole numbers wrap.
  "-ffp-contract=off",
  "-fwrapv",
  "-fno-math-errno",
  "-fno-trapping-math",
  "-Wno-psabi",
];
/** Undefined symbols (memcpy, memset) are those of the process that loads the kernels. */
const linking = process.platform === "darwin" ? ["-undefined", "dynamic_lookup"] : ["-nostdlib"];
/** The first set that a compiler takes. Unique symbols would keep a library loaded for ever. */
const optional = [["-march=native", "-fno-gnu-unique"], ["-march=native"], ["-mcpu=native"], []];

const known = new Map<string, Promise<Toolchain>>();

/** The compiler that `CXX` names (a path, also with spaces, or a program and its arguments), or the first of g++, clang++ and c++. Asked once in a process. */
export function toolchain(environment: NodeJS.ProcessEnv = process.env): Promise<Toolchain> {
  const key = `${environment["CXX"]}\0${environment["PATH"]}`;
  const found = known.get(key) ?? find(environment);
  known.set(key, found);
  return found;
}
async function find(environment: NodeJS.ProcessEnv): Promise<Toolchain> {
  const named = environment["CXX"]?.trim() ?? "";
  const chosen = existsSync(named) ? [named] : named.split(/\s+/).filter((part) => part !== "");
  const names = chosen.length > 0 ? [chosen] : [["g++"], ["clang++"], ["c++"]];
  for (const [program, ...args] of names) {
    const found = program === undefined ? null : await probe([program, ...args], environment);
    if (found !== null) return found;
  }
  throw new Problem(
    chosen.length > 0 ? `CXX is \`${chosen.join(" ")}\`, which does not compile C++17` : "no C++ compiler was found",
    "install one (Debian: `apt install g++`; Fedora: `dnf install gcc-c++`; macOS: `xcode-select --install`) or name it in CXX; `--target reference` needs none",
  );
}

async function probe(command: readonly [string, ...string[]], env: NodeJS.ProcessEnv): Promise<Toolchain | null> {
  const [program, ...args] = command;
  for (const extra of optional) {
    const flags = [...common, ...extra, ...linking];
    try {
      const { stdout } = await execute(program, [...args, ...common, ...extra, "-E", "-dM", "-x", "c++", "/dev/null"], {
        env,
      });
      return describe(command, flags, stdout);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    }
  }
  return null;
}
function describe(command: readonly [string, ...string[]], flags: readonly string[], macros: string): Toolchain {
  const sorted = macros.split("\n").toSorted().join("\n");
  return {
    command,
    flags,
    version: /#define __VERSION__ "(.*)"/.exec(macros)?.[1] ?? "of unknown version",
    features: [...sorted.matchAll(/^#define __(SSE4_2|AVX\w*?|FMA|F16C|BMI2|ARM_NEON|ARM_FEATURE_\w+)__? \d+$/gm)].map(
      (m) => m[1] ?? "",
    ),
    identity: createHash("sha256")
      .update([...command, ...flags, sorted].join("\0"))
      .digest("hex"),
  };
}
