// Loads a file or template and all modules that it imports, each once; imports may be cyclic.
import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, relative } from "node:path";
import { type Diagnostic, Problem } from "../diagnostic.ts";
import { memoize } from "../memoize.ts";
import { readText } from "../read-file.ts";
import type * as ast from "../syntax/ast.ts";
import { nameHelp } from "../syntax/help.ts";
import type { Handle, Template } from "../syntax/hole.ts";
import { parse } from "../syntax/parse.ts";
import { builtins } from "./builtins/list.ts";
import { declaredTwice, diagnostic, didYouMean, nearest } from "./errors.ts";
import { isLibrary, libraryModules, libraryOf, librarySource } from "./library.ts";
import type { Declared, Module } from "./values.ts";

/** A program with all its modules, and the errors in their texts and imports. */
export interface Loaded {
  readonly main: Module;
  readonly modules: readonly Module[];
  readonly diagnostics: readonly Diagnostic[];
  /** Where the parser found errors: others there may be their consequence. */
  readonly faulty: readonly ast.Span[];
}
/** Finds the source that `import ... from "path"` in the file `from` refers to; null if there is none. */
export type Resolve = (path: string, from: ast.Source) => ast.Source | null;

/** Resolves `std/...` to the package's library, and other paths relative to the importing file, symbolic links followed. */
export const resolveFile: Resolve = (path, from) => {
  try {
    if (path.startsWith("std/")) return /^std(\/\w+)+$/.test(path) ? librarySource(path) : null;
    const name = fileName(join(dirname(fileName(from.name)), path.endsWith(".moe") ? path : `${path}.moe`));
    return existsSync(name) ? { name, text: readFileSync(name, "utf8") } : null;
  } catch {
    return null;
  }
};

/** A file's one name: its real path, from the working directory if `path` is. What is no file (a pipe, a template) keeps its name. */
function fileName(path: string): string {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return path;
  const real = realpathSync(path);
  return isAbsolute(path) ? real : relative(process.cwd(), real);
}

/** Loads a file and all that it imports. Throws a Problem if the file itself cannot be read. */
export function loadFile(path: string, resolve: Resolve = resolveFile): Loaded {
  const inside = join(path, "model.moe");
  if (existsSync(inside)) throw new Problem(`${path} is a folder`, `name the program in it: ${inside}`);
  const text = readText(path);
  if (text.includes("\0")) throw new Problem(`${path} is no text`, "name a .moe file");
  if (!path.endsWith(".moe")) requireProgram(path, text);
  return load({ name: fileName(path), text }, resolve);
}
/** A text of another kind would be an error at almost every word. */
function requireProgram(path: string, text: string): void {
  const [, begin = ""] = /^[^\S\n]*(?!\/\/)(\S.*)$/m.exec(text) ?? [];
  if (begin === "" || /^(?:import\s*\{|import$|(?:layer|model|fn|optimizer)\b)/.test(begin)) return;
  const shown = begin.length > 40 ? `${begin.slice(0, 40)}…` : begin;
  throw new Problem(
    `${path} is no program: it begins with \`${shown}\``,
    "name a .moe file, a text of `import`, `layer`, `model`, `fn` and `optimizer` (grammar/GRAMMAR.md)",
  );
}
export function load(source: ast.Source, resolve: Resolve = resolveFile): Loaded {
  const loader = new Loader(resolve);
  return loader.loaded(loader.file(source));
}
/** Loads a template, whose holes may contain declarations of other templates. */
export function loadTemplate(template: Template, resolve: Resolve = resolveFile): Loaded {
  const loader = new Loader(resolve);
  return loader.loaded(loader.template(template));
}

class Loader {
  readonly #resolve: Resolve;
  readonly #files = new Map<string, Module>();
  readonly #templates = new Map<Template, Module>();
  readonly #broken = new Set<Module>();
  readonly #diagnostics: Diagnostic[] = [];
  readonly #faulty: ast.Span[] = [];
  constructor(resolve: Resolve) {
    this.#resolve = resolve;
  }
  loaded(main: Module): Loaded {
    const [diagnostics, faulty] = [this.#diagnostics, this.#faulty];
    return { main, modules: [...this.#files.values(), ...this.#templates.values()], diagnostics, faulty };
  }
  file(source: ast.Source): Module {
    const known = this.#files.get(source.name);
    if (known) return known;
    const { program, diagnostics, faulty, lost, lostModules } = parse(source);
    const module: Module = { name: source.name, program, names: new Map(), holes: new Map() };
    this.#files.set(source.name, module);
    this.#diagnostics.push(...diagnostics);
    this.#faulty.push(...faulty);
    if (diagnostics.length > 0) this.#broken.add(module);
    this.#declare(module);
    const meant = lostModules.flatMap((path) => this.#namesIn(path, source));
    for (const name of [...lost, ...meant])
      if (!module.names.has(name) && !builtins.has(name)) module.names.set(name, null);
    return module;
  }
  /** A file or a module of the library; of that nothing but the imports is parsed yet. */
  #imported(source: ast.Source): Module {
    const known = this.#files.get(source.name);
    if (known) return known;
    if (!isLibrary(source)) return this.file(source);
    const { program, declarations } = libraryOf(source);
    const module: Module = { name: source.name, program, names: new Map(), holes: new Map() };
    this.#files.set(source.name, module);
    for (const [name, read] of declarations) {
      const declared: Declared = {
        module,
        get ast() {
          return read();
        },
      };
      module.names.set(name, declared);
    }
    for (const one of program.imports) this.#importAll(module, one);
    return module;
  }
  #namesIn(path: string, from: ast.Source): string[] {
    const source = this.#resolve(path, from);
    return source ? ownNames(this.#imported(source)) : [];
  }
  template(template: Template): Module {
    const known = this.#templates.get(template);
    if (known) return known;
    const holes = new Map<number, Declared>();
    const module: Module = { name: template.span.source.name, program: template, names: new Map(), holes };
    this.#templates.set(template, module);
    template.holes.forEach((hole, i) => {
      if (typeof hole === "object") holes.set(i, this.#held(hole));
    });
    this.#declare(module);
    return module;
  }
  #held(handle: Handle): Declared {
    const found = this.template(handle.program).names.get(handle.name);
    if (!found)
      throw new Problem(
        `the template in ${handle.program.span.source.name} does not declare ${handle.name}`,
        "take the declaration from the template that makes it",
      );
    return found;
  }
  /** Own declarations are entered before imports are followed, so that modules can import each other. */
  #declare(module: Module): void {
    for (const declared of module.program.declarations) {
      const old = module.names.get(declared.name.name);
      if (old) this.#diagnostics.push(declaredTwice(declared.name, old.ast.name));
      else module.names.set(declared.name.name, { ast: declared, module });
    }
    for (const one of module.program.imports) this.#importAll(module, one);
  }
  #importAll(module: Module, one: ast.Import): void {
    const source = this.#resolve(one.from, one.span.source);
    if (!source)
      this.#diagnostics.push(
        diagnostic("E0303", `there is no module "${one.from}"`, one.fromSpan, { help: moduleHelp(one) }),
      );
    const from = source && this.#imported(source);
    for (const name of one.names) this.#importName(module, name, from, one.from);
  }
  #importName(module: Module, name: ast.Name, from: Module | null, path: string): void {
    const named = from?.names.get(name.name);
    const found = named?.module === from ? named : null;
    if (from && !found && !this.#broken.has(from)) {
      const names = ownNames(from);
      const home = libraryHome(name.name);
      const help = home
        ? `"${home}" does`
        : (foreignImportHelp(name.name) ?? didYouMean(name.name, names, `it declares ${names.join(", ")}`));
      this.#diagnostics.push(diagnostic("E0304", `"${path}" declares no \`${name.name}\``, name.span, { help }));
      const meant = nearest(name.name, names);
      if (meant !== null && !module.names.has(meant)) module.names.set(meant, null);
    }
    const old = module.names.get(name.name);
    if (old) this.#diagnostics.push(declaredTwice(name, old.ast.name));
    else module.names.set(name.name, found ?? null);
  }
}
/** What a module itself declares. */
const ownNames = (module: Module): string[] =>
  [...module.names].flatMap(([name, declared]) => (declared?.module === module ? [name] : []));
const foreignImportHelp = (name: string): string | null =>
  builtins.has(name) ? `\`${name}\` is built in: leave the import out` : nameHelp(name);
const stdModules = ["init", "nn", "attention", "gates", "moe", "loss", "optim", "schedule", "sample"].map(
  (n) => `std/${n}`,
);
/** The others, whose layers and functions are parts of one model, and are not proposed for a name. */
const specialModules = (): string[] => libraryModules().filter((m) => !stdModules.includes(m));
function moduleHelp({ from, names }: ast.Import): string {
  if (from.startsWith(".")) return "the path is relative to this file";
  const known = names.find(({ name }) => libraryHome(name))?.name;
  if (known) return `\`${known}\` is in "${libraryHome(known)}"`;
  if (!from.startsWith("std/")) return 'paths begin with "std/", "./" or "../"';
  const all = [...stdModules, ...specialModules()];
  return didYouMean(from, all, `the standard library has ${all.join(", ")}`);
}
/** What a module of the library declares, each with its keyword. */
const declaredIn = memoize(
  ({ text }: ast.Source) =>
    new Map(
      [...text.matchAll(/^(layer|fn|optimizer|model) (\w+)/gm)].map(([, keyword = "", name = ""]) => [name, keyword]),
    ),
);
/** Those that `keywords` declare, of the modules, each with its module. */
const declaredBy = (modules: readonly string[], keywords: readonly string[]): [name: string, module: string][] =>
  modules.flatMap((module) =>
    [...declaredIn(librarySource(module))].flatMap(([name, keyword]): [string, string][] =>
      keywords.includes(keyword) ? [[name, module]] : [],
    ),
  );
/** The names of all layers and optimizers in the library. */
export const libraryNames = (): string[] => declaredBy(stdModules, ["layer", "optimizer"]).map(([name]) => name);
let homes: ReadonlyMap<string, string> | undefined;
/** The library module that declares `name`; undefined if none does. */
export function libraryHome(name: string): string | undefined {
  homes ??= new Map(
    [...declaredBy(stdModules, ["layer", "fn", "optimizer"]), ...declaredBy(specialModules(), ["model"])].toReversed(), // the first counts
  );
  return homes.get(name);
}
