// Two sizes that a caller has exchanged, as in `MoE(D, E, K, ...)` for a header that begins with `D, K, E`: found by trying.
import type * as ast from "../syntax/ast.ts";
import { Failure, textOf } from "./errors.ts";
import type { CallArgument, World } from "./world.ts";

/** Binds the arguments of a header. If one is not what its arrow takes, but would be with two sizes exchanged, the error asks whether they are. */
export function bindOrExchange<T>(
  w: World,
  { name, header }: Pick<ast.Layer, "name" | "header">,
  given: readonly CallArgument[],
  bind: (given: readonly CallArgument[]) => T,
): T {
  try {
    return bind(given);
  } catch (error) {
    if (!w.checking || !(error instanceof Failure) || error.diagnostic?.code !== "E0401") throw error;
    const pair = sizePairs(given).find(([a, b]) => w.trial(() => bind(exchanged(given, a, b))).ended);
    if (!pair) throw error;
    const [a, b] = pair.map((g) => textOf(g.span));
    const wanted = `${name.name}(${header.map((p) => p.name.name).join(", ")})`;
    throw new Failure({
      ...error.diagnostic,
      help: `are ${a} and ${b} exchanged in \`${name.name}(...)\`? It is declared as \`${wanted}\``,
    });
  }
}
function sizePairs(given: readonly CallArgument[]): [CallArgument, CallArgument][] {
  const sizes = given.filter((g) => g.value.kind === "number");
  return sizes.flatMap((a, i) => sizes.slice(i + 1).map((b): [CallArgument, CallArgument] => [a, b]));
}
const exchanged = (given: readonly CallArgument[], a: CallArgument, b: CallArgument): CallArgument[] =>
  given.map((g) => (g === a ? { ...g, value: b.value } : g === b ? { ...g, value: a.value } : g));
