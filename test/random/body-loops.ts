// Statements of several lines that are loops: recurrences, convolutions, scans by doubling.
import { at, type Made, type Step, type Tensors, typeOf, without } from "./body.ts";

export const loopSteps: Readonly<Record<string, Step>> = {
  loop: recurrence,
  taps(t) {
    const [x, axis] = t.along() ?? [];
    const n = x?.shape[axis ?? 0] ?? 0;
    if (!x || axis === undefined || n < 4 || (x.dtype !== "float" && x.dtype !== "f32")) return null;
    const [name, w] = [t.name(), t.of([3], x.dtype)];
    const shape = x.shape.with(axis, n - 2);
    t.lines.push(
      `let ${name}: ${typeOf(x.dtype, shape)} = 0`,
      `for i in 0:3 { ${name} = ${name} + ${x.name}${at(axis, `i:${n - 2} + i`)} * ${w}[i] }`,
    );
    return { text: `tanh(${name})`, dtype: x.dtype, shape };
  },
  /** A convolution whose taps are matrices. */
  convolved(t) {
    const x = t.any((v) => v.dtype === "float" && v.shape.length >= 2 && (v.shape.at(-2) ?? 0) >= 3);
    if (!x) return null;
    const [rows, k, n] = [x.shape.at(-2) ?? 0, x.shape.at(-1) ?? 0, t.draw.of([1, 2, 5, 16, 17])];
    const [name, w] = [t.name(), t.param("float", [3, k, n]).name];
    const shape = [...x.shape.slice(0, -2), rows - 2, n];
    t.lines.push(
      `let ${name}: ${typeOf("float", shape)} = 0`,
      `for i in 0:3 { ${name} = ${name} + ${x.name}[..., i:${rows - 2} + i, :] @ ${w}[i] }`,
    );
    return { text: `tanh(${name} * 0.4)`, dtype: "float", shape };
  },
  /** A matrix that each step decays, adds to, and reads, as linear attention's. */
  memory(t) {
    const x = t.any((v) => v.dtype === "float" && v.shape.length === 2 && v.shape.every((n) => n > 0 && n <= 18));
    if (!x) return null;
    const [n = 0, d = 0] = x.shape;
    const [m, all, w] = [t.name(), t.name(), t.param("float", [d, d]).name];
    const row = `${x.name}[t]`;
    const read = t.draw.of([`(${row}[new] @ ${m})[0]`, `sum(${row}[:, new] * ${m}, axis: 0)`]);
    t.lines.push(
      `let ${m}: ${typeOf("float", [d, d])} = ${t.draw.of(["0", w])}`,
      `let ${all}: ${typeOf("float", [n, d])} = 0`,
      `for t in 0:${n} {`,
      `  ${m} = 0.8 * ${m} + ${t.draw.of([`tanh(${row})[:, new] * ${row}`, `0.3 * (${m} @ ${w})`, `${row}[:, new] * (${row} - ${read})`])}`,
      `  ${all} = put(${all}, range(1) + t, tanh(${read})[new], axis: 0)`,
      "}",
    );
    return { ...x, text: t.draw.chance(0.5) ? all : `${all} + sum(tanh(${m}), axis: 0)` };
  },
  /** h = p h + x by doubling. */
  doubled(t) {
    const [x, axis] = t.along() ?? [];
    const n = x?.shape[axis ?? 0] ?? 0;
    if (!x || axis === undefined || n < 2 || (x.dtype !== "float" && x.dtype !== "f32")) return null;
    const [h, p, back] = [t.name(), t.name(), t.name()];
    const front = axis > 0 ? `[${Array<string>(axis).fill("new").join(", ")}]` : "";
    const last = `[:${", new".repeat(x.shape.length - 1 - axis)}]`;
    t.lines.push(
      `let ${h} = ${x.name}`,
      `let ${p} = sigmoid(${x.name})`,
      `for r in 0:${Math.ceil(Math.log2(n))} {`,
      `  let ${back} = range(${n}) - i32(2 ** r)`,
      `  ${h} = ${h} + ${p} * take(${h}, ${back}${front}, axis: ${axis})`,
      `  ${p} = ${p} * where(${back}${last} >= 0, take(${p}, ${back}${front}, axis: ${axis}), 1)`,
      "}",
    );
    return { ...x, text: `${h} * 0.5` };
  },
};
/** A recurrence along an axis, of one or two variables, whose results are put into one tensor. */
function recurrence(t: Tensors): Made | null {
  const [x, axis] = t.along(2) ?? [];
  const n = x?.shape[axis ?? 0] ?? 0;
  if (!x || axis === undefined || n < 2 || n > 20 || (x.dtype !== "float" && x.dtype !== "f32")) return null;
  const [h, g, all, turn] = [t.name(), t.name(), t.name(), t.draw.chance(0.3) ? `${n} - 1 - t` : "t"];
  const one = without(x.shape, axis);
  const d = one.at(-1) ?? 1;
  const products = one.length >= 2 ? [`tanh(h @ ${t.param(x.dtype, [d, d]).name} * 0.3 + x)`] : [];
  const step = t.draw.of([
    "tanh(h * 0.5 + x)",
    "maximum(h * 0.9, x)",
    "h * sigmoid(x) + x * 0.5",
    "where(x > 0, h, x) * 0.9",
    "softmax(h) + x * 0.5",
    "(h - mean(h)) * 0.5 + x",
    ...products,
  ]);
  const filled = (text: string): string =>
    text.replaceAll(/\b[hgx]\b/g, (w) => (w === "x" ? `${x.name}${at(axis, turn)}` : w === "h" ? h : g));
  const place = axis > 0 ? `range(1)[${Array<string>(axis).fill("new").join(", ")}] + ${turn}` : `range(1) + ${turn}`;
  const two = t.draw.chance(0.4);
  if (two) t.lines.push(`let ${g}: ${typeOf(x.dtype, one)} = 1`);
  t.lines.push(
    `let ${h}: ${typeOf(x.dtype, one)} = ${t.draw.of([0, 0.5])}`,
    `let ${all}: ${typeOf(x.dtype, x.shape)} = ${t.draw.of([0, 0, 1])}`,
    `for t in 0:${n - t.draw.of([0, 0, 1])} {`,
    `  ${h} = ${filled(step)}${two ? ` * sigmoid(${g})` : ""}`,
    ...(two ? [`  ${g} = ${filled(t.draw.of(["maximum(g, abs(h))", "0.5 * g + h * x", "sigmoid(g + h)"]))}`] : []),
    `  ${all} = put(${all}, ${place}, ${h}${at(axis, "new")}, axis: ${axis})`,
    "}",
  );
  return { ...x, text: t.draw.chance(0.5) ? all : `${all} * 0.5` };
}
