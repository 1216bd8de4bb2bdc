// What the machine that tests run on can do.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

export const x64 = process.arch === "x64";
const cpu = x64 && process.platform === "linux" ? readFileSync("/proc/cpuinfo", "utf8") : "";
/** Of its CPU: `avx2`. */
export const has = (feature: string): boolean => new RegExp(`\\b${feature}\\b`).test(cpu);
export const hasClang = spawnSync("clang++", ["--version"]).status === 0;
