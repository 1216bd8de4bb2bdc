// npm run sanitize: runs the random tests of `npm run fuzz`, or test files, with the addon and the kernels compiled by g++ with a sanitizer. A finding
// ends the process.
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process, { argv, env, execPath } from "node:process";
import { print } from "../../cli/output.ts";
import { usageError } from "../command-line.ts";

interface Sanitizer {
  readonly flags: string;
  readonly libraries: readonly string[];
  readonly options: Readonly<Record<string, string>>;
}
const sanitizers: Readonly<Record<string, Sanitizer>> = {
  /** Finds out-of-bounds accesses of kernels and addon, and accesses to parts of the arena that a step does not use (runtime/native/program.cpp). */
  address: {
    flags: "-fsanitize=address,undefined -fno-sanitize=null,pointer-overflow -fno-sanitize-recover=all",
    libraries: ["libasan.so", "libubsan.so"],
    options: { ASAN_OPTIONS: "detect_leaks=0", UBSAN_OPTIONS: "print_stacktrace=1" },
  },
  /** Finds data races between threads of the pool, and so between tasks of a kernel. */
  thread: {
    flags: "-fsanitize=thread",
    libraries: ["libtsan.so"],
    options: { TSAN_OPTIONS: "halt_on_error=1:ignore_noninstrumented_modules=1" },
  },
};
const usage = `npm run sanitize -- address|thread [what npm run fuzz takes]
npm run sanitize -- address|thread test [what npm test takes]
  needs Linux, and g++ with its sanitizers`;
const [name = "", ...rest] = argv.slice(2);
if (name === "--help" || name === "-h") {
  print(usage);
  process.exit(0);
}
const sanitizer = sanitizers[name] ?? usageError(`no sanitizer is called ${name}`, usage);
const root = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "moec-sanitize-"));
const path = (file: string): string => execFileSync("g++", [`-print-file-name=${file}`], { encoding: "utf8" }).trim();

/** Builds the addon with the sanitizer, as `npm run install` does, in the temporary folder. */
function addon({ flags }: Sanitizer): string {
  for (const part of ["runtime/native", "binding.gyp", "package.json"])
    cpSync(join(root, part), join(folder, part), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  const given = { ...env, CXX: "g++", CXXFLAGS: `${flags} -g1`, LDFLAGS: flags };
  const { status, stderr } = spawnSync(execPath, ["runtime/native/install.js"], { cwd: folder, env: given });
  if (status !== 0) {
    rmSync(folder, { recursive: true });
    usageError(`the addon does not compile with ${flags}\n${stderr.toString()}`, usage);
  }
  return join(folder, "build/Release/moec.node");
}
mkdirSync(join(folder, "cache"));
const [file, args] = rest[0] === "test" ? ["test/run.ts", rest.slice(1)] : ["test/random/main.ts", rest];
const hook = join(import.meta.dirname, "addon.js");
const { status } = spawnSync(execPath, ["--import", "tsx", "--import", hook, join(root, file), ...args], {
  stdio: "inherit",
  env: {
    ...env,
    ...sanitizer.options,
    MOEC_SANITIZED: addon(sanitizer),
    MOEC_SANITIZER: `${sanitizer.flags} -g1 -Og`,
    MOEC_CACHE: join(folder, "cache"),
    LD_PRELOAD: sanitizer.libraries.map(path).join(" "),
    CXX: `env -u LD_PRELOAD g++ ${sanitizer.flags} -g1`,
  },
});
rmSync(folder, { recursive: true });
process.exit(status ?? 1);
