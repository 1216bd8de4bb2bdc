// npm run gpu -- -o FOLDER [--seconds N] [PART...]: runs the checks of checks.ts on this machine's GPU. FOLDER gets summary.txt, with a line for each
// check, and a log for each part. PART is a part such as `bench` or a single check such as `bench/f32`; default: all, in order.
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { env } from "node:process";
import { print } from "../../cli/output.ts";
import { cores } from "../../runtime/host/machine.ts";
import { asked, misused } from "../asked.ts";
import { type Check, checks } from "./checks.ts";

const root = join(import.meta.dirname, "../..");
/** Folders in which NVIDIA's tools may be, besides those in PATH. */
const profilers = "/opt/nvidia/nsight-compute";
const tools = [
  "/usr/local/cuda/bin",
  "/opt/cuda/bin",
  ...(existsSync(profilers) ? readdirSync(profilers).map((version) => join(profilers, version)) : []),
];

const usage = `npm run gpu -- -o FOLDER [--seconds N] [PART...]
  -o         the folder that gets summary.txt and the parts' logs
  --seconds  for all parts together
  PART       ${checks.map(({ name }) => name).join(", ")}, or what is before the stroke; without any, all in this order`;

interface Ended {
  readonly how: "ok" | "failed" | "timed out" | "missing";
  readonly last: string;
}
/** At most so many bytes of one command's output are written to its log. */
const most = 2 ** 20;

/** Runs a command and appends its output to the log. After `seconds` it is killed with all processes that it started. */
function run(command: readonly string[], more: Check["env"], seconds: number, log: string): Promise<Ended> {
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
      if (bytes < most) appendFileSync(log, text);
      bytes += text.length;
      tail = (tail + text).slice(-4000);
    });
  return new Promise((done) => {
    const timer = setTimeout(() => {
      if (child.pid !== undefined) endGroup(child.pid);
      end("timed out"); // does not wait for the process, which may hang in the driver
    }, seconds * 1000);
    const end = (how: Ended["how"], last = lastLine(tail)): void => {
      clearTimeout(timer);
      done({ how, last });
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
const lastLine = (text: string): string => (text.trimEnd().split("\n").at(-1) ?? "").slice(0, 160);

async function checked({ commands, env: more, seconds }: Check, left: number, log: string): Promise<Ended> {
  const scratch = mkdtempSync(join(tmpdir(), "moec-gpu-"));
  const end = performance.now() + Math.min(seconds, left) * 1000;
  try {
    let ended: Ended = { how: "missing", last: "" };
    for (const command of commands) {
      const words = command.map((word) => word.replace("{scratch}", scratch));
      const shown = [...Object.entries(more ?? {}).map(([name, value]) => `${name}=${value}`), ...words].join(" ");
      appendFileSync(log, `\n== ${shown}\n`);
      ended = await run(words, more, (end - performance.now()) / 1000, log);
      if (ended.how !== "failed") break;
    }
    return ended;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  const options = { out: { type: "string", short: "o" }, seconds: { type: "string", default: "Infinity" } } as const;
  const { values, positionals } = asked(usage, options, Number.POSITIVE_INFINITY);
  const wanted = (name: string): boolean => positionals.some((p) => p === name || p === name.split("/")[0]);
  const unknown = positionals.filter((p) => !checks.some(({ name }) => p === name || p === name.split("/")[0]));
  if (unknown.length > 0) misused(`there is no part ${unknown.join(", ")}`, usage);
  if (!(Number(values.seconds) > 0)) misused(`--seconds ${values.seconds} is no number above 0`, usage);
  if (values.out === undefined) return misused("no folder is named", usage);
  const folder = resolve(env["INIT_CWD"] ?? ".", values.out);
  mkdirSync(folder, { recursive: true });
  const summary = join(folder, "summary.txt");
  writeFileSync(summary, "");
  const end = performance.now() + Number(values.seconds) * 1000;
  for (const check of checks.filter(({ name }) => positionals.length === 0 || wanted(name))) {
    const start = performance.now();
    const left = (end - start) / 1000;
    const log = join(folder, `${check.name.split("/")[0]}.txt`);
    const { how, last } = left < 5 ? { how: "no time", last: "" } : await checked(check, left, log);
    const line = `${how.padEnd(9)}  ${check.name.padEnd(32)}  ${((performance.now() - start) / 1000).toFixed(1).padStart(6)} s  ${last}`;
    appendFileSync(summary, `${line}\n`);
    print(line);
    if (how !== "ok") process.exitCode = 1;
  }
}
await main();
process.exit(); // explicitly: a process that cannot be killed would keep this one
