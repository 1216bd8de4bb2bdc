// Entries that take `tokens: i32[B, T]`, and how their sizes B and T are chosen: by flags of their own, or by name as any other.
import type { EntrySignature } from "../compiler/check/index.ts";
import { Problem } from "../compiler/diagnostic.ts";
import { sizeFlagText } from "../compiler/flag-text.ts";
import type { Settings } from "../compiler/options.ts";
import type { CompileRequest } from "./compile.ts";
import { headerDefault } from "./program.ts";

export interface SizeOptions {
  /** Rows of a batch, and tokens of a row. */
  readonly batch?: number | undefined;
  readonly length?: number | undefined;
  /** Sizes and values by name, B and T too. */
  readonly set?: Settings | undefined;
}
type Axes = [batch: string, length: string];

/** The names of B and T; null: the first argument, but for a `source`, is not `tokens: i32[B, T]`. */
export function tokenAxes({ arguments: [first, second] }: EntrySignature): Axes | null {
  const tokens = first?.name === "source" ? second : first;
  const [batch, length, ...more] = tokens?.axes ?? [];
  return tokens?.name === "tokens" && more.length === 0 && batch && length ? [batch, length] : null;
}
/** The name of U where `train` is that of a model with an encoder, which reads `source: i32[B, U]` first; else null. */
export function sourceAxis(entry: EntrySignature): string | null {
  const [source] = entry.arguments;
  const [batch, length, ...more] = source?.axes ?? [];
  const [rows, tokens] = tokenAxes(entry) ?? [];
  const fits = source?.name === "source" && source.dtype === "i32" && source.spread === null && more.length === 0;
  return fits && length && length !== tokens && batch === rows ? length : null;
}
/**
 * Whether an entry is `train(tokens: i32[B, T], targets: i32[B, T])`, perhaps with `since: i32[B, T]` behind or `source: i32[B, U]` before.
 */
export function takesText(entry: EntrySignature): boolean {
  const names = entry.arguments.map((a) => a.name).join();
  if (names === "source,tokens,targets") return sourceAxis(entry) !== null;
  return (
    tokenAxes(entry) !== null && (names === "tokens,targets" || (names === "tokens,targets,since" && tellsApart(entry)))
  );
}
/** Whether `train` takes where the document of each token begins, `since: i32[B, T]`. */
export function tellsApart(entry: EntrySignature): boolean {
  const [, , since] = entry.arguments;
  const axes = tokenAxes(entry)?.join();
  return since?.name === "since" && since.dtype === "i32" && since.spread === null && since.axes.join() === axes;
}
export function textAxes(entry: EntrySignature): Axes {
  const axes = takesText(entry) ? tokenAxes(entry) : null;
  if (axes) return axes;
  throw new Problem(
    `${signatureOf(entry)}, which is not text`,
    "text is train(tokens: i32[B, T], targets: i32[B, T]), with or without since: i32[B, T], or with source: i32[B, U] before; in TypeScript, `train` of moec takes batches of any inputs; to measure it, give their sizes by --set",
  );
}
const signatureOf = ({ declaration, method, arguments: given }: EntrySignature): string =>
  `\`${declaration}.${method}\` takes (${given.map((a) => `${a.name}: ${a.text}`).join(", ")})`;

/** All sizes that the options give, by name. */
export function namedSizes(entry: EntrySignature, { batch, length, set = {} }: SizeOptions): Settings {
  if (batch === undefined && length === undefined) return set;
  const axes = tokenAxes(entry);
  if (axes === null)
    throw new Problem(
      `${signatureOf(entry)}, and --batch and --length are the sizes of tokens: i32[B, T]`,
      "leave them out, and give the entry's sizes by --set NAME=VALUE",
    );
  return { ...set, ...named("--batch", batch, axes[0], set), ...named("--length", length, axes[1], set) };
}
/** The value of a flag by the name of the size that it stands for. Throws a Problem if --set gives that another value. */
export function named(flag: string, value: number | undefined, name: string, set: Settings = {}): Settings {
  if (value === undefined) return {};
  const other = set[name] ?? value;
  if (other === value) return { [name]: value };
  throw new Problem(`${flag} ${value} and --set ${name}=${other} are the same size`, "leave one of them out");
}
/** Of a `train` that takes text: B and T as far as the options give them, and all other sizes. */
export function textSizes(
  entry: EntrySignature,
  options: SizeOptions,
): { readonly B: number | undefined; readonly T: number | undefined; readonly others: Settings } {
  const [batch, length] = textAxes(entry);
  const { [batch]: B, [length]: T, ...others } = namedSizes(entry, options);
  const source = sourceAxis(entry);
  if (source !== null && others[source] !== undefined)
    throw new Problem(
      `${source} of \`train\` follows from the prompts of the data`,
      `leave ${sizeFlagText(source)} out`,
    );
  return { B: atLeastOne(batch, B), T: atLeastOne(length, T), others };
}
/** B and T where nothing else says them: the header's, if it names them, or 16 rows of 128 tokens. */
export function defaultRows(entry: EntrySignature): { readonly B: number; readonly T: number } {
  const [batch, length] = textAxes(entry);
  return { B: headerDefault(entry, batch) ?? 16, T: headerDefault(entry, length) ?? 128 };
}
export function atLeastOne(name: string, value: Settings[string] | undefined): number | undefined {
  if (value === undefined || (typeof value === "number" && Number.isInteger(value) && value >= 1)) return value;
  throw new Problem(`${name} is ${value}`, "give a whole number of at least 1");
}

/** The request for `train` or `evaluate` on B rows of T tokens, and of U of a source (default: T); other sizes come from the model's header. */
export function trainingRequest(
  entry: EntrySignature,
  { B = 1, T = 1, ...sizes }: Settings,
  names: readonly ("train" | "evaluate")[],
  U: number | null = null,
): Pick<CompileRequest, "declaration" | "sizes" | "entries"> {
  const [batch, length] = textAxes(entry);
  const source = sourceAxis(entry);
  const rows = { [batch]: B, [length]: T, ...(source === null ? {} : { [source]: U ?? T }) };
  const inputs = tellsApart(entry) ? ["since"] : [];
  const entries = names.map((name) => ({ method: "train", name, sizes: rows, inputs }));
  return { declaration: entry.declaration, sizes, entries };
}
