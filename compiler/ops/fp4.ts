// Weights of 4 bits, as products read them (graph/codes.ts says what codes and scales are).
import { fp4Group, fp4PerByte, fp4Sizes } from "../graph/codes.ts";
import { item } from "../item.ts";
import { equal, mul } from "../types/size.ts";
import { showType, type } from "../types/type.ts";
import { none } from "./attrs.ts";
import * as b from "./build.ts";
import { at, define, need, noFlops, sample, two } from "./common.ts";
import { mapPointwise } from "./mapped.ts";

export const from_fp4 = define<"from_fp4">({
  name: "from_fp4",
  doc: "(codes i8[.., K/2, N], scales bf16[.., K/32, N]) -> f32[.., K, N]: a code of 4 bits is the number e2m1, times the scale of its 32 rows",
  lower: "point",
  infer(args) {
    const [codes, scales] = two(args);
    const text = (): string => `from_fp4 needs codes and their scales, not ${showType(codes)} and ${showType(scales)}`;
    const rows = codes.shape.length - 2;
    need(codes.dtype === "i8" && scales.dtype === "bf16" && rows >= 0 && scales.shape.length === rows + 2, text);
    const fits = codes.shape.map((n, i) =>
      equal(n, i === rows ? mul(item(scales.shape, i), bytesOfGroup) : item(scales.shape, i)),
    );
    need(!fits.includes(false), text);
    return [type("f32", codes.shape.with(rows, mul(item(codes.shape, rows), fp4PerByte)))];
  },
  eval(args) {
    const [codes, scales] = two(args);
    const n = item(codes.shape, codes.shape.length - 1);
    const data = new Float64Array(codes.data.length * fp4PerByte);
    return [
      data.map((_, i) => {
        const [column, row] = [i % n, Math.floor(i / n)]; // over all matrices: each has whole bytes, and whole groups
        const byte = at(codes, Math.floor(row / fp4PerByte) * n + column);
        return (
          fp4Number(row % fp4PerByte === 0 ? byte : byte >> 4) * at(scales, Math.floor(row / fp4Group) * n + column)
        );
      }),
    ];
  },
  vjp: () => [null, null], // what is kept in codes is not trained
  mapped: mapPointwise("from_fp4"),
  flops: noFlops,
  samples: (g) =>
    (
      [
        [16, 5],
        [2, 32, 19],
        [3, 2, 48, 16],
      ] as const
    ).map((shape) => {
      const groups = shape.map((n, i) => (i === shape.length - 2 ? n / bytesOfGroup : n));
      return b.make(g, "from_fp4", [sample(g, "i8", shape), sample(g, "bf16", groups, "scales")], none);
    }),
});
const bytesOfGroup = fp4Group / fp4PerByte;
/** The number of the low four bits. */
function fp4Number(code: number): number {
  const size = item(fp4Sizes, code & 7);
  return code & 8 ? -size : size;
}
