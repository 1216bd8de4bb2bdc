import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkpointSteps } from "../runtime/checkpoint.ts";

const test = suite("kill");
const root = mkdtempSync(join(tmpdir(), "moec-kill-"));
test.after(() => rmSync(root, { recursive: true }));

interface Line {
  readonly step: number;
  readonly loss: number;
  readonly saved: string | null;
}
interface Ended {
  readonly lines: Line[];
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}
/** Runs the child; `at` a step, `then` gets it to end it in its way. */
async function child(
  folder: string,
  pause: number,
  at = 0,
  then: (child: ChildProcess) => void = () => {},
): Promise<Ended> {
  const script = fileURLToPath(new URL("train-child.ts", import.meta.url));
  const run = spawn(process.execPath, ["--import", "tsx", script, folder, String(pause)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<[number | null, NodeJS.Signals | null]>((done) => run.on("close", (...how) => done(how)));
  const lines: Line[] = [];
  for await (const text of createInterface(run.stdout)) {
    const line = JSON.parse(text) as Line;
    lines.push(line);
    if (line.step === at) then(run);
  }
  const [code, signal] = await ended;
  return { lines, code, signal };
}

test("kill -9, then resumed at once: the same losses to the bit; Ctrl-C saves; a second one quits", async () => {
  const [whole, killed, stopped] = ["whole", "killed", "stopped"].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ];
  const [unbroken, first, saved, quit] = await Promise.all([
    child(whole, 0),
    child(killed, 10, 15, (run) => run.kill("SIGKILL")),
    child(stopped, 10, 9, (run) => run.kill("SIGINT")),
    child(join(root, "quit"), 400, 2, (run) => {
      run.kill("SIGINT");
      setTimeout(() => run.kill("SIGINT"), 100);
    }),
  ]);
  assert.is(unbroken.lines.length, 30);
  assert.is(first.signal, "SIGKILL");
  const second = await child(killed, 0);
  const from = second.lines[0]?.step ?? 0;
  assert.ok(from === 13 || from === 17, `resumed at ${from}`);
  const losses = [...first.lines.filter((l) => l.step < from), ...second.lines].map((l) => l.loss);
  assert.equal(
    losses,
    unbroken.lines.map((l) => l.loss),
  );

  assert.is(saved.code, 0);
  const last = saved.lines.at(-1);
  assert.ok(last && last.step < 30 && checkpointSteps(stopped)[0] === last.step && last.saved !== null);
  assert.is(quit.code, 130);
});
test.run();
