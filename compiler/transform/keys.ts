// Makes the key of a parameter's random numbers an input of its own rather than a constant in the kernel's text, so that parameters of one shape
// share one initialization kernel.
import { type Builder, type Graph, keyInput, runtimeInputs, type Store, unstackedStore } from "../graph/node.ts";
import { rebuildGraph, storeOf } from "../graph/walk.ts";
import type { OpAttrs } from "../ops/attrs.ts";
import * as b from "../ops/build.ts";
import { numbers } from "../ops/common.ts";
import { type } from "../types/type.ts";

/** The graph with an input `keyInput(place)` for each place that draws random numbers, and the stores of these inputs. */
export function keysAsInputs(g: Builder, graph: Graph): { readonly graph: Graph; readonly stores: readonly Store[] } {
  const stores = new Map<string, Store>();
  const rebuilt = rebuildGraph(g, graph, (node, [key, base]) => {
    if (node.op.name !== "random" || !key || storeOf(key.node) !== runtimeInputs.key) return null;
    const { place, shape } = node.attrs as OpAttrs["random"];
    const own = keyStore(keyInput(place));
    stores.set(own.name, own);
    return [b.random(g, b.param(g, own.name, own.type), 0, numbers(shape), base)];
  });
  return { graph: rebuilt, stores: [...stores.values()] };
}
export const keyStore = (name: string): Store => unstackedStore(name, "input", type("i32", [2]));
