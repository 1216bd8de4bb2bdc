import { call } from "./calls.ts";
import { evaluate } from "./evaluate.ts";
import { execute } from "./statements.ts";
import type { Evaluator } from "./world.ts";

/** All parts together. */
export const evaluator: Evaluator = { evaluate, call, execute };
