// On a GPU, where there is one: every op's samples, layers, and contractions by wgmma, through NVIDIA's driver and NVRTC against their
// definitions; temporaries begin as NaN, and the second run, by a graph, must repeat the first. They run in a process of their own
// (cuda/gpu-worker.ts): what fails there or does not end is told of by its name, and the next case has a new one.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Problem } from "../../compiler/diagnostic.ts";
import { cudaDriver } from "../../runtime/cuda/driver.ts";
import { cores } from "../../runtime/machine.ts";
import { project } from "../project.ts";
import type { Group } from "./gpu-cases.ts";
import type { Said } from "./gpu-worker.ts";

const test = suite("gpu");

function found(): boolean {
  try {
    return cudaDriver().devices.length > 0;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    console.log(`skipped: ${error.message.split("\n")[0] ?? ""}`);
    return false;
  }
}
/** What a worker said of the cases from `first` on, until it ended or a case took too long. */
async function worked(group: Group, first: number): Promise<{ readonly said: readonly Said[]; readonly why: string }> {
  const said: Said[] = [];
  const worker = spawn(
    process.execPath,
    ["--import", "tsx", join(project, "test/cuda/gpu-worker.ts"), group, String(first)],
    {
      cwd: project,
      stdio: ["ignore", "pipe", "pipe"],
      env: { UV_THREADPOOL_SIZE: String(cores()), ...process.env },
    },
  );
  let errors = "";
  worker.stderr.on("data", (text) => (errors = (errors + String(text)).slice(-2000)));
  const patience = (seconds: number): NodeJS.Timeout => setTimeout(() => worker.kill("SIGKILL"), seconds * 1000);
  let timer = patience(compiling);
  createInterface({ input: worker.stdout }).on("line", (line) => {
    said.push(JSON.parse(line) as Said);
    clearTimeout(timer);
    timer = patience(running);
  });
  const ended = await new Promise<string>((resolve) =>
    worker.on("close", (code, signal) => resolve(signal ?? `status ${code}`)),
  );
  clearTimeout(timer);
  return { said, why: ended === "SIGKILL" ? "it does not end" : `the process ended with ${ended}\n${errors}` };
}
/** Seconds that all kernels of a group may take to compile, and one case to run. */
const [compiling, running] = [500, 60];
/** Kernels that fail; what comes after so many is not tried. */
const most = 12;

/** Prints all that goes wrong, as it does, and throws at the end. */
async function allRight(group: Group): Promise<readonly string[]> {
  const told: string[] = [];
  let failures = 0;
  const wrong = (text: string): void => (failures++, console.log(text));
  let [count, next] = [Number.POSITIVE_INFINITY, 0];
  for (let broken = 0; next < count; broken++) {
    const { said, why } = await worked(group, next);
    let running = "";
    for (const line of said)
      if ("compiled" in line) count = line.compiled;
      else if ("begins" in line) [next, running] = [line.begins + 1, line.name];
      else {
        told.push(...line.told);
        if (line.wrong !== null) wrong(`${running}: ${line.wrong}`);
        running = "";
      }
    if (running !== "") wrong(`${running}: ${why}`);
    else if (next === 0) assert.unreachable(`nothing ran: ${why}`);
    if (broken < most || next >= count) continue;
    wrong(`the last ${count - next} of ${count} were not tried`);
    next = count;
  }
  assert.is(failures, 0, `${failures} failures of ${group}, as told above`);
  return told;
}

if (found()) {
  test("every op against its definition", () => allRight("ops").then(() => undefined));
  test("layers against the interpreter", () => allRight("layers").then(() => undefined));
  test("contractions of bf16, by wgmma where the device has it", async () => {
    const told = await allRight("contractions");
    assert.equal(
      told.filter((line) => line.includes("is not used")),
      [],
    );
  });
}
test.run();
