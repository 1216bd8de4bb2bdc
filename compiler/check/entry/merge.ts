// Elaborates `merged()` of all layers that have it: what the parameters of a model are without its adapters.
import { mapGraph } from "../../graph/map.ts";
import type { Mapped, Value } from "../../graph/node.ts";
import type * as ast from "../../syntax/ast.ts";
import { dims, type } from "../../types/type.ts";
import { EffectInStack } from "../evaluator/effects.ts";
import { type Bind, forCopies, laneOfRun, leaf } from "../evaluator/routed.ts";
import { newFrame } from "../frames.ts";
import { isMerged } from "../origin.ts";
import type { Instance, Instances, Lane, Run, Slot } from "../values.ts";
import type { World } from "../world.ts";

/** Calls `merged()` of a layer and of all layers inside of it, those first. `lane`: that of the stack it is a copy of. */
export function mergeLayers(w: World, instance: Instance, lane: Lane | null = null): void {
  for (const member of instance.members.values()) {
    const v = member();
    if (v.kind === "layer") mergeLayers(w, v.layer, lane);
    else if (v.kind === "layers") mergeArray(w, v.layers, lane);
  }
  const v = instance.members.get("merged")?.();
  if (v?.kind !== "fn" || v.fn.kind !== "method" || !isMerged(v.fn.method)) return;
  const from = newFrame(w, { role: "header", site: instance.path, lane });
  w.call(v.fn, { given: [], from, at: v.fn.method.name.span, want: null });
}
function mergeArray(w: World, layers: Instances, lane: Lane | null): void {
  const [run] = layers.runs;
  if (!layers.stack || !run) {
    for (const layer of layers.stored()) mergeLayers(w, layer, lane);
    return;
  }
  const depth = w.stack.length;
  try {
    mergeStack(w, run, lane);
  } catch (error) {
    if (!(error instanceof EffectInStack) || lane) throw error;
    w.stack.length = depth;
    for (let i = 0; i < run.count; i++) mergeLayers(w, layers.at(i));
  }
}
/** A copy is elaborated, and mapped over all. */
function mergeStack(w: World, run: Run, outer: Lane | null): void {
  const bind: Bind = new Map();
  const written = new Map<Slot, { readonly value: Value; readonly span: ast.Span }>();
  const copyOf = (all: Slot): Slot => {
    const [, ...shape] = dims(all.type);
    const before = (): Mapped => ({ kind: "each", value: all.read(), over: run.count });
    let value: Value | null = null;
    return {
      type: type(all.type.dtype, shape),
      read: () => (value ??= leaf(w, bind, shape, before())),
      write(next, span) {
        value = next;
        written.set(all, { value, span });
      },
    };
  };
  mergeLayers(w, run.make(copyOf), laneOfRun(w, run, bind, outer));
  const mapped = mapGraph(
    [...written.values()].map(({ value }) => value),
    bind,
    w.g,
  );
  [...written].forEach(([all, { span }], i) => {
    const m = mapped[i];
    if (m) all.write(forCopies(w, m, run.count), span);
  });
}
