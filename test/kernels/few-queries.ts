// Attention of few queries: heads that share keys, masks, and pasts that are cut into pieces. For the host and for the emulator.
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Graph, NdArray, Value } from "../../compiler/graph/node.ts";
import type { Clause } from "../../compiler/ops/attrs.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import type { Sequence } from "../../compiler/plan/sequence.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { ndarray, storesOf } from "../graphs.ts";
import { graphOf, valuesOf } from "../host/compare.ts";
import { firstAndNear } from "../masks.ts";

export interface Few {
  readonly shape: Readonly<Record<"B" | "G" | "R" | "T" | "U" | "A" | "C", number>>;
  /** Where the first query of each sequence stands. */
  readonly at: readonly number[];
  readonly bounds?: readonly Clause[];
  readonly more?: "bias" | "sink";
  readonly cap?: number;
  /** Values are the first elements of the keys, as in latent attention. */
  readonly latent?: true;
}
const causal: readonly Clause[] = [{ at: 1, seen: -1, plus: 0, pair: 0 }];
export const near = (width: number): readonly Clause[] => [...causal, { at: -1, seen: 1, plus: width - 1, pair: 0 }];
const keysFrom = (first: number): readonly Clause[] => [...causal, { at: 0, seen: 1, plus: -first, pair: 0 }];
export const cases: readonly Few[] = [
  { shape: { B: 1, G: 2, R: 3, T: 1, U: 1, A: 5, C: 6 }, at: [0] },
  { shape: { B: 4, G: 2, R: 7, T: 1, U: 150, A: 20, C: 24 }, at: [0, 149, -1, 67] },
  { shape: { B: 2, G: 1, R: 13, T: 3, U: 97, A: 19, C: 23 }, at: [5, 90], bounds: near(11) },
  { shape: { B: 1, G: 3, R: 4, T: 8, U: 83, A: 16, C: 16 }, at: [70], bounds: firstAndNear(0), more: "sink" },
  { shape: { B: 2, G: 1, R: 5, T: 2, U: 70, A: 8, C: 33 }, at: [3, 64], more: "bias" },
  { shape: { B: 1, G: 1, R: 53, T: 1, U: 131, A: 36, C: 32 }, at: [130], cap: 0.9, latent: true },
  { shape: { B: 1, G: 2, R: 16, T: 1, U: 1613, A: 36, C: 32 }, at: [1499], latent: true },
  {
    shape: { B: 3, G: 1, R: 6, T: 2, U: 1100, A: 32, C: 48 },
    at: [40, -2, 1001],
    bounds: firstAndNear(0),
    more: "sink",
  },
  { shape: { B: 1, G: 1, R: 2, T: 1, U: 2053, A: 7, C: 5 }, at: [0], bounds: [], cap: 3 },
  { shape: { B: 1, G: 3, R: 1, T: 1, U: 1024, A: 64, C: 64 }, at: [1023], bounds: near(600) },
  { shape: { B: 1, G: 1, R: 2, T: 3, U: 64, A: 5, C: 6 }, at: [61], bounds: keysFrom(80) },
];
export function attended(c: Few, dtype: DType): Graph {
  const g = new GraphBuilder(ops);
  const { B, G, R, T, U, A, C } = c.shape;
  const p = (name: string, dtype: DType, ...shape: number[]): Value => b.param(g, name, { dtype, shape });
  const k = p("k", dtype, B, G, U, A);
  const v = c.latent ? b.slice(g, k, 3, 0, C) : p("v", dtype, B, G, U, C);
  const given = { bias: [B, G, R, T, U], sink: [B, G, R] };
  const args = [p("q", dtype, B, G, R, T, A), k, v, p("at", "i32", B, T), b.broadcastTo(g, b.iota(g, U), [B, U])];
  const more = c.more ? [p(c.more, "f32", ...given[c.more])] : [];
  const attrs = { scale: 0.3, bounds: c.bounds ?? causal, ...(c.cap ? { cap: c.cap } : {}) };
  return graphOf(b.make(g, "attention", [...args, ...more], attrs).results);
}
export function storesFor({ shape: { B, T }, at }: Few, graph: Graph): ReadonlyMap<string, NdArray> {
  const places = at.flatMap((first) => Array.from({ length: T }, (_, t) => first + t));
  return new Map([...storesOf(valuesOf(graph)), ["at", ndarray("i32", [B, T], places)]]);
}
/** The kind and the tasks of each launch. */
export const tasksOf = ({ launches }: Sequence): string =>
  launches.map((l) => `${/^[a-z_]+(?=_)/.exec(l.kernel.name)?.[0]} ${l.tasks}`).join(", ");
