import type { Evaluator } from "../world.ts";
import { call } from "./calls.ts";
import { evaluate } from "./evaluate.ts";
import { execute } from "./statements.ts";

/** Ties the mutually recursive parts of the evaluator together. */
export const evaluator: Evaluator = { evaluate, call, execute };
