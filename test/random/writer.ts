// What a layer of a random program is written into, and what is there for its next statement.
import type { Draw } from "./growing.ts";

export type Width = "D" | "H" | "1";
interface Variable {
  readonly name: string;
  readonly width: Width;
}
/** One statement of rows: an expression, and the width of its rows. */
export type Step = (w: Writer) => readonly [expression: string, width: Width];

/** What a layer is written into. */
export class Writer {
  readonly draw: Draw;
  readonly members: string[] = [];
  readonly lines: string[] = [];
  /** Layers of rows that are declared before. */
  readonly layers: readonly string[];
  readonly #variables: Variable[] = [{ name: "x", width: "D" }];
  readonly #read = new Set<Variable>();
  readonly #layers = new Map<string, string>();
  #count = 0;
  constructor(draw: Draw, layers: readonly string[]) {
    this.draw = draw;
    this.layers = layers;
  }
  /** A later one sooner than an early one. */
  any(width?: Width): Variable {
    const fits = this.#variables.filter((v) => width === undefined || v.width === width);
    const found = this.draw.of(fits.slice(-3));
    this.#read.add(found);
    return found;
  }
  has = (width: Width): boolean => this.#variables.some((v) => v.width === width);
  /** One of the same width, where there is one; else one that stretches. */
  beside = ({ width }: Variable): string =>
    this.draw.chance(0.2) && this.has("1") ? this.any("1").name : this.any(width).name;
  name = (): string => `v${this.#count++}`;
  param(type: string, init = "normal(std: 0.5)"): string {
    const name = this.name();
    this.members.push(`param ${name}: ${type} = ${init}`);
    return name;
  }
  /** A new one, or one that is there already: its parameters are shared. */
  member(layer: string): string {
    const known = this.#layers.get(layer);
    if (known !== undefined && this.draw.chance(0.4)) return known;
    const name = this.name();
    this.members.push(`${name}: ${layer}`);
    this.#layers.set(layer, name);
    return name;
  }
  step(step: Step): void {
    const [expression, width] = step(this);
    const name = this.name();
    this.lines.push(`let ${name} = ${expression}`);
    this.#variables.push({ name, width });
  }
  /** All that nothing has read. */
  result(): string {
    const rows = this.#variables.filter((v) => !this.#read.has(v));
    const terms = rows.map(({ name, width }) => (width === "D" ? name : `mean(${name}, axis: -1, keep: true)`));
    return ["0.1 * x", ...terms].join(" + ");
  }
  layer = (): string => `${this.draw.of(this.layers)}(D, ${this.draw.of(["H", "H", "D", "3"])})`;
}
