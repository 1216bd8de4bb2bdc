// Elaboration that looks for errors only: a call of a layer that is equal to an earlier one (of the same header, with arguments of the same types) has no
// other errors, so its body is not evaluated again. Of 32 equal blocks one is elaborated.
import type { Value } from "../../graph/node.ts";
import { indexRangeOf, isTable, reachOf } from "../../ops/index-range.ts";
import { showType, type Type } from "../../types/type.ts";
import { type Callable, resultList, results, tensor, type Val } from "../values.ts";
import type { Call, EqualCalls, World } from "../world.ts";

type Method = Extract<Callable, { kind: "method" }>;

/**
 * What an error may depend on besides a value's type is all that `ops/index-range.ts` tells of it. `choice`: its elements can be positions in an axis (as of
 * `top_k`); `known`: they are known positions, or a table's; `opaque`: nothing is known.
 */
type Knowledge = "choice" | "known" | "opaque";

/** The calls of one entry. */
export class MadeOnce implements EqualCalls {
  readonly #w: World;
  /** The types of the results, by the layer's maker, its method, and the key of the arguments. */
  readonly #calls = new Map<object, Map<object, Map<string, readonly Type[]>>>();
  readonly #knowledge = new Map<Value, Knowledge>();
  #ended = false;

  constructor(w: World) {
    this.#w = w;
  }
  end(): void {
    this.#ended = true;
  }
  wrote(value: Value): void {
    if (!this.#ended && this.#knowledgeOf(value) !== "opaque") this.end();
  }
  call({ instance, method }: Method, c: Call, run: () => Val): Val {
    const { of } = instance.make;
    const key = of.kind === "layer" && !c.from.lane && !this.#ended ? this.#keyOf(c) : null;
    if (of.kind !== "layer" || key === null) return run();
    const known = this.#calls.get(of.maker)?.get(method)?.get(key);
    if (known) return results(known.map((t) => tensor(this.#w.placeholder(t))));
    const made = run();
    const types = this.#ended ? null : this.#opaqueTypes(made);
    if (types) this.#note(of.maker, method, key, types);
    return made;
  }
  #note(maker: object, method: object, key: string, types: readonly Type[]): void {
    const ofMaker = this.#calls.get(maker) ?? new Map<object, Map<string, readonly Type[]>>();
    this.#calls.set(maker, ofMaker.set(method, (ofMaker.get(method) ?? new Map()).set(key, types)));
  }
  /** Null: the results are more than their types. */
  #opaqueTypes(made: Val): readonly Type[] | null {
    const values = resultList(made).map((v) => (v.kind === "tensor" ? v.value : null));
    return values.every((v) => v !== null && this.#knowledgeOf(v) === "opaque")
      ? values.flatMap((v) => v?.type ?? [])
      : null;
  }
  /** Null: there are arguments that no key is made of. A choice may be tested by any other argument (`index < E`), so beside one all are meant themselves. */
  #keyOf({ given, want }: Call): string | null {
    const values = given.flatMap(({ value }) => (value.kind === "tensor" ? [value.value] : []));
    const chooses = values.some((v) => this.#knowledgeOf(v) === "choice");
    const texts = given.map(({ name, value: v }) => {
      const text = v.kind === "tensor" ? this.#textOf(v.value, chooses) : numberText(v);
      return text && `${name?.name ?? ""}: ${text}`;
    });
    return texts.includes(null) ? null : [this.#w.stack.length, want && showType(want), ...texts].join("; ");
  }
  #textOf(v: Value, itself: boolean): string {
    return itself || this.#knowledgeOf(v) !== "opaque" ? `${v.node.id}.${v.index}` : showType(v.type);
  }
  #knowledgeOf(v: Value): Knowledge {
    const known = this.#knowledge.get(v) ?? this.#find(v);
    this.#knowledge.set(v, known);
    return known;
  }
  #find(v: Value): Knowledge {
    if (indexRangeOf(v)) return "choice";
    return reachOf(v) || isTable(v, (store) => this.#w.parameter(store) !== null) ? "known" : "opaque";
  }
}
function numberText(v: Val): string | null {
  if (v.kind === "bool") return String(v.value);
  return v.kind === "number" && typeof v.value === "number" ? `${v.value} ${v.whole}` : null;
}
