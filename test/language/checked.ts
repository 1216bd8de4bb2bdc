// The errors of a program that is given as text.
import { check, elaborate, load } from "../../compiler/check/index.ts";
import type { Diagnostic } from "../../compiler/diagnostic.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import type { Source } from "../../compiler/syntax/ast.ts";

export const errorsIn = (text: string): Diagnostic[] => check(load({ name: "test.moe", text }));
export const codesIn = (text: string): string[] => errorsIn(text).map((d) => d.code);
/** Errors that only numbers bring to light. */
export function elaborationErrors(text: Source): Diagnostic[] {
  try {
    const methods = text.text.includes("train(") ? ["train"] : ["forward"];
    const declaration = text.text.startsWith("optimizer") ? "Sgd" : "A";
    elaborate(load(text), {
      declaration,
      sizes: {},
      precision: "f32",
      entries: methods.map((method) => ({ name: method, method, sizes: {} })),
    });
    return [];
  } catch (error) {
    if (error instanceof ProgramError) return [...error.diagnostics];
    throw error;
  }
}
