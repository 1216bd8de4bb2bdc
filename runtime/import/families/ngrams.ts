// Qwen 4's embeddings of n-grams: which blocks have them, and how large their tables are.
import { Problem } from "../../../compiler/diagnostic.ts";
import type { StoredTensors } from "../../storage/stored-tensor.ts";
import { numbers } from "../../tensor.ts";
import type { ConfigValue, Family, Header, Json, OpenedBlocks, Shard } from "../family.ts";
import { wholeOr } from "./shared.ts";

/** The blocks with n-grams in order, counted from 1; undefined if what config.json has is no such list. */
export function blocksWithNgrams(config: Json): number[] | undefined {
  const { ple_layer_ids: list = null, num_hidden_layers: layers } = config;
  if (list === null) return [];
  if (!Array.isArray(list)) return undefined;
  const isBlock = (x: unknown): x is number => Number.isInteger(x) && Number(x) >= 1 && Number(x) <= Number(layers);
  return list.every(isBlock) ? [...new Set(list)].toSorted((a, b) => a - b) : undefined;
}
const hasNgrams = (config: Json): boolean => (blocksWithNgrams(config) ?? []).length > 0;
const usual = {
  ngram_size: 3,
  heads_per_ngram: 8,
  ple_conv_kernel_size: 4,
  ngram_vocab_size_base: 20_000_000,
  make_ngram_vocab_size_divisible_by: 128,
  split_ngram_parts: 512,
} as const;
type Key = keyof typeof usual;
const numberIn = (config: Json, key: Key): number | undefined => wholeOr(config[key], usual[key]);
/** A whole number in a range, of a model with n-grams; not given to another. */
const ofNgrams = (key: Key, least: number, most: number): ConfigValue => ({
  keys: [key],
  kind: "size",
  from: (config) => {
    if (!hasNgrams(config)) return null;
    const is = numberIn(config, key);
    return is !== undefined && is >= least && is <= most ? is : undefined;
  },
  must: `a whole number from ${least} to ${most}`,
});
/** Of more rows a remainder is not computed in 32 bits. */
const mostRows = 2 ** 27;
/** The primes above it are below that. */
const largestPart = mostRows - 2 ** 16;
export const ngramHeader: Family["header"] = {
  Grams: ofNgrams("ngram_size", 2, 64),
  GramHeads: ofNgrams("heads_per_ngram", 1, 1024),
  GramWidth: ofNgrams("ple_conv_kernel_size", 1, 1024),
  GramDim: {
    keys: ["ple_embed_dim"],
    kind: "size",
    from: (config) => {
      if (!hasNgrams(config)) return null;
      const all = wholeOr(config["ple_embed_dim"] ?? config["hidden_size"], 0) ?? 0;
      const each = all / headsOf(config);
      return Number.isInteger(each) && each > 0 ? each : undefined;
    },
    must: "a multiple of (ngram_size - 1) * heads_per_ngram",
  },
  end: {
    keys: ["eos_token_id"],
    kind: "count",
    from: (config) => {
      if (!hasNgrams(config)) return null;
      const [first] = [config["eos_token_id"]].flat();
      return typeof first === "number" && first < Number(config["vocab_size"]) ? first : undefined;
    },
    must: "a token, or a list of tokens, where ple_layer_ids says that blocks have n-grams",
  },
};
/** What tables are made by, which no layer is given. */
export const ngramSettings: Family["supported"] = Object.fromEntries(
  Object.entries({
    ngram_vocab_size_base: largestPart,
    make_ngram_vocab_size_divisible_by: 2 ** 30,
    split_ngram_parts: 2 ** 20,
  } as const).map(([key, most]) => {
    const { from, must } = ofNgrams(key as Key, 1, most);
    return [key, (config: Json): unknown => (from?.(config) === undefined ? must : config[key])];
  }),
);
const headsOf = (config: Json): number =>
  ((numberIn(config, "ngram_size") ?? 0) - 1) * (numberIn(config, "heads_per_ngram") ?? 0);

/** Of each block with n-grams, its table: how many rows in how many shards, of which all but the last have equally many. */
export function tablesOf(config: Json): Header[] {
  const [heads, blocks] = [headsOf(config), blocksWithNgrams(config) ?? []];
  const [base = 0, divisor = 1] = [
    numberIn(config, "ngram_vocab_size_base"),
    numberIn(config, "make_ngram_vocab_size_divisible_by"),
  ];
  const primes = primesFrom(base, heads * blocks.length);
  const parts = numberIn(config, "split_ngram_parts") ?? 1;
  return blocks.map((_, i) => {
    const filled = primes.slice(i * heads, (i + 1) * heads).reduce((sum, x) => sum + x, 0);
    const Rows = Math.ceil(filled / divisor) * divisor;
    return { Rows, Shards: Math.ceil(Rows / Math.ceil(Rows / parts)) };
  });
}
function primesFrom(base: number, count: number): number[] {
  const primes: number[] = [];
  for (let n = Math.max(base, 2); primes.length < count; n++) if (isPrime(n)) primes.push(n);
  return primes;
}
function isPrime(n: number): boolean {
  if (n % 2 === 0) return n === 2;
  for (let by = 3; by * by <= n; by += 2) if (n % by === 0) return false;
  return n > 1;
}

const theirs = "model.layers.*.ple";
const ours = "blocks.*.before";
const shards: Shard = {
  shard: `${ours}.embed.shards.*.weight`,
  rows: ({ Rows, Shards }) => ({ each: Math.ceil(Number(Rows) / Number(Shards)), all: Number(Rows) }),
};
export const ngramNames: Family["names"] = {
  [`${theirs}.ple_embedding.ngram_embedding.shard_*.weight`]: shards,
  [`${theirs}.ple_embedding.ngram_embedding.weight`]: shards,
  [`${theirs}.ple_embedding.layer_multipliers`]: { words: `${ours}.embed.factors` },
  [`${theirs}.ple_embedding.ngram_heads_vocab_sizes`]: `${ours}.embed.sizes`,
  [`${theirs}.ple_embedding.ngram_heads_offsets`]: `${ours}.embed.places`,
  [`${theirs}.key_proj.weight`]: `${ours}.key.weight`,
  [`${theirs}.value_proj.weight`]: `${ours}.value.weight`,
  [`${theirs}.norm_key.weight`]: `${ours}.key_norm.weight`,
  [`${theirs}.norm_query.weight`]: `${ours}.query_norm.weight`,
  [`${theirs}.norm_conv.weight`]: `${ours}.conv_norm.weight`,
  [`${theirs}.conv1d.weight`]: `${ours}.conv`,
};

/** Throws Problem unless each head of a block with n-grams has a part of the table, rows that this has. */
export function requireParts(weights: StoredTensors, { folder, kinds = {}, order = [] }: OpenedBlocks): void {
  for (const [block, name] of order.entries()) {
    const kind = kinds[name];
    const rows = typeof kind === "object" ? Number(kind.gives?.["Rows"]) : Number.NaN;
    if (Number.isNaN(rows)) continue;
    const read = (own: string): number[] =>
      [weights.get(`${ours}.embed.${own}`.replace("*", String(block)))?.read()].flatMap((t) =>
        t ? [...numbers(t)] : [],
      );
    const [sizes, places] = [read("sizes"), read("places")];
    const refuse = (buffer: string, head: number, is: string, must: string): never => {
      throw new Problem(
        `${folder}: \`${theirs.replace("*", String(block))}.ple_embedding.${buffer}\` has ${is} for head ${head}, and ${must}`,
        "the checkpoint is damaged, or its config.json is another's: get both anew",
      );
    };
    for (const [head, size] of sizes.entries()) {
      if (size < 1 || size > mostRows)
        refuse("ngram_heads_vocab_sizes", head, `${size}`, `a part of the table has 1 to ${mostRows} rows`);
      const place = places[head] ?? 0;
      if (place < 0 || place + size > rows)
        refuse("ngram_heads_offsets", head, `${place}`, `the table has ${rows} rows, of which ${size} are the head's`);
    }
  }
}
