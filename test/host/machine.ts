// What the machine that runs the tests has.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

export const x64 = process.arch === "x64";
const cpu = x64 && process.platform === "linux" ? readFileSync("/proc/cpuinfo", "utf8") : "";
/** Whether /proc/cpuinfo lists a feature, such as `avx2`. */
export const hasFeature = (feature: string): boolean => new RegExp(`\\b${feature}\\b`).test(cpu);
export const hasClang = spawnSync("clang++", ["--version"]).status === 0;
