// The kinds of statements of which the body of a random layer consists. Each returns an expression with its type, or null if no variable fits.
import {
  at,
  isFloat,
  most,
  product,
  type Step,
  sizes,
  type Tensors,
  typeOf,
  type Variable,
  wider,
  without,
} from "./body.ts";
import { loopSteps } from "./body-loops.ts";
import { wholeSteps } from "./body-wholes.ts";
import type { Shape } from "./random-graph.ts";

const points = [
  "tanh(x)",
  "sigmoid(x)",
  "sin(2 * x)",
  "abs(x)",
  "maximum(x, 0)",
  "exp(minimum(x, 1))",
  "erf(x)",
  "x * x / (1 + abs(x))",
];
const pairs = [
  "x + y",
  "x - y",
  "x * y",
  "maximum(x, y)",
  "minimum(x, y)",
  "where(x > y, x, y * 0.5)",
  "x / (1 + abs(y))",
  "x * (y < 0.5)",
];
const conditions = ["x > y", "x <= y", "x < 0.3 || y > 0.1", "!(x > 0) && y > -1"];
const filled = (text: string, x: string, y = ""): string => text.replaceAll(/\b[xy]\b/g, (w) => (w === "x" ? x : y));
const leading = (v: Variable): string => v.shape.slice(0, -2).join();
/** A second operand for x: of its shape, or one that broadcasts to it; null if there is none. */
function beside(t: Tensors, { shape }: Variable): { readonly text: string; readonly from: Variable } | null {
  const stretches = (v: Variable): boolean =>
    v.shape.length <= shape.length &&
    v.shape.every((n, i) => n === 1 || n === shape[shape.length - v.shape.length + i]);
  const y = t.any((v) => isFloat(v) && stretches(v));
  if (y && t.draw.chance(0.7)) return { text: y.name, from: y };
  const z = t.any((v) => isFloat(v) && v.shape.length === 1 && shape.includes(v.shape[0] ?? 0));
  const axis = z ? shape.lastIndexOf(z.shape[0] ?? 0) : -1;
  if (!z || axis < 0) return y && { text: y.name, from: y };
  return { text: `${z.name}[${[":", ...Array<string>(shape.length - 1 - axis).fill("new")].join(", ")}]`, from: z };
}
/**
 * An expression of indices into an axis of n elements, some of them out of range: from data, or from arithmetic on ranges. It gets `lead` axes of 1
 * in front.
 */
function indices(t: Tensors, n: number, lead: number): { readonly text: string; readonly shape: Shape } {
  const { draw } = t;
  const [p, q] = [draw.of(sizes), 1 + draw.below(6)];
  const front = (text: string): string =>
    lead > 0 ? `(${text})[${Array<string>(lead).fill("new").join(", ")}]` : text;
  const given = t.any(({ dtype, shape }) => dtype === "i32" && shape.length === 1 && product(shape) <= 40);
  if (given && draw.chance(0.3))
    return { text: front(`${given.name} % ${n + 1} - ${draw.below(2)}`), shape: given.shape };
  const far = `range(${p})[:, new] - range(${q})`;
  const [text, shape] = draw.of([
    [`range(${p})`, [p]],
    [`${n - 1} - range(${p})`, [p]],
    [`div(range(${p}), ${q})`, [p]],
    [`range(${p}) % ${q} + ${draw.below(3)}`, [p]],
    [`${1 + draw.below(3)} * range(${p}) - ${draw.below(3)}`, [p]],
    [far, [p, q]],
    [`${far} + ${draw.below(n)}`, [p, q]],
    [`abs(${far})`, [p, q]],
    [`minimum(abs(${far}), 2) + 3 * (${far} > 0)`, [p, q]],
    [`range(${p})[:, new] + 2 * range(${q})`, [p, q]],
    [`(range(${p})[:, new] * ${q} + range(${q})) % ${n}`, [p, q]],
  ] as const);
  return { text: front(text), shape };
}

export const bodySteps: Readonly<Record<string, Step>> = {
  point(t) {
    const x = t.any();
    return x && { ...x, text: filled(t.draw.of(points), x.name) };
  },
  pair(t) {
    const x = t.any();
    const y = x && beside(t, x);
    if (!x || !y) return null;
    const [p, q] = t.draw.chance(0.5) ? [x.name, y.text] : [y.text, x.name];
    return { text: filled(t.draw.of(pairs), p, q), dtype: wider(x, y.from), shape: x.shape };
  },
  converted(t) {
    const x = t.any();
    const dtype = x?.dtype === "f32" ? "float" : "f32";
    return x && { text: `${dtype}(${x.name})`, dtype, shape: x.shape };
  },
  compared(t) {
    const x = t.any();
    const y = x && beside(t, x);
    return x && y && { text: filled(t.draw.of(conditions), x.name, y.text), dtype: "bool", shape: x.shape };
  },
  whole(t) {
    const x = t.any();
    const text = t.draw.of(["i32(x * 3)", "i32(floor(x * 5)) % 4", "div(i32(x * 9), 2)", "i32(x > 0) + i32(x > 1)"]);
    return x && { text: filled(text, x.name), dtype: "i32", shape: x.shape };
  },
  "of wholes"(t) {
    const x = t.any(({ dtype }) => dtype === "i32" || dtype === "bool");
    const text =
      x?.dtype === "bool"
        ? "f32(x) * 0.5"
        : t.draw.of(["f32(x % 5) / 4", "f32(div(x, 3) - 1) / 3", "f32(x == 2 || x < 0)"]);
    return x && { text: filled(text, x.name), dtype: "f32", shape: x.shape };
  },
  where(t) {
    const c = t.any(({ dtype, shape }) => dtype === "bool" && shape.length > 0);
    const x = c && t.any((v) => isFloat(v) && v.shape.join() === c.shape.join());
    return (
      c &&
      x && { ...x, text: t.draw.chance(0.5) ? `where(${c.name}, ${x.name}, 0)` : `where(${c.name}, 0.25, ${x.name})` }
    );
  },
  folded(t) {
    const x = t.any((v) => isFloat(v) && v.shape.length > 0);
    if (!x || product(x.shape) === 0) return null;
    const axes = t.draw.order(x.shape.length).slice(0, t.draw.of([1, 1, 1, 2]));
    const [fn, keep] = [t.draw.of(["sum", "mean", "max", "min"]), t.draw.chance(0.5)];
    const list = axes.length === 1 ? String(axes[0]) : `[${axes.join(", ")}]`;
    const shape = x.shape.flatMap((n, i) => (axes.includes(i) ? (keep ? [1] : []) : [n]));
    const text = `${fn}(${x.name}, axis: ${list}${keep ? ", keep: true" : ""})`;
    return { text: fn === "sum" ? `tanh(${text} * 0.3)` : text, dtype: x.dtype, shape };
  },
  logsumexp(t) {
    const [x, axis] = t.along() ?? [];
    return x && { text: `logsumexp(${x.name}, axis: ${axis})`, dtype: x.dtype, shape: without(x.shape, axis ?? 0) };
  },
  softmax(t) {
    const [x, axis] = t.along() ?? [];
    const mask = x && t.any((v) => v.dtype === "bool" && v.shape.join() === x.shape.join());
    return (
      x && {
        ...x,
        text: `softmax(${x.name}, axis: ${axis}${mask && t.draw.chance(0.6) ? `, where: ${mask.name}` : ""})`,
      }
    );
  },
  normed(t) {
    const [x, axis] = t.along() ?? [];
    return x && { ...x, text: `${x.name} * rsqrt(mean(${x.name} ** 2, axis: ${axis}, keep: true) + 0.1)` };
  },
  running(t) {
    const [x, axis] = t.along() ?? [];
    return x && { ...x, text: `cumsum(${x.name}, axis: ${axis}) / ${x.shape[axis ?? 0]}` };
  },
  turned(t) {
    const [x, axis] = t.alongAny(2) ?? [];
    if (!x || axis === undefined) return null;
    const other = (axis + 1 + t.draw.below(x.shape.length - 1)) % x.shape.length;
    const shape = x.shape.with(axis, x.shape[other] ?? 0).with(other, x.shape[axis] ?? 0);
    return { text: `transpose(${x.name}, ${axis}, ${other})`, dtype: x.dtype, shape };
  },
  merged(t) {
    const [x, axis] = t.alongAny(2) ?? [];
    if (!x || axis === undefined || axis + 1 >= x.shape.length) return null;
    const shape = x.shape.toSpliced(axis, 2, (x.shape[axis] ?? 0) * (x.shape[axis + 1] ?? 0));
    return { text: `reshape(${x.name}, [${shape.join(", ")}])`, dtype: x.dtype, shape };
  },
  split(t) {
    const [x, axis] = t.alongAny() ?? [];
    const n = x?.shape[axis ?? 0] ?? 0;
    const parts = [2, 3, 4, 5, 8].filter((d) => n % d === 0 && n > d);
    if (!x || axis === undefined || parts.length === 0) return null;
    const by = t.draw.of(parts);
    const shape = x.shape.toSpliced(axis, 1, by, n / by);
    return { text: `reshape(${x.name}, [${shape.join(", ")}])`, dtype: x.dtype, shape };
  },
  cut(t) {
    const [x, axis] = t.alongAny() ?? [];
    const n = x?.shape[axis ?? 0] ?? 0;
    if (!x || axis === undefined || n < 2) return null;
    const from = t.draw.below(n - 1);
    const to = t.draw.chance(0.02) ? from : from + 1 + t.draw.below(n - from);
    return { text: `${x.name}${at(axis, `${from}:${to}`)}`, dtype: x.dtype, shape: x.shape.with(axis, to - from) };
  },
  picked(t) {
    const [x, axis] = t.alongAny() ?? [];
    if (!x || axis === undefined || x.shape[axis] === 0) return null;
    return {
      text: `${x.name}${at(axis, String(t.draw.below(x.shape[axis] ?? 1)))}`,
      dtype: x.dtype,
      shape: without(x.shape, axis),
    };
  },
  widened(t) {
    const [x, axis] = t.alongAny() ?? [];
    return x && axis !== undefined
      ? { text: `${x.name}${at(axis, "new")}`, dtype: x.dtype, shape: x.shape.toSpliced(axis, 0, 1) }
      : null;
  },
  joined(t) {
    const [x, axis] = t.along() ?? [];
    const n = x?.shape[axis ?? 0] ?? 0;
    if (!x || axis === undefined || x.dtype === "i32" || x.dtype === "bool") return null;
    const half = `${x.name}${at(axis, `${n - (n >> 1)}:`)}`;
    const other = t.draw.of([x.name, half, t.of(x.shape, x.dtype), `tanh(${x.name})`]);
    const shape = x.shape.with(axis, n + (other === half ? n >> 1 : n));
    const list = t.draw.chance(0.5) ? [x.name, other] : [other, x.name];
    return { text: `concat([${list.join(", ")}], axis: ${axis})`, dtype: x.dtype, shape };
  },
  shifted(t) {
    const [x, axis] = t.along() ?? [];
    const n = x?.shape[axis ?? 0] ?? 0;
    if (!x || axis === undefined || n < 2) return null;
    const gap = t.name();
    t.lines.push(`let ${gap}: ${typeOf(x.dtype, x.shape.with(axis, 1))} = ${t.draw.of([0, 0, 1])}`);
    const list = t.draw.chance(0.5) ? [gap, `${x.name}${at(axis, `:${n - 1}`)}`] : [`${x.name}${at(axis, "1:")}`, gap];
    return { ...x, text: `concat([${list.join(", ")}], axis: ${axis})` };
  },
  taken(t) {
    const [x, axis] = t.alongAny() ?? [];
    if (!x || axis === undefined) return null;
    const index = indices(t, x.shape[axis] ?? 0, axis);
    return {
      text: `take(${x.name}, ${index.text}, axis: ${axis})`,
      dtype: x.dtype,
      shape: x.shape.toSpliced(axis, 1, ...index.shape),
    };
  },
  "taken by what it is"(t) {
    const [x] = t.along(2) ?? [];
    const n = x?.shape.at(-1) ?? 0;
    return x && { text: `take(${x.name}, i32(abs(${x.name}) * ${n}), axis: -1)`, dtype: x.dtype, shape: x.shape };
  },
  put(t) {
    const [x, axis] = t.along() ?? [];
    if (!x || axis === undefined || (x.dtype !== "float" && x.dtype !== "f32")) return null;
    const index = indices(t, x.shape[axis] ?? 0, axis);
    const rows = x.shape.toSpliced(axis, 1, ...index.shape);
    if (product(rows) > most || index.shape.length > 1) return null;
    return { ...x, text: `put(${x.name}, ${index.text}, ${t.of(rows, x.dtype)}, axis: ${axis})` };
  },
  scattered(t) {
    const [x, axis] = t.along() ?? [];
    if (!x || axis === undefined) return null;
    const [n, N] = [x.shape[axis] ?? 0, t.draw.of(sizes)];
    const [own, two] = [indices(t, N, axis), axis + 1 < x.shape.length && t.draw.chance(0.4)];
    const m = two ? (x.shape[axis + 1] ?? 0) : 0;
    const far = `(range(${n})[:, new] - ${t.draw.of([1, 1, 2])} * range(${m}))${t.draw.chance(0.3) ? " % 5" : ""}`;
    const front = axis > 0 ? `[${Array<string>(axis).fill("new").join(", ")}]` : "";
    const places = two ? `(${far} + ${t.draw.below(3)})${front}` : own.text;
    if (!two && own.shape.join() !== String(n)) return null;
    const shape = x.shape.toSpliced(axis, two ? 2 : 1, N);
    return { text: `tanh(scatter(${x.name}, ${places}, ${N}, axis: ${axis}))`, dtype: x.dtype, shape };
  },
  product(t) {
    const x = t.any((v) => isFloat(v) && v.shape.length >= 2);
    if (!x || (x.dtype !== "float" && x.dtype !== "f32")) return null;
    const [k, n] = [x.shape.at(-1) ?? 0, t.draw.of(sizes)];
    const w = t.of([k, n], x.dtype);
    return {
      text: `tanh(${x.name} @ ${w} * ${(1 / Math.sqrt(Math.max(1, k))).toFixed(3)})`,
      dtype: x.dtype,
      shape: [...x.shape.slice(0, -1), n],
    };
  },
  "product of two"(t) {
    const x = t.any((v) => (v.dtype === "float" || v.dtype === "f32") && v.shape.length >= 2);
    const k = x?.shape.at(-1) ?? 0;

    const fits = (v: Variable): boolean => v.dtype === x?.dtype && v.shape.length >= 2 && v !== x;
    const straight = t.draw.chance(0.5);
    const y = t.any(
      (v) =>
        fits(v) &&
        v.shape.at(straight ? -2 : -1) === k &&
        x !== null &&
        (v.shape.length === 2 || leading(v) === leading(x)),
    );
    if (!x || !y) return null;
    const n = y.shape.at(straight ? -1 : -2) ?? 0;
    const right = straight ? y.name : `transpose(${y.name}, -1, -2)`;
    return { text: `tanh((${x.name} @ ${right}) * 0.2)`, dtype: x.dtype, shape: [...x.shape.slice(0, -1), n] };
  },
  "product with itself"(t) {
    const x = t.any((v) => isFloat(v) && v.shape.length >= 2);
    const [m, k] = x ? x.shape.slice(-2) : [];
    if (!x || m === undefined || k === undefined) return null;
    const [text, n] = t.draw.of([
      [`${x.name} @ transpose(${x.name}, -1, -2)`, m],
      [`transpose(${x.name}, -1, -2) @ ${x.name}`, k],
    ] as const);
    return { text: `tanh((${text}) * 0.2)`, dtype: x.dtype, shape: [...x.shape.slice(0, -2), n, n] };
  },
  attended(t) {
    const x = t.any((v) => isFloat(v) && v.shape.length >= 2);
    const n = x?.shape.at(-2);
    if (!x || n === undefined) return null;
    const [i, j] = [`range(${n})[:, new]`, `range(${n})`];
    const mask = t.draw.of([
      "",
      "",
      `where: ${i} >= ${j}`,
      `where: ${i} - ${j} < 3 && ${i} >= ${j}`,
      `where: div(${i}, 4) == div(${j}, 4)`,
      `where: (${i} + ${j}) % 2 == 0`,
    ]);
    const scores = `${x.name} @ transpose(${t.draw.of([x.name, `tanh(${x.name})`])}, -1, -2) * 0.5`;
    const whole = [...x.shape.slice(0, -2), n, n];
    if (product(whole) > most) return null;
    const name = t.name();
    if (mask !== "") t.lines.push(`let ${name}: ${typeOf("bool", whole)} = ${mask.slice(7)}`);
    return {
      text: `softmax(${scores}${mask === "" ? "" : `, where: ${name}`}) @ ${x.name}`,
      dtype: x.dtype,
      shape: x.shape,
    };
  },
  outer(t) {
    const x = t.any((v) => isFloat(v) && v.shape.length === 1);
    const y = x && t.any((v) => isFloat(v) && v.shape.length === 1);
    return x && y && { text: `${x.name}[:, new] * ${y.name}`, dtype: wider(x, y), shape: [...x.shape, ...y.shape] };
  },
  sorted(t) {
    const x = t.any((v) => isFloat(v) && v.shape.length > 0 && (v.shape.at(-1) ?? 0) > 1);
    if (!x) return null;
    const [name, index, K] = [t.name(), t.name(), 1 + t.draw.below(Math.min(8, x.shape.at(-1) ?? 1))];
    const sorts = t.draw.chance(0.5);
    const shape = sorts ? x.shape : [...x.shape.slice(0, -1), K];
    t.lines.push(`let (${name}, ${index}) = ${sorts ? `sort(${x.name})` : `top_k(${x.name}, ${K})`}`);
    t.add({ name: index, dtype: "i32", shape });
    if (t.draw.chance(0.5)) return { text: `${name} * 0.5`, dtype: x.dtype, shape };
    return { text: `${name} + f32(${index} % 3)`, dtype: "f32", shape };
  },
  enough(t) {
    const x = t.any((v) => isFloat(v) && v.shape.length > 1);
    if (!x) return null;
    const rows = x.shape.slice(0, -1);
    const name = t.name();
    t.lines.push(`let ${name}: ${typeOf("i32", rows)} = ${1 + t.draw.below(3)}`);
    return {
      text: `where(${x.name} >= cutoff(${x.name}, ${name})[..., new], ${x.name}, 0)`,
      dtype: x.dtype,
      shape: x.shape,
    };
  },
  called(t) {
    const x = t.any((v) => isFloat(v) && v.shape.length >= 2);
    if (!x) return null;
    const turned = [...x.shape.slice(0, -2), x.shape.at(-1) ?? 0, x.shape.at(-2) ?? 0];
    const [text, shape] = t.draw.of([
      [`upright(${x.name})`, turned],
      [`normed(${x.name})`, x.shape],
      [`across(${x.name})`, x.shape],
      [`mixed(${x.name}, rate: ${t.draw.of([0.5, 2])})`, x.shape],
    ] as const);
    return { text, dtype: x.dtype, shape };
  },
  both(t) {
    const x = t.any((v) => isFloat(v) && v.shape.length >= 1);
    if (!x) return null;
    const [p, q] = [t.name(), t.name()];
    t.lines.push(`let (${p}, ${q}) = both(${x.name})`);
    t.add({ name: p, dtype: x.dtype, shape: x.shape });
    return { text: `${q} * 0.5`, dtype: x.dtype, shape: x.shape.slice(0, -1) };
  },
  ...wholeSteps,
  ...loopSteps,
};
