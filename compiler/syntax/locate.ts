// Locates a template in the TypeScript file that contains it, so that errors point to the real lines.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Source } from "./ast.ts";

/** The text that spans refer to, and where each piece of the template (between holes) begins in it. */
export interface TemplateLocation {
  readonly source: Source;
  readonly starts: readonly number[];
}
/** A line of a file, taken from a stack trace. */
interface Caller {
  readonly file: string;
  readonly line: number;
}

/** The first stack frame outside of the function `below`; null if it is not in a file. */
export function callerOf(below: (...args: never[]) => unknown): Caller | null {
  const at: { stack?: string } = {};
  Error.captureStackTrace(at, below);
  const frame = (at.stack ?? "").split("\n").find((line) => line.startsWith("    at "));
  const [, file, line] = /(?:\(|at (?:async )?)((?:file:\/\/)?\/.*):(\d+):\d+\)?$/.exec(frame ?? "") ?? [];
  if (file === undefined) return null;
  return { file: file.startsWith("file:") ? fileURLToPath(file) : file, line: Number(line) };
}

/** Finds the template's pieces in the caller's file, nearest to its line. If there are none, it becomes a source of its own, named `template`. */
export function locate(pieces: readonly string[], caller: Caller | null): TemplateLocation {
  const text = caller ? textOf(caller.file) : null;
  if (!caller || text === null) return asOwnSource(pieces);
  const distance = (starts: readonly number[]): number =>
    Math.abs(text.slice(0, starts[0]).split("\n").length - caller.line);
  const [nearest] = matchesIn(text, pieces).toSorted((a, b) => distance(a) - distance(b));
  return nearest ? { source: { name: caller.file, text }, starts: nearest } : asOwnSource(pieces);
}
/** The text of a file with `\n` as line ends, as in template literals whatever the file uses; null if it cannot be read. */
function textOf(file: string): string | null {
  try {
    return readFileSync(file, "utf8").replaceAll("\r\n", "\n");
  } catch {
    return null;
  }
}
function asOwnSource(pieces: readonly string[]): TemplateLocation {
  const starts: number[] = [];
  let text = "";
  for (const [i, piece] of pieces.entries()) {
    if (i > 0) text += `\${${i}}`;
    starts.push(text.length);
    text += piece;
  }
  return { source: { name: "template", text }, starts };
}

/** All positions at which the template's pieces occur in the text, by the start of each piece. */
function matchesIn(text: string, pieces: readonly string[]): number[][] {
  const found: number[][] = [];
  const opening = `\`${pieces[0] ?? ""}`;
  for (let at = text.indexOf(opening); at >= 0; at = text.indexOf(opening, at + 1)) {
    const starts = matchPieces(text, at + 1, pieces);
    if (starts) found.push(starts);
  }
  return found;
}
/** Matches the pieces from `start` on: each must end at a hole, the last one at the closing quote. What is inside a hole may be anything. */
function matchPieces(text: string, start: number, pieces: readonly string[]): number[] | null {
  const starts = [start];
  const endsAt = (i: number, at: number): boolean =>
    text.startsWith(i === pieces.length - 1 ? "`" : "${", at + (pieces[i]?.length ?? 0));
  if (!endsAt(0, start)) return null;
  let at = start + (pieces[0]?.length ?? 0);
  for (const [i, piece] of pieces.entries()) {
    if (i === 0) continue;
    do at = text.indexOf(`}${piece}`, at + 1);
    while (at >= 0 && !endsAt(i, at + 1));
    if (at < 0) return null;
    starts.push(at + 1);
    at += 1 + piece.length;
  }
  return starts;
}
