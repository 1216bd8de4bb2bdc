import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cores, freeMemory, lastLevelCache } from "../../runtime/machine.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("machine");

/** A small file system with what the kernel tells of control groups. */
function machine(files: Readonly<Record<string, string>>): string {
  const root = temporaryFolder();
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, path, ".."), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}
test("limits of control groups hold, in both versions, also those of groups above", () => {
  const stat = "anon 5\ninactive_file 100\n";
  const second = machine({
    "proc/self/cgroup": "0::/a/b\n",
    "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
    "sys/fs/cgroup/a/memory.max": "5000\n",
    "sys/fs/cgroup/a/memory.current": "2000\n",
    "sys/fs/cgroup/a/memory.stat": stat,
    "sys/fs/cgroup/a/b/memory.max": "max\n",
  });
  const first = machine({
    "proc/self/cgroup": "4:memory:/x\n2:cpu,cpuacct:/x\n",
    "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "50000\n",
    "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "7000\n",
    "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "7000\n",
  });
  assert.equal([cores(second), freeMemory(second), cores(first), freeMemory(first)], [1, 3100, 1, 0]);
  assert.ok(freeMemory(machine({})) > 2 ** 20);
  assert.is(cores(machine({})), availableParallelism());
});
test("the last-level cache is the largest one that the system lists", () => {
  const cache = "sys/devices/system/cpu/cpu0/cache";
  const root = machine({
    [`${cache}/index0/size`]: "48K\n",
    [`${cache}/index2/size`]: "2048K\n",
    [`${cache}/index3/size`]: "266240K\n",
  });
  assert.equal([lastLevelCache(root), lastLevelCache(machine({}))], [260 * 2 ** 20, 0]);
});
test.run();
