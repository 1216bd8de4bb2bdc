// Finds the sizes of an entry from the shapes of what it is given.
import { Problem } from "../compiler/diagnostic.ts";
import type { Expr, HeaderParam, TypeExpr } from "../compiler/syntax/ast.ts";
import type { Sizes } from "./compile.ts";
import type { EntryPoint } from "./program.ts";
import { showShape } from "./tensor.ts";

/** Sizes of the header, and those that only the entry's types name. */
export interface FoundSizes {
  readonly header: Sizes;
  readonly own: Sizes;
}
interface Found {
  readonly value: number | boolean | readonly number[];
  readonly from: string;
}

/** `set`: given by hand. `shapes`: of the inputs, by name. A size that nothing tells is a Problem. */
export function findSizes(entry: EntryPoint, set: Sizes, shapes: ReadonlyMap<string, readonly number[]>): FoundSizes {
  const found = new Map<string, Found>(Object.entries(set).map(([name, value]) => [name, { value, from: "--set" }]));
  for (const { name, type } of entry.inputs) {
    const shape = shapes.get(name.name);
    if (shape && type?.kind === "tensor") match(name.name, type, shape, found);
  }
  const inHeader = new Map(entry.header.map((p) => [p.name.name, p]));
  const wanted = new Set(entry.inputs.flatMap(({ type }) => (type?.kind === "tensor" ? namesOf(type) : [])));
  requireKnown(
    entry,
    [...wanted].filter((name) => !inHeader.has(name)),
    found,
  );
  requireKnown(
    entry,
    entry.header.filter(isOpen).map((p) => p.name.name),
    found,
  );
  for (const name of found.keys()) {
    if (!inHeader.has(name) && !wanted.has(name))
      throw new Problem(
        `\`${entry.declaration.name.name}\` has no size or value \`${name}\``,
        `It has ${[...inHeader.keys(), ...wanted].join(", ") || "none"}.`,
      );
  }
  const pick = (header: boolean): Sizes =>
    Object.fromEntries(
      [...found].filter(([name]) => inHeader.has(name) === header).map(([name, { value }]) => [name, value]),
    );
  return { header: pick(true), own: pick(false) };
}
const isOpen = (p: HeaderParam): boolean => p.default === null && p.type === null;

function requireKnown(entry: EntryPoint, names: readonly string[], found: ReadonlyMap<string, Found>): void {
  const missing = names.filter((name) => !found.has(name));
  if (missing.length === 0) return;
  const name = entry.declaration.kind === "fn" ? entry.method : `${entry.declaration.name.name}.${entry.method}`;
  throw new Problem(
    `${name} needs ${missing.map((m) => `\`${m}\``).join(", ")}`,
    `Give inputs whose shapes tell them with --input, or ${missing.map((m) => `--set ${m}=NUMBER`).join(" ")}.`,
  );
}
/** The names that stand alone as an axis or a spread: only these can be found from a shape. */
const namesOf = ({ spread, axes }: TypeExpr): string[] => [
  ...(spread ? [spread.name] : []),
  ...axes.flatMap((axis) => (axis.kind === "name" ? axis.name : [])),
];

function match(input: string, { spread, axes }: TypeExpr, shape: readonly number[], found: Map<string, Found>): void {
  const leading = shape.length - axes.length;
  if (leading < 0 || (leading > 0 && !spread))
    throw new Problem(
      `input \`${input}\` has shape ${showShape(shape)}, and its type has ${spread ? "at least " : ""}${axes.length} axes`,
      "Give a tensor with as many axes as the type.",
    );
  if (spread) bind(spread.name, shape.slice(0, leading), input, found);
  for (const [i, axis] of axes.entries()) matchAxis(input, axis, shape[leading + i] ?? 0, found);
}
function matchAxis(input: string, axis: Expr, size: number, found: Map<string, Found>): void {
  if (axis.kind === "name") bind(axis.name, size, input, found);
  else if (axis.kind === "number" && axis.value !== size)
    throw new Problem(
      `input \`${input}\` has ${size} where its type says ${axis.value}`,
      "Give a tensor of the type's shape.",
    );
}
function bind(name: string, value: number | readonly number[], input: string, found: Map<string, Found>): void {
  const before = found.get(name);
  const text = (x: Found["value"]): string => (typeof x === "object" ? showShape(x) : String(x));
  if (before && text(before.value) !== text(value))
    throw new Problem(
      `\`${name}\` is ${text(value)} by input \`${input}\` and ${text(before.value)} by ${before.from}`,
      "Make the two agree.",
    );
  found.set(name, { value, from: `input \`${input}\`` });
}
