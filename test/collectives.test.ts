// What workers do together, by MPI: test/workers/collectives.ts in one process, and in two and three that mpirun starts.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GraphBuilder } from "../compiler/graph/builder.ts";
import { plainStore } from "../compiler/graph/node.ts";
import * as b from "../compiler/ops/build.ts";
import { ops } from "../compiler/ops/list.ts";
import { toPlan } from "../compiler/pipeline.ts";
import { backends } from "../compiler/targets.ts";
import { type } from "../compiler/types/type.ts";
import { folder } from "./folder.ts";
import { mpirun, skipped } from "./mpirun.ts";

const test = suite("collectives");
const cache = folder();

const worker = [process.execPath, "--import", "tsx", join(import.meta.dirname, "workers", "collectives.ts")];

test("CUDA refuses them", () => {
  const g = new GraphBuilder(ops);
  const sum = b.make1(g, "all_reduce", [b.param(g, "x", type("f32", [3]))], { fn: "sum" });
  const graph = { name: "e", results: [{ role: "output" as const, name: "0", value: sum }] };
  const program = { graphs: [graph], stores: [plainStore("x", "parameter", { dtype: "f32", shape: [3] }, true)] };
  assert.throws(
    () => toPlan(program, { timings: new Map(), after: () => {} }, undefined, undefined, backends.cuda),
    /many workers cannot use the target cuda yet/,
  );
});
if (!mpirun) skipped("what workers do together");
for (const count of mpirun ? [1, 2, 3] : [])
  test(`${count} of them`, () => {
    const [command = "", ...args] = count === 1 ? worker : [...(mpirun ?? []), "-n", String(count), ...worker];
    const env = { ...process.env, MOEC_CACHE: cache };
    const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", env, timeout: 120_000 });
    assert.is(status, 0, `${stdout}${stderr}`);
    assert.is(stdout.match(/agrees/g)?.length, count);
  });
test.run();
