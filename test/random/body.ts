// The body of a random layer with tensors of any shape: its variables so far, and the text of its statements.
import type { Draw, Shape } from "./random-graph.ts";

export type Dtype = "float" | "f32" | "i32" | "bool";
export interface Variable {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: Shape;
}
export type Made = Omit<Variable, "name"> & { readonly text: string };
/** Draws a statement; null if no variable fits. */
export type Step = (t: Tensors) => Made | null | undefined;

export const sizes: readonly number[] = [1, 2, 2, 3, 3, 4, 5, 6, 8, 12, 16, 17, 18, 20, 33];
export const most = 3000;
export const product = (shape: Shape): number => shape.reduce((p, q) => p * q, 1);
export const typeOf = (dtype: Dtype, shape: Shape): string =>
  shape.length > 0 ? `${dtype}[${shape.join(", ")}]` : dtype;
export const isFloat = ({ dtype }: Variable): boolean => dtype === "float" || dtype === "f32";
export const wider = (x: Variable, y: Variable): Dtype =>
  x.dtype === "float" && y.dtype === "float" ? "float" : "f32";
export const without = (shape: Shape, axis: number): number[] => shape.toSpliced(axis, 1);
/** An index that applies `inner` to axis `axis`, and `:` to the axes before it. */
export const at = (axis: number, inner: string): string => `[${[...Array<string>(axis).fill(":"), inner].join(", ")}]`;

/** An array of experts, and the types of one call. */
export interface Experts {
  readonly member: string;
  readonly E: number;
  /** The shape of a row of the first argument, and of the second if there is one. */
  readonly row: Shape;
  readonly second: Shape | null;
  readonly results: readonly Shape[];
}
/** The state of a body while it is drawn. */
export class Tensors {
  readonly draw: Draw;
  readonly lines: string[] = [];
  readonly members: string[] = [];
  readonly layers: string[] = [];
  readonly variables: Variable[] = [];
  readonly params: Variable[] = [];
  readonly experts: Experts[] = [];
  /** In how many experts it is; an expert's body knows no batch and has no state. */
  readonly depth: number;
  readonly #read = new Set<Variable>();
  readonly #count: { n: number };
  constructor(draw: Draw, depth = 0, count = { n: 0 }) {
    this.draw = draw;
    this.depth = depth;
    this.#count = count;
  }
  name = (): string => `v${this.#count.n++}`;
  inner = (): Tensors => new Tensors(this.draw, this.depth + 1, this.#count);
  /** Another method of the same layer: it shares the members. */
  beside(): Tensors {
    const other = new Tensors(this.draw, this.depth, this.#count);
    other.members.push(...this.members.splice(0));
    other.params.push(...this.params);
    other.experts.push(...this.experts);
    return other;
  }
  shape(rank: number): number[] {
    const shape = Array.from({ length: rank }, () => this.draw.of(sizes));
    while (product(shape) > most) shape[this.draw.below(rank)] = 1 + this.draw.below(4);
    return shape;
  }
  add(v: Variable): Variable {
    this.variables.push(v);
    return v;
  }
  /** Draws a variable that fits, preferring the newest; null if none does. */
  any(fits: (v: Variable) => boolean = isFloat): Variable | null {
    const all = this.variables.filter(fits);
    if (all.length === 0) return null;
    const found = this.draw.of(this.draw.chance(0.6) ? all.slice(-3) : all);
    this.#read.add(found);
    return found;
  }
  /** Draws a float of at least `least` axes, and one of its axes. */
  along(least = 1, fits = isFloat): readonly [Variable, number] | null {
    const x = this.any((v) => fits(v) && v.shape.length >= least);
    return x && [x, this.draw.below(x.shape.length)];
  }
  /** As `along`, of any dtype. */
  alongAny = (least = 1): readonly [Variable, number] | null =>
    this.along(least, this.draw.chance(0.3) ? (v) => !isFloat(v) : isFloat);
  /** The name of a float of this shape: an existing variable, one that broadcasts to it, or a new parameter. */
  of(shape: Shape, dtype: "float" | "f32"): string {
    const fits = (v: Variable): boolean => v.dtype === dtype && v.shape.join() === shape.join();
    const found = this.draw.chance(0.7) ? this.any(fits) : null;
    if (found) return found.name;
    const name = this.name();
    const short = this.any(
      (v) => v.dtype === dtype && v.shape.length > 0 && v.shape.join() === shape.slice(-v.shape.length).join(),
    );
    if (short && this.draw.chance(0.5)) {
      this.lines.push(`let ${name}: ${typeOf(dtype, shape)} = ${short.name}`);
      return this.add({ name, dtype, shape }).name;
    }
    return this.param(dtype, shape, name).name;
  }
  param(dtype: Dtype, shape: Shape, name = this.name()): Variable {
    const known = this.params.filter((v) => v.dtype === dtype && v.shape.join() === shape.join());
    if (known.length > 0 && this.draw.chance(0.5)) return this.draw.of(known);
    this.members.push(`param ${name}: ${typeOf(dtype, shape)} = normal(std: 0.5)`);
    this.params.push({ name, dtype, shape });
    return { name, dtype, shape };
  }
  step(list: readonly Step[]): void {
    const made = this.draw.of(list)(this);
    if (!made || product(made.shape) > most || made.shape.length > 4) return;
    const name = this.name();
    const declared = this.draw.chance(0.1) ? `: ${typeOf(made.dtype, made.shape)}` : "";
    this.lines.push(`let ${name}${declared} = ${made.text}`);
    this.add({ name, dtype: made.dtype, shape: made.shape });
  }
  /** Floats that no statement reads, and occasionally some that are read. */
  results(): Variable[] {
    const floats = this.variables.filter(isFloat);
    const unread = floats.filter((v) => !this.#read.has(v)).slice(-4);
    const more = floats.filter((v) => this.#read.has(v) && this.draw.chance(0.1)).slice(-2);
    return [...unread, ...more];
  }
}
