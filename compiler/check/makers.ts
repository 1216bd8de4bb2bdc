// Conversions to layers yet to be made (`Makeable`) and arrays of them (`Makers`).
import type { Span } from "../syntax/ast.ts";
import { add, equal, mul, type Size, show } from "../types/size.ts";
import { absorb, fail } from "./errors.ts";
import { type ArrowParam, kindText, type Makeable, type Makers, type Val } from "./values.ts";
import type { World } from "./world.ts";

/**
 * A value as something that can become a member: a layer with its header filled in, a function, or a layer known by its arrow only. `arrow`: the
 * arrow type that it is passed for now.
 */
export function toMakeable(v: Val, arrow: ArrowParam | null, at: Span): Makeable {
  const arrows = arrow ? [arrow] : [];
  switch (v.kind) {
    case "maker":
      return { of: v.make.of, arrows: [...arrows, ...v.make.arrows] };
    case "fn":
      return { of: { kind: "fn", fn: v.fn }, arrows };
    case "error":
      return absorb();
    case "declaration":
      return fail("E0307", `\`${v.decl.ast.name.name}\` needs its header here`, at, {
        help: `write \`${v.decl.ast.name.name}(${v.decl.ast.header.flatMap((p) => (p.default ? [] : [p.name.name])).join(", ")})\``,
      });
    case "layer":
      return fail("E0307", "a layer that is made already cannot be passed", at, {
        help: "a header makes its own: pass the layer yet to be made, as in `Linear(D, H)`; functions and methods take one that is made",
      });
    default:
      return fail("E0307", `a layer or function is needed here, not ${kindText[v.kind]}`, at, {
        help: "give a layer with its header, as in `Linear(D, H)`",
      });
  }
}
/** A value as an array of layers; a single layer is an array of one. */
export function toMakers(w: World, v: Val, arrow: ArrowParam | null, at: Span): Makers {
  const makers = v.kind === "makers" ? v.makers : { times: 1, items: [toMakeable(v, null, at)] };
  if (!arrow) return makers;
  const wanted = arrow.arrow.array ? lengthWanted(w, arrow) : null;
  if (wanted !== null && !equal(wanted, lengthOf(makers)))
    fail("E0409", `\`${arrow.name}\` takes ${show(wanted)} layers, not ${show(lengthOf(makers))}`, at, {
      also: [{ span: arrow.arrow.span, text: "declared here" }],
      help: "give as many as the type says: `Block(D)[L]`",
    });
  return throughArrow(makers, arrow);
}
function lengthWanted(w: World, { arrow, scope }: ArrowParam): Size | null {
  const v = arrow.array ? w.evaluate(arrow.array, scope) : null;
  return v?.kind === "number" ? v.value : null;
}
const throughArrow = (m: Makers, arrow: ArrowParam): Makers => ({
  times: m.times,
  items: m.items.map((item) =>
    "items" in item ? throughArrow(item, arrow) : { of: item.of, arrows: [arrow, ...item.arrows] },
  ),
});
export const lengthOf = (m: Makers): Size =>
  mul(m.times, m.items.map((item) => ("items" in item ? lengthOf(item) : 1)).reduce<Size>(add, 0));
export const distinct = (m: Makers): Makeable[] => [
  ...new Set(m.items.flatMap((item) => ("items" in item ? distinct(item) : [item]))),
];
