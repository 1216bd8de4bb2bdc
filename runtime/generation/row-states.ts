// What a text leaves behind in its row of the batch: the states that `generate` updates, which are copied out of a row and into another.
import { elaborate, type Loaded } from "../../compiler/check/index.ts";
import { Problem } from "../../compiler/diagnostic.ts";
import { prefixesFlagText } from "../../compiler/flag-text.ts";
import { assignedStores } from "../../compiler/graph/walk.ts";
import { fromTo } from "../../compiler/types/numbers.ts";
import { dims } from "../../compiler/types/type.ts";
import type { Executable, StoreInfo, Tensor } from "../executable/executable.ts";
import { part, placeOf } from "../tensor.ts";

/** Copies of a row's states: of each store one for each layer of its arrays. */
export type HeldRow = readonly (readonly Tensor[])[];

export class RowStates {
  readonly #executable: Executable;
  readonly #stores: readonly StoreInfo[];

  /** Stores whose first axis, after those of arrays of layers (`stack`), is the batch. */
  constructor(executable: Executable, stores: readonly StoreInfo[]) {
    [this.#executable, this.#stores] = [executable, stores];
  }
  read(row: number): HeldRow {
    return this.#stores.map((store) => {
      const places = placesOf(store, row);
      const { readPart } = this.#executable;
      if (readPart && hasMatrices(store)) return places.map((place) => readPart(store.name, place));
      const whole = this.#executable.read(store.name);
      return places.map((place) => part(whole, place));
    });
  }
  write(row: number, held: HeldRow): void {
    for (const [i, store] of this.#stores.entries()) this.#write(store, placesOf(store, row), held[i] ?? []);
  }
  #write(store: StoreInfo, places: readonly (readonly number[])[], parts: readonly Tensor[]): void {
    const executable = this.#executable;
    const whole = executable.writePart && hasMatrices(store) ? null : executable.read(store.name);
    for (const [i, t] of parts.entries()) {
      const place = places[i] ?? [];
      if (whole) whole.data.set(t.data, placeOf(store.shape, place) * t.data.length);
      else executable.writePart?.(store.name, place, () => t);
    }
    if (whole) executable.write(store.name, whole);
  }
}
/** Whether a row of it can be read and written alone. */
const hasMatrices = ({ shape, stack }: StoreInfo): boolean => shape.length >= stack + 3;
/** Where a row is, in each layer of the arrays. */
const placesOf = ({ shape, stack }: StoreInfo, row: number): number[][] =>
  shape
    .slice(0, stack)
    .reduce<number[][]>((all, n) => all.flatMap((place) => fromTo(0, n).map((i) => [...place, i])), [[]])
    .map((place) => [...place, row]);

/**
 * The states of an executable's rows. `wider` is the program's request with twice as many rows, by which the axis of the batch is known. Throws Problem if
 * texts share a state, or if the batch is another of its axes.
 */
export function rowStates(executable: Executable, program: Loaded, wider: Parameters<typeof elaborate>[1]): RowStates {
  const elaborated = elaborate(program, wider);
  const assigned = assignedStores(elaborated.entries.map(({ graph }) => graph));
  const wide = new Map(elaborated.stores().map((s) => [s.name, dims(s.type)]));
  const held = executable.stores.filter(({ name }) => assigned.has(name));
  for (const { name, shape, stack } of held) {
    const differs = fromTo(0, shape.length).filter((axis) => shape[axis] !== wide.get(name)?.[axis]);
    if (differs.join() === String(stack)) continue;
    throw new Problem(
      `\`generate\` changes the state ${name}, of which no row of the batch has a part of its own`,
      `leave ${prefixesFlagText} out, or give the state the batch as its first axis: \`state memory: float[B, D]\``,
    );
  }
  return new RowStates(executable, held);
}
