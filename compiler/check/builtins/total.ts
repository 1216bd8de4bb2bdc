import { showType } from "../../types/type.ts";
import { type Builtin, builtin } from "../builtin.ts";
import { fail, quoted } from "../errors.ts";
import { castTo } from "../tensor.ts";
import { tensor } from "../values.ts";

export const total: Builtin = builtin(
  "total(s)",
  "In an optimizer: the sum of the scalar `s`, made of `param` and `grad`, over all trained parameters",
  ({ w, at }, args) => {
    const s = args.tensor("s");
    if (s.type.shape.length > 0)
      fail("E0504", `\`total\` sums single numbers, not ${showType(s.type)}`, args.span("s"), {
        help: `take its sum first: \`total(sum(${quoted(args.span("s"))}))\``,
      });
    const value = castTo(w, s, w.options.f32);
    return tensor(w.checking ? value : w.total(value, at));
  },
);
