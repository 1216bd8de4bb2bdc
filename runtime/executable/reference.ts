// The target `reference`: interprets graphs by each op's `eval`. Slow, needs no compiler, and is the definition that other targets are tested
// against.
import { Problem } from "../../compiler/diagnostic.ts";
import { withMemoryErrors } from "../../compiler/graph/array.ts";
import { interpret } from "../../compiler/graph/interpret.ts";
import { type Elaborated, type Graph, type NdArray } from "../../compiler/graph/node.ts";
import { nodesOf, storeOf } from "../../compiler/graph/walk.ts";
import { item } from "../../compiler/item.ts";
import { fromNumbers, numbers, requireFit, showShape, zeros } from "../tensor.ts";
import {
  type Executable,
  hiddenInput,
  inputOfStore,
  type Outcome,
  type RunContext,
  requireInputs,
  type StoreInfo,
  storeInfo,
  storeOfInput,
  type Tensor,
} from "./executable.ts";
import { outcomeOf } from "./outcome.ts";

const toArray = (t: Tensor): NdArray => ({ dtype: t.dtype, shape: t.shape, data: numbers(t) });
const toTensor = (a: NdArray): Tensor => fromNumbers(a.dtype, a.shape, a.data);

export function referenceExecutable(program: Elaborated): Executable {
  return new Reference(program);
}
class Reference implements Executable {
  readonly stores: readonly StoreInfo[];
  readonly entries: readonly string[];
  readonly bytes = null;
  readonly #graphs: ReadonlyMap<string, Graph>;
  readonly #held = new Map<string, NdArray>();

  constructor({ stores, graphs }: Elaborated) {
    this.stores = stores.map(storeInfo);
    this.#graphs = new Map(graphs.map((g) => [g.name, g]));
    this.entries = [...this.#graphs.keys()];
    for (const { name, dtype, shape } of this.stores)
      this.#held.set(
        name,
        withMemoryErrors(
          () => `${name} is ${dtype}${showShape(shape)}`,
          () => toArray(zeros(dtype, shape)),
        ),
      );
  }
  read(store: string): Tensor {
    return toTensor(this.#array(store));
  }
  write(store: string, value: Tensor): void {
    requireFit(store, this.#array(store), value);
    this.#held.set(store, toArray(value));
  }
  async run(entry: string, inputs: ReadonlyMap<string, Tensor>, at: RunContext): Promise<Outcome> {
    const graph = this.#graphs.get(entry);
    if (!graph) throw new Problem(`there is no entry ${entry}`, `the entries are ${this.entries.join(", ")}`);
    requireInputs(entry, this.#inputs(graph), inputs, (store) => this.#held.has(store));
    for (const [name, value] of inputs) this.write(storeOfInput(entry, name), value);
    for (const { name } of this.stores) {
      const value = hiddenInput(name, at);
      if (value) this.write(name, value);
    }
    const values = interpret(
      graph.results.map((r) => r.value),
      this.#held,
    );
    const results = graph.results.map((r, i) => ({ ...r, array: item(values, i) }));
    for (const r of results) if (r.role === "store") this.#held.set(r.name, r.array);
    return outcomeOf(results, ({ array }) => toTensor(array));
  }
  close(): void {
    this.#held.clear();
  }
  /** Names of the inputs that the graph reads. */
  #inputs(graph: Graph): string[] {
    const read = new Set(nodesOf(graph).map(storeOf));
    const own = this.stores.filter((s) => s.role === "input" && read.has(s.name));
    const names = own.filter((s) => s.name.startsWith(storeOfInput(graph.name, "")));
    return names.map((s) => inputOfStore(graph.name, s.name));
  }
  #array(store: string): NdArray {
    const array = this.#held.get(store);
    if (!array) throw new Problem(`there is no store ${store}`, `the stores are ${[...this.#held.keys()].join(", ")}`);
    return array;
  }
}
