// Lists the paths of a layer's parameters and states, for the documentation of the library.
import { abstractLayer } from "./declarations.ts";
import { findDeclaration, layerBehind } from "./entry/entry-signature.ts";
import { evaluator } from "./evaluator/evaluator.ts";
import type { Loaded } from "./modules.ts";
import { bodyOf } from "./origin.ts";
import type { Instance, Val } from "./values.ts";
import { checkingOptions, World } from "./world.ts";

export interface Path {
  readonly path: string;
  /** `given`: at this path is a layer that is passed in the header, under the name `of`. */
  readonly kind: "param" | "state" | "given";
  readonly of: string;
  /** Whether it is declared under an `if`, so that it depends on the header. */
  readonly optional: boolean;
}

/** The paths in a layer, in source order; empty if `name` is not a layer. */
export function pathsOf(loaded: Loaded, name: string): Path[] {
  const layer = layerBehind(findDeclaration(loaded, name));
  return layer ? inside(abstractLayer(new World(checkingOptions(), evaluator), layer), "", false) : [];
}
function inside(instance: Instance, prefix: string, optional: boolean): Path[] {
  const { of } = instance.make;
  if (of.kind === "abstract") return [{ path: prefix, kind: "given", of: of.abstract.name, optional }];
  if (of.kind === "fn") return [];
  const always = new Set(bodyOf(instance.make).flatMap((m) => (m.kind === "if" ? [] : [m.name.name])));
  return [...instance.members].flatMap(([name, member]) =>
    ofMember(member(), prefix === "" ? name : `${prefix}.${name}`, optional || !always.has(name)),
  );
}
function ofMember(v: Val, path: string, optional: boolean): Path[] {
  if (v.kind === "slot") return [{ path, kind: v.state ? "state" : "param", of: "", optional }];
  if (v.kind === "layer") return inside(v.layer, path, optional);
  return v.kind === "layers" ? v.layers.kinds.flatMap((layer) => inside(layer, `${path}.*`, optional)) : [];
}
