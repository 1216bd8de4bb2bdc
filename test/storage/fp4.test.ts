// Codes of 4 bits: what numbers become, by the definition and by the addon, and what becomes of numbers that codes stand for.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fp4Group, fp4Sizes, shapeOfCodes, shapeOfScales } from "../../compiler/graph/codes.ts";
import { product } from "../../compiler/types/numbers.ts";
import { dequantised, quantised } from "../../runtime/codes.ts";
import type { Codes, Tensor } from "../../runtime/executable/executable.ts";
import * as fp4 from "../../runtime/fp4.ts";
import { numbers, tensor } from "../../runtime/index.ts";
import { native } from "../../runtime/native.ts";
import { fromBf16, toBf16, zeros } from "../../runtime/tensor.ts";
import { assertProblem } from "../assert-problem.ts";
import { generator } from "../graphs.ts";

const test = suite("fp4");
native(); // makes codes from here on

const how = (shape: readonly number[]) => ({ code: "fp4", axes: [shape.length - 2] }) as const;
const coded = (t: Tensor): Codes => quantised("w", t, how(t.shape));
const bitsOf = ({ data }: Tensor): Uint32Array => {
  assert.ok(data instanceof Float32Array);
  return new Uint32Array(data.buffer);
};
/** What the definition makes of numbers, and of its codes. */
function defined(t: Tensor): { readonly codes: Codes; readonly numbers: Tensor } {
  const { shape } = t;
  const codes = zeros("i8", shapeOfCodes(shape, how(shape)));
  const scales = zeros("bf16", shapeOfScales(shape, how(shape)));
  const columns = [product(shape.slice(0, -2)), shape.at(-2) ?? 0, shape.at(-1) ?? 0] as const;
  assert.ok(fp4.setCodes({ numbers: t.data, codes: codes.data, scales: scales.data }, columns));
  const back = zeros("f32", shape);
  fp4.setNumbers({ numbers: back.data, codes: codes.data, scales: scales.data }, columns);
  return { codes: { code: "fp4", codes, scales }, numbers: back };
}

const shapes = [
  [32, 1],
  [64, 70],
  [3, 96, 5],
  [2, 2, 32, 129],
  [0, 32, 4],
  [32, 0],
];
const draw = generator("fp4");
const normal = (): number => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
const drawn: Readonly<Record<string, () => number>> = {
  normal,
  "some of them 0": () => (draw() < 0.5 ? normal() : draw() < 0.5 ? 0 : -0),
  "so small that scales are not normal": () => normal() * 2 ** -(124 + 26 * draw()),
  "up to the largest of f32": () =>
    Math.fround((draw() < 0.5 ? 1 : -1) * (1 - 2 ** -24 * (1 + 2 ** (22 * draw()))) * 2 ** 128),
  "of few sizes": () => Math.floor(9 * draw() - 4) / 4,
};
test("of two numbers equally near the one with the even code is taken", () => {
  const between = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5];
  const t = tensor("f32", [32, 1], [6, ...between, ...Array<number>(24).fill(4)]); // which a scale of 1 has exactly
  for (const { codes } of [coded(t), defined(t).codes]) {
    const found = [...codes.data].flatMap((byte) => [byte & 15, (byte >> 4) & 15]);
    assert.equal(found.slice(0, 8), [7, 0, 2, 2, 4, 4, 6, 6]);
  }
});
for (const [what, next] of Object.entries(drawn))
  test(`the addon makes the codes of the definition: ${what}`, () => {
    for (const shape of shapes) {
      const t = tensor("f32", shape, Array.from({ length: product(shape) }, next));
      const { codes, numbers: back } = defined(t);
      const got = coded(t);
      assert.equal(got, codes);
      assert.equal(bitsOf(dequantised(got)), bitsOf(back));
      assert.ok(back.data.every(Number.isFinite));
    }
  });

test("codes are the nearest, scales those of the least error", () => {
  const t = tensor("f32", [320, 40], Array.from({ length: 320 * 40 }, normal));
  const back = numbers(dequantised(coded(t)));
  let [error, size] = [0, 0];
  for (let group = 0; group < 10; group++)
    for (let column = 0; column < 40; column++) {
      const at = (k: number): number => (group * fp4Group + k) * 40 + column;
      const x = Array.from({ length: fp4Group }, (_, k) => t.data[at(k)] ?? 0);
      const errorWith = (scale: number): number =>
        x.reduce((sum, y) => sum + Math.min(...fp4Sizes.map((s) => (Math.abs(y) - s * scale) ** 2)), 0);
      const most = Math.max(...x.map(Math.abs));
      const least = Math.min(...fp4Sizes.slice(1).map((s) => errorWith(fromBf16(toBf16(most / s)))));
      const own = x.reduce((sum, y, k) => sum + (y - (back[at(k)] ?? 0)) ** 2, 0);
      assert.ok(Math.abs(own - least) <= 1e-6 * least, `${group}, ${column}: ${own}, not ${least}`);
      error += own;
      size += x.reduce((sum, y) => sum + y * y, 0);
    }
  assert.ok(Math.sqrt(error / size) < 0.1);
});

const anyByte = (): number => Math.floor(256 * draw());
const scalesOf: Readonly<Record<string, () => number>> = {
  any: () => fromBf16(toBf16(2 ** (60 * draw() - 30))),
  "powers of two, as MXFP4 has": () => 2 ** Math.floor(250 * draw() - 127),
  "not normal": () => Math.floor(128 * draw()) * 2 ** -133,
  "as large as 6 allows": () => fromBf16(0x7e2a - Math.floor(3 * draw())),
};
for (const [what, scale] of Object.entries(scalesOf))
  test(`numbers that codes stand for are kept bit by bit, and their codes stay: scales ${what}`, () => {
    const shape = [96, 67];
    const codes = tensor("f32", [48, 67], Array.from({ length: 48 * 67 }, anyByte)).data;
    const scales = Array.from({ length: 3 * 67 }, () => toBf16(scale()));
    const given: Codes = {
      code: "fp4",
      codes: { dtype: "i8", shape: [48, 67], data: Int8Array.from(codes) },
      scales: { dtype: "bf16", shape: [3, 67], data: Uint16Array.from(scales) },
    };
    const t = dequantised(given);
    assert.equal(t.shape, shape);
    const first = coded(t);
    assert.equal(bitsOf(dequantised(first)), bitsOf(t));
    assert.equal(coded(dequantised(first)), first);
    if (what === "any" || what.startsWith("powers")) assertSame(first, given);
  });
/** Where a group has a 4 or a 6 there is no smaller scale for its numbers. */
function assertSame(got: Codes, given: Codes): void {
  let compared = 0;
  for (let group = 0; group < 3; group++)
    for (let column = 0; column < 67; column++) {
      const places = Array.from({ length: 16 }, (_, k) => (group * 16 + k) * 67 + column);
      if (!places.some((i) => [given.codes.data[i] ?? 0, (given.codes.data[i] ?? 0) >> 4].some((c) => (c & 7) >= 6)))
        continue;
      compared += 1;
      assert.is(got.scales.data[group * 67 + column], given.scales.data[group * 67 + column]);
      for (const i of places) assert.is(got.codes.data[i], given.codes.data[i]);
    }
  assert.ok(compared > 100);
}

test("the addon multiplies out as the definition does: scales of any bits", () => {
  const [codes, scales] = [zeros("i8", [2, 32, 70]), zeros("bf16", [2, 2, 70])];
  codes.data.forEach((_, i) => (codes.data[i] = anyByte()));
  scales.data.forEach((_, i) => (scales.data[i] = 256 * anyByte() + anyByte()));
  const back = new Float32Array(2 * 64 * 70);
  fp4.setNumbers({ numbers: back, codes: codes.data, scales: scales.data }, [2, 64, 70]);
  const isNumber = (_: number, i: number): boolean => !Number.isNaN(back[i]); // of NaN there are several
  const words = (data: Float32Array): Uint32Array => new Uint32Array(data.buffer).filter(isNumber);
  const got = dequantised({ code: "fp4", codes, scales });
  assert.equal(bitsOf(got).filter(isNumber), words(back));
  assert.ok(words(back).length > 8000);
});
test("what is not finite is a Problem that names the tensor", async () => {
  for (const x of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const data = new Float32Array(96 * 70);
    data[95 * 70 + 69] = x;
    await assertProblem(
      () => coded({ dtype: "f32", shape: [96, 70], data }),
      "`w` has an element that is not finite (6719), which 4 bits",
      "restore",
    );
    assert.not.ok(
      fp4.setCodes({ numbers: data, codes: new Int8Array(48 * 70), scales: new Uint16Array(3 * 70) }, [1, 96, 70]),
    );
  }
});
test.run();
