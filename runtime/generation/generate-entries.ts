// How a model's method `generate` is compiled to generate text, and how many tokens fit its context.
import type { EntrySignature, Loaded } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { sizeFlagText, tokensFlagText, topKFlagText, topPFlagText } from "../../compiler/flag-text.ts";
import { pluralize } from "../../compiler/pluralize.ts";
import type { EntryRequest, Sizes } from "../compile.ts";
import type { Figures } from "../figures.ts";
import { findEntry, hasMethod, headerDefault } from "../program.ts";

/** The T of `generate` for prompts, of which longer ones are read in chunks. */
export const chunkLength = 64;
/** The tokens of all rows in a chunk of a long prompt: the more rows an expert gets at once, the less often its weights are read. */
const longChunkTokens = 512;
/** Whether a call of this length pays off where so many tokens are to be read: some products are made of padding too. */
export const paysOff = (length: number, tokens: number): boolean => length <= chunkLength || tokens * 3 >= length;
/** The lengths T that `generate` is compiled for: 1, `chunkLength`, and a longer one that pays off for `prompt` tokens. */
function lengthsFor(rows: number, prompt: number): number[] {
  const long = 2 ** Math.floor(Math.log2(longChunkTokens / rows));
  return [1, chunkLength, ...(long > chunkLength && paysOff(long, prompt) ? [long] : [])];
}

/** Optional inputs of `generate` that restrict sampling, with the declarations to suggest; the defaults leave all tokens. */
export const samplingInputs = { top_p: "f32[B] = 1", top_k: "i32[B] = 0" };
export type SamplingInput = keyof typeof samplingInputs;
interface GenerateShape {
  readonly rows?: number;
  readonly prompt?: number;
  /** The lengths of what a model with an encoder reads (`sourceLengths`). */
  readonly source?: readonly number[] | undefined;
  readonly sampling?: readonly SamplingInput[];
}
export const generateSignature =
  "generate(tokens: i32[B, T], at: i32[B, T], temperature: f32[B], top_p: f32[B] = 1, top_k: i32[B] = 0) -> i32[B]";
/**
 * Requests to compile `generate` for `rows` sequences, whose prompts have up to `prompt` tokens, with the optional inputs `sampling`. Empty if the
 * model has no `generate`.
 */
export function generateEntries(
  program: Loaded,
  declaration: string,
  { rows = 1, prompt = chunkLength, source = [chunkLength], sampling = [] }: GenerateShape = {},
): EntryRequest[] {
  if (!hasMethod(program, declaration, "generate")) return [];
  const encoding = encodeEntries(program, declaration, rows, source);
  const given = findEntry(program, `${declaration}.generate`).arguments;
  const [batch, length] = given[0]?.axes ?? [];
  const names = given.map((a) => a.name).join();
  if (!/^tokens,at,temperature(,top_p)?(,top_k)?$/.test(names) || !batch || !length)
    throw new Problem(
      `\`${declaration}.generate\` takes (${given.map((a) => `${a.name}: ${a.text}`).join(", ")})`,
      `write ${generateSignature}`,
    );
  for (const name of sampling)
    if (!given.some((a) => a.name === name)) throw lacksSamplingInput(name, `\`${declaration}.generate\``);
  const lengths = encoding.length > 0 ? [1] : lengthsFor(rows, prompt); // a decoder begins with one token
  const generating = lengths.map((T) => ({
    method: "generate",
    name: `generate:${T}`,
    sizes: { [batch]: rows, [length]: T },
    inputs: sampling,
  }));
  return [...generating, ...encoding];
}
export const hasEncoder = (program: Loaded, declaration: string | undefined): boolean =>
  hasMethod(program, declaration, "encode") && hasMethod(program, declaration, "generate");
const encodeSignature = "encode(source: i32[B, U], at: i32[B, U])";
/** Requests to compile `encode`, where the model has it, for sources of these lengths. */
function encodeEntries(program: Loaded, declaration: string, rows: number, lengths: readonly number[]): EntryRequest[] {
  if (!hasEncoder(program, declaration)) return [];
  const { arguments: given } = findEntry(program, `${declaration}.encode`);
  const [batch, length] = given[0]?.axes ?? [];
  if (given.map((a) => a.name).join() !== "source,at" || !batch || !length)
    throw new Problem(
      `\`${declaration}.encode\` takes (${given.map((a) => `${a.name}: ${a.text}`).join(", ")}), and beside \`generate\` it reads what a text follows`,
      `write ${encodeSignature}, or give the method another name`,
    );
  return lengths.map((U) => ({ method: "encode", name: `encode:${U}`, sizes: { [batch]: rows, [length]: U } }));
}
/** The lengths U that `encode` is compiled for: a power of two for a source whose length is known; at most `most`, the header's `Source`. */
export function sourceLengths(known: number | undefined, most: number | null): number[] {
  const longest = most ?? Number.POSITIVE_INFINITY;
  if (known !== undefined) return [Math.min(2 ** Math.ceil(Math.log2(Math.max(known, 8))), longest)];
  return [...new Set([chunkLength, most ?? longestSource].map((n) => Math.min(n, longest)))];
}
/** Of a model that says no `Source`. */
const longestSource = 512;
/** The model's number of positions of a source (`Source` of its header); null if nothing says. */
export function sourceOf(entry: EntrySignature, sizes: Sizes): number | null {
  const set = sizes["Source"];
  if (typeof set === "number") return set;
  const likeContext = entry.header.some((h) => h.name === "Source" && h.default === "Context");
  return likeContext ? contextOf(entry, sizes) : headerDefault(entry, "Source");
}
/** Throws Problem if a source is longer than the model reads. */
export function requireSource(length: number, most: number | null): void {
  if (most === null || length <= most) return;
  throw new Problem(
    `the model reads ${pluralize(most, "token")}, and the prompt has ${length}`,
    `shorten it, or give the model more by ${sizeFlagText("Source", length)} if its header has \`Source\` and its places have no limit`,
  );
}
export const lacksSamplingInput = (name: SamplingInput, entry: string): Problem =>
  new Problem(
    `${entry} takes no \`${name}\``,
    `add the argument \`${name}: ${samplingInputs[name]}\`, and give it to \`sample\`; or leave ${name === "top_p" ? topPFlagText : topKFlagText} out`,
  );
/** The model's number of positions (`Context` of its header); null if the header has none. */
export function contextOf(entry: EntrySignature, sizes: Sizes): number | null {
  const set = sizes["Context"];
  return typeof set === "number" ? set : headerDefault(entry, "Context");
}

/**
 * How many positions the compiled `generate` has: `context`, or fewer, if its `at` indexes a shorter table or cache (`choices` as in `Figures`); null if
 * nothing says. Of `encode`, with the header's `Source`, those of a source.
 */
export function positionsOf(
  choices: Figures["choices"],
  context: number | null,
  of: "generate" | "encode" = "generate",
): number | null {
  const places = new RegExp(`^${of}:\\d+/at$`);
  const bounds = Object.entries(choices).flatMap(([store, n]) => (places.test(store) ? [n] : []));
  const least = Math.min(...bounds, context ?? Number.POSITIVE_INFINITY);
  return Number.isFinite(least) ? least : null;
}

/** How many tokens can be generated after a prompt: one more than there are positions left, because the last token is not fed back. */
export const tokensLeft = (prompt: ArrayLike<number>, context: number | null): number =>
  context === null ? Number.POSITIVE_INFINITY : context - prompt.length + 1;
/** Throws Problem if the tokens do not fit. */
export function requireContext(prompt: number, tokens: number, context: number | null): void {
  const room = tokensLeft({ length: prompt }, context);
  if (context === null || tokens <= room) return;
  const shorter = context + 1 - tokens; // the longest prompt with so many tokens more
  throw new Problem(
    `the model has ${pluralize(context, "position")}, and a prompt of ${pluralize(prompt, "token")} with ${tokens} more does not fit`,
    room > 0
      ? `lower ${tokensFlagText} to at most ${room}`
      : `shorten the prompt to at most ${shorter > 0 ? pluralize(shorter, "token") : `${pluralize(context, "token")}, and lower ${tokensFlagText}`}`,
  );
}
