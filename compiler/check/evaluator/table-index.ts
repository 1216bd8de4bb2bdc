// Elaboration: an index that passes the end of what it indexes, where that cannot be meant. What is read there would be zeros, without a word.
import { lengthFlagText, sizeFlagText } from "../../flag-text.ts";
import type { Value } from "../../graph/node.ts";
import { storeOf, topological } from "../../graph/walk.ts";
import { indexRangeOf, isTable, reachOf } from "../../ops/index-range.ts";
import { pluralize } from "../../pluralize.ts";
import type { Span } from "../../syntax/ast.ts";
import { dims } from "../../types/type.ts";
import { fail, quoted } from "../errors.ts";
import { calledFrom } from "../numbers.ts";
import type { World } from "../world.ts";

/**
 * `take(x, index)` where x has `length` rows. An error: a choice (as of `top_k`) among more; and positions (`range`) past the end of a table, which is
 * made of parameters and numbers. In other tensors, positions past the end are how rows are shifted.
 */
export function requireWithin(w: World, x: Value, index: Value, axis: number, span: Span): void {
  const length = dims(x.type)[axis] ?? 0;
  const chosen = indexRangeOf(index);
  if (chosen && chosen.length > length)
    fail("E0216", `the index chooses among ${chosen.length}, and there ${are(length)}`, span, {
      label: among(length),
      also: chosen.node.span ? [{ span: chosen.node.span, text: `chooses among ${chosen.length}` }] : [],
      notes: [`what chooses ${length} or more would read zeros`, ...calledFrom(w)],
      help: `choose among as many as there are; if such a choice is to read zeros, say so: ${explicit(span, length)}`,
    });
  const last = reachOf(index)?.most ?? -1;
  if (last >= length && isTable(x, (store) => w.parameter(store) !== null)) failAtPosition(w, x, last, length, span);
}
function failAtPosition(w: World, x: Value, last: number, length: number, span: Span): never {
  const store = parameterOf(x);
  const name = store === null ? "what it indexes" : `\`${store}\``;
  const table = store === null ? null : w.parameter(store);
  const [size, ...others] = w.headerSizes(length);
  const longer = size !== undefined && others.length === 0 ? `, ${sizeFlagText(size, last + 1)}` : "";
  return fail("E0216", `the index goes up to ${last}, and ${name} has ${among(length)}`, span, {
    label: `up to ${last}`,
    also: table?.span ? [{ span: table.span, text: among(length) }] : [],
    notes: [`from row ${length} on zeros would be read`, ...calledFrom(w)],
    help: `make the table longer${longer}, or what indexes it shorter (rows of text by ${lengthFlagText}); if zeros are to follow the table, say so: ${explicit(span, length)}`,
  });
}
/** The parameter whose rows the table's are; null: it is made of several, or has another shape than its one. */
function parameterOf(table: Value): string | null {
  const [node, ...more] = topological([table]).filter((from) => storeOf(from) !== null);
  const isSame = node?.results.some(({ type }) => dims(type).join() === dims(table.type).join());
  return node && isSame && more.length === 0 ? storeOf(node) : null;
}
const among = (length: number): string => pluralize(length, "row");
const are = (length: number): string => `${length === 1 ? "is" : "are"} ${among(length)}`;
const explicit = (span: Span, length: number): string => {
  const index = quoted(span, "index");
  return `\`where(${index} < ${length}, ${index}, -1)\``;
};
