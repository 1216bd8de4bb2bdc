// Reads from a program's text what the runtime needs to know: entries, headers, losses, and the files that it consists of.
import { existsSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import {
  type DeclaredMethod,
  type EntrySignature,
  entrySignature,
  findDeclaration,
  type Loaded,
  loadFile,
  methodsCalled,
  modelsOf,
  resolveFile,
} from "../compiler/check/index.ts";
import { requireValid } from "../compiler/check/valid.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { memoize } from "../compiler/memoize.ts";
import type { Sizes } from "../compiler/pipeline.ts";
import { readText } from "../compiler/read-file.ts";
import type { Import, Stmt } from "../compiler/syntax/ast.ts";
import { writeAtomic } from "./storage/files.ts";

/** Reads a file and its imports. */
export function readProgram(path: string): Loaded {
  const program = requireSyntax(loadFile(path));
  if (!statSync(path).isFile())
    throw new Problem(`${path} is a pipe, and a program is read more than once`, "write the program to a file");
  return program;
}
/** If there are syntax errors, all of the program's errors are thrown; else types are checked later, by the compiler. */
export function requireSyntax(loaded: Loaded): Loaded {
  if (loaded.diagnostics.length > 0) requireValid(loaded);
  return loaded;
}

/** What `find` finds in the program; where that fails, the program's own errors come first. */
export function afterErrors<T>(program: Loaded, find: () => T): T {
  try {
    return find();
  } catch (problem) {
    requireValid(program);
    throw problem;
  }
}
/**
 * Resolves the option `--entry`: `Declaration`, `Declaration.method`, a function, or a method of the file's only model. Undefined: `method` of the
 * only model.
 */
export function findEntry(program: Loaded, entry: string | undefined, method = "forward"): EntrySignature {
  const [name, given, ...more] = entry?.split(".") ?? [];
  if (more.length > 0)
    throw new Problem(`\`${entry}\` is not an entry`, "give `Declaration`, `Declaration.method` or a function's name");
  return ofOnlyModel(program, name) && given === undefined
    ? entrySignature(program, undefined, name)
    : entrySignature(program, name, given ?? method);
}
/** Whether the name is not a declaration, but a method of the file's only model. */
const ofOnlyModel = (program: Loaded, name: string | undefined): boolean =>
  name !== undefined &&
  !program.main.names.has(name) &&
  modelsOf(program).length === 1 &&
  hasMethod(program, undefined, name);

export const hasMethod = (program: Loaded, declaration: string | undefined, method: string): boolean =>
  methodsCalled(findDeclaration(program, declaration), method).length > 0;
/** Those of `sizes` that the entry's header declares. */
export const headerSizes = (entry: EntrySignature, sizes: Sizes): Sizes =>
  Object.fromEntries(Object.entries(sizes).filter(([name]) => hasHeader(entry, name)));
export const hasHeader = ({ header }: EntrySignature, name: string): boolean => header.some((h) => h.name === name);
/** The default of a header size if it is a literal number, else null. */
export function headerDefault({ header }: EntrySignature, name: string): number | null {
  const text = header.find((h) => h.name === name)?.default ?? "";
  return /^\d+$/.test(text) ? Number(text) : null;
}

/** Names of the losses that `train` itself states (not what it calls), whatever the values of the header; the held-out loss is their sum. */
export function ownLosses(program: Loaded, declaration: string): string[] {
  const all = trainingSteps(program, declaration).flatMap(({ ast }) => everyStatement(ast.body));
  return [...new Set(all.flatMap((s) => (s.kind === "loss" ? [s.name.name] : [])))];
}
/** Whether the one loss that `train` itself states is `cross_entropy(..., targets)` of the library, so that it is in nats for each target. */
export const isInNats = (program: Loaded, declaration: string): boolean =>
  trainingSteps(program, declaration).every(statesNats);
const trainingSteps = (program: Loaded, declaration: string): DeclaredMethod[] =>
  methodsCalled(findDeclaration(program, declaration), "train");
function statesNats({ ast: { body }, module }: DeclaredMethod): boolean {
  const all = everyStatement(body);
  const [loss, ...more] = all.flatMap((s) => (s.kind === "loss" ? [s] : []));
  if (loss === undefined || more.length > 0 || !body.includes(loss) || loss.value.kind !== "call") return false;
  const { callee, args } = loss.value;
  const [, targets, ...options] = args.map((a) => a.value);
  if (targets?.kind !== "name" || targets.name !== "targets" || options.length > 0) return false;
  if (all.some((s) => boundBy(s).includes("targets")) || callee.kind !== "name") return false;
  return callee.name === "cross_entropy" && module.names.get(callee.name)?.module.name === "std/loss";
}
const everyStatement = (list: readonly Stmt[]): Stmt[] =>
  list.flatMap((s) => {
    if (s.kind === "if") return [...everyStatement(s.then), ...everyStatement(s.else)];
    return s.kind === "for" ? everyStatement(s.body) : [s];
  });
const boundBy = (s: Stmt): (string | undefined)[] =>
  s.kind === "let" ? s.names.map((n) => n?.name) : s.kind === "set" ? [s.name.name] : [];

/** Copies a program and its local imports into one folder without subfolders, the program as model.moe, and rewrites the imports accordingly. */
export function copyProgram(program: Loaded, folder: string): void {
  for (const [name, text] of flattened(program)) writeAtomic(join(folder, name), text);
}
/** Whether a folder holds this program as `copyProgram` writes it. */
export const isCopied = (program: Loaded, folder: string): boolean =>
  [...flattened(program)].every(
    ([name, text]) => existsSync(join(folder, name)) && readText(join(folder, name)) === text,
  );

/** The texts that `copyProgram` writes, by file name. Made once: files may be moved meanwhile. */
const flattened = memoize(({ main, modules }: Loaded): ReadonlyMap<string, string> => {
  const names = new Map([[main.name, "model.moe"]]);
  for (const { name } of modules)
    if (!name.startsWith("std/") && name !== main.name)
      names.set(name, freeName(basename(name, ".moe"), new Set(names.values())));
  const texts = modules.flatMap(({ name, program }): [string, string][] => {
    const file = names.get(name);
    return file === undefined ? [] : [[file, renamed(program.span.source.text, program.imports, names)]];
  });
  return new Map(texts);
});
/** Replaces the paths of imports, from the last to the first, so that the spans of earlier ones stay valid. */
const renamed = (text: string, imports: readonly Import[], names: ReadonlyMap<string, string>): string =>
  imports.toReversed().reduce((result, { from, fromSpan, span }) => {
    const file = names.get(resolveFile(from, span.source)?.name ?? "");
    return file === undefined ? result : `${result.slice(0, fromSpan.start)}"./${file}"${result.slice(fromSpan.end)}`;
  }, text);
function freeName(base: string, taken: ReadonlySet<string>): string {
  let name = `${base}.moe`;
  for (let i = 2; taken.has(name); i++) name = `${base}-${i}.moe`;
  return name;
}
