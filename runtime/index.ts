// What the package `moec` exports, for use in your own TypeScript.
export { type Diagnostic, Problem } from "../compiler/diagnostic.ts";
export { ProgramError } from "../compiler/program-error.ts";
export { plain, render } from "../compiler/render.ts";
export { format } from "../compiler/syntax/format.ts";
export { type Handle, type Handles, type Hole, moe } from "../compiler/syntax/template.ts";
export type { DType } from "../compiler/types/dtype.ts";
export { checkFile, checkText } from "./check.ts";
export type { CompileReport } from "./compile.ts";
export { type CallOptions, type Input, type Inputs, type LoadOptions, Program } from "./embed/compiled-program.ts";
export {
  type CompileOptions,
  compile,
  type FitOptions,
  fit,
  type Source,
  type TargetOptions,
  type TrainedStep,
  type TrainOptions,
  train,
} from "./embed/embed.ts";
export type { Outcome, Tensor } from "./executable/executable.ts";
export {
  type AskOptions,
  type OpenFolderOptions,
  type OpenOptions,
  type OpenProgramOptions,
  openModel,
  TextModel,
} from "./generation/text-model.ts";
export { readSafetensors, writeSafetensors } from "./storage/safetensors.ts";
export { fromNested as tensorOf, fromNumbers as tensor, numbers, toNested, zeros } from "./tensor.ts";
export type { Message, Prompt } from "./tokens.ts";
export { type Workers, workers } from "./workers/workers.ts";
