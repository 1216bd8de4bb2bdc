// Elaboration that looks for errors only: a call of a layer that is equal to an earlier one (of the same header, with arguments of the same types) has no
// other errors, so its body is not evaluated again. Of 32 equal blocks one is elaborated.
import type { Value } from "../../graph/node.ts";
import { topological } from "../../graph/walk.ts";
import { indexRangeOf, isTable, reachOf } from "../../ops/index-range.ts";
import { showType, type Type } from "../../types/type.ts";
import { type Callable, resultList, results, tensor, type Val } from "../values.ts";
import type { Call, EqualCalls, World } from "../world.ts";

type Method = Extract<Callable, { kind: "method" }>;

/** The calls of one entry. */
export class MadeOnce implements EqualCalls {
  readonly #w: World;
  /** The types of the results, by the layer's maker, its method, and the key of the arguments. */
  readonly #calls = new Map<object, Map<object, Map<string, readonly Type[]>>>();
  readonly #opaques = new Map<Value, boolean>();
  #ended = false;

  constructor(w: World) {
    this.#w = w;
  }
  end(): void {
    this.#ended = true;
  }
  wrote(value: Value): void {
    if (!this.#ended && !this.#isOpaque(value)) this.end();
  }
  call({ instance, method }: Method, c: Call, run: () => Val): Val {
    const { of } = instance.make;
    const key = of.kind === "layer" && !c.from.lane && !this.#ended ? this.#keyOf(c) : null;
    if (of.kind !== "layer" || key === null) return run();
    const known = this.#calls.get(of.maker)?.get(method)?.get(key);
    if (known) return this.#opaque(known);
    const made = run();
    const types = this.#ended ? null : this.#opaqueTypes(made);
    if (!types) return made;
    this.#note(of.maker, method, key, types);
    return this.#opaque(types); // of the first call, too: what is made of it depends on no choice in it
  }
  #opaque(types: readonly Type[]): Val {
    return results(types.map((t) => tensor(this.#w.placeholder(t))));
  }
  #note(maker: object, method: object, key: string, types: readonly Type[]): void {
    const ofMaker = this.#calls.get(maker) ?? new Map<object, Map<string, readonly Type[]>>();
    this.#calls.set(maker, ofMaker.set(method, (ofMaker.get(method) ?? new Map()).set(key, types)));
  }
  /** Null: the results are more than their types. */
  #opaqueTypes(made: Val): readonly Type[] | null {
    const values = resultList(made).map((v) => (v.kind === "tensor" ? v.value : null));
    return values.every((v) => v !== null && this.#isOpaque(v)) ? values.flatMap((v) => v?.type ?? []) : null;
  }
  /** Null: there are arguments that no key is made of. Of a choice the call may make what tests it: `index < E`. */
  #keyOf({ given, want }: Call): string | null {
    const values = given.flatMap(({ value }) => (value.kind === "tensor" ? [value.value] : []));
    if (topological(values).some(({ op }) => "indexRange" in op)) return null;
    const texts = given.map(({ name, value: v }) => {
      const text = v.kind === "tensor" ? this.#textOf(v.value) : numberText(v);
      return text && `${name?.name ?? ""}: ${text}`;
    });
    return texts.includes(null) ? null : [this.#w.stack.length, want && showType(want), ...texts].join("; ");
  }
  #textOf(v: Value): string {
    return this.#isOpaque(v) ? showType(v.type) : `${v.node.id}.${v.index}`;
  }
  /** Whether errors depend on nothing but the value's type: it is no choice (as of `top_k`), no positions, and no table. */
  #isOpaque(v: Value): boolean {
    const known = this.#opaques.get(v) ?? this.#find(v);
    this.#opaques.set(v, known);
    return known;
  }
  #find(v: Value): boolean {
    return !indexRangeOf(v) && !reachOf(v) && !isTable(v, (store) => this.#w.parameter(store) !== null);
  }
}
function numberText(v: Val): string | null {
  if (v.kind === "bool") return String(v.value);
  return v.kind === "number" && typeof v.value === "number" ? `${v.value} ${v.whole}` : null;
}
