// What the rules for sums into places (`scatter` with mode `add`) share.
import type { Builder, Value } from "../../graph/node.ts";
import { item } from "../../item.ts";
import type { OpAttrs } from "../../ops/attrs.ts";
import { matchOp } from "../../rewrite/pattern.ts";
import type { Rule } from "../../rewrite/rule.ts";
import { dims } from "../../types/type.ts";

export interface ScatterAdd {
  readonly index: Value;
  readonly rows: Value;
  readonly attrs: OpAttrs["scatter"];
}
/** A rule that rewrites a `scatter` of mode `add` that `fits`; `right` returns null to leave it as it is. */
export const scatterAddRule = (
  name: string,
  fits: (s: ScatterAdd) => boolean,
  right: (g: Builder, s: ScatterAdd) => Value | null,
  samples: (g: Builder) => readonly Value[],
): Rule => ({
  name,
  root: "scatter",
  apply(v, g) {
    const node = matchOp(v, "scatter");
    if (node?.attrs.mode !== "add") return null;
    const found = { index: item(node.args, 0), rows: item(node.args, 1), attrs: node.attrs };
    return fits(found) ? right(g, found) : null;
  },
  examples: samples,
});
/** The shape of the picks: the index's axes after the batch axes. */
export const pickShape = ({ index, attrs }: ScatterAdd): number[] => dims(index.type).slice(attrs.batch);
/** Whether the scattered axis comes directly after the batch axes. */
export const isAxisAfterBatch = ({ attrs }: ScatterAdd): boolean => attrs.axis === attrs.batch;
