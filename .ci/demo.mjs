// Reads the JSON lines of a training run: passes them on, and fails unless the held-out loss is under the bigram's.
import { createInterface } from "node:readline";

let [bigram, heldOut, steps] = [Number.NaN, Number.NaN, 0];
for await (const line of createInterface({ input: process.stdin })) {
  if (!line.startsWith("{")) continue;
  const record = JSON.parse(line);
  if ("bigram" in record) bigram = record.bigram;
  if ("loss" in record) steps = record.step;
  if ("held_out" in record) heldOut = record.held_out;
}
console.log(`${steps} steps: held out ${heldOut.toFixed(3)}, a bigram model ${bigram.toFixed(3)} nats a byte`);
if (!(heldOut < bigram)) throw new Error("the held-out loss is not under the bigram's");
