// All built-in functions, by name. To add one, write its record in a file of this folder and list it here.
import { Bug } from "../../diagnostic.ts";
import type { Builtin } from "../builtin.ts";
import { pointBuiltins } from "./points.ts";
import { randomBuiltins } from "./randoms.ts";
import { reductionBuiltins } from "./reductions.ts";
import { shapeBuiltins } from "./shapes.ts";
import { total } from "./total.ts";

const all = [...pointBuiltins, ...reductionBuiltins, ...shapeBuiltins, ...randomBuiltins, total];
export const builtins: ReadonlyMap<string, Builtin> = new Map(all.map((one) => [one.name, one]));
export function builtinCalled(name: string): Builtin {
  const found = builtins.get(name);
  if (!found) throw new Bug(`no builtin is called ${name}`);
  return found;
}
