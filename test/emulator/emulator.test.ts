// The emulator of CUDA text: every instruction against its definition, planted bugs, and both libraries driven by an ordinary client.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { env } from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { project } from "../project.ts";
import { build, buildClient, buildUnits } from "./build.ts";

const folder = join(project, "test/emulator");

interface Said {
  readonly name: string;
  readonly failure: string;
}
/** What the program of unit tests prints: `ok NAME`, or `FAIL NAME (how): what`. */
async function units(): Promise<Said[]> {
  const output = await run(await buildUnits(), [], {});
  return output
    .trim()
    .split("\n")
    .map((line) => ({
      name: line.replace(/^(ok|FAIL) /, "").replace(/ \((check|order)[^)]*\): .*/, ""),
      failure: line.startsWith("ok ") ? "" : line,
    }));
}
/** What a program prints, whatever its status. */
const run = (program: string, args: readonly string[], extra: NodeJS.ProcessEnv): Promise<string> =>
  new Promise((resolve) => {
    const options = { env: { ...env, ...extra }, maxBuffer: 2 ** 26, timeout: 240_000 };
    execFile(program, args, options, (error, stdout, stderr) =>
      resolve(stdout + stderr + (error?.signal ? `ended by ${error.signal}\n` : "")),
    );
  });
const test = suite("emulator");
const said = await units();
for (const { name, failure } of said) test(name, () => assert.is(failure, ""));
test("all tests ran", () => assert.ok(said.length >= 40, `only ${said.length}`));

const { libcuda, libnvrtc } = await build();
const [client, pair, streams] = [await buildClient("client"), await buildClient("pair"), await buildClient("streams")];
const inOrder = `before cuInit: 3
without a context: 201
compute capability 9
junk: 200
devices: 1
no such kernel: 500
too much memory: 2
streams: 3 1500
rows that are wider than the pitch: 1
synchronized while it captures: 900, then 901, ended 901
allocated while it captures: 900, then 901, ended 901
graph: 43 42957
more shared memory than asked for: 1
after a fault: 719, then 719
CUDA_ERROR_LAUNCH_FAILED`;
for (const how of ["", "threads=2", "check", "check lazy order=random seed=3"])
  test(`driver and NVRTC, ${how || "fast"}`, async () => {
    const output = await run(client, [libcuda, libnvrtc, join(folder, "driver/client.cu")], { MOEC_EMULATOR: how });
    const lines = output.split("\n").filter((line) => !line.startsWith("emulator: "));
    assert.is(lines.join("\n").trim(), inOrder);
    assert.match(output, /emulator: .*outside buffer #1 of 4000 bytes/);
    if (how.startsWith("check")) assert.match(output, /client\.cu:23/);
  });
const together = `worker 0
without a context: 1
both on one device: 5
memory of the host: 4
to itself: 4
captured unconnected: 1
gathered: 1000000 1099999 2099999
sent both ways: 2000000 2099999
gathered: 2000000 2099999 3099999
sent both ways: 3000000 3099999
destroyed with a graph: 5
other sizes: 6 600, worker 1 takes other than a message of 40 bytes of worker 0
nobody takes it: 6 600, worker 1 does not take what worker 0 sends: a message of 40 bytes
worker 1
without a context: 1
both on one device: 5
memory of the host: 4
to itself: 4
captured unconnected: 1
gathered: 1000000 1099999 2099999
sent both ways: 1000000 1099999
gathered: 2000000 2099999 3099999
sent both ways: 2000000 2099999
destroyed with a graph: 5
other sizes: 6 600, worker 0 sends a message of 40 bytes where worker 1 takes a message of 36`;
for (const how of ["", "check"])
  test(`NCCL between two processes, ${how || "fast"}`, async () => {
    const output = await run(pair, [libcuda], { MOEC_EMULATOR: `${how} devices=2 wait=1` });
    assert.is(output.trim(), together);
  });
/** A wait that lacks is seen where the second stream comes late, or where it goes ahead. */
const late = [2, 2, 1] as const;
for (const [how, [whole, noStart, noEnd]] of [
  ["", [2, 2, 2]],
  ["lazy", late],
  ["ahead", [2, 1, 2]],
] as const)
  test(`two streams that wait for one another, ${how || "in the order of calls"}`, async () => {
    const output = await run(streams, [libcuda], { MOEC_EMULATOR: how });
    const expected = [
      `whole: ${whole}, without the first wait: ${noStart}, without the second: ${noEnd}`,
      `captured: ${whole}, without the second: ${noEnd}`,
      "an event of an earlier capture: 907",
      "an event of before the capture: 905, ended 901",
      "a stream that is not joined: 904, its event after that: 907",
    ];
    assert.is(output.trim(), expected.join("\n"));
  });
test.run();
