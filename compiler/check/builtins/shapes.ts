// Builtins that reshape, index, scatter and order tensors.
import type { Value } from "../../graph/node.ts";
import * as b from "../../ops/build.ts";
import { numbers } from "../../ops/common.ts";
import { pluralize } from "../../pluralize.ts";
import type { Span } from "../../syntax/ast.ts";
import { wider } from "../../types/dtype.ts";
import { add, equal, equalAll, isSpread, product, type Size, show } from "../../types/size.ts";
import { showType, type Type, type } from "../../types/type.ts";
import { type Builtin, builtin } from "../builtin.ts";
import { absorb, fail } from "../errors.ts";
import { matched, needIndex, takeAlong } from "../evaluator/indexing.ts";
import { calledFrom } from "../numbers.ts";
import { axisOf, canBroadcast, castTo, toDefaultTensor, whySizesDiffer } from "../tensor.ts";
import { kindText, results, tensor } from "../values.ts";
import type { World } from "../world.ts";

const reshape = builtin("reshape(x, shape)", "The same elements in row-major order as another shape", ({ w }, args) => {
  const x = args.tensor("x");
  const shape = args.shape("shape");
  if (!equal(product(x.type.shape), product(shape)))
    fail("E0208", `${showType(x.type)} does not reshape to [${shape.map(show).join(", ")}]`, args.span("shape"), {
      also: [{ span: args.span("x"), text: pluralize(show(product(x.type.shape)), "element") }],
      label: pluralize(show(product(shape)), "element"),
      notes: [...whySizesDiffer(w, product(x.type.shape), product(shape)), ...calledFrom(w)],
      help: "the products of both shapes must be the same",
    });
  return tensor(w.make(type(x.type.dtype, shape), () => b.reshape(w.g, x, numbers(shape))));
});
const transpose = builtin(
  "transpose(x, first?, second?)",
  "Two axes exchanged, the last two if not given",
  ({ w }, args) => {
    const x = args.tensor("x");
    const [first, second] = [args.axis("first", x.type, -2), args.axis("second", x.type, -1)];
    const perm = Array.from(x.type.shape.keys(), (i) => (i === first ? second : i === second ? first : i));
    return tensor(
      w.make(
        type(
          x.type.dtype,
          perm.map((i) => x.type.shape[i] ?? 1),
        ),
        () => b.transpose(w.g, x, perm),
      ),
    );
  },
);
const concat = builtin("concat(list, axis)", "Tensors one after the other along an axis", ({ w }, args) => {
  const v = args.value("list");
  if (v.kind !== "list" || v.items.length === 0)
    return fail(
      "E0209",
      `\`concat\` takes a list of tensors, not ${v.kind === "list" ? "an empty one" : kindText[v.kind]}`,
      args.span("list"),
      {
        help: "write `concat([a, b], axis: -1)`",
      },
    );
  const given = v.items.map((item) => toDefaultTensor(w, item, args.span("list")));
  const [first = absorb()] = given;
  const dtype = given.map((x) => x.type.dtype).reduce(wider);
  const axis = args.axis("axis", first.type, 0);
  const parts = given.map((x) => castTo(w, x, dtype));
  const total = parts.map((x) => along(w, first, x, axis, args.span("list"))).reduce<Size>(add, 0);
  const shape = first.type.shape.toSpliced(axis, 1, total);
  return tensor(w.make(type(dtype, shape), () => b.concat(w.g, parts, axis)));
});
/** Checks that x fits `first` on all other axes; returns its size along `axis`. */
function along(w: World, first: Value, x: Value, axis: number, span: Span): Size {
  const [a, c] = [first.type.shape, x.type.shape];
  if (a.length !== c.length || a.some((n, i) => i !== axis && !equal(n, c[i] ?? -1)))
    fail("E0209", `${showType(first.type)} and ${showType(x.type)} do not concatenate along axis ${axis}`, span, {
      help: `all axes but that one must be the same${stretchHelp(first.type, x.type)}`,
      notes: calledFrom(w),
    });
  return c[axis] ?? absorb();
}
/** The remedy if one of the two would broadcast to the type of the other. */
function stretchHelp(x: Type, y: Type): string {
  const to = canBroadcast(y.shape, x.shape) ? x : canBroadcast(x.shape, y.shape) ? y : null;
  return to ? `; \`let y: ${showType(to)} = ...\` stretches ${to === x ? "the second" : "the first"}` : "";
}
const range = builtin("range(n)", "0, 1, ... n - 1, as i32[n]", ({ w }, args) => {
  const n = args.size("n");
  return tensor(w.make(type("i32", [n]), () => b.iota(w.g, Number(n))));
});

const take = builtin(
  "take(x, index, axis?)",
  "The rows at `index` along an axis; none gives 0",
  ({ w, from }, args) => {
    const x = args.tensor("x");
    return tensor(
      takeAlong(w, x, args.tensor("index"), args.axis("axis", x.type, 0), { span: args.span("index"), from }),
    );
  },
);
const put = builtin(
  "put(x, index, rows, axis?)",
  "`x` with the rows at `index` along an axis replaced; of two, the later",
  ({ w, from }, args) => {
    const [x, index] = [args.tensor("x"), args.tensor("index")];
    const axis = args.axis("axis", x.type, 0);
    needIndex(w, index, { span: args.span("index"), from });
    const lead = x.type.shape.slice(0, axis);
    const batch = matched(w, lead, index, axis, args.span("index"));
    const shape = [...batch, ...index.type.shape.slice(axis), ...x.type.shape.slice(axis + 1)];
    if (!equalAll(batch, lead))
      fail(
        "E0210",
        `\`put\` into ${showType(x.type)} cannot have the index ${showType(index.type)}`,
        args.span("index"),
        {
          help: "stretch `x` first: `let y: f32[B, N] = x`",
          notes: calledFrom(w),
        },
      );
    const rows = rowsFor(w, args.tensor("rows"), x, shape, args.span("rows"));
    return tensor(w.make(x.type, () => b.put(w.g, x, index, rows, axis)));
  },
);
function rowsFor(w: World, rows: Value, x: Value, shape: readonly Size[], span: Span): Value {
  if (!equalAll(rows.type.shape, shape))
    fail("E0210", `\`put\` needs rows of [${shape.map(show).join(", ")}], not ${showType(rows.type)}`, span, {
      help: "the index's axes stand where the axis is in `x`",
      notes: calledFrom(w),
    });
  return castTo(w, rows, x.type.dtype);
}
const scatter = builtin(
  "scatter(rows, index, n, axis?)",
  "Rows summed into `n` places along an axis: the reverse of `take`",
  ({ w, from }, args) => {
    const [rows, index] = [args.tensor("rows"), args.tensor("index")];
    needIndex(w, index, { span: args.span("index"), from });
    const n = args.size("n");
    const axis = args.axis("axis", rows.type, 0);
    const own = index.type.shape.length - axis;
    const fits =
      own >= 0 && index.type.shape.every((m, i) => (i < axis && m === 1) || equal(m, rows.type.shape[i] ?? -1));
    if (!fits)
      fail(
        "E0210",
        `the index ${showType(index.type)} does not match the first axes of ${showType(rows.type)}`,
        args.span("index"),
        { help: "each row needs its place", notes: calledFrom(w) },
      );
    const shape = [...rows.type.shape.slice(0, axis), n, ...rows.type.shape.slice(axis + own)];
    return tensor(w.make(type(rows.type.dtype, shape), () => b.scatter(w.g, rows, index, Number(n), axis)));
  },
);

const topK = builtin(
  "top_k(x, k)",
  "The `k` largest along the last axis and where they stood, the first of equals first",
  ({ w, at }, args) => {
    const x = args.tensor("x");
    const k = args.size("k");
    const axis = lastAxis(w, x, at);
    const n = x.type.shape[axis] ?? absorb();
    if (typeof k === "number" && typeof n === "number" && k > n)
      fail("E0210", `there are no ${k} largest of ${n}`, args.span("k"), {
        help: n === 0 ? "the axis is empty: check the size that it has" : `lower it to at most ${n}`,
        notes: calledFrom(w),
      });
    const shape = x.type.shape.toSpliced(axis, 1, k);
    const made = w.checking ? null : b.topK(w.g, x, Number(k));
    return results(
      [
        w.make(type(x.type.dtype, shape), () => made?.[0] ?? absorb()),
        w.make(type("i32", shape), () => made?.[1] ?? absorb()),
      ].map(tensor),
    );
  },
);
const sort = builtin(
  "sort(x)",
  "The last axis in ascending order and where each stood, the first of equals first",
  ({ w, at }, args) => {
    const x = args.tensor("x");
    lastAxis(w, x, at);
    const made = w.checking ? null : b.sort(w.g, x);
    return results(
      [w.make(x.type, () => made?.[0] ?? absorb()), w.make(type("i32", x.type.shape), () => made?.[1] ?? absorb())].map(
        tensor,
      ),
    );
  },
);
/** The last axis of x, which must not be a spread or hold booleans. */
function lastAxis(w: World, x: Value, at: Span): number {
  const last = x.type.shape.at(-1);
  if (last !== undefined && isSpread(last)) return axisOf(w, x.type, 0, at);
  if (x.type.dtype === "bool") fail("E0201", "booleans have no order", at, { help: "convert them: `i32(x)`" });
  return axisOf(w, x.type, -1, at);
}

export const shapeBuiltins: readonly Builtin[] = [reshape, transpose, concat, range, take, put, scatter, topK, sort];
