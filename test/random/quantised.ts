// Random graphs whose matrices are kept in 8 or 4 bits, against the same graphs on the numbers that codes stand for.
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { Graph, NdArray, Store } from "../../compiler/graph/node.ts";
import { verifyGraph } from "../../compiler/graph/verify.ts";
import { valuesOf } from "../../compiler/graph/walk.ts";
import { item } from "../../compiler/item.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { quantise } from "../../compiler/transform/quantise.ts";
import type { Weights } from "../../compiler/types/dtype.ts";
import { dims, dtypeOf } from "../../compiler/types/type.ts";
import { filled } from "../graphs.ts";
import { expected, type Stores } from "./compare.ts";
import { same, storeFor } from "./graphs-on-host.ts";

/** Returns how many stores became codes. */
export function checkQuantised(graph: Graph, stores: Stores, weights: Weights): number {
  const g = new GraphBuilder(ops);
  const whole = [...stores].map(([name, x]) => storeFor(name, x));
  const made = quantise(g, { stores: whole, graphs: [{ name: "init", results: [] }, graph] }, weights);
  const [coded, plain] = [new Map(stores), new Map(stores)];
  const kept = made.stores.filter((s) => s.quantised);
  for (const { name, type, quantised: by } of made.stores) {
    if (by || !stores.has(name)) coded.set(name, filled(name, dtypeOf(type), dims(type))); // codes or scales
  }
  for (const s of kept) plain.set(s.name, meantBy(g, s, made.stores, coded));
  const after = item(made.graphs, 1);
  verifyGraph(after, "quantised");
  same(
    expected(valuesOf(graph), plain, { exact: true }),
    interpret(valuesOf(after), coded, { exact: true }).map((a) => a.data),
  );
  return kept.length;
}
/** The numbers that the codes of a store stand for. */
export function meantBy(
  g: GraphBuilder,
  { name, type, quantised: by }: Store,
  all: readonly Store[],
  coded: Stores,
): NdArray {
  const scales = all.find((s) => s.name === by?.scales);
  if (!by || !scales) throw new Error(`${name} has no scales`);
  const [codes, each] = [b.param(g, name, type), b.param(g, scales.name, scales.type)];
  const meant =
    by.code === "fp4"
      ? b.fromFp4(g, codes, each)
      : b.mul(g, b.cast(g, codes, "f32"), b.broadcastTo(g, each, dims(type)));
  return { ...item(interpret([meant], coded, { exact: true }), 0), dtype: by.dtype };
}
