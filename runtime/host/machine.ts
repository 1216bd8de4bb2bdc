// What this process may use of the machine, control groups included.
import { readFileSync } from "node:fs";
import { availableParallelism, freemem } from "node:os";
import { join } from "node:path";

/** Cores by affinity and by quota; at least 1. `root`: of the file system, for tests. */
export function cores(root = "/"): number {
  const quotas = groups(root, "cpu").map((folder) => {
    const [most = Number.NaN, period = Number.NaN] = numbers(join(folder, "cpu.max"));
    const old = number(join(folder, "cpu.cfs_quota_us")) / number(join(folder, "cpu.cfs_period_us"));
    return Number.isNaN(most / period) ? old : most / period;
  });
  const quota = Math.min(...quotas.filter((q) => q > 0), Number.POSITIVE_INFINITY);
  return Math.max(1, Math.min(availableParallelism(), Math.floor(quota)));
}

/** Bytes that can be had: the machine's free memory, or what the group's limit leaves, its file cache not counted. */
export function freeMemory(root = "/"): number {
  const left = groups(root, "memory").map((folder) => {
    const limit = number(join(folder, "memory.max"), join(folder, "memory.limit_in_bytes"));
    const used = number(join(folder, "memory.current"), join(folder, "memory.usage_in_bytes"));
    const cache = /^(?:total_)?inactive_file (\d+)$/m.exec(text(join(folder, "memory.stat")))?.[1] ?? "0";
    return limit - used + Number(cache);
  });
  return Math.max(0, Math.min(freemem(), ...left.filter((bytes) => !Number.isNaN(bytes))));
}

/** The folders of the group that this process is in and of those above it, for one controller: version 2, then version 1. */
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
    return ""; // the machine has no such control
  }
}
const numbers = (file: string): readonly number[] =>
  text(file)
    .trim()
    .split(/\s+/)
    .map((s) => Number.parseInt(s, 10));
const number = (...files: readonly string[]): number =>
  files.map((file) => numbers(file)[0] ?? Number.NaN).find((n) => !Number.isNaN(n)) ?? Number.NaN;
