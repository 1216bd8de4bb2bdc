// Every decoder of the library, small, as the tests of generation from a cache write them.
export const V = 11;

export interface Decoder {
  readonly imports: string;
  readonly inner: string;
  /** What gives the logits of tokens at positions, where calling the model does not. */
  readonly logits?: string;
}
const decoder = (name: string, inner: string, file = "decoder"): Decoder => ({
  imports: `import { ${name} } from "std/models/${file}"`,
  inner: `${name}(V, ${inner})`,
});
/** Whose kernels are made for others as well: from their caches on the reference target alone. */
export const likeThem: Readonly<Record<string, Decoder>> = {
  Gemma2: decoder(
    "Gemma2",
    "8, 6, L: 2, Heads: 4, Groups: 2, A: 4, Context: 12, window: 4, scalar: 5, cap: 0.6, last: 2",
  ),
  Qwen35Moe: decoder(
    "Qwen35Moe",
    "8, 6, F: 5, L: 4, Heads: 2, Groups: 1, A: 4, Keys: 1, Values: 2, KeyWidth: 3, ValueWidth: 2, E: 3, K: 2, part: 0.5, Chunk: 2, Context: 12",
    "qwen3_next",
  ),
  Qwen35: decoder(
    "Qwen35",
    "8, 6, L: 4, Heads: 2, Groups: 1, A: 4, Keys: 1, Values: 2, KeyWidth: 3, ValueWidth: 2, part: 0.5, Chunk: 2, Context: 12",
    "qwen3_next",
  ),
  Qwen4: decoder(
    "Qwen4",
    "8, 6, F: 5, L: 4, N: 2, Low: 3, Heads: 2, Groups: 1, A: 4, Size: 2, Top: 2, IndexHeads: 8, IndexWidth: 5, Keys: 1, Values: 2, KeyWidth: 3, ValueWidth: 2, E: 3, K: 2, part: 0.5, Chunk: 2, Context: 12",
    "qwen4",
  ),
  GptOss: decoder(
    "GptOss",
    "8, 6, L: 2, Heads: 4, Groups: 2, A: 4, E: 4, K: 2, Context: 12, window: 4, stretch: 4, original: 8",
  ),
  MiniMaxM2: decoder("MiniMaxM2", "8, 6, L: 2, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Context: 12"),
  PhiMoE: decoder(
    "PhiMoE",
    "8, 6, L: 2, Heads: 4, Groups: 2, E: 4, Context: 12, window: 2.5, original: 8, hot: 1.2, jitter: 0.2",
    "phi",
  ),
  Phi3: decoder("Phi3", "8, 6, L: 2, Heads: 2, Groups: 1, Context: 12, window: 4, original: 8, heat: 1.2, P: 2", "phi"),
  Llama: decoder("Llama", "8, 6, L: 2, Heads: 2, Groups: 1, A: 6, stretch: 4, original: 40, Context: 12"),
  Mistral: decoder("Mistral", "8, 6, L: 2, Heads: 4, Groups: 2, Context: 12, window: 4"),
  Qwen2: decoder("Qwen2", "8, 6, L: 2, Heads: 4, Groups: 2, Context: 12"),
  Qwen3: decoder("Qwen3", "8, 6, L: 2, Heads: 2, Groups: 1, A: 6, Context: 12"),
  SmolLM3: decoder("SmolLM3", "8, 6, L: 4, Heads: 4, Groups: 2, Context: 12", "dense"),
  Glm4: decoder("Glm4", "8, 6, L: 2, Heads: 2, Groups: 1, A: 4, Context: 12", "dense"),
  Exaone4: decoder("Exaone4", "8, 6, L: 4, Heads: 4, Groups: 2, Context: 12, window: 5, original: 40", "dense"),
  StarCoder2: decoder("StarCoder2", "8, 6, L: 2, Heads: 4, Groups: 2, Context: 12, window: 4", "dense"),
  Granite: decoder("Granite", "8, 6, L: 2, Heads: 2, Groups: 1, Context: 12", "dense"),
  Olmo2: decoder("Olmo2", "8, 6, L: 2, Heads: 4, Groups: 2, Context: 12", "dense"),
  Olmo3: decoder("Olmo3", "8, 6, L: 4, Heads: 4, Groups: 2, Context: 12, window: 5, original: 4", "dense"),
  OlmoHybrid: decoder(
    "OlmoHybrid",
    "8, 6, L: 4, Heads: 2, Groups: 1, KeyWidth: 3, ValueWidth: 2, Chunk: 2, Context: 12",
    "dense",
  ),
  Dots1: decoder("Dots1", "8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, Groups: 1, E: 4, K: 2, Context: 12"),
  DeepSeekV2: decoder(
    "DeepSeekV2",
    "8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, E: 4, K: 2, R: 5, A: 3, P: 4, C: 2, stretch: 4, original: 8, heat: 2, Context: 12",
  ),
  DeepSeekMoE: decoder("DeepSeekMoE", "8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, Groups: 1, E: 4, K: 2, Context: 12"),
  MuseSpark: decoder(
    "MuseSpark",
    "8, 6, 6, L: 6, First: 1, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Context: 12, window: 5",
    "muse",
  ),
  MuseGlimmer: decoder("MuseGlimmer", "8, 10, L: 4, Heads: 2, Groups: 1, A: 4, Context: 12, window: 5", "muse"),
  HunYuanMoE: decoder("HunYuanMoE", "8, 6, L: 2, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, alpha: 9, Context: 12"),
  GraniteMoeShared: decoder("GraniteMoeShared", "8, 5, 6, L: 2, Heads: 2, Groups: 1, E: 4, K: 2, Context: 12"),
  Aria: decoder("Aria", "8, 6, L: 2, Heads: 2, E: 4, K: 2, Context: 12"),
  NemotronH: decoder(
    "NemotronH",
    "8, 6, 5, L: 5, Pairs: 1, Short: 1, Long: 0, Heads: 2, Groups: 1, A: 4, StateHeads: 4, StateWidth: 4, States: 3, StateGroups: 2, E: 4, K: 2, Context: 12",
    "nemotron",
  ),
  FlexOlmo: decoder("FlexOlmo", "8, 6, L: 2, Heads: 2, Groups: 1, E: 4, K: 2, Context: 12"),
  SolarOpen: decoder("SolarOpen", "8, 6, L: 2, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Context: 12"),
  ExaoneMoe: decoder(
    "ExaoneMoe",
    "8, 6, 5, L: 4, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Context: 12, window: 5",
    "windowed",
  ),
  Afmoe: decoder("Afmoe", "8, 6, 5, L: 4, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Context: 12, window: 5", "windowed"),
  Gemma3: decoder(
    "Gemma3",
    "8, 6, L: 3, Every: 2, Heads: 4, Groups: 2, A: 4, Context: 12, window: 5, scalar: 5, cap: 2",
    "gemma3",
  ),
  Gemma4: decoder(
    "Gemma4",
    "8, 6, 5, L: 2, Every: 2, Heads: 2, Groups: 1, A: 4, FarGroups: 1, FarA: 8, E: 4, K: 2, Context: 12, window: 5",
    "gemma4",
  ),
  Ministral3: decoder(
    "Ministral3",
    "8, 6, L: 2, Heads: 4, Groups: 2, A: 4, Context: 12, window: 5, original: 4, heat: 1.1, growth: 0.5",
    "dense",
  ),
  NanoChat: decoder("NanoChat", "8, 6, L: 2, Heads: 4, Groups: 2, Context: 12, cap: 2", "dense"),
  Cohere: decoder("Cohere", "8, 6, L: 2, Heads: 4, Groups: 2, Context: 12, normed: true", "cohere2"),
  Cohere2: decoder("Cohere2", "8, 6, L: 4, Heads: 4, Groups: 2, Context: 12, window: 5", "cohere2"),
  Cohere2Moe: decoder(
    "Cohere2Moe",
    "8, 6, 5, L: 4, Dense: 1, Every: 2, Full: 1, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Shared: 1, Context: 12, window: 5",
    "cohere2",
  ),
  Mistral4: decoder(
    "Mistral4",
    "8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, E: 4, K: 2, Q: 6, R: 5, A: 3, P: 4, C: 2, stretch: 4, original: 4, growth: 0.5, Context: 12",
  ),
  Dbrx: decoder("Dbrx", "8, 6, L: 2, Heads: 2, Groups: 1, E: 4, K: 2, clip: 1, Context: 12"),
  AXK1: decoder(
    "AXK1",
    "8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, E: 4, K: 2, G: 2, Open: 1, Q: 6, R: 5, A: 3, P: 4, C: 2, Context: 12",
    "sparse",
  ),
  AXK2: decoder(
    "AXK2",
    "8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, E: 4, K: 2, Q: 6, R: 5, A: 3, P: 4, C: 2, Top: 3, IndexHeads: 4, IndexWidth: 5, Rank: 3, Context: 12",
    "sparse",
  ),
  LongcatFlash: decoder(
    "LongcatFlash",
    "8, F: 10, H: 6, L: 2, Heads: 2, E: 3, Copies: 2, K: 2, Q: 6, R: 5, A: 3, P: 4, C: 2, Context: 12",
    "longcat",
  ),
  MiMoV2Flash: decoder(
    "MiMoV2Flash",
    "8, 6, 5, L: 6, Every: 3, Heads: 2, Groups: 1, NearGroups: 2, A: 6, C: 4, P: 4, NearP: 2, E: 4, K: 2, Context: 12, window: 5",
    "windowed",
  ),
  GraniteMoeSwa: decoder(
    "GraniteMoeSwa",
    "8, 5, 6, L: 3, Every: 2, Full: 2, Heads: 2, Groups: 1, E: 4, K: 2, P: 0, Context: 12, window: 5",
    "windowed",
  ),
  Mellum: decoder(
    "Mellum",
    "8, 6, L: 2, First: 1, Full: 1, Heads: 2, Groups: 1, A: 6, E: 4, K: 2, Context: 12, window: 5",
    "windowed",
  ),
  Laguna: decoder(
    "Laguna",
    "8, 6, 5, 10, L: 4, Every: 2, Heads: 2, NearHeads: 4, Groups: 2, A: 4, E: 4, K: 2, window: 5, stretch: 4, original: 4, heat: 1.2, Context: 12",
    "laguna",
  ),
  StepFlash: decoder(
    "StepFlash",
    "8, 6, 5, 10, L: 5, Every: 2, Heads: 2, NearHeads: 4, Groups: 2, A: 4, E: 4, K: 2, window: 5, stretch: 4, original: 40, limit: 0.2, shared_limit: 0.3, Context: 12",
    "step",
  ),
  Flint: decoder(
    "Flint",
    "8, 6, 5, 10, L: 3, Dense: 1, Full: 0, Heads: 2, Groups: 1, A: 6, E: 4, K: 2, Context: 12, window: 5",
    "windowed",
  ),
  Kolibri1: decoder(
    "Kolibri1",
    "8, 6, 5, L: 2, First: 1, Full: 1, Heads: 2, Groups: 1, A: 6, E: 4, K: 2, Context: 12, window: 5",
    "windowed",
  ),
  LaraMini: decoder(
    "LaraMini",
    "8, 6, 5, L: 4, Heads: 2, Groups: 1, A: 4, Keys: 1, Values: 2, KeyWidth: 3, ValueWidth: 2, E: 4, K: 2, Chunk: 2, Context: 12, window: 5",
    "qwen3_next",
  ),
  Beam: decoder(
    "Beam",
    "8, 6, 10, L: 4, Dense: 1, Every: 2, Full: 1, Heads: 2, Groups: 1, A: 6, E: 4, K: 2, G: 2, Open: 1, Context: 12, window: 5",
    "beam",
  ),
  Ling3: decoder(
    "Ling3",
    "8, 10, 6, L: 3, Heads: 2, E: 4, K: 2, G: 2, Open: 1, R: 5, A: 3, P: 4, C: 2, DeltaHeads: 2, DeltaWidth: 3, Dense: 1, Every: 3, Chunk: 2, Context: 12",
    "ling",
  ),
  MiniMax: decoder(
    "MiniMax",
    "8, 6, L: 2, Heads: 2, Groups: 1, A: 4, E: 4, K: 2, Every: 2, Chunk: 2, Context: 12",
    "minimax",
  ),
  MiniMaxM3: decoder(
    "MiniMaxM3",
    "8, 10, 6, 5, L: 2, Dense: 1, Heads: 4, Groups: 2, A: 4, P: 2, E: 4, K: 2, Top: 2, Size: 2, IndexWidth: 3, Context: 12",
    "minimax_m3",
  ),
  Zaya: decoder(
    "Zaya",
    "8, 6, L: 2, E: 3, R: 5, Heads: 4, Groups: 2, A: 4, Width: 3, GroupWidth: 2, Context: 12",
    "zaya",
  ),
  JetMoe: decoder("JetMoe", "8, 6, L: 2, Heads: 2, A: 4, E: 4, K: 2, Context: 12", "jetmoe"),
  DeepSeekV4: decoder(
    "DeepSeekV4",
    "8, 6, L: 3, N: 2, Heads: 2, E: 4, K: 2, Q: 6, A: 6, P: 4, OutGroups: 2, O: 3, window: 3, SparseRate: 2, HeavyRate: 3, Top: 2, IndexHeads: 8, IndexWidth: 5, Hashed: 1, Rounds: 3, original: 4, Context: 12",
    "deepseek_v4",
  ),
  Glm5Next: decoder(
    "Glm5Next",
    "8, 10, 6, L: 5, N: 2, Heads: 2, E: 4, K: 2, Q: 6, R: 5, A: 3, C: 5, Size: 2, Top: 2, IndexHeads: 8, IndexWidth: 5, DeltaHeads: 2, DeltaWidth: 3, Rounds: 3, Chunk: 2, Context: 12",
    "glm5_next",
  ),
  Inkling: decoder(
    "Inkling",
    "8, 10, 6, L: 3, Dense: 1, Every: 2, Heads: 4, Groups: 2, A: 4, NearHeads: 2, NearGroups: 1, NearA: 6, R: 3, Extent: 5, window: 3, E: 4, K: 2, Shared: 2, Width: 3, floor: 3, Context: 12",
    "inkling",
  ),
  Hunyuan4: decoder(
    "Hunyuan4",
    "8, N: 2, F: 10, H: 6, L: 4, Every: 2, Heads: 2, E: 4, K: 2, Q: 6, R: 5, A: 3, P: 4, C: 5, Top: 3, IndexHeads: 4, IndexWidth: 6, Context: 12",
    "hunyuan4",
  ),
  MistralLarge4: decoder(
    "MistralLarge4",
    "8, F: 10, H: 6, L: 8, Own: 4, Heads: 2, E: 4, K: 2, R: 5, A: 3, P: 4, C: 5, Top: 3, IndexHeads: 4, IndexWidth: 6, Context: 12",
    "mistral_large4",
  ),
  FalconMamba: decoder("FalconMamba", "8, 2, 12, 3, 2, Context: 12", "mamba"),
  Gemma4Edge: decoder(
    "Gemma4Edge",
    "8, 6, 12, L: 8, Shared: 4, Every: 2, P: 3, Heads: 2, Groups: 1, A: 4, FarGroups: 1, FarA: 8, Context: 12, window: 5",
    "gemma4_edge",
  ),
  Lfm2: decoder("Lfm2", "8, 6, L: 6, First: 1, Twos: 1, Ones: 0, Heads: 2, Groups: 1, Context: 12", "lfm2"),
  Lfm3: decoder("Lfm3", "8, 6, L: 8, Heads: 2, Groups: 1, A: 6, Width: 3, Context: 12, window: 5", "lfm2"),
  Ernie45Moe: decoder("Ernie45Moe", "8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, Groups: 1, E: 4, K: 2, Context: 12"),
};
/** Whose kernels are nearly those of others: compiled with MOEC_TEST=full. */
export const near = new Set([
  "Gpt",
  "GptMoE",
  "Olmoe",
  "Qwen3Moe",
  "Qwen2Moe",
  "Glm4Moe",
  "GraniteMoe",
  "DeepSeekV3",
  "with ALiBi",
]);
/** Each is wrapped so that `generate` gives all logits. */
export const decoders: Readonly<Record<string, Decoder>> = {
  Gpt: decoder("Gpt", "8, L: 2, Heads: 2, Context: 12", "gpt"),
  GptMoE: decoder("GptMoE", "8, 6, L: 2, Heads: 2, E: 3, K: 2, Context: 12", "gpt"),
  TransformerXl: {
    ...decoder("TransformerXl", "8, 6, L: 2, Heads: 2, E: 3, K: 2, M: 11, rate: 0, Context: 12", "xl"),
    logits: "inner.embed.logits(inner.placed(tokens, at))",
  },
  Mixtral: decoder("Mixtral", "8, 6, L: 2, Heads: 4, Groups: 2, E: 3, K: 2, Context: 12, window: 3"),
  Olmoe: decoder("Olmoe", "8, 6, L: 2, Heads: 2, E: 4, K: 3, Context: 12"),
  Qwen3Moe: decoder("Qwen3Moe", "8, 6, L: 2, Heads: 2, Groups: 1, A: 6, E: 4, K: 2, Context: 12"),
  Qwen2Moe: decoder("Qwen2Moe", "8, 6, F: 5, L: 2, Heads: 2, Groups: 1, E: 4, K: 2, Context: 12"),
  Glm4Moe: decoder("Glm4Moe", "8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, Groups: 1, A: 8, E: 4, K: 2, Context: 12"),
  GraniteMoe: decoder("GraniteMoe", "8, 6, L: 2, Heads: 2, Groups: 1, E: 4, K: 2, Context: 12"),
  GraniteMoeHybrid: decoder(
    "GraniteMoeHybrid",
    "8, 6, 5, L: 3, Attentions: 1, First: 1, Heads: 2, Groups: 1, StateHeads: 4, StateWidth: 4, States: 3, StateGroups: 2, E: 4, K: 2, Context: 12",
    "granite",
  ),
  Jamba: decoder(
    "Jamba",
    "8, 6, L: 4, Periods: 1, Pairs: 1, Heads: 2, Groups: 1, C: 12, States: 3, Rank: 2, E: 4, K: 2, Context: 12",
    "jamba",
  ),
  Llama4: decoder(
    "Llama4",
    "8, F: 10, H: 6, L: 4, Heads: 2, Groups: 1, A: 4, E: 3, Step: 2, Context: 12, chunk: 7, span: 3, stretch: 4, original: 40",
  ),
  Qwen3Next: decoder(
    "Qwen3Next",
    "8, 6, F: 5, L: 4, Heads: 2, Groups: 1, A: 4, Keys: 1, Values: 2, KeyWidth: 3, ValueWidth: 2, E: 3, K: 2, part: 0.5, Chunk: 2, Context: 12",
    "qwen3_next",
  ),
  Lfm2Moe: decoder(
    "Lfm2Moe",
    "8, 10, 6, L: 7, Dense: 1, Threes: 0, Heads: 2, Groups: 1, E: 4, K: 2, Context: 12",
    "lfm2",
  ),
  DeepSeekV3: decoder(
    "DeepSeekV3",
    "8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, E: 4, K: 2, G: 2, Open: 1, Q: 6, R: 5, A: 3, P: 4, C: 2, Context: 12",
  ),
  DeepSeekV32: decoder(
    "DeepSeekV32",
    "8, F: 10, H: 6, L: 2, Dense: 1, Heads: 2, E: 4, K: 2, G: 2, Open: 1, Q: 6, R: 5, A: 3, P: 4, C: 2, Top: 3, IndexHeads: 4, IndexWidth: 5, Context: 12",
    "sparse",
  ),
  Dots3Note: decoder(
    "Dots3Note",
    "8, F: 10, H: 6, S: 5, L: 6, Heads: 2, E: 4, K: 2, Q: 6, R: 5, A: 3, P: 4, C: 2, NearHeads: 1, NearQ: 5, NearR: 4, NearA: 4, NearP: 2, NearC: 3, Top: 3, IndexHeads: 4, IndexWidth: 5, window: 5, Context: 12",
    "sparse",
  ),
  KimiLinear: decoder(
    "KimiLinear",
    "8, 10, 6, L: 3, Heads: 2, E: 4, K: 2, R: 5, A: 3, P: 4, C: 2, DeltaHeads: 2, DeltaWidth: 3, Chunk: 2, Context: 12",
    "kimi_linear",
  ),
  ...likeThem,
  "with ALiBi": {
    imports: `import { LanguageModel, Block } from "std/models/decoder"
import { Attention } from "std/attention"
import { SwiGlu } from "std/nn"`,
    inner: "LanguageModel(V, 8, 2, Block(8, Attention(8, 4, 2, Context: 12, sloped: true), SwiGlu(8, 6))[2])",
  },
  "with ALiBi and a window": {
    imports: `import { LanguageModel, Block } from "std/models/decoder"
import { Attention } from "std/attention"
import { SwiGlu } from "std/nn"`,
    inner:
      "LanguageModel(V, 8, 2, Block(8, Attention(8, 4, 2, Context: 12, window: 6, sloped: true, sunk: true), SwiGlu(8, 6))[2])",
  },
  "with n-grams": {
    imports: `import { Qwen4Blocks, Qwen4Choosing, Qwen4NgramDelta } from "std/models/qwen4"`,
    inner: `Qwen4Blocks(V, 8, 2, 3, 3, [
      Qwen4NgramDelta(8, 2, 3, 6, 5, 3, 2, 60, 3, Keys: 1, Values: 2, KeyWidth: 3, ValueWidth: 2, Chunk: 2, Grams: 3, GramHeads: 2, Shards: 2, end: 3, GramWidth: 3),
      Qwen4Choosing(8, 2, 3, 6, 5, 3, 2, 2, 1, 4, 2, 2, 8, 5, Context: 12),
      Qwen4NgramDelta(8, 2, 3, 6, 5, 3, 2, 30, 3, Keys: 1, Values: 2, KeyWidth: 3, ValueWidth: 2, Chunk: 2, Grams: 2, GramHeads: 2)])`,
  },
};
export const programOf = ({ imports, inner, logits = "inner(tokens, at)" }: Decoder): string => `
${imports}
model Logits(V = ${V}) {
  inner: ${inner}
  forward(tokens: i32[B, T]) -> float[B, T, V] { return inner(tokens) }
  generate(tokens: i32[B, T], at: i32[B, T]) -> float[B, T, V] { return ${logits} }
}`;
