// A child process of run.ts: runs the test files that it is sent, one after another, and sends back what they print and their counts.
import process from "node:process";

type Run = () => Promise<[errors: string | true, passed: number, skipped: number, total: number]>;
declare global {
  var UVU_DEFER: number;
  var UVU_INDEX: number;
  var UVU_QUEUE: [string | null, ...Run[]][];
}
export type Said =
  | { readonly text: string }
  | { readonly passed: number; readonly failed: number; readonly skipped: number };

const say = (said: Said): boolean => process.send?.(said) ?? false;
process.stdout.write = (text: string | Uint8Array): boolean => say({ text: String(text) });

globalThis.UVU_DEFER = 1;
await import("uvu");
/** Runs one file. An exception ends the process. */
async function run(file: string): Promise<void> {
  const index = globalThis.UVU_QUEUE.push([file]) - 1;
  globalThis.UVU_INDEX = index;
  await import(`./${file}`);
  const [, ...suites] = globalThis.UVU_QUEUE[index] ?? [];
  if (suites.length === 0) throw new Error(`${file} registers no suite: does it end with test.run()?`);
  const count = { passed: 0, failed: 0, skipped: 0 };
  for (const suite of suites) {
    const [errors, passed, skipped, total] = await suite();
    if (errors !== true) console.log(errors);
    count.passed += passed;
    count.failed += total - passed;
    count.skipped += skipped;
  }
  say(count);
}
process.on("message", (file: string) => void run(file));
process.on("disconnect", () => process.exit());
