// Random numbers, keyed by the seed, the number of the call, the place in the program and the element.
import { runtimeInputs, type Value } from "../../graph/node.ts";
import * as b from "../../ops/build.ts";
import { numbers } from "../../ops/common.ts";
import { fnv1a } from "../../types/numbers.ts";
import { type } from "../../types/type.ts";
import { type Builtin, builtin } from "../builtin.ts";
import { castTo } from "../tensor.ts";
import { tensor } from "../values.ts";

type Draw = (
  g: Parameters<typeof b.uniform>[0],
  key: Value,
  place: number,
  shape: readonly number[],
  base?: Value,
) => Value;
const random = (name: string, doc: string, draw: Draw): Builtin =>
  builtin(`${name}(shape)`, doc, ({ w, from, site }, args) => {
    const shape = args.shape("shape");
    const value = w.make(type("f32", shape), () => {
      const key = b.param(w.g, runtimeInputs.key, type("i32", [2]));
      return draw(w.g, key, fnv1a(`${from.instance?.path ?? ""}:${site}`) | 0, numbers(shape), from.lane?.base);
    });
    return tensor(castTo(w, value, w.options.f32));
  });

export const randomBuiltins: readonly Builtin[] = [
  random("uniform", "Random f32 numbers in [0, 1), of a shape", b.uniform),
  random("gaussian", "Random f32 numbers of mean 0 and variance 1, of a shape", b.gaussian),
];
