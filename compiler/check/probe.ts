// While checking, evaluates the body of a routed layer once more in routed mode, to report what is not allowed there (E0403): it sees one row, not
// the batch.
import type { Span } from "../syntax/ast.ts";
import { type } from "../types/type.ts";
import { Failure } from "./errors.ts";
import { type Callable, type Frame } from "./values.ts";
import type { CallArgument, World } from "./world.ts";

export function checkRoutedBody(w: World, fn: Callable, rows: readonly CallArgument[], from: Frame, at: Span): void {
  if (from.lane) return;
  const before = w.diagnostics.splice(0);
  const depth = w.stack.length;
  try {
    w.call(fn, rows, { ...from, lane: { kind: "routed", base: w.placeholder(type("i32", [])), bind: new Map() } }, at);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (error.diagnostic) w.diagnostics.push(error.diagnostic);
  }
  w.stack.length = depth;
  const found = w.diagnostics.splice(0).filter((d) => d.code === "E0403");
  w.diagnostics.push(...before, ...found);
}
