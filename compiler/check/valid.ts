// Refuses a program in which anything is wrong. A process may compile several entries of one program, or one at several sizes; it is checked once.
import { memoize } from "../memoize.ts";
import { ProgramError } from "../program-error.ts";
import { check } from "./index.ts";
import type { Loaded } from "./modules.ts";
import { textsOf } from "./texts.ts";

const checkOnce = memoize(check);
/** The texts of programs in which nothing is wrong. */
const valid = new Set<string>();
const most = 100;

/** Throws ProgramError if anything is wrong in the program. */
export function requireValid(loaded: Loaded): void {
  const texts = JSON.stringify(textsOf(loaded));
  if (valid.has(texts)) return;
  const diagnostics = checkOnce(loaded);
  if (diagnostics.length > 0) throw new ProgramError(diagnostics);
  if (valid.size >= most) valid.clear();
  valid.add(texts);
}
