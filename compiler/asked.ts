// How a message says what to give: the flag of a command, and the option that is the same in TypeScript.

const asked = (flag: string, option: string): string => `\`${flag}\` (in TypeScript \`${option}\`)`;
export const askedSize = (name: string, value: number | "VALUE" = "VALUE"): string =>
  asked(`--set ${name}=${value}`, `sizes: { ${name}: ${value} }`);
export const askedTarget = (target: string): string => asked(`--target ${target}`, `target: "${target}"`);
export const askedInput = (name: string): string =>
  `\`--input FILE.json\` with { "${name}": ... } in it (in TypeScript \`run({ ${name}: ... })\`)`;
export const askedDeclaration = asked("--entry NAME", 'declaration: "NAME"');
export const askedModel = asked("--model NAME", 'model: "NAME"');
