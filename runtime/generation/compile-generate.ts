// Compiles a model's method `generate`, and makes the request for one text that it generates.
import type { EntrySignature, Loaded } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { batchFlagText, prefixesFlagText, sizeFlagText } from "../../compiler/flag-text.ts";
import type { CodesOfCopies } from "../../compiler/transform/quantise.ts";
import { closedOnFailure } from "../closing.ts";
import {
  type CommonOptions,
  type CompileReport,
  commonRequest,
  type ParameterSharing,
  type Sizes,
} from "../compile.ts";
import { type Executable, storeOfInput } from "../executable/executable.ts";
import { findEntry, hasMethod } from "../program.ts";
import { tokenAxes } from "../text-entry.ts";
import {
  type Codec,
  endOfText,
  type Languages,
  requireEncoder,
  requireInVocabulary,
  requireStart,
  startTokensOf,
} from "../tokens.ts";
import { compileOnWorkers } from "../workers/compile-on-workers.ts";
import { singleWorker, type Workers } from "../workers/workers.ts";
import type { GenerateRequest } from "./batch.ts";
import {
  contextOf,
  generateEntries,
  generateSignature,
  hasEncoder,
  lacksSamplingInput,
  positionsOf,
  requireContext,
  requireSource,
  type SamplingInput,
  samplingInputs,
  sourceLengths,
  sourceOf,
  tokensLeft,
} from "./generate-entries.ts";
import { Prefixes } from "./prefixes.ts";
import { rowStates } from "./row-states.ts";

export interface CompileGenerateOptions extends Omit<CommonOptions, "set">, ParameterSharing {
  /** Values for the model's header. They go before `trained`, those of its training. */
  readonly set?: Sizes | undefined;
  readonly trained?: Sizes | undefined;
  /** What the checkpoint holds as codes, whose values it will get. */
  readonly kept?: CodesOfCopies | undefined;
  /** How many texts are generated at a time. */
  readonly rows: number;
  /** The most tokens that a prompt has, if known: one that does not fit is refused before compiling. Default: as many as the model has positions. */
  readonly prompt?: number | undefined;
  /** How many tokens are generated after it, if that is known. */
  readonly tokens?: number | undefined;
  /** The workers that generate together, all of which call this. Default: this process alone. */
  readonly world?: Workers | undefined;
  /** How many beginnings of prompts are kept. Default: 0. */
  readonly prefixes?: number | undefined;
  /** Which optional inputs (`top_p`, `top_k`) to compile `generate` with. Default: all that the model's `generate` has. */
  readonly sampling?: readonly SamplingInput[] | undefined;
}
/** A compiled `generate`. */
interface CompiledGenerate {
  readonly executable: Executable;
  readonly report: CompileReport;
  /** The optional inputs that `generate` was compiled with. */
  readonly sampling: readonly SamplingInput[];
  /** How many positions it has: tokens of a text; null if nothing says. */
  readonly context: number | null;
  /** How many tokens its encoder, which reads prompts, reads at most; null: it has none. */
  readonly source: number | null;
  /** The size of its vocabulary, if tokens index a table; else undefined. */
  readonly vocabulary: number | undefined;
  /** The beginnings of prompts that it keeps. Default: it keeps none. */
  readonly prefixes?: Prefixes | undefined;
}
/** The same with the model's parameters. */
export interface OpenedModel extends CompiledGenerate {
  readonly codec: Codec;
  /** How many training steps it has done. */
  readonly step: number;
}

/** Compiles `generate` of a declaration (default: the only model). The caller gives all parameters and saved states, after `init`. */
export async function compileGenerate(
  program: Loaded,
  declaration: string | undefined,
  { set, ...options }: CompileGenerateOptions,
): Promise<CompiledGenerate> {
  const { rows, prompt = Number.POSITIVE_INFINITY, tokens = 1, trained, world = singleWorker } = options;
  const entry = generateEntry(program, declaration);
  requireOpenAxes(entry, set);
  requireKeeps(options, hasEncoder(program, entry.declaration), world);
  const sizes = { ...trained, ...set };
  const declared = contextOf(entry, sizes);
  const encodes = hasEncoder(program, entry.declaration);
  const most = encodes ? sourceOf(entry, sizes) : null;
  const requirePositions = (context: number | null, places: number | null): void => {
    if (!Number.isFinite(prompt)) return;
    requireContext(encodes ? 1 : prompt, tokens, context);
    if (encodes) requireSource(prompt, places);
  };
  requirePositions(declared, most);
  const sampling = options.sampling ?? samplingInputsOf(entry);
  const read = Math.min(prompt, declared ?? prompt);
  const lengths = sourceLengths(Number.isFinite(prompt) ? prompt : undefined, most);
  const entriesFor = (rows: number) =>
    generateEntries(program, entry.declaration, { rows, prompt: read, source: lengths, sampling });
  const request = { declaration: entry.declaration, sizes, ...commonRequest(options, world) };
  const { executable, report } = await compileOnWorkers(() => program, {
    ...request,
    entries: entriesFor(rows),
    kept: options.kept,
    restored: true,
    onInputs: ({ choices }) => requirePositions(positionsOf(choices, declared), positionsOf(choices, most, "encode")),
  });
  const vocabulary = report.choices[storeOfInput("generate:1", "tokens")];
  const source = encodes ? positionsOf(report.choices, most ?? Math.max(...lengths), "encode") : null;
  const keeps = async (): Promise<Prefixes | undefined> =>
    options.prefixes
      ? new Prefixes(rowStates(executable, program, { ...request, entries: entriesFor(2 * rows) }), options.prefixes)
      : undefined;
  const prefixes = await closedOnFailure(executable, keeps);
  return { executable, report, sampling, context: positionsOf(report.choices, declared), source, vocabulary, prefixes };
}
/** Throws Problem if beginnings of prompts are to be kept and cannot be. */
function requireKeeps({ prefixes = 0 }: CompileGenerateOptions, encodes: boolean, world: Workers): void {
  if (prefixes === 0 || (!encodes && world.size === 1)) return;
  throw new Problem(
    encodes
      ? "the model has an encoder, which reads each prompt whole: no beginning of one can be kept"
      : `${world.size} workers keep no beginnings of prompts: the rows of a batch are theirs in turn`,
    `leave ${prefixesFlagText} out`,
  );
}
function generateEntry(program: Loaded, declaration: string | undefined): EntrySignature {
  if (hasMethod(program, declaration, "generate")) return findEntry(program, declaration, "generate");
  throw new Problem(
    `the model of ${program.main.name} has no method \`generate\``,
    `add it there, and to your program if that is a run's copy: ${generateSignature} { ... }, as grammar/GRAMMAR.md has it under "Models and training"`,
  );
}
/** Throws Problem if a size is set that the prompts have. */
function requireOpenAxes(entry: EntrySignature, set: Sizes = {}): void {
  const own = tokenAxes(entry)?.find((name) => set[name] !== undefined);
  if (own !== undefined)
    throw new Problem(
      `${own} of \`generate\` follows from the prompts`,
      `leave ${sizeFlagText(own)} out; ${batchFlagText} says how many texts are generated at a time`,
    );
}
const samplingInputsOf = (entry: EntrySignature): SamplingInput[] =>
  (Object.keys(samplingInputs) as SamplingInput[]).filter((name) => entry.arguments.some((a) => a.name === name));

/** How one text is generated. */
export interface TextOptions {
  /** How many tokens. Default: 200, or as many as fit. */
  readonly tokens?: number | undefined;
  /** Default: 0.8. 0 takes the likeliest token each time. */
  readonly temperature?: number | undefined;
  /** Only the likeliest tokens, up to this total probability. Default: 1, all. */
  readonly topP?: number | undefined;
  /** Only so many of the likeliest tokens. Default: 0, all. */
  readonly topK?: number | undefined;
  /** Goes on after the token that ends a text. Default: false. */
  readonly pastEnd?: boolean | undefined;
  /** Texts at the first of which the text ends; it does not have it. Default: none. */
  readonly stop?: readonly string[] | undefined;
}
export const samplingOf = ({ topP, topK }: TextOptions): SamplingInput[] => [
  ...(topP === undefined ? [] : (["top_p"] as const)),
  ...(topK === undefined ? [] : (["top_k"] as const)),
];
/**
 * The request for one text. Throws Problem if a token of the prompt is not in the vocabulary, if the text does not fit, or if the model lacks an
 * option.
 */
export function requestOf(
  prompt: ArrayLike<number>,
  options: TextOptions & Languages,
  model: OpenedModel,
): GenerateRequest {
  const { codec, context, source, vocabulary } = model;
  for (const name of samplingOf(options))
    if (!model.sampling.includes(name)) throw lacksSamplingInput(name, "the model's `generate`");
  requireEncoder(options, source !== null);
  const first = source === null ? prompt : startTokensOf(codec, options.targetLanguage);
  const tokens = options.tokens ?? Math.min(200, Math.max(1, tokensLeft(first, context)));
  requireContext(first.length, tokens, context);
  requireInVocabulary(prompt, vocabulary, "a prompt");
  if (source !== null) requireStart(first, vocabulary);
  const { temperature = 0.8, topP, topK, pastEnd = false } = options;
  const how = { tokens, temperature, topP, topK, end: pastEnd ? null : endOfText(codec, source !== null) };
  if (source === null) return { ...how, prompt };
  requireSource(prompt.length, source);
  return { ...how, prompt: first, source: prompt };
}
