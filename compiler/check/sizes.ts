// Converts lists of sizes.
import type { Span } from "../syntax/ast.ts";
import type { Size } from "../types/size.ts";
import { absorb } from "./errors.ts";
import { toSize } from "./numbers.ts";
import type { Val } from "./values.ts";
import type { World } from "./world.ts";

/** A list of sizes, flattened: a spread `...S` in it is a nested list. */
export function shapeOf(w: World, v: Val, at: Span): Size[] {
  if (v.kind === "list") return v.items.flatMap((item, i) => shapeOf(w, item, v.spans?.[i] ?? at));
  return v.kind === "error" ? absorb() : [toSize(w, v, at)];
}
