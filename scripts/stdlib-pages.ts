// Makes the pages of docs/stdlib from the comments in stdlib: one for each module, and one for each gate and mixture.
import { readdirSync, readFileSync } from "node:fs";
import { load, pathsOf } from "../compiler/check/index.ts";
import type { Declaration, Stmt } from "../compiler/syntax/ast.ts";
import { parse } from "../compiler/syntax/parse.ts";
import { print } from "../compiler/syntax/print.ts";

const folder = new URL("../stdlib/", import.meta.url);
const note = "Written by `npm run generate` from the comments in stdlib; a test keeps it current.";

interface Module {
  readonly name: string;
  readonly doc: string;
  readonly declarations: readonly Declaration[];
}
function readModule(name: string): Module {
  const text = readFileSync(new URL(`${name}.moe`, folder), "utf8");
  const { program } = parse({ name: `${name}.moe`, text });
  // comments above the imports describe the module
  const [, above = ""] = /^((?:\/\/.*\n)*)(?=import|\n)/.exec(text) ?? [];
  return { name, doc: above.replaceAll(/^\/\/ ?/gm, "").trim(), declarations: program.declarations };
}

const labels = ["Formula", "Paper", "Cost", "Use", "Example"] as const;
type Label = (typeof labels)[number];
interface Doc {
  readonly text: string;
  readonly parts: ReadonlyMap<Label, string>;
}
/** Parses a doc comment: text, then parts that begin with their label and `: `. Further lines of a part are indented by two. */
function readDoc(doc: string): Doc {
  const parts = new Map<Label | null, string[]>([[null, []]]);
  let now: Label | null = null;
  for (const line of doc.split("\n")) {
    const label: Label | null = labels.find((name) => line.startsWith(`${name}: `)) ?? null;
    if (label) parts.set((now = label), [line.slice(label.length + 2)]);
    else parts.get(now)?.push(now === null ? line : line.replace(/^ {2}/, ""));
  }
  const joined = [...parts].map(([label, lines]) => [label, lines.join("\n")] as const);
  return {
    text: parts.get(null)?.join(" ") ?? "",
    parts: new Map(joined.flatMap(([label, text]) => (label ? [[label, text]] : []))),
  };
}
function part(d: Declaration, label: Label): string {
  const text = readDoc(d.doc).parts.get(label);
  if (text === undefined) throw new Error(`${d.name.name}'s comment lacks \`${label}:\``);
  return text;
}

/** Escapes `*`, `_` and `<` for Markdown, except between backticks. */
const prose = (text: string): string =>
  text
    .replaceAll(/\s*\n\s*/g, " ")
    .split("`")
    .map((piece, i) => (i % 2 === 1 ? piece : piece.replaceAll(/[*_<]/g, (sign) => `\\${sign}`)))
    .join("`");
const block = (language: string, text: string): string => `\`\`\`${language}\n${text.trimEnd()}\n\`\`\``;
/** The source of a declaration without its body. */
function signature(d: Declaration): string {
  const { text } = d.span.source;
  const end = d.kind === "alias" ? d.value.span.end : text.indexOf("{", d.span.start);
  return text.slice(d.span.start, end).trim();
}
/** The first sentence of a text, without its full stop. */
const summary = (text: string): string => /^(.*?)(?<!\bal)\.(?= |$)/.exec(text)?.[1] ?? text;
/** The text of a part as a sentence: capitalised, with a full stop. */
const sentences = (text: string): string =>
  `${text.slice(0, 1).toUpperCase()}${prose(text.slice(1)).replace(/\.$/, "")}.`;

/** One line of Markdown that lists a layer's parameters, states, losses and metrics; empty for other declarations. */
function effects(d: Declaration): string {
  if (d.kind !== "layer") return "";
  const found = {
    Parameters: owned(d, "param"),
    State: owned(d, "state"),
    Losses: [] as string[],
    Metrics: [] as string[],
  };
  const titles = { loss: found.Losses, metric: found.Metrics, state: found.State };
  const visit = (s: Stmt): void => {
    if (s.kind === "loss" || s.kind === "metric" || s.kind === "state") titles[s.kind].push(code(s.name.name));
    if (s.kind === "if") [...s.then, ...s.else].forEach(visit);
    if (s.kind === "for") s.body.forEach(visit);
  };
  for (const m of d.body) if (m.kind === "method") m.body.forEach(visit);
  return Object.entries(found)
    .flatMap(([title, names]) => (names.length > 0 ? [`${title}: ${[...new Set(names)].join(", ")}`] : []))
    .join(" · ");
}
/** Paths of a layer's parameters or states, including those of inner layers; among parameters, also the layers that are header arguments. */
function owned(d: Declaration, kind: "param" | "state"): string[] {
  const source = d.span.source;
  const all = pathsOf(load(source), d.name.name).filter(
    (p) => p.kind === kind || (p.kind === "given" && kind === "param"),
  );
  return all.map((p) => {
    const name = p.kind === "given" ? `${code(p.path)} (what ${code(p.of)} has)` : code(p.path);
    return p.optional ? `${name} (optional)` : name;
  });
}
const code = (text: string): string => `\`${text}\``;

const modules = readdirSync(folder)
  .filter((file) => file.endsWith(".moe"))
  .map((file) => readModule(file.replace(".moe", "")));
const modelModules = readdirSync(new URL("models/", folder)).map((file) =>
  readModule(`models/${file.replace(".moe", "")}`),
);
const homes = new Map(modules.flatMap((m) => m.declarations.map((d) => [d.name.name, m.name])));

/** The example in a doc comment as a whole program: an expression is wrapped in a layer that calls it; imports are added as needed. */
function program(d: Declaration): string {
  const example = part(d, "Example");
  const [first = "", ...rest] = example.split("\n");
  const whole = example.startsWith("layer ") ? example : `${around(d, first)}\n${rest.join("\n")}`;
  const own = new Set([...whole.matchAll(/^layer (\w+)/gm)].map(([, name]) => name));
  const used = new Map<string, Set<string>>();
  for (const [name] of whole.matchAll(/\b\w+\b/g)) {
    const home = own.has(name) ? undefined : homes.get(name);
    if (home) used.set(home, (used.get(home) ?? new Set()).add(name));
  }
  const imports = [...used].map(([home, names]) => `import { ${[...names].join(", ")} } from "std/${home}"`);
  const { program: parsed, diagnostics } = parse({ name: d.name.name, text: `${imports.join("\n")}\n${whole}` });
  if (diagnostics[0]) throw new Error(`the example of ${d.name.name}: ${diagnostics[0].message}`);
  return print(parsed);
}
/** A layer `Example` that calls a layer made by `expression`; its `forward` has that layer's signature. */
function around(d: Declaration, expression: string): string {
  const outer = /^\w+/.exec(expression)?.[0] ?? "";
  const layer = modules.flatMap((m) => m.declarations).find((x) => x.name.name === outer);
  const forward =
    layer?.kind === "layer" ? layer.body.find((m) => m.kind === "method" && m.name.name === "forward") : null;
  if (forward?.kind !== "method") throw new Error(`the example of ${d.name.name} does not begin with a layer`);
  const { text } = forward.span.source;
  const head = text.slice(forward.span.start, text.indexOf("{", forward.span.start)).trim();
  const sizes = new Set([...expression.matchAll(/\b[A-Z]\w*\b(?!\s*[(:])/g)].map(([name]) => name));
  const names = forward.params.map((p) => p.name.name).join(", ");
  return `layer Example(${[...sizes].join(", ")}) { feed: ${expression} ${head} { return feed(${names}) } }`;
}

/** The page of a gate or a mixture. */
function page(module: Module, d: Declaration): string {
  const made = effects(d);
  return `# ${d.name.name}

${prose(readDoc(d.doc).text)}

${block("text", signature(d))}
${made === "" ? "" : `\n${made}\n`}
From \`std/${module.name}\`: [its source](../../stdlib/${module.name}.moe), [the whole library](README.md).

## Formula

${block("text", part(d, "Formula").replaceAll("; ", "\n"))}

## Paper

${sentences(part(d, "Paper"))}

## What it costs

${sentences(part(d, "Cost"))}

## When to use it

${sentences(part(d, "Use"))}

## Example

${block("moe", program(d))}

${note}
`;
}
/** The declarations that have a page of their own: all layers of std/moe, and the gates of std/gates. */
const paged = ({ name, declarations }: Module): readonly Declaration[] =>
  declarations.filter(
    (d) => d.kind === "layer" && (name === "moe" || (name === "gates" && d.name.name.endsWith("Gate"))),
  );

/** The page of a module; declarations with a page of their own appear only with their first sentence. */
function modulePage(module: Module): string {
  const own = new Set(paged(module));
  const sections = module.declarations.map((d) => {
    const { text, parts } = readDoc(d.doc);
    if (own.has(d)) return `## ${d.name.name}\n\n${prose(summary(text))}: [${d.name.name}](${d.name.name}.md).`;
    const more = labels.flatMap((l) => {
      const value = parts.get(l);
      return value === undefined || l === "Example" ? [] : [`${l}: ${prose(value)}`];
    });
    return `## ${d.name.name}\n\n${[block("text", signature(d)), prose(text), ...more, effects(d)].filter(Boolean).join("\n\n")}`;
  });
  const about = module.doc === "" ? [] : [prose(module.doc)];
  const source = `[Its source](../../stdlib/${module.name}.moe), [the whole library](README.md). ${note}`;
  return `${[`# std/${module.name}`, ...about, source, ...sections].join("\n\n")}\n`;
}
const row = (d: Declaration): string =>
  `| [${d.name.name}](${d.name.name}.md) | ${prose(summary(readDoc(d.doc).text))} |`;
/** The rows of a module's models; its layers are parts of them. */
const modelRows = ({ name, declarations }: Module): string[] =>
  declarations
    .filter((d) => signature(d).startsWith("model "))
    .map(
      (d) =>
        `| \`${d.name.name}\` | [std/${name}](../../stdlib/${name}.moe) | ${prose(summary(readDoc(d.doc).text))} |`,
    );
function index(): string {
  const table = (title: string, name: string, what: string): string => {
    const module = modules.find((m) => m.name === name);
    return `## ${title}\n\n| ${what} | |\n| --- | --- |\n${module ? paged(module).map(row).join("\n") : ""}`;
  };
  const others = modules.map(
    (m) => `- [std/${m.name}](${m.name}.md): ${m.declarations.map((d) => `\`${d.name.name}\``).join(" ")}`,
  );
  return `# The standard library

All of it is written in moec's own language: [stdlib](../../stdlib) is its source, and a gate or an optimizer of yours is written
the same way. A gate is a layer from rows to \`(score, index)\`: which K of E experts each row goes to, -1 for none, and with what
weight. A mixture is a layer that calls an array of experts by such an index.

Both also take \`mask: bool[...S]\`, true for real rows; all are real if it is not given. The others are padding: they go to no expert,
and count in no loss, metric or capacity. Where \`at\` has each row's position, -1 for padding, that is \`moe(x, at >= 0)\`.

A page lists a layer's parameters by their paths, as files of weights name them; \`experts.*\` is \`experts.0\`,
\`experts.1\` and so on. What is optional depends on the header.

${table("Gates", "gates", "gate")}

${table("Mixtures", "moe", "mixture")}

## Models

Whole models, with \`train\` and \`generate\`. One of your own sizes is \`model Mine() = Mixtral(V: 256, D: 256, H: 512, L: 4, Heads: 4, ...)\`;
\`moec import\` writes such a line. \`LanguageModel\` is what most of them are made of.

| model | module | |
| --- | --- | --- |
${modelModules.flatMap(modelRows).join("\n")}

## Modules

${others.join("\n")}

${note}
`;
}

/** Functions that make the pages, by path in the repository. */
export function stdlibPages(): Record<string, () => string> {
  const pages = modules.flatMap((m): [string, () => string][] => [
    [m.name, () => modulePage(m)],
    ...paged(m).map((d): [string, () => string] => [d.name.name, () => page(m, d)]),
  ]);
  return Object.fromEntries(
    [["README", index] as const, ...pages].map(([name, text]) => [`docs/stdlib/${name}.md`, text]),
  );
}
