// Products that are not of f32 one by one, and whether this CPU has what they take.
import { fileURLToPath } from "node:url";
import type { Form } from "../../compiler/kernel/ir.ts";
import { type Choices, type Contraction, hostChoicesOf } from "../../compiler/kernel/schedule.ts";
import { has } from "./machine.ts";

/** Units that multiply tiles of bf16. */
export const tiles = has("amx_tile") && has("amx_bf16");
export const machineFlags = [
  "-mamx-tile",
  "-mamx-bf16",
  "-mavx512f",
  "-mavx512bw",
  "-mavx512dq",
  "-mavx512vl",
  "-mfma",
];
/** Where there are no such units, they are emulated, on the vectors that make their terms. */
export const tileFlags = [
  ...machineFlags,
  ...(tiles ? [] : ["-include", fileURLToPath(new URL("tiles.hpp", import.meta.url))]),
];
export const vectors = has("avx512dq") && has("avx512bw");
/** Also products so small that it does not pay. */
export const allSplit = ({ short }: Pick<Contraction, "short">): Form => (short ? "term" : "terms");
export const splitAll: Choices = { ...hostChoicesOf(64, "tiles"), form: allSplit };
/** The same in blocks of a few tiles, and by pieces of the depth. */
export const splitAndCut: Choices = {
  ...splitAll,
  contraction: (c) => ({ ...splitAll.contraction(c), bm: 32, bn: 128, bk: 64, mc: 64 }),
};
/** Two products of bf16 are added at a time. */
export const adds = has("avx512_bf16");
export const wordFlags = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16", "-mfma"];
export const inWords: Choices = hostChoicesOf(64, "words");
/** In blocks of a few rows, and by pieces of the depth, which are made even. */
export const wordsCut: Choices = {
  ...inWords,
  contraction: (c) => ({ ...inWords.contraction(c), bm: 12, bn: 64, bk: 33, mc: 24 }),
};
