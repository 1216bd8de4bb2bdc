// Members of all layers of an array, `experts[:].up.weight`: the tensors of all copies, with an axis of copies in front.
import * as b from "../../ops/build.ts";
import type { Name } from "../../syntax/ast.ts";
import { type } from "../../types/type.ts";
import { absorb, fail } from "../errors.ts";
import { memberOf } from "../layers.ts";
import { FoundStack } from "../stacks.ts";
import { type Instance, type Scope, tensor, type Val } from "../values.ts";
import type { World } from "../world.ts";
import { readSlot } from "./effects.ts";
import { requireSome, sameResults } from "./routed.ts";

type Picked = Extract<Val, { kind: "picked" }>;

/** The member `name` of what was picked, which is written `text`: a tensor of all copies, or a layer of each. */
export function memberOfPicked(w: World, picked: Picked, name: Name, text: string, scope: Scope): Val {
  const { layers, index } = picked;
  if (index) return failNotForward(name, text, "a tensor of all is `experts[:].weight`, to `take` from; else ");
  requireSome(w, layers, name.span);
  if (layers.unstacked) throw new FoundStack(layers.unstacked);
  const within = [...picked.within, name];
  const ones = w.checking ? layers.kinds : layers.runs.map((run) => run.make((all) => all));
  const [first, ...others] = ones.map((one) => memberAt(one, within));
  if (first?.kind === "layer") return { ...picked, within };
  const read = [first ?? absorb(), ...others].map((v) => readMember(w, v, name, text, scope));
  return w.checking ? withCopies(w, sameResults(read, name.span), picked) : joined(w, read);
}
const memberAt = (one: Instance, [name, ...more]: readonly Name[]): Val => {
  const v = memberOf(one, name ?? absorb());
  return more.length > 0 && v.kind === "layer" ? memberAt(v.layer, more) : v;
};
function readMember(w: World, v: Val, name: Name, text: string, scope: Scope): Val {
  if (v.kind === "slot") return readSlot(w, v, scope);
  return v.kind === "error" ? absorb() : failNotForward(name, text, "");
}
const failNotForward = (name: Name, text: string, instead: string): never =>
  fail("E0313", "of layers picked from an array only `forward` is called", name.span, {
    help: `${instead}have \`${name.name}\` in the \`forward\` of a layer that the array is made of, and call \`${text}(x)\``,
  });
function withCopies(w: World, one: Val, { layers }: Picked): Val {
  if (one.kind !== "tensor") return absorb();
  const { dtype, shape } = one.value.type;
  return tensor(w.placeholder(type(dtype, [layers.length, ...shape])));
}
function joined(w: World, parts: readonly Val[]): Val {
  const values = parts.map((v) => (v.kind === "tensor" ? v.value : absorb()));
  return tensor(b.concat(w.g, values, 0));
}
