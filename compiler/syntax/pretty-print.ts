// A small pretty printer. A list or block is printed on one line if it fits, else with each item on a line of its own.

/** Text, a sequence of documents, or a bracketed list. */
export type Doc = string | readonly Doc[] | Group;
interface Group {
  readonly open: string;
  readonly close: string;
  readonly items: readonly Doc[];
  /** Whether items are separated by commas, as in lists; blocks have none. */
  readonly comma: boolean;
  /** Whether it may be printed on one line. */
  readonly flat: boolean;
}
export const list = (open: string, items: readonly Doc[], close: string): Doc => ({
  open,
  close,
  items,
  comma: true,
  flat: true,
});
/** A block. It may be printed on one line only if it has one item that allows it. An empty item prints an empty line. */
export const block = (items: readonly Doc[]): Doc =>
  items.length === 0 ? "{}" : { open: "{", close: "}", items, comma: false, flat: items.length === 1 };
/** An item that must not share its line with a brace, such as a loop or branch. */
export const multiline = (doc: Doc): Doc => [doc, { open: "", close: "", items: [], comma: false, flat: false }];

const widest = 120;
const step = 2;

/** Prints a document. `column`: where the current line stands; `after`: how many characters must still fit on the last line. */
export function prettyPrint(doc: Doc, indent = 0, column = 0, after = 0): string {
  if (typeof doc === "string") return doc;
  if (!isGroup(doc)) return printSequence(doc, indent, column, after);
  const line = flat(doc);
  if (line !== null && column + line.length + after <= widest) return line;
  if (doc.items.length === 0) return `${doc.open}${doc.close}`;
  const inner = indent + step;
  const items = doc.items.map((item) => {
    const text = prettyPrint(item, inner, inner, 1);
    return text === "" ? "" : `${" ".repeat(inner)}${text}${doc.comma ? "," : ""}`;
  });
  return `${doc.open}\n${items.join("\n")}\n${" ".repeat(indent)}${doc.close}`;
}
function printSequence(docs: readonly Doc[], indent: number, column: number, after: number): string {
  let text = "";
  for (const [i, doc] of docs.entries()) {
    const lastLine = text.slice(text.lastIndexOf("\n") + 1);
    const at = text.includes("\n") ? lastLine.length : column + lastLine.length;
    const rest = docs.slice(i + 1);
    text += prettyPrint(doc, indent, at, rest.length === 0 ? after : headLength(rest) + after);
  }
  return text;
}
/** The least number of characters of `docs` that must stay on the current line. */
function headLength(docs: readonly Doc[]): number {
  let length = 0;
  for (const doc of docs) {
    if (typeof doc !== "string" && isGroup(doc) && !doc.comma) return length + doc.open.length;
    const line = flat(doc);
    if (line === null) return length;
    length += line.length;
  }
  return length;
}
/** The document on one line; null if it must not be. */
function flat(doc: Doc): string | null {
  if (typeof doc === "string") return doc;
  if (!isGroup(doc)) return joined(doc, "");
  if (!doc.flat) return null;
  const inner = joined(doc.items, doc.comma ? ", " : " ");
  if (inner === null) return null;
  return doc.comma ? `${doc.open}${inner}${doc.close}` : `${doc.open} ${inner} ${doc.close}`;
}
function joined(docs: readonly Doc[], separator: string): string | null {
  const texts = docs.map(flat);
  return texts.includes(null) ? null : texts.join(separator);
}
const isGroup = (doc: Exclude<Doc, string>): doc is Group => "items" in doc;
