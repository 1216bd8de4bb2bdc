// Wording for error messages that ask for a flag: the command line's flag, and the equivalent option of the TypeScript API.
import type { Weights } from "./types/dtype.ts";

const flagText = (flag: string, option: string): string => `\`${flag}\` (in TypeScript \`${option}\`)`;
export const sizeFlagText = (name: string, value: number | "VALUE" = "VALUE"): string =>
  flagText(`--set ${name}=${value}`, `sizes: { ${name}: ${value} }`);
export const targetFlagText = (target: string): string => flagText(`--target ${target}`, `target: "${target}"`);
export const precisionFlagText = (precision: string): string =>
  flagText(`--precision ${precision}`, `precision: "${precision}"`);
export const weightsFlagText = (weights: Weights): string => flagText(`--weights ${weights}`, `weights: "${weights}"`);
export const inputFlagText = (name: string): string =>
  `\`--input FILE.json\` with { "${name}": ... } in it (in TypeScript \`{ ${name}: ... }\` of \`run\`, or of each batch)`;
export const declarationFlagText = flagText("--entry NAME", 'declaration: "NAME"');
export const modelFlagText = flagText("--model NAME", 'model: "NAME"');
export const batchFlagText = flagText("--batch N", "batch");
export const lengthFlagText = flagText("--length N", "length");
export const gradFlagText = flagText("--grad", "gradients: true");
export const idsFlagText = flagText("--ids", "ids: true");
export const tokenizerFlagText = flagText("--tokenizer PATH", 'tokenizer: "PATH"');
export const tokensFlagText = flagText("--tokens N", "tokens");
export const topPFlagText = flagText("--top-p P", "topP");
export const topKFlagText = flagText("--top-k N", "topK");
export const contextParallelFlagText = flagText("--context-parallel", "contextParallel");
export const tensorParallelFlagText = flagText("--tensor-parallel", "tensorParallel");
export const expertParallelFlagText = flagText("--expert-parallel", "expertParallel");
export const upcycleFlagText = flagText("--upcycle", "upcycle: true");
export const prefixesFlagText = flagText("--prefixes", "prefixes");
export const recomputeFlagText = flagText("--recompute", "recompute: true");
export const shardOptimizerFlagText = flagText("--shard-optimizer", "shardOptimizer: true");
export const shardParametersFlagText = flagText("--shard-parameters", "shardParameters: true");
export const shadowFlagText = flagText("--shadow", "shadow");
export const roomFlagText = flagText("--room", "room");
/** Describes any value for an error message. */
export function describeValue(x: unknown): string {
  if (x === null || x === undefined || typeof x === "boolean") return String(x);
  if (typeof x === "number") return Object.is(x, -0) ? "-0" : String(x);
  if (typeof x === "string") return JSON.stringify(x);
  return Array.isArray(x) ? "a list" : typeof x === "object" ? "an object" : `a ${typeof x}`;
}
