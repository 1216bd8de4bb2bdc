// The texts that are open in the editor, which take the place of their files, and what the checker knows of each.
import { existsSync, realpathSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { DiagnosticSeverity, type Location, type Range, type Diagnostic as Sent } from "vscode-languageserver/node";
import { TextDocument } from "vscode-languageserver-textdocument";
import { packageFolder } from "../../compiler/assets.ts";
import { type Resolve, resolveFile } from "../../compiler/check/index.ts";
import { isLibrary, libraryFile } from "../../compiler/check/library.ts";
import type { Diagnostic } from "../../compiler/diagnostic.ts";
import { getOrMake, memoize } from "../../compiler/memoize.ts";
import type { Source, Span } from "../../compiler/syntax/ast.ts";
import { Analysis } from "./analysis.ts";

/** The name by which the checker knows a document: its file's real path, or its URI if it is no file. */
function nameOf(uri: string): string {
  try {
    const path = fileURLToPath(uri);
    return existsSync(path) ? realpathSync(path) : path;
  } catch {
    return uri;
  }
}
/** A text by lines. Positions of the protocol count UTF-16 units, as spans do. */
export const linesOf = memoize(({ text }: Source) => TextDocument.create("", "moe", 0, text));
export function rangeOf({ source, start, end }: Span): Range {
  const lines = linesOf(source);
  return { start: lines.positionAt(start), end: lines.positionAt(end) };
}

export class Workspace {
  readonly #sources = new Map<string, Source>();
  /** The documents' URIs, by name. */
  readonly #uris = new Map<string, string>();
  readonly #analyses = new Map<string, Analysis>();

  put(uri: string, text: string): void {
    const name = nameOf(uri);
    if (this.#sources.has(name)) this.#forget((analysis) => analysis.loaded.modules.some((m) => m.name === name));
    else this.filesChanged();
    this.#sources.set(name, { name, text });
    this.#uris.set(name, uri);
  }
  close(uri: string): void {
    this.#sources.delete(nameOf(uri));
    this.#uris.delete(nameOf(uri));
    this.filesChanged();
  }
  /** Any text may import what has changed, or what was not there. */
  filesChanged(): void {
    this.#forget(() => true);
  }
  #forget(which: (analysis: Analysis) => boolean): void {
    for (const [name, analysis] of this.#analyses) if (which(analysis)) this.#analyses.delete(name);
  }

  readonly resolve: Resolve = (path, from) => {
    const found = resolveFile(path, from);
    return found && (this.#sources.get(found.name) ?? found);
  };
  get sources(): readonly Source[] {
    return [...this.#sources.values()];
  }
  sourceOf(uri: string): Source | undefined {
    return this.#sources.get(nameOf(uri));
  }
  analysisOf(source: Source): Analysis {
    return getOrMake(this.#analyses, source.name, () => new Analysis(source, this.resolve));
  }
  uriOf(source: Source): string {
    if (isLibrary(source)) return new URL(libraryFile(source.name), packageFolder).href;
    return this.#uris.get(source.name) ?? pathToFileURL(source.name).href;
  }
  locationOf(span: Span): Location {
    return { uri: this.uriOf(span.source), range: rangeOf(span) };
  }
  /** The errors of a text and of the files that it imports, each with the document that it is in. */
  errorsOf(source: Source): { readonly uri: string; readonly error: Sent }[] {
    return this.analysisOf(source).diagnostics.map((diagnostic) => ({
      uri: this.uriOf(diagnostic.labels[0].span.source),
      error: this.#sent(diagnostic),
    }));
  }
  #sent({ code, message, labels, notes, help }: Diagnostic): Sent {
    const remarks = [...notes.map((note) => `note: ${note}`), ...(help === "" ? [] : [`help: ${help}`])];
    return {
      range: rangeOf(labels[0].span),
      severity: DiagnosticSeverity.Error,
      source: "moec",
      code,
      message: [message, ...remarks].join("\n"),
      relatedInformation: labels.flatMap(({ span, text }) =>
        text === "" ? [] : [{ location: this.locationOf(span), message: text }],
      ),
    };
  }
}
