// 2,000 programs with random damage through the whole checker, and some of those that stay right on into numbers.
import { readdirSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  check,
  type EntrySignature,
  elaborate,
  entrySignature,
  type Loaded,
  layerBehind,
  load,
  methodsOf,
  type Resolve,
} from "../compiler/check/index.ts";
import { Problem, ProgramError } from "../compiler/diagnostic.ts";
import { verifyGraph } from "../compiler/graph/verify.ts";
import { render } from "../compiler/render.ts";
import { blocks } from "./blocks.ts";
import { timed } from "./clock.ts";
import { meanings, mutants } from "./syntax/mutate.ts";

const test = suite("fuzz");
const folder = new URL("programs/design/", import.meta.url);
const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".moe"));
const texts = new Map(files.map((file) => [file, readFileSync(new URL(file, folder), "utf8")]));
const resolve: Resolve = (path) => {
  const text = texts.get(`${path}.moe`);
  return text === undefined ? null : { name: path, text };
};
const examples = blocks("grammar/GRAMMAR.md", "moe");
/** Large programs bring most of the library with them, and so take the longest. */
const programs = [...texts.values(), ...examples, ...examples].map((text) => ({ text }));

/** Loads and checks the text itself; what it imports is right. */
function checked(text: string): Loaded | null {
  const loaded = load({ name: "mutant.moe", text }, resolve);
  const diagnostics = check({ ...loaded, modules: [loaded.main] });
  const drawn = render(diagnostics, { color: false, width: 100 });
  assert.not.match(drawn, /NaN|undefined|\[object/, drawn);
  return diagnostics.length === 0 ? loaded : null;
}
/** Runs, and says with which text it failed. */
function soon<T>(text: string, run: () => T): T {
  try {
    const { result, seconds } = timed(run);
    assert.ok(seconds < 2, `${seconds} s`);
    return result;
  } catch (error) {
    throw new Error(`${String(error)}\nof:\n${text}`, { cause: error });
  }
}

const small: Readonly<Record<string, number>> = { D: 8, H: 8, Heads: 2, Groups: 2, L: 2, B: 2, T: 3 };
/** All that an entry names, small. */
function sizesOf({ header, arguments: args }: EntrySignature): Record<string, number | number[]> {
  const wanted = header.filter((h) => h.kind === "size" || (h.kind === "value" && h.default === null));
  const spreads = args.flatMap((a): [string, number[]][] => (a.spread === null ? [] : [[a.spread, [2, 3]]]));
  const axes = args.flatMap((a) => a.axes.filter((axis) => axis !== null));
  return Object.fromEntries([
    ...[...wanted.map((h) => h.name), ...axes].map((name): [string, number] => [name, small[name] ?? 4]),
    ...spreads,
  ]);
}
/** Every function, and the first methods of every layer. */
function entriesOf(loaded: Loaded): [declaration: string, method: string][] {
  return [...loaded.main.names].flatMap(([name, decl]): [string, string][] => {
    if (!decl || decl.module !== loaded.main || decl.ast.kind === "optimizer") return [];
    if (decl.ast.kind === "fn") return [[name, name]];
    const layer = layerBehind(decl);
    return (layer ? methodsOf(layer.ast) : []).slice(0, 3).map((m): [string, string] => [name, m.name.name]);
  });
}
/** Whether it gives graphs; what is wrong with the numbers is said as it should be. */
function gives(loaded: Loaded, declaration: string, method: string): boolean {
  try {
    const sizes = sizesOf(entrySignature(loaded, declaration, method));
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

for (const [name, list, least, every] of [
  ["damage that the parser sees", undefined, 10, 1],
  ["damage that the checker sees", meanings, 100, 4],
] as const)
  test(`1,000 programs, ${name}: diagnostics or none, soon, and never a throw`, () => {
    let right = 0;
    const outcomes = { graphs: 0, refused: 0 };
    for (const text of mutants(programs, 1000, list)) {
      const loaded = soon(text, () => checked(text));
      if (!loaded || right++ % every !== 0) continue;
      for (const [declaration, method] of entriesOf(loaded)) {
        const made = soon(`// ${declaration}.${method}\n${text}`, () => gives(loaded, declaration, method));
        outcomes[made ? "graphs" : "refused"] += 1;
      }
    }
    assert.ok(right > least && right < 900, `${right} of 1,000 are right`);
    assert.ok(outcomes.graphs > least, `${outcomes.graphs} entries gave graphs, ${outcomes.refused} did not`);
  });
test.run();
