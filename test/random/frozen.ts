// Random trainings of a part of a model, whose other matrices are kept in 8 or 4 bits: a step on codes against one on the numbers that they stand for.
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Elaborated } from "../../compiler/graph/node.ts";
import { valuesOf } from "../../compiler/graph/walk.ts";
import { item } from "../../compiler/item.ts";
import { ops } from "../../compiler/ops/list.ts";
import { type Observer, silentObserver } from "../../compiler/pass.ts";
import type { HostMode } from "./host-modes.ts";
import { started } from "./passes.ts";
import type { RandomProgram } from "./programs.ts";
import { meantBy } from "./quantised.ts";
import { Draw } from "./random-graph.ts";
import { differences, expectedOf, inputsOf, trainingOf } from "./training.ts";

/** The same program, of which some of the parameters are trained. */
export function partlyTrained(program: RandomProgram): RandomProgram {
  const draw = new Draw(`${program.seed}, what it trains`);
  const paths = trainingOf(program, "f32").stores.flatMap(({ name, role }) =>
    role === "parameter" ? pathOf(name) : [],
  );
  const all = [...new Set(paths)];
  const chosen = all.filter(() => draw.chance(0.25));
  const trained = (chosen.length > 0 ? chosen : [draw.of(all)]).join(", ");
  const text = program.text
    .replace(/^ +optimize \w+ with .*\n/m, "")
    .replace("optimize with", `optimize ${trained} with`);
  if (draw.chance(0.5)) return { ...program, text, weights: "int8" };
  const sizes = Object.entries(program.sizes).map(([name, n]) => [name, n > 3 && draw.chance(0.7) ? 32 : n] as const);
  return { ...program, text, weights: "fp4", sizes: Object.fromEntries(sizes) };
}
/** As a selector: without the numbers and stars of arrays. */
const pathOf = (store: string): string =>
  store
    .split(".")
    .filter((piece) => !/^[\d*]/.test(piece))
    .join(".");

/** Compares the graphs before and after the pass that keeps matrices as codes. Returns how many it keeps so. */
export function checkFrozen(
  program: RandomProgram,
  { precision, limits }: Pick<HostMode, "precision" | "limits">,
): number {
  const passes: [from: Elaborated, to: Elaborated][] = [];
  const onChange: Observer["onChange"] = (pass, from, to) => {
    if (pass === "quantise") passes.push([from as Elaborated, to as Elaborated]);
  };
  const training = trainingOf(program, precision, limits, { observer: { ...silentObserver(), onChange } });
  const [from, to] = item(passes, 0);
  const coded = started(training);
  const plain = new Map(coded);
  const kept = to.stores.filter((s) => s.quantised);
  for (const s of kept) plain.set(s.name, meantBy(new GraphBuilder(ops), s, to.stores, coded));
  to.graphs.slice(1).forEach((graph, i) => {
    const before = item(from.graphs, i + 1);
    const inputs = inputsOf(graph, training.stores, 1);
    const got = interpret(valuesOf(graph), new Map([...coded, ...inputs]), { exact: true }).map((x) => x.data);
    const off = differences(before, expectedOf(before, new Map([...plain, ...inputs]), { exact: true }), got);
    if (off !== "") throw new Error(`${graph.name} on codes: ${off}`);
  });
  return kept.length;
}
