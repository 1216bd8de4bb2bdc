// Stores, buffers and plans of small sequences.
import { planMemory } from "../../compiler/plan/memory.ts";
import type { Plan } from "../../compiler/plan/plan.ts";
import type { Assign, Sequence, VirtualBuffer, VirtualLaunch } from "../../compiler/plan/sequence.ts";
import { buffer, ofStore, storeOf } from "../sequences.ts";

export const options = { target: "host", header: "" };
export const output = (name: string, of: VirtualBuffer) => ({ role: "output" as const, name, buffer: of });
export const [p, g] = [ofStore(buffer("p", [32])), ofStore(buffer("g", [32]))];
export const [next, other, late] = [buffer("next", [32]), buffer("other", [32]), buffer("late", [32])];
export const stores = [storeOf(p), storeOf(g, "input")];
export const planOf = (
  launches: readonly VirtualLaunch[],
  assigns: readonly Assign[],
  results: Sequence["results"] = [],
): Plan => planMemory([{ entry: "main", launches, assigns, results }], stores, options);
export const offset = (plan: Plan, name: string): number => plan.buffers.find((b) => b.name === name)?.offset ?? -1;
