// The text of one layer of a random program while it is drawn, and the variables that its next statement may use.
import type { Draw } from "./random-graph.ts";

export type Width = "D" | "H" | "1";
interface Variable {
  readonly name: string;
  readonly width: Width;
}
/** Draws a statement on rows: an expression, and the width of its rows. */
export type Step = (w: LayerText) => readonly [expression: string, width: Width];

/** The state of a layer while it is drawn. */
export class LayerText {
  readonly draw: Draw;
  readonly members: string[] = [];
  readonly lines: string[] = [];
  /** Names of layers on rows that are declared earlier. */
  readonly layers: readonly string[];
  readonly #variables: Variable[] = [{ name: "x", width: "D" }];
  readonly #read = new Set<Variable>();
  readonly #layers = new Map<string, string>();
  #count = 0;
  constructor(draw: Draw, layers: readonly string[]) {
    this.draw = draw;
    this.layers = layers;
  }
  /** Draws one of the newest variables. */
  any(width?: Width): Variable {
    const fits = this.#variables.filter((v) => width === undefined || v.width === width);
    const found = this.draw.of(fits.slice(-3));
    this.#read.add(found);
    return found;
  }
  has = (width: Width): boolean => this.#variables.some((v) => v.width === width);
  /** Usually a variable of the same width, sometimes one of width 1, which broadcasts. */
  beside = ({ width }: Variable): string =>
    this.draw.chance(0.2) && this.has("1") ? this.any("1").name : this.any(width).name;
  name = (): string => `v${this.#count++}`;
  param(type: string, init = "normal(std: 0.5)"): string {
    const name = this.name();
    this.members.push(`param ${name}: ${type} = ${init}`);
    return name;
  }
  /** A new member, or an existing one of the same layer, whose parameters are then shared. */
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
  /** The sum of all variables that were never used. */
  result(): string {
    const rows = this.#variables.filter((v) => !this.#read.has(v));
    const terms = rows.map(({ name, width }) => (width === "D" ? name : `mean(${name}, axis: -1, keep: true)`));
    return ["0.1 * x", ...terms].join(" + ");
  }
  layer = (): string => `${this.draw.of(this.layers)}(D, ${this.draw.of(["H", "H", "D", "3"])})`;
}
