// The one place that calls the compiler: what the runtime asks of it, and what it gets.
import type { Diagnostic } from "../compiler/diagnostic.ts";
import type { Executable } from "./executable.ts";

/** Numbers for size names; a spread (`...S`) takes the list of its axes. */
export type Sizes = Readonly<Record<string, number | boolean | readonly number[]>>;
/** `train` as `evaluate` is the method `train` under that name: `training` is false in it. Names `generate:T` share their states. */
export interface EntryRequest {
  readonly method: string;
  readonly name: string;
  readonly sizes: Sizes;
  /** The arguments that the caller gives; others take their defaults. Absent: those without a default. */
  readonly given?: readonly string[];
  /** Adds the gradients of the losses and of the cotangents' products; `train` then stops before its optimizer. */
  readonly gradients?: boolean;
}
export type Form = "ast" | "graph" | "kernels" | "plan" | "cpp";
export const forms: readonly Form[] = ["ast", "graph", "kernels", "plan", "cpp"];

/** `declaration`: a model, a layer or a function (whose `method` is its own name). Each program also gets the entry `init`. */
export interface CompileRequest {
  readonly path: string;
  readonly declaration?: string;
  readonly sizes: Sizes;
  readonly precision: "f32" | "f64";
  readonly target: "host" | "reference";
  readonly threads?: number;
  readonly entries: readonly EntryRequest[];
  /** Forms to print into `report.forms`. */
  readonly emit?: readonly Form[];
}
/** Bytes, except `flops` (of one run of the first entry); seconds by stage in `timings`, with `total`. */
export interface CompileReport {
  readonly parameters: number;
  readonly gradients: number;
  readonly optimizer: number;
  readonly activations: number;
  readonly flops: number;
  readonly kernels: readonly { readonly name: string }[];
  readonly timings: Readonly<Record<string, number>>;
  /** Text by file name. */
  readonly forms?: Readonly<Partial<Record<Form, Readonly<Record<string, string>>>>>;
}
export interface Compiled {
  readonly executable: Executable;
  readonly report: CompileReport;
}

/** Compiles and loads. Throws ProgramError with all that is wrong in the program, or Problem. */
export async function compileProgram(request: CompileRequest): Promise<Compiled> {
  const pipeline = await import("../compiler/pipeline.ts");
  return pipeline.compileProgram(request);
}
/** All that is wrong in a file, its syntax and its types. */
export async function checkFile(path: string): Promise<readonly Diagnostic[]> {
  const pipeline = await import("../compiler/pipeline.ts");
  return pipeline.checkFile(path);
}
