// Random decoders with random masks: what they make from their past. MOEC_TEST=full takes other ones each time, also on the CUDA target; what fails says with which MOEC_SEED it does so again, and its text.
import { env } from "node:process";
import { suite } from "uvu";
import { onEmulator } from "../emulator/build.ts";
import { full } from "../full.ts";
import { randomDecoder } from "./decoders.ts";
import { checkIncrementalDecoding, type DecodingOptions } from "./incremental-decoding.ts";

const test = suite("decoders");
const base = env["MOEC_SEED"] ?? (full ? String(Date.now()) : "moec");
if (full) console.log(`random decoders of MOEC_SEED=${base}`);
async function check(seed: string, way: DecodingOptions): Promise<void> {
  const decoder = randomDecoder(seed);
  try {
    await checkIncrementalDecoding(decoder, way);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`MOEC_SEED=${base}, ${seed}: ${why}\n${decoder.text}`, { cause });
  }
}
const count = full ? 24 : 2;
for (let i = 0; i < count; i++)
  test(`decoder ${i} from its past, on the host`, () =>
    check(`${base}/${i}`, { target: "host", precision: "f32", tolerance: 2e-5 }));
if (full)
  for (let i = 0; i < 8; i++)
    test(`decoder ${i} from its past, on the emulator`, () =>
      onEmulator(() => check(`${base}/cuda ${i}`, { target: "cuda", precision: "f32", tolerance: 2e-5 })));
test.run();
