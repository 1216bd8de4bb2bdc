// Products of f32 on units that multiply tiles of bf16, where this CPU has any.
import { type Choices, hostChoicesOf } from "../../compiler/kernel/schedule.ts";
import { has } from "./machine.ts";

export const tiles = has("amx_tile") && has("amx_bf16");
/** Also products so small that it does not pay. */
export const splitAll: Choices = { ...hostChoicesOf(64, true), splits: () => true };
