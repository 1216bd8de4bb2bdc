// What workers do together, by MPI: test/workers/collectives.ts in one process, and in two to four that mpirun starts.
import { spawnSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { mpirun, skipped } from "../../scripts/mpirun.ts";
import { workerScript } from "../command.ts";
import { full } from "../full.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("collectives");
const cache = temporaryFolder();

function requireAgreement(name: "collectives" | "sent", count: number): void {
  const worker = [process.execPath, workerScript(name)];
  const [command = "", ...args] = count === 1 ? worker : [...(mpirun ?? []), "-n", String(count), ...worker];
  const env = { ...process.env, MOEC_CACHE: cache };
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", env, timeout: 120_000 });
  assert.is(status, 0, `${stdout}${stderr}`);
  assert.is(stdout.match(/agrees/g)?.length, count);
}
if (!mpirun) skipped("what workers do together");
for (const count of mpirun ? (full ? [1, 2, 3, 4] : [1, 3, 4]) : [])
  test(`${count} of them`, () => requireAgreement("collectives", count));
for (const count of mpirun ? [2, 3] : []) test(`the bytes that ${count} send`, () => requireAgreement("sent", count));
test.run();
