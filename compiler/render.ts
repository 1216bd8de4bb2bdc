// Renders diagnostics for people: the code, the source lines with carets under the parts concerned, notes, and the remedy.
import { createColors } from "picocolors";
import stringWidth from "string-width";
import { type Diagnostic, type Label, position } from "./diagnostic.ts";
import { pluralize } from "./pluralize.ts";
import type { Source, Span } from "./syntax/ast.ts";

/** A diagnostic as JSON, printed with --json. Lines and columns count from 1; `length` counts UTF-16 units, as columns do. */
interface PlainDiagnostic {
  readonly code: string;
  readonly message: string;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly endLine: number;
  readonly endColumn: number;
  readonly length: number;
  readonly notes: readonly string[];
  readonly help: string;
}
/** A diagnostic as plain data, its first label's span as lines and columns. */
export function plain({ code, message, labels, notes, help }: Diagnostic): PlainDiagnostic {
  const { source, start, end } = labels[0].span;
  const [from, to] = [position(source, start), position(source, end)];
  const place = { line: from.line, column: from.column, endLine: to.line, endColumn: to.column, length: end - start };
  return { code, message, file: source.name, ...place, notes, help };
}

interface RenderOptions {
  /** Default: false. */
  readonly color?: boolean;
  /** Columns of the terminal; longer lines are cut around what they show. Default: 120. */
  readonly width?: number;
  /** How many errors are shown in full. Default: 10. */
  readonly limit?: number;
}
type Colors = ReturnType<typeof createColors>;

/** Renders diagnostics as the command line shows them. */
export function render(diagnostics: readonly Diagnostic[], options: RenderOptions = {}): string {
  const { color = false, width = 120, limit = 10 } = options;
  const colors = createColors(color);
  const shown = diagnostics.slice(0, limit);
  const more = diagnostics.length - shown.length;
  const texts = shown.map((diagnostic) => renderOne(diagnostic, colors, width));
  if (more > 0) texts.push(`and ${pluralize(more, "more error")}\n`);
  return texts.join("\n");
}

function renderOne({ code, message, labels, notes, help }: Diagnostic, colors: Colors, width: number): string {
  const frames = framesOf(labels);
  const gutter = Math.max(...frames.flatMap((frame) => frame.lines.map((line) => String(line.number).length)));
  const bar = colors.blue("|");
  const blank = " ".repeat(gutter);
  const out = [`${colors.bold(colors.red(`error[${code}]`))}${colors.bold(`: ${sanitize(message)}`)}`];
  for (const [i, frame] of frames.entries()) {
    out.push(
      `${blank}${colors.blue(i === 0 ? "-->" : ":::")} ${sanitize(frame.source.name)}:${frame.where}`,
      `${blank} ${bar}`,
    );
    let previous: number | null = null;
    for (const line of frame.lines) {
      if (previous !== null && line.number > previous + 1) out.push(colors.blue("..."));
      previous = line.number;
      const [text, ...marks] = drawLine(line, colors, Math.max(20, width - gutter - 3));
      out.push(`${colors.blue(String(line.number).padStart(gutter))} ${bar} ${text}`.trimEnd());
      out.push(...marks.map((mark) => `${blank} ${bar} ${mark}`));
    }
  }
  const remarks = [...notes.map((note) => ["note", note] as const), ["help", help] as const];
  for (const [kind, text] of remarks.filter(([, text]) => text !== "")) {
    const head = `${blank} = ${kind}: `;
    out.push(`${blank} ${colors.blue("=")} ${colors.bold(kind)}: ${wrapped(sanitize(text), width, head.length)}`);
  }
  return `${out.join("\n")}\n`;
}

/** A label's part of one line, in offsets into its text; `first`: it is that of the diagnostic's first label. */
interface Mark {
  readonly start: number;
  readonly end: number;
  readonly text: string;
  readonly first: boolean;
}
interface Line {
  readonly number: number;
  readonly text: string;
  readonly marks: readonly Mark[];
}
/** The lines to show of one file. */
interface Frame {
  readonly source: Source;
  readonly where: string;
  readonly lines: readonly Line[];
}

function framesOf(labels: readonly Label[]): Frame[] {
  const sources = [...new Set(labels.map((label) => label.span.source))];
  return sources.map((source) => {
    const here = labels.filter((label) => label.span.source === source);
    const lines = new Map<number, Line>();
    for (const label of here) {
      const { line, column } = position(source, label.span.start);
      const text = lineAt(label.span);
      const mark = {
        start: column - 1,
        end: endInLine(label.span, column - 1, text),
        text: label.text,
        first: label === labels[0],
      };
      lines.set(line, { number: line, text, marks: [...(lines.get(line)?.marks ?? []), mark] });
    }
    const first = position(source, here[0]?.span.start ?? 0);
    return {
      source,
      where: `${first.line}:${first.column}`,
      lines: [...lines.values()].toSorted((a, b) => a.number - b.number),
    };
  });
}
function lineAt({ source, start }: Span): string {
  const from = source.text.lastIndexOf("\n", start - 1) + 1;
  const to = source.text.indexOf("\n", start);
  return source.text.slice(start === 0 ? 0 : from, to < 0 ? undefined : to).replace(/\r$/, "");
}
/** A span of several lines is marked up to the end of its first line. */
const endInLine = (span: Span, start: number, text: string): number =>
  Math.max(start + 1, Math.min(start + span.end - span.start, text.length));

/** The line, then rows of carets and label texts below it. */
function drawLine({ text, marks }: Line, colors: Colors, width: number): string[] {
  const column = (offset: number): number =>
    columns(sanitize(text.slice(0, offset))) + Math.max(0, offset - text.length);
  const ranges = marks
    .map((mark) => ({ ...mark, from: column(mark.start), to: Math.max(column(mark.start) + 1, column(mark.end)) }))
    .toSorted((a, b) => a.from - b.from || b.to - a.to);
  const least = Math.min(...ranges.map((mark) => mark.from));
  const first = ranges.find((mark) => mark.first)?.from ?? least;
  const cut = clipLine(sanitize(text), first < width ? least : first, width);
  const shifted = ranges
    .map((mark) => ({ ...mark, from: mark.from - cut.shift, to: Math.min(mark.to - cut.shift, width) }))
    .filter((mark) => mark.from >= 0 && mark.from < width);
  return [cut.text, ...drawMarks(shifted, colors)];
}
type Placed = Mark & { readonly from: number; readonly to: number };

/** Underlines the marks. The text of the last one follows on the same row; the others come below, each connected by a bar. */
function drawMarks(marks: readonly Placed[], colors: Colors): string[] {
  const paint = (mark: Mark, text: string): string => (mark.first ? colors.red : colors.blue)(text);
  const last = marks.at(-1);
  const underline = underlined(marks, paint);
  const rows = [last?.text ? `${underline} ${paint(last, last.text)}` : underline];
  const hanging = marks.slice(0, -1).filter((mark) => mark.text !== "");
  const bars = (count: number): string =>
    placed(
      hanging.slice(0, count).map((mark) => ({ from: mark.from, text: "|", mark })),
      paint,
    );
  if (hanging.length > 0) rows.push(bars(hanging.length));
  for (const [i, mark] of [...hanging.entries()].toReversed()) {
    const left = hanging.slice(0, i).map((other) => ({ from: other.from, text: "|", mark: other }));
    rows.push(placed([...left, { from: mark.from, text: mark.text, mark }], paint));
  }
  return rows;
}
type Paint = (mark: Mark, text: string) => string;
/** `^` for the first label, which is drawn over the `-` of the others. */
function underlined(marks: readonly Placed[], paint: Paint): string {
  const signs = Array.from({ length: Math.max(...marks.map((mark) => mark.to)) }, () => " ");
  for (const mark of marks.toSorted((a, b) => Number(a.first) - Number(b.first))) {
    for (let i = mark.from; i < mark.to; i++) signs[i] = paint(mark, mark.first ? "^" : "-");
  }
  return signs.join("");
}
/** Puts short texts at given columns; one that would overlap the text before it is left out. */
function placed(parts: readonly { from: number; text: string; mark: Mark }[], paint: Paint): string {
  let [row, at] = ["", 0];
  for (const { from, text, mark } of parts) {
    if (from < at) continue;
    row += " ".repeat(from - at) + paint(mark, text);
    at = from + columns(text);
  }
  return row;
}

/** The width of a text in terminal columns. ASCII needs no lookup, which would be slow. */
const columns = (text: string): number => (/^[ -~]*$/.test(text) ? text.length : stringWidth(text));
/** Replaces tabs and control characters: widths are then known, and no text, name or path of a program can control the terminal. */
export const sanitize = (text: string): string => text.replaceAll("\t", "    ").replace(/[^\P{C}\n]/gu, "\uFFFD");
/** Cuts a line that is too long so that column `from` is visible; `shift`: how many columns are cut off at the left. */
function clipLine(text: string, from: number, width: number): { text: string; shift: number } {
  if (columns(text) <= width) return { text, shift: 0 };
  const skip = from > width * 0.75 ? from - Math.floor(width / 3) : 0;
  let [kept, at] = ["", 0];
  let shift: number | null = skip === 0 ? 0 : null;
  for (const sign of text) {
    if (at >= skip) {
      shift ??= at - 1;
      if (at - shift + columns(sign) >= width) break;
      kept += sign;
    }
    at += columns(sign);
  }
  const ends = columns(text) - (shift ?? 0) < width;
  return { text: `${shift ? "…" : ""}${kept}${ends ? "" : "…"}`, shift: shift ?? 0 };
}
/** Code in backticks stays in one line, unless it is longer than a line. */
function wrapped(text: string, width: number, indent: number): string {
  const room = Math.max(width - indent, 20);
  const lines = [""];
  for (const word of wordsOf(text).flatMap((w) => (columns(w) > room ? w.split(" ") : [w]))) {
    const line = lines.at(-1) ?? "";
    if (line !== "" && columns(`${line} ${word}`) > room) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines.join(`\n${" ".repeat(indent)}`);
}
/** Parted at spaces that an even number of backticks follows. */
const wordsOf = (text: string): string[] => text.split(/ (?=(?:[^`]*`[^`]*`)*[^`]*$)/);
