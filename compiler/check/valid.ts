// Refuses a program in which anything is wrong. A process may compile several entries of one program, or one at several sizes; it is checked once.
import { memoize } from "../memoize.ts";
import { ProgramError } from "../program-error.ts";
import { check } from "./index.ts";
import type { Loaded } from "./modules.ts";

const checkOnce = memoize(check);
const mostTexts = 100;
/** The texts of programs in which nothing is wrong. */
type ValidTexts = Set<string>;
const ofFiles: ValidTexts = new Set();
/** For each template, whose values are no text: those of the files that it imports. */
const ofTemplate = memoize<object, ValidTexts>(() => new Set());

/** Throws ProgramError if anything is wrong in the program. */
export function requireValid(loaded: Loaded): void {
  const { program } = loaded.main;
  const known = isTemplate(program) ? ofTemplate(program) : ofFiles;
  const text = textOf(loaded);
  if (known.has(text)) return;
  const diagnostics = checkOnce(loaded);
  if (diagnostics.length > 0) throw new ProgramError(diagnostics);
  if (known.size >= mostTexts) known.clear();
  known.add(text);
}
const isTemplate = (program: object): boolean => "holes" in program;
/** With what each imports from where: a link may name another file than before, or none. */
const textOf = ({ modules }: Loaded): string =>
  JSON.stringify(
    modules.map(({ name, program, names }) => [
      name,
      isTemplate(program) ? null : program.span.source.text,
      program.imports.flatMap((one) => one.names.map((n) => names.get(n.name)?.module.name)),
    ]),
  );
