// Programs inside TypeScript, as tagged templates: const { Ffn } = moe`layer Ffn(D, H = ${4 * 256}) { ... }`.
import { holeText } from "../../grammar/tokens.ts";
import { Problem } from "../diagnostic.ts";
import { ProgramError } from "../program-error.ts";
import type { Span } from "./ast.ts";
import type { Handle, Hole, Template } from "./hole.ts";
import { callerOf, locate, type TemplateLocation } from "./locate.ts";
import { parseText } from "./parse.ts";
import { Text } from "./text.ts";

export type { Handle, Hole, Template } from "./hole.ts";

/** The declarations of a template, by name. Accessing one that does not exist throws. */
export type Handles<Names extends string> = { readonly [Name in Names]: Handle };

/**
 * Parses a program written in TypeScript. A hole holds a number, a boolean, a dtype or a declaration of another template.
 * Under `noUncheckedIndexedAccess`, name what is declared: moe<"Ffn">`layer Ffn(D) { ... }`.
 * Throws `ProgramError`, with spans in the calling file.
 */
export function moe<Names extends string = string>(strings: TemplateStringsArray, ...holes: Hole[]): Handles<Names> {
  if (!Array.isArray((strings as Partial<TemplateStringsArray> | undefined)?.raw))
    throw new Problem(
      "`moe` stands before a template",
      "write moe`layer ...`; `compile`, `train` and `openModel` take a text as { text }",
    );
  const text = joined(strings.raw, holes, locate(strings.raw, callerOf(moe)));
  const { program, diagnostics } = parseText(text);
  if (diagnostics.length > 0) throw new ProgramError(diagnostics);
  const template: Template = { ...program, text: text.text, holes };
  const handles = template.declarations.map(({ kind, name }): [string, Handle] => [
    name.name,
    { kind, name: name.name, program: template },
  ]);
  return throwOnUnknown(Object.fromEntries(handles)) as Handles<Names>;
}

/** The text to parse, with a special token in place of each hole. */
function joined(pieces: readonly string[], holes: readonly Hole[], place: TemplateLocation): Text {
  const starts: number[] = [];
  let text = "";
  for (const [i, piece] of pieces.entries()) {
    if (i > 0) text += holeText(i - 1);
    starts.push(text.length);
    text += piece;
  }
  const inFile = (offset: number): number => {
    const i = Math.max(
      0,
      starts.findLastIndex((start) => start <= offset),
    );
    return (place.starts[i] ?? 0) + Math.min(offset - (starts[i] ?? 0), pieces[i]?.length ?? 0);
  };
  const span = (start: number, end: number): Span => ({ source: place.source, start: inFile(start), end: inFile(end) });
  return new Text(text, holes, span);
}

/** Properties that JavaScript looks up on any object: `then` by promises, `toJSON` by JSON.stringify. */
const alwaysRead = new Set<string | symbol>(["then", "toJSON"]);
function throwOnUnknown(handles: Record<string, Handle>): Record<string, Handle> {
  return new Proxy(handles, {
    get(target, name) {
      if (typeof name === "symbol" || Object.hasOwn(target, name)) return Reflect.get(target, name) as unknown;
      if (alwaysRead.has(name)) return undefined;
      const known = Object.keys(target).join(", ");
      throw new Problem(
        `the template declares no \`${name}\``,
        known === "" ? "it declares nothing" : `it declares ${known}`,
      );
    },
  });
}
