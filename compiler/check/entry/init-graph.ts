// Builds the `init` graph: the initial values of parameters and states.
import { mapGraph } from "../../graph/map.ts";
import type { Graph, Mapped, Result, Value } from "../../graph/node.ts";
import * as b from "../../ops/build.ts";
import { product } from "../../types/numbers.ts";
import { dims, type } from "../../types/type.ts";
import { textOf } from "../errors.ts";
import { evaluator } from "../evaluator/evaluator.ts";
import { newFrame } from "../frames.ts";
import type { RegisteredStore } from "../storage.ts";
import { conform } from "../tensor.ts";
import { World } from "../world.ts";
import { type ElaborationState, failNotTensor, optionsOf } from "./entry.ts";

/** One "store" result for each parameter and state. */
export function initGraph(shared: ElaborationState): Graph {
  const w = new World(optionsOf(shared, { training: false, generating: false }), evaluator);
  const results = [...shared.stores.all.values()].map(
    (r): Result => ({ role: "store", name: r.store.name, value: initialValue(w, r) }),
  );
  return { name: "init", results };
}
/** The initial value of a store. For a stack, the initializer is elaborated for one copy and mapped over all, each with its own random numbers. */
function initialValue(w: World, { store, type: t, init, scope }: RegisteredStore): Value {
  const n = product(dims(store.type).slice(0, store.stack));
  const base = w.placeholder(type("i32", []));
  const lane = store.stack > 0 ? ({ kind: "each", base, bind: new Map() } as const) : null;
  const from = scope.within(newFrame(w, { role: "header", body: scope.frame.body, site: store.name, lane }));
  from.frame.float = scope.frame.float;
  const declared = { what: `\`${store.name}\``, span: init.span, text: textOf(init.span) };
  const value = conform(w, w.evaluate(init, from, t), t, declared, init.span);
  if (store.stack === 0) return value;
  const each: Mapped = { kind: "each", value: b.iota(w.g, n), over: n };
  const [m] = mapGraph([value], new Map([[base, each]]), w.g);
  if (!m) return failNotTensor();
  return m.kind === "uniform"
    ? b.broadcastTo(w.g, m.value, dims(store.type))
    : b.reshape(w.g, m.value, dims(store.type));
}
