// A training run in a process of its own, for tests that kill it. Prints each step's number and loss.
import { interruptible } from "../cli/signals.ts";
import { newestCheckpoint } from "../runtime/checkpoint.ts";
import { textOf } from "../runtime/data.ts";
import { lockFolder } from "../runtime/lock.ts";
import { trainSteps } from "../runtime/loop.ts";
import { FakeExecutable } from "./fake-executable.ts";

const [folder = "", pause = "0"] = process.argv.slice(2);
const text = textOf(Uint8Array.from({ length: 3000 }, (_, i) => (i * i) % 255));
const data = { files: [], bytes: text.bytes, hash: text.hash };
const config = { model: "Fake", sizes: { B: 3, T: 11 }, steps: 30, seed: 5, precision: "f32", data } as const;
lockFolder(folder);
const setup = {
  executable: new FakeExecutable(),
  text,
  config,
  own: ["language"],
  folder,
  saveEvery: 4,
  evaluateEvery: 0,
};
const from = newestCheckpoint(folder, console.error);
for await (const { step, loss, saved } of trainSteps({ ...setup, from, signal: interruptible() })) {
  console.log(JSON.stringify({ step, loss, saved }));
  await new Promise((done) => setTimeout(done, Number(pause)));
}
