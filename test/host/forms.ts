// Choices, compiler flags and CPU features for testing products by AMX tiles and by pairs of bf16.
import { fileURLToPath } from "node:url";
import { type Choices, hostChoicesOf, termsOf } from "../../compiler/kernel/schedule.ts";
import { hasFeature } from "./machine.ts";

/** Whether the CPU has AMX for bf16. */
export const hasTiles = hasFeature("amx_tile") && hasFeature("amx_bf16");
export const machineFlags = [
  "-mamx-tile",
  "-mamx-bf16",
  "-mavx512f",
  "-mavx512bw",
  "-mavx512dq",
  "-mavx512vl",
  "-mfma",
];
/** Flags for kernels with AMX; on a CPU without it, an emulation is included, which uses the vectors that prepare the operands. */
export const tileFlags = [
  ...machineFlags,
  ...(hasTiles ? [] : ["-include", fileURLToPath(new URL("tiles.hpp", import.meta.url))]),
];
export const hasTileVectors = hasFeature("avx512dq") && hasFeature("avx512bw");
/** Splits every f32 product into terms of bf16, even those so small that it does not pay. */
export const splitAll: Choices = { ...hostChoicesOf(64, "tiles"), form: termsOf };
/** The same, in blocks of a few tiles and with the depth in pieces. */
export const splitAndCut: Choices = {
  ...splitAll,
  contraction: (c) => ({ ...splitAll.contraction(c), bm: 32, bn: 128, bk: 64, mc: 64 }),
};
/** Whether the CPU has dot products of pairs of bf16. */
export const hasBf16Dot = hasFeature("avx512_bf16");
export const wordFlags = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16", "-mfma"];
export const inWords: Choices = hostChoicesOf(64, "words");
/** Blocks of a few rows, and the depth in pieces whose odd length is rounded up. */
export const wordsCut: Choices = {
  ...inWords,
  contraction: (c) => ({ ...inWords.contraction(c), bm: 12, bn: 64, bk: 33, mc: 24 }),
};
