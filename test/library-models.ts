import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { project } from "./project.ts";

/** What the library's other models are made of. */
const parts = new Set([
  "BeamBlocks",
  "ChoosingModel",
  "Cohere2Blocks",
  "LanguageModel",
  "DeepSeekMain",
  "Gemma3Blocks",
  "Glm5NextBlocks",
  "GraniteBlocks",
  "Hunyuan4Blocks",
  "HyperModel",
  "IndexedModel",
  "InklingBlocks",
  "JambaBlocks",
  "LagunaBlocks",
  "MiniMaxM3Blocks",
  "MistralLarge4Blocks",
  "MuseBlocks",
  "Lfm2Blocks",
  "NemotronBlocks",
  "Qwen4Blocks",
  "SpacedBlocks",
  "StepBlocks",
  "WindowedBlocks",
  "ZayaBlocks",
]);
/** Those with an encoder, which encoder-decoder.test.ts tests. */
const withEncoder = new Set(["t5.moe", "nllb.moe"]);
/** The names of all models of the library that go on with a text. */
export function libraryModels(): string[] {
  const folder = join(project, "stdlib/models");
  const texts = readdirSync(folder)
    .filter((file) => !withEncoder.has(file))
    .map((file) => readFileSync(join(folder, file), "utf8"));
  const names = texts.flatMap((text) => [...text.matchAll(/^model (\w+)/gm)].map((match) => match[1] ?? ""));
  return names.filter((name) => !parts.has(name)).toSorted();
}
