// Programs in worker threads: side by side, and of a thread that is terminated in the midst of a run.
import { spawnSync } from "node:child_process";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { library } from "../command.ts";

const test = suite("worker-threads");
const runtime = pathToFileURL(library).href;

/** In a thread: runs one program `runs` times on `x`, telling when it begins, and its last result. */
const inThread = `
  import { parentPort, workerData } from "node:worker_threads";
  import { compile, moe } from ${JSON.stringify(runtime)};
  const { Mean } = moe\`layer Mean(D) {
    param w: float[D, D] = 1
    forward(x: float[N, D]) -> float[N, D] {
      for i in 0:40 { x = x @ w / D }
      return x
    }
  }\`;
  const program = await compile(Mean, { sizes: { D: 128, N: 256 }, threads: 2 });
  parentPort.postMessage("begun");
  let last;
  for (let i = 0; i < workerData.runs; i++)
    last = await program.run({ x: new Float32Array(128 * 256).fill(workerData.x) });
  program.close();
  parentPort.postMessage(String(last.outputs[0].data[0]));
`;
/** Runs the text of a module in a process of its own, where `start` starts threads. */
function output(text: string): string {
  const module = `
    import { once } from "node:events";
    import { setTimeout } from "node:timers/promises";
    import { Worker } from "node:worker_threads";
    const options = { eval: true, execArgv: ["--input-type=module"] };
    const start = (x, runs) => new Worker(${JSON.stringify(inThread)}, { ...options, workerData: { x, runs } });
    ${text}
    console.log("done");
  `;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", module], { encoding: "utf8" });
  return stdout + stderr;
}

test("two threads run at once", () => {
  const text = `
    const ends = [1, 2].map(async (x) => {
      const messages = [];
      const thread = start(x, 5).on("message", (m) => messages.push(m));
      await once(thread, "exit");
      return messages.join(" ");
    });
    console.log(...await Promise.all(ends));
  `;
  assert.is(output(text), "begun 1 begun 2\ndone\n");
});
test("a thread is terminated in the midst of a run, and the process goes on", () => {
  const text = `
    for (const after of [20, 30]) {
      const thread = start(1, 1e6);
      await once(thread, "message");
      await setTimeout(after);
      console.log(await thread.terminate());
    }
  `;
  assert.is(output(text), "1\n1\ndone\n");
});
test.run();
