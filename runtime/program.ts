// What the runtime reads off a program's text: its models, their entries and headers, and the files that it is made of.
import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { asset } from "../compiler/assets.ts";
import { Problem, ProgramError } from "../compiler/diagnostic.ts";
import type {
  Alias,
  Declaration,
  HeaderParam,
  Import,
  MemberOrIf,
  Method,
  Program,
  Stmt,
} from "../compiler/syntax/ast.ts";
import { parse } from "../compiler/syntax/parse.ts";
import { readText, writeAtomic } from "./files.ts";

/** One parsed file. `path` is absolute, or `std/NAME` for the stdlib. */
export interface ProgramFile {
  readonly path: string;
  readonly text: string;
  readonly program: Program;
}
/** What `--entry` means: a method of a layer or model, or a function (then both are its name). */
export interface EntryPoint {
  readonly file: ProgramFile;
  readonly declaration: Declaration;
  readonly method: string;
  /** Sizes, values, layers and functions of the header; a function's own too. */
  readonly header: readonly HeaderParam[];
  /** The tensors that it takes. */
  readonly inputs: readonly HeaderParam[];
}

/** Parses a file. Syntax errors are thrown all at once. */
export function readProgram(path: string): ProgramFile {
  const std = path.startsWith("std/");
  const text = std ? asset(`stdlib/${path.slice(4)}.moe`) : readText(path);
  const { program, diagnostics } = parse({ name: std ? `${path}.moe` : path, text });
  if (diagnostics.length > 0) throw new ProgramError(diagnostics);
  return { path: std ? path : resolve(path), text, program };
}
const isLocal = (from: string): boolean => from.startsWith("./") || from.startsWith("../");
/** As it is imported, with or without its ending. */
function importedPath(file: ProgramFile, { from }: Import): string {
  if (!isLocal(from)) return from;
  const path = join(dirname(file.path), from);
  return path.endsWith(".moe") || !existsSync(`${path}.moe`) ? path : `${path}.moe`;
}

const modelsOf = ({ program }: ProgramFile): Declaration[] =>
  program.declarations.filter((d) => d.kind === "model" || (d.kind === "alias" && d.of === "model"));

/** The entry `Declaration`, `Declaration.method` or a function; without a text the file's only model. */
export function findEntry(file: ProgramFile, entry: string | undefined, method = "forward"): EntryPoint {
  const [name, given, ...more] = entry?.split(".") ?? [];
  if (more.length > 0)
    throw new Problem(`\`${entry}\` is not an entry`, "Give `Declaration`, `Declaration.method` or a function's name.");
  const declaration = name === undefined ? onlyModel(file) : declarationOf(file, name);
  if (declaration.kind === "optimizer")
    throw new Problem(`\`${declaration.name.name}\` is an optimizer`, "Run a model, a layer or a function.");
  if (declaration.kind === "fn") {
    const inputs = declaration.header.filter((p) => p.type?.kind === "tensor");
    return {
      file,
      declaration,
      method: declaration.name.name,
      header: declaration.header.filter((p) => !inputs.includes(p)),
      inputs,
    };
  }
  const found = methodOf(file, declaration, given ?? method);
  return { file, declaration, method: found.name.name, header: declaration.header, inputs: found.params };
}
function onlyModel(file: ProgramFile): Declaration {
  const models = modelsOf(file);
  const [only] = models;
  if (only && models.length === 1) return only;
  const names = (only ? models : file.program.declarations).map((d) => d.name.name);
  throw new Problem(
    only ? `${file.path} has ${models.length} models` : `${file.path} has no model`,
    names.length > 0 ? `Choose one with --entry: ${names.join(", ")}.` : "Declare one: `model Name(...) { ... }`.",
  );
}
function declarationOf(file: ProgramFile, name: string): Declaration {
  const found = file.program.declarations.find((d) => d.name.name === name);
  if (found) return found;
  throw new Problem(
    `${file.path} declares no \`${name}\``,
    `It declares ${file.program.declarations.map((d) => d.name.name).join(", ") || "nothing"}.`,
  );
}

/** The methods of a layer; those of an alias are its target's, wherever that stands. */
function methodsOf(file: ProgramFile, declaration: Declaration, depth = 0): readonly Method[] {
  if (declaration.kind === "alias") return targetMethods(file, declaration, depth);
  if (declaration.kind === "fn" || declaration.kind === "optimizer") return [];
  const members = (list: readonly MemberOrIf[]): Method[] =>
    list.flatMap((m) => (m.kind === "if" ? [...members(m.then), ...members(m.else)] : m.kind === "method" ? [m] : []));
  return members(declaration.body);
}
function targetMethods(file: ProgramFile, alias: Alias, depth: number): readonly Method[] {
  const target = alias.value.kind === "call" ? alias.value.callee : alias.value;
  if (target.kind !== "name" || depth > 32) return [];
  const here = file.program.declarations.find((d) => d.name.name === target.name);
  if (here) return methodsOf(file, here, depth + 1);
  const from = file.program.imports.find((i) => i.names.some((n) => n.name === target.name));
  if (!from) return [];
  const other = readProgram(importedPath(file, from));
  return methodsOf(other, declarationOf(other, target.name), depth + 1);
}
function methodOf(file: ProgramFile, declaration: Declaration, name: string): Method {
  const methods = methodsOf(file, declaration);
  const found = methods.find((m) => m.name.name === name);
  if (found) return found;
  const names = methods.map((m) => m.name.name).join(", ");
  throw new Problem(
    `\`${declaration.name.name}\` has no method \`${name}\``,
    names === "" ? "Declare it." : `It has ${names}.`,
  );
}
export const hasMethod = (file: ProgramFile, declaration: Declaration, name: string): boolean =>
  methodsOf(file, declaration).some((m) => m.name.name === name);

/** The default of a header size where it is a plain number, else null. */
export function headerDefault(declaration: Declaration, name: string): number | null {
  const value = declaration.header.find((p) => p.name.name === name)?.default;
  return value?.kind === "number" ? value.value : null;
}
export const hasHeader = (declaration: Declaration, name: string): boolean =>
  declaration.header.some((p) => p.name.name === name);

/** The losses that `train` itself states: what the held-out loss sums. */
export function ownLosses(file: ProgramFile, declaration: Declaration): string[] {
  const names = (list: readonly Stmt[]): string[] =>
    list.flatMap((s) => {
      if (s.kind === "loss") return [s.name.name];
      if (s.kind === "if") return [...names(s.then), ...names(s.else)];
      return s.kind === "for" ? names(s.body) : [];
    });
  return [...new Set(names(methodOf(file, declaration, "train").body))];
}

/** Copies a program and its local imports flat into a folder, the program as model.moe, imports renamed to fit. */
export function copyProgram(file: ProgramFile, folder: string): void {
  for (const [name, text] of flattened(file)) writeAtomic(join(folder, name), text);
}
/** Whether a folder holds this program as `copyProgram` writes it. */
export const isCopied = (file: ProgramFile, folder: string): boolean =>
  [...flattened(file)].every(([name, text]) => existsSync(join(folder, name)) && readText(join(folder, name)) === text);

/** Text by file name. */
function flattened(file: ProgramFile): Map<string, string> {
  const names = new Map([[file.path, "model.moe"]]);
  const texts = new Map<string, string>();
  const queue = [file];
  for (const next of queue) {
    let text = next.text;
    for (const i of next.program.imports.toReversed().filter(({ from }) => isLocal(from))) {
      const path = importedPath(next, i);
      if (!names.has(path)) {
        names.set(path, freeName(basename(path, ".moe"), new Set(names.values())));
        queue.push(readProgram(path));
      }
      const name = basename(names.get(path) ?? path, i.from.endsWith(".moe") ? "" : ".moe");
      text = `${text.slice(0, i.fromSpan.start)}"./${name}"${text.slice(i.fromSpan.end)}`;
    }
    texts.set(names.get(next.path) ?? basename(next.path), text);
  }
  return texts;
}
function freeName(base: string, taken: ReadonlySet<string>): string {
  let name = `${base}.moe`;
  for (let i = 2; taken.has(name); i++) name = `${base}-${i}.moe`;
  return name;
}
