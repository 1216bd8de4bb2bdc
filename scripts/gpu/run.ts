// npm run gpu -- -o FOLDER [--seconds N] [PART...]: runs the checks of checks.ts on this machine's GPU. FOLDER gets summary.txt, with a line for each
// check, and a log for each part. PART is a part such as `bench` or a single check such as `bench/f32`; default: all, in order.
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { env } from "node:process";
import { formatError, note, print } from "../../cli/output.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { parseCommandLine, usageError } from "../command-line.ts";
import { type Check, checks, moec } from "./checks.ts";
import { type CommandResult, run } from "./command.ts";

const usage = `npm run gpu -- -o FOLDER [--seconds N] [PART...]
  -o         the folder that gets summary.txt and the parts' logs
  --seconds  for all parts together
  PART       ${checks.map(({ name }) => name).join(", ")}, or what is before the stroke; without any, all in this order`;

async function checked({ commands, env: more, seconds }: Check, left: number, log: string): Promise<CommandResult> {
  const scratch = mkdtempSync(join(tmpdir(), "moec-gpu-"));
  const end = performance.now() + Math.min(seconds, left) * 1000;
  try {
    let ended: CommandResult = { how: "missing", said: "", tail: "" };
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

/** What a GPU's checks need and `moec doctor` misses. Its process is watched, since a driver may hang. */
async function missing(log: string): Promise<Problem[]> {
  const { tail } = await run(moec("doctor", "--json"), {}, 60, log);
  return ["GPUs", "NVRTC"].flatMap((part) => {
    const line = tail.split("\n").find((each) => each.startsWith(`{"part":"${part}"`));
    if (line === undefined) return new Problem(`moec doctor does not tell of ${part}`, `see ${log}`);
    const { found, help } = JSON.parse(line) as { found: string; help: string | null };
    return help === null ? [] : new Problem(found, help);
  });
}
/** Leaves those that can run here, and says once why others cannot. */
async function runnable(chosen: readonly Check[], log: string): Promise<readonly Check[]> {
  const alone = chosen.filter(({ name }) => name.startsWith("doctor/"));
  const problems = alone.length === chosen.length ? [] : await missing(log);
  if (problems.length === 0) return chosen;
  note(["no GPU can be used here, so only the part doctor runs", ...problems.map((p) => formatError(p))].join("\n"));
  process.exitCode = 1;
  return alone;
}

async function main(): Promise<void> {
  const options = { out: { type: "string", short: "o" }, seconds: { type: "string", default: "Infinity" } } as const;
  const { values, positionals } = parseCommandLine(usage, options, Number.POSITIVE_INFINITY);
  const wanted = (name: string): boolean => positionals.some((p) => p === name || p === name.split("/")[0]);
  const unknown = positionals.filter((p) => !checks.some(({ name }) => p === name || p === name.split("/")[0]));
  if (unknown.length > 0) usageError(`there is no part ${unknown.join(", ")}`, usage);
  if (!(Number(values.seconds) > 0)) usageError(`--seconds ${values.seconds} is no number above 0`, usage);
  if (values.out === undefined) return usageError("no folder is named", usage);
  const folder = resolve(env["INIT_CWD"] ?? ".", values.out);
  mkdirSync(folder, { recursive: true });
  const summary = join(folder, "summary.txt");
  writeFileSync(summary, "");
  const end = performance.now() + Number(values.seconds) * 1000;
  const chosen = checks.filter(({ name }) => positionals.length === 0 || wanted(name));
  for (const check of await runnable(chosen, join(folder, "doctor.txt"))) {
    const start = performance.now();
    const left = (end - start) / 1000;
    const log = join(folder, `${check.name.split("/")[0]}.txt`);
    const { how, said } = left < 5 ? { how: "no time", said: "" } : await checked(check, left, log);
    const line = `${how.padEnd(9)}  ${check.name.padEnd(32)}  ${((performance.now() - start) / 1000).toFixed(1).padStart(6)} s  ${said}`;
    appendFileSync(summary, `${line}\n`);
    print(line);
    if (how !== "ok") process.exitCode = 1;
  }
}
await main();
process.exit(); // explicitly: a process that cannot be killed would keep this one
