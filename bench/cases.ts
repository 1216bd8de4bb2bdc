// The cases that are measured: declarations of layers.moe with sizes, and the work of each in FLOPs or bytes.
import { fileURLToPath } from "node:url";
import type { Sizes } from "../compiler/pipeline.ts";
import type { Mix } from "../runtime/host/ceiling.ts";

export interface Case {
  readonly name: string;
  readonly shape: readonly number[];
  /** The program's file. Default: bench/layers.moe. */
  readonly program?: string;
  readonly declaration: string;
  readonly method: string;
  /** Sizes of the declaration's header (`headerSizes`) and of the method's signature (`entrySizes`). */
  readonly headerSizes: Sizes;
  readonly entrySizes: Sizes;
  /** The work of each measured pass: FLOPs, or bytes if `mix` is given, which names the memory streams of the ceiling to compare with. */
  readonly work: Readonly<Partial<Record<Pass, number>>>;
  readonly mix?: Mix;
  /** For a `train`: whether the forward pass counts as part of the step. Default: false. */
  readonly countsForward?: boolean;
}
/** forward: up to the results, including what is kept for the backward. step: forward and all gradients, or, of a `train`, the optimizer's update. */
export type Pass = "forward" | "step";

/** T rows of width D, K of E experts of inner width H. Counts the matmuls of experts and gate; the backward has two for each of the forward. */
export function moe(expert: "SwiGluMoE" | "GeluMoE", T: number, D: number, H: number, E: number, K: number): Case {
  const forward = 2 * T * D * E + 2 * T * K * D * H * (expert === "SwiGluMoE" ? 3 : 2);
  return {
    name: "moe",
    shape: [T, D, H, E, K],
    declaration: expert,
    method: "forward",
    headerSizes: { D, H, E, K },
    entrySizes: { T },
    work: { forward, step: 3 * forward },
  };
}
export function dense(M: number, D: number, N: number): Case {
  const forward = 2 * M * D * N;
  const entrySizes = { M, D, N };
  const work = { forward, step: 3 * forward };
  return { name: "dense", shape: [M, D, N], declaration: "dense", method: "dense", headerSizes: {}, entrySizes, work };
}
const softmax = (S: number, D: number): Case => ({
  name: "softmax",
  shape: [S, D],
  declaration: "rows",
  method: "rows",
  headerSizes: {},
  entrySizes: { S, D },
  work: { forward: 8 * S * D },
  mix: { reads: 1, writes: 1, updates: 0 },
});
export const norm = (kind: "Rms" | "Centred", S: number, D: number): Case => ({
  name: kind === "Rms" ? "rmsnorm" : "layernorm",
  shape: [S, D],
  declaration: kind,
  method: "forward",
  headerSizes: { D },
  entrySizes: { S },
  work: { forward: 8 * S * D },
  mix: { reads: 1, writes: 1, updates: 0 },
});
/** Eight accesses of 4 bytes an element: the gradient is read twice (clipping, update); parameter and two moments are read and written. */
export const adamw = (R: number, C: number): Case => ({
  name: "adamw",
  shape: [R, C],
  declaration: "Adam",
  method: "train",
  headerSizes: { R, C },
  entrySizes: {},
  work: { step: 8 * 4 * R * C },
  mix: { reads: 2, writes: 0, updates: 3 },
});
/** Causal: only scores whose key is seen count. The forward has two products for each score, the backward five. */
export function attention(B: number, Heads: number, T: number, A: number): Case {
  const product = B * Heads * T * (T + 1) * A;
  return {
    name: "attention",
    shape: [B, Heads, T, A],
    declaration: "attention",
    method: "attention",
    headerSizes: {},
    entrySizes: { B, Heads, T, A },
    work: { forward: 2 * product, step: 7 * product },
  };
}

/**
 * A training step of examples/gpt-moe.moe, counting its products: projections, causal attention, router, experts, head; the backward has two for
 * each.
 */
export function gpt(
  sizes: Readonly<Record<"V" | "D" | "H" | "L" | "Heads" | "E" | "K", number>>,
  B: number,
  T: number,
): Case {
  const { V, D, H, L, E, K } = sizes;
  const layer = 2 * (4 * D * D + (T + 1) * D + D * E + 3 * K * D * H);
  return {
    name: "gpt-moe",
    shape: [B, T, V, D, H, L, E, K],
    program: fileURLToPath(new URL("../examples/gpt-moe.moe", import.meta.url)),
    declaration: "GptMoE",
    method: "train",
    headerSizes: sizes,
    entrySizes: { B, T },
    work: { step: 3 * B * T * (L * layer + 2 * D * V) },
    countsForward: true,
  };
}
/** The cases on a GPU: first the dense product that the others are compared with; mixtures (T, d, n, E, K) as SonicMoE and FastMoE measure them. */
export const cudaCases: readonly Case[] = [
  dense(8192, 8192, 8192),
  moe("SwiGluMoE", 24576, 1536, 256, 128, 8),
  moe("SwiGluMoE", 32768, 4096, 512, 128, 8),
  moe("SwiGluMoE", 32768, 4096, 2048, 64, 4),
  moe("SwiGluMoE", 40960, 768, 256, 128, 8),
  attention(8, 16, 4096, 64),
  attention(8, 16, 4096, 128),
  gpt({ V: 50257, D: 768, H: 1024, L: 12, Heads: 12, E: 16, K: 2 }, 8, 1024),
];

export const groups: Readonly<Record<string, readonly Case[]>> = {
  moe: [
    moe("SwiGluMoE", 512, 2048, 1024, 64, 8),
    moe("SwiGluMoE", 1024, 512, 256, 16, 2),
    moe("SwiGluMoE", 8192, 768, 256, 128, 8),
    moe("GeluMoE", 4096, 1024, 4096, 64, 2),
  ],
  dense: [
    dense(1024, 1024, 1024),
    softmax(8192, 4096),
    norm("Rms", 8192, 4096),
    norm("Centred", 8192, 4096),
    adamw(4096, 4096),
  ],
  attention: [attention(2, 16, 1024, 64)],
};
