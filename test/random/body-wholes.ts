// Statements on integers and booleans of any shape: arithmetic that wraps, sums, counts, order.
import { at, product, type Step, type Variable, without } from "./body.ts";

const pairs = [
  "x + y",
  "x * y",
  "x - 2 * y",
  "div(x, y)",
  "x % y",
  "maximum(x, y)",
  "minimum(x, -y)",
  "where(x > y, x, y)",
  "abs(x) - y % 3",
];
const isWhole = ({ dtype }: Variable): boolean => dtype === "i32";
const isBool = ({ dtype }: Variable): boolean => dtype === "bool";
const list = (axes: readonly number[]): string => (axes.length === 1 ? String(axes[0]) : `[${axes.join(", ")}]`);

export const wholeSteps: Readonly<Record<string, Step>> = {
  "pair of wholes"(t) {
    const x = t.any(isWhole);
    const y = x && t.any((v) => isWhole(v) && v.shape.join() === x.shape.join());
    const text = t.draw.of(pairs);
    return x && y && { ...x, text: text.replaceAll(/\b[xy]\b/g, (w) => (w === "x" ? x.name : y.name)) };
  },
  "folded wholes"(t) {
    const x = t.any((v) => isWhole(v) && v.shape.length > 0);
    if (!x || product(x.shape) === 0) return null;
    const axes = t.draw.order(x.shape.length).slice(0, t.draw.of([1, 1, 2]));
    const shape = x.shape.filter((_, i) => !axes.includes(i));
    return { text: `${t.draw.of(["sum", "max", "min"])}(${x.name}, axis: ${list(axes)})`, dtype: "i32", shape };
  },
  counted(t) {
    const [x, axis = 0] = t.along(1, isBool) ?? [];
    return x && { text: `sum(${x.name}, axis: ${axis})`, dtype: "i32", shape: without(x.shape, axis) };
  },
  "running wholes"(t) {
    const [x, axis] = t.along(1, isWhole) ?? [];
    return x && { ...x, text: `cumsum(${x.name}, axis: ${axis})` };
  },
  "sorted wholes"(t) {
    const x = t.any((v) => isWhole(v) && v.shape.length > 0);
    if (!x) return null;
    const [index, K] = [t.name(), t.draw.below(Math.min(5, x.shape.at(-1) ?? 0) + 1)];
    const [values, sorts] = [t.name(), t.draw.chance(0.5)];
    const shape = sorts ? x.shape : [...x.shape.slice(0, -1), K];
    t.lines.push(`let (${values}, ${index}) = ${sorts ? `sort(${x.name} % 7)` : `top_k(${x.name}, ${K})`}`);
    t.add({ name: index, dtype: "i32", shape });
    return { text: values, dtype: "i32", shape };
  },
  "put wholes"(t) {
    const [x, axis = 0] = t.along(1, isWhole) ?? [];
    const n = x?.shape[axis] ?? 0;
    if (!x || n === 0) return null;
    const front = axis > 0 ? `[${Array<string>(axis).fill("new").join(", ")}]` : "";
    const rows = `${x.name}${at(axis, `:${(n + 1) >> 1}`)} + 1`;
    return {
      ...x,
      text: `put(${x.name}, (2 * range(${(n + 1) >> 1}) - ${t.draw.below(2)})${front}, ${rows}, axis: ${axis})`,
    };
  },
  "not and both"(t) {
    const x = t.any(isBool);
    const y = x && t.any((v) => isBool(v) && v.shape.join() === x.shape.join());
    return x && y && { ...x, text: t.draw.of([`${x.name} && ${y.name}`, `${x.name} || !${y.name}`, `!${x.name}`]) };
  },
};
