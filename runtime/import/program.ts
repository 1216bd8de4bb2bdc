// The program that `moec import` writes: the family's model, or a list of its blocks, with the values of config.json.
import { findDeclaration, load } from "../../compiler/check/index.ts";
import type { TransformersModel } from "./config.ts";

export const declaration = "Imported";
const fileOf = (file = "decoder"): string => `std/models/${file}`;

/** A program that declares a model with its header filled in, for sequences of up to `context` positions. */
export function programOf(foreign: TransformersModel, context: number): string {
  const { family, order } = foreign;
  const lines = order ? listed(foreign, order, context) : whole(foreign, context);
  return [`// Made by moec import; the family is transformers' ${family.type}.`, ...lines, ""].join("\n");
}
const whole = ({ family, header }: TransformersModel, context: number): string[] => [
  `import { ${family.model} } from "${fileOf(family.file)}"`,
  "",
  `model ${declaration}(Context = ${context}${"Source" in header ? ", Source = Context" : ""}) =`,
  `  ${family.model}(${[...given(header), ...lengths.filter((name) => name in header).map((name) => `${name}: ${name}`)].join(", ")})`,
];
/** How many positions a text has, and what is read before it: these may be set for a run. */
const lengths = ["Context", "Source"];
const given = (header: TransformersModel["header"], taken: (name: string) => boolean = () => true): string[] =>
  Object.entries(header).flatMap(([name, x]) => (!lengths.includes(name) && taken(name) ? [`${name}: ${x}`] : []));

/** Each kind of block that there is as a layer, and a model with a list of them. */
function listed(
  { family, header, kinds: all = {} }: TransformersModel,
  order: readonly string[],
  context: number,
): string[] {
  const kinds = Object.entries(all)
    .filter(([kind]) => order.includes(kind))
    .map(([kind, of]) => ({ kind, without: [], gives: {}, ...(typeof of === "string" ? { layer: of } : of) }));
  for (const { kind } of kinds)
    if (!/^[A-Za-z]\w*$/.test(kind))
      throw new Error(`blocks.kinds of ${family.type}: \`${kind}\` names a layer: letters, digits and _`);
  const { model } = family.blocks ?? {};
  const base = model ?? "LanguageModel";
  const imports = [
    ...(model === undefined ? [`import { ${base} } from "${fileOf()}"`] : []),
    `import { ${[...(model === undefined ? [] : [model]), ...new Set(kinds.map(({ layer }) => layer))].join(", ")} } from "${fileOf(family.file)}"`,
    "",
  ];
  const declared = load({ name: "model.moe", text: imports.join("\n") });
  const headerOf = (name: string): Set<string> =>
    new Set(findDeclaration(declared, name).ast.header.map((p) => p.name.name));
  const inModel = headerOf(base);
  const called = new Map<string, string>();
  const layers = kinds.flatMap(({ kind, layer, without, gives }) => {
    const takes = headerOf(layer);
    const own = takes.has("Context") ? "Context" : "";
    called.set(kind, `${kind}(${own})`);
    const values = [
      ...given({ ...header, ...gives }, (name) => takes.has(name) && !without.includes(name)),
      ...(own === "" ? [] : ["Context: Context"]),
    ];
    return [`layer ${kind}(${own}) = ${layer}(${values.join(", ")})`, ""];
  });
  return [
    ...imports,
    ...layers,
    `model ${declaration}(Context = ${context}) =`,
    `  ${base}(${given(header, (name) => inModel.has(name)).join(", ")}, blocks: [`,
    ...wrapped(runsOf(order).map(([kind, n]) => `${called.get(kind)}${n > 1 ? `[${n}]` : ""}`)),
    "  ])",
  ];
}
/** Of equal neighbours one, and how many there are. */
function runsOf(order: readonly string[]): [kind: string, n: number][] {
  const runs: [string, number][] = [];
  for (const kind of order) {
    const last = runs.at(-1);
    if (last?.[0] === kind) last[1]++;
    else runs.push([kind, 1]);
  }
  return runs;
}
const perLine = 8;
/** A few to each line. */
function wrapped(items: readonly string[]): string[] {
  const lines: string[] = [];
  for (let i = 0; i < items.length; i += perLine)
    lines.push(`    ${items.slice(i, i + perLine).join(", ")}${i + perLine < items.length ? "," : ""}`);
  return lines;
}
