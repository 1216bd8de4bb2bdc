import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { project } from "./project.ts";

/** What the library's other models are made of. */
const parts = new Set([
  "LanguageModel",
  "DeepSeekMain",
  "GraniteBlocks",
  "JambaBlocks",
  "LagunaBlocks",
  "Lfm2Blocks",
  "NemotronBlocks",
  "SpacedBlocks",
  "WindowedBlocks",
]);
/** The names of all models of the library. */
export function libraryModels(): string[] {
  const folder = join(project, "stdlib/models");
  const texts = readdirSync(folder).map((file) => readFileSync(join(folder, file), "utf8"));
  const names = texts.flatMap((text) => [...text.matchAll(/^model (\w+)/gm)].map((match) => match[1] ?? ""));
  return names.filter((name) => !parts.has(name)).toSorted();
}
