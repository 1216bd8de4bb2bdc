import { readFileSync } from "node:fs";

/** The fenced blocks of one language in a Markdown file of the repository. */
export function fencedBlocks(file: string, language: string): string[] {
  const text = readFileSync(new URL(`../${file}`, import.meta.url), "utf8");
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, "gms"))].map((match) => match[1] ?? "");
}
