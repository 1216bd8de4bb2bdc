// While checking, evaluates the body of a routed layer once more in routed mode, to report what is not allowed there (E0403): it sees one row, not
// the batch.
import type { Diagnostic } from "../../diagnostic.ts";
import { type } from "../../types/type.ts";
import { isLibrary } from "../library.ts";
import type { Callable } from "../values.ts";
import type { Call, World } from "../world.ts";

export function checkRoutedBody(w: World, fn: Callable, call: Call): void {
  const { from } = call;
  if (from.lane) return;
  const lane = { kind: "routed", base: w.placeholder(type("i32", [])), bind: new Map() } as const;
  const { errors } = w.trial(() => w.call(fn, { ...call, from: { ...from, lane } }));
  const found = errors.filter((d) => d.code === "E0403");
  const others = found.filter(inLibrary).slice(1); // all that a layer of the library may not do there has one cause: the call
  w.diagnostics.push(...found.filter((d) => !others.includes(d)));
}
const inLibrary = ({ labels: [at] }: Diagnostic): boolean => isLibrary(at.span.source);
