// Products of f32 on units that multiply tiles of bf16, where this CPU has any.
import { type Choices, hostChoicesOf } from "../../compiler/kernel/schedule.ts";
import { has } from "./machine.ts";

export const tiles = has("amx_tile") && has("amx_bf16");
/** Also products so small that it does not pay. */
export const splitAll: Choices = { ...hostChoicesOf(64, true), splits: () => true };
/** The same in blocks of a few tiles, and by pieces of the depth. */
export const splitAndCut: Choices = {
  ...splitAll,
  contraction: (c) => ({ ...splitAll.contraction(c), bm: 32, bn: 128, bk: 64, mc: 64 }),
};
