// Runs a command for a limited time, with its output in a log.
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import { cores } from "../../runtime/machine.ts";
import type { Check } from "./checks.ts";

const root = join(import.meta.dirname, "../..");
/** Folders in which NVIDIA's tools may be, besides those in PATH. */
const profilers = "/opt/nvidia/nsight-compute";
const tools = [
  "/usr/local/cuda/bin",
  "/opt/cuda/bin",
  ...(existsSync(profilers) ? readdirSync(profilers).map((version) => join(profilers, version)) : []),
];

export interface CommandResult {
  readonly how: "ok" | "failed" | "timed out" | "missing";
  /** Its error, or the last line that it printed. */
  readonly said: string;
  /** The end of its output. */
  readonly tail: string;
}
/** At most so many bytes of one command's output are written to its log. */
const maxLogBytes = 2 ** 20;

/** Runs a command and appends its output to the log. After `seconds` it is killed with all processes that it started. */
export function run(
  command: readonly string[],
  more: Check["env"],
  seconds: number,
  log: string,
): Promise<CommandResult> {
  const [program = "", ...args] = command;
  const path = [env["PATH"], ...tools].join(":");
  const child = spawn(program, args, {
    cwd: root,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { UV_THREADPOOL_SIZE: String(Math.max(4, cores())), ...env, ...more, PATH: path },
  });
  let [bytes, tail] = [0, ""];
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      if (bytes < maxLogBytes) appendFileSync(log, text);
      bytes += text.length;
      tail = (tail + text).slice(-4000);
    });
  return new Promise((done) => {
    const timer = setTimeout(() => {
      if (child.pid !== undefined) endGroup(child.pid);
      end("timed out"); // does not wait for the process, which may hang in the driver
    }, seconds * 1000);
    const end = (how: CommandResult["how"], said = lineOf(tail, how)): void => {
      clearTimeout(timer);
      done({ how, said, tail });
    };
    child.on("error", () => end("missing", `${program} is not found`));
    child.on("close", (status) => end(status === 0 ? "ok" : "failed"));
  });
}
function endGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch {
    // it has ended; processes that it left hold its streams open
  }
}
/** An error's line stands before its help and stack. */
function lineOf(text: string, how: CommandResult["how"]): string {
  const lines = text.trimEnd().split("\n");
  const error = how === "failed" ? lines.findLast((line) => line.startsWith("error: ")) : undefined;
  return (error ?? lines.at(-1) ?? "").trim().slice(0, 160);
}
