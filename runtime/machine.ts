// The cores, memory and cache of the machine, within the limits of this process's control groups (cgroups).
import { readFileSync } from "node:fs";
import { availableParallelism, freemem } from "node:os";
import { join } from "node:path";

/** The number of cores by CPU affinity and by cgroup quota, rounded down; at least 1. `root`: of the file system, for tests. */
export function cores(root = "/"): number {
  const quotas = groups(root, "cpu").map((folder) => {
    const [most = Number.NaN, period = Number.NaN] = numbers(join(folder, "cpu.max"));
    const old = number(join(folder, "cpu.cfs_quota_us")) / number(join(folder, "cpu.cfs_period_us"));
    return Number.isNaN(most / period) ? old : most / period;
  });
  const quota = Math.min(...quotas.filter((q) => q > 0), Number.POSITIVE_INFINITY);
  return Math.max(1, Math.min(availableParallelism(), Math.floor(quota)));
}

/** Available bytes: the least of the machine's free memory and what each cgroup's limit leaves, not counting its file cache as used. */
export function freeMemory(root = "/"): number {
  const left = groups(root, "memory").map((folder) => {
    const limit = number(join(folder, "memory.max"), join(folder, "memory.limit_in_bytes"));
    const used = number(join(folder, "memory.current"), join(folder, "memory.usage_in_bytes"));
    const cache = /^(?:total_)?inactive_file (\d+)$/m.exec(text(join(folder, "memory.stat")))?.[1] ?? "0";
    return limit - used + Number(cache);
  });
  return Math.max(0, Math.min(freemem(), ...left.filter((bytes) => !Number.isNaN(bytes))));
}

/** Bytes of the first core's largest cache; 0 if the system does not say. */
export function lastLevelCache(root = "/"): number {
  const kibibytes = [0, 1, 2, 3, 4].map((i) => number(join(root, `sys/devices/system/cpu/cpu0/cache/index${i}/size`)));
  return 1024 * Math.max(0, ...kibibytes.filter((n) => !Number.isNaN(n)));
}

/** The folders of this process's cgroup and its parents for one controller; cgroup v2 has no controller names, v1 has. */
function groups(root: string, controller: string): readonly string[] {
  return text(join(root, "proc/self/cgroup"))
    .split("\n")
    .flatMap((line) => {
      const [, names, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
      if (names === undefined || path === undefined) return [];
      if (names !== "" && !names.split(",").includes(controller)) return [];
      const parts = path.split("/").filter((part) => part !== "");
      return parts.concat("").map((_, depth) => join(root, "sys/fs/cgroup", names, ...parts.slice(0, depth)));
    });
}
function text(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // this machine has no such file
  }
}
const numbers = (file: string): readonly number[] =>
  text(file)
    .trim()
    .split(/\s+/)
    .map((s) => Number.parseInt(s, 10));
const number = (...files: readonly string[]): number =>
  files.map((file) => numbers(file)[0] ?? Number.NaN).find((n) => !Number.isNaN(n)) ?? Number.NaN;
