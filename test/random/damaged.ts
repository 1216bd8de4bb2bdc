// Runs the checker on programs with random damage, and elaborates those that are still valid. The checker must be fast, must not throw, and must
// place its diagnostics.
import { readdirSync, readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import {
  check,
  type EntrySignature,
  elaborate,
  entrySignature,
  type Loaded,
  load,
  methodsOf,
} from "../../compiler/check/index.ts";
import { type Label, Problem } from "../../compiler/diagnostic.ts";
import { verifyGraph } from "../../compiler/graph/verify.ts";
import { ProgramError } from "../../compiler/program-error.ts";
import { render } from "../../compiler/render.ts";
import { withCpuTime } from "../cpu-time.ts";
import { fencedBlocks } from "../fenced-blocks.ts";
import { mutants, mutations, semanticMutations } from "../language/mutate.ts";
import { Draw } from "./random-graph.ts";

const folder = new URL("../../stdlib/", import.meta.url);
const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".moe"));
const texts = files.map((file) => readFileSync(new URL(file, folder), "utf8")).filter((text) => text.length < 15_000); // longer ones take longer, and have nothing else
const examples = fencedBlocks("grammar/GRAMMAR.md", "moe");
/** Programs to damage. The large ones import most of the library and take longest, so the examples are listed twice. */
export const whole: readonly { readonly text: string }[] = [...texts, ...examples, ...examples].map((text) => ({
  text,
}));
/** A number for each size that an entry has; default: a small one. */
export type SizeOf = (name: string) => number;
const small: Readonly<Record<string, number>> = { D: 8, H: 8, Heads: 2, Groups: 2, L: 2, B: 2, T: 3 };
const smallOf: SizeOf = (name) => small[name] ?? 4;

/** Checks a text, but not its imports, which are valid. Null if it has errors, which must have valid positions and help. */
export function checked(text: string): Loaded | null {
  const loaded = load({ name: "mutant.moe", text });
  const diagnostics = check({ ...loaded, modules: [loaded.main] });
  const drawn = render(diagnostics, { color: false, width: 100 });
  assert.not.match(drawn, /NaN|undefined|\[object/, drawn);
  for (const { labels, help } of diagnostics)
    assert.ok(labels.every(isPlaced) && help !== "", `no place, or no help: ${drawn}`);
  return diagnostics.length === 0 ? loaded : null;
}
const isPlaced = ({ span: { source, start, end } }: Label): boolean =>
  start >= 0 && start <= end && end <= source.text.length;
/** Runs a function, which must take less than 2 s; an error gets the text of the program. */
export function soon<T>(text: string, run: () => T): T {
  try {
    const { result, seconds } = withCpuTime(run);
    assert.ok(seconds < 2, `${seconds} s`);
    return result;
  } catch (error) {
    throw new Error(`${String(error)}\nof:\n${text}`, { cause: error });
  }
}
/** Checks `count` programs with all kinds of damage. Some that are still valid are elaborated, with sizes that may be odd. */
export function checkDamaged(seed: string, count: number): void {
  const draw = new Draw(seed);
  const sizeOf: SizeOf = (name) => (draw.chance(0.9) ? smallOf(name) : draw.of(odd));
  for (const list of [mutations, semanticMutations, [...mutations, ...semanticMutations]])
    for (const text of mutants(whole, Math.ceil(count / 3), list, draw.below(2 ** 31))) {
      const loaded = soon(text, () => checked(text));
      if (loaded && draw.chance(0.25)) elaborated(text, loaded, sizeOf);
    }
}
/** Odd sizes; none that makes thousands of layers, which would take long. */
const odd = [0, 1, 2, 3, 5, 7, 16, 33, 1e5, 2 ** 31, 1e9, 2 ** 53, -1, 0.5, Number.NaN, Infinity];
/** Elaborates all entries; counts those that gave graphs, and those whose sizes were refused. */
export function elaborated(
  text: string,
  loaded: Loaded,
  sizeOf: SizeOf = smallOf,
): { graphs: number; refused: number } {
  const outcomes = { graphs: 0, refused: 0 };
  for (const [declaration, method] of entriesOf(loaded)) {
    const made = soon(`// ${declaration}.${method}\n${text}`, () => gives(loaded, declaration, method, sizeOf));
    outcomes[made ? "graphs" : "refused"] += 1;
  }
  return outcomes;
}
/** Values for all sizes and header arguments that an entry needs. */
function sizesOf({ header, arguments: args }: EntrySignature, sizeOf: SizeOf): Record<string, number | number[]> {
  const wanted = header.filter((h) => h.kind === "size" || (h.kind === "value" && h.default === null));
  const spreads = args.flatMap((a): [string, number[]][] => (a.spread === null ? [] : [[a.spread, [2, 3]]]));
  const axes = args.flatMap((a) => a.axes.filter((axis) => axis !== null));
  return Object.fromEntries([
    ...[...wanted.map((h) => h.name), ...axes].map((name): [string, number] => [name, sizeOf(name)]),
    ...spreads,
  ]);
}
/** All functions, and up to three methods of each layer. */
function entriesOf(loaded: Loaded): [declaration: string, method: string][] {
  return [...loaded.main.names].flatMap(([name, decl]): [string, string][] => {
    if (!decl || decl.module !== loaded.main || decl.ast.kind === "optimizer") return [];
    if (decl.ast.kind === "fn") return [[name, name]];
    const methods = methodsOf(decl).slice(0, 3);
    return methods.map((m): [string, string] => [name, m.ast.name.name]);
  });
}
/** Elaborates an entry and verifies its graphs. False if the sizes are refused by a proper error. */
function gives(loaded: Loaded, declaration: string, method: string, sizeOf: SizeOf): boolean {
  try {
    const sizes = sizesOf(entrySignature(loaded, declaration, method), sizeOf);
    const entries = [{ name: method, method, sizes: {} }];
    const made = elaborate(loaded, { declaration, sizes, precision: "f32", entries });
    for (const { graph } of made.entries) verifyGraph(graph, graph.name);
    verifyGraph(made.init(), "init");
    return true;
  } catch (error) {
    if (error instanceof ProgramError || error instanceof Problem) return false;
    throw error;
  }
}
