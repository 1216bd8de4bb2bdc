// The standard library's modules. A program uses a few declarations of many, so each is parsed when it is first looked at, once in a process.
import { readdirSync } from "node:fs";
import { asset, packageFolder } from "../assets.ts";
import { Bug } from "../diagnostic.ts";
import { getOrMake, memoize } from "../memoize.ts";
import type { Declaration, Import, Program, Source } from "../syntax/ast.ts";
import { parseText } from "../syntax/parse.ts";
import { Text } from "../syntax/text.ts";

/** The file of a module, within the package. */
export const libraryFile = (path: string): string => `stdlib/${path.slice(4)}.moe`;
/** The paths of all modules, `std/nn`. */
export const libraryModules = (): string[] =>
  readdirSync(new URL("stdlib/", packageFolder), { recursive: true, encoding: "utf8" })
    .flatMap((file) => (file.endsWith(".moe") ? [`std/${file.slice(0, -4)}`] : []))
    .toSorted();

const sources = new Map<string, Source>();
/** The module of that path, `std/nn`. Throws an error of the file system if there is none. */
export function librarySource(path: string): Source {
  return getOrMake(sources, path, () => ({ name: path, text: asset(libraryFile(path)) }));
}
export const isLibrary = (source: Source): boolean => sources.get(source.name) === source;

interface Library {
  readonly program: Program;
  /** What parses each declaration. */
  readonly declarations: ReadonlyMap<string, () => Declaration>;
}
const begin = "(?:import|layer|model|fn|optimizer) ";
/** A declaration with its documentation: in the library it begins at the first column, and nothing within it does. */
const part = new RegExp(`(?:^//.*\\n)*^${begin}(\\w*)[^]*?(?=^(?://|${begin})|(?![^]))`, "gm");

/** Splits a module of the library. */
export const libraryOf: (source: Source) => Library = memoize((source) => {
  const parts = [...source.text.matchAll(part)].map(({ 0: text, 1: name = "", index }) => {
    let parsed: Program | undefined;
    return { name, program: () => (parsed ??= parsePart(source, text, index)) };
  });
  const imports = parts.flatMap(({ name, program }): readonly Import[] => (name === "" ? program().imports : []));
  const declared = parts.filter(({ name }) => name !== "");
  const declarations = new Map(declared.map(({ name, program }) => [name, () => only(program())]));
  const program: Program = {
    imports,
    get declarations() {
      return [...declarations.values()].map((read) => read());
    },
    span: { source, start: 0, end: source.text.length },
  };
  return { program, declarations };
});
const parsePart = (source: Source, text: string, at: number): Program =>
  parseText(new Text(text, [], (start, end) => ({ source, start: at + start, end: at + end }))).program;
function only({ declarations: [first], span }: Program): Declaration {
  if (!first) throw new Bug(`a part of ${span.source.name} is no declaration`);
  return first;
}
