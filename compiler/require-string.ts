import { Problem } from "./diagnostic.ts";
import { describeValue } from "./flag-text.ts";

/** Types alone keep no caller in JavaScript from passing something else. */
export function requireString(what: string, x: unknown, wanted: string): asserts x is string {
  if (typeof x !== "string") throw new Problem(`${what} is ${describeValue(x)}`, `give ${wanted}`);
}
