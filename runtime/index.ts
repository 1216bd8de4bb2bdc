// What a program that embeds moec imports: training, generation and files; the compiler is re-exported beside it.
export { type Checkpoint, loadStores, newestCheckpoint, readCheckpoint } from "./checkpoint.ts";
export {
  type Compiled,
  type CompileReport,
  type CompileRequest,
  checkFile,
  compileProgram,
  type EntryRequest,
} from "./compile.ts";
export { bigramHeldOut, entropies, type Text, textOf } from "./data.ts";
export type { Executable, Outcome, StoreInfo, Tensor } from "./executable.ts";
export { asText, type GenerateOptions, generate, generateTokens, type RunGenerateOptions } from "./generate.ts";
export type { Step } from "./loop.ts";
export { type RunOptions, runEntry } from "./run.ts";
export { readSafetensors, writeSafetensors } from "./safetensors.ts";
export { convert, fromNested, fromNumbers, numbers, toNested, zeros } from "./tensor.ts";
export { openTraining, type Training, type TrainOptions, train } from "./train.ts";
