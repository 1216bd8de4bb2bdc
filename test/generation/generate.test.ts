// Generation from a cache against the full forward, for every decoder: prompts of different lengths in chunks, idle rows, a row taken over, nothing cleared.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { getOrMake } from "../../compiler/memoize.ts";
import { compileProgram } from "../../runtime/compile.ts";
import type { Executable, Tensor } from "../../runtime/executable/executable.ts";
import { fromNumbers, numbers, part } from "../../runtime/tensor.ts";
import { full } from "../full.ts";
import { libraryModels } from "../library-models.ts";
import { assertClose, type PeerTarget } from "../peer-results.ts";
import { temporaryFolder } from "../temporary-folder.ts";

const test = suite("generate");
const ways: readonly PeerTarget[] = [
  { target: "reference", precision: "f64", tolerance: 1e-12 },
  { target: "host", precision: "f32", tolerance: 1e-5 },
];
/** The logits of all sequences by the reference, by decoder. */
const wholes = new Map<string, Tensor>();
const V = 11;

interface Decoder {
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
function likeThem(): Readonly<Record<string, Decoder>> {
  return {
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
    Phi3: decoder(
      "Phi3",
      "8, 6, L: 2, Heads: 2, Groups: 1, Context: 12, window: 4, original: 8, heat: 1.2, P: 2",
      "phi",
    ),
    Llama: decoder("Llama", "8, 6, L: 2, Heads: 2, Groups: 1, A: 6, stretch: 4, original: 40, Context: 12"),
    Mistral: decoder("Mistral", "8, 6, L: 2, Heads: 4, Groups: 2, Context: 12, window: 4"),
    Qwen2: decoder("Qwen2", "8, 6, L: 2, Heads: 4, Groups: 2, Context: 12"),
    Qwen3: decoder("Qwen3", "8, 6, L: 2, Heads: 2, Groups: 1, A: 6, Context: 12"),
    SmolLM3: decoder("SmolLM3", "8, 6, L: 4, Heads: 4, Groups: 2, Context: 12", "dense"),
    Glm4: decoder("Glm4", "8, 6, L: 2, Heads: 2, Groups: 1, A: 4, Context: 12", "dense"),
    Exaone4: decoder("Exaone4", "8, 6, L: 4, Heads: 4, Groups: 2, Context: 12, window: 5, original: 40", "dense"),
    Olmo2: decoder("Olmo2", "8, 6, L: 2, Heads: 4, Groups: 2, Context: 12", "dense"),
    Olmo3: decoder("Olmo3", "8, 6, L: 4, Heads: 4, Groups: 2, Context: 12, window: 5, original: 4", "dense"),
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
}
/** Whose kernels are nearly those of others: compiled with MOEC_TEST=full. */
const near = new Set([
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
const decoders: Readonly<Record<string, Decoder>> = {
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
  ...likeThem(),
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
const programOf = ({ imports, inner, logits = "inner(tokens, at)" }: Decoder): string => `
${imports}
model Logits(V = ${V}) {
  inner: ${inner}
  forward(tokens: i32[B, T]) -> float[B, T, V] { return inner(tokens) }
  generate(tokens: i32[B, T], at: i32[B, T]) -> float[B, T, V] { return ${logits} }
}`;

async function compiled(text: string, { target, precision }: PeerTarget): Promise<Executable> {
  const path = join(temporaryFolder(), "logits.moe");
  writeFileSync(path, text);
  const lengths = [4, 1].map((T) => ({ method: "generate", name: `generate:${T}`, sizes: { B: 3, T } }));
  const { executable } = await compileProgram({
    path,
    sizes: {},
    target,
    precision,
    entries: [{ method: "forward", name: "forward", sizes: { B: 4, T: 10 } }, ...lengths],
  });
  await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
  return executable;
}
/** Parameters of a size that makes logits differ; what the caches hold at first must not matter. */
function filled(executable: Executable): void {
  for (const s of executable.stores) {
    const t = executable.read(s.name);
    const wave = (i: number): number => Math.sin(i * 1.7 + s.name.length);
    const value = s.role === "parameter" ? (x: number, i: number): number => x + 0.4 * wave(i) : () => 50;
    if (s.role === "parameter" || s.name.startsWith("generate/"))
      executable.write(s.name, fromNumbers(t.dtype, t.shape, numbers(t).map(value)));
  }
}

/** Tokens after which no row is ill-conditioned: after others half an ulp of KimiLinear's parameters changes one by 2.7e-5, in exact arithmetic. */
const sequences = [10, 7, 9, 5].map((n, s) => Array.from({ length: n }, (_, i) => (i * i * 3 + 5 * s + i + 3) % V));
/** For each call the rows of the batch: which sequence, and how many of its next tokens. Row 1 is taken over by sequence 2, and row 2 idles. */
type Fed = readonly [sequence: number, tokens: number] | null;
const calls: readonly (readonly [T: number, rows: readonly Fed[]])[] = [
  [4, [[0, 4], [1, 3], null]],
  [
    4,
    [
      [0, 2],
      [1, 4],
      [3, 1],
    ],
  ],
  [1, [[0, 1], null, [3, 1]]],
  [
    4,
    [
      [0, 1],
      [2, 4],
      [3, 3],
    ],
  ],
  [1, [null, [2, 1], null]],
  [4, [[0, 2], [2, 4], null]],
];
const ints = (shape: readonly number[], values: readonly number[]): Tensor => fromNumbers("i32", shape, values);

/** The logits of each sequence's rows, as the calls give them. */
async function fed(executable: Executable): Promise<Tensor[][]> {
  const made: Tensor[][] = sequences.map(() => []);
  for (const [call, [T, rows]] of calls.entries()) {
    const at = rows.map((row) =>
      Array.from({ length: T }, (_, i) => (row && i < row[1] ? (made[row[0]]?.length ?? 0) + i : -1)),
    );
    const tokens = at.map((places, r) => places.map((p) => (p < 0 ? 0 : (sequences[rows[r]?.[0] ?? 0]?.[p] ?? -9))));
    const inputs = new Map([
      ["tokens", ints([3, T], tokens.flat())],
      ["at", ints([3, T], at.flat())],
    ]);
    const { outputs } = await executable.run(`generate:${T}`, inputs, { seed: 0, call, step: 0 });
    const [logits] = outputs;
    assert.ok(logits);
    for (const [r, row] of rows.entries())
      for (let i = 0; i < (row?.[1] ?? 0); i++) made[row?.[0] ?? 0]?.push(part(logits, [r, i]));
  }
  return made;
}

test("every model of the library is here", () => {
  const named = Object.keys(decoders).filter((name) => !name.startsWith("with "));
  assert.deepEqual(named.toSorted(), libraryModels());
});
for (const [name, decoder] of Object.entries(decoders))
  for (const way of name in likeThem() || (!full && near.has(name)) ? ways.slice(0, 1) : ways)
    test(`${name} from its cache, ${way.target} ${way.precision}`, async () => {
      const executable = await compiled(programOf(decoder), way);
      try {
        filled(executable);
        const padded = sequences.flatMap((s) => Array.from({ length: 10 }, (_, i) => s[i] ?? 0));
        const inputs = new Map([["tokens", ints([4, 10], padded)]]);
        const [whole] = (await executable.run("forward", inputs, { seed: 0, call: 0, step: 0 })).outputs;
        assert.ok(whole);
        assertClose(
          "as the reference has them",
          whole,
          getOrMake(wholes, name, () => whole),
          5e-5,
        );
        for (const [s, rows] of (await fed(executable)).entries()) {
          assert.equal(rows.length, sequences[s]?.length);
          for (const [t, row] of rows.entries())
            assertClose(`sequence ${s}, position ${t}`, row, part(whole, [s, t]), way.tolerance);
        }
      } finally {
        executable.close();
      }
    });

const crossing = `
import { CrossAttention } from "std/attention"
import { Embedding } from "std/nn"
model Crossing(V = ${V}, D = 8) {
  embed: Embedding(V, D)
  cross: CrossAttention(D, 4, 2, Context: 6)
  forward(tokens: i32[B, T], source: float[B, N, D], place: i32[B, N]) -> float[B, T, D] { return cross(embed(tokens), source, place) }
  generate(tokens: i32[B, T], source: float[B, N, D], place: i32[B, N]) -> float[B, T, D] { return cross(embed(tokens), source, place) }
}`;
for (const { target, precision, tolerance } of ways)
  test(`a source is given once and kept; a new one takes its place, ${target} ${precision}`, async () => {
    const path = join(temporaryFolder(), "crossing.moe");
    writeFileSync(path, crossing);
    const [given, none] = [5, 0].map((N) => ({ method: "generate", name: `generate:${N}`, sizes: { B: 2, T: 1, N } }));
    assert.ok(given && none);
    const entries = [{ method: "forward", name: "forward", sizes: { B: 2, T: 1, N: 5 } }, given, none];
    const { executable } = await compileProgram({ path, sizes: {}, target, precision, entries });
    await executable.run("init", new Map(), { seed: 3, call: 0, step: 0 });
    filled(executable);
    const rows = (first: number): Tensor =>
      fromNumbers(
        precision,
        [2, 5, 8],
        Array.from({ length: 80 }, (_, i) => Math.cos(i * first)),
      );
    const run = async (
      name: string,
      tokens: number[],
      source: Tensor,
      place: number[],
    ): Promise<Tensor | undefined> => {
      const N = source.shape[1] ?? 0;
      const inputs = new Map([
        ["tokens", ints([2, 1], tokens)],
        ["source", source],
        ["place", ints([2, N], place)],
      ]);
      return (await executable.run(name, inputs, { seed: 0, call: 0, step: 0 })).outputs[0];
    };
    const nothing = fromNumbers(precision, [2, 0, 8], []);
    try {
      const [one, other] = [rows(1.3), rows(0.7)];
      const places = [0, 1, 2, 3, 4, 0, 1, 2, -1, -1];
      const whole = async (tokens: number[]) => run("forward", tokens, one, places);
      assertClose("with its source", await run("generate:5", [1, 2], one, places), await whole([1, 2]), tolerance);
      assertClose("without", await run("generate:0", [3, 4], nothing, []), await whole([3, 4]), tolerance);
      const second = [-1, -1, -1, -1, -1, 0, 1, -1, -1, -1];
      const taken = await run("generate:5", [5, 6], other, second);
      const fresh = await run("forward", [5, 6], other, [0, 1, 2, 3, 4, 0, 1, -1, -1, -1]);
      assert.ok(taken && fresh);
      assertClose(
        "the row that keeps its source",
        part(taken, [0]),
        part((await whole([5, 6])) ?? taken, [0]),
        tolerance,
      );
      assertClose("the row with a new one", part(taken, [1]), part(fresh, [1]), tolerance);
    } finally {
      executable.close();
    }
  });
test.run();
