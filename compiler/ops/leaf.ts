// Leaves: ops without arguments.
import { Bug } from "../diagnostic.ts";
import { type } from "../types/type.ts";
import * as b from "./build.ts";
import { define, noFlops, number, sample } from "./common.ts";
import { neverMapped } from "./mapped.ts";

export const param = define<"param">({
  name: "param",
  doc: "the contents of the store `store`: a parameter, a state or an input",
  lower: "leaf",
  infer: (_, attrs) => [attrs.type],
  eval: () => {
    throw new Bug("a store has no meaning of its own: the interpreter is given its contents");
  },
  vjp: () => [],
  mapped: neverMapped("param"),
  flops: noFlops,
  samples: (g) => [sample(g, "f32", [3]).node],
  showAttrs: (attrs) => attrs.store,
});

export const constant = define<"const">({
  name: "const",
  doc: "one number: `dtype`",
  lower: "leaf",
  infer: (_, attrs) => [type(attrs.dtype, [])],
  eval: (_, attrs) => [Float64Array.of(attrs.value)],
  vjp: () => [],
  mapped: neverMapped("const"),
  flops: noFlops,
  samples: (g) => [0.1, -0, Number.POSITIVE_INFINITY].map((x) => b.constant(g, x, "f32").node),
  showAttrs: (attrs) => (Object.is(attrs.value, -0) ? "-0" : String(attrs.value)),
});

export const iota = define<"iota">({
  name: "iota",
  doc: "0, 1, ... size - 1: i32[size]",
  lower: "leaf",
  infer: (_, attrs) => [type("i32", [attrs.size])],
  eval: (_, attrs) => [Float64Array.from({ length: number(attrs.size) }, (_, i) => i)],
  vjp: () => [],
  mapped: neverMapped("iota"),
  flops: noFlops,
  samples: (g) => [0, 1, 7].map((n) => b.iota(g, n).node),
});
