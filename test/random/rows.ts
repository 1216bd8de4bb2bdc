// Random graphs over many rows: pointwise ops, folds of each row, and both of other rows or of transposes.
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import type { Graph, Value } from "../../compiler/graph/node.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { graphOf } from "../host/compare.ts";
import { Draw } from "./random-graph.ts";

/** Values of shape [n, n, columns]. */
class Rows {
  readonly g = new GraphBuilder(ops);
  readonly draw: Draw;
  readonly made: Value[];
  readonly outer: readonly number[];
  constructor(seed: string) {
    this.draw = new Draw(seed);
    const [n, columns] = [this.draw.of([16, 17]), this.draw.of([1, 16, 31, 64])];
    this.outer = [n, n];
    const store = (name: string, shape: readonly number[]): Value => b.param(this.g, name, { dtype: "f32", shape });
    const turned = b.transpose(this.g, store("turned", [columns, n, n]), [1, 2, 0]);
    this.made = [store("x", [n, n, columns]), store("y", [n, n, columns]), turned];
  }
  any = (): Value => this.draw.of(this.made);
  /** Expands a fold of each row, or of the transposed rows, to the row's elements. */
  ofRow = (fold: Value): Value => b.expand(this.g, this.draw.chance(0.3) ? b.transpose(this.g, fold, [1, 0]) : fold, 2);
  folded = (x: Value): Value => this.ofRow(this.draw.of([b.sum, b.max, b.max, b.min])(this.g, x, [2]));
  powers = (x: Value): Value => b.exp(this.g, b.tanh(this.g, x));
}
const steps: readonly ((r: Rows) => Value)[] = [
  (r) => b.tanh(r.g, r.any()),
  (r) => b.mul(r.g, r.any(), r.any()),
  (r) => b.transpose(r.g, r.any(), [1, 0, 2]),
  (r) => b.sub(r.g, r.any(), b.tanh(r.g, r.folded(r.any()))),
  (r) => r.powers(b.sub(r.g, r.any(), b.tanh(r.g, r.folded(r.any())))),
  (r) => {
    const e = r.powers(r.any());
    return b.sub(r.g, e, r.folded(e));
  },
  (r) => {
    const x = r.any();
    const one = b.broadcastTo(r.g, b.constant(r.g, 1, "f32"), r.outer);
    return b.div(r.g, x, r.ofRow(b.add(r.g, one, b.sum(r.g, b.mul(r.g, x, x), [2]))));
  },
  (r) => b.softmax(r.g, r.any()),
  (r) => {
    const x = r.any();
    return b.sub(
      r.g,
      x,
      b.broadcastTo(r.g, b.slice(r.g, x, r.draw.below(2), r.draw.below(16), 1), x.type.shape as number[]),
    );
  },
];
export function randomRows(seed: string): Graph {
  const r = new Rows(seed);
  for (let i = 2 + r.draw.below(5); i > 0; i--) r.made.push(r.draw.of(steps)(r));
  return { ...graphOf(r.made.slice(-r.draw.of([1, 1, 2]))), name: seed };
}
