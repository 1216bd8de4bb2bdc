// Runs the C++ compiler. If this process exits meanwhile, the compiler is killed and its temporary folder removed.
import { execFile, type PromiseWithChild } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { Bug, Problem } from "../../compiler/diagnostic.ts";
import type { Toolchain } from "./toolchain.ts";

const execute = promisify(execFile);
/** Temporary folders of running compilers, and their process ids. */
const running = new Map<string, number | undefined>();
let isListening = false;

/** Compiles `source` to the shared library `library`; both are in a temporary folder of their own. Aborting `stop` kills the compiler. */
export async function runCompiler(tools: Toolchain, source: string, library: string, stop: AbortSignal): Promise<void> {
  stop.throwIfAborted();
  const folder = dirname(source);
  const [program, ...own] = tools.command;
  const work: PromiseWithChild<unknown> = execute(program, [...own, ...tools.flags, "-w", source, "-o", library], {
    maxBuffer: 2 ** 26,
    env: { ...process.env, TMPDIR: folder, LC_ALL: "C" }, // its messages, which `systemFailures` reads, in English
  });
  if (!isListening) process.prependListener("exit", killAll);
  isListening = true;
  running.set(folder, work.child.pid);
  const stopped = (): void => killIn(folder, work.child.pid);
  stop.addEventListener("abort", stopped);
  try {
    await work;
  } catch (error) {
    stop.throwIfAborted();
    const log = error instanceof Error && "stderr" in error ? String(error.stderr) : String(error);
    const failure = systemFailures.find(({ pattern }) => pattern.test(`${log}\n${signalOf(error)}`));
    if (failure)
      throw new Problem(`kernels cannot be compiled${failure.why(folder)}${said(log, failure.pattern)}`, failure.help);
    throw new Bug(
      `generated kernels do not compile; their source is ${source}\n${log.split("\n").slice(0, 30).join("\n")}\n`,
    );
  } finally {
    stop.removeEventListener("abort", stopped);
    running.delete(folder);
  }
  if (!existsSync(library))
    throw new Problem(
      `kernels cannot be compiled: \`${tools.command.join(" ")}\` wrote nothing, and reported no error`,
      "name another compiler: CXX=g++",
    );
}
/** Failures of the system (not of the source), recognised by what the compiler prints, and what to do. */
const systemFailures: readonly {
  readonly pattern: RegExp;
  readonly why: (folder: string) => string;
  readonly help: string;
}[] = [
  {
    pattern: /No space left on device/,
    why: (folder) => ` in ${dirname(folder)}: the disk is full`,
    help: "free some space; TMPDIR names another folder for temporary files",
  },
  {
    pattern:
      /SIGKILL|Killed signal terminated program|unable to execute command: Killed|out of memory|virtual memory exhausted/i,
    why: () => ": the system ended the C++ compiler, which it does where memory runs out",
    help: "end other programs, or let fewer kernels compile at once: `taskset -c 0` before the command gives it one core",
  },
  {
    // g++ of cc1plus and as, its collect2 of ld; clang of ld, and of a linker that it was told to use
    pattern:
      /cannot execute .*(No such file|Permission denied)|error trying to exec|collect2: fatal error: cannot find|Executable ".*" doesn't exist|invalid linker name/,
    why: () => ": a part of the C++ compiler is missing",
    help: "install the compiler anew (Debian: `apt install --reinstall g++ binutils`), or name another one: CXX=clang++",
  },
  {
    pattern: /signal terminated program|unable to execute command: [A-Z][\w ]+(\(core dumped\))?$|^SIG\w+$/m,
    why: () => ": a signal ended the C++ compiler",
    help: "run the command again; if it is the compiler that fails, name another one: CXX=clang++",
  },
  {
    pattern: /internal compiler error|PLEASE submit a bug report/,
    why: () => ": the C++ compiler failed by an error of its own",
    help: "name another compiler or another version of it, CXX=clang++ or CXX=g++-14, or let kernels use fewer instructions: MOEC_ISA=avx2",
  },
];
/** The line of what the compiler printed that says what failed. */
function said(log: string, pattern: RegExp): string {
  const line = log
    .split("\n")
    .find((one) => pattern.test(one))
    ?.trim();
  return line === undefined ? "" : ` (${line.slice(0, 300)})`;
}
/** The signal that ended a program, also where a shell around it tells of that by its exit code; else "". */
function signalOf(error: unknown): string {
  const { signal, code } = error as { readonly signal?: unknown; readonly code?: unknown };
  if (typeof signal === "string") return signal;
  return Object.entries(constants.signals).find(([, n]) => code === 128 + n)?.[0] ?? "";
}
function killAll(): void {
  for (const [folder, pid] of running) killIn(folder, pid);
}
function killIn(folder: string, pid: number | undefined): void {
  if (pid !== undefined) for (const one of [...childrenOf(pid), pid]) kill(one);
  rmSync(folder, { recursive: true, force: true });
}
/** The child processes: the compiler proper is a child of the driver `g++`, and would outlive it. */
function childrenOf(pid: number): readonly number[] {
  try {
    return [...readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").matchAll(/\d+/g)].map(Number);
  } catch {
    return []; // it has ended, or this is not Linux
  }
}
function kill(pid: number): void {
  try {
    process.kill(pid);
  } catch {
    // it has ended
  }
}
