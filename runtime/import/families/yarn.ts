// YaRN's settings in config.json, as transformers reads them.
import { type ConfigValue, type Family, type Json, lookupFirst } from "../family.ts";

/** Where config.json has a setting of RoPE: dotted paths, the first that is present. */
type KeysOf = (key: string) => readonly string[];
/** The type of RoPE; older files call it `type`. */
export const typeAt = (config: Json, keysOf: KeysOf): unknown =>
  lookupFirst(config, keysOf("rope_type")) ?? lookupFirst(config, keysOf("type")) ?? "default";
const grown = (factor: number, by: unknown): number => (factor > 1 ? 0.1 * Number(by) * Math.log(factor) + 1 : 1);
/** What turned features are multiplied by, where `attention_factor` does not say it. */
function usualHeat(config: Json, keysOf: KeysOf): number {
  const [factor, one, all] = ["factor", "mscale", "mscale_all_dim"].map((key) => lookupFirst(config, keysOf(key)));
  return Boolean(one) && Boolean(all)
    ? grown(Number(factor), one) / grown(Number(factor), all)
    : grown(Number(factor), 1);
}
/**
 * Values of the header: `stretch` is YaRN's factor to `original` positions, between `fast` and `slow` turns, and `heat` multiplies what is turned. Where the type is another one
 * `stretch` is 1, and there are no others.
 */
export function yarnHeader(keysOf: KeysOf): Family["header"] {
  const value = (
    key: string,
    usual: (config: Json) => unknown,
    { least = 0, without = null as 1 | null } = {},
  ): ConfigValue => ({
    keys: keysOf(key),
    kind: "number",
    from: (config) => {
      if (typeAt(config, keysOf) !== "yarn") return without;
      const is = lookupFirst(config, keysOf(key)) ?? usual(config);
      return typeof is === "number" && is >= least ? is : undefined;
    },
    must: `a number of at least ${least}`,
  });
  return {
    stretch: value("factor", () => undefined, { least: 1, without: 1 }),
    original: value("original_max_position_embeddings", (config) => config["max_position_embeddings"]),
    fast: value("beta_fast", () => 32),
    slow: value("beta_slow", () => 1),
    heat: value("attention_factor", (config) => usualHeat(config, keysOf)),
  };
}
