// Host kernels whose texts differ only in numbers are compiled once: one function takes the numbers as parameters, and each kernel calls it. (The
// initialisers of a model's parameters, for example, differ only in shape.)
import { groupBy } from "../group-by.ts";
import type { PlanKernel } from "../plan/plan.ts";

export type Source = Pick<PlanKernel, "name" | "text">;
/** Kernels whose texts differ only in numbers. */
export type Family = readonly Source[];

/** Numbers that stay constants: template arguments, and divisors, which are faster as constants. */
const fixed = String.raw`\w+<[^<>;()]*>|[/%] \d[\w.]*`;
const literal = String.raw`(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?f?(?![\w.])`;
const literals = new RegExp(`${fixed}|(${literal})`, "g");

const signature = (name: string): string =>
  `extern "C" void ${name}(void* const* args, ix begin, ix end, f32* scratch)`;
/** Whether a kernel may share its code: not contractions, whose speed depends on constants, nor functions with another signature. */
const canShare = ({ name, text }: Source): boolean => text.includes(`${signature(name)} {`) && !/\bmma\b/.test(text);

function skeleton(kernel: Source): string {
  return kernel.text
    .replaceAll(kernel.name, "")
    .replace(literals, (all, number: string | undefined) => (number === undefined ? all : `#${typeOf(number)}`));
}
const numbersOf = (text: string): string[] =>
  [...text.matchAll(literals)].flatMap(([, number]) => (number === undefined ? [] : [number]));

/** A key that is the same for all kernels of a family. */
export const familyOf = (kernel: Source): string => (canShare(kernel) ? skeleton(kernel) : kernel.name);
/** The families of a list of kernels, in the order of their first members. */
export const families = (kernels: readonly Source[]): Family[] => [...groupBy(kernels, familyOf).values()];

/** The text of a family: its function with the differing numbers as parameters, and the kernels that call it. */
export function familyText(family: Family): string {
  const [first] = family;
  if (!first || family.length === 1) return first?.text ?? "";
  const numbers = family.map((kernel) => numbersOf(kernel.text));
  const differs = (numbers[0] ?? []).map((own, i) => numbers.some((list) => list[i] !== own));
  const body = `shared_${first.name}`;
  return [
    parameterized(first, body, differs),
    ...family.map(({ name }, k) => {
      const args = ["args", "begin", "end", "scratch", ...(numbers[k] ?? []).filter((_, i) => differs[i])];
      return `${signature(name)} { ${body}(${args.join(", ")}); }\n`;
    }),
  ].join("");
}
function parameterized({ name, text }: Source, body: string, differs: readonly boolean[]): string {
  const params: string[] = [];
  let at = 0;
  const replaced = text.replace(literals, (all, number: string | undefined) => {
    if (number === undefined || !differs[at++]) return all;
    params.push(`const ${typeOf(number)} shared${params.length}`);
    return `shared${params.length - 1}`;
  });
  const list = ["void* const* args", "ix begin", "ix end", "f32* scratch", ...params].join(", ");
  return replaced.replace(signature(name), `NOINLINE void ${body}(${list})`);
}
/** The C++ type of a literal. */
function typeOf(number: string): string {
  if (/[.ef]/.test(number)) return "f32";
  return Number(number) < 2 ** 31 ? "i32" : "ix";
}
