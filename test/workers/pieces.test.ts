// Rows that are exchanged in pieces, by MPI: test/workers/pieces.ts in two and four processes that mpirun starts.
import { spawnSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { mpirun, skipped } from "../../scripts/mpirun.ts";
import { workerScript } from "../command.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("pieces");
const cache = temporaryFolder();

if (!mpirun) skipped("rows that are exchanged in pieces");
for (const count of mpirun ? [2, 4] : [])
  test(`${count} workers make the same bits as with rows exchanged as a whole`, () => {
    const [command = "", ...args]: string[] = [
      ...(mpirun ?? []),
      "-n",
      String(count),
      process.execPath,
      workerScript("pieces"),
    ];
    const env = { ...process.env, MOEC_CACHE: cache };
    const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", env, timeout: 120_000 });
    assert.is(status, 0, `${stdout}${stderr}`);
    assert.is(stdout.match(/agrees/g)?.length, count);
  });
test.run();
