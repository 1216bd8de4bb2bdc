// Makes docs/pytorch-functions.md from the remedies that errors give for names of PyTorch and NumPy.
import { foreignArguments, foreignDtypes, foreignNames, type Remedies } from "../compiler/syntax/help.ts";

const code = (names: string): string =>
  names
    .split(" ")
    .map((name) => `\`${name}\``)
    .join(" ");
const cell = (text: string): string => text.replace(/^write /, "").replaceAll("|", "\\|");
const table = (head: string, rows: Remedies): string =>
  [`| ${head} | moec |`, "| --- | --- |", ...rows.map(([names, help]) => `| ${code(names)} | ${cell(help)} |`)].join(
    "\n",
  );

export const pytorchFunctions =
  (): string => `<!-- Written by \`npm run generate\` from compiler/syntax/help.ts. Do not edit. -->

# Functions of PyTorch in moec

What PyTorch and NumPy write differently. \`moec check\` says the same where a program has such a name. Most else is named as there:
the [built-in functions](../grammar/GRAMMAR.md#built-in-functions), and \`relu\`, \`gelu\`, \`dropout\`, \`one_hot\` and others of [std/nn](stdlib/nn.md),
\`cross_entropy\` of [std/loss](stdlib/loss.md), which a program imports.

${table("PyTorch", foreignNames)}

| argument | moec |
| --- | --- |
${foreignArguments.map(([names, here]) => `| ${code(names)} | \`${here}\` |`).join("\n")}

${table("dtype", foreignDtypes)}
`;
