// Wording for error messages that ask for a flag: the command line's flag, and the equivalent option of the TypeScript API.

const asked = (flag: string, option: string): string => `\`${flag}\` (in TypeScript \`${option}\`)`;
export const askedSize = (name: string, value: number | "VALUE" = "VALUE"): string =>
  asked(`--set ${name}=${value}`, `sizes: { ${name}: ${value} }`);
export const askedTarget = (target: string): string => asked(`--target ${target}`, `target: "${target}"`);
export const askedInput = (name: string): string =>
  `\`--input FILE.json\` with { "${name}": ... } in it (in TypeScript \`run({ ${name}: ... })\`)`;
export const askedDeclaration = asked("--entry NAME", 'declaration: "NAME"');
export const askedModel = asked("--model NAME", 'model: "NAME"');
export const askedTokens = asked("--tokens N", "tokens");
export const askedTopP = asked("--top-p P", "topP");
export const askedTopK = asked("--top-k N", "topK");
export const askedExpertParallel = asked("--expert-parallel", "expertParallel");
export const askedRoom = asked("--room", "room");
/** Describes any value for an error message. */
export function kindOf(x: unknown): string {
  if (x === null || x === undefined || typeof x === "boolean") return String(x);
  if (typeof x === "number") return Object.is(x, -0) ? "-0" : String(x);
  if (typeof x === "string") return JSON.stringify(x);
  return Array.isArray(x) ? "a list" : typeof x === "object" ? "an object" : `a ${typeof x}`;
}
