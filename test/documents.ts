// The documents for users, and where their links lead.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

export const list = (root: string, folder: string, ending: string): string[] =>
  readdirSync(join(root, folder)).flatMap((name) => (name.endsWith(ending) ? [`${folder}/${name}`] : []));
export const documentsIn = (root: string): string[] => [
  "README.md",
  "grammar/GRAMMAR.md",
  ...["docs", "docs/stdlib", "examples"].flatMap((folder) => list(root, folder, ".md")),
];
/** The links of a document that lead to no file, or to no heading of one. */
export function deadLinks(root: string, file: string): string[] {
  const read = (path: string): string => readFileSync(join(root, path), "utf8");
  const links = [...prose(read(file)).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? "");
  return links.filter((link) => {
    if (link.startsWith("http")) return false;
    const [path = "", heading] = link.split("#");
    const to = path === "" ? file : join(dirname(file), path);
    return !existsSync(join(root, to)) || (heading !== undefined && !anchors(read(to)).includes(heading));
  });
}
/** Without code. */
const prose = (text: string): string => text.replaceAll(/^```.*?^```$/gms, "").replaceAll(/`[^`\n]*`/g, "");
/** Headings as GitHub names them. */
const anchors = (text: string): string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map((match) =>
    (match[1] ?? "")
      .toLowerCase()
      .replaceAll(/[^\w\s-]/g, "")
      .replaceAll(" ", "-"),
  );
