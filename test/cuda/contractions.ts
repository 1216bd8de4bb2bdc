// Contractions of bf16 that have wgmma variants, and a comparison of their results with the interpreter.
import { roundAll } from "../../compiler/graph/array.ts";
import { GraphBuilder } from "../../compiler/graph/builder.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import type { NdArray, Value } from "../../compiler/graph/node.ts";
import { hopperChoice } from "../../compiler/kernel/schedule-hopper.ts";
import * as b from "../../compiler/ops/build.ts";
import { ops } from "../../compiler/ops/list.ts";
import { type Backend, backends } from "../../compiler/targets.ts";
import { pairProducts } from "../../compiler/transform/products/pairs.ts";
import type { DType } from "../../compiler/types/dtype.ts";
import { dims } from "../../compiler/types/type.ts";
import { byVariants, loweredForCuda, type Outcome, type Run } from "../emulator/sequence.ts";
import { storesOf } from "../graphs.ts";
import { graphOf } from "../host/compare.ts";

type Param = (name: string, shape: readonly number[], dtype?: DType) => Value;
/**
 * `variants`: how many contractions have a variant. `piece`: the depth of the pieces that a product is cut into. `rows`: offsets of a routing, whose
 * last number is the number of rows of a ragged result that are defined.
 */
export interface Case {
  readonly name: string;
  readonly variants: number;
  readonly piece?: number;
  readonly make: (g: GraphBuilder, p: Param) => { readonly values: readonly Value[]; readonly rows?: Value };
}
const gated = (g: GraphBuilder, x: Value, y: Value): Value => b.mul(g, b.mul(g, x, b.sigmoid(g, x)), y);
/** Adds products up in one contraction with several pairs of operands. */
function sum(g: GraphBuilder, products: readonly Value[]): Value {
  const paired = pairProducts(g, graphOf([products.reduce((x, y) => b.add(g, x, y))]));
  return paired.results[0]?.value as Value;
}
/** Every other group is empty, and the last one ends where the rows do. */
function toOddGroups(g: GraphBuilder, p: Param, rows: number, groups: number): ReturnType<typeof b.route> {
  const half = b.minimum(g, b.maximum(g, p("index", [rows], "i32"), 0), groups / 2 - 1);
  return b.route(g, b.add(g, b.mul(g, half, 2), 1), groups);
}
export const cases: readonly Case[] = [
  {
    name: "dense, of awkward sizes",
    variants: 1,
    make: (g, p) => ({ values: [b.matmul(g, p("x", [130, 200]), p("w", [200, 264]))] }),
  },
  {
    name: "dense, 256 columns, a bias and an activation",
    variants: 1,
    make: (g, p) => ({
      values: [b.tanh(g, b.add(g, b.matmul(g, p("x", [3, 67, 320]), p("w", [320, 512])), p("bias", [512])))],
    }),
  },
  {
    name: "dense, both operands the other way around",
    variants: 1,
    make: (g, p) => ({ values: [b.dot(g, b.swap(g, p("x", [136, 136])), b.swap(g, p("w", [144, 136])))] }),
  },
  {
    name: "dense, 512 columns, whose halves come apart",
    variants: 1,
    make: (g, p) => ({ values: [b.matmul(g, p("x", [130, 328]), p("w", [328, 512]))] }),
  },
  {
    name: "dense, 256 columns, so deep that stages come whole",
    variants: 1,
    make: (g, p) => ({ values: [b.dot(g, p("x", [130, 2056]), b.swap(g, p("w", [256, 2056])))] }),
  },
  {
    name: "dense, 256 columns, both operands the other way around",
    variants: 1,
    make: (g, p) => ({ values: [b.dot(g, b.swap(g, p("x", [136, 136])), b.swap(g, p("w", [256, 136])))] }),
  },
  {
    name: "parts of both operands, beyond whose depth there is more",
    variants: 1,
    make: (g, p) => ({
      values: [b.matmul(g, b.slice(g, p("x", [130, 320]), 1, 64, 136), b.slice(g, p("w", [320, 128]), 0, 64, 136))],
    }),
  },
  {
    name: "columns of a matrix that a loop reads slice by slice, from the midst of its rows on",
    variants: 1,
    make(g, p) {
      const columns = (start: number, size: number): Value => b.slice(g, p("x", [130, 368]), 1, start, size);
      const narrow = Array.from({ length: 14 }, (_, i) => columns(8 * i, 8));
      const wide = [112, 240].map((start) => b.matmul(g, columns(start, 128), p("w", [128, 136])));
      return { values: [...wide, narrow.reduce((x, y) => b.add(g, x, y))] };
    },
  },
  {
    name: "in pieces of the depth, and what is left of it",
    variants: 1,
    piece: 128,
    make: (g, p) => ({ values: [b.matmul(g, p("x", [130, 312]), p("w", [312, 136]))] }),
  },
  {
    name: "in pieces of the depth, both operands the other way around, and what is left of it",
    variants: 1,
    piece: 128,
    make: (g, p) => ({ values: [b.dot(g, b.swap(g, p("x", [392, 136])), b.swap(g, p("w", [136, 392])))] }),
  },
  {
    name: "a depth of odd rows, which lie at 16 bytes",
    variants: 1,
    make(g, p) {
      const h = b.tanh(g, b.matmul(g, p("x", [130, 136]), p("w", [136, 203])));
      return { values: [b.matmul(g, h, p("v", [203, 136]))] };
    },
  },
  {
    name: "one row in eight, which begin at 16 bytes where those between do not",
    variants: 1,
    make: (g, p) => ({
      values: [b.matmul(g, b.reshape(g, b.slice(g, p("x", [130, 8, 137]), 1, 0, 1), [130, 137]), p("w", [137, 136]))],
    }),
  },
  {
    name: "heads side by side, as attention leaves them: a round of the depth is of two",
    variants: 1,
    make(g, p) {
      const x = b.reshape(g, b.transpose(g, p("x", [3, 130, 72]), [1, 0, 2]), [130, 216]);
      return { values: [b.matmul(g, x, p("w", [216, 136]))] };
    },
  },
  {
    name: "heads side by side, whose rows are gathered",
    variants: 1,
    make(g, p) {
      const by = toOddGroups(g, p, 150, 6);
      const x = b.reshape(g, b.transpose(g, p("x", [3, 150, 72]), [1, 0, 2]), [150, 216]);
      return { values: [b.raggedDot(g, b.dispatch(g, x, by), p("w", [6, 216, 136]), by.offsets)], rows: by.offsets };
    },
  },
  {
    name: "rows of three, each third of which follows on the last",
    variants: 1,
    make(g, p) {
      const x = b.reshape(g, b.transpose(g, p("x", [130, 3, 128]), [1, 0, 2]), [390, 128]);
      return { values: [b.dot(g, b.swap(g, x), p("w", [390, 136]))] };
    },
  },
  {
    name: "gathered rows that end within a copy of 16 bytes",
    variants: 2,
    make(g, p) {
      const by = toOddGroups(g, p, 300, 6);
      const h = b.tanh(g, b.matmul(g, p("x", [150, 136]), p("w", [136, 203])));
      const x = b.dispatch(g, b.reshape(g, b.broadcast(g, h, [150, 2, 203], [0, 2]), [300, 203]), by);
      const y = b.raggedDot(g, x, p("v", [6, 203, 136]), by.offsets);
      return { values: [y, b.raggedOuter(g, x, p("dy", [300, 136]), by.offsets)], rows: by.offsets };
    },
  },
  {
    name: "a stack of matrices",
    variants: 1,
    make: (g, p) => ({ values: [b.dot(g, p("x", [3, 129, 136]), p("w", [3, 136, 128]))] }),
  },
  {
    name: "dense, three pairs of operands, whose depths end in the midst of a round",
    variants: 1,
    make: (g, p) => ({
      values: [
        sum(
          g,
          [200, 136, 72].map((k) => b.dot(g, p(`x${k}`, [130, k]), b.swap(g, p(`w${k}`, [264, k])))),
        ),
      ],
    }),
  },
  {
    name: "two pairs of operands, of which TMA brings one only: none by wgmma",
    variants: 0,
    make(g, p) {
      const part = b.slice(g, p("part", [130, 320]), 1, 64, 136); // beyond its depth there is more
      return {
        values: [sum(g, [b.matmul(g, p("x", [130, 136]), p("w", [136, 136])), b.matmul(g, part, p("v", [136, 136]))])],
      };
    },
  },
  {
    name: "two pairs of operands, two right ones each",
    variants: 1,
    make(g, p) {
      const [x, h] = [p("x", [130, 136]), p("h", [130, 80])];
      const both = (name: string): Value =>
        sum(g, [b.dot(g, x, p(`wx.${name}`, [136, 136])), b.dot(g, h, p(`wh.${name}`, [80, 136]))]);
      return { values: [gated(g, both("gate"), both("up"))] };
    },
  },
  {
    name: "a mixture's dX: two pairs of operands, W^T, rows of no group",
    variants: 1,
    make(g, p) {
      const by = b.route(g, p("index", [300], "i32"), 6);
      const dot = (name: string): Value =>
        b.raggedDot(g, p(`d.${name}`, [300, 200]), b.swap(g, p(`w.${name}`, [6, 136, 200])), by.offsets);
      return { values: [sum(g, [dot("up"), dot("gate")])], rows: by.offsets };
    },
  },
  {
    name: "a mixture's dX of 256 columns: two pairs of operands, W^T, empty groups",
    variants: 1,
    make(g, p) {
      const by = toOddGroups(g, p, 300, 6);
      const dot = (name: string): Value =>
        b.raggedDot(g, p(`d.${name}`, [300, 136]), b.swap(g, p(`w.${name}`, [6, 256, 136])), by.offsets);
      return { values: [sum(g, [dot("up"), dot("gate")])], rows: by.offsets };
    },
  },
  {
    name: "gathered rows, two pairs of operands, gate and up in one, empty groups",
    variants: 1,
    make(g, p) {
      const by = toOddGroups(g, p, 300, 6);
      const [x, y] = ["x", "y"].map((name) => b.dispatch(g, p(name, [300, 136]), by)) as [Value, Value];
      const both = (name: string): Value =>
        sum(
          g,
          [x, y].map((v, i) => b.raggedDot(g, v, p(`${name}${i}`, [6, 136, 136]), by.offsets)),
        );
      return { values: [gated(g, both("gate"), both("up"))], rows: by.offsets };
    },
  },
  {
    name: "gathered rows, gate and up in one, rows of no group",
    variants: 2,
    make(g, p) {
      const by = b.route(g, p("index", [300], "i32"), 6);
      const x = b.dispatch(g, b.reshape(g, b.broadcast(g, p("x", [150, 200]), [150, 2, 200], [0, 2]), [300, 200]), by);
      const dot = (name: string): Value => b.raggedDot(g, x, p(name, [6, 200, 136]), by.offsets);
      const half = gated(g, dot("gate"), dot("up"));
      const y = b.raggedDot(g, half, p("down", [6, 136, 200]), by.offsets);
      return { values: [half, y], rows: by.offsets };
    },
  },
  {
    name: "a mixture's backward: W^T, several results, weights' gradients, empty groups",
    variants: 2,
    make(g, p) {
      const by = toOddGroups(g, p, 280, 4);
      const x = b.dispatch(g, p("x", [280, 136]), by);
      const dy = p("dy", [280, 264]);
      const h = b.raggedDot(g, dy, b.swap(g, p("w", [4, 136, 264])), by.offsets);
      const u = p("u", [280, 136]);
      return {
        values: [b.mul(g, h, u), b.mul(g, h, b.sigmoid(g, u)), b.raggedOuter(g, x, dy, by.offsets)],
        rows: by.offsets,
      };
    },
  },
  {
    name: "a mixture's backward with the gradient of the scores: sums of rows",
    variants: 1,
    make(g, p) {
      const [, index] = b.topK(g, p("chance", [280, 4], "f32"), 1);
      const by = b.route(g, b.reshape(g, index, [280]), 4);
      const h = b.raggedDot(g, p("dy", [280, 264]), b.swap(g, p("w", [4, 144, 264])), by.offsets);
      const u = p("u", [280, 144]);
      return { values: [b.mul(g, h, u), b.sum(g, b.mul(g, b.cast(g, h, "f32"), b.cast(g, u, "f32")), [-1])] };
    },
  },
];
export interface BuiltCase extends Run {
  readonly case_: Case;
  readonly values: readonly Value[];
  readonly rows: Value | undefined;
}
export function buildCase(c: Case, by = byVariants): BuiltCase {
  const g = new GraphBuilder(ops);
  const param: Param = (name, shape, dtype = "bf16") => b.param(g, name, { dtype, shape });
  const { values, rows } = c.make(g, param);
  const stores = new Map(
    [...storesOf(values)].map(([name, a]): [string, NdArray] => [name, { ...a, data: roundAll(a.dtype, a.data) }]),
  );
  return { case_: c, name: c.name, sequence: by(loweredForCuda(graphOf(values), backendOf(c))), stores, values, rows };
}
/** A backend that uses wide tiles even where there are few, and cuts products as the case says. */
const backendOf = ({ piece }: Case): Backend => {
  const { choices, variants } = backends.cuda;
  return {
    ...backends.cuda,
    choices: piece ? { ...choices, splitK: () => piece } : choices,
    variants: { ...variants, choice: (c) => hopperChoice(c, 1) },
  };
};
/**
 * Compares results with the interpreter: they may be off by rounding to bf16, and, if a second contraction follows, by the rounding of what it reads.
 */
export function compare({ values, rows, stores }: BuiltCase, { results, findings }: Outcome): void {
  if (findings !== "") throw new Error(findings.trim());
  const wanted = interpret(values, stores, { exact: true });
  const count = rows ? (interpret([rows], stores)[0]?.data.at(-1) ?? 0) : null;
  values.forEach((value, r) => {
    const [first = 0] = dims(value.type);
    const data = wanted[r]?.data ?? new Float64Array();
    const isRows = count !== null && value.node.op.name !== "ragged_outer";
    const n = isRows ? (data.length / first) * count : data.length;
    const scale = Math.sqrt(data.slice(0, n).reduce((sum, x) => sum + x * x, 0) / Math.max(1, n));
    for (let i = 0; i < n; i++) {
      const [x, y] = [data[i] ?? Number.NaN, results[r]?.[i] ?? Number.NaN];
      if (!(Math.abs(x - y) <= 2 ** -8 * Math.abs(x) + 2 ** -6 * scale))
        throw new Error(`result ${r}[${i}] is ${y}, not ${x}`);
    }
  });
}
