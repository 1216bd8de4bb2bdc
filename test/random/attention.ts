// Random attention with its gradients, under every kind of mask, with sizes around those of the blocks of queries and keys, and of the widths of heads, at
// which schedules change. The same seed gives the same attention.
import { valuesOf } from "../../compiler/graph/walk.ts";
import { storesOf } from "../graphs.ts";
import { type Masked, masked, masks } from "../masks.ts";
import type { Given } from "./graphs-on-host.ts";
import { Draw } from "./random-graph.ts";

const lengths = [1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 96, 127, 128, 129] as const;
/** From 512 on the keys of few queries are cut into pieces. */
const pasts = [...lengths, 511, 512, 513, 1025] as const;
const widths = [1, 3, 8, 15, 16, 17, 24, 32, 33, 63, 64, 65, 80, 127, 128] as const;
/** The widest that CUDA has gradients of, in bf16. */
const wide = [129, 192, 256] as const;
/** The largest T * U * (A + C) of all heads, beside heads of their own: the interpreter then takes a few seconds. */
const most = 1e6;

export interface DrawnAttention extends Given {
  readonly note: string;
}
export function randomAttention(seed: string): DrawnAttention {
  const draw = new Draw(`${seed}, its attention`);
  const mask = draw.of(Object.keys(masks));
  const of: Masked = {
    ...shapeOf(draw),
    scale: draw.of([0.4, 0.25, -0.3]),
    sunk: draw.chance(0.3),
    cap: draw.chance(0.2) ? 0.9 : undefined,
  };
  const [, graph] = masked(mask, of);
  return { graph, stores: storesOf(valuesOf(graph)), note: `${mask} ${JSON.stringify(of)}` };
}
function shapeOf(draw: Draw): Pick<Masked, "shape" | "dtype"> {
  const dtype = draw.of(["f32", "bf16"] as const);
  const T = draw.of(lengths);
  const U = draw.of(T <= 33 ? pasts : lengths);
  const width = (): number => draw.of(dtype === "bf16" ? [...widths, ...wide] : widths);
  const [A, C] = [width(), draw.chance(0.5) ? width() : 0];
  const heads = Math.max(1, Math.floor(most / (T * U * (A + (C || A)))));
  const [B, G, R] = [draw.of([1, 1, 2]), draw.of([1, 2]), draw.of([1, 2, 3, 7])];
  return {
    dtype,
    shape: {
      B: Math.min(B, heads),
      G: Math.min(G, Math.ceil(heads / B)),
      R: Math.min(R, Math.ceil(heads / B / G)),
      T,
      U,
      A,
      C: C || A,
    },
  };
}
