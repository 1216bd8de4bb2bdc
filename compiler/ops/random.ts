// Counter-based random bits: they depend only on key, place and element, so every backend, layout and order of evaluation gives the same.
import type { NdArray } from "../graph/node.ts";
import { product } from "../types/numbers.ts";
import { type } from "../types/type.ts";
import * as b from "./build.ts";
import { at, define, flopsPerElement, need, needVector, numbers, sample } from "./common.ts";
import { inSpace, lift, spaceOf } from "./mapped.ts";
import * as sharding from "./sharding.ts";

/**
 * Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011); returns the first word. All
 * arithmetic is modulo 2^32.
 */
export function threefry(key0: number, key1: number, low: number, high: number): number {
  const keys = [key0, key1, key0 ^ key1 ^ 0x1bd11bda];
  let x = (low + key0) | 0;
  let y = (high + key1) | 0;
  for (let round = 0; round < 20; round++) {
    const turn = rotations[round % 8] ?? 0;
    x = (x + y) | 0;
    y = ((y << turn) | (y >>> (32 - turn))) ^ x;
    if (round % 4 !== 3) continue;
    const group = (round + 1) / 4;
    x = (x + (keys[group % 3] ?? 0)) | 0;
    y = (y + (keys[(group + 1) % 3] ?? 0) + group) | 0;
  }
  return x;
}
const rotations = [13, 15, 26, 6, 17, 29, 16, 24];

/** The counter of each element: row * each + i for element i of a row of `each`. `base` has the row numbers; without it there is one row, 0. */
function counters(base: NdArray | undefined, each: number): number[] {
  const rows = base ? [...base.data] : [0];
  return rows.flatMap((row) => Array.from({ length: each }, (_, i) => row * each + i));
}

export const random = define<"random">({
  name: "random",
  doc:
    "(key i32[2], base i32[R]?) -> i32[R, shape]: word 0 of threefry-2x32-20 with key (key[0], key[1] ^ place) and counter " +
    "(n mod 2^32, n >> 32), n = base[r] * product(shape) + i in 64 bits, i the place within a row",
  lower: "point",
  infer([key, base], attrs) {
    need(key !== undefined, () => "random numbers need a key");
    needVector("random", key, 2);
    need(base === undefined || base.dtype === "i32", () => "random numbers are numbered by i32");
    return [type("i32", [...(base?.shape ?? []), ...attrs.shape])];
  },
  eval([key, base], attrs) {
    const [key0, key1] = key ? [at(key, 0), at(key, 1)] : [0, 0];
    const each = product(numbers(attrs.shape));
    const list = counters(base, each).map((n) =>
      threefry(key0, key1 ^ attrs.place, n | 0, Math.floor(n / 2 ** 32) | 0),
    );
    return [Float64Array.from(list)];
  },
  vjp: () => [null, null],
  mapped([key, base], attrs, g) {
    const given = [key, base].filter((m) => m !== undefined);
    const space = spaceOf(given);
    need(key?.kind === "uniform" && base !== undefined, () => "random numbers of a row need its number");
    const values = lift(g, base, space);
    return [inSpace(space, b.random(g, key.value, attrs.place, numbers(attrs.shape), values))];
  },
  // each worker draws the numbers of its own rows; `base` holds the row numbers in the whole batch
  shard: (_, [, base]) =>
    base && sharding.isSharded(base) ? { args: [sharding.replicated, base], results: [base] } : null,
  flops: flopsPerElement(80),
  samples: (g) => {
    const key = sample(g, "i32", [2], "key");
    return [
      b.random(g, key, 7, [5, 3]),
      b.random(g, key, -9, [2], sample(g, "i32", [3])),
      b.random(g, key, 1, [0]),
    ].map((v) => v.node);
  },
});
