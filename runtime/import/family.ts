// The record that describes a family of transformers models: where config.json has the values of our model's header, and how weights are named.

import type { StoredTensors } from "../storage/stored-tensor.ts";

export type Json = Readonly<Record<string, unknown>>;
/** The value at a dotted path: `a.b` is b in a. Undefined if it is missing or null. */
export const lookup = (config: Json, key: string): unknown =>
  key.split(".").reduce<unknown>((x, part) => (x as Json | null | undefined)?.[part], config) ?? undefined;
/** The value at the first path that has one. */
export const lookupFirst = (config: Json, keys: readonly string[]): unknown =>
  keys.map((key) => lookup(config, key)).find((x) => x !== undefined);
/** Whether a dotted name begins with one of these, in which `*` is any number. */
export function beginsWithOneOf(prefixes: readonly string[]): (name: string) => boolean {
  const any = prefixes.map((prefix) => prefix.replaceAll(".", String.raw`\.`).replaceAll("*", String.raw`\d+`));
  const pattern = new RegExp(`^(?:${any.join("|")})`);
  return (name) => any.length > 0 && pattern.test(name);
}
/** The key of an object that stands for a number which JSON has not: "Infinity", "-Infinity" or "NaN". */
export const floatTag = "__float__";
/**
 * Where config.json has a value: dotted paths, the first that is present. `fallback` is the value if none is (null: the default of the model's
 * header); if it is not given either, the value is required. `kind`: what it must be, if that is not what the fallback is
 * (true or false), or what the header's name says: those that begin with a capital letter are sizes, others numbers. `from`: computes the value from
 * config.json; undefined if what stands at the first key is not what it `must` be, null for the default of the model's header.
 */
export interface ConfigValue {
  readonly keys: readonly string[];
  readonly fallback?: number | boolean | null;
  readonly kind?: Kind;
  readonly from?: (config: Json) => number | boolean | null | undefined;
  readonly must?: string;
}
/** A whole number of layers, which may be 0; one of at least 1; one that may be 0; any number from 0 on; one above 0, by which something is divided; true or false. */
export type Kind = "layers" | "size" | "count" | "number" | "positive" | "boolean";
/** Reads a number of layers of config.json, which must be a whole one. `fallback`: the value if it is missing; else it is required. */
export type Count = (key: string, fallback?: number) => number;
export interface Family {
  /** The `model_type` of config.json. */
  readonly type: string;
  /** What other releases of the same call it. */
  readonly otherTypes?: readonly string[];
  /** The `model_type` of a larger model whose text model is of this family, whatever its own `model_type`: transformers does not read that. */
  readonly outerType?: string;
  /** Of families that share a `model_type`: whether a config.json is of this one. */
  readonly isOf?: (config: Json) => boolean;
  /** The model's name in the library. `file`: its file in std/models; default: decoder. */
  readonly model: string;
  readonly file?: string;
  readonly header: Readonly<Record<string, ConfigValue>>;
  /**
   * Other keys of config.json with the only values that our model supports; checked where a key is present and not null. A function computes the
   * supported value from config.json.
   */
  readonly supported: Readonly<Record<string, unknown>>;
  /**
   * From their names of weights to ours; each `*` stands for a number, and null means not to read it. A string: their matrices are [out, in] and are
   * transposed to ours, [in, out]; a depthwise convolution [features, 1, width] becomes [width, features]. With a space and a
   * place behind it, theirs are some of ours' columns: those of several stand side by side, each as wide as it is. A list: not transposed; several names
   * share the last axis, interleaved element by element.
   */
  readonly names: Readonly<Record<string, string | readonly string[] | PackedTensor | Row | Shard | Words | null>>;
  /** The numbers behind this part of a name, such as `layer`, stay in the keys of `names`: they say what a weight is, not which. */
  readonly fixedNumbers?: string;
  /** Where each block of theirs is in a model that does not have all as `blocks.N`, which `names` say nonetheless. */
  readonly places?: (header: Header) => (block: number) => string;
  /** Of models whose config.json says for each block what it is, in no order that the header of ours could say. */
  readonly blocks?: Blocks;
  /** Kinds of blocks of which `rope_parameters` has an object each; without them it must be one for all. */
  readonly ropeKinds?: readonly string[];
  /** Throws Problem if numbers among the weights, which have the names and shapes that they should, cannot be. */
  readonly requireNumbers?: (weights: StoredTensors, model: OpenedBlocks) => void;
  /** Our names of states that files may lack: they begin as the program says. */
  readonly optional?: readonly RegExp[];
  /** Weights whose names begin with one of these (`*`: any number) are skipped: those of the blocks that predict the token after the next (MTP). */
  readonly ignoredPrefixes?: (count: Count) => readonly string[];
  /** Of a text model that is a part of a larger one: which other part a weight is of, which is not read; undefined: of none. */
  readonly otherPart?: (name: string) => string | undefined;
  /**
   * Vectors of our model that config.json (not the weights) has as lists of numbers, one for all blocks: our names, and the keys to look under, of
   * which the first present is used. If none is, there is no such vector.
   */
  readonly lists?: Readonly<Record<string, readonly string[]>>;
  /** Whether the model that config.json tells of has these vectors; default: always. */
  readonly hasLists?: (config: Json) => boolean;
  /** Whether the head shares the embedding's table, if config.json does not say. */
  readonly tied?: boolean;
  /**
   * The weight of a head of its own. Where the files lack it, ours reads the embedding's table, as its header's `shared` says; without this our head is always its own,
   * and begins as a copy.
   */
  readonly ownHead?: string;
  /** Where config.json has the token that a decoder behind an encoder begins with, the first key that is present. */
  readonly startKeys?: readonly string[];
  /** Positions have no limit: the header's `Context` and `Source` are defaults. */
  readonly unlimited?: boolean;
}
/**
 * What a model's blocks are. An import is a `LanguageModel`, or a `model` of the family's file, with a list of them; it, and each, is given what its own header has of the family's, so a name
 * must mean the same in all.
 */
export interface Blocks {
  readonly model?: string;
  /** For each kind of block, whose name becomes that of a layer, our layer, of the family's file; computed from a supported config.json where there are as many as that says. */
  readonly kinds: Kinds | ((config: Json) => Kinds);
  /** The kind of each block, from a supported config.json. */
  readonly order: (config: Json) => readonly string[];
}
/** A folder, and the kind of each block of its model. */
export interface OpenedBlocks {
  readonly folder: string;
  readonly kinds?: Kinds | undefined;
  readonly order?: readonly string[] | undefined;
}
export type Kinds = Readonly<Record<string, string | BlockKind>>;
/** `without`: names of the header that blocks of this kind are not given, so their layer's defaults hold; `gives`: values of their own. */
export interface BlockKind {
  readonly layer: string;
  readonly without?: readonly string[];
  readonly gives?: Header;
}
/** Values for our model's header. */
export type Header = Readonly<Record<string, number | boolean>>;
/**
 * One tensor that holds several of ours: each takes a contiguous run of the last axis, or of each of its `groups`, such as heads. `transposed`: the last two axes are exchanged first; a
 * function says it of the shape, where checkpoints differ. `shares`: how long the runs are, as parts of the axis; default: all of one length. `stacked`: how
 * many matrices stand one below another; they get an axis of their own, the first.
 */
export interface PackedTensor {
  readonly runs: readonly string[];
  readonly transposed: boolean | ((header: Header, shape: readonly number[]) => boolean);
  readonly shares?: (header: Header) => readonly number[];
  readonly groups?: (header: Header) => number;
  readonly stacked?: (header: Header) => number;
}
/** What a weight is of ours, with other names. */
export function withNames(ours: Family["names"][string], to: (name: string) => string): Family["names"][string] {
  if (ours === null) return null;
  if (typeof ours === "string") return to(ours);
  if ("row" in ours) return { ...ours, row: to(ours.row) };
  if ("shard" in ours) return { ...ours, shard: to(ours.shard) };
  if ("words" in ours) return { words: to(ours.words) };
  return "runs" in ours ? { ...ours, runs: ours.runs.map(to) } : ours.map(to);
}
/**
 * One of several matrices of equally many rows in ours, not transposed; their last may have fewer. Where the name of ours has a star more than theirs,
 * theirs is all of them, one below another. `rows`: how many each of ours has, and all of theirs, of what the block is given.
 */
export interface Shard {
  readonly shard: string;
  readonly rows: (given: Header) => Readonly<Record<"each" | "all", number>>;
}
/** Their whole numbers of 64 bits are pairs of 32 in ours, the lower first. */
export interface Words {
  readonly words: string;
}
/** Their matrix of a single row is a vector of ours; `first`: the first row of several, of which the others are not read. */
interface Row {
  readonly row: string;
  readonly first?: true;
}
